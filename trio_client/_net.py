"""What the system knows of the network: our addresses, and names of others."""

from __future__ import annotations

import ipaddress
import socket

import ifaddr
import trio

from ._core import Interface


def list_interfaces() -> list[Interface]:
    """Every usable address of this host, one entry an address, in the order of the system.

    IPv6 link-local addresses are left out: a candidate cannot carry the scope that they need.
    """
    found = []
    try:
        adapters = list(ifaddr.get_adapters())
    except OSError:
        return []
    for adapter in adapters:
        for ip in adapter.ips:
            text = ip.ip if isinstance(ip.ip, str) else ip.ip[0]
            address = ipaddress.ip_address(text)
            if address.is_unspecified or (address.version == 6 and address.is_link_local):
                continue
            found.append(Interface(adapter.nice_name, str(address), address.is_loopback))
    return found


class NetworkNews:
    """The kernel's word that links, addresses or routes have changed, on Linux; elsewhere ``open_news`` gives None."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    async def wait(self) -> None:
        """Return when something has changed."""
        await trio.lowlevel.wait_readable(self._sock)
        try:
            while True:
                self._sock.recv(_NEWS_BYTES)
        except BlockingIOError:
            pass
        except OSError:  # too much at once: that something has changed is all that counts
            pass

    def close(self) -> None:
        self._sock.close()


_NEWS_BYTES = 65536
_NEWS_GROUPS = 0x1 | 0x10 | 0x40 | 0x100 | 0x400
"""RTMGRP_LINK, and IFADDR and ROUTE of IPv4 and IPv6 (rtnetlink(7))."""


def open_news() -> NetworkNews | None:
    """News of the kernel from now on; None when there is none to be had."""
    family = getattr(socket, "AF_NETLINK", None)
    if family is None:
        return None
    try:
        sock = socket.socket(family, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0)
    except OSError:
        return None
    try:
        sock.bind((0, _NEWS_GROUPS))
    except OSError:
        sock.close()
        return None
    return NetworkNews(sock)


async def resolve(host: str) -> list[str]:
    """The addresses of a host, best first; empty when there is none.

    A host that is an address already is answered at once, without a thread.
    """
    try:
        return [str(ipaddress.ip_address(host))]
    except ValueError:
        pass
    try:
        infos = await trio.socket.getaddrinfo(host, None, type=socket.SOCK_DGRAM)
    except (OSError, UnicodeError):  # UnicodeError: a label that is empty or longer than DNS allows
        return []
    addresses = [str(info[4][0]).partition("%")[0] for info in infos]
    return list(dict.fromkeys(addresses))
