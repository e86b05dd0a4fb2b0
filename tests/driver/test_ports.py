"""UDP ports on real sockets of the loopback interface, and what the system tells of the network."""

from __future__ import annotations

import socket

import pytest
import trio

from trio_client._net import list_interfaces, resolve
from trio_client._ports import open_udp


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

    trio.run(main)


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

    trio.run(main)


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

    trio.run(main)


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

    trio.run(main)
