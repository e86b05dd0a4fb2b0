"""Two sets of data channels over lossy, slow, reordering links, in virtual time, for many seeds.

Whatever the link does: reliable messages arrive exactly once, ordered ones in order, the others at most once; nothing
is left behind at either side.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from sansio.base.contract import INF
from sansio.base.entropy import Entropy
from sansio.sctp import ChannelClosed, ChannelOpened, ChannelReadable, DataChannels, SctpOptions
from sansio.testing.netem import Link
from sansio.testing.pairs import sctp_pair
from sansio.testing.world import World

KINDS: tuple[dict[str, Any], ...] = (
    {},
    {},
    {"ordered": False},
    {"ordered": False, "max_retransmits": 0},
    {"max_retransmits": 1},
    {"max_lifetime_ms": 300},
    {"ordered": False, "max_lifetime_ms": 100},
)
SIZES = (8, 8, 100, 1000, 1132, 1136, 3000, 20_000)


class App:
    """Sends and reads on one side; remembers what came."""

    def __init__(self, world: World, name: str, channels: DataChannels) -> None:
        self.world = world
        self.name = name
        self.channels = channels
        self.got: dict[int, list[bytes]] = {}
        self.sent: dict[int, list[bytes]] = {}
        self.opened: dict[str, int] = {}
        self.closed: list[int] = []
        self.reading = True
        world.node(name).perform = self.perform

    def perform(self, event: object, now: float) -> None:
        if isinstance(event, ChannelReadable) and self.reading:
            self.read(event.channel)
        elif isinstance(event, ChannelOpened):
            self.opened[event.label] = event.channel
        elif isinstance(event, ChannelClosed):
            self.closed.append(event.channel)

    def read(self, number: int) -> None:
        while (data := self.channels.read(number)) is not None:
            self.got.setdefault(number, []).append(data)
        self.world.poke(self.name)

    def send(self, number: int, data: bytes) -> None:
        self.sent.setdefault(number, []).append(data)
        self.channels.send(number, data, self.world.now)
        self.world.poke(self.name)


def idle(channels: DataChannels) -> bool:
    return channels.association.sender.idle()


def clean(channels: DataChannels) -> None:
    """Nothing is left in the sender or the receiver."""
    sender, receiver = channels.association.sender, channels.association.receiver
    assert sender.flight == sender.abandoned == len(sender.outstanding) == 0
    assert receiver.held == 0
    assert not receiver.by_first
    assert not receiver.by_last
    assert not receiver.gaps


def compare(sent: list[bytes], got: list[bytes], options: dict[str, Any]) -> None:
    reliable = not ({"max_retransmits", "max_lifetime_ms"} & options.keys())
    if reliable:
        assert sorted(got) == sorted(sent)
    else:
        assert not Counter(got) - Counter(sent)
    if options.get("ordered", True):
        rest = iter(sent)
        assert all(any(data == other for other in rest) for data in got)


def draw_link(entropy: Entropy) -> Link:
    return Link(
        latency=entropy.choice((0.0001, 0.01, 0.05, 0.15)),
        jitter=entropy.choice((0.0, 0.005, 0.02)),
        loss=entropy.choice((0.0, 0.01, 0.05, 0.15)),
        burst=entropy.choice((1.0, 1.0, 3.0)),
        duplication=entropy.choice((0.0, 0.02)),
        reorder=entropy.choice((0.0, 0.02, 0.1)),
        hold_back=entropy.choice((0.002, 0.05)),
        rate=entropy.choice((INF, 1e6, 1e5)),
    )


@pytest.mark.parametrize("seed", range(24))
def test_messages_over_bad_links(seed):
    entropy = Entropy(b"bad links %d" % seed)
    options = SctpOptions(
        zero_checksum=bool(entropy.below(2)),
        window=entropy.choice((1 << 17, 4 << 20)),
        max_retransmissions=60,
    )
    with World(seed=seed, link=draw_link(entropy)) as world:
        pair = sctp_pair(world, options=options)
        apps = [App(world, name, channels) for name, channels in zip("ab", pair, strict=True)]
        made = []
        for app in apps:
            for label in "xyz"[: 1 + entropy.below(3)]:
                kind = entropy.choice(KINDS)
                number = app.channels.open(app.name + label, now=world.now, **kind)
                made.append((number, kind, app))
        left = 0

        def send(app: App, number: int, data: bytes) -> None:
            nonlocal left
            if number not in app.opened.values() and not any(app is own and number == one for one, _, own in made):
                world.at(world.now + 0.05, send, app, number, data)
                return
            left -= 1
            app.send(number, data)

        for number, _, _ in made:
            for app in apps:
                when = 0.0
                for _ in range(entropy.choice((3, 20, 60))):
                    when += entropy.choice((0.0, 0.0, 0.001, 0.05))
                    left += 1
                    size = entropy.choice(SIZES)
                    world.at(when, send, app, number, entropy.bytes(8) * (size // 8))
        world.run(lambda: left == 0 and all(idle(channels) for channels in pair), limit=600)
        world.run_for(2.0)
        for number, kind, _ in made:
            for app, other in (apps, apps[::-1]):
                compare(app.sent.get(number, []), other.got.get(number, []), kind)
        for channels in pair:
            clean(channels)


@pytest.mark.parametrize("seed", range(8))
def test_channels_come_and_go_over_bad_links(seed):
    entropy = Entropy(b"come and go %d" % seed)
    with World(seed=seed, link=draw_link(entropy)) as world:
        pair = sctp_pair(world, options=SctpOptions(max_retransmissions=60))
        a, b = [App(world, name, channels) for name, channels in zip("ab", pair, strict=True)]
        numbers = []
        for turn in range(6):
            number = a.channels.open(f"{turn}", now=world.now)
            numbers.append(number)
            for value in range(entropy.below(5)):
                a.send(number, b"%d" % value * 1000)
            if entropy.below(2):
                world.run(lambda turn=turn: f"{turn}" in b.opened, limit=600)
                b.send(number, b"from b")
            closing = entropy.choice((a, b)) if f"{turn}" in b.opened else a
            closing.channels.close(number, world.now)
            world.poke(closing.name)
            if entropy.below(2):
                world.run_for(entropy.uniform(0.0, 1.0))
        world.run(lambda: sorted(a.closed) == sorted(b.closed) == numbers, limit=600)
        world.run_for(1.0)
        for number in numbers:
            assert b.got.get(number, []) == a.sent.get(number, [])
        for channels in pair:
            clean(channels)
            assert not channels._channels
            assert not channels._closed


def test_sender_faster_than_the_link_fills_it_without_timeouts():
    link = Link(latency=0.02, rate=1e6, queue=100_000)
    with World(seed=1, link=link) as world:
        pair = sctp_pair(world)
        a, b = [App(world, name, channels) for name, channels in zip("ab", pair, strict=True)]
        number = a.channels.open("bulk", now=world.now)
        total = 5_000_000
        for _ in range(total // 50_000):
            a.send(number, bytes(50_000))
        began = world.now
        world.run(lambda: len(b.got.get(number, [])) == total // 50_000, limit=60)
        assert total / (world.now - began) > 0.85e6
        assert pair[0].counters["timeouts"] == 0


@pytest.mark.parametrize("loss", [0.001, 0.01])
def test_random_loss_costs_little(loss):
    with World(seed=2, link=Link(latency=0.005, loss=loss)) as world:
        pair = sctp_pair(world)
        a, b = [App(world, name, channels) for name, channels in zip("ab", pair, strict=True)]
        number = a.channels.open("bulk", now=world.now)
        for _ in range(40):
            a.send(number, bytes(50_000))
        world.run(lambda: len(b.got.get(number, [])) == 40, limit=30)
        # As good as the well-known bound for this kind of congestion control: 0.9 segments / sqrt(loss) a round trip.
        assert 2_000_000 / world.now > 0.9 * 1100 / 0.01 / loss**0.5
        assert pair[0].counters["timeouts"] <= 1


class LazyAcks:
    """Stands between a node and its receiver: ignores the I bit, so that SACKs come 200 ms late, as some peers do."""

    def __init__(self, channels: DataChannels) -> None:
        inner = channels.association.receiver
        take = channels.handle_packet

        def handle(port: int, data: bytes, addr: object, now: float) -> None:
            before = inner.sack_now
            take(data, now)
            if not inner.gaps and inner.unacked == 1:
                inner.sack_now = before

        self.deliver = handle


def test_late_acknowledgements_cause_no_timeout():
    with World(seed=3, link=Link(latency=0.03)) as world:
        pair = sctp_pair(world)
        a, b = [App(world, name, channels) for name, channels in zip("ab", pair, strict=True)]
        number = a.channels.open("x", now=world.now)
        world.run(lambda: "x" in b.opened)
        world.node("b").deliver = LazyAcks(pair[1]).deliver
        for turn in range(100):
            world.at(world.now + turn * 0.7, a.send, number, b"%d" % turn)
        world.run_for(80.0)
        assert len(b.got[number]) == 100
        assert pair[0].counters["timeouts"] == 0


def test_outage_ends_with_a_hint():
    with World(seed=4, link=Link(latency=0.02)) as world:
        pair = sctp_pair(world)
        a, b = [App(world, name, channels) for name, channels in zip("ab", pair, strict=True)]
        number = a.channels.open("x", now=world.now)
        world.run_for(1.0)
        world.partition("a", "b")
        a.send(number, b"during")
        world.run_for(25.0)
        world.partition("a", "b", down=False)
        pair[0].association.path_restored(world.now)
        world.poke("a")
        world.run_for(0.1)
        assert b.got[number] == [b"during"]


def test_slow_reader_slows_the_sender_and_nothing_is_lost():
    with World(seed=5, link=Link(latency=0.01, loss=0.02)) as world:
        pair = sctp_pair(world, options=SctpOptions(window=1 << 17))
        a, b = [App(world, name, channels) for name, channels in zip("ab", pair, strict=True)]
        b.reading = False
        number = a.channels.open("x", now=world.now)
        for value in range(400):
            a.send(number, b"%04d" % value * 500)

        def read_some() -> None:
            for _ in range(20):
                data = b.channels.read(number)
                if data is not None:
                    b.got.setdefault(number, []).append(data)
            world.poke("b")

        for turn in range(200):
            world.at(1.0 + turn * 0.3, read_some)
        world.run(lambda: len(b.got.get(number, [])) == 400, limit=120)
        assert b.got[number] == a.sent[number]
        assert pair[1].association.receiver.held == 0


def test_same_seed_same_trace():
    traces = []
    for _ in range(2):
        with World(seed=6, link=Link(latency=0.01, loss=0.05, jitter=0.01)) as world:
            pair = sctp_pair(world)
            a, _ = [App(world, name, channels) for name, channels in zip("ab", pair, strict=True)]
            number = a.channels.open("x", now=world.now)
            for _ in range(50):
                a.send(number, bytes(3000))
            world.run_for(10.0)
            traces.append([str(line) for line in world.trace])
    assert traces[0] == traces[1]
