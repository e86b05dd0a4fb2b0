"""ICE, DTLS, SRTP and SCTP on one packet path.

``receive_datagram`` is the per-packet entry and stays straight-line: classify by the first byte (RFC 7983), decrypt,
hand to RTP or SCTP. Everything owed (checks, flights, acknowledgements, bundles) leaves in ``advance``, once per burst.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Protocol

from attrs import frozen

from ..base.contract import INF, NOW, Address, Transmit
from ..base.counters import Counters
from ..base.entropy import Entropy
from ..base.limits import EARLY_DATAGRAMS
from ..base.wallclock import WallClock
from ..dtls.endpoint import DtlsEndpoint
from ..dtls.engine import DtlsConnected, DtlsFailed, EngineFactory, Role, default_engine
from ..dtls.identity import DtlsIdentity
from ..ice.agent import IceAgent, IceOptions, IceState, IceStateChanged, PairReport, PairSelected
from ..ice.candidate import TCP, Candidate
from ..rtp.session import RtpSession
from ..sctp.association import SctpAssociation, SctpLost, SctpOptions
from ..sctp.channel import DataChannels
from ..srtp import SrtpReceiver, SrtpSender

MAX_ROUNDS = 64
"""Turns of the settling loop before it counts as a bug."""


@frozen
class TransportConnected:
    """DTLS is connected over a nominated pair; keys for SRTP are exported, SCTP has begun."""

    profile: str | None
    rtt: float


@frozen
class TransportFailed:
    """This transport cannot go on. ``layer``: "ice", "dtls" or "sctp"."""

    layer: str
    detail: str


@frozen
class StreamOffered:
    """The peer has a passive TCP candidate: it waits for a connection of ours."""

    candidate: Candidate


class MediaMachine(Protocol):
    """What handles the RTP and RTCP of a transport: a client's ``RtpSession``, or a server's relay.

    ``rtp`` and ``rtcp`` hold what is to be protected and sent, ``outbox`` what the owner of the transport gets.
    """

    rtp: deque[bytes]
    rtcp: deque[bytes]
    outbox: deque[Any]

    def skips(self, data: bytes) -> bool: ...
    def receive_rtp(self, data: bytes, now: float) -> None: ...
    def receive_rtcp(self, data: bytes, now: float) -> None: ...
    def set_rtt(self, rtt: float) -> None: ...
    def advance(self, now: float) -> float: ...
    def close(self, now: float) -> None: ...


class PeerTransport:
    """The packets of one peer connection: an ICE agent, a DTLS endpoint, RTP, and an SCTP association with channels.

    ``transmits`` is the owner's deque: final datagrams are appended to it directly. ``outbox`` carries
    TransportConnected, TransportFailed, the events of ICE, of ``rtp`` and those of the channels. ``channels`` exist
    once the remote description is known. ``profile`` names the SRTP profile; without one there is no media, and what
    comes is counted. ``local_key`` and ``remote_key`` are its keys. ``wall`` and ``cname`` are for
    ``rtp``, the session of a client; a server gives ``media`` in its place.
    """

    def __init__(
        self,
        entropy: Entropy,
        identity: DtlsIdentity,
        transmits: deque[Transmit],
        *,
        controlling: bool,
        ice_options: IceOptions | None = None,
        sctp_options: SctpOptions | None = None,
        dtls_engine: EngineFactory = default_engine,
        wall: WallClock | None = None,
        cname: str = "-",
        media: MediaMachine | None = None,
    ) -> None:
        self.transmits = transmits
        self.outbox: deque[Any] = deque()
        self.counters = Counters()
        self.ice = IceAgent(entropy.fork("ice"), controlling=controlling, options=ice_options or IceOptions())
        self.dtls = DtlsEndpoint(identity, entropy=entropy.fork("dtls"), engine=dtls_engine)
        self.association = SctpAssociation(entropy.fork("sctp"), options=sctp_options or SctpOptions())
        self.media = media or RtpSession(entropy.fork("rtp"), wall or WallClock(), cname=cname)
        self.channels: DataChannels | None = None
        self.srtp_sender: SrtpSender | None = None
        self.srtp_receiver: SrtpReceiver | None = None
        self.closed = False
        self.profile: str | None = None
        self.local_key = b""
        self.remote_key = b""
        self._role: Role | None = None
        self._dtls_started = False
        self._early: deque[bytes] = deque()
        self._inbound = False
        self._interrupted = False
        self._ice_due = NOW
        self._dtls_due = INF
        self._sctp_due = INF
        self._rtp_due = INF

    # ------------------------------------------------------------------ local operations

    def add_local(self, candidate: Candidate, port: int, now: float, *, peer: Address | None = None) -> None:
        """A candidate of ours on an open port; ``peer`` is the far end of a stream."""
        self.ice.add_local(candidate, port, now, peer=peer)
        self._ice_due = NOW

    def remove_local(self, port: int, now: float) -> None:
        """A port of ours is gone."""
        self.ice.remove_local(port, now)
        self._ice_due = NOW

    def set_remote(
        self,
        *,
        ufrag: str,
        pwd: str,
        lite: bool,
        fingerprint: tuple[str, str],
        role: Role,
        now: float,
    ) -> None:
        """What the remote description says of the transport; ``role`` is our DTLS role.

        Repeated for each description: only new credentials (an ICE restart) change anything later on.
        """
        self.ice.set_remote_credentials(ufrag, pwd, now, lite=lite)
        self._ice_due = NOW
        if self._role is None:
            self._role = role
            self.dtls.set_remote_fingerprint(*fingerprint)
            self.channels = DataChannels(self.association, role=role)
            if role == "server":
                self._start_dtls(now)
            self._sctp_due = NOW

    def send_failed(self, port: int, addr: Address, error: str, now: float) -> None:
        """The network refused to send from a port to an address."""
        self.ice.send_failed(port, addr, error, now)
        self._ice_due = NOW

    def doubt(self, now: float) -> None:
        """The network has changed: find out at once whether the path in use still works."""
        self.ice.doubt(now)
        self._ice_due = NOW

    def add_remote(self, candidate: Candidate, now: float) -> None:
        """A remote candidate, from a description or trickled."""
        if candidate.protocol == TCP and candidate.tcptype == "passive" and not self.closed:
            self.outbox.append(StreamOffered(candidate))
        self.ice.add_remote(candidate, now)
        self._ice_due = NOW

    def end_of_remote(self, now: float) -> None:
        """The peer has no more candidates."""
        self.ice.end_of_remote(now)
        self._ice_due = NOW

    def restart_ice(self, now: float) -> None:
        """New ICE credentials; traffic stays on the old pair until a new one is selected."""
        self.ice.restart(now)
        self._ice_due = NOW

    def probe(self, now: float) -> None:
        """Ask over the present path for a sign of life: HeartbeatAcked in the outbox is the answer."""
        self.association.heartbeat(now)
        self._sctp_due = NOW

    def path_restored(self, now: float) -> None:
        """A new path was selected: what is outstanding is sent now, not when a timer says so."""
        self.association.path_restored(now)
        self._sctp_due = NOW

    def touch_data(self) -> None:
        """The owner sent or read on ``channels``: what that owes leaves in the next ``advance``."""
        self._sctp_due = NOW

    def touch_media(self) -> None:
        """The owner wrote or changed something on ``rtp``: what that owes leaves in the next ``advance``."""
        self._rtp_due = NOW

    def set_blocked(self, blocked: bool) -> None:
        """The socket would block: SCTP stops producing data until it is writable again."""
        self.association.blocked = blocked
        if not blocked:
            self._sctp_due = NOW

    @property
    def rtp(self) -> RtpSession:
        """The media of a client."""
        assert isinstance(self.media, RtpSession)
        return self.media

    @property
    def connected(self) -> bool:
        """Whether DTLS is connected."""
        return self.dtls.connected

    def pairs_report(self) -> list[PairReport]:
        """How each candidate pair ended, for errors and diagnostics."""
        return self.ice.pairs_report()

    def close(self, now: float) -> None:
        """Abort SCTP, say close_notify, stop ICE. What that sends is in ``transmits`` on return."""
        if self.closed:
            return
        self.media.close(now)
        if self.dtls.connected:
            self._flush_rtp()
            self.association.abort(now)
            self.association.advance(now)
            self._flush_sctp()
            self.dtls.close(now)
            self._flush_dtls()
        self.ice.close(now)
        self.closed = True

    # ------------------------------------------------------------------ packets in

    def receive_datagram(self, port: int, data: bytes, src: Address, now: float) -> None:
        """One datagram from the network."""
        if not data or self.closed:
            return
        first = data[0]
        if first < 4:
            self.ice.handle_stun(port, data, src, now)
            self._ice_due = NOW
            if self.ice.outbox:
                self._drain_ice(now)  # so that DTLS knows the round trip before a flight in the same burst
            return
        if not self.ice.is_valid_source(port, src):
            self.counters.add("unknown_source")
            return
        if 128 <= first < 192:
            self._receive_media(data, now)
            return
        if 20 <= first < 64:
            if not self._dtls_started:
                if len(self._early) < EARLY_DATAGRAMS:
                    self._early.append(data)
                else:
                    self.counters.add("early_overflow")
                return
            dtls = self.dtls
            dtls.handle_datagram(data, now)
            plaintexts = dtls.plaintexts
            if plaintexts:
                assert self.channels is not None
                handle = self.channels.handle_packet
                while plaintexts:
                    handle(plaintexts.popleft(), now)
                self._inbound = True
                self._sctp_due = NOW
                if not dtls.outbox and not dtls.datagrams:
                    return
            self._dtls_due = NOW
            return
        self.counters.add("unknown_kind")

    def _receive_media(self, data: bytes, now: float) -> None:
        srtp = self.srtp_receiver
        if srtp is None:
            self.counters.add("media_without_keys")
            return
        if len(data) > 1 and 192 <= data[1] < 224:  # RFC 5761 section 4: the types of RTCP
            plain = srtp.unprotect_rtcp(data)
            if plain is not None:
                self.media.receive_rtcp(plain, now)
                self._inbound = True
                self._rtp_due = NOW
            return
        if self.media.skips(data):
            return
        plain = srtp.unprotect(data)
        if plain is not None:
            self.media.receive_rtp(plain, now)
            self._inbound = True  # only what is authenticated is a sign of life
            self._rtp_due = NOW

    # ------------------------------------------------------------------ time

    def advance(self, now: float) -> float:
        """Do everything owed; the next deadline."""
        if self.closed:
            return INF
        if self._inbound:
            self._inbound = False
            self.ice.note_inbound(now)
            if self.ice.state is IceState.DISCONNECTED:
                self._ice_due = NOW
        for _ in range(MAX_ROUNDS):
            due = min(self._ice_due, self._dtls_due, self._sctp_due, self._rtp_due)
            if due > now:
                return due
            if self._ice_due <= now:
                self._ice_due = self.ice.advance(now)
                self._drain_ice(now)
            if self._dtls_due <= now:
                self._dtls_due = self.dtls.advance(now)
                self._flush_dtls()
                self._drain_dtls(now)
            if self._sctp_due <= now:
                self._sctp_due = self._advance_sctp(now)
            if self._rtp_due <= now:
                self._rtp_due = self.media.advance(now)
                self._flush_rtp()
                if self.media.outbox:
                    self.outbox.extend(self.media.outbox)
                    self.media.outbox.clear()
        raise AssertionError("children never settle")

    def _drain_ice(self, now: float) -> None:
        if self.ice.transmits:
            self.transmits.extend(self.ice.transmits)
            self.ice.transmits.clear()
        while self.ice.outbox:
            event = self.ice.outbox.popleft()
            match event:
                case PairSelected():
                    self.dtls.set_rtt(event.rtt)
                    if self._role == "client" and not self._dtls_started:
                        self._start_dtls(now)
                    self._dtls_due = NOW
                    self._sctp_due = NOW
                    self.outbox.append(event)
                case IceStateChanged(state=IceState.FAILED):
                    self.outbox.append(TransportFailed("ice", "no candidate pair works"))
                case IceStateChanged(state=state):
                    if state is IceState.DISCONNECTED:
                        self._interrupted = True
                    elif state is IceState.CONNECTED and self._interrupted:
                        self._interrupted = False
                        self.path_restored(now)
                    self.outbox.append(event)
                case _:
                    self.outbox.append(event)

    def _start_dtls(self, now: float) -> None:
        assert self._role is not None
        self._dtls_started = True
        self.dtls.start(self._role, now)
        while self._early:
            self.dtls.handle_datagram(self._early.popleft(), now)
        self._dtls_due = NOW

    def _flush_dtls(self) -> None:
        addr = self.ice.selected_addr
        if addr is None:
            return  # kept: a client hello may arrive before the answer to our own nomination
        port = self.ice.selected_port
        datagrams = self.dtls.datagrams
        while datagrams:
            self.transmits.append(Transmit(port, datagrams.popleft(), addr))

    def _drain_dtls(self, now: float) -> None:
        while self.dtls.outbox:
            event = self.dtls.outbox.popleft()
            match event:
                case DtlsConnected(profile=profile, local_key=local, remote_key=remote):
                    self.profile, self.local_key, self.remote_key = profile, local, remote
                    if profile is not None:
                        self.srtp_sender = SrtpSender(profile, local)
                        self.srtp_receiver = SrtpReceiver(profile, remote)
                    self.media.set_rtt(self.ice.rtt)
                    self.association.start(now)
                    self._sctp_due = self._rtp_due = NOW
                    self.outbox.append(TransportConnected(profile, self.ice.rtt))
                case DtlsFailed(reason=reason, detail=detail):
                    self.outbox.append(TransportFailed("dtls", f"{reason.value}: {detail}"))
                case _:
                    # DtlsClosed: LiveKit's server says that when it closes a peer connection; signalling tells why.
                    self.counters.add("close_notify")

    def _advance_sctp(self, now: float) -> float:
        channels, due = self.channels, INF
        if channels is None:
            return due
        if self.dtls.connected:
            due = channels.advance(now)
            self._flush_sctp()
        while channels.outbox:
            event = channels.outbox.popleft()
            match event:
                case SctpLost(reason=reason, detail=detail):
                    self.outbox.append(TransportFailed("sctp", f"{reason}: {detail}"))
                case _:
                    self.outbox.append(event)
        return due

    def _flush_sctp(self) -> None:
        packets = self.association.packets
        if not packets:
            return
        addr = self.ice.selected_addr
        if addr is None:
            packets.clear()  # between two paths: SCTP repeats what it needs
            return
        port, seal, append = self.ice.selected_port, self.dtls.seal, self.transmits.append
        while packets:
            append(Transmit(port, seal(packets.popleft()), addr))

    def _flush_rtp(self) -> None:
        rtp, rtcp = self.media.rtp, self.media.rtcp
        if not rtp and not rtcp:
            return
        srtp, addr = self.srtp_sender, self.ice.selected_addr
        if srtp is None or addr is None:
            self.counters.add("media_unsent", len(rtp) + len(rtcp))
            rtp.clear()
            rtcp.clear()
            return
        port, protect, append = self.ice.selected_port, srtp.protect, self.transmits.append
        for packet in rtp:
            data = protect(packet)
            if data is not None:
                append(Transmit(port, data, addr, False))
        rtp.clear()
        while rtcp:
            data = srtp.protect_rtcp(rtcp.popleft())
            if data is not None:
                append(Transmit(port, data, addr, False))
