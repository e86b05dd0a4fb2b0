"""Gathering: from interfaces and server URLs to sockets and candidates (RFC 8445 section 5.1.1)."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence

from attrs import frozen

from ..base.contract import INF, NOW, Address, ClosePort, Interface, OpenUdp, Resolve, Transmit
from ..base.counters import Counters
from ..base.entropy import Entropy
from ..base.errors import ParseError
from ..base.limits import MAX_GATHER_HOSTS, MAX_STUN_SERVERS
from . import stun
from .candidate import HOST, SRFLX, UDP, Candidate, first_of_each_family, foundation, ip_version
from .preference import candidate_priority, is_link_local, is_loopback, local_preference, type_preference
from .servers import ServerUrl, parse_server_url
from .transactions import Transaction, Transactions


@frozen
class GatherOptions:
    """``port_low`` to ``port_high`` bound the local ports where ``port_low`` is not 0.

    ``interfaces`` names the interfaces to use, all when empty. Times in seconds: a STUN server that has not answered
    after ``retransmissions`` doublings of ``rto``, or whose name is not known after ``resolve_timeout``, is done
    without.
    """

    port_low: int = 0
    port_high: int = 0
    interfaces: tuple[str, ...] = ()
    loopback: bool = True
    ipv6: bool = True
    rto: float = 0.25
    retransmissions: int = 3
    resolve_timeout: float = 5.0


@frozen
class CandidateFound:
    """A candidate of ours: give it to the agent with its port, and signal it. ``peer``: the far end of a stream."""

    candidate: Candidate
    port: int
    peer: Address | None = None


@frozen
class PortLost:
    """The address of a port is no longer this host's, or the socket is being closed: take the port from the agent."""

    port: int


@frozen
class GatheringDone:
    """Nothing more will come, until interfaces or servers change."""


class _Host:
    """An address of ours with its port."""

    __slots__ = ("port", "interface", "rank", "base", "reflexive")

    def __init__(self, port: int, interface: Interface, rank: int) -> None:
        self.port = port
        self.interface = interface
        self.rank = rank
        self.base: Candidate | None = None
        self.reflexive = False


