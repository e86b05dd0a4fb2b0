"""SRTP and SRTCP in one direction each: libsrtp with sizes checked, failures counted and streams bounded (RFC 3711).

A sender and a receiver are separate since each has a key of its own. Each call takes and returns ``bytes``; None means
that the packet was refused or is not authentic, and ``counters`` tells why.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..base.counters import Counters
from ..base.errors import LocalProtocolError
from ..base.limits import SRTP_STREAMS

if TYPE_CHECKING:
    from pylibsrtp import Policy, Session

PROFILES = {
    "AEAD_AES_128_GCM": ("SRTP_PROFILE_AEAD_AES_128_GCM", 28, 16),
    "AEAD_AES_256_GCM": ("SRTP_PROFILE_AEAD_AES_256_GCM", 44, 16),
    "AES128_CM_SHA1_80": ("SRTP_PROFILE_AES128_CM_SHA1_80", 30, 10),
}
"""By name: the library's name, bytes of master key and salt together, bytes that a protected RTP packet is longer."""

MOST_RTP = 1356
"""The longest RTP packet that the library protects: its 1500 bytes minus the longest trailer it knows."""
MOST_RTCP = 1352
MOST_PROTECTED = 1500
LEAST_RTP = 12
LEAST_RTCP = 8
REPLAY_WINDOW = 1024
"""Packets; at 10 Mbit/s about a second, so that late retransmissions still count as new."""

FAILURES = {
    "authentication failure": "srtp_forged",
    "replay check failed (bad index)": "srtp_replayed",
    "replay check failed (index too old)": "srtp_too_old",
}


def preload() -> None:
    """Import now what the first context imports otherwise: about 5 ms."""
    import pylibsrtp

    del pylibsrtp


def trailer(profile: str) -> int:
    """How many bytes longer protection makes an RTP packet."""
    return PROFILES[profile][2]


def _policy(profile: str, key: bytes, inbound: bool) -> Policy:
    from pylibsrtp import Policy

    if profile not in PROFILES:
        raise LocalProtocolError("unknown SRTP profile")
    name, size, _ = PROFILES[profile]
    if len(key) != size:
        raise LocalProtocolError(f"key and salt of {profile} are {size} bytes")
    kind = Policy.SSRC_ANY_INBOUND if inbound else Policy.SSRC_ANY_OUTBOUND
    policy = Policy(key=key, ssrc_type=kind, srtp_profile=getattr(Policy, name))
    policy.window_size = REPLAY_WINDOW
    return policy


def _direct(session: Session, name: str) -> Callable[[bytes], bytes]:
    """``session.protect`` or ``session.unprotect`` without what the library does anew for each packet: a third less.

    It is the same call on the same buffer; failures are left to the library, which raises then as it always does.
    Where a version of the library is built otherwise than those known, its own method is the answer.
    """
    slow: Callable[[bytes], bytes] = getattr(session, name)
    import pylibsrtp

    library: Any = pylibsrtp
    try:
        call, length = getattr(library.lib, f"srtp_{name}"), library.ffi.new("int *")
        context, data, buffer = session._srtp[0], session._cdata, session._buffer
    except AttributeError:
        return slow

    def direct(packet: bytes) -> bytes:
        length[0] = size = len(packet)
        buffer[0:size] = packet
        if call(context, data, length):
            return slow(packet)
        found: bytes = buffer[0 : length[0]]
        return found

    return direct


class SrtpSender:
    """Protects what we send, for any number of SSRCs.

    The same RTP packet may be protected again, which is how it is retransmitted without RTX. Another packet with the
    same SSRC and sequence number would reuse a keystream: callers never do that.
    """

    __slots__ = ("profile", "counters", "_session", "_protect", "_error")

    def __init__(self, profile: str, key: bytes) -> None:
        """``key`` is master key and salt, joined. Raises LocalProtocolError for an unknown profile or wrong length."""
        policy = _policy(profile, key, inbound=False)
        policy.allow_repeat_tx = True
        from pylibsrtp import Error, Session

        self.profile = profile
        self.counters = Counters()
        self._session = Session(policy)
        self._protect = _direct(self._session, "protect")
        self._error = Error

    def __repr__(self) -> str:
        return f"SrtpSender({self.profile})"

    def protect(self, packet: bytes) -> bytes | None:
        """The SRTP packet of an RTP packet; None when it is no RTP packet or longer than ``MOST_RTP``."""
        if LEAST_RTP <= len(packet) <= MOST_RTP:
            try:
                return self._protect(packet)
            except self._error:
                self.counters.add("srtp_refused")
                return None
        self.counters.add("srtp_size")
        return None

    def protect_rtcp(self, packet: bytes) -> bytes | None:
        """The SRTCP packet of a compound RTCP packet; None like ``protect``."""
        if LEAST_RTCP <= len(packet) <= MOST_RTCP:
            try:
                return self._session.protect_rtcp(packet)
            except self._error:
                self.counters.add("srtp_refused")
                return None
        self.counters.add("srtp_size")
        return None


class SrtpReceiver:
    """Checks and decrypts what the peer sent, for up to ``SRTP_STREAMS`` SSRCs."""

    __slots__ = ("profile", "counters", "_session", "_unprotect", "_error", "_streams")

    def __init__(self, profile: str, key: bytes) -> None:
        """``key`` is master key and salt, joined. Raises LocalProtocolError for an unknown profile or wrong length."""
        policy = _policy(profile, key, inbound=True)
        from pylibsrtp import Error, Session

        self.profile = profile
        self.counters = Counters()
        self._session = Session(policy)
        self._unprotect = _direct(self._session, "unprotect")
        self._error = Error
        self._streams: set[bytes] = set()  # SSRCs in wire form for which the library keeps state

    def __repr__(self) -> str:
        return f"SrtpReceiver({self.profile})"

    def unprotect(self, packet: bytes) -> bytes | None:
        """The RTP packet in an SRTP packet, None when it is not authentic, comes twice or is too old."""
        if not LEAST_RTP <= len(packet) <= MOST_PROTECTED:
            self.counters.add("srtp_size")
            return None
        ssrc = packet[8:12]
        if ssrc not in self._streams and len(self._streams) >= SRTP_STREAMS:
            self.counters.add("srtp_too_many_streams")
            return None
        try:
            plain = self._unprotect(packet)
        except self._error as error:
            self.counters.add(FAILURES.get(str(error), "srtp_invalid"))
            return None
        self._streams.add(ssrc)
        return plain

    def unprotect_rtcp(self, packet: bytes) -> bytes | None:
        """The compound RTCP packet in an SRTCP packet, None like ``unprotect``."""
        if not LEAST_RTCP <= len(packet) <= MOST_PROTECTED:
            self.counters.add("srtp_size")
            return None
        ssrc = packet[4:8]
        if ssrc not in self._streams and len(self._streams) >= SRTP_STREAMS:
            self.counters.add("srtp_too_many_streams")
            return None
        try:
            plain = self._session.unprotect_rtcp(packet)
        except self._error as error:
            self.counters.add(FAILURES.get(str(error), "srtp_invalid"))
            return None
        self._streams.add(ssrc)
        return plain

    def forget(self, ssrc: int) -> None:
        """Drop the state of a stream that has ended. Its old packets could be replayed from then on."""
        wire = ssrc.to_bytes(4, "big")
        if wire in self._streams:
            self._streams.remove(wire)
            self._session.remove_stream(ssrc)
