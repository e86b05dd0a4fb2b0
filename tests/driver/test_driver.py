"""The driver around a scripted engine: sockets that are full or broken, requests and their answers, timers."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest
import trio

from sansio.base.contract import (
    INF,
    ClosePort,
    CloseSignal,
    Interface,
    OpenSignal,
    OpenUdp,
    Resolve,
    SendSignal,
    SignalFailure,
    Transmit,
)
from trio_client._driver import BACKLOG, BURST, Driver
from trio_client._ports import MEDIA_PAUSE, PACE_WINDOW, PAUSE, SOUND_PAUSE
from trio_client._signal import SignalError

from .running import run
from .simnet import SimPort

PEER = ("10.0.0.9", 9)


class Engine:
    """Records every input; what it owes is put into its deques by the test. ``due`` is what ``advance`` returns."""

    def __init__(self) -> None:
        self.transmits: deque[Transmit] = deque()
        self.outbox: deque[Any] = deque()
        self.inputs: list[tuple[Any, ...]] = []
        self.advanced: list[float] = []
        self.due = math.inf
        self.on_advance: Callable[[], None] = lambda: None
        self.busy = False

    def impatient(self, now: float) -> bool:
        return self.busy

    def advance(self, now: float) -> float:
        self.advanced.append(now)
        self.on_advance()
        if self.due <= now:
            self.due = math.inf
        return self.due

    def port_handler(self, port: int) -> Callable[..., None]:
        def handle(port: int, data: bytes, addr: tuple[str, int], now: float) -> None:
            self.inputs.append(("datagram", port, data, addr))

        return handle

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return lambda *args: self.inputs.append((name, *args[:-1]))


class Net:
    """Takes what ports send."""

    def __init__(self) -> None:
        self.ports: dict[Any, SimPort] = {}
        self.carried: list[tuple[bytes, tuple[str, int]]] = []

    def carry(self, source: tuple[str, int], target: tuple[str, int], data: bytes) -> None:
        self.carried.append((data, target))


class Sink:
    def __init__(self) -> None:
        self.outputs: list[Any] = []
        self.settlings = 0
        self.on_output: Callable[[Any], None] = lambda output: None

    def deliver(self, output: Any) -> None:
        self.outputs.append(output)
        self.on_output(output)

    def settled(self) -> None:
        self.settlings += 1


class Link:
    """A link that does what the test says."""

    def __init__(self, request: OpenSignal) -> None:
        self.request = request
        self.sent: list[bytes] = []
        self.closed = trio.Event()
        self.script: Callable[..., Awaitable[str]] | None = None

    async def run(self, opened: Callable[[], None], received: Callable[[bytes], None]) -> str:
        assert self.script is not None
        return await self.script(opened, received)

    def send(self, data: bytes) -> None:
        self.sent.append(data)

    def close(self) -> None:
        self.closed.set()


class News:
    """The kernel, when it tells something."""

    def __init__(self) -> None:
        self.told = trio.Event()
        self.closed = False

    async def wait(self) -> None:
        await self.told.wait()
        self.told = trio.Event()

    def close(self) -> None:
        self.closed = True


class Setting:
    def __init__(self) -> None:
        self.engine = Engine()
        self.sink = Sink()
        self.net = Net()
        self.opened: list[SimPort] = []
        self.links: list[Link] = []
        self.scripts: deque[Callable[..., Awaitable[str]]] = deque()
        self.driver = Driver(
            self.engine,  # type: ignore[arg-type]
            self.sink,
            open_port=self.open_port,
            open_link=self.open_link,
            lookup=self.lookup,
            interfaces=lambda: list(self.addresses),
            open_news=lambda: self.news,  # type: ignore[arg-type, return-value]
        )
        self.news: News | None = None
        self.addresses = [Interface("lo", "127.0.0.1", True)]

    def open_port(self, host: str, low: int, high: int) -> SimPort:
        if host == "bad":
            raise OSError(99, "Cannot assign requested address")
        port = SimPort(self.net, (host, low or 40000 + len(self.opened)))  # type: ignore[arg-type]
        self.opened.append(port)
        return port

    def open_link(self, request: OpenSignal) -> Link:
        link = Link(request)
        link.script = self.scripts.popleft()
        self.links.append(link)
        return link

    async def lookup(self, host: str) -> list[str]:
        await trio.sleep(1)
        return ["10.0.0.3"]

    def request(self, *outputs: Any) -> None:
        self.engine.outbox.extend(outputs)
        self.driver.pump()

    def send(self, *transmits: Transmit) -> None:
        self.engine.transmits.extend(transmits)
        self.driver.pump()

    def port(self, number: int = 1) -> SimPort:
        """Open one port."""
        self.request(OpenUdp(number, "10.0.0.2"))
        return self.opened[-1]

    def said(self, name: str) -> list[tuple[Any, ...]]:
        return [entry[1:] for entry in self.engine.inputs if entry[0] == name]


@asynccontextmanager
async def running(driver: Driver) -> AsyncIterator[None]:
    """A driver at work. It is shielded, so that whatever ends the block has to shut it."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(driver.run)
        await driver.running.wait()
        try:
            yield
        finally:
            driver.shut()


