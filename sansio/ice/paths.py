"""The roundabout ways of one ICE agent: relays of TURN servers, and TCP connections to the peer (RFC 6544).

The agent knows each of them by a number of its own, as it knows a socket. ``send`` turns a packet of such a number
into bytes for the socket or stream that carries it, ``receive`` turns bytes from there into packets; sockets that are
the gatherer's carry relays beside direct packets.

Everything is opened at once, as soon as it is known: a way that is needed must not have to wait until another has
failed. Some seconds after the choice the ways not chosen are closed; ``reopen`` brings them back.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence

from attrs import field, frozen

from ..base.contract import INF, NOW, Address, ClosePort, OpenStream, Resolve, Transmit
from ..base.counters import Counters
from ..base.entropy import Entropy
from ..base.errors import ParseError
from ..base.limits import MAX_ICE_STREAMS, MAX_TURN_ALLOCATIONS, MAX_TURN_SERVERS
from .candidate import HOST, RELAY, TCP, UDP, Candidate, first_of_each_family, foundation, ip_version
from .framing import FrameReader, TurnReader, frame
from .gather import CandidateFound, PortLost
from .preference import can_pair, candidate_priority, local_preference, type_preference, usable_address
from .servers import ServerUrl, parse_server_url
from .turn import Allocated, AllocationLost, AllocationRedirected, TurnAllocation, TurnOptions

ACTIVE_PORT = 9
"""The port of an active TCP candidate, which nobody can connect to (RFC 6544 section 4.5)."""
_UNAUTHORIZED = 401
_REDIRECTIONS = 3
_DROPPED = -1


@frozen
class PathOptions:
    """``ipv6``: relays are asked for IPv6 addresses too. ``streams``: the peer's TCP candidates are connected to.
    Times in seconds.

    ``settle_after`` the choice of a pair the other ways are closed. A relay that failed is tried again ``tries`` times,
    after ``retry_after`` and doublings of it. ``resolve_timeout`` is how long a server's name may take.
    """

    ipv6: bool = True
    streams: bool = True
    settle_after: float = 10.0
    retry_after: float = 1.0
    tries: int = 4
    resolve_timeout: float = 5.0
    turn: TurnOptions = field(factory=TurnOptions)


@frozen
class TurnServerConfig:
    """A TURN server: its URL as in RFC 7065, and the credentials, which are no part of its repr."""

    url: str
    username: str
    password: str = field(repr=False)


@frozen
class PathReport:
    """How one way fared, for error messages and statistics.

    ``kind``: "relay over udp", "relay over tcp", "relay over tls" or "tcp". ``state``: "opening", "open", "failed" or
    "closed".
    """

    kind: str
    target: str
    state: str
    error: str


class _Server:
    """A TURN server that was named to us."""

    __slots__ = ("url", "username", "password", "addresses", "error")

    def __init__(self, url: ServerUrl, username: str, password: str) -> None:
        self.url = url
        self.username = username
        self.password = password
        self.addresses: list[Address] = []
        self.error = ""


class _Way:
    """A relay, or a stream to the peer (``server`` is None). ``port`` carries it: a stream of its own or a socket."""

    __slots__ = (
        "server", "target", "transport", "port", "allocation", "reader", "numbers", "local", "state", "error",
        "tries", "retry_at", "redirections", "due", "current",
    )  # fmt: skip

    def __init__(self, server: _Server | None, target: Address, transport: str, port: int) -> None:
        self.server = server
        self.target = target
        self.transport = transport
        self.port = port
        self.allocation: TurnAllocation | None = None
        self.reader: TurnReader | FrameReader | None = None
        self.numbers: list[tuple[bool, int]] = []
        """The numbers by which the agent knows it, with whether they are for IPv6 peers."""
        self.local: Address = ("", 0)
        self.state = "opening"
        self.error = ""
        self.tries = 0
        self.retry_at = INF
        self.redirections = 0
        self.due = NOW
        self.current = True
        """Whether the allocation has the server's present credentials."""

    @property
    def own_port(self) -> bool:
        """Whether the port is a stream of its own."""
        return self.transport != UDP

    @property
    def kind(self) -> str:
        return "tcp" if self.server is None else f"relay over {self.transport}"


