from __future__ import annotations

import random
from hmac import digest
from pathlib import Path
from zlib import crc32

import pytest

from sansio.base.errors import LocalProtocolError, ParseError
from sansio.ice import stun

TID = bytes(range(12))

# ---- RFC 5769 section 2: short-term credentials, password VOkJxbRl1RmTxUk/WvJxBt
KEY = stun.Key(b"VOkJxbRl1RmTxUk/WvJxBt")
VECTOR_TID = bytes.fromhex("b7e7a701bc34d686fa87dfae")
REQUEST = bytes.fromhex(
    "000100582112a442b7e7a701bc34d686fa87dfae"
    "802200105354554e207465737420636c69656e74"
    "002400046e0001ff80290008932ff9b151263b36"
    "000600096576746a3a68367659202020"
    "000800149aeaa70cbfd8cb56781ef2b5b2d3f249c1b571a2"
    "80280004e57a3bcf"
)
RESPONSE_V4 = bytes.fromhex(
    "0101003c2112a442b7e7a701bc34d686fa87dfae"
    "8022000b7465737420766563746f7220"
    "002000080001a147e112a643"
    "000800142b91f599fd9e90c38c7489f92af9ba53f06be7d7"
    "80280004c07d4c96"
)
RESPONSE_V6 = bytes.fromhex(
    "010100482112a442b7e7a701bc34d686fa87dfae"
    "8022000b7465737420766563746f7220"
    "002000140002a1470113a9faa5d3f179bc25f4b5bed2b9d9"
    "00080014a382954e4be67bf11784c97c8292c275bfe3ed41"
    "80280004c8fb0b4c"
)
# section 2.4: long-term credentials
LONG_TERM = bytes.fromhex(
    "000100602112a44278ad3433c6ad72c029da412e"
    "00060012e3839ee38388e383aae38383e382afe382b90000"
    "0015001c662f2f3439396b39353464364f4c33346f4c394653547679363473410014000b"
    "6578616d706c652e6f72670000080014f67024656dd64a3e02b8e0712e85c9a28ca89666"
)


class TestVectors:
    def test_request(self):
        message = stun.decode(REQUEST)
        assert message.type == stun.BINDING_REQUEST
        assert message.transaction_id == VECTOR_TID
        assert message.attributes == {
            stun.SOFTWARE: b"STUN test client",
            stun.PRIORITY: bytes.fromhex("6e0001ff"),
            stun.ICE_CONTROLLED: bytes.fromhex("932ff9b151263b36"),
            stun.USERNAME: b"evtj:h6vY",
        }
        assert message.fingerprint
        assert message.verify(KEY)
        assert not message.verify(stun.Key(b"another"))

    @pytest.mark.parametrize(
        ("data", "address"),
        [
            (RESPONSE_V4, ("192.0.2.1", 32853)),
            (RESPONSE_V6, ("2001:db8:1234:5678:11:2233:4455:6677", 32853)),
        ],
    )
    def test_responses(self, data, address):
        message = stun.decode(data)
        assert message.type == stun.BINDING_SUCCESS
        assert message.attributes[stun.SOFTWARE] == b"test vector"
        assert stun.decode_xor_address(message.attributes[stun.XOR_MAPPED_ADDRESS], VECTOR_TID) == address
        assert message.attributes[stun.XOR_MAPPED_ADDRESS] == stun.xor_address_value(address, VECTOR_TID)
        assert message.verify(KEY)
        assert message.fingerprint

    def test_long_term_credentials(self):
        message = stun.decode(LONG_TERM)
        assert message.attributes[stun.USERNAME].decode() == "マトリックス"
        assert message.attributes[stun.REALM] == b"example.org"
        assert message.verify(stun.long_term_key("マトリックス", "example.org", "TheMatrIX"))
        assert not message.fingerprint

    def test_hmac_of_long_secrets(self):
        for secret in (b"", b"k" * 64, b"k" * 65, b"k" * 200):
            assert stun.Key(secret).sha1(b"data") == digest(secret, b"data", "sha1")
            assert stun.Key(secret).sha256(b"data") == digest(secret, b"data", "sha256")


