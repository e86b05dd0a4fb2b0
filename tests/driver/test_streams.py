"""Stream ports against real TCP and TLS servers on loopback, and in the driver."""

from __future__ import annotations

import pytest
import trio

from sansio.base.contract import ClosePort, OpenStream, Transmit
from trio_client import _streams
from trio_client._driver import Driver
from trio_client._streams import HARD_LIMIT, SOFT_LIMIT, StreamError, TcpStream

from .certificates import client_context, server_context
from .running import run_real
from .test_driver import Engine, Sink, running
from .test_signal import raw_server

HOST = "127.0.0.1"


async def echo(stream):
    async for data in stream:
        await stream.send_all(data)


async def deaf(stream):
    await trio.sleep_forever()


class Client:
    def __init__(self, request, context=None):
        self.stream = TcpStream(request, context)
        self.opened = trio.Event()
        self.data = b""
        self.arrived = trio.Event()
        self.drained = trio.Event()
        self.address = None
        self.error = None
        self.reason = ""

    async def run(self):
        try:
            self.reason = await self.stream.run(self.on_open, self.on_data, self.drained.set)
        except StreamError as error:
            self.error = str(error)

    def on_open(self, address):
        self.address = address
        self.opened.set()

    def on_data(self, data):
        self.data += data
        self.arrived.set()
        self.arrived = trio.Event()


@pytest.mark.parametrize("tls", [False, True])
def test_bytes_both_ways(tls):
    async def main():
        async with raw_server(echo, server_context("turn.example") if tls else None) as port:
            async with trio.open_nursery() as nursery:
                client = Client(OpenStream(1, (HOST, port), tls, "turn.example"), client_context())
                nursery.start_soon(client.run)
                await client.opened.wait()
                assert client.address[0] == HOST
                assert client.stream.send(b"one", keep=True)
                assert client.stream.send(b"two", keep=False)
                while client.data != b"onetwo":
                    await client.arrived.wait()
                client.stream.close()
                assert not client.stream.send(b"late", keep=True)
            assert client.reason == "closed by us"

    run_real(main)


def test_what_was_sent_is_written_before_closing_and_not_waited_for_longer(monkeypatch):
    monkeypatch.setattr(_streams, "FLUSH_TIMEOUT", 1000.0)
    got = bytearray()

    async def collect(stream):
        async for data in stream:
            got.extend(data)

    async def main():
        async with raw_server(collect) as port:
            async with trio.open_nursery() as nursery:
                client = Client(OpenStream(1, (HOST, port)))
                nursery.start_soon(client.run)
                await client.opened.wait()
                for _ in range(10):
                    client.stream.send(bytes(10_000), keep=True)
                client.stream.close()
            await trio.sleep(0.05)
        assert len(got) == 100_000

    run_real(main)


def test_the_other_end_closes():
    async def bye(stream):
        await stream.send_all(b"bye")

    async def main():
        async with raw_server(bye) as port:
            client = Client(OpenStream(1, (HOST, port)))
            await client.run()
        assert client.data == b"bye"
        assert client.reason in ("closed by the other end", "the connection broke")

    run_real(main)


@pytest.mark.parametrize("writing", [False, True])
def test_the_connection_breaks(writing):
    import socket
    import struct

    async def reset(stream):
        await trio.sleep(0.05)
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        await trio.aclose_forcefully(stream)

    async def main():
        async with raw_server(reset) as port, trio.open_nursery() as nursery:
            client = Client(OpenStream(1, (HOST, port)))
            nursery.start_soon(client.run)
            await client.opened.wait()
            while writing and client.stream.send(bytes(60_000), keep=True):
                pass
        assert client.reason == "the connection broke"

    run_real(main)


def test_a_closed_port_is_not_opened():
    async def main():
        async with raw_server(deaf) as port, trio.open_nursery() as nursery:
            client = Client(OpenStream(1, (HOST, port), True, "turn.example"))
            nursery.start_soon(client.run)
            await trio.sleep(0.05)
            client.stream.close()
        assert client.reason == "closed by us"
        assert not client.opened.is_set()

    run_real(main)


