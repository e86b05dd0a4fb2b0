"""RTP-sized datagrams through the Trio driver's port, and what it costs to hand a data packet to a handler.

    python tests/bench/bench_udp.py [--seconds S] [--size BYTES]

Twice: ``flooded``, where a process of its own sends as fast as it can, so that the sender or the other users of the
machine may be what limits the rate, and ``drained``, where the socket's buffer is filled and the clock runs only while
the driver empties it: what one core can receive. Compare with the calibration, a blocking ``recvfrom`` loop.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import socket
import time
from collections import deque
from typing import Any

import trio
import trio.testing

from sansio.base.contract import INF, ClosePort, OpenUdp
from trio_client._core import DataReceived, EncryptionType
from trio_client._driver import Driver
from trio_client._ports import open_udp
from trio_client._subscription import Hub, Listeners


def flood(address: tuple[str, int], size: int, go: Any, stop: Any) -> None:
    """Send as fast as one process can."""
    data = bytes(size)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect(address)
        go.wait()
        while not stop.is_set():
            for _ in range(1000):
                try:
                    sock.send(data)
                except OSError:
                    return


class Engine:
    """Counts datagrams and owes nothing."""

    def __init__(self) -> None:
        self.transmits: deque[Any] = deque()
        self.outbox: deque[Any] = deque()
        self.count = 0
        self.target = -1
        self.reached = trio.Event()
        self.address: tuple[str, int] = ("", 0)

    def advance(self, now: float) -> float:
        return INF

    def port_opened(self, port: int, address: tuple[str, int], now: float) -> None:
        self.address = address

    def port_handler(self, port: int) -> Any:
        def handle(port: int, data: bytes, addr: tuple[str, int], now: float) -> None:
            self.count += 1
            if self.count == self.target:
                self.reached.set()

        return handle


class Sink:
    def deliver(self, output: Any) -> None: ...
    def settled(self) -> None: ...


class Flooder:
    def __init__(self, address: tuple[str, int], size: int) -> None:
        context = multiprocessing.get_context("spawn")
        self.go, self.stop = context.Event(), context.Event()
        self.process = context.Process(target=flood, args=(address, size, self.go, self.stop), daemon=True)
        self.process.start()
        self.go.set()

    def end(self) -> None:
        self.stop.set()
        self.process.join(5)
        self.process.kill()


def measure_blocking(size: int, seconds: float) -> tuple[float, float]:
    """Datagrams per second and microseconds of CPU for each, with nothing but recvfrom."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2 << 20)
        sock.bind(("127.0.0.1", 0))
        flooder = Flooder(sock.getsockname(), size)
        sock.recvfrom(2048)
        count, start, cpu = 0, time.perf_counter(), time.process_time()
        while time.perf_counter() - start < seconds:
            for _ in range(1000):
                sock.recvfrom(2048)
            count += 1000
        took, cpu = time.perf_counter() - start, time.process_time() - cpu
        flooder.end()
    return count / took, cpu / count * 1e6


async def measure_driver(size: int, seconds: float) -> tuple[float, float]:
    """The same through the driver's port."""
    engine = Engine()
    driver = Driver(engine, Sink(), open_port=open_udp)  # type: ignore[arg-type]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(driver.run)
        await driver.running.wait()
        engine.outbox.append(OpenUdp(1, "127.0.0.1"))
        driver.pump()
        flooder = Flooder(engine.address, size)
        while not engine.count:
            await trio.sleep(0.01)
        before, start, cpu = engine.count, time.perf_counter(), time.process_time()
        await trio.sleep(seconds)
        count, took, cpu = engine.count - before, time.perf_counter() - start, time.process_time() - cpu
        await trio.to_thread.run_sync(flooder.end)
        engine.outbox.append(ClosePort(1))
        driver.pump()
        driver.shut()
    return count / took, cpu / count * 1e6


async def measure_drained(size: int, rounds: int, fill: int = 120) -> float:
    """Datagrams per second through the driver, from a socket that holds ``fill`` of them at each start."""
    engine = Engine()
    driver = Driver(engine, Sink(), open_port=open_udp)  # type: ignore[arg-type]
    took, data = 0.0, bytes(size)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(driver.run)
        await driver.running.wait()
        engine.outbox.append(OpenUdp(1, "127.0.0.1"))
        driver.pump()
        await trio.testing.wait_all_tasks_blocked()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.connect(engine.address)
            for _ in range(rounds):
                engine.reached, engine.target = trio.Event(), engine.count + fill
                for _ in range(fill):
                    sock.send(data)
                start = time.perf_counter()
                with trio.fail_after(5):
                    await engine.reached.wait()
                took += time.perf_counter() - start
        driver.shut()
    return fill * rounds / took


async def measure_dispatch(count: int) -> float:
    """Microseconds to give one DataReceived to one sync handler."""
    got: list[bytes] = []
    hub = Hub(lambda coroutine, name: False, lambda error: None, lambda: None)
    listeners = Listeners(hub, room=True)
    listeners.on(DataReceived, lambda event: got.append(event.payload), once=False)
    event = DataReceived(bytes(100), None, True, "", EncryptionType.NONE, "", "")
    start = time.process_time()
    for _ in range(count):
        if not hub.data_paused():
            listeners.emit(event)
    took = time.process_time() - start
    assert len(got) == count
    await trio.lowlevel.checkpoint()
    return took / count * 1e6


def test_bench_udp() -> None:
    """The driver costs a small multiple of a bare loop, as a ratio, so that a slow machine does not matter."""
    _, bare = measure_blocking(1200, 0.5)
    assert 1e6 / trio.run(measure_drained, 1200, 200) < 4 * bare


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--size", type=int, default=1200)
    args = parser.parse_args()
    bare = measure_blocking(args.size, args.seconds)
    driven = trio.run(measure_driver, args.size, args.seconds)
    drained = max(trio.run(measure_drained, args.size, 200) for _ in range(5))
    dispatch = trio.run(measure_dispatch, 200_000)
    print(
        json.dumps(
            {
                "size": args.size,
                "blocking_per_s": round(bare[0]),
                "blocking_cpu_us": round(bare[1], 2),
                "driver_per_s": round(driven[0]),
                "drained_per_s": round(drained),
                "driver_cpu_us": round(driven[1], 2),
                "dispatch_us": round(dispatch, 2),
            }
        )
    )


if __name__ == "__main__":
    main()
