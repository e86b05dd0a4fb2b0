"""STUN messages (RFC 8489): one-pass codec with integrity and fingerprint, and the values of its attributes.

The codec knows no attribute beyond the ones that protect a message: the others are kept as bytes, unknown ones too, and
helpers translate the values that ICE (RFC 8445) and TURN (RFC 8656) use.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from hmac import compare_digest
from hmac import digest as hmac_digest
from ipaddress import IPv6Address
from struct import Struct
from struct import error as StructError
from zlib import crc32

from ..base.contract import Address
from ..base.errors import LocalProtocolError, ParseError

MAGIC_COOKIE = 0x2112A442
HEADER_SIZE = 20

# ---- message types: method (12 bits) and class (2 bits), interleaved as RFC 8489 section 5 draws them
BINDING_REQUEST = 0x0001
BINDING_INDICATION = 0x0011
BINDING_SUCCESS = 0x0101
BINDING_ERROR = 0x0111

METHOD_BINDING = 0x001
METHOD_ALLOCATE = 0x003
METHOD_REFRESH = 0x004
METHOD_SEND = 0x006
METHOD_DATA = 0x007
METHOD_CREATE_PERMISSION = 0x008
METHOD_CHANNEL_BIND = 0x009

REQUEST = 0
INDICATION = 1
SUCCESS = 2
ERROR = 3

# ---- attribute types below 0x8000: whoever does not understand them must refuse the message
MAPPED_ADDRESS = 0x0001
USERNAME = 0x0006
MESSAGE_INTEGRITY = 0x0008
ERROR_CODE = 0x0009
UNKNOWN_ATTRIBUTES = 0x000A
CHANNEL_NUMBER = 0x000C
LIFETIME = 0x000D
XOR_PEER_ADDRESS = 0x0012
DATA = 0x0013
REALM = 0x0014
NONCE = 0x0015
XOR_RELAYED_ADDRESS = 0x0016
REQUESTED_ADDRESS_FAMILY = 0x0017
EVEN_PORT = 0x0018
REQUESTED_TRANSPORT = 0x0019
DONT_FRAGMENT = 0x001A
MESSAGE_INTEGRITY_SHA256 = 0x001C
PASSWORD_ALGORITHM = 0x001D
USERHASH = 0x001E
XOR_MAPPED_ADDRESS = 0x0020
RESERVATION_TOKEN = 0x0022
PRIORITY = 0x0024
USE_CANDIDATE = 0x0025
# ---- and from 0x8000 on: to be ignored where unknown
ADDITIONAL_ADDRESS_FAMILY = 0x8000
SOFTWARE = 0x8022
ALTERNATE_SERVER = 0x8023
FINGERPRINT = 0x8028
ICE_CONTROLLED = 0x8029
ICE_CONTROLLING = 0x802A
NOMINATION = 0xC001
"""Renomination counter: 32 bits of which the low 24 count (draft-thatcher-ice-renomination as implemented widely)."""

_FINGERPRINT_XOR = 0x5354554E

_HEADER = Struct("!HHI")
_ATTRIBUTE = Struct("!HH")
_FINGERPRINT = Struct("!HHI")
_U16 = Struct("!H")
_U32 = Struct("!I")
_U64 = Struct("!Q")
_V4 = Struct("!BBHI")
_unpack_header = _HEADER.unpack_from
_unpack_attribute = _ATTRIBUTE.unpack_from
_pack_header = _HEADER.pack
_pack_attribute = _ATTRIBUTE.pack
_pack_fingerprint = _FINGERPRINT.pack
_PADDING = (b"", b"\0\0\0", b"\0\0", b"\0")
_NONE: tuple[tuple[int, bytes], ...] = ()


class Key:
    """An HMAC key with both pads hashed once: verifying then costs two short hashes (RFC 2104).

    For short-term credentials the secret is the password (RFC 8489 section 9.1.1), for long-term ones see
    ``long_term_key``.
    """

    __slots__ = ("secret", "_inner", "_outer")

    def __init__(self, secret: bytes) -> None:
        self.secret = secret
        block = (secret if len(secret) <= 64 else hashlib.sha1(secret).digest()).ljust(64, b"\0")
        self._inner = hashlib.sha1(bytes([b ^ 0x36 for b in block]))
        self._outer = hashlib.sha1(bytes([b ^ 0x5C for b in block]))

    def __repr__(self) -> str:
        return "Key(...)"

    def sha1(self, data: bytes) -> bytes:
        """HMAC-SHA1 of ``data``."""
        inner = self._inner.copy()
        inner.update(data)
        outer = self._outer.copy()
        outer.update(inner.digest())
        return outer.digest()

    def sha256(self, data: bytes) -> bytes:
        """HMAC-SHA256 of ``data``."""
        return hmac_digest(self.secret, data, "sha256")


def long_term_key(username: str, realm: str, password: str) -> Key:
    """The key of long-term credentials with the MD5 algorithm (RFC 8489 section 9.2.2)."""
    text = f"{username}:{realm}:{password}".encode()
    return Key(hashlib.md5(text, usedforsecurity=False).digest())


def long_term_key_sha256(username: str, realm: str, password: str) -> Key:
    """The key of long-term credentials with the SHA-256 algorithm (RFC 8489 section 18.5.1.2)."""
    return Key(hashlib.sha256(f"{username}:{realm}:{password}".encode()).digest())


class Message:
    """A decoded message, or one to be encoded.

    ``attributes`` maps a type to the value of its first occurrence, in the order of the message; further occurrences
    (which only few attributes may have) are in ``repeated``. What protects the message is not among them:
    ``integrity`` and ``integrity_sha256`` are the received digests, empty where there was none, and ``fingerprint``
    says whether a right FINGERPRINT was there.
    """

    __slots__ = (
        "type",
        "transaction_id",
        "attributes",
        "repeated",
        "integrity",
        "integrity_sha256",
        "fingerprint",
        "_raw",
        "_sha1_at",
        "_sha256_at",
    )

    def __init__(
        self,
        type: int,
        transaction_id: bytes,
        attributes: dict[int, bytes],
        repeated: tuple[tuple[int, bytes], ...] = _NONE,
    ) -> None:
        self.type = type
        self.transaction_id = transaction_id
        self.attributes = attributes
        self.repeated = repeated
        self.integrity = b""
        self.integrity_sha256 = b""
        self.fingerprint = False
        self._raw = b""
        self._sha1_at = 0
        self._sha256_at = 0

    def __repr__(self) -> str:
        names = ", ".join([f"0x{kind:04x}" for kind, _ in self.pairs()])
        return f"Message(0x{self.type:04x}, [{names}])"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Message):
            return NotImplemented
        return (self.type, self.transaction_id, self.attributes, self.repeated) == (
            other.type,
            other.transaction_id,
            other.attributes,
            other.repeated,
        )

    __hash__ = None  # type: ignore[assignment]

    @property
    def method(self) -> int:
        """The method, METHOD_BINDING for example."""
        return self.type & 0x000F | (self.type & 0x00E0) >> 1 | (self.type & 0x3E00) >> 2

    @property
    def message_class(self) -> int:
        """REQUEST, INDICATION, SUCCESS or ERROR."""
        return (self.type & 0x0010) >> 4 | (self.type & 0x0100) >> 7

    def pairs(self) -> list[tuple[int, bytes]]:
        """Every attribute with its value, repeated ones last."""
        return [*self.attributes.items(), *self.repeated]

    def all(self, kind: int) -> list[bytes]:
        """Every value of an attribute that may occur several times, in order."""
        first = self.attributes.get(kind)
        if first is None:
            return []
        return [first, *[value for other, value in self.repeated if other == kind]]

    def unknown_required(self, known: frozenset[int]) -> list[int]:
        """The attributes that must be understood (below 0x8000) and are not in ``known``."""
        return [kind for kind in self.attributes if kind < 0x8000 and kind not in known]

    def verify(self, key: Key) -> bool:
        """Whether the received message carries the MESSAGE-INTEGRITY that ``key`` gives."""
        at = self._sha1_at
        if not at:
            return False
        raw = self._raw
        # the length that was hashed ends with this attribute: its 24 bytes on, the header's 20 off
        return compare_digest(key.sha1(raw[:2] + _U16.pack(at + 4) + raw[4:at]), self.integrity)

    def verify_sha256(self, key: Key) -> bool:
        """Whether the received message carries the MESSAGE-INTEGRITY-SHA256, maybe shortened, that ``key`` gives."""
        at = self._sha256_at
        if not at:
            return False
        raw = self._raw
        received = self.integrity_sha256
        digest = key.sha256(raw[:2] + _U16.pack(at - 16 + len(received)) + raw[4:at])
        return compare_digest(digest[: len(received)], received)


def message_type(method: int, message_class: int) -> int:
    """The 14-bit type of a method and a class (RFC 8489 section 5)."""
    bits = method & 0x00F | (method & 0x070) << 1 | (method & 0xF80) << 2
    return bits | (message_class & 1) << 4 | (message_class & 2) << 7


def is_stun(data: bytes) -> bool:
    """Whether a datagram can be STUN at all: its first byte (RFC 7983) and its magic cookie."""
    return len(data) >= HEADER_SIZE and data[0] < 4 and data[4:8] == b"\x21\x12\xa4\x42"


def decode(data: bytes) -> Message:
    """Decode one message, which must be all of ``data``.

    A FINGERPRINT is checked here; integrity is not, since the key depends on the contents: see ``Message.verify``.
    Attributes behind MESSAGE-INTEGRITY are ignored but for the SHA-256 one and FINGERPRINT, those behind
    MESSAGE-INTEGRITY-SHA256 but for FINGERPRINT (RFC 8489 section 14.5 and 14.6).
    """
    size = len(data)
    if size < 20:
        raise ParseError("STUN message shorter than its header")
    kind, length, cookie = _unpack_header(data)
    if cookie != MAGIC_COOKIE or kind > 0x3FFF:
        raise ParseError("not a STUN message")
    if length + 20 != size or length & 3:
        raise ParseError("STUN length does not match the datagram")
    attributes: dict[int, bytes] = {}
    message = Message(kind, data[8:20], attributes)
    message._raw = data
    sealed = 0  # 1 behind MESSAGE-INTEGRITY, 2 behind MESSAGE-INTEGRITY-SHA256
    at = 20
    while at < size:
        kind, length = _unpack_attribute(data, at)
        end = at + 4 + length
        if end > size:
            raise ParseError("STUN attribute beyond the message")
        if kind == FINGERPRINT:
            if length != 4 or end != size:
                raise ParseError("FINGERPRINT of wrong size or place")
            if crc32(data[:at]) ^ _FINGERPRINT_XOR != _U32.unpack_from(data, at + 4)[0]:
                raise ParseError("wrong FINGERPRINT")
            message.fingerprint = True
        elif kind == MESSAGE_INTEGRITY_SHA256:
            if sealed < 2:
                if length < 16 or length > 32 or length & 3:
                    raise ParseError("MESSAGE-INTEGRITY-SHA256 of wrong size")
                message.integrity_sha256 = data[at + 4 : end]
                message._sha256_at = at
                sealed = 2
        elif sealed:
            pass
        elif kind == MESSAGE_INTEGRITY:
            if length != 20:
                raise ParseError("MESSAGE-INTEGRITY of wrong size")
            message.integrity = data[at + 4 : end]
            message._sha1_at = at
            sealed = 1
        elif kind in attributes:
            message.repeated += ((kind, data[at + 4 : end]),)
        else:
            attributes[kind] = data[at + 4 : end]
        at = end + (-length & 3)
    return message


def build(
    type: int,
    transaction_id: bytes,
    attributes: Iterable[tuple[int, bytes]],
    key: Key | None = None,
    *,
    sha256_key: Key | None = None,
    fingerprint: bool = True,
) -> bytes:
    """Encode a message; each key adds its integrity attribute, and FINGERPRINT closes it unless told otherwise."""
    parts = [b"", transaction_id]
    length = 0
    for kind, value in attributes:
        size = len(value)
        parts.append(_pack_attribute(kind, size))
        parts.append(value)
        pad = -size & 3
        if pad:
            parts.append(_PADDING[size & 3])
        length += 4 + size + pad
    if key is not None:
        length += 24
        parts[0] = _pack_header(type, length, MAGIC_COOKIE)
        parts.append(b"\x00\x08\x00\x14" + key.sha1(b"".join(parts)))
    if sha256_key is not None:
        length += 36
        parts[0] = _pack_header(type, length, MAGIC_COOKIE)
        parts.append(b"\x00\x1c\x00\x20" + sha256_key.sha256(b"".join(parts)))
    if not fingerprint:
        parts[0] = _pack_header(type, length, MAGIC_COOKIE)
        return b"".join(parts)
    parts[0] = _pack_header(type, length + 8, MAGIC_COOKIE)
    body = b"".join(parts)
    return body + _pack_fingerprint(FINGERPRINT, 4, crc32(body) ^ _FINGERPRINT_XOR)


def encode(
    message: Message, key: Key | None = None, *, sha256_key: Key | None = None, fingerprint: bool = True
) -> bytes:
    """Encode a message object; what protected it when it was received is not repeated, see ``build``."""
    return build(
        message.type,
        message.transaction_id,
        message.pairs(),
        key,
        sha256_key=sha256_key,
        fingerprint=fingerprint,
    )


# ------------------------------------------------------------------ attribute values


def _pack_v4(address: str) -> int:
    a, b, c, d = map(int, address.split("."))
    if (a | b | c | d) >> 8:
        raise ValueError("octet out of range")
    return a << 24 | b << 16 | c << 8 | d


def address_value(address: Address) -> bytes:
    """MAPPED-ADDRESS, ALTERNATE-SERVER (RFC 8489 section 14.1). LocalProtocolError unless it is an IP address."""
    return _address_value(address, 0, b"")


def xor_address_value(address: Address, transaction_id: bytes) -> bytes:
    """XOR-MAPPED-ADDRESS, XOR-PEER-ADDRESS, XOR-RELAYED-ADDRESS (RFC 8489 section 14.2)."""
    return _address_value(address, MAGIC_COOKIE, transaction_id)


def _address_value(address: Address, cookie: int, transaction_id: bytes) -> bytes:
    host, port = address
    try:
        if ":" not in host:
            return _V4.pack(0, 1, port ^ cookie >> 16, _pack_v4(host) ^ cookie)
        number = int(IPv6Address(host))
        if cookie:
            number ^= cookie << 96 | int.from_bytes(transaction_id, "big")
        return b"\0\2" + _U16.pack(port ^ cookie >> 16) + number.to_bytes(16, "big")
    except (ValueError, StructError) as error:
        raise LocalProtocolError(f"not a transport address: {address!r}") from error


def decode_address(value: bytes) -> Address:
    """The address of a MAPPED-ADDRESS or ALTERNATE-SERVER."""
    return _decode_address(value, 0, b"")


def decode_xor_address(value: bytes, transaction_id: bytes) -> Address:
    """The address of an XOR-MAPPED-ADDRESS, XOR-PEER-ADDRESS or XOR-RELAYED-ADDRESS."""
    return _decode_address(value, MAGIC_COOKIE, transaction_id)


def _decode_address(value: bytes, cookie: int, transaction_id: bytes) -> Address:
    size = len(value)
    if size == 8 and value[1] == 1:
        _, _, port, number = _V4.unpack(value)
        number ^= cookie
        host = f"{number >> 24}.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"
        return host, port ^ cookie >> 16
    if size == 20 and value[1] == 2:
        number = int.from_bytes(value[4:], "big")
        if cookie:
            number ^= cookie << 96 | int.from_bytes(transaction_id, "big")
        return str(IPv6Address(number)), _U16.unpack_from(value, 2)[0] ^ cookie >> 16
    raise ParseError("STUN address of wrong size or family")


def error_value(code: int, reason: str = "") -> bytes:
    """ERROR-CODE (RFC 8489 section 14.8)."""
    return bytes((0, 0, code // 100, code % 100)) + reason.encode()


def decode_error(value: bytes) -> tuple[int, str]:
    """Code and reason of an ERROR-CODE; a reason that is not UTF-8 is read as far as it is."""
    if len(value) < 4:
        raise ParseError("ERROR-CODE too short")
    return (value[2] & 7) * 100 + value[3], value[4:].decode("utf-8", "replace")


def unknown_attributes_value(kinds: Iterable[int]) -> bytes:
    """UNKNOWN-ATTRIBUTES (RFC 8489 section 14.9)."""
    return b"".join([_U16.pack(kind) for kind in kinds])


def decode_unknown_attributes(value: bytes) -> list[int]:
    """The attribute types of an UNKNOWN-ATTRIBUTES."""
    if len(value) & 1:
        raise ParseError("UNKNOWN-ATTRIBUTES of odd size")
    return [_U16.unpack_from(value, at)[0] for at in range(0, len(value), 2)]


def u32_value(number: int) -> bytes:
    """A 32-bit attribute: PRIORITY, LIFETIME, NOMINATION, CHANNEL-NUMBER (whose low half is reserved)."""
    return _U32.pack(number)


def decode_u32(value: bytes) -> int:
    """The number of a 32-bit attribute."""
    if len(value) != 4:
        raise ParseError("32-bit attribute of wrong size")
    return int.from_bytes(value, "big")


def u64_value(number: int) -> bytes:
    """A 64-bit attribute: ICE-CONTROLLING, ICE-CONTROLLED."""
    return _U64.pack(number)


def decode_u64(value: bytes) -> int:
    """The number of a 64-bit attribute."""
    if len(value) != 8:
        raise ParseError("64-bit attribute of wrong size")
    return int.from_bytes(value, "big")
