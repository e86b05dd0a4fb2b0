"""Two peer transports, or two peer connections, at the ends of a link."""

from __future__ import annotations

from collections import deque

from sansio.base.entropy import Entropy
from sansio.dtls.plain import PlainEngine, plain_identity
from sansio.ice.agent import IceOptions
from sansio.peer.connection import PeerConnection
from sansio.peer.transport import PeerTransport
from sansio.testing.pairs import A, B, host_candidate
from sansio.testing.world import World

OTHER = {"a": "b", "b": "a"}
ADDRESS = {"a": A, "b": B}
IDENTITIES = {name: plain_identity(Entropy(name.encode())) for name in "ab"}


class Ends:
    """What the two kinds of pairs have in common: nodes "a" and "b" of a world."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.ends = {}

    def transport(self, name: str) -> PeerTransport:
        end = self.ends[name]
        return end if isinstance(end, PeerTransport) else end.transport

    def outputs(self, name, kind=object):
        return [output for output in self.world.node(name).outputs if isinstance(output, kind)]

    def kinds(self, name):
        return [type(output).__name__ for output in self.world.node(name).outputs]

    def run(self, until, limit=30.0):
        self.world.run(until, limit)

    def connected(self):
        return all(self.transport(name).connected for name in "ab")

    def up(self):
        return all(self.transport(name).association.up for name in "ab")

    def send(self, name, channel, data):
        transport = self.transport(name)
        transport.channels.send(channel, data, self.world.now)
        transport.touch_data()
        self.touch(name)

    def read(self, name, channel):
        transport = self.transport(name)
        found = []
        while (data := transport.channels.read(channel)) is not None:
            found.append(bytes(data))
        if found:
            transport.touch_data()
            self.touch(name)
        return found

    def touch(self, name):
        self.world.poke(name)


class Transports(Ends):
    """Two transports; "a" controls. ``roles`` are their DTLS roles, ``identities`` what they have and are told."""

    def __init__(
        self,
        world,
        *,
        roles=("server", "client"),
        engine=PlainEngine,
        identities=IDENTITIES,
        announced=None,
        ice=None,
        introduce=True,
    ):
        super().__init__(world)
        self.roles = dict(zip("ab", roles, strict=True))
        self.identities = identities
        self.announced = announced or identities
        for name in "ab":
            self.ends[name] = transport = PeerTransport(
                world.entropy.fork(f"transport {name}"),
                identities[name],
                deque(),
                controlling=name == "a",
                ice_options=ice or IceOptions(),
                dtls_engine=engine,
            )
            world.add(
                name,
                transport,
                {1: ADDRESS[name]},
                deliver=transport.receive_datagram,
            )
            transport.add_local(host_candidate(ADDRESS[name]), 1, world.now)
        if introduce:
            self.introduce("a")
            self.introduce("b")

    def introduce(self, name, **changes):
        """Tell one of the other."""
        other = self.ends[OTHER[name]]
        self.ends[name].set_remote(
            **{
                "ufrag": other.ice.local_ufrag,
                "pwd": other.ice.local_pwd,
                "lite": False,
                "fingerprint": self.announced[OTHER[name]].fingerprint,
                "role": self.roles[name],
                "now": self.world.now,
                **changes,
            }
        )
        self.ends[name].add_remote(host_candidate(ADDRESS[OTHER[name]]), self.world.now)
        self.touch(name)


class Connections(Ends):
    """Two connections; "a" offers."""

    def __init__(self, world, *, engine=PlainEngine, identities=IDENTITIES):
        super().__init__(world)
        for name in "ab":
            self.ends[name] = connection = PeerConnection(
                world.entropy.fork(f"connection {name}"),
                identities[name],
                deque(),
                offerer=name == "a",
                dtls_engine=engine,
            )
            world.add(
                name,
                connection,
                {1: ADDRESS[name]},
                deliver=connection.transport.receive_datagram,
                transmits=connection.transport.transmits,
            )
            connection.add_local_candidate(host_candidate(ADDRESS[name]), 1, world.now)

    def negotiate(self):
        a, b = self.ends["a"], self.ends["b"]
        offer, number = a.create_offer(self.world.now)
        answer = b.handle_offer(offer, self.world.now)
        a.handle_answer(answer, number, self.world.now)
        self.touch("a")
        self.touch("b")
        return offer, answer
