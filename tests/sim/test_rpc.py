"""Remote procedure calls in virtual time, over networks that lose."""

from __future__ import annotations

from collections import Counter

import pytest

from sansio.base.entropy import Entropy
from sansio.room.requests import RequestDone, RequestFailed
from sansio.room.rpc import RpcCancelled, RpcInvoked
from sansio.testing.netem import Link
from tests.unit.room.party import Party

LOSSY = Link(latency=0.05, loss=0.01)
"""100 ms both ways, of one hundred packets one is lost."""


def noise(number: int, size: int) -> str:
    """A payload of its own that does not shrink much."""
    return f"{number} {Entropy(b'%d' % number).token(size)}"[:size]


class Calls:
    """People who answer calls to "echo" after some thought, and the books of who asked what."""

    def __init__(self, party: Party, *names: str, version: int = 1) -> None:
        self.party = party
        for name in names:
            for other in party.engines[name].state.remote_participants.values():
                other.client_protocol, other.capabilities = (2, (2,)) if version == 2 else (0, ())
        self.ran: Counter[tuple[str, str]] = Counter()
        self.asked: dict[tuple[str, int], str] = {}
        self.cancelled = 0
        self.seen = dict.fromkeys(names, 0)
        for name in names:
            party.engines[name].register_rpc_method("echo", None)

    def call(self, caller: str, callee: str, payload: str) -> None:
        token = self.party.engines[caller].perform_rpc(callee, "echo", payload, self.party.now)
        self.asked[caller, token] = payload
        self.party.world.poke(caller)

    def turn(self) -> bool:
        """Answer what has come. Whether all is answered."""
        for name in self.seen:
            outputs = self.party.rooms.outputs(name, RpcInvoked)
            for output in outputs[self.seen[name] :]:
                invocation = output.invocation
                self.ran[invocation.caller_identity, invocation.payload] += 1
                self.party.engines[name].rpc_respond(invocation, invocation.payload[::-1], self.party.now)
                self.party.world.poke(name)
            self.seen[name] = len(outputs)
        return self.answers() == len(self.asked)

    def answers(self) -> int:
        return sum(
            len(self.party.found(name, RequestDone)) + len(self.party.found(name, RequestFailed)) for name in self.seen
        )

    def check(self) -> None:
        """Every call was carried out once, and its answer is its own."""
        assert set(self.ran.values()) == {1}
        assert len(self.ran) == len(self.asked)
        for name in self.seen:
            assert self.party.found(name, RequestFailed) == []
            assert self.party.found(name, RpcCancelled) == []
            results = {(name, output.token): output.result for output in self.party.found(name, RequestDone)}
            mine = {key: payload[::-1] for key, payload in self.asked.items() if key[0] == name}
            assert results == mine


@pytest.mark.parametrize(("version", "size", "count"), [(1, 10, 256), (1, 1000, 256), (2, 1000, 256), (2, 40_000, 16)])
@pytest.mark.parametrize("seed", [1, 2])
def test_calls_at_once_over_a_network_that_loses(version, size, count, seed):
    with Party("alice", "bob", seed=seed, link=LOSSY) as party:
        party.wait(5.0)
        calls = Calls(party, "alice", "bob", version=version)
        for number in range(count):
            calls.call(*(("alice", "bob") if number % 2 else ("bob", "alice")), noise(number, size))
        party.run(calls.turn, limit=party.now + 30)
        calls.check()


def test_calls_go_before_data_that_waits():
    """A call is answered in little more than a round trip although a megabyte was queued before it."""
    with Party("alice", "bob", link=Link(latency=0.02, rate=10_000_000)) as party:
        party.wait(5.0)
        calls = Calls(party, "alice", "bob")
        while party.publish("alice", bytes(15_000)):
            pass
        start = party.now
        calls.call("alice", "bob", "hello")
        party.run(lambda: (party.read("bob") and False) or calls.turn(), limit=party.now + 10)
        calls.check()
        assert party.now - start < 0.3
        assert party.engines["alice"]._parts.transports.data._lanes[True].bytes > 500_000


def test_unread_data_does_not_hold_up_calls():
    with Party("alice", "bob") as party:
        party.wait(5.0)
        for number in range(50):
            party.publish("alice", b"%d" % number + bytes(20_000))
            party.wait(0.05)
        calls = Calls(party, "alice", "bob")
        calls.call("alice", "bob", "hello")
        party.run(calls.turn, limit=party.now + 5)
        calls.check()
        assert len(party.read("bob")) == 50