def test_nobody_listens():
    async def main():
        with trio.socket.socket() as unused:  # bound, but not listening
            await unused.bind((HOST, 0))
            client = Client(OpenStream(1, (HOST, unused.getsockname()[1])))
            await client.run()
        assert "refused" in client.error

    run_real(main)


@pytest.mark.parametrize("trusted", [False, True])
def test_certificates_are_checked(trusted):
    async def main():
        async with raw_server(echo, server_context("turn.example")) as port:
            context = client_context() if trusted else None
            name = "other.example" if trusted else "turn.example"
            client = Client(OpenStream(1, (HOST, port), True, name), context)
            await client.run()
        assert "certificate" in client.error

    run_real(main)


def test_a_context_for_servers():
    async def main():
        async with raw_server(echo, server_context("turn.example")) as port:
            client = Client(OpenStream(1, (HOST, port), True, "turn.example"), server_context("turn.example"))
            await client.run()
        assert "ssl_context" in client.error

    run_real(main)


def test_silence_is_bounded(monkeypatch):
    monkeypatch.setattr(_streams, "OPEN_TIMEOUT", 0.2)

    async def main():
        async with raw_server(deaf) as port:
            client = Client(OpenStream(1, (HOST, port), True, "turn.example"))
            await client.run()
        assert "0.2 s" in client.error

    run_real(main)


def test_a_connection_that_is_full():
    """Media is dropped first; the rest waits, up to a limit; closing does not wait for ever."""

    async def main():
        async with raw_server(deaf) as port, trio.open_nursery() as nursery:
            client = Client(OpenStream(1, (HOST, port)))
            nursery.start_soon(client.run)
            await client.opened.wait()
            while client.stream.send(bytes(60_000), keep=False):
                await trio.sleep(0)
            assert client.stream._waiting <= SOFT_LIMIT
            while client.stream.send(bytes(60_000), keep=True):
                pass
            assert client.stream.full
            assert SOFT_LIMIT < client.stream._waiting <= HARD_LIMIT
            start = trio.current_time()
            client.stream.close()
        assert trio.current_time() - start < 2
        assert client.reason == "closed by us"

    run_real(main)


def test_in_the_driver():
    async def slow(stream):
        await trio.sleep(0.3)
        async for _ in stream:
            pass

    async def main():
        engine = Engine()
        driver = Driver(engine, Sink())

        def said(name):
            return [entry[1:] for entry in engine.inputs if entry[0] == name]

        async def until(name, count=1):
            with trio.fail_after(5):
                while len(said(name)) < count:
                    await trio.sleep(0.01)
            return said(name)

        def send(data, keep=True):
            engine.transmits.append(Transmit(1, data, (HOST, port), keep))
            driver.pump()

        async with raw_server(slow) as slow_port, raw_server(echo) as port, running(driver):
            engine.outbox.append(OpenStream(1, (HOST, port)))
            driver.pump()
            assert (await until("port_opened"))[0][0] == 1
            send(b"hello")
            assert await until("handle_datagram") == [(1, b"hello", (HOST, port))]
            engine.outbox.append(ClosePort(1))
            driver.pump()
            send(b"late")
            assert driver.counters["port_closed"] == 1
            assert said("port_failed") == []

            engine.outbox.append(OpenStream(2, (HOST, slow_port)))
            driver.pump()
            await until("port_opened", 2)
            while not said("port_blocked"):
                engine.transmits.append(Transmit(2, bytes(60_000), (HOST, slow_port)))
                driver.pump()
                await trio.sleep(0)
            engine.transmits.append(Transmit(2, bytes(60_000), (HOST, slow_port), keep=False))
            driver.pump()
            assert driver.counters["dropped_stale"] == 1
            assert await until("port_writable") == [(2,)]
            assert said("port_blocked") == [(2,)]

            engine.outbox.append(OpenStream(3, (HOST, 1)))
            driver.pump()
            assert (await until("port_failed"))[0][0] == 3
            driver.close_all()

    run_real(main)