class Paths:
    """See the head of the module.

    ``allot`` gives numbers for ports, streams and lookups. Outputs: OpenStream, ClosePort, Resolve, CandidateFound,
    PortLost. ``due`` is the next deadline; ``live`` says whether ``receive`` may be of use.
    ``by_number`` has what is up, by the number that the agent knows: packets of these numbers are for ``send``.
    """

    def __init__(self, entropy: Entropy, allot: Callable[[], int], *, options: PathOptions = PathOptions()) -> None:
        self.transmits: deque[Transmit] = deque()
        self.outbox: deque[OpenStream | ClosePort | Resolve | CandidateFound | PortLost] = deque()
        self.counters = Counters()
        self.live = False
        self.due: float = INF
        self.closed = False
        self._entropy = entropy
        self._allot = allot
        self._options = options
        self._direct = options.streams
        self._servers: dict[ServerUrl, _Server] = {}
        self._lookups: dict[int, _Server] = {}
        self._lookups_end = INF
        self._bases: dict[int, Candidate] = {}
        self._remotes: dict[Address, None] = {}
        self._ways: dict[tuple[Address, str, int], _Way] = {}
        self._by_socket: dict[tuple[int, Address], _Way] = {}
        self._by_stream: dict[int, _Way] = {}
        self.by_number: dict[int, _Way] = {}
        self._settle_at = INF
        self._settled = False
        self._chosen = -1
        self._count = 0
        self._now = NOW

    # ---------------------------------------------------------------- facts

    def carrier(self, port: int) -> int:
        """The port of the driver that carries a port of the agent: the same one for an ordinary socket."""
        way = self.by_number.get(port)
        return port if way is None else way.port

    def report(self) -> list[PathReport]:
        """Every way, and the servers whose names led nowhere."""
        found = [
            PathReport(way.kind, f"{way.target[0]} port {way.target[1]}", way.state, way.error)
            for way in self._ways.values()
        ]
        for server in self._servers.values():
            if server.error:
                url = server.url
                kind = f"relay over {'tls' if url.secure else url.transport}"
                found.append(PathReport(kind, f"{url.host} port {url.port}", "failed", server.error))
        return found

    # ---------------------------------------------------------------- inputs

    def base_opened(self, candidate: Candidate, port: int, now: float) -> None:
        """A socket is open: relays can be reached by it."""
        self._enter(now)
        if self.closed:
            return
        self._bases[port] = candidate
        self._open_all()

    def base_lost(self, port: int, now: float) -> None:
        """A socket is gone, and the relays that it carried."""
        self._enter(now)
        if self._bases.pop(port, None) is None:
            return
        for key, way in list(self._ways.items()):
            if way.port == port:
                self._take_down(way, "the address is gone")
                del self._ways[key]

    def add_servers(self, servers: Iterable[TurnServerConfig], now: float) -> None:
        """TURN servers; one named again gets its new credentials, for its relays as well."""
        self._enter(now)
        if self.closed:
            return
        for config in servers:
            try:
                url = parse_server_url(config.url)
            except ParseError:
                self.counters.add("server_url_malformed")
                continue
            if not url.relays or (url.secure and url.transport == UDP):
                self.counters.add("server_unsupported")
                continue
            known = self._servers.get(url)
            if known is not None:
                if (known.username, known.password) != (config.username, config.password):
                    known.username, known.password = config.username, config.password
                    self._renew_credentials(known)
                continue
            if len(self._servers) >= MAX_TURN_SERVERS:
                self.counters.add("server_limit")
                continue
            server = self._servers[url] = _Server(url, config.username, config.password)
            if ip_version(url.host):
                server.addresses.append((url.host, url.port))
            else:
                self._look_up(server)
        self._open_all()

    def _renew_credentials(self, server: _Server) -> None:
        """Relays that are up go on with a new password; with another user name they live until they are refused."""
        for way in self._ways.values():
            if way.server is server and way.allocation is not None:
                way.current = way.allocation.set_credentials(server.username, server.password)

    def _look_up(self, server: _Server) -> None:
        token = self._allot()
        server.error = ""
        self._lookups[token] = server
        self._lookups_end = self._now + self._options.resolve_timeout
        self.outbox.append(Resolve(token, server.url.host))

    def add_remote(self, candidate: Candidate, now: float) -> None:
        """A candidate of the peer; passive TCP ones are connected to."""
        if candidate.protocol != TCP or candidate.tcptype != "passive" or not candidate.usable:
            return
        self._enter(now)
        address = candidate.transport_address
        if self.closed or not self._direct or address in self._remotes:
            return
        if len(self._remotes) >= MAX_ICE_STREAMS:
            self.counters.add("stream_limit")
            return
        self._remotes[address] = None
        self._open_all()

    def resolved(self, token: int, addresses: Sequence[str], now: float) -> None:
        """A lookup was answered: the first address of each family is used."""
        self._enter(now)
        server = self._lookups.pop(token, None)
        if server is None:
            return
        found = first_of_each_family(addresses)
        server.addresses += [(address, server.url.port) for address in found]
        if not found:
            server.error = "the name is not known"
            self.counters.add("server_not_resolved")
        self._open_all()

    def port_opened(self, port: int, address: Address, now: float) -> None:
        """A stream is connected, from this local address."""
        self._enter(now)
        way = self._by_stream.get(port)
        if way is None or way.local[0]:
            return
        way.local = address
        if way.server is not None:
            self._allocate(way, way.server)
            return
        way.reader = FrameReader()
        way.state = "open"
        way.tries = 0
        rank = local_preference(self._rank(address[0]), address[0])
        candidate = Candidate(
            foundation=foundation(HOST, address[0], TCP),
            component=1,
            protocol=TCP,
            priority=candidate_priority(type_preference(HOST, TCP), rank),
            address=address[0],
            port=ACTIVE_PORT,
            type=HOST,
            tcptype="active",
        )
        self._found(way, candidate, way.target)

    def port_failed(self, port: int, error: str, now: float) -> None:
        """A stream could not be opened, or broke."""
        self._enter(now)
        way = self._by_stream.pop(port, None)
        if way is not None:
            self._fail(way, error)

    def send_failed(self, port: int, addr: Address, error: str, now: float) -> None:
        """The network refused to send to a server; that ends a relay which is not up yet."""
        way = self._by_socket.get((port, addr))
        if way is not None and way.state == "opening":
            self._enter(now)
            self._fail(way, error)

    def selected(self, port: int, now: float) -> None:
        """The agent has chosen a pair on this port of its."""
        self._enter(now)
        self._chosen = port
        if not self._settled:
            self._settle_at = self._now + self._options.settle_after

    def reopen(self, now: float) -> None:
        """Open again what was closed or has failed: the chosen path is in doubt, or checks begin anew."""
        self._enter(now)
        if self.closed:
            return
        self._settled = False
        self._settle_at = INF
        for key, way in list(self._ways.items()):
            if way.state in ("failed", "closed"):
                del self._ways[key]
        for server in self._servers.values():
            if server.error:
                self._look_up(server)
        self._open_all()

    def relay_only(self, now: float) -> list[int]:
        """Let go of the connections to the peer, for good. Returns the sockets: what they carry now is relays only."""
        self._enter(now)
        self._direct = False
        self._remotes.clear()
        for key, way in list(self._ways.items()):
            if way.server is None:
                self._take_down(way, "")
                del self._ways[key]
        return list(self._bases)

    def close(self, now: float) -> None:
        """Give everything back."""
        self._enter(now)
        if self.closed:
            return
        for way in self._ways.values():
            self._take_down(way, "")
        self.closed = True
        self._lookups.clear()
        self._bases.clear()
        self._remotes.clear()

    # ---------------------------------------------------------------- packets

    def is_stream(self, port: int) -> bool:
        """Whether a port is a stream of ours."""
        return port in self._by_stream

    def receive(self, port: int, data: bytes, src: Address, now: float) -> Sequence[tuple[int, bytes, Address]] | None:
        """Packets of the peer in what came on a port, each with the agent's port and its source.

        None when it is none of ours: then it is a direct packet on a socket.
        """
        way = self._by_socket.get((port, src))
        if way is not None:
            allocation = way.allocation
            assert allocation is not None
            if not allocation.owns(data):
                return None
            inner = allocation.unwrap(data)
            if inner is not None:
                return [(self._number(way, inner[0]), inner[1], inner[0])]
            self._enter(now)
            way.due = NOW
            allocation.handle_packet(data, self._now)
            return ()
        way = self._by_stream.get(port)
        if way is None:
            return None
        reader = way.reader
        if reader is None:
            return ()
        found: list[tuple[int, bytes, Address]] = []
        allocation = way.allocation
        for message in reader.feed(data):
            if allocation is None:
                found.append((way.numbers[0][1], message, way.target))
                continue
            inner = allocation.unwrap(message)
            if inner is not None:
                found.append((self._number(way, inner[0]), inner[1], inner[0]))
            else:
                self._enter(now)
                way.due = NOW
                allocation.handle_packet(message, self._now)
        if reader.broken:
            self._enter(now)
            self._fail(way, "the server sends something else than TURN")
        return found

    def send(self, transmit: Transmit, out: deque[Transmit], now: float) -> bool:
        """Put a packet of the agent's into ``out`` as its carrier takes it; False when the port is not one of ours."""
        way = self.by_number.get(transmit.port)
        if way is None:
            return False
        allocation = way.allocation
        if allocation is None:
            out.append(Transmit(way.port, frame(transmit.data), way.target, transmit.keep))
            return True
        data = allocation.wrap(transmit.addr, transmit.data, max(now, self._now))
        if allocation.transmits:
            self._enter(now)
            way.due = NOW
            while allocation.transmits:
                out.append(Transmit(way.port, allocation.transmits.popleft(), way.target))
        if data:
            out.append(Transmit(way.port, data, way.target, transmit.keep))
        return True

    @staticmethod
    def _number(way: _Way, peer: Address) -> int:
        six = ":" in peer[0]
        for number_six, number in way.numbers:
            if number_six == six:
                return number
        return _DROPPED

    # ---------------------------------------------------------------- time

    def advance(self, now: float) -> float:
        """Do what is due; the time of the next call, which is also in ``due``."""
        self._enter(now)
        now = self._now
        if self.closed:
            self.due = INF
            return INF
        if now >= self._lookups_end:
            for server in self._lookups.values():
                server.error = "the name is not known in time"
                self.counters.add("server_not_resolved")
            self._lookups.clear()
            self._lookups_end = INF
        if now >= self._settle_at:
            self._settle()
        while True:
            due = min(self._lookups_end, self._settle_at)
            for key, old in list(self._ways.items()):
                way = self._again(key, old) if old.retry_at <= now else old
                allocation = way.allocation
                if allocation is not None and way.due <= now:
                    way.due = allocation.advance(now)
                    self._drain(way, allocation)
            for way in self._ways.values():
                due = min(due, way.retry_at, way.due if way.allocation is not None else INF)
            if due > now:  # not so when a redirection has just opened another way
                self.due = due
                return due

    def _drain(self, way: _Way, allocation: TurnAllocation) -> None:
        while allocation.transmits:
            self.transmits.append(Transmit(way.port, allocation.transmits.popleft(), way.target))
        while allocation.outbox:
            match allocation.outbox.popleft():
                case Allocated(relayed=relayed, mapped=mapped):
                    self._relay_up(way, relayed, mapped)
                case AllocationLost(reason=reason, code=code):
                    self._fail(way, reason, again=code != _UNAUTHORIZED or not way.current)
                case AllocationRedirected(server=server):
                    self._redirect(way, server)
                case refused:
                    way.error = f"no relaying to {refused.address}: {refused.reason}"
                    self.counters.add("peer_refused")

    def _relay_up(self, way: _Way, relayed: Sequence[Address], mapped: Address | None) -> None:
        way.state = "open"
        way.tries = 0
        base = self._bases.get(way.port)
        for address in relayed:
            rank = (base.priority >> 8) & 0xFFFF if base is not None else local_preference(0, address[0])
            # who lets nothing but relays be seen does not want to tell how the server sees us either
            related = (mapped or address) if self._direct else (("::", 0) if ":" in address[0] else ("0.0.0.0", 0))
            candidate = Candidate(
                foundation=foundation(RELAY, way.target[0], way.transport),
                component=1,
                protocol=UDP,
                priority=candidate_priority(type_preference(RELAY, UDP, way.transport), rank),
                address=address[0],
                port=address[1],
                type=RELAY,
                related_address=related[0],
                related_port=related[1],
                relay_protocol=way.transport,
            )
            if candidate.usable and usable_address(address[0]):
                self._found(way, candidate, None)

    def _found(self, way: _Way, candidate: Candidate, peer: Address | None) -> None:
        number = self._allot()
        way.numbers.append((":" in candidate.address, number))
        self.by_number[number] = way
        self.outbox.append(CandidateFound(candidate, number, peer))

    # ---------------------------------------------------------------- opening and closing

    def _open_all(self) -> None:
        """Open whatever is known and not open, up to the limits."""
        if self._settled:
            return
        for server in self._servers.values():
            transport = "tls" if server.url.secure else server.url.transport
            for address in server.addresses:
                for port in self._ports_to(address, transport):
                    key = address, transport, port
                    if key not in self._ways and self._may_open(relay=True):
                        self._begin(key, _Way(server, address, transport, port))
        for address in self._remotes:
            key = address, TCP, _DROPPED
            if key not in self._ways and self._ports_to(address, TCP) and self._may_open(relay=False):
                self._begin(key, _Way(None, address, TCP, _DROPPED))

    def _ports_to(self, address: Address, transport: str) -> list[int]:
        """The sockets that reach an address; for a stream, whether any does."""
        ports = [port for port, base in self._bases.items() if can_pair(base.address, address[0])]
        return ports if transport == UDP else [_DROPPED] * bool(ports)

    def _may_open(self, *, relay: bool) -> bool:
        count = sum((way.server is not None) == relay for way in self._ways.values())
        if count < (MAX_TURN_ALLOCATIONS if relay else MAX_ICE_STREAMS):
            return True
        self.counters.add("allocation_limit" if relay else "stream_limit")
        return False

    def _begin(self, key: tuple[Address, str, int], way: _Way) -> None:
        self._ways[key] = way
        self.live = True
        if way.own_port:
            way.port = self._allot()
            self._by_stream[way.port] = way
            tls = way.transport == "tls"
            name = way.server.url.host if way.server is not None and tls else ""
            self.outbox.append(OpenStream(way.port, way.target, tls=tls, server_name=name))
        else:
            assert way.server is not None
            self._by_socket[way.port, way.target] = way
            self._allocate(way, way.server)

    def _allocate(self, way: _Way, server: _Server) -> None:
        self._count += 1
        way.allocation = TurnAllocation(
            self._entropy.fork(f"turn {self._count}"),
            server.username,
            server.password,
            stream=way.own_port,
            families=(4, 6) if self._options.ipv6 else (4,),
            options=self._options.turn,
        )
        if way.own_port:
            way.reader = TurnReader()
        way.due = NOW
        way.allocation.start(self._now)

    def _fail(self, way: _Way, error: str, *, again: bool = True) -> None:
        self._take_down(way, error)
        self.counters.add("relay_failed" if way.server is not None else "stream_failed")
        if again and way.tries < self._options.tries and not self._settled:
            way.retry_at = self._now + self._options.retry_after * 2**way.tries
            way.tries += 1

    def _again(self, key: tuple[Address, str, int], old: _Way) -> _Way:
        way = _Way(old.server, old.target, old.transport, old.port if not old.own_port else _DROPPED)
        way.tries, way.redirections = old.tries, old.redirections
        way.error = old.error
        self._begin(key, way)
        return way

    def _redirect(self, way: _Way, address: Address) -> None:
        """300 Try Alternate: the same by another server, a few times at most."""
        self._take_down(way, f"redirected to {address[0]} port {address[1]}")
        key = address, way.transport, _DROPPED if way.own_port else way.port
        if way.redirections < _REDIRECTIONS and key not in self._ways and self._ports_to(address, way.transport):
            following = _Way(way.server, address, way.transport, key[2])
            following.redirections = way.redirections + 1
            self._begin(key, following)

    def _take_down(self, way: _Way, error: str) -> None:
        """Close a way, whatever state it is in; ``error`` says why unless it was our wish."""
        if way.state in ("failed", "closed"):
            way.retry_at = INF
            return
        way.state = "failed" if error else "closed"
        way.error = error or way.error
        way.retry_at = INF
        for _, number in way.numbers:
            del self.by_number[number]
            self.outbox.append(PortLost(number))
        way.numbers.clear()
        if way.allocation is not None:
            way.allocation.close(self._now)
            while way.allocation.transmits:
                self.transmits.append(Transmit(way.port, way.allocation.transmits.popleft(), way.target))
            way.allocation = None
        if way.own_port:
            if self._by_stream.pop(way.port, None) is not None:
                self.outbox.append(ClosePort(way.port))
        else:
            self._by_socket.pop((way.port, way.target), None)
        way.reader = None

    def _settle(self) -> None:
        """The choice has stood for a while: what was not chosen is closed."""
        self._settle_at = INF
        self._settled = True
        chosen = self.by_number.get(self._chosen)
        for way in self._ways.values():
            if way is not chosen:
                self._take_down(way, "")
        self.live = chosen is not None

    # ---------------------------------------------------------------- bookkeeping

    def _enter(self, now: float) -> None:
        if now > self._now:
            self._now = now
        self.due = NOW

    def _rank(self, address: str) -> int:
        """How the interface of an address ranks: as its socket does, last where there is none."""
        for rank, base in enumerate(self._bases.values()):
            if base.address == address:
                return rank
        return len(self._bases)
