"""Two associations at the ends of a line whose packets can be seen, held, dropped and changed one by one."""

from __future__ import annotations

from collections.abc import Callable

from sansio.base.entropy import Entropy
from sansio.sctp import DataChannels, SctpAssociation, SctpOptions, chunks

RTT = 0.02

NAMES = {
    value: name
    for name, value in vars(chunks).items()
    if name in list(vars(chunks))[list(vars(chunks)).index("DATA") : list(vars(chunks)).index("END")]
}


def kinds(packet: bytes) -> list[str]:
    """The names of a packet's chunks."""
    return [NAMES.get(chunk.kind, str(chunk.kind)) for chunk in chunks.decode_packet(packet).chunks]


def bodies(packet: bytes, kind: int) -> list[bytes]:
    """The bodies of a packet's chunks of one kind."""
    return [chunk.body for chunk in chunks.decode_packet(packet).chunks if chunk.kind == kind]


class Pair:
    """``a`` is the DTLS client, ``b`` the server. Packets take half a round trip; ``drop`` judges each one.

    ``drop(side, packet)`` returns True for one that is lost; ``sent`` keeps all as (time, side, packet).
    """

    def __init__(
        self, *, start: str = "ab", options: SctpOptions | None = None, other: SctpOptions | None = None
    ) -> None:
        self.now = 100.0
        self.options = options or SctpOptions()
        self.a = DataChannels(SctpAssociation(Entropy(b"a"), options=self.options), role="client")
        self.b = DataChannels(SctpAssociation(Entropy(b"b"), options=other or self.options), role="server")
        self.sides = {"a": self.a, "b": self.b}
        self.events: dict[str, list[object]] = {"a": [], "b": []}
        self.sent: list[tuple[float, str, bytes]] = []
        self.flying: list[tuple[float, int, str, bytes]] = []
        self.due = {"a": 0.0, "b": 0.0}
        self.drop: Callable[[str, bytes], bool] = lambda side, packet: False
        self.delay = RTT / 2
        self._count = 0
        for side in start:
            self.sides[side].start(self.now)

    def flush(self) -> None:
        """Advance both at the present time and put their packets on the line."""
        for side, machine in self.sides.items():
            self.due[side] = machine.advance(self.now)
            while machine.packets:
                packet = machine.packets.popleft()
                self.sent.append((self.now, side, packet))
                if not self.drop(side, packet):
                    self._count += 1
                    self.flying.append((self.now + self.delay, self._count, side, packet))
            self.events[side] += machine.outbox
            machine.outbox.clear()

    def run(self, seconds: float) -> None:
        """Let time pass."""
        end = self.now + seconds + 1e-9
        self.flush()
        while True:
            when = min([entry[0] for entry in self.flying] + list(self.due.values()))
            if when > end:
                break
            self.now = max(self.now, when)
            arrived = sorted([entry for entry in self.flying if entry[0] <= self.now])
            self.flying = [entry for entry in self.flying if entry[0] > self.now]
            for _, _, side, packet in arrived:
                self.sides["b" if side == "a" else "a"].handle_packet(packet, self.now)
            self.flush()
        self.now = end
        self.flush()

    def up(self) -> Pair:
        """Run until the handshake is over and its acknowledgements have been sent."""
        self.run(1.0)
        assert self.a.association.up
        assert self.b.association.up
        self.sent.clear()
        return self

    def channel(self, **options: object) -> int:
        """A channel that ``a`` opened and ``b`` has confirmed."""
        number = self.a.open("test", now=self.now, **options)
        self.run(0.5)
        for events in self.events.values():
            events.clear()
        self.sent.clear()
        return number

    def read(self, side: str, channel: int) -> list[bytes]:
        """Everything that can be read."""
        out = []
        while (data := self.sides[side].read(channel)) is not None:
            out.append(data)
        return out

    def log(self) -> list[tuple[str, list[str]]]:
        """What was sent, as chunk names."""
        return [(side, kinds(packet)) for _, side, packet in self.sent]

    def count(self, reason: str) -> int:
        """A counter summed over both sides."""
        return self.a.counters[reason] + self.b.counters[reason]

    def forge(self, to: str, *made: tuple[int, int, bytes], tag: int | None = None, raw: bytes = b"") -> None:
        """Give one side a packet with these chunks, as if from its peer."""
        association = self.sides[to].association
        tag = association._tag if tag is None else tag
        packet = chunks.Packet(5000, 5000, tag, 0, [chunks.Chunk(*one) for one in made])
        self.sides[to].handle_packet(chunks.with_checksum(chunks.encode_packet(packet) + raw), self.now)
