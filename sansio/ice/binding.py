"""Checks and their answers on the wire: ICE's use of STUN Binding (RFC 8445 sections 7.1 and 7.3)."""

from __future__ import annotations

from ..base.contract import Address
from . import stun
from .credentials import Credentials

ROLE_CONFLICT = 487
UNKNOWN_ATTRIBUTE = 420

KNOWN = frozenset(
    {
        stun.MAPPED_ADDRESS,
        stun.USERNAME,
        stun.ERROR_CODE,
        stun.UNKNOWN_ATTRIBUTES,
        stun.REALM,
        stun.NONCE,
        stun.USERHASH,
        stun.PASSWORD_ALGORITHM,
        stun.XOR_MAPPED_ADDRESS,
        stun.PRIORITY,
        stun.USE_CANDIDATE,
    }
)
"""What a request or response may contain that must be understood."""


class PeerCheck:
    """What a check of the peer says. ``nomination`` is its counter, 0 without one."""

    __slots__ = ("ufrag", "priority", "use_candidate", "nomination")

    def __init__(self, ufrag: str, priority: int, use_candidate: bool, nomination: int) -> None:
        self.ufrag = ufrag
        self.priority = priority
        self.use_candidate = use_candidate
        self.nomination = nomination


def build_check(
    id: bytes,
    credentials: Credentials,
    priority_value: bytes,
    *,
    controlling: bool,
    tie_breaker: int,
    use_candidate: bool,
    nomination: int,
) -> bytes:
    """A check of ours."""
    attributes = [
        (stun.USERNAME, credentials.username),
        (stun.ICE_CONTROLLING if controlling else stun.ICE_CONTROLLED, stun.u64_value(tie_breaker)),
        (stun.PRIORITY, priority_value),
    ]
    if use_candidate:
        attributes.append((stun.USE_CANDIDATE, b""))
        if nomination:
            attributes.append((stun.NOMINATION, stun.u32_value(nomination)))
    return stun.build(stun.BINDING_REQUEST, id, attributes, credentials.remote_key)


def read_username(message: stun.Message) -> tuple[str, str]:
    """The user fragments in the USERNAME of a check of the peer: ours, then its own."""
    ours, _, theirs = message.attributes.get(stun.USERNAME, b"").decode("utf-8", "replace").partition(":")
    return ours, theirs


def read_check(message: stun.Message) -> PeerCheck:
    """A check of the peer; one without PRIORITY is tolerated. Raises ParseError."""
    attributes = message.attributes
    priority = stun.decode_u32(attributes.get(stun.PRIORITY, b"\0\0\0\0"))
    nomination = stun.decode_u32(attributes.get(stun.NOMINATION, b"\0\0\0\0")) & 0xFFFFFF
    use_candidate = stun.USE_CANDIDATE in attributes or nomination > 0
    return PeerCheck(read_username(message)[1], priority, use_candidate, nomination)


def build_success(id: bytes, src: Address, key: stun.Key) -> bytes:
    """The answer to a check that came from ``src``."""
    return stun.build(stun.BINDING_SUCCESS, id, [(stun.XOR_MAPPED_ADDRESS, stun.xor_address_value(src, id))], key)


def build_role_conflict(id: bytes, key: stun.Key) -> bytes:
    """The answer that makes the peer change its role."""
    error = stun.error_value(ROLE_CONFLICT, "Role Conflict")
    return stun.build(stun.BINDING_ERROR, id, [(stun.ERROR_CODE, error)], key)


def build_unknown_attribute(id: bytes, unknown: list[int], key: stun.Key) -> bytes:
    """The answer to a check that says what we do not understand and must."""
    attributes = [
        (stun.ERROR_CODE, stun.error_value(UNKNOWN_ATTRIBUTE, "Unknown Attribute")),
        (stun.UNKNOWN_ATTRIBUTES, stun.unknown_attributes_value(unknown)),
    ]
    return stun.build(stun.BINDING_ERROR, id, attributes, key)