class TestMessageType:
    def test_interleaving(self):
        assert stun.message_type(stun.METHOD_BINDING, stun.REQUEST) == stun.BINDING_REQUEST
        assert stun.message_type(stun.METHOD_BINDING, stun.INDICATION) == stun.BINDING_INDICATION
        assert stun.message_type(stun.METHOD_BINDING, stun.SUCCESS) == stun.BINDING_SUCCESS
        assert stun.message_type(stun.METHOD_BINDING, stun.ERROR) == stun.BINDING_ERROR
        assert stun.message_type(stun.METHOD_ALLOCATE, stun.ERROR) == 0x0113
        assert stun.message_type(0xFFF, 3) == 0x3FFF

    def test_every_type_comes_back(self):
        for method in (*range(0x20), 0x7F, 0x80, 0xABC, 0xFFF):
            for message_class in range(4):
                message = stun.Message(stun.message_type(method, message_class), TID, {})
                assert (message.method, message.message_class) == (method, message_class)


class TestRoundTrip:
    def test_unknown_and_repeated_attributes_are_kept(self):
        message = stun.Message(
            stun.BINDING_REQUEST,
            TID,
            {0x7777: b"odd", stun.XOR_PEER_ADDRESS: b"one", 0xF000: b""},
            ((stun.XOR_PEER_ADDRESS, b"two"), (stun.XOR_PEER_ADDRESS, b"three")),
        )
        data = stun.encode(message)
        again = stun.decode(data)
        assert again == message
        assert again.all(stun.XOR_PEER_ADDRESS) == [b"one", b"two", b"three"]
        assert again.all(0x1234) == []
        assert again.fingerprint
        assert stun.encode(again) == data
        assert repr(again) == "Message(0x0001, [0x7777, 0x0012, 0xf000, 0x0012, 0x0012])"

    def test_padding_of_every_length(self):
        for size in range(9):
            data = stun.build(stun.BINDING_REQUEST, TID, [(stun.SOFTWARE, b"x" * size), (stun.DATA, b"end")])
            assert len(data) % 4 == 0
            message = stun.decode(data)
            assert message.attributes == {stun.SOFTWARE: b"x" * size, stun.DATA: b"end"}

    def test_padding_may_hold_anything(self):
        data = bytearray(stun.build(stun.BINDING_REQUEST, TID, [(stun.SOFTWARE, b"x")], fingerprint=False))
        data[-1] = 0xFF
        assert stun.decode(bytes(data)).attributes == {stun.SOFTWARE: b"x"}

    def test_both_integrities(self):
        key = stun.long_term_key_sha256("user", "realm", "pass")
        data = stun.build(stun.BINDING_REQUEST, TID, [(stun.USERNAME, b"user")], KEY, sha256_key=key)
        message = stun.decode(data)
        assert message.verify(KEY)
        assert message.verify_sha256(key)
        assert not message.verify_sha256(KEY)
        assert len(message.integrity_sha256) == 32
        assert stun.encode(message, KEY, sha256_key=key) == data
        plain = stun.decode(stun.build(stun.BINDING_REQUEST, TID, []))
        assert not plain.verify(KEY)
        assert not plain.verify_sha256(key)

    def test_only_sha256(self):
        message = stun.decode(stun.build(stun.BINDING_REQUEST, TID, [], sha256_key=KEY, fingerprint=False))
        assert message.verify_sha256(KEY)
        assert not message.verify(KEY)
        assert not message.fingerprint

    def test_shortened_sha256(self):
        header = bytes.fromhex("000100142112a442") + TID
        head = bytes.fromhex("000100142112a442") + TID
        value = digest(KEY.secret, head, "sha256")[:16]
        message = stun.decode(header + bytes.fromhex("001c0010") + value)
        assert message.verify_sha256(KEY)
        wrong = stun.decode(header + bytes.fromhex("001c0010") + bytes(16))
        assert not wrong.verify_sha256(KEY)

    def test_comparison(self):
        message = stun.Message(1, TID, {})
        assert message != 5
        assert message != stun.Message(1, TID, {1: b""})
        with pytest.raises(TypeError):
            hash(message)

    def test_unknown_required(self):
        message = stun.Message(1, TID, {0x0777: b"", stun.USERNAME: b"", 0x8777: b""})
        assert message.unknown_required(frozenset({stun.USERNAME})) == [0x0777]

    def test_keys_do_not_show(self):
        assert repr(KEY) == "Key(...)"