class Gatherer:
    """Opens a UDP port for each address of this host and asks STUN servers by it how the port looks from outside.

    ``allot`` gives the numbers of ports and lookups. Outputs: OpenUdp, ClosePort, Resolve, CandidateFound, PortLost,
    GatheringDone. Datagrams of our ports go to ``handle_stun`` first while ``active``. TURN servers are only kept.
    """

    def __init__(
        self,
        entropy: Entropy,
        allot: Callable[[], int],
        *,
        options: GatherOptions | None = None,
    ) -> None:
        self.transmits: deque[Transmit] = deque()
        self.outbox: deque[OpenUdp | ClosePort | Resolve | CandidateFound | PortLost | GatheringDone] = deque()
        self.counters = Counters()
        self.turn_servers: list[ServerUrl] = []
        self._ids = entropy.fork("stun-transactions")
        self._allot = allot
        self._options = options or GatherOptions()
        self._hosts: dict[int, _Host] = {}
        self._stun_urls: list[ServerUrl] = []
        self._servers: list[Address] = []
        self._lookups: dict[int, ServerUrl] = {}
        self._lookups_end = INF
        self._transactions: Transactions[Address] = Transactions()
        self._busy = False
        self._closed = False
        self._now = NOW

    # ---------------------------------------------------------------- facts

    @property
    def active(self) -> bool:
        """Whether answers of STUN servers may come."""
        return len(self._transactions) > 0

    @property
    def closed(self) -> bool:
        """Whether ``close`` was called."""
        return self._closed

    @property
    def ports_settled(self) -> bool:
        """Whether each port asked for is open or has failed: every host candidate is known."""
        return all(host.base is not None for host in self._hosts.values())

    # ---------------------------------------------------------------- inputs

    def start(self, interfaces: Sequence[Interface], now: float) -> None:
        """Begin with the addresses of this host; called again when they have changed, for the difference."""
        self._enter(now)
        if self._closed:
            return
        self._busy = True
        wanted = self._choose(interfaces)
        addresses = {interface.address for interface, _ in wanted}
        for host in list(self._hosts.values()):
            if host.interface.address not in addresses:
                self._lose(host)
        present = {host.interface.address for host in self._hosts.values()}
        for interface, rank in wanted:
            if interface.address not in present:
                host = _Host(self._allot(), interface, rank)
                self._hosts[host.port] = host
                options = self._options
                self.outbox.append(OpenUdp(host.port, interface.address, options.port_low, options.port_high))

    def _choose(self, interfaces: Sequence[Interface]) -> list[tuple[Interface, int]]:
        """The interface addresses that get a port, with the rank of their interface."""
        options = self._options
        ranks: dict[str, int] = {}
        wanted: dict[str, tuple[Interface, int]] = {}
        for interface in interfaces:
            address = interface.address
            version = ip_version(address)
            if (
                version == 0
                or (options.interfaces and interface.name not in options.interfaces)
                or (version == 6 and (not options.ipv6 or is_link_local(address)))  # needs a scope, which none signals
                or (not options.loopback and is_loopback(address))
                or address in wanted
            ):
                continue
            if len(wanted) >= MAX_GATHER_HOSTS:
                self.counters.add("host_limit")
                break
            wanted[address] = interface, ranks.setdefault(interface.name, len(ranks))
        return list(wanted.values())

    def add_servers(self, urls: Iterable[str], now: float) -> None:
        """Servers to ask, as URLs; those that cannot be parsed or used are counted and left out."""
        self._enter(now)
        if self._closed:
            return
        self._busy = True
        for text in urls:
            try:
                url = parse_server_url(text)
            except ParseError:
                self.counters.add("server_url_malformed")
                continue
            if url.relays:
                if url not in self.turn_servers and len(self.turn_servers) < MAX_STUN_SERVERS:
                    self.turn_servers.append(url)
            elif url.secure:
                self.counters.add("server_unsupported")
            elif url not in self._stun_urls and len(self._stun_urls) < MAX_STUN_SERVERS:
                self._stun_urls.append(url)
                if ip_version(url.host):
                    self._add_server((url.host, url.port))
                else:
                    token = self._allot()
                    self._lookups[token] = url
                    self._lookups_end = self._now + self._options.resolve_timeout
                    self.outbox.append(Resolve(token, url.host))

    def resolved(self, token: int, addresses: Sequence[str], now: float) -> None:
        """A lookup was answered: the first address of each family is asked."""
        self._enter(now)
        url = self._lookups.pop(token, None)
        if url is None:
            return
        found = first_of_each_family(addresses)
        for address in found:
            self._add_server((address, url.port))
        if not found:
            self.counters.add("server_not_resolved")

    def port_opened(self, port: int, address: Address, now: float) -> None:
        """A port is open, at this local address."""
        self._enter(now)
        host = self._hosts.get(port)
        if host is None or host.base is not None:
            return
        base = Candidate(
            foundation=foundation(HOST, address[0], ""),
            component=1,
            protocol=UDP,
            priority=candidate_priority(type_preference(HOST, UDP), local_preference(host.rank, address[0])),
            address=address[0],
            port=address[1],
            type=HOST,
        )
        host.base = base
        self.outbox.append(CandidateFound(base, port))
        for server in self._servers:
            self._ask(host, base, server)

    def port_failed(self, port: int, error: str, now: float) -> None:
        """A port could not be opened, or broke: it is done without."""
        self._enter(now)
        host = self._hosts.pop(port, None)
        if host is not None:
            self.counters.add("port_failed")
            self._forget(host)
            if host.base is not None:
                self.outbox.append(PortLost(port))

    def handle_stun(self, port: int, data: bytes, src: Address, now: float) -> bool:
        """A datagram of one of our ports; whether it was a STUN server's answer, and so nobody else's."""
        transaction = self._transactions.get(data[8:20])
        if transaction is None:
            return False
        self._enter(now)
        if (port, src) != (transaction.port, transaction.addr):
            self.counters.add("stun_asymmetric")
            return True
        try:
            message = stun.decode(data)
            if message.type == stun.BINDING_SUCCESS:
                mapped = _mapped_address(message)
            elif message.type == stun.BINDING_ERROR:
                mapped = None
            else:
                self.counters.add("stun_unexpected")
                return True
        except ParseError:
            self.counters.add("stun_malformed")
            return True
        self._transactions.remove(transaction)
        if mapped is None:
            self.counters.add("stun_server_refused")
        else:
            self._reflexive(self._hosts[port], mapped, src)
        return True

    def close(self, now: float) -> None:
        """Let go of every port."""
        self._enter(now)
        for host in list(self._hosts.values()):
            self._lose(host)
        self._lookups.clear()
        self._lookups_end = INF
        self._busy = False
        self._closed = True

    # ---------------------------------------------------------------- time

    def advance(self, now: float) -> float:
        """Do what is due; the time of the next call. See ``sansio.base.contract``."""
        self._enter(now)
        now = self._now
        again, lost = self._transactions.due(now)
        for transaction in again:
            self.transmits.append(Transmit(transaction.port, transaction.data, transaction.addr))
        if lost:
            self.counters.add("stun_server_silent", len(lost))
        if now >= self._lookups_end:
            if self._lookups:
                self.counters.add("server_not_resolved", len(self._lookups))
                self._lookups.clear()
            self._lookups_end = INF
        if self._busy and not self._lookups and not self.active and self.ports_settled:
            self._busy = False
            self.outbox.append(GatheringDone())
        return min(self._transactions.next, self._lookups_end)

    # ---------------------------------------------------------------- bookkeeping

    def _enter(self, now: float) -> None:
        if now > self._now:
            self._now = now

    def _add_server(self, server: Address) -> None:
        if server in self._servers:
            return
        if len(self._servers) >= MAX_STUN_SERVERS:
            self.counters.add("server_limit")
            return
        self._servers.append(server)
        for host in self._hosts.values():
            if host.base is not None:
                self._ask(host, host.base, server)

    def _ask(self, host: _Host, base: Candidate, server: Address) -> None:
        if host.reflexive or is_loopback(base.address) or (":" in base.address) != (":" in server[0]):
            return
        id = self._ids.bytes(12)
        transaction = Transaction(
            id,
            stun.build(stun.BINDING_REQUEST, id, ()),
            host.port,
            server,
            server,
            key=_NO_KEY,
            rto=self._options.rto,
            retransmissions=self._options.retransmissions,
            now=self._now,
        )
        self._transactions.add(transaction)
        self.transmits.append(Transmit(host.port, transaction.data, server))

    def _reflexive(self, host: _Host, mapped: Address, server: Address) -> None:
        """A server told how it sees a port; one answer a port is enough."""
        self._forget(host)
        host.reflexive = True
        base = host.base
        assert base is not None
        if mapped == base.transport_address:
            return
        candidate = Candidate(
            foundation=foundation(SRFLX, base.address, server[0]),
            component=1,
            protocol=UDP,
            priority=candidate_priority(type_preference(SRFLX, UDP), local_preference(host.rank, base.address)),
            address=mapped[0],
            port=mapped[1],
            type=SRFLX,
            related_address=base.address,
            related_port=base.port,
        )
        if candidate.usable:
            self.outbox.append(CandidateFound(candidate, host.port))

    def _forget(self, host: _Host) -> None:
        for transaction in self._transactions:
            if transaction.port == host.port:
                self._transactions.remove(transaction)

    def _lose(self, host: _Host) -> None:
        del self._hosts[host.port]
        self._forget(host)
        if host.base is not None:
            self.outbox.append(PortLost(host.port))
        self.outbox.append(ClosePort(host.port))


_NO_KEY = stun.Key(b"")
"""Plain Binding requests carry no integrity: the transaction id and the server's address vouch for the answer."""


def _mapped_address(message: stun.Message) -> Address | None:
    """XOR-MAPPED-ADDRESS, or the MAPPED-ADDRESS of servers older than RFC 5389."""
    value = message.attributes.get(stun.XOR_MAPPED_ADDRESS)
    if value is not None:
        return stun.decode_xor_address(value, message.transaction_id)
    value = message.attributes.get(stun.MAPPED_ADDRESS)
    return None if value is None else stun.decode_address(value)
