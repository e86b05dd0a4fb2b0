"""UDP ports on real sockets of the loopback interface, and what the system tells of the network."""

from __future__ import annotations

import socket
import sys
from collections import deque

import pytest
import trio

from sansio.base.contract import Transmit
from trio_client import _net
from trio_client._net import NetworkNews, list_interfaces, open_news, resolve
from trio_client._ports import RUN, RUN_BYTES, open_udp, take_run

from .running import run_real

A, B = ("10.0.0.1", 1), ("10.0.0.1", 2)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_send_and_receive(host):
    async def main():
        a, b = open_udp(host), open_udp(host)
        try:
            assert a.address[0] == host
            assert a.address[1] > 0
            with pytest.raises(BlockingIOError):
                b.recvfrom(2048)
            a.sendto(b"hello", b.address)
            await b.wait_readable()
            data, addr = b.recvfrom(2048)
            assert data == b"hello"
            assert addr[:2] == a.address
            await a.wait_writable()
        finally:
            a.close()
            b.close()
            b.close()

    run_real(main)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux sends several datagrams by one call")
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_several_datagrams_by_one_call(host):
    async def main():
        a, b = open_udp(host), open_udp(host)
        try:
            datagrams = [bytes((number,)) * 1100 for number in range(RUN - 1)] + [b"shorter"]
            assert a.send_run(datagrams, 1100, b.address) == 1100 * (RUN - 1) + 7
            assert [b.recvfrom(2048)[0] for _ in datagrams] == datagrams
            with pytest.raises(OSError, match=r"Message too long|Invalid argument"):
                a.send_run([bytes(40_000)] * 2, 40_000, b.address)
        finally:
            a.close()
            b.close()

    run_real(main)


@pytest.mark.parametrize(
    ("following", "taken"),
    [
        ([(1, 100, A), (1, 100, A)], 3),
        ([(1, 100, A), (1, 99, A), (1, 100, A)], 3),  # a shorter one is the last
        ([(1, 101, A)], 1),
        ([(2, 100, A)], 1),
        ([(1, 100, B)], 1),
        ([(1, 100, A)] * 100, RUN),
    ],
)
def test_what_can_leave_together(following, taken):
    waiting = deque([Transmit(port, bytes(size), addr) for port, size, addr in following])
    run = take_run(Transmit(1, bytes(100), A), waiting)
    assert (len(run), len(waiting)) == (taken, len(following) + 1 - taken)


def test_what_leaves_together_fits_one_packet():
    run = take_run(Transmit(1, bytes(2000), A), deque([Transmit(1, bytes(2000), A) for _ in range(100)]))
    assert len(run) == RUN_BYTES // 2000 < RUN


def test_closing_wakes_who_waits():
    async def main():
        port = open_udp("127.0.0.1")
        async with trio.open_nursery() as nursery:

            async def wait():
                with pytest.raises(trio.ClosedResourceError):
                    await port.wait_readable()

            nursery.start_soon(wait)
            await trio.testing.wait_all_tasks_blocked()
            port.close()

    run_real(main)


def test_port_ranges():
    async def main():
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind(("127.0.0.1", 0))
            low = min(probe.getsockname()[1], 65000)
        ports = []
        try:
            for _ in range(4):
                ports.append(open_udp("127.0.0.1", low, low + 3))
            assert sorted(port.address[1] for port in ports) == [low, low + 1, low + 2, low + 3]
            with pytest.raises(OSError, match="in use"):
                open_udp("127.0.0.1", low, low + 3)
        finally:
            for port in ports:
                port.close()

    run_real(main)


def test_port_ranges_are_tried_from_anywhere(monkeypatch):
    monkeypatch.setattr("random.randrange", lambda count: count - 1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        low = min(probe.getsockname()[1], 65000)
    first, second = open_udp("127.0.0.1", low, low + 3), open_udp("127.0.0.1", low, low + 3)
    assert (first.address[1], second.address[1]) == (low + 3, low)
    first._sock.close()
    second._sock.close()


def test_an_address_that_is_not_ours():
    with pytest.raises(OSError, match="assign"):
        open_udp("203.0.113.1")


def test_interfaces():
    interfaces = list_interfaces()
    assert any(i.address == "127.0.0.1" and i.loopback for i in interfaces)
    assert not any(i.address.startswith("fe80") or "%" in i.address for i in interfaces)
    assert all(i.loopback or i.name for i in interfaces)


def test_interfaces_that_cannot_be_listed(monkeypatch):
    def fail():
        raise OSError

    monkeypatch.setattr("ifaddr.get_adapters", fail)
    assert list_interfaces() == []


def test_resolving():
    async def main():
        assert await resolve("192.0.2.7") == ["192.0.2.7"]
        assert await resolve("2001:DB8::0:1") == ["2001:db8::1"]
        assert set(await resolve("localhost")) <= {"127.0.0.1", "::1"}
        assert await resolve("localhost")
        assert await resolve("no-such-host.invalid") == []
        assert await resolve("a" * 64 + ".example") == []

    run_real(main)


def test_news_of_the_kernel():
    """Here a socket pair takes the kernel's part; the interop tests change a real network."""

    async def main():
        near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        near.setblocking(False)
        news = NetworkNews(near)
        far.send(b"link")
        far.send(b"route")
        with trio.fail_after(5):
            await news.wait()
        with trio.move_on_after(0.05) as scope:
            await news.wait()
        assert scope.cancelled_caught
        far.close()
        news.close()
        assert near.fileno() == -1

    run_real(main)


def test_more_news_than_the_kernel_can_hold(monkeypatch):
    class Overrun:
        def recv(self, size):
            raise OSError(105, "No buffer space available")

    async def main():
        async def readable(sock):
            await trio.lowlevel.checkpoint()

        monkeypatch.setattr(trio.lowlevel, "wait_readable", readable)
        await NetworkNews(Overrun()).wait()  # type: ignore[arg-type]

    run_real(main)


def test_systems_without_news(monkeypatch):
    class Unbound:
        closed = False

        def __init__(self, *args):
            pass

        def bind(self, address):
            raise OSError(1, "Operation not permitted")

        def close(self):
            Unbound.closed = True

    class Refused:
        def __init__(self, *args):
            raise OSError(97, "Address family not supported by protocol")

    for stand_in in (Unbound, Refused):
        monkeypatch.setattr(_net.socket, "socket", stand_in)
        assert open_news() is None
    assert Unbound.closed
    monkeypatch.delattr(_net.socket, "AF_NETLINK", raising=False)
    assert open_news() is None
