"""One end of a DTLS 1.2 association as a machine: flights, timers, and who the peer is (RFC 6347, RFC 5764, RFC 8827).

Retransmission is ours, not the engine's: a lost flight costs tens of milliseconds instead of OpenSSL's full second,
and can be simulated. While connected this is a thin layer over the engine.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from hmac import compare_digest

from attrs import frozen

from ..base.contract import INF
from ..base.counters import Counters
from ..base.entropy import Entropy
from ..base.errors import LocalProtocolError, ParseError
from ..base.limits import DTLS_EARLY_RECORDS
from .engine import (
    DEFAULT_PROFILES,
    SRTP_PROFILES,
    DtlsClosed,
    DtlsConnected,
    DtlsFailed,
    DtlsFailure,
    DtlsOutput,
    Engine,
    EngineError,
    EngineFactory,
    Records,
    Role,
    default_engine,
)
from .flights import (
    ALERT,
    APPLICATION_DATA,
    CHANGE_CIPHER_SPEC,
    HANDSHAKE,
    RECORD_HEADER,
    VERSION,
    Part,
    Plain,
    Sealed,
    changes_cipher,
    new_parts,
    pack_flight,
    parse_flight,
    parse_fragments,
    split_records,
)
from .identity import DtlsIdentity, certificate_digest, parse_fingerprint
from .reassembly import Reassembler

LEAST_MTU = 256
MOST_PLAINTEXT = 16384
"""Bytes of one record (RFC 6347 section 4.1)."""
APPLICATION_RECORD = b"\x17\xfe\xfd\x00\x01"
"""How a record of application data begins: type, version, epoch. There is no second epoch without renegotiation."""
FATAL = 2
WHOLE = 1 << 30
"""An MTU that nothing reaches."""

NOTHING: tuple[Part, ...] = ()

NEW, HANDSHAKING, CONNECTED, CLOSED = range(4)


@frozen
class DtlsOptions:
    """Seconds, unless said otherwise.

    Without ``set_rtt`` a flight is repeated after ``first_timeout``; with it after one and a half round trips and a
    little, but not before ``least_timeout``. The wait doubles up to ``most_timeout``. An unauthenticated alert only
    shortens the handshake's time to ``alert_grace``, since anybody could have sent it. ``srtp_profiles`` are the
    names to offer, by preference.
    """

    first_timeout: float = 0.08
    least_timeout: float = 0.05
    most_timeout: float = 1.0
    handshake_timeout: float = 30.0
    alert_grace: float = 1.0
    srtp_profiles: tuple[str, ...] = DEFAULT_PROFILES


DEFAULT_OPTIONS = DtlsOptions()


class DtlsEndpoint:
    """The machine.

    ``datagrams`` are to be sent, in order. ``plaintexts`` holds received application data, only ever from the peer
    whose certificate has the announced fingerprint. ``outbox`` gets ``DtlsConnected`` at most once, and exactly one
    ``DtlsClosed`` or ``DtlsFailed`` at the end. ``seal`` is for the owner to send at once, past ``datagrams``.
    """

    __slots__ = (
        *("datagrams", "plaintexts", "outbox", "connected", "counters"),
        *("_identity", "_entropy", "_factory", "_mtu", "_options", "_expected", "_engine", "_state", "_server", "_now"),
        *("_first", "_timeout", "_resend_at", "_sent_at", "_deadline", "_alert", "_flight", "_record_seq"),
        *("_inbound", "_fed", "_answered", "_refused", "_early", "_records"),
    )

    def __init__(
        self,
        identity: DtlsIdentity,
        *,
        entropy: Entropy,
        engine: EngineFactory = default_engine,
        mtu: int = 1200,
        options: DtlsOptions = DEFAULT_OPTIONS,
    ) -> None:
        """``mtu`` bounds the UDP payload of the handshake; what is sealed is as long as the caller makes it."""
        if mtu < LEAST_MTU:
            raise LocalProtocolError(f"the MTU is below {LEAST_MTU}")
        if not all(name in SRTP_PROFILES for name in options.srtp_profiles):
            raise LocalProtocolError("unknown SRTP profile")
        self.datagrams: deque[bytes] = deque()
        self.plaintexts: deque[bytes] = deque()
        self.outbox: deque[DtlsOutput] = deque()
        self.connected = False
        self.counters = Counters()
        self._identity = identity
        self._entropy = entropy
        self._factory = engine
        self._mtu = mtu
        self._options = options
        self._expected: tuple[str, bytes] | None = None
        self._engine: Engine | None = None
        self._state = NEW
        self._server = False
        self._now = -INF
        self._first = options.first_timeout
        self._timeout = 0.0
        self._resend_at = INF
        self._sent_at = -INF
        self._deadline = INF
        self._alert = -1  # description of an alert that anybody may have sent
        self._flight: Sequence[Part] = NOTHING  # ours, unanswered
        self._record_seq = 0
        self._inbound = Reassembler()
        self._fed = 0  # records of epoch 0 that the engine has had
        self._answered = -1  # number of the peer's last message when we sent our flight
        self._refused = False
        self._early: list[bytes] = []  # encrypted records that overtook the peer's Finished
        self._records: Records | None = None  # while connected

    # ------------------------------------------------------------------ operations

    def set_remote_fingerprint(self, algorithm: str, value: str) -> None:
        """The fingerprint from the peer's description: sha-256, sha-384 or sha-512 in hexadecimal, any case.

        Raises LocalProtocolError for anything else, and once started.
        """
        if self._state != NEW:
            raise LocalProtocolError("DTLS has started")
        try:
            self._expected = parse_fingerprint(algorithm, value)
        except ParseError as error:
            raise LocalProtocolError(str(error)) from None

    def set_rtt(self, rtt: float) -> None:
        """The path's round-trip time in seconds, for the timers of the flights to come."""
        if not 0 <= rtt < INF:
            raise LocalProtocolError("not a round-trip time")
        options = self._options
        self._first = min(max(1.5 * rtt + 0.02, options.least_timeout), options.most_timeout)

    def start(self, role: Role, now: float) -> None:
        """Begin: a client sends its ClientHello, a server awaits one. Needs the remote fingerprint."""
        if self._state != NEW:
            raise LocalProtocolError("DTLS has started")
        if self._expected is None:
            raise LocalProtocolError("the remote fingerprint is not known")
        if role not in ("client", "server"):
            raise LocalProtocolError("role")
        self._engine = self._factory(self._identity, role, self._accept, self._options.srtp_profiles, self._entropy)
        self._state = HANDSHAKING
        self._server = role == "server"
        self._now = max(self._now, now)
        self._deadline = self._now + self._options.handshake_timeout
        self._run(b"")

    def seal(self, data: bytes) -> bytes:
        """The datagram that carries ``data``, 37 bytes longer with AES-GCM; the caller sends it."""
        records = self._records
        if records is None:
            raise LocalProtocolError("DTLS is not connected")
        if not 0 < len(data) <= MOST_PLAINTEXT:
            raise LocalProtocolError("a record holds 1 to 16384 bytes")
        return records.seal(data)

    def close(self, now: float) -> None:
        """End the association: close_notify when connected, silence before. Does nothing the second time."""
        if self._state == CLOSED:
            return
        self._now = max(self._now, now)
        self._leave()
        self.outbox.append(DtlsClosed())

    # ------------------------------------------------------------------ inputs

    def handle_datagram(self, data: bytes, now: float) -> None:
        """A datagram whose first byte says DTLS (RFC 7983: 20 to 63), from anybody."""
        if self.connected:
            # the hot path: one record of application data
            if (
                len(data) > RECORD_HEADER
                and data.startswith(APPLICATION_RECORD)
                and ((data[11] << 8 | data[12]) + RECORD_HEADER == len(data))
            ):
                self._open(data)
                return
            self._now = max(self._now, now)
            self._handle_while_connected(data)
        elif self._state == HANDSHAKING:
            self._now = max(self._now, now)
            self._handle_while_handshaking(data)
        elif self._state == NEW:
            self.counters.add("dtls_early")

    def _handle_while_handshaking(self, data: bytes) -> None:
        records, whole = split_records(data)
        if not whole or not records:
            self.counters.add("dtls_malformed")
        parts: list[Part] = []
        repeated = False
        for content, epoch, start, end in records:
            body = start + RECORD_HEADER
            if epoch and content == HANDSHAKE:
                parts.append(Sealed(data[start:end]))
            elif epoch:
                self._keep(data[start:end])
            elif content == HANDSHAKE:
                repeated = self._collect(data, body, end) or repeated
                parts += self._inbound.take()
            elif content == ALERT:
                self._handle_clear_alert(data[body:end])
            elif content == CHANGE_CIPHER_SPEC and data[body:end] == b"\1":
                parts.append(Plain(VERSION, CHANGE_CIPHER_SPEC, b"\1"))
            else:
                # OpenSSL takes these for fatal, but anybody can send them
                self.counters.add("dtls_malformed")
        if parts:
            # Record numbers of epoch 0 are ours: nothing protects the peer's, and OpenSSL's replay window trusts them.
            (fed,), self._fed = pack_flight(parts, WHOLE, self._fed)
            if self._run(fed):
                return
        if repeated:
            # RFC 6347 section 4.2.4: the peer repeats its flight, so it has not got ours
            self._resend_for_peer()

    def _keep(self, record: bytes) -> None:
        """An encrypted record that is not for the engine to see before there are keys: data, or an alert behind it."""
        if len(self._early) < DTLS_EARLY_RECORDS:
            self._early.append(record)
        else:
            self.counters.add("dtls_early")

    def _collect(self, data: bytes, start: int, end: int) -> bool:
        """Take the handshake messages of a record; True when the peer had sent one before we sent our flight."""
        try:
            fragments = parse_fragments(data, start, end)
        except ParseError:
            self.counters.add("dtls_malformed")
            return False
        for piece in fragments:
            if not self._inbound.add(piece):
                self.counters.add("dtls_malformed")
        return any(piece.seq <= self._answered for piece in fragments)

    def _handle_clear_alert(self, body: bytes) -> None:
        if len(body) == 2 and body[0] == FATAL and self._alert < 0:
            self._alert = body[1]
            self._deadline = min(self._deadline, self._now + self._options.alert_grace)
        else:
            self.counters.add("dtls_alert_ignored")

    def _handle_while_connected(self, data: bytes) -> None:
        records, whole = split_records(data)
        if not whole or not records:
            self.counters.add("dtls_malformed")
        repeated = False
        sealed = []
        for content, epoch, start, end in records:
            if epoch:
                sealed.append(data[start:end])
            elif content in (HANDSHAKE, CHANGE_CIPHER_SPEC):
                repeated = True
            else:
                self.counters.add("dtls_unexpected")
        if repeated:
            self._resend_for_peer()
        for record in sealed:
            if self.connected:  # an alert ends it
                take = self._open if record[0] == APPLICATION_DATA else self._control
                take(record)

    # ------------------------------------------------------------------ the handshake

    def _accept(self, certificate: bytes) -> bool:
        algorithm, expected = self._expected  # type: ignore[misc]
        if compare_digest(certificate_digest(certificate, algorithm), expected):
            return True
        self._refused = True
        return False

    def _run(self, datagram: bytes) -> bool:
        """Let the engine go on; True when it has written a new flight or has come to an end."""
        engine = self._engine
        assert engine is not None
        try:
            complete = engine.handshake(datagram)
            if complete and not self._accept(engine.peer_certificate()):
                raise EngineError(DtlsFailure.FINGERPRINT, "certificate refused")
        except EngineError as error:
            self._send_alerts(engine.take())
            if self._refused:
                self._fail(DtlsFailure.FINGERPRINT, "the peer's certificate is not the announced one")
            else:
                self._fail(error.reason, error.detail)
            return True
        fresh = self._take_flight(engine)
        if complete:
            self._connect(engine)
        return fresh or complete

    def _take_flight(self, engine: Engine) -> bool:
        written = engine.take()
        if not written:
            return False
        parts = parse_flight(written)
        fresh = new_parts(parts, self._flight)
        if not fresh:
            # The engine repeats itself. Its newest Finished is the better one to send: a connected peer takes the
            # old one for a replay, and OpenSSL repeats its own last flight only for a new one.
            self._flight = parts
            return False
        self._flight = fresh
        self._answered = self._inbound.next - 1
        self._timeout = self._first
        self._send_flight()
        return True

    def _connect(self, engine: Engine) -> None:
        self._state = CONNECTED
        self.connected = True
        self._records = engine.records()
        self._deadline = self._resend_at = INF
        if not self._server:
            self._flight = NOTHING
        profile = engine.srtp_profile()
        if profile is None:
            self.outbox.append(DtlsConnected(None, b"", b""))
        else:
            client, server = engine.srtp_keys(profile)
            local, remote = (server, client) if self._server else (client, server)
            self.outbox.append(DtlsConnected(profile.name, local, remote))
        self._control(b"")
        early, self._early = self._early, []
        for record in early:
            self.handle_datagram(record, self._now)

    def _send_flight(self) -> None:
        datagrams, self._record_seq = pack_flight(self._flight, self._mtu, self._record_seq)
        self.datagrams.extend(datagrams)
        self._sent_at = self._now
        self._resend_at = self._now + self._timeout

    def _resend_for_peer(self) -> None:
        """Repeat our flight since the peer asks for it by repeating its own; at most so often.

        A client that is connected has got all there is and keeps no flight, a server not for longer than the peer may
        need it: two ends that answer each other's repetitions would never stop.
        """
        if self._flight and self._now - self._sent_at >= self._first / 2:
            self.counters.add("dtls_resent")
            self._send_flight()
            if self.connected:
                self._resend_at = INF
        else:
            self.counters.add("dtls_repeated")

    # ------------------------------------------------------------------ afterwards

    def _open(self, record: bytes) -> None:
        try:
            data = self._records.open(record)  # type: ignore[union-attr]
        except EngineError as error:
            self._break_off(error)
            return
        if data:
            self.plaintexts.append(data)
            self._flight = NOTHING  # who sends data has got our last flight
        else:
            self.counters.add("dtls_undecryptable")

    def _control(self, record: bytes) -> None:
        """Encrypted alerts and handshake messages; an empty record for what came in with the peer's last flight."""
        engine = self._engine
        assert engine is not None
        try:
            going_on = engine.control(record)
        except EngineError as error:
            self._break_off(error)
            return
        if not going_on:
            self._leave()
            self.outbox.append(DtlsClosed())
            return
        if record:
            self.counters.add("dtls_unexpected")
        written = engine.take()
        if written:
            self._handle_late_output(parse_flight(written))

    def _handle_late_output(self, parts: list[Part]) -> None:
        """OpenSSL answers a repeated Finished, or refuses a renegotiation.

        Under a number from before our data: a peer without our Finished has a place for it, and one that asks for
        another handshake after much data does not hear our refusal, only that nothing comes of it.
        """
        if changes_cipher(parts):
            if self._flight:
                self._flight = parts
            self._resend_for_peer()
        else:
            datagrams, self._record_seq = pack_flight(parts, self._mtu, self._record_seq)
            self.datagrams.extend(datagrams)

    def _send_alerts(self, written: bytes) -> None:
        alerts: list[Part] = [
            part
            for part in parse_flight(written)
            if (isinstance(part, Plain) and part.content == ALERT)
            or (isinstance(part, Sealed) and part.record[0] == ALERT)
        ]
        datagrams, self._record_seq = pack_flight(alerts, self._mtu, self._record_seq)
        self.datagrams.extend(datagrams)

    def _leave(self) -> None:
        if self.connected:
            self.datagrams.append(self._records.close())  # type: ignore[union-attr]
        self._end()

    def _break_off(self, error: EngineError) -> None:
        """The peer has sent a fatal alert or, under its own key, nonsense.

        It is told close_notify and not the engine's alert, whose number is among those before our data: a peer that has
        had more data from us than its replay window holds would drop it, and take us for connected still.
        """
        self._leave()
        self._fail(error.reason, error.detail)

    def _fail(self, reason: DtlsFailure, detail: str) -> None:
        self._end()
        self.outbox.append(DtlsFailed(reason, detail))

    def _end(self) -> None:
        self._state = CLOSED
        self.connected = False
        self._engine = self._records = None
        self._flight = NOTHING
        self._early = []
        self._deadline = self._resend_at = INF

    # ------------------------------------------------------------------ time

    def advance(self, now: float) -> float:
        """Repeat what is due, or give up. Returns the next deadline."""
        now = self._now = max(self._now, now)
        if self._deadline <= now:
            if self._alert >= 0:
                self._fail(DtlsFailure.ALERT, f"alert {self._alert} from the peer")
            else:
                self._fail(DtlsFailure.TIMEOUT, "the handshake took too long")
        elif self._resend_at <= now:
            self._timeout = min(2 * self._timeout, self._options.most_timeout)
            self._run(b"")
            if self._resend_at <= now:
                self.counters.add("dtls_resent")
                self._send_flight()
        return min(self._deadline, self._resend_at)
