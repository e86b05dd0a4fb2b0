"""A TURN allocation with a server at the end of a bad line, on a datagram port and on a stream."""

from __future__ import annotations

from sansio.base.contract import OpenUdp
from sansio.base.entropy import Entropy
from sansio.ice.turn import TurnAllocation
from sansio.testing.conformance import Input, Script, Subject, call
from sansio.testing.turnserver import TurnServer

from .duet import mutated

CLIENT = ("192.0.2.1", 5000)
PEERS = [("198.51.100.1", 6000), ("198.51.100.2", 6000), ("2001:db8::1", 6000)]


class Server:
    """The server, which opens its relays at once."""

    def __init__(self, entropy: Entropy, stream: bool) -> None:
        self.machine = TurnServer(entropy, nonce_time=200.0, lifetime=120.0, denied=(PEERS[1][0],))
        self.stream = stream
        if stream:
            self.machine.stream_accepted(1, CLIENT, 0.0)

    def give(self, data: bytes, now: float) -> None:
        self.machine.handle_datagram(1, data, CLIENT, now)

    def take(self, entropy: Entropy, now: float) -> list[bytes]:
        machine = self.machine
        machine.advance(now)
        while machine.outbox:
            output = machine.outbox.popleft()
            if isinstance(output, OpenUdp):
                machine.port_opened(output.port, (output.host, output.port), now)
        sent: list[bytes] = []
        while machine.transmits:
            transmit = machine.transmits.popleft()
            if transmit.port == 1:
                sent.append(transmit.data)
            elif entropy.below(2):
                machine.handle_datagram(transmit.port, transmit.data, transmit.addr, now)
        return sent


class Carried(TurnAllocation):
    """An allocation behind one input for all bytes and one for sending, as its owner feeds it."""

    def receive(self, data: bytes, now: float) -> None:
        if self.unwrap(data) is None:
            self.handle_packet(data, now)

    def send(self, peer: tuple[str, int], data: bytes, now: float) -> None:
        if wrapped := self.wrap(peer, data, now):
            self.transmits.append(wrapped)


def script(entropy: Entropy, stream: bool) -> Script:
    server = Server(entropy.fork("server"), stream)
    waiting: list[bytes] = []
    item: Input | None = call("start")
    turn = yield None
    while True:
        for output in turn.outputs:
            if isinstance(output, bytes) and entropy.below(8):
                server.give(output, turn.now)
        waiting += server.take(entropy, turn.now)
        del waiting[:-64]
        kind = entropy.below(16)
        if item is None:
            if kind == 0:
                item = call("permit", entropy.choice(PEERS))
            elif kind < 4:
                item = call("send", entropy.choice(PEERS), entropy.bytes(entropy.below(30)))
            elif kind == 4 and waiting:
                item = call("receive", mutated(entropy.choice(waiting), entropy))
            elif kind == 5:
                item = call("receive", entropy.bytes(entropy.below(40)))
            elif waiting:
                item = call("receive", waiting.pop(entropy.below(min(3, len(waiting)))))
        turn = yield item
        item = None


def misuse(machine: TurnAllocation):
    yield call("permit", ("name.local", 5))
    yield call("permit", ("192.0.2.1", 0))


def subject(stream: bool) -> Subject:
    return Subject(
        make=lambda entropy: Carried(entropy, "user", "pass", stream=stream, families=(4, 6)),
        script=lambda entropy: script(entropy, stream),
        misuse=misuse,
        close=call("close"),
    )


SUBJECTS = {"ice.turn.TurnAllocation": [subject(False), subject(True)]}
