"""Two sets of data channels whose packets are delivered, lost, repeated, broken and invented as the bytes say."""

from __future__ import annotations

from collections.abc import Iterator

from fuzz._turn import settle
from sansio.base.contract import INF
from sansio.base.entropy import Entropy
from sansio.base.errors import LocalProtocolError
from sansio.base.limits import SCTP_CHANNELS, SCTP_CONTROL
from sansio.sctp import (
    ChannelClosed,
    ChannelOpened,
    ChannelReadable,
    DataChannels,
    SctpAssociation,
    SctpLost,
    SctpOptions,
    SctpUp,
    chunks,
)
from sansio.sctp.association import LOST

MOST_STEPS = 80
KINDS = (
    {},
    {},
    {"ordered": False},
    {"ordered": False, "max_retransmits": 0},
    {"max_lifetime_ms": 50},
    {"max_retransmits": 1},
)
SIZES = (0, 1, 50, 900, 1132, 1133, 4000, 12_000)


class Side:
    """One end, what it has sent, and what came of it."""

    def __init__(self, name: str, options: SctpOptions) -> None:
        role = "client" if name == "a" else "server"
        self.end = DataChannels(SctpAssociation(Entropy(name.encode()), options=options), role=role)
        self.sent: list[bytes] = []
        self.under_way: list[bytes] = []
        self.messages: dict[int, list[bytes]] = {}
        self.got: dict[int, list[bytes]] = {}
        self.reliable: set[int] = set()
        self.closed: set[int] = set()
        self.ups = self.losses = 0

    def settle(self, now: float) -> float:
        """The contract, after each input."""
        end = self.end
        due = settle(end, now)
        assert len(end.packets) <= 64 + 2 * SCTP_CONTROL, "too much in answer to one input"
        self.sent += end.packets
        self.under_way += end.packets
        end.packets.clear()
        while end.outbox:
            event = end.outbox.popleft()
            assert not self.losses, "something after the end"
            if isinstance(event, SctpUp):
                self.ups += 1
            elif isinstance(event, SctpLost):
                self.losses += 1
            elif isinstance(event, ChannelReadable):
                self.read(event.channel)
            elif isinstance(event, ChannelClosed):
                self.closed.add(event.channel)
            elif isinstance(event, ChannelOpened):
                assert self.ups
        assert self.ups <= 1
        assert (end.association.state == LOST) == bool(self.losses)
        assert due < INF or self.losses or not self.ups
        self.balance()
        return due

    def read(self, channel: int) -> None:
        while (data := self.end.read(channel)) is not None:
            self.got.setdefault(channel, []).append(data)

    def balance(self) -> None:
        sender = self.end.association.sender
        assert sender.flight == sum([len(chunk.data) for chunk in sender.outstanding if chunk.state == 1])
        assert sender.abandoned == sum([chunk.state == 4 for chunk in sender.outstanding])
        assert self.end.total_buffered() >= 0
        assert len(self.end._closed) <= SCTP_CHANNELS


def one(data: bytes) -> None:
    """The first byte chooses options and where to begin, then come operations."""
    source = iter(data)
    first = next(source, 0)
    options = SctpOptions(
        zero_checksum=bool(first & 1),
        window=80_000 if first & 2 else 1 << 20,
        mtu=512 if first & 4 else 1163,
        max_retransmissions=30,
        buffer_low=500,
        buffer_high=5000,
    )
    a, b = Side("a", options), Side("b", options)
    now = 0.0
    a.end.start(now)
    if first & 8:
        b.end.start(now)
    if first & 16:
        now = _acquaint(a, b, now)
    honest = True
    for _, op in zip(range(MOST_STEPS), source, strict=False):
        side, other = (a, b) if op & 8 else (b, a)
        now += (op >> 6) * 0.01
        honest &= _act(op, source, side, other, now)
        a.settle(now)
        b.settle(now)
    _finish(a, b, now, honest)


def _acquaint(a: Side, b: Side, now: float) -> float:
    """Begin with both up and a channel of each kind open."""
    for kind in KINDS:
        number = a.end.open("label", now=now, **kind)
        if "max_retransmits" not in kind and "max_lifetime_ms" not in kind:
            a.reliable.add(number)
    for _ in range(6):
        now += 0.01
        for side, other in ((a, b), (b, a)):
            side.settle(now)
            for packet in side.under_way:
                other.end.handle_packet(packet, now)
            side.under_way.clear()
    return now