def driving(test: Callable[[Setting], Awaitable[None]]) -> Callable[[], None]:
    async def main() -> None:
        setting = Setting()
        async with running(setting.driver):
            await test(setting)
        assert all(port.closed for port in setting.opened)

    def wrapped() -> None:
        run(main)

    wrapped.__name__ = test.__name__  # type: ignore[attr-defined]
    return wrapped


# ------------------------------------------------------------------ ports


@driving
async def test_open_send_receive_close(s: Setting) -> None:
    s.request(OpenUdp(1, "10.0.0.2", 5000, 5010), OpenUdp(2, "bad"))
    assert s.said("port_opened") == [(1, ("10.0.0.2", 5000))]
    assert s.said("port_failed") == [(2, "Cannot assign requested address")]
    s.send(Transmit(1, b"out", PEER))
    assert s.net.carried == [(b"out", PEER)]
    s.opened[0].arrive(b"in", PEER)
    s.opened[0].arrive(b"in2", PEER)
    await trio.testing.wait_all_tasks_blocked()
    assert s.said("datagram") == [(1, b"in", PEER), (1, b"in2", PEER)]
    assert (s.driver.sent, s.driver.sent_bytes, s.driver.received, s.driver.received_bytes) == (1, 3, 2, 5)
    s.request(ClosePort(1), ClosePort(1))
    s.send(Transmit(1, b"late", PEER))
    assert s.driver.counters["port_closed"] == 1
    await trio.testing.wait_all_tasks_blocked()
    assert s.opened[0].closed


@driving
async def test_ipv6_sources_are_normalised(s: Setting) -> None:
    s.request(OpenUdp(1, "fd00::2"))
    s.opened[0].arrive(b"in", ("fe80::1%eth0", 9, 0, 2))  # type: ignore[arg-type]
    await trio.testing.wait_all_tasks_blocked()
    assert s.said("datagram") == [(1, b"in", ("fe80::1", 9))]


@driving
async def test_one_advance_a_burst(s: Setting) -> None:
    port = s.port()
    await trio.testing.wait_all_tasks_blocked()
    before = len(s.engine.advanced)
    for i in range(BURST * 3 + 10):
        port.arrive(b"%d" % i, PEER)
    await trio.testing.wait_all_tasks_blocked()
    assert len(s.said("datagram")) == BURST * 3 + 10
    assert len(s.engine.advanced) - before == 4


@driving
async def test_where_datagrams_come_one_by_one_each_is_dealt_with_at_once(s: Setting) -> None:
    port = s.port()

    async def turns(*datagrams: bytes) -> int:
        before = len(s.engine.advanced)
        for data in datagrams:
            port.arrive(data, PEER)
        await trio.testing.wait_all_tasks_blocked()
        return len(s.engine.advanced) - before

    await turns(b"alone")
    assert await turns(b"at once", b"then this", b"with this") == 2
    assert await turns(b"several", b"again") == 1
    assert [data for _, data, _ in s.said("datagram")[1:4]] == [b"at once", b"then this", b"with this"]


async def stream(s: Setting, port: SimPort, count: int, rate: float, *, sent: int = 0, data: bytes = b"x") -> int:
    """Let datagrams come one by one, send ``sent`` for each, and tell how often the engine was called for them."""
    before = len(s.engine.advanced)
    for _ in range(count):
        port.arrive(data, PEER)
        if sent:
            s.send(*[Transmit(1, b"y", PEER)] * sent)
            before += 1
        await trio.sleep(1 / rate)
    return len(s.engine.advanced) - before


