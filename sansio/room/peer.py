"""A peer connection of a session and what carries its packets: sockets, relays and TCP connections.

Candidates of ours go from there into the connection and, once a description is out, to the server.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from attrs import asdict

from .. import proto
from ..base.contract import INF, NOW, Address, ClosePort, Interface, OpenStream, OpenUdp, Transmit
from ..ice.agent import IceState
from ..ice.candidate import HOST, to_init
from ..ice.gather import CandidateFound, Gatherer, GatheringDone, PortLost
from ..ice.paths import Paths, TurnServerConfig
from ..ice.verdict import path_verdict
from ..peer.connection import PeerConnection
from ..types import LinkStats

if TYPE_CHECKING:
    from ..proto import rtc

PUBLISHER = 0
SUBSCRIBER = 1
"""SignalTarget on the wire."""

SUSPICION = 2.5
"""Seconds of silence after which a path is suspect: the server checks its paths every 2 s."""


class Session(Protocol):
    """What a peer needs of the session around it.

    ``due`` is set to NOW by whoever gives an input. ``outbox`` takes requests for the driver, ``transmits`` its
    packets. ``ports``: whose each socket and stream is, by its number. ``publisher`` is the peer that we offer.
    """

    due: float
    outbox: deque[Any]
    transmits: deque[Transmit]
    ports: dict[int, Peer]
    publisher: Peer | None

    def trickle(self, request: rtc.TrickleRequest) -> None:
        """Tell the server of a candidate."""


class Peer:
    """``connection`` and what carries its packets: ``gatherer`` has the sockets, ``paths`` the relays and streams.

    ``due`` and ``gather_due`` are the deadlines of connection and gatherer. ``ready``: every socket is open or has
    failed. ``up``: it was connected once. ``proving``: since a resume nothing has shown that the path in use works.
    ``offer_owed``: an offer follows the answer to the one that is out. ``channels`` are those of ours, by label; of
    all channels ``lossy`` ones and those of ``data_tracks`` are known, the others are reliable.
    """

    __slots__ = (
        "blocked",
        "channels",
        "connection",
        "data_tracks",
        "due",
        "gather_due",
        "gatherer",
        "lossy",
        "offer_owed",
        "paths",
        "proving",
        "ready",
        "relay_only",
        "target",
        "up",
        "_session",
    )

    def __init__(
        self,
        target: int,
        session: Session,
        connection: PeerConnection,
        gatherer: Gatherer,
        paths: Paths,
        *,
        relay_only: bool,
    ) -> None:
        self.target = target
        self.connection = connection
        self.gatherer = gatherer
        self.paths = paths
        self.relay_only = relay_only
        self.due = INF
        self.gather_due = NOW
        self.ready = False
        self.up = False
        self.proving = False
        self.offer_owed = False
        self.channels: dict[str, int] = {}
        self.lossy: set[int] = set()
        self.data_tracks: set[int] = set()
        self.blocked: set[int] = set()
        self._session = session

    # ------------------------------------------------------------------ what carries packets

    def networks_changed(self, interfaces: Sequence[Interface], now: float, *, moved: bool) -> None:
        """The addresses of this host; the path in use is put to the test, and what has failed before is tried again.

        Relays and streams are opened again if the host has ``moved``, or where one of them may be better than the path
        in use.
        """
        self.gatherer.start(interfaces, now)
        self.gather_due = NOW
        if self.up:
            self.connection.transport.doubt(now)
            self.due = NOW
            if moved or not self.connection.transport.ice.on_best_kind:
                self.paths.reopen(now)
                self.path_works(now)

    def configure(self, response: rtc.JoinResponse | rtc.ReconnectResponse, now: float) -> None:
        """What the server says of STUN and TURN servers, and of how media has to go."""
        servers = [(server, url) for server in response.ice_servers for url in server.urls]
        self.gatherer.add_servers([url for _, url in servers if url.startswith("stun")], now)
        if response.client_configuration.force_relay == proto.models.ClientConfigSetting.ENABLED:
            self.relay_only = True
        if self.relay_only:
            for port in self.paths.relay_only(now):
                self.connection.remove_local_port(port, now)
                self.due = NOW
        self.paths.add_servers(
            [TurnServerConfig(url, server.username, server.credential) for server, url in servers if url[:4] == "turn"],
            now,
        )
        self.gather_due = NOW

    def port_opened(self, port: int, address: Address, now: float) -> None:
        """A socket or stream of ours is open."""
        self.gatherer.port_opened(port, address, now)
        self.paths.port_opened(port, address, now)
        self.gather_due = NOW

    def port_failed(self, port: int, error: str, now: float) -> None:
        """One could not be opened, or broke."""
        self.gatherer.port_failed(port, error, now)
        self.paths.port_failed(port, error, now)
        self.gather_due = NOW
        self.blocked.discard(port)

    def send_failed(self, port: int, addr: Address, error: str, now: float) -> None:
        """The network refused to send."""
        self.connection.transport.send_failed(port, addr, error, now)
        self.paths.send_failed(port, addr, error, now)
        self.due = NOW

    def resolved(self, token: int, addresses: list[str], now: float) -> None:
        """A lookup, perhaps of ours, was answered."""
        self.gatherer.resolved(token, addresses, now)
        self.paths.resolved(token, addresses, now)
        self.gather_due = NOW

    def set_blocked(self, port: int, blocked: bool) -> None:
        """A socket of ours is full, or takes packets again."""
        if blocked:
            self.blocked.add(port)
        else:
            self.blocked.discard(port)
        self._heed_blocked()

    def _heed_blocked(self) -> None:
        """Data waits while the socket that it goes by is full, whatever the others do."""
        transport = self.connection.transport
        transport.set_blocked(self.paths.carrier(transport.ice.selected_port) in self.blocked)
        self.due = NOW

    def handler(self, port: int) -> Callable[[int, bytes, Address, float], None]:
        """What takes the packets of a port of ours."""
        receive = self.connection.transport.receive_datagram
        session, gatherer, paths = self._session, self.gatherer, self.paths
        stream = paths.is_stream(port)

        def handle(port: int, data: bytes, addr: Address, now: float) -> None:
            session.due = NOW
            if stream or not data or not (20 <= data[0] < 64 or data[0] >= 128):  # not DTLS, not media (RFC 7983)
                if paths.live and (inner := paths.receive(port, data, addr, now)) is not None:
                    for number, packet, source in inner:
                        receive(number, packet, source, now)
                    self.due = NOW
                    return
                if gatherer.active and gatherer.handle_stun(port, data, addr, now):
                    self.gather_due = NOW
                    return
            receive(port, data, addr, now)
            self.due = NOW

        return handle

    # ------------------------------------------------------------------ what is owed

    def touch_data(self) -> None:
        """Something was sent or read on a channel: what that owes leaves in the next ``advance``."""
        self.connection.transport.touch_data()
        self._session.due = self.due = NOW

    def touch_media(self) -> None:
        """The same of media."""
        self.connection.transport.touch_media()
        self._session.due = self.due = NOW

    def credit(self, size: int) -> None:
        """So many bytes that a channel has brought are not kept any more."""
        receiver = self.connection.transport.association.receiver
        receiver.credit(size)
        if receiver.sack_now:  # the window has opened far enough for the server to be told
            self.touch_data()

    def advance_sockets(self, now: float) -> None:
        """What is due of the sockets."""
        self.gather_due = self.gatherer.advance(now)
        self._drain(self.gatherer, now)
        self.ready = self.gatherer.ports_settled

    def advance_paths(self, now: float) -> None:
        """What is due of relays and streams."""
        self.paths.advance(now)
        self._drain(self.paths, now)

    def redirect(self, now: float) -> None:
        """Give the packets for relays and streams the form in which their carriers take them, in place and order."""
        transmits, paths = self._session.transmits, self.paths
        for _ in range(len(transmits)):
            transmit = transmits.popleft()
            if transmit.port in paths.by_number:
                paths.send(transmit, transmits, now)
            else:
                transmits.append(transmit)

    def _drain(self, source: Gatherer | Paths, now: float) -> None:
        session = self._session
        session.transmits.extend(source.transmits)
        source.transmits.clear()
        while source.outbox:
            event = source.outbox.popleft()
            match event:
                case CandidateFound():
                    self._found(event, source is self.gatherer, now)
                case PortLost(port=port):
                    if source is self.gatherer:
                        self.paths.base_lost(port, now)
                    self.connection.remove_local_port(port, now)
                    self.due = NOW
                case GatheringDone():
                    pass
                case ClosePort(port=port):
                    session.ports.pop(port, None)
                    self.blocked.discard(port)
                    session.outbox.append(event)
                case OpenUdp(port=port) | OpenStream(port=port):
                    session.ports[port] = self
                    session.outbox.append(event)
                case _:
                    session.outbox.append(event)

    def _found(self, found: CandidateFound, direct: bool, now: float) -> None:
        """A candidate of ours: of a socket, or of a relay or stream."""
        candidate, port, connection = found.candidate, found.port, self.connection
        if direct:
            if candidate.type == HOST:
                self.paths.base_opened(candidate, port, now)
            if self.relay_only:
                return
        connection.add_local_candidate(candidate, port, now, peer=found.peer)
        self.due = NOW
        if connection.described:
            init = to_init(candidate, mid="0", index=0, ufrag=connection.transport.ice.local_ufrag)
            request = proto.rtc.TrickleRequest(candidateInit=init)
            request.target = self.target  # type: ignore[assignment]  # any int: enums are open
            self._session.trickle(request)

    # ------------------------------------------------------------------ the path in use

    def path_works(self, now: float) -> None:
        """A path works: the other ways are closed again some seconds from now."""
        ice = self.connection.transport.ice
        if ice.state is IceState.CONNECTED:
            self.paths.selected(ice.selected_port, now)

    def selected(self, port: int, now: float, *, prove: bool) -> None:
        """Another path was chosen. ``prove``: a proof of the one before is none of this one."""
        self.paths.selected(port, now)
        self._heed_blocked()
        if self.up:
            transport = self.connection.transport
            transport.path_restored(now)
            if prove:
                self.proving = True
                transport.probe(now)

    def silent(self, now: float) -> bool:
        """Whether nothing has come for longer than the server would be silent."""
        ice = self.connection.transport.ice
        return ice.selected_addr is None or ice.silent_for(now) > SUSPICION

    def suspect(self, now: float) -> bool:
        """Whether the path may be gone."""
        return self.connection.transport.ice.state is not IceState.CONNECTED or self.silent(now)

    @property
    def unproven(self) -> bool:
        """Whether a path that was in use has not answered since the resume, or is gone again."""
        return self.proving or (self.up and self.connection.transport.ice.selected_addr is None)

    # ------------------------------------------------------------------ the end

    def close(self, now: float) -> None:
        """Close the connection and give relays back; the sockets are the session's to close."""
        self.connection.close(now)
        self.redirect(now)
        self.paths.close(now)
        self._session.transmits.extend(self.paths.transmits)

    # ------------------------------------------------------------------ diagnostics

    def lacking(self) -> str:
        """What the connection has not got yet, for an error message."""
        if self.connection.remote is None:
            return "the server did not answer our offer" if self.target == PUBLISHER else "the server made no offer"
        transport = self.connection.transport
        if transport.ice.selected_addr is None:
            none = "no candidate of the server fitted one of ours"
            return "no pair of candidates got through" if transport.pairs_report() else none
        return "a pair of candidates got through, but no DTLS session was agreed on over it"

    def link_stats(self) -> LinkStats:
        """How media fares on the way."""
        return self.connection.link_stats("publisher" if self.target == PUBLISHER else "subscriber")

    def diagnostics(self) -> dict[str, Any]:
        """Counters of every layer and what became of every path, JSON-ready."""
        paths = self.paths.report()
        return {
            **asdict(self.link_stats()),
            **self.connection.diagnostics(),
            "paths": [asdict(report) for report in paths],
            "verdict": path_verdict(self.connection.transport.pairs_report(), paths),
        }