def _act(op: int, source: Iterator[int], side: Side, other: Side, now: float) -> bool:
    """One operation on one side, or upon what is under way to it; False when the peer would have to be malicious."""
    what = op & 7
    choice = op >> 4
    if what == 0:
        for packet in other.under_way[: 1 + choice]:
            side.end.handle_packet(packet, now)
        del other.under_way[: 1 + choice]
    elif what == 1:
        del other.under_way[: 1 + (choice & 3)]
    elif what == 2 and other.sent:
        side.end.handle_packet(other.sent[next(source, 0) % len(other.sent)], now)
    elif what == 3:
        _operate(choice, source, side, now)
    elif what == 4:
        number = next(source, 0) & 15
        size = SIZES[choice & 7]
        message = b"%d" % len(side.messages.get(number, ())) + bytes(size)
        try:
            side.end.send(number, message, now)
        except LocalProtocolError:
            return True
        side.messages.setdefault(number, []).append(message)
    elif what == 5 and len(other.under_way) > 1:
        other.under_way.append(other.under_way.pop(0))
    elif what == 6 and other.sent:
        return _forge(choice, source, side, other, now)
    elif what == 7 and choice == 15:
        kind = next(source, 0) & 7
        if kind == 0:
            side.end.abort(now)
        elif kind == 1:
            side.end.shutdown(now)
    return True


def _operate(choice: int, source: Iterator[int], side: Side, now: float) -> None:
    if choice < 6:
        kind = KINDS[choice]
        try:
            number = side.end.open("label", now=now, **kind)
        except LocalProtocolError:
            return
        if "max_retransmits" not in kind and "max_lifetime_ms" not in kind:
            side.reliable.add(number)
    elif choice == 6:
        number = next(source, 0) & 15
        side.end.close(number, now)
    elif choice == 7:
        side.end.blocked = not side.end.blocked
    elif choice == 8:
        side.end.association.heartbeat(now)
    elif choice == 9:
        side.end.association.path_restored(now)
    elif choice == 10:
        side.end.start(now)
    else:
        side.read(next(source, 0) & 15)


def _forge(choice: int, source: Iterator[int], side: Side, other: Side, now: float) -> bool:
    """A packet changed on the way with its checksum made right, or one made up with the right tag."""
    tag = side.end.association._tag
    if choice < 8:
        packet = bytearray(other.sent[next(source, 0) % len(other.sent)])
        for _ in range(1 + (choice & 3)):
            packet[(next(source, 0) << 2 | choice >> 2) % len(packet)] ^= next(source, 1)
    else:
        head = chunks.COMMON.pack(5000, 5000, 0 if choice == 15 else tag, 0)
        packet = bytearray(head + bytes([next(source, 0) for _ in range(next(source, 0) & 127)]))
    packet[8:12] = bytes(4)
    side.end.handle_packet(chunks.with_checksum(bytes(packet)), now)
    return False


def _finish(a: Side, b: Side, now: float, honest: bool) -> None:
    """From here on the network is faithful: if nobody cheated, all reliable messages arrive, or an end is over."""
    a.end.blocked = b.end.blocked = False
    limit = now + 400.0
    while now < limit:
        now += 0.01
        for side, other in ((a, b), (b, a)):
            under_way, other.under_way = other.under_way, []
            for packet in under_way:
                side.end.handle_packet(packet, now)
        due = min(a.settle(now), b.settle(now))
        idle = a.end.association.sender.idle() and b.end.association.sender.idle()
        if not a.under_way and not b.under_way:
            if due == INF or (idle and due > now + 5.0):
                break
            now = max(now, due - 0.01)
    if not honest or a.losses or b.losses:
        return
    assert a.ups == b.ups == 1
    assert a.end.association.sender.idle()
    assert b.end.association.sender.idle()
    for side, other in ((a, b), (b, a)):
        for number, messages in side.messages.items():
            for one_side in (side, other):
                one_side.read(number)
            got = other.got.get(number, [])
            if number in (a.reliable | b.reliable) and number not in (a.closed | b.closed):
                assert sorted(got) == sorted(messages)