@driving
async def test_a_steady_stream_is_read_several_at_once(s: Setting) -> None:
    port = s.port()
    turns = await stream(s, port, 1000, 2000)
    first = 2000 * PACE_WINDOW
    assert turns <= first + 1000 / 5, "6 datagrams come in a pause of 3 ms"
    await trio.sleep(PAUSE)
    assert len(s.said("datagram")) == 1000
    # It has ended: the next one does not wait.
    await trio.sleep(1)
    port.arrive(b"next", PEER)
    await trio.testing.wait_all_tasks_blocked(0.0)
    assert s.said("datagram")[-1][1] == b"next"


@pytest.mark.parametrize(
    ("data", "pause"),
    [(b"\x17" + bytes(1200), PAUSE), (b"\x80" + bytes(1100), MEDIA_PAUSE), (b"\x80" + bytes(100), SOUND_PAUSE)],
    ids=["data", "video", "sound"],
)
def test_a_steady_stream_of(data: bytes, pause: float) -> None:
    @driving
    async def run(s: Setting) -> None:
        port = s.port()
        await stream(s, port, 200, 2000, data=data)
        turns = await stream(s, port, 2000, 2000, data=data)
        assert 1 / pause * 0.9 <= turns <= 1 / pause * 1.1, "a second of it"

    run()


@pytest.mark.parametrize(("rate", "sent"), [(500, 0), (10_000, 0), (2000, 1)])
def test_no_pause_where_it_would_only_delay(rate: float, sent: int) -> None:
    @driving
    async def run(s: Setting) -> None:
        assert await stream(s, s.port(), 500, rate, sent=sent) >= 490

    run()


@driving
async def test_an_empty_datagram(s: Setting) -> None:
    port = s.port()
    port.arrive(b"", PEER)
    await trio.testing.wait_all_tasks_blocked()
    assert s.said("datagram") == [(1, b"", PEER)]


@driving
async def test_no_pause_while_somebody_waits_for_answers(s: Setting) -> None:
    s.engine.busy = True
    assert await stream(s, s.port(), 500, 2000) >= 490


@driving
async def test_others_run_between_bursts(s: Setting) -> None:
    port = s.port()
    turns = 0

    async def other() -> None:
        nonlocal turns
        while len(s.said("datagram")) < BURST * 10:
            turns += 1
            await trio.lowlevel.checkpoint()

    for _ in range(BURST * 10):
        port.arrive(b"x", PEER)
    await other()
    assert turns >= 10


@driving
async def test_a_full_socket_keeps_and_drops(s: Setting) -> None:
    port = s.port()
    port.set_full(True)
    s.send(Transmit(1, b"media", PEER, keep=False))
    assert s.driver.counters["dropped_stale"] == 1
    assert s.said("port_blocked") == []
    s.send(Transmit(1, b"a", PEER), Transmit(1, b"media", PEER, keep=False), Transmit(1, b"b", PEER))
    assert s.said("port_blocked") == [(1,)]
    assert s.driver.counters["dropped_stale"] == 2
    await trio.testing.wait_all_tasks_blocked()
    assert s.net.carried == []
    port.set_full(False)
    await trio.testing.wait_all_tasks_blocked()
    assert [data for data, _ in s.net.carried] == [b"a", b"b"]
    assert s.said("port_writable") == [(1,)]
    s.send(Transmit(1, b"c", PEER, keep=False))
    assert s.net.carried[-1] == (b"c", PEER)


@driving
async def test_a_socket_that_fills_again_while_it_is_flushed(s: Setting) -> None:
    port = s.port()
    port.set_full(True)
    s.send(*[Transmit(1, b"%d" % i, PEER) for i in range(4)])
    send = port.sendto
    s.driver._ports[1].sendto = lambda data, addr: (port.set_full(data == b"1"), send(data, addr))[1]
    port.set_full(False)
    await trio.testing.wait_all_tasks_blocked()
    assert [data for data, _ in s.net.carried] == [b"0"]
    assert s.said("port_writable") == []
    s.driver._ports[1].sendto = send
    port.set_full(False)
    await trio.testing.wait_all_tasks_blocked()
    assert [data for data, _ in s.net.carried] == [b"0", b"1", b"2", b"3"]
    assert s.said("port_writable") == [(1,)]


class Runs:
    """Sends datagrams of one size by one call, unless it fails."""

    def __init__(self, port: SimPort) -> None:
        self.port = port
        self.calls: list[list[bytes]] = []
        self.error: OSError | None = None

    def __call__(self, datagrams: list[bytes], size: int, addr: tuple[str, int]) -> int:
        self.calls.append(datagrams)
        if self.error is not None:
            raise self.error
        return sum([self.port.sendto(data, addr) for data in datagrams])


