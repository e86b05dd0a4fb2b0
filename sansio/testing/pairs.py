"""Ready-made pairs: two machines of a kind, wired to each other through a world.

Each function adds its two nodes to the world under the names "a" and "b" and returns the machines; what happens on the
way is up to ``world.link``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from ..base.contract import Address, Interface
from ..base.entropy import Entropy
from ..base.wallclock import WallClock
from ..dtls.endpoint import DEFAULT_OPTIONS, DtlsEndpoint, DtlsOptions
from ..dtls.engine import EngineFactory, Role
from ..dtls.identity import DtlsIdentity
from ..dtls.plain import PlainEngine, plain_identity
from ..ice.agent import IceAgent, IceOptions
from ..ice.candidate import Candidate
from ..room.engine import RoomEngine
from ..room.options import EngineOptions
from ..sctp.association import SctpAssociation, SctpOptions
from ..sctp.channel import DataChannels
from ..sfu.server import PORT, AcceptSignal, DropSignal, RefuseSignal, ServerOptions, SfuServer
from ..sfu.token import Claims, mint
from .nat import Site
from .world import World

T = TypeVar("T")

A: Address = ("10.0.0.1", 5000)
B: Address = ("10.0.0.2", 5000)
CLIENT: Role = "client"
SERVER: Role = "server"


def wire(world: World, a: Any, b: Any, sending: str, receiving: str = "handle_datagram") -> None:
    """Wire two machines that know one peer only.

    ``sending``: the attribute that holds their outgoing bytes. ``receiving``: the method that takes bytes and ``now``.
    """
    for name, machine, here, there in (("a", a, A, B), ("b", b, B, A)):
        world.add(
            name,
            machine,
            {1: here},
            peer=there,
            transmits=getattr(machine, sending),
            deliver=_bytes_only(getattr(machine, receiving)),
        )


def _bytes_only(take: Callable[[bytes, float], None]) -> Callable[[int, bytes, Address, float], None]:
    return lambda port, data, addr, now: take(data, now)


def identities(seed: Entropy) -> tuple[DtlsIdentity, DtlsIdentity]:
    """Two identities for the plain engine."""
    return plain_identity(seed.fork("identity a")), plain_identity(seed.fork("identity b"))


def dtls_pair(
    world: World,
    *,
    engine: EngineFactory = PlainEngine,
    names: tuple[DtlsIdentity, DtlsIdentity] | None = None,
    options: DtlsOptions = DEFAULT_OPTIONS,
    mtu: int = 1200,
) -> tuple[DtlsEndpoint, DtlsEndpoint]:
    """A DTLS client "a" and a server "b", both started; ``names`` are their identities."""
    first, second = names or identities(world.entropy)
    a, b = [
        DtlsEndpoint(own, entropy=world.entropy.fork(label), engine=engine, mtu=mtu, options=options)
        for own, label in ((first, "dtls a"), (second, "dtls b"))
    ]
    a.set_remote_fingerprint(*second.fingerprint)
    b.set_remote_fingerprint(*first.fingerprint)
    wire(world, a, b, "datagrams")
    b.start("server", world.now)
    a.start("client", world.now)
    return a, b


def ice_pair(world: World, *, options: IceOptions = IceOptions()) -> tuple[IceAgent, IceAgent]:  # noqa: B008 (frozen)
    """A controlling ICE agent "a" and a controlled one "b", each with a host candidate and the other's description."""
    a = IceAgent(world.entropy.fork("ice a"), controlling=True, options=options)
    b = IceAgent(world.entropy.fork("ice b"), controlling=False, options=options)
    for name, agent, address in (("a", a, A), ("b", b, B)):
        world.add(name, agent, {1: address}, deliver=agent.handle_stun)
        agent.add_local(host_candidate(address), 1, world.now)
    for agent, other, there in ((a, b, B), (b, a, A)):
        agent.set_remote_credentials(other.local_ufrag, other.local_pwd, world.now)
        agent.add_remote(host_candidate(there), world.now)
    return a, b


def host_candidate(address: Address) -> Candidate:
    """The host candidate of an address."""
    return Candidate("1", 1, "udp", 2130706431, address[0], address[1], "host")


