"""LiveKit servers: one of our own on free loopback ports, one that somebody has started, or the development server."""

from __future__ import annotations

import json
import os
import shutil
import socket
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import trio

from trio_client.testing import BackgroundServer

from . import tokens
from .programs import Program, free_port

KEY = os.environ.get("LIVEKIT_API_KEY", "devkey")
SECRET = os.environ.get("LIVEKIT_API_SECRET", "secret" * 6)
PORTS = 7880, 7881, 7882
"""A server's by default: signalling, media by TCP and by UDP."""


def program() -> str | None:
    """The server program: ``LIVEKIT_SERVER``, or ``livekit-server`` on the path."""
    return os.environ.get("LIVEKIT_SERVER") or shutil.which("livekit-server")


class Server:
    """Where a server is and how to get in."""

    def __init__(self, url: str, key: str = KEY, secret: str = SECRET) -> None:
        self.url = url
        self.key = key
        self.secret = secret

    @property
    def http(self) -> str:
        return self.url.replace("ws", "http", 1)

    def token(self, room: str, identity: str, **options: Any) -> str:
        """A token to join; see ``tokens.join_token``."""
        return tokens.join_token(self.key, self.secret, room, identity, **options)

    def api(self, method: str, room: str = "", /, **fields: Any) -> Any:
        """Call a method of the server's RoomService, for instance ``api("ListParticipants", "demo")``."""
        body = json.dumps({**({"room": room} if room else {}), **fields}).encode()
        request = urllib.request.Request(
            f"{self.http}/twirp/livekit.RoomService/{method}",
            body,
            {
                "Content-Type": "application/json",
                "Authorization": f"Bearer {tokens.admin_token(self.key, self.secret, room)}",
            },
        )
        with urllib.request.urlopen(request, timeout=10) as response:
            return json.load(response)

    def identities(self, room: str) -> list[str]:
        """Who is in a room, by the server's word."""
        try:
            found = self.api("ListParticipants", room).get("participants", [])
        except urllib.error.HTTPError:
            return []
        return sorted(participant["identity"] for participant in found)

    # ---- for Trio

    async def aapi(self, method: str, room: str = "", /, **fields: Any) -> Any:
        return await trio.to_thread.run_sync(partial(self.api, method, room, **fields))

    async def aidentities(self, room: str) -> list[str]:
        return await trio.to_thread.run_sync(self.identities, room)


class DevelopmentServer(Server):
    """The development server; ``background`` is the thing itself."""

    def __init__(self, background: BackgroundServer) -> None:
        super().__init__(background.url, *next(iter(background.keys.items())))
        self.background = background


@contextmanager
def development() -> Iterator[DevelopmentServer]:
    """A development server, in a thread of this process."""
    with BackgroundServer() as background:
        yield DevelopmentServer(background)


class OwnServer(Server, Program):
    """A server process of our own, on free loopback ports, or at ``host`` on those that a server has by default.

    More of its configuration can be given as lines of YAML: ``rtc`` goes into that section, ``more`` to the end.
    ``stun`` is the STUN server that it names to clients; ``prefix`` goes before its command.
    """

    name = "livekit"

    def __init__(
        self,
        program: str,
        more: str = "",
        rtc: str = "",
        *,
        host: str = "",
        stun: str = "127.0.0.1:3478",
        prefix: Sequence[str] = (),
    ) -> None:
        http, tcp, udp = PORTS if host else (free_port(), free_port(), free_port(socket.SOCK_DGRAM))
        host = host or "127.0.0.1"
        Server.__init__(self, f"ws://{host}:{http}", "devkey", "secret" * 6)
        Program.__init__(self, host, http)
        self.udp_port, self.tcp_port = udp, tcp
        config = self.folder / "config.yaml"
        self.command = [*prefix, program, "--config", str(config)]
        config.write_text(
            f"port: {http}\n"
            f'bind_addresses: ["{host}"]\n'
            "rtc:\n"
            f"  udp_port: {udp}\n"
            f"  tcp_port: {tcp}\n"
            "  use_external_ip: false\n"
            f"  node_ip: {host}\n"
            "  enable_loopback_candidate: true\n"
            # Else it may stand for its announced address by a socket of another one, which no relay lets through.
            f"  ips:\n    includes: [{host}/32]\n"
            f'  stun_servers: ["{stun}"]\n{rtc}'
            f"keys:\n  {self.key}: {self.secret}\n"
            "logging:\n  level: info\n" + more
        )

    def answers(self) -> bool:
        try:
            with urllib.request.urlopen(self.http, timeout=1):
                return True
        except OSError:
            return False


class SmallServer(Server, Program):
    """The development server in a process of its own, at ``host`` and the ports of the other one."""

    name = "devserver"

    def __init__(self, host: str, prefix: Sequence[str] = ()) -> None:
        http, tcp, udp = PORTS
        Server.__init__(self, f"ws://{host}:{http}", "devkey", "secret" * 6)
        Program.__init__(self, host, http)
        self.udp_port, self.tcp_port = udp, tcp
        ports = [f"--port={http}", f"--tcp-port={tcp}", f"--udp-port={udp}"]
        keys = f"--keys={self.key}: {self.secret}"
        self.command = [*prefix, sys.executable, "-m", "trio_client", "devserver", f"--bind={host}", *ports, keys]