@driving
async def test_datagrams_of_one_size_leave_by_one_call(s: Setting) -> None:
    port = s.port()
    runs = s.driver._ports[1].send_run = Runs(port)
    s.send(*[Transmit(1, data, PEER) for data in (b"other", b"a1", b"a2", b"a", b"b1", b"b2", b"alone")])
    assert runs.calls == [[b"a1", b"a2", b"a"], [b"b1", b"b2"]]
    assert [data for data, _ in s.net.carried] == [b"other", b"a1", b"a2", b"a", b"b1", b"b2", b"alone"]
    assert (s.driver.sent, s.driver.sent_bytes) == (7, 19)
    s.send(Transmit(1, b"x", PEER), Transmit(1, b"y", ("10.0.0.4", 5)))  # nothing to go along with
    assert len(runs.calls) == 2
    assert s.driver.sent == 9


@driving
async def test_a_full_socket_keeps_what_was_to_leave_by_one_call(s: Setting) -> None:
    port = s.port()
    runs = s.driver._ports[1].send_run = Runs(port)
    port.set_full(True)
    s.send(*[Transmit(1, b"%d" % number, PEER, keep=number != 2) for number in range(4)])
    s.send(*[Transmit(1, b"%d" % number, PEER) for number in range(4, 6)])
    assert len(runs.calls) == 1  # a port that holds something back is not tried
    port.set_full(False)
    await trio.testing.wait_all_tasks_blocked()
    assert [data for data, _ in s.net.carried] == [b"0", b"1", b"3", b"4", b"5"]
    assert s.driver.counters["dropped_stale"] == 1
    s.send(Transmit(1, b"6", PEER), Transmit(1, b"7", PEER))
    assert len(runs.calls) == 2


@driving
async def test_where_one_call_cannot_do_it_each_is_sent_by_itself(s: Setting) -> None:
    port = s.port()
    runs = s.driver._ports[1].send_run = Runs(port)
    runs.error = OSError(5, "Input/output error")
    for _ in range(2):
        s.send(Transmit(1, b"a", PEER), Transmit(1, b"b", PEER))
    assert len(runs.calls) == 1
    assert [data for data, _ in s.net.carried] == [b"a", b"b"] * 2
    assert s.driver.sent == 4


@driving
async def test_the_backlog_is_bounded(s: Setting) -> None:
    port = s.port()
    port.set_full(True)
    s.send(*[Transmit(1, b"%d" % i, PEER) for i in range(BACKLOG + 7)])
    assert s.driver.counters["dropped_backlog"] == 7
    port.set_full(False)
    await trio.testing.wait_all_tasks_blocked()
    assert len(s.net.carried) == BACKLOG


@driving
async def test_a_blocked_port_can_be_closed(s: Setting) -> None:
    port = s.port()
    port.set_full(True)
    s.send(Transmit(1, b"a", PEER))
    await trio.testing.wait_all_tasks_blocked()
    s.request(ClosePort(1))
    await trio.testing.wait_all_tasks_blocked()
    assert port.closed
    assert s.net.carried == []
    assert s.said("port_writable") == []


@driving
async def test_send_errors_reach_the_engine(s: Setting) -> None:
    port = s.port()

    def fail(data: bytes, addr: tuple[str, int]) -> int:
        raise OSError(101, "Network is unreachable")

    s.driver._ports[1].sendto = fail
    s.send(Transmit(1, b"a", PEER))
    assert s.said("port_send_failed") == [(1, PEER, "Network is unreachable")]
    s.driver._ports[1].sendto = port.sendto
    port.set_full(True)
    s.send(Transmit(1, b"b", PEER), Transmit(1, b"c", PEER))
    s.driver._ports[1].sendto = fail
    port.set_full(False)
    await trio.testing.wait_all_tasks_blocked()
    assert len(s.said("port_send_failed")) == 3
    assert s.said("port_writable") == [(1,)]
    assert s.driver.counters["send_failed"] == 3


@driving
async def test_receive_errors_are_passed_over(s: Setting) -> None:
    port = s.port()
    port.fails = [OSError(111, "Connection refused")] * 3
    port.arrive(b"in", PEER)
    await trio.testing.wait_all_tasks_blocked()
    assert s.said("datagram") == [(1, b"in", PEER)]
    assert s.driver.counters["receive_failed"] == 3
    assert s.said("port_failed") == []