class TestBehindIntegrity:
    def sealed(self, *behind: tuple[int, bytes], key=KEY, sha256=None) -> bytes:
        """A message whose attributes ``behind`` follow the integrity, with the lengths that a forger would write."""
        data = stun.build(
            stun.BINDING_REQUEST, TID, [(stun.USERNAME, b"a:b")], key, sha256_key=sha256, fingerprint=False
        )
        tail = b"".join([kind.to_bytes(2, "big") + len(value).to_bytes(2, "big") + value for kind, value in behind])
        return data[:2] + (len(data) - 20 + len(tail)).to_bytes(2, "big") + data[4:] + tail

    def test_attributes_are_ignored(self):
        message = stun.decode(self.sealed((stun.USE_CANDIDATE, b""), (stun.MESSAGE_INTEGRITY, b"0123")))
        assert message.attributes == {stun.USERNAME: b"a:b"}
        assert message.verify(KEY)

    def test_sha256_may_follow_sha1_but_not_the_other_way_round(self):
        message = stun.decode(self.sealed((stun.MESSAGE_INTEGRITY, bytes(20)), key=None, sha256=KEY))
        assert message.integrity == b""
        assert message.verify_sha256(KEY)
        message = stun.decode(self.sealed((stun.MESSAGE_INTEGRITY_SHA256, bytes(32)), key=None, sha256=KEY))
        assert message.verify_sha256(KEY)


