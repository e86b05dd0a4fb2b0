"""The SCTP association (RFC 9260) over DTLS (RFC 8261): handshake, shutdown, heartbeats, and the reading and writing
of packets.

Over DTLS there is one path and one peer, already authenticated, so addresses, path selection and the blind attacks
that the state cookie guards against do not arise. The cookie is authenticated all the same, and carries what the
handshake needs.

Departures: a restart of the association by the peer (RFC 9260 section 5.2.4 A) ends it, since data channels do not
survive it; DATA or SACK in COOKIE-ECHOED counts as COOKIE-ACK, since only an established peer can send them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from struct import Struct
from typing import Any

from attrs import field, frozen

from ..base import limits
from ..base.contract import INF
from ..base.counters import Counters
from ..base.entropy import Entropy
from ..base.errors import LocalProtocolError, ParseError
from . import chunks
from .chunks import COMMON, COMMON_SIZE, DATA, DATA_FIELDS, IMMEDIATE, MASK32, SACK, encode_chunk
from .handshake import (
    FORWARD,
    STREAMS,
    ZERO,
    Cookie,
    Hello,
    open_cookie,
    our_parameters,
    read_hello,
    seal_cookie,
)
from .receiver import Receiver
from .sender import Sender
from .streams import StreamResets

CLOSED = 0
COOKIE_WAIT = 1
COOKIE_ECHOED = 2
ESTABLISHED = 3
SHUTDOWN_PENDING = 4
SHUTDOWN_SENT = 5
SHUTDOWN_RECEIVED = 6
SHUTDOWN_ACK_SENT = 7
LOST = 8
"""Over: not a state of RFC 9260, where the association would be forgotten."""

_COOKIE_LIFETIME = 60.0
_HEARTBEAT = Struct(">Id")
_STALE_COOKIES = 3
_SACK_DELAY = 0.2
_U32 = Struct(">I")

_unpack_common = COMMON.unpack_from
_unpack_data = DATA_FIELDS.unpack_from
_unpack_chunk = chunks.CHUNK_HEAD.unpack_from


@frozen
class SctpOptions:
    """Parameters of an association. Times in seconds, sizes in bytes.

    ``mtu`` is the size of the packets handed to DTLS. ``rto_min`` has to exceed the 200 ms by which a peer may delay
    its SACKs. ``window`` is the receive window. ``buffer_low`` and ``buffer_high`` are the default thresholds of a
    channel. ``burst`` packets leave at once at most, beyond what the peer has just acknowledged.
    """

    local_port: int = 5000
    remote_port: int = 5000
    mtu: int = field(default=1163)
    rto_initial: float = 0.5
    rto_min: float = 0.4
    rto_max: float = 10.0
    zero_checksum: bool = True
    window: int = field(default=limits.SCTP_WINDOW)
    max_message_size: int = 65535
    burst: int = 64
    heartbeat_interval: float = 30.0
    max_retransmissions: int = 10
    max_init_retransmissions: int = 8
    buffer_low: int = 64 << 10
    buffer_high: int = 1 << 20

    @mtu.validator
    def _check_mtu(self, _attribute: Any, value: int) -> None:
        if not 512 <= value <= 65535:
            raise LocalProtocolError("the MTU of an SCTP association is 512 to 65535 bytes")

    @window.validator
    def _check_window(self, _attribute: Any, value: int) -> None:
        # A message that does not fit would shut the window and never be complete.
        if value < 80_000:
            raise LocalProtocolError("the receive window has to take a whole message of 65535 bytes")


@frozen
class SctpUp:
    """The association is established."""


@frozen
class SctpLost:
    """The association is over; nothing more comes from it.

    ``reason``: "aborted" (by the peer), "shutdown" (orderly, by either side), "timeout" (no answer for too long),
    "protocol" (the peer broke the protocol), "restarted" (the peer started anew) or "local" (``abort``).
    """

    reason: str
    detail: str = ""


@frozen
class HeartbeatAcked:
    """The peer answered a heartbeat after ``rtt`` seconds, so the path works both ways."""

    rtt: float


class SctpAssociation:
    """One association. ``packets`` are to be sealed and sent, ``outbox`` holds SctpUp, SctpLost, HeartbeatAcked.

    While ``blocked`` is set no DATA is sent; the parent sets it when its socket would block, clears it when the socket
    is writable again, and calls ``advance`` then.
    """

    def __init__(self, entropy: Entropy, *, options: SctpOptions = SctpOptions()) -> None:
        self.options = options
        self.packets: deque[bytes] = deque()
        self.outbox: deque[Any] = deque()
        self.counters = Counters()
        self.blocked = False
        self.state = CLOSED
        tags = entropy.fork("tags")
        self._tags = tags
        self._tag = tags.uint(32) or 1
        self._tsn = tags.uint(32)
        self._cookie_key = entropy.fork("cookie").bytes(32)
        self._nonces = entropy.fork("heartbeat")
        self._peer_tag = 0
        self.sender = Sender(
            self._tsn,
            self.counters,
            mtu=options.mtu,
            rto_initial=options.rto_initial,
            rto_min=options.rto_min,
            rto_max=options.rto_max,
            burst=options.burst,
        )
        self.receiver = Receiver(self.counters, options.window)
        self.resets = StreamResets(self.counters, self.sender, self.receiver, self._tsn)
        self._now = 0.0
        self._control: list[bytes] = []
        self._cookie = b""
        self._cookie_now = False
        self._t1_due = INF
        self._t1_count = 0
        self._t1_rto = options.rto_initial
        self._init_at = 0.0
        self._stale_cookies = 0
        self._t2_due = INF
        self._shutdown_again = False
        self._heartbeat_due = INF
        self._heartbeat_pending = 0
        self._heartbeat_rto_due = INF
        self._heartbeat_tsn = -1
        self._zero_acceptable = options.zero_checksum
        self._peer_port_pair = options.remote_port << 16 | options.local_port

    # ------------------------------------------------------------------ operations

    @property
    def up(self) -> bool:
        """Whether the association is established and not shutting down."""
        return self.state == ESTABLISHED

    @property
    def rtt(self) -> float:
        """The smoothed round-trip time in seconds; 0.0 before the first measurement."""
        return self.sender.srtt

    def start(self, now: float) -> None:
        """Send INIT at once. Both sides may do so; their handshakes merge into one association."""
        now = self._time(now)
        if self.state != CLOSED:
            return
        self.state = COOKIE_WAIT
        self._t1_count = 0
        self._init_at = now
        self._send_init(now)

    def shutdown(self, now: float) -> None:
        """Close in order: everything queued is delivered first. Ends with SctpLost("shutdown")."""
        now = self._time(now)
        if self.state < ESTABLISHED:
            self.abort(now)
        elif self.state == ESTABLISHED:
            self.state = SHUTDOWN_PENDING

    def abort(self, now: float) -> None:
        """End at once, telling the peer."""
        self._time(now)
        if self.state == LOST:
            return
        if self._peer_tag:
            self._send_abort(chunks.USER_ABORT)
        self._lose("local")

    def heartbeat(self, now: float) -> None:
        """Probe the path now; answered by HeartbeatAcked."""
        now = self._time(now)
        if ESTABLISHED <= self.state <= SHUTDOWN_RECEIVED and not self._heartbeat_pending:
            self._send_heartbeat(now)

    def path_restored(self, now: float) -> None:
        """The path works again after an interruption: send what is outstanding now, not when a timer says so."""
        now = self._time(now)
        self.sender.errors = 0
        if self.sender.t3_due != INF:
            self.sender.t3_due = now
            self.sender.rto = self.options.rto_initial
        if self._t1_due != INF:
            self._t1_due = now
            self._t1_count = 0
            self._t1_rto = self.options.rto_initial
        if self.resets.due != INF:
            self.resets.due = now
        if self._heartbeat_rto_due != INF:
            self._heartbeat_rto_due = now

    # ------------------------------------------------------------------ packets in

    def handle_packet(self, data: bytes, now: float) -> None:
        """Take one packet that DTLS delivered."""
        now = self._now = now if now > self._now else self._now
        size = len(data)
        if size < COMMON_SIZE + 4:
            self.counters.add("packet_malformed")
            return
        source, destination, tag, crc = _unpack_common(data)
        if source << 16 | destination != self._peer_port_pair:
            self.counters.add("packet_port")
            return
        kind = data[12]
        if crc == 0 and self._zero_acceptable and kind not in (chunks.INIT, chunks.COOKIE_ECHO):
            # We announced that zero is acceptable, so the peer may send it from its INIT-ACK on (RFC 9653 section 5.3).
            pass
        elif chunks.checksum(data) != int.from_bytes(data[8:12], "little"):
            self.counters.add("packet_checksum")
            return
        state = self.state
        if state == LOST:
            self._answer_late(data, tag)
            return
        if tag != self._tag:
            self._handle_other_tag(data, tag, now)
            return
        receiver = self.receiver
        at = COMMON_SIZE
        count = 0
        counted = False
        while at + 4 <= size:
            count += 1
            if count > limits.SCTP_CHUNKS:
                self.counters.add("packet_malformed")
                break
            kind = data[at]
            if kind == DATA and at + 16 <= size:
                flags, length, tsn, sid, ssn, ppid = _unpack_data(data, at)
                end = at + length
                if length <= 16 or end > size:
                    if length == 16:
                        self._protocol_error(chunks.NO_USER_DATA, _U32.pack(tsn))
                    else:
                        self.counters.add("chunk_malformed")
                    break
                if state == ESTABLISHED or self._may_receive(now):
                    state = self.state
                    if not counted:
                        counted = True
                        receiver.unacked += 1
                    if flags & IMMEDIATE:
                        receiver.sack_now = True
                    receiver.handle_data(flags, tsn, sid, ssn, ppid, data[at + 16 : end])
                else:
                    self.counters.add("data_unexpected")
                at += (length + 3) & ~3
                continue
            _, flags, length = _unpack_chunk(data, at)
            end = at + length
            if length < 4 or end > size:
                self.counters.add("chunk_malformed")
                break
            if kind == SACK:
                if self.state >= ESTABLISHED or self._may_receive(now):
                    self.sender.handle_sack(data, at, length, now)
                else:
                    self.counters.add("sack_unexpected")
            elif not self._handle_control(kind, flags, data[at + 4 : end], now):
                break
            state = self.state
            if state == LOST:
                return
            at += (length + 3) & ~3
        if receiver.broken:
            self._protocol_error(chunks.PROTOCOL_VIOLATION, receiver.broken.encode())

    def _handle_other_tag(self, data: bytes, tag: int, now: float) -> None:
        """A packet with another tag than ours (RFC 9260 section 8.5.1): only its first chunk is looked at."""
        kind, flags, length = _unpack_chunk(data, COMMON_SIZE)
        end = COMMON_SIZE + length
        if length < 4 or end > len(data):
            self.counters.add("chunk_malformed")
            return
        body = data[COMMON_SIZE + 4 : end]
        reflected = flags & chunks.TAG_REFLECTED and tag == self._peer_tag
        if kind == chunks.INIT and tag == 0:
            if len(data) - end > 3:
                self.counters.add("init_bundled")
            else:
                self._handle_init(body, now)
        elif kind == chunks.ABORT and reflected:
            self._lose("aborted", chunks.describe_causes(body))
        elif kind == chunks.SHUTDOWN_COMPLETE and reflected:
            self._handle_shutdown_complete()
        else:
            self.counters.add("packet_tag")

    def _may_receive(self, now: float) -> bool:
        if self.state == COOKIE_ECHOED:
            self._established(now)
            return True
        if self.state == SHUTDOWN_SENT:
            # Acknowledged without delay and together with a SHUTDOWN (RFC 9260 section 9.2).
            self.receiver.sack_now = True
            self._shutdown_again = True
            return True
        return self.state in (ESTABLISHED, SHUTDOWN_PENDING)

    def _handle_control(self, kind: int, flags: int, body: bytes, now: float) -> bool:
        """One chunk that is neither DATA nor SACK; False ends the packet."""
        state = self.state
        if kind == chunks.INIT:
            # With a tag, and so perhaps in company: both are forbidden (section 8.5.1 A).
            self.counters.add("init_bundled")
            return False
        if kind == chunks.INIT_ACK:
            if state == COOKIE_WAIT:
                self._handle_init_ack(body, now)
            else:
                self.counters.add("init_ack_unexpected")
            return False
        if kind == chunks.ABORT:
            if flags & chunks.TAG_REFLECTED:
                self.counters.add("packet_tag")
            else:
                self._lose("aborted", chunks.describe_causes(body))
            return False
        if kind == chunks.COOKIE_ECHO:
            return self._handle_cookie_echo(body, now)
        if kind == chunks.COOKIE_ACK:
            if state == COOKIE_ECHOED:
                self._established(now)
            return True
        if kind == chunks.ERROR:
            self._handle_error(body, now)
            return True
        if state < ESTABLISHED and kind != chunks.SHUTDOWN_ACK:
            # Nothing else makes sense before; a peer that is ahead of us sends it again.
            self.counters.add("chunk_unexpected")
            return True
        if kind == chunks.HEARTBEAT:
            if len(body) > limits.SCTP_HEARTBEAT:
                self.counters.add("heartbeat_too_long")
            else:
                self._reply(encode_chunk(chunks.HEARTBEAT_ACK, 0, body))
        elif kind == chunks.HEARTBEAT_ACK:
            self._handle_heartbeat_ack(body, now)
        elif kind == chunks.FORWARD_TSN:
            self._handle_forward(body)
        elif kind == chunks.RE_CONFIG:
            self.resets.handle(body, now)
        elif kind == chunks.SHUTDOWN:
            self._handle_shutdown(body, now)
        elif kind == chunks.SHUTDOWN_ACK:
            self._handle_shutdown_ack()
        elif kind == chunks.SHUTDOWN_COMPLETE:
            self._handle_shutdown_complete()
        elif kind == DATA:
            self.counters.add("chunk_malformed")
            return False
        else:
            return self._handle_unknown(kind, flags, body)
        return True

    def _handle_unknown(self, kind: int, flags: int, body: bytes) -> bool:
        """The two highest bits of the type say what to do (RFC 9260 section 3.2)."""
        self.counters.add("chunk_unknown")
        if kind & 0x40:
            whole = chunks.CHUNK_HEAD.pack(kind, flags, 4 + len(body)) + body[:64]
            self._reply(encode_chunk(chunks.ERROR, 0, chunks.encode_cause(chunks.UNRECOGNIZED_CHUNK, whole)))
        return bool(kind & 0x80)

    # ------------------------------------------------------------------ handshake (RFC 9260 section 5)

    def _send_init(self, now: float) -> None:
        chunk = self._hello(chunks.INIT, self._tag, self._tsn)
        self.packets.append(chunks.with_checksum(self._header(0) + chunk))
        self._t1_due = now + self._t1_rto

    def _hello(
        self, kind: int, tag: int, tsn: int, *, cookie: bytes = b"", unknown: Iterable[tuple[int, bytes]] = ()
    ) -> bytes:
        """An INIT or INIT-ACK chunk."""
        parameters = our_parameters(zero_checksum=self.options.zero_checksum)
        if cookie:
            parameters.insert(0, (chunks.STATE_COOKIE, cookie))
        parameters += [(chunks.UNRECOGNIZED, chunks.encode_parameters([parameter])) for parameter in unknown]
        init = chunks.Init(tag, self.options.window, STREAMS, STREAMS, tsn, parameters)
        return encode_chunk(kind, 0, chunks.encode_init(init))

    def _header(self, tag: int) -> bytes:
        """The head of a packet, its checksum still to be filled in."""
        return COMMON.pack(self.options.local_port, self.options.remote_port, tag, 0)

    def _read_hello(self, body: bytes) -> Hello | None:
        try:
            hello = read_hello(body)
        except ParseError:
            self.counters.add("init_malformed")
            return None
        if 0 in (hello.init.tag, hello.init.outbound, hello.init.inbound):
            self.counters.add("init_invalid")
            return None
        return hello

    def _handle_init(self, body: bytes, now: float) -> None:
        if self.state == SHUTDOWN_ACK_SENT:
            self._reply(encode_chunk(chunks.SHUTDOWN_ACK))
            return
        hello = self._read_hello(body)
        if hello is None:
            return
        init = hello.init
        if self.state < ESTABLISHED:
            tag, tsn, tie_ours, tie_peer = self._tag, self._tsn, 0, 0
        else:
            # Perhaps a restart, perhaps only a late duplicate: the tie tags will tell (section 5.2.2).
            tag, tsn, tie_ours, tie_peer = self._tags.uint(32) or 1, self._tags.uint(32), self._tag, self._peer_tag
        cookie = Cookie(
            issued=now,
            tag=tag,
            peer_tag=init.tag,
            tsn=tsn,
            peer_tsn=init.tsn,
            window=init.window,
            outbound=init.outbound,
            inbound=init.inbound,
            extensions=hello.extensions,
            tie_ours=tie_ours,
            tie_peer=tie_peer,
        )
        sealed = seal_cookie(cookie, self._cookie_key)
        self._answer(init.tag, self._hello(chunks.INIT_ACK, tag, tsn, cookie=sealed, unknown=hello.unknown))

    def _handle_init_ack(self, body: bytes, now: float) -> None:
        hello = self._read_hello(body)
        if hello is None:
            return
        init, cookie = hello.init, hello.cookie
        if not cookie or len(cookie) > limits.SCTP_COOKIE:
            self.counters.add("init_ack_cookie")
            return
        self._learn(init.tag, init.tsn, init.window, hello.extensions)
        if self._t1_count == 0:
            self.sender.measured(now - self._init_at)
        self._cookie = encode_chunk(chunks.COOKIE_ECHO, 0, cookie)
        self._cookie_now = True
        self.state = COOKIE_ECHOED
        self._t1_count = 0
        self._t1_rto = self.sender.rto
        self._t1_due = now + self._t1_rto

    def _learn(self, tag: int, tsn: int, window: int, extensions: int) -> None:
        """Take over what the peer said of itself."""
        self._peer_tag = tag
        sender = self.sender
        sender.header = self._header(tag)
        sender.zero_checksum = self.options.zero_checksum and bool(extensions & ZERO)
        sender.partial = bool(extensions & FORWARD)
        sender.peer_window = window
        self.receiver.cum = (tsn - 1) & MASK32
        self.resets.expected = tsn

    def _handle_cookie_echo(self, body: bytes, now: float) -> bool:
        """False drops the rest of the packet."""
        cookie = open_cookie(body, self._cookie_key)
        if cookie is None:
            self.counters.add("cookie_invalid")
            return False
        age, ours, same_peer = now - cookie.issued, cookie.tag == self._tag, cookie.peer_tag == self._peer_tag
        if ours and self.state < ESTABLISHED:
            if age > _COOKIE_LIFETIME and not same_peer:
                self.counters.add("cookie_stale")
                staleness = _U32.pack(min(int((age - _COOKIE_LIFETIME) * 1e6), MASK32))
                cause = chunks.encode_cause(chunks.STALE_COOKIE, staleness)
                self._answer(cookie.peer_tag, encode_chunk(chunks.ERROR, 0, cause))
                return False
            if self.state != COOKIE_ECHOED or not same_peer:
                self._learn(cookie.peer_tag, cookie.peer_tsn, cookie.window, cookie.extensions)
            self._reply(encode_chunk(chunks.COOKIE_ACK))
            self._established(now)
            return True
        if ours and same_peer:
            # Our COOKIE-ACK was lost, or the handshakes crossed.
            self._reply(encode_chunk(chunks.COOKIE_ACK))
            return True
        tied = (cookie.tie_ours, cookie.tie_peer) == (self._tag, self._peer_tag)
        if not ours and tied and self.state >= ESTABLISHED:
            if age <= _COOKIE_LIFETIME:
                self._send_abort(chunks.RESTART)
                self._lose("restarted", "the peer started a new association")
            else:
                self.counters.add("cookie_stale")
            return False
        self.counters.add("cookie_unexpected")
        return False

    def _answer(self, tag: int, chunk: bytes) -> None:
        """A packet of its own to a peer whose tag we have not taken over, or no longer have."""
        if len(self.packets) < limits.SCTP_CONTROL:
            self.packets.append(chunks.with_checksum(self._header(tag) + chunk))
        else:
            self.counters.add("control_limit")

    def _established(self, now: float) -> None:
        self.state = ESTABLISHED
        self._t1_due = INF
        self._cookie = b""
        self._cookie_now = False
        if self.sender.outstanding:
            self.sender.t3_due = now + self.sender.rto
        self._arm_heartbeat(now)
        self.outbox.append(SctpUp())

    def _handle_error(self, body: bytes, now: float) -> None:
        self.counters.add("errors_reported")
        if self.state != COOKIE_ECHOED or body[:2] != chunks.STALE_COOKIE.to_bytes(2, "big"):
            return
        self._stale_cookies += 1
        if self._stale_cookies > _STALE_COOKIES:
            self._lose("timeout", "the peer finds every cookie stale")
            return
        self.state = COOKIE_WAIT
        self._cookie_now = False
        self._t1_count = 1
        self._send_init(now)

    # ------------------------------------------------------------------ other chunks

    def _handle_forward(self, body: bytes) -> None:
        if self.state > SHUTDOWN_SENT:
            self.counters.add("data_unexpected")
            return
        try:
            forward = chunks.decode_forward_tsn(body)
        except ParseError:
            self.counters.add("chunk_malformed")
            return
        self.receiver.handle_forward(forward.cumulative, forward.streams)

    def _arm_heartbeat(self, now: float) -> None:
        self._heartbeat_tsn = self.sender.next_tsn
        self._heartbeat_due = now + self.options.heartbeat_interval + self.sender.rto

    def _send_heartbeat(self, now: float) -> None:
        self._heartbeat_pending = nonce = self._nonces.uint(32) or 1
        info = chunks.encode_parameters([(chunks.HEARTBEAT_INFO, _HEARTBEAT.pack(nonce, now))])
        self._reply(encode_chunk(chunks.HEARTBEAT, 0, info))
        self._heartbeat_rto_due = now + self.sender.rto

    def _handle_heartbeat_ack(self, body: bytes, now: float) -> None:
        if len(body) != 4 + _HEARTBEAT.size or not self._heartbeat_pending:
            self.counters.add("heartbeat_unexpected")
            return
        nonce, sent = _HEARTBEAT.unpack_from(body, 4)
        if nonce != self._heartbeat_pending or not 0 <= now - sent < INF:
            self.counters.add("heartbeat_unexpected")
            return
        self._heartbeat_pending = 0
        self._heartbeat_rto_due = INF
        self.sender.errors = 0
        self.sender.measured(now - sent)
        if INF > self.sender.t3_due > now + self.sender.rto:  # put off by timeouts of an outage that is over
            self.sender.t3_due = now + self.sender.rto
        self._arm_heartbeat(now)
        self.outbox.append(HeartbeatAcked(now - sent))

    # ------------------------------------------------------------------ shutdown (RFC 9260 section 9.2)

    def _handle_shutdown(self, body: bytes, now: float) -> None:
        if len(body) != 4:
            self.counters.add("chunk_malformed")
            return
        if self.state <= SHUTDOWN_RECEIVED:
            # The cumulative TSN acknowledges, like a SACK without gap blocks and with the window last heard.
            sack = chunks.SACK_HEAD.pack(SACK, 0, 16, _U32.unpack(body)[0], self.sender.peer_window, 0, 0)
            self.sender.handle_sack(sack, 0, 16, now)
        if self.state in (ESTABLISHED, SHUTDOWN_PENDING):
            self.state = SHUTDOWN_RECEIVED
        elif self.state == SHUTDOWN_SENT:
            self._send_shutdown_ack(now)

    def _send_shutdown(self, now: float) -> None:
        self.state = SHUTDOWN_SENT
        self._control.append(encode_chunk(chunks.SHUTDOWN, 0, _U32.pack(self.receiver.cum & MASK32)))
        self._t2_due = now + self.sender.rto

    def _send_shutdown_ack(self, now: float) -> None:
        self.state = SHUTDOWN_ACK_SENT
        self._control.append(encode_chunk(chunks.SHUTDOWN_ACK))
        self._t2_due = now + self.sender.rto

    def _handle_shutdown_ack(self) -> None:
        if self.state in (SHUTDOWN_SENT, SHUTDOWN_ACK_SENT):
            self._send_alone(encode_chunk(chunks.SHUTDOWN_COMPLETE))
            self._lose("shutdown")
        else:
            self.counters.add("chunk_unexpected")

    def _answer_late(self, data: bytes, tag: int) -> None:
        """The last word was lost: it is said again (RFC 9260 section 8.4, rule 5), or the peer would wait in vain.

        It is all that a closed association still answers, and it changes nothing.
        """
        kind, _, length = _unpack_chunk(data, COMMON_SIZE)
        if kind == chunks.SHUTDOWN_ACK and length == 4 and len(data) == COMMON_SIZE + 4 and tag == self._tag:
            self._answer(tag, encode_chunk(chunks.SHUTDOWN_COMPLETE, chunks.TAG_REFLECTED))

    def _handle_shutdown_complete(self) -> None:
        if self.state == SHUTDOWN_ACK_SENT:
            self._lose("shutdown")
        else:
            self.counters.add("chunk_unexpected")

    # ------------------------------------------------------------------ ends

    def _protocol_error(self, cause: int, information: bytes) -> None:
        if self.state != LOST:
            self._send_abort(cause, information)
            text = information.decode() if cause == chunks.PROTOCOL_VIOLATION else chunks.CAUSE_NAMES[cause]
            self._lose("protocol", text)

    def _send_abort(self, cause: int, information: bytes = b"") -> None:
        self._send_alone(encode_chunk(chunks.ABORT, 0, chunks.encode_cause(cause, information)))

    def _send_alone(self, chunk: bytes) -> None:
        self.sender.finish(self.packets, [self.sender.header, chunk])

    def _lose(self, reason: str, detail: str = "") -> None:
        self.state = LOST
        self._control.clear()
        self.outbox.append(SctpLost(reason, detail))

    def _reply(self, chunk: bytes) -> None:
        if len(self._control) < limits.SCTP_CONTROL:
            self._control.append(chunk)
        else:
            self.counters.add("control_limit")

    # ------------------------------------------------------------------ time

    def _time(self, now: float) -> float:
        if now > self._now:
            self._now = now
        return self._now

    def advance(self, now: float) -> float:
        """Do what is due and owed; the next deadline."""
        now = self._now = now if now > self._now else self._now
        state = self.state
        if state == LOST:
            return INF
        sender = self.sender
        receiver = self.receiver
        resets = self.resets
        if self._t1_due <= now:
            self._handle_t1(now)
        if state >= ESTABLISHED:
            if sender.t3_due <= now:
                sender.handle_timeout(now)
            elif sender.probe_due <= now:
                sender.handle_probe_timer(now)
            if self._heartbeat_due <= now or self._heartbeat_rto_due <= now:
                self._handle_heartbeat_timer(now)
            if resets.due <= now:
                resets.handle_timeout()
            if resets.waiting or resets.deferred:
                resets.poll()
            if state != ESTABLISHED:
                self._step_shutdown(now)
            if sender.errors > self.options.max_retransmissions:
                self._send_abort(chunks.USER_ABORT)
                self._lose("timeout", "the peer does not answer")
        if self.state == LOST:
            return INF
        self._emit(now)
        if self.state > ESTABLISHED or resets.waiting:
            # What was dropped unsent just now may have been all that a reset or the shutdown waited for.
            resets.poll()
            self._step_shutdown(now)
            if resets.send_now or self._control:
                self._emit(now)
        due = self._t1_due
        if self.state >= ESTABLISHED:
            due = sender.t3_due
            if receiver.sack_due < due:
                due = receiver.sack_due
            if sender.probe_due < due:
                due = sender.probe_due
            if sender.pace_due > now and sender.pace_due < due and not self.blocked:
                due = sender.pace_due
            due = min(due, self._t2_due, self._heartbeat_due, self._heartbeat_rto_due, resets.due)
        return due

    def _emit(self, now: float) -> None:
        sender = self.sender
        receiver = self.receiver
        resets = self.resets
        state = self.state
        if state == COOKIE_ECHOED:
            if self._cookie_now:
                self._cookie_now = False
                self._emit_cookie(now)
            return
        if state < ESTABLISHED:
            return
        data = state <= SHUTDOWN_RECEIVED and state != SHUTDOWN_SENT and not self.blocked
        parts = [sender.header]
        full = room = sender.mtu - COMMON_SIZE
        # COOKIE-ACK, if there is one, is the first of the control chunks and so of the packet (section 3.3.12).
        waiting = self._control
        if waiting or resets.replies or resets.send_now:
            waiting = waiting + resets.replies
            self._control = []
            resets.replies = []
            if resets.send_now:
                waiting.append(resets.take_chunk(now))
            for chunk in waiting:
                if len(chunk) > room and len(parts) > 1:
                    sender.finish(self.packets, parts)
                    parts = [sender.header]
                    room = full
                parts.append(chunk)
                room -= len(chunk)
        unacked = receiver.unacked
        if unacked or receiver.sack_now:
            if (
                receiver.sack_now
                or unacked > 1
                or receiver.sack_due <= now
                or (data and (sender.active or sender.lost) and sender.eager(now))
            ):
                if room < 64:
                    sender.finish(self.packets, parts)
                    parts = [sender.header]
                    room = full
                chunk = receiver.take_sack(room)
                parts.append(chunk)
                room -= len(chunk)
            elif receiver.sack_due == INF:
                receiver.sack_due = now + _SACK_DELAY
        if data and (sender.active or sender.lost or sender.forward_owed):
            if sender.forward_owed:
                if room < 64:
                    sender.finish(self.packets, parts)
                    parts = [sender.header]
                    room = full
                chunk = sender.take_forward(room, now)
                parts.append(chunk)
                room -= len(chunk)
            sender.emit(self.packets, parts, room, now)
            if sender.forward_owed:
                # Messages whose time ran out were given up meanwhile.
                self._send_alone(sender.take_forward(full, now))
        elif len(parts) > 1:
            sender.finish(self.packets, parts)

    def _emit_cookie(self, now: float) -> None:
        """COOKIE-ECHO and as much data as fits behind it, but no other packet (section 5.1 C)."""
        sender = self.sender
        room = sender.mtu - COMMON_SIZE - len(self._cookie)
        out: deque[bytes] = deque()
        zero = sender.zero_checksum
        # A packet with a cookie needs its checksum whatever was agreed (RFC 9653 section 5.2).
        sender.zero_checksum = False
        if self.blocked:
            sender.finish(out, [sender.header, self._cookie])
        else:
            for chunk in sender.outstanding:
                chunk.state = 2
            sender.lost.clear()
            sender.lost += sender.outstanding
            sender.flight = 0
            sender.emit(out, [sender.header, self._cookie], room, now, single=True)
        sender.zero_checksum = zero
        # T1 watches over this packet.
        sender.t3_due = INF
        self.packets += out

    def _handle_t1(self, now: float) -> None:
        self._t1_count += 1
        if self._t1_count > self.options.max_init_retransmissions:
            self._lose("timeout", "the handshake was not answered")
            return
        self._t1_rto = min(2 * self._t1_rto, self.options.rto_max)
        if self.state == COOKIE_WAIT:
            self._send_init(now)
        else:
            self._cookie_now = True
            self._t1_due = now + self._t1_rto

    def _handle_heartbeat_timer(self, now: float) -> None:
        sender = self.sender
        if self._heartbeat_rto_due <= now:
            # Not answered in time: count it and probe again.
            sender.back_off()
            self.counters.add("heartbeat_timeouts")
            self._send_heartbeat(now)
            self._heartbeat_due = INF
        elif sender.next_tsn != self._heartbeat_tsn or sender.outstanding or self._heartbeat_pending:
            # Data has shown lately that the path works.
            self._arm_heartbeat(now)
        else:
            self._heartbeat_due = INF
            self._send_heartbeat(now)

    def _step_shutdown(self, now: float) -> None:
        if self.state == SHUTDOWN_PENDING and self.sender.idle():
            self._send_shutdown(now)
        elif self.state == SHUTDOWN_RECEIVED and self.sender.idle():
            self._send_shutdown_ack(now)
        elif self._shutdown_again:
            self._shutdown_again = False
            self._send_shutdown(now)
        elif self._t2_due <= now:
            self.sender.back_off()
            if self.state == SHUTDOWN_SENT:
                self._send_shutdown(now)
            else:
                self._send_shutdown_ack(now)