@driving
async def test_a_socket_that_gives_only_errors_is_lost(s: Setting) -> None:
    port = s.port()
    port.fails = [OSError(100, "Network is down")] * 1000
    port.poke()
    await trio.testing.wait_all_tasks_blocked()
    assert s.said("port_failed") == [(1, "the socket can no longer be read")]
    assert port.closed
    s.request(ClosePort(1))


# ------------------------------------------------------------------ signalling and names


@driving
async def test_a_link(s: Setting) -> None:
    async def script(opened: Callable[[], None], received: Callable[[bytes], None]) -> str:
        opened()
        received(b"one")
        await s.links[0].closed.wait()
        return "closed by us"

    s.scripts.append(script)
    s.request(OpenSignal(7, "ws://server"))
    await trio.testing.wait_all_tasks_blocked()
    assert s.engine.inputs == [("signal_opened", 7), ("signal_received", 7, b"one")]
    s.request(SendSignal(7, b"two"), CloseSignal(7))
    assert s.links[0].sent == [b"two"]
    await s.driver.links_closed()
    assert s.said("signal_closed") == [(7, "closed by us")]
    s.request(SendSignal(7, b"late"), CloseSignal(7))
    assert s.links[0].sent == [b"two"]


@driving
async def test_links_are_closed_when_all_of_them_are(s: Setting) -> None:
    async def script(number: int, *callbacks: object) -> str:
        await s.links[number].closed.wait()
        return "closed by us"

    s.scripts.extend([partial(script, 0), partial(script, 1)])
    s.request(OpenSignal(7, "ws://server"), OpenSignal(8, "ws://server"))
    await trio.testing.wait_all_tasks_blocked()
    s.request(CloseSignal(7))
    with trio.move_on_after(1) as scope:
        await s.driver.links_closed()
    assert scope.cancelled_caught
    assert s.said("signal_closed") == [(7, "closed by us")]
    s.request(CloseSignal(8))
    await s.driver.links_closed()


@driving
async def test_a_link_that_cannot_be_opened(s: Setting) -> None:
    failure = SignalFailure("tcp", "refused")

    async def script(opened: Callable[[], None], received: Callable[[bytes], None]) -> str:
        await trio.sleep(1)
        raise SignalError(failure)

    s.scripts.append(script)
    s.request(OpenSignal(7, "ws://server"))
    await s.driver.links_closed()
    assert s.said("signal_failed") == [(7, failure)]


@driving
async def test_names_are_looked_up(s: Setting) -> None:
    s.request(Resolve(3, "stun.example"))
    await trio.sleep(2)
    assert s.said("resolved") == [(3, ["10.0.0.3"])]


@driving
async def test_everything_can_be_closed(s: Setting) -> None:
    async def script(opened: Callable[[], None], received: Callable[[bytes], None]) -> str:
        await s.links[0].closed.wait()
        return "closed by us"

    port = s.port()
    s.scripts.append(script)
    s.request(OpenSignal(7, "ws://server"))
    await trio.testing.wait_all_tasks_blocked()
    s.driver.close_all()
    await s.driver.links_closed()
    await trio.testing.wait_all_tasks_blocked()
    assert port.closed


# ------------------------------------------------------------------ networks


@driving
async def test_addresses_are_watched(s: Setting) -> None:
    lo, eth = Interface("lo", "127.0.0.1", True), Interface("eth0", "10.0.0.2")
    s.driver.start()
    assert s.said("start") == [([lo],)]
    await trio.sleep(30)
    assert s.said("networks_changed") == []
    s.addresses = [lo, eth]
    await trio.sleep(12)
    assert s.said("networks_changed") == [([lo, eth],)]
    s.addresses = [eth, lo]
    await trio.sleep(30)
    assert len(s.said("networks_changed")) == 1


@driving
async def test_failing_sends_are_a_reason_to_look(s: Setting) -> None:
    def fail(data: bytes, addr: tuple[str, int]) -> int:
        raise OSError(101, "Network is unreachable")

    s.driver.start()
    s.port()
    s.driver._ports[1].sendto = fail
    await trio.sleep(3)
    s.addresses = [Interface("eth0", "10.0.0.3")]
    s.send(Transmit(1, b"a", PEER))
    await trio.sleep(0.1)
    assert len(s.said("networks_changed")) == 1
    s.addresses = []
    s.send(Transmit(1, b"a", PEER))
    await trio.sleep(0.1)
    assert len(s.said("networks_changed")) == 1
    await trio.sleep(1)
    assert s.said("networks_changed")[1] == ([],)