def sctp_pair(world: World, *, options: SctpOptions = SctpOptions()) -> tuple[DataChannels, DataChannels]:  # noqa: B008
    """Data channels over two SCTP associations, both of which begin the handshake, as over DTLS."""
    a, b = [
        DataChannels(SctpAssociation(world.entropy.fork(f"sctp {role}"), options=options), role=role)
        for role in (CLIENT, SERVER)
    ]
    wire(world, a, b, "packets", "handle_packet")
    a.start(world.now)
    b.start(world.now)
    return a, b


SERVER_ADDRESS: Address = ("10.1.0.1", 7882)
UNIX = 1_800_000_000.0


class Rooms:
    """The small server as node "server", and room engines as nodes named by their identity.

    The plain DTLS engine, so that runs repeat. ``server`` is the machine; keyword arguments are its options.
    """

    def __init__(self, world: World, **options: Any) -> None:
        self.world = world
        self.wall = WallClock(UNIX, world.now)
        self.server_address = SERVER_ADDRESS
        self._options = ServerOptions(keys={"key": "secret"}, dtls_engine=PlainEngine, **options)
        self._clients = self._servers = 0
        self.start_server()

    def start_server(self) -> None:
        """A new server that knows nothing, in the place of the one that was stopped."""
        world, self._servers = self.world, self._servers + 1
        label = "server" if self._servers == 1 else f"server {self._servers}"
        self.server = SfuServer(
            SERVER_ADDRESS,
            self._options,
            entropy=world.entropy.fork(label),
            wall=self.wall,
            identity=plain_identity(world.entropy.fork("server identity")),
        )
        world.add("server", self.server, {PORT: SERVER_ADDRESS}, perform=self._answer)
        world.listen("server.test", "server", judges=True)
        if self._options.tcp_address is not None:
            world.listen_stream(self._options.tcp_address, "server")

    def stop_server(self) -> None:
        """Kill the server: links break, its UDP port falls silent."""
        self.world.remove("server")

    def _answer(self, output: AcceptSignal | RefuseSignal | DropSignal, now: float) -> None:
        match output:
            case AcceptSignal():
                self.world.accept_signal("server", output.signal)
            case RefuseSignal():
                self.world.refuse_signal("server", output.signal, output.status, output.body)
            case _:
                self.world.drop_signal("server", output.signal)

    def token(self, identity: str, room: str = "room", *, ttl: float = 3600.0, **claims: Any) -> str:
        """A token that lets in, for ``ttl`` seconds."""
        claim = Claims(identity, room, "key", **{"can_update_own_metadata": True, **claims})
        return mint(claim, "secret", self.wall.unix_at(self.world.now), ttl)

    def enter(
        self,
        identity: str,
        room: str = "room",
        *,
        token: str = "",
        node: str = "",
        site: Site | None = None,
        url: str = "ws://server.test",
        hosts: Sequence[str] = (),
        make: Callable[..., RoomEngine] = RoomEngine,
        **options: Any,
    ) -> RoomEngine:
        """A new client, which begins to join.

        Its node is named ``node`` or by its identity, stands in ``site``, and has the addresses ``hosts``, or one.
        ``make`` makes the engine, such as ``Recorder.engine``.
        """
        world, self._clients = self.world, self._clients + 1
        label, hosts = f"client {self._clients}", hosts or [f"10.2.0.{self._clients}"]
        engine = make(
            url,
            token or self.token(identity, room),
            EngineOptions(dtls_engine=PlainEngine, **options),
            entropy=world.entropy.fork(label),
            wall=self.wall,
            identity=plain_identity(world.entropy.fork(f"identity of {label}")),
        )
        world.add(node or identity, engine, hosts=hosts)
        if site is not None:
            world.place(site, node or identity)
        engine.start([Interface("eth0", host) for host in hosts], world.now)
        return engine

    def outputs(self, node: str, kind: type[T]) -> list[T]:
        """What a client's engine has put out of one class: events, answers to requests, endings."""
        return [output for output in self.world.node(node).outputs if isinstance(output, kind)]


def drain(queue: deque[Any]) -> list[Any]:
    """Take everything out of a deque."""
    items = list(queue)
    queue.clear()
    return items