class TestRefused:
    @pytest.mark.parametrize(
        "data",
        [
            b"",
            REQUEST[:19],
            REQUEST[:4] + b"\x21\x12\xa4\x43" + REQUEST[8:],
            b"\x40" + REQUEST[1:],
            b"\xc0" + REQUEST[1:],
            REQUEST + b"\0\0\0\0",
            REQUEST[:-4],
            REQUEST[:-8] + b"\x80\x28\x00\x04\0\0\0\0",
            bytes.fromhex("000100042112a442") + TID + bytes.fromhex("00060001"),
            bytes.fromhex("000100022112a442") + TID + bytes.fromhex("0006"),
            bytes.fromhex("000100082112a442") + TID + bytes.fromhex("0008000400000000"),
            bytes.fromhex("000100082112a442") + TID + bytes.fromhex("001c000400000000"),
            bytes.fromhex("0001000c2112a442") + TID + bytes.fromhex("802800080000000000000000"),
            bytes.fromhex("0001000c2112a442") + TID + bytes.fromhex("802800040000000080220000"),
        ],
        ids=range(14),
    )
    def test_malformed(self, data):
        with pytest.raises(ParseError):
            stun.decode(data)

    @pytest.mark.parametrize("length", [4, 8])
    def test_a_fingerprint_that_fits_in_the_wrong_size_or_place(self, length):
        head = bytes.fromhex("0001000c2112a442") + TID
        right = (crc32(head) ^ 0x5354554E).to_bytes(4, "big")
        behind = bytes.fromhex("80220000") if length == 4 else bytes(4)
        with pytest.raises(ParseError, match="size or place"):
            stun.decode(head + bytes.fromhex("8028") + length.to_bytes(2, "big") + right + behind)

    def test_truncation_at_every_byte(self):
        for data in (REQUEST, RESPONSE_V4, RESPONSE_V6, LONG_TERM):
            for size in range(len(data)):
                with pytest.raises(ParseError):
                    stun.decode(data[:size])

    def test_every_flipped_bit_shows(self):
        for at in range(len(REQUEST) * 8):
            data = bytearray(REQUEST)
            data[at // 8] ^= 1 << at % 8
            try:
                message = stun.decode(bytes(data))
            except ParseError:
                continue
            # only where the flip made another attribute of FINGERPRINT itself
            assert not message.fingerprint

    def test_mutations(self):
        draw = random.Random(1)
        for _ in range(2000):
            data = bytearray(draw.choice([RESPONSE_V4, LONG_TERM, REQUEST[:-8]]))
            data[2:4] = (len(data) - 20).to_bytes(2, "big")
            for _ in range(draw.randrange(1, 4)):
                data[draw.randrange(len(data))] = draw.randrange(256)
            try:
                message = stun.decode(bytes(data))
            except ParseError:
                continue
            assert stun.decode(stun.encode(message)) == message

    def test_is_stun(self):
        assert stun.is_stun(REQUEST)
        assert not stun.is_stun(REQUEST[:19])
        assert not stun.is_stun(b"\x80" + REQUEST[1:])
        assert not stun.is_stun(REQUEST[:4] + bytes(4) + REQUEST[8:])


class TestValues:
    def test_attribute_types_are_those_of_the_registry(self):
        """https://www.iana.org/assignments/stun-parameters, and what LiveKit's server takes for a nomination."""
        assert (stun.USERNAME, stun.MESSAGE_INTEGRITY, stun.ERROR_CODE, stun.UNKNOWN_ATTRIBUTES) == (6, 8, 9, 10)
        assert (stun.CHANNEL_NUMBER, stun.LIFETIME, stun.XOR_PEER_ADDRESS, stun.DATA) == (0x0C, 0x0D, 0x12, 0x13)
        assert (stun.REALM, stun.NONCE, stun.XOR_RELAYED_ADDRESS) == (0x14, 0x15, 0x16)
        assert (stun.REQUESTED_ADDRESS_FAMILY, stun.REQUESTED_TRANSPORT) == (0x17, 0x19)
        assert (stun.MESSAGE_INTEGRITY_SHA256, stun.XOR_MAPPED_ADDRESS) == (0x1C, 0x20)
        assert (stun.PRIORITY, stun.USE_CANDIDATE) == (0x24, 0x25)
        assert (stun.ADDITIONAL_ADDRESS_FAMILY, stun.ALTERNATE_SERVER) == (0x8000, 0x8023)
        assert (stun.FINGERPRINT, stun.ICE_CONTROLLED, stun.ICE_CONTROLLING) == (0x8028, 0x8029, 0x802A)
        assert stun.NOMINATION == 0xC001

    @pytest.mark.parametrize("address", [("192.0.2.1", 1), ("255.0.255.0", 65535), ("2001:db8::1", 5000), ("::", 0)])
    def test_addresses(self, address):
        assert stun.decode_address(stun.address_value(address)) == address
        assert stun.decode_xor_address(stun.xor_address_value(address, TID), TID) == address

    @pytest.mark.parametrize("host", ["example.org", "1.2.3", "1.2.3.256", "1.2.3.-1", "a:b", ""])
    def test_a_name_is_not_an_address(self, host):
        with pytest.raises(LocalProtocolError):
            stun.address_value((host, 1))

    @pytest.mark.parametrize("host", ["192.0.2.1", "2001:db8::1"])
    def test_port_out_of_range(self, host):
        with pytest.raises(LocalProtocolError):
            stun.address_value((host, 65536))

    @pytest.mark.parametrize(
        "value", [b"", b"\0\1\0\0\0\0\0", b"\0\2" + bytes(6), b"\0\1" + bytes(18), b"\0\3" + bytes(6)]
    )
    def test_malformed_addresses(self, value):
        with pytest.raises(ParseError):
            stun.decode_address(value)

    def test_errors(self):
        assert stun.error_value(487, "Role Conflict") == b"\0\0\x04\x57Role Conflict"
        assert stun.decode_error(stun.error_value(487, "Rôle")) == (487, "Rôle")
        assert stun.decode_error(b"\xff\xff\x04\x00\xff") == (400, "\ufffd")
        with pytest.raises(ParseError):
            stun.decode_error(b"\0\0\4")

    def test_unknown_attributes(self):
        assert stun.decode_unknown_attributes(stun.unknown_attributes_value([1, 0x7777])) == [1, 0x7777]
        with pytest.raises(ParseError):
            stun.decode_unknown_attributes(b"123")

    def test_numbers(self):
        assert stun.decode_u32(stun.u32_value(0xFFFFFFFF)) == 0xFFFFFFFF
        assert stun.decode_u64(stun.u64_value(1 << 63)) == 1 << 63
        with pytest.raises(ParseError):
            stun.decode_u32(b"123")
        with pytest.raises(ParseError):
            stun.decode_u64(b"1234")


RECORDED = Path(__file__).parents[2] / "data" / "stun" / "recorded.txt"


def test_messages_of_real_sessions():
    """Each line: who sent it, the password that signs it, and the message."""
    lines = RECORDED.read_text(encoding="ascii").splitlines()
    assert len(lines) > 10
    for line in lines:
        _, password, text = line.split(" ")
        data = bytes.fromhex(text)
        message = stun.decode(data)
        assert message.fingerprint
        assert stun.is_stun(data)
        key = stun.Key(password.encode())
        assert message.verify(key)
        assert stun.encode(message, key) == data