@driving
async def test_news_of_the_kernel_are_passed_on_at_once(s: Setting) -> None:
    news = s.news = News()
    s.driver.start()
    await trio.sleep(3)
    news.told.set()  # a route, for the addresses are the same
    await trio.sleep(0.01)
    assert s.said("networks_changed") == [([Interface("lo", "127.0.0.1", True)],)]
    s.addresses = []
    for _ in range(20):
        news.told.set()
        await trio.sleep(0.05)
    await trio.sleep(1)
    assert 3 <= len(s.said("networks_changed")) <= 8
    assert s.said("networks_changed")[-1] == ([],)
    s.driver.shut()
    await trio.testing.wait_all_tasks_blocked()
    assert news.closed


# ------------------------------------------------------------------ the pump


@driving
async def test_the_deadline_wakes(s: Setting) -> None:
    start = trio.current_time()
    await trio.testing.wait_all_tasks_blocked()
    s.engine.due = start + 5
    s.driver.pump()
    s.engine.advanced.clear()
    await trio.sleep(4.9)
    assert s.engine.advanced == []
    await trio.sleep(0.2)
    assert s.engine.advanced == [pytest.approx(start + 5)]


@driving
async def test_the_deadline_can_move_both_ways(s: Setting) -> None:
    start = trio.current_time()
    for due in (9, 3, 6):
        s.engine.due = start + due
        s.driver.pump()
    s.engine.advanced.clear()
    await trio.sleep(20)
    assert s.engine.advanced == [pytest.approx(start + 3), pytest.approx(start + 6)]


@driving
async def test_what_several_tasks_give_leaves_in_one_pump(s: Setting) -> None:
    await trio.testing.wait_all_tasks_blocked()
    s.engine.due = due = trio.current_time() + 1
    s.driver.pump()
    s.engine.advanced.clear()

    async def give() -> None:
        s.driver.pump_soon()

    for _ in range(2):  # it can be asked for again
        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(give)
        await trio.testing.wait_all_tasks_blocked()
    assert len(s.engine.advanced) == 2
    s.engine.due = INF
    await trio.sleep(2)
    assert s.engine.advanced[2:] == [pytest.approx(due)]  # and the alarm is still set


@driving
async def test_a_pump_that_is_asked_for_as_the_alarm_goes_off(s: Setting) -> None:
    await trio.testing.wait_all_tasks_blocked()
    s.engine.due = trio.current_time() + 1
    s.driver.pump()
    s.engine.advanced.clear()
    s.engine.due = INF
    await trio.sleep_until(trio.current_time() + 1)
    s.driver.pump_soon()
    await trio.testing.wait_all_tasks_blocked()
    assert s.engine.advanced
    s.driver.pump_soon()
    s.driver.shut()
    s.driver.pump_soon()
    await trio.testing.wait_all_tasks_blocked()


@driving
async def test_outputs_go_to_the_sink_in_order(s: Setting) -> None:
    s.request("a", OpenUdp(1, "10.0.0.2"), "b")
    assert s.sink.outputs == ["a", "b"]
    assert s.sink.settlings == 1
    s.driver.inject("c")
    assert s.sink.outputs == ["a", "b", "c"]


@driving
async def test_a_handler_may_pump(s: Setting) -> None:
    """Outputs that a handler causes come after those that were there before, and nothing is left behind."""

    def on_output(output: str) -> None:
        if output == "a":
            s.engine.outbox.append("caused")
            s.driver.pump()
            assert s.sink.outputs == ["a"]

    s.sink.on_output = on_output
    s.request("a", "b")
    assert s.sink.outputs == ["a", "b", "caused"]


@driving
async def test_a_pump_that_never_settles_is_a_bug(s: Setting) -> None:
    s.sink.on_output = lambda output: s.driver.pump()
    s.engine.on_advance = lambda: s.engine.outbox.append("again")
    with pytest.raises(AssertionError, match="never settle"):
        s.driver.pump()
    assert s.driver.broken
    s.engine.on_advance = lambda: None
    s.engine.outbox.clear()


def test_a_bug_in_the_engine_leaves_through_run() -> None:
    async def main() -> None:
        setting = Setting()

        def bug() -> None:
            raise ZeroDivisionError

        async with running(setting.driver):
            setting.engine.due = trio.current_time() + 1
            setting.driver.pump()
            setting.engine.on_advance = bug
            await trio.sleep(10)

    with pytest.raises(ExceptionGroup) as caught:
        run(main)
    assert caught.group_contains(ZeroDivisionError)
