"""A real LiveKit server: one of our own on free loopback ports, or one that somebody has started."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from . import tokens

KEY = os.environ.get("LIVEKIT_API_KEY", "devkey")
SECRET = os.environ.get("LIVEKIT_API_SECRET", "secret" * 6)


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


class OwnServer(Server):
    """A server process of our own, on loopback.

    More of its configuration can be given as lines of YAML: ``rtc`` goes into that section, ``more`` to the end.
    """

    def __init__(self, program: str, more: str = "", rtc: str = "") -> None:
        http, tcp, udp = (_free_port(kind) for kind in (socket.SOCK_STREAM, socket.SOCK_STREAM, socket.SOCK_DGRAM))
        super().__init__(f"ws://127.0.0.1:{http}", "devkey", "secret" * 6)
        self.program = program
        self.folder = Path(tempfile.mkdtemp(prefix="livekit-"))
        self.udp_port, self.tcp_port = udp, tcp
        (self.folder / "config.yaml").write_text(
            f"port: {http}\n"
            'bind_addresses: ["127.0.0.1"]\n'
            "rtc:\n"
            f"  udp_port: {udp}\n"
            f"  tcp_port: {tcp}\n"
            "  use_external_ip: false\n"
            "  node_ip: 127.0.0.1\n"
            "  enable_loopback_candidate: true\n"
            # Else it may stand for its announced address by a socket of another one, which no relay lets through.
            "  ips:\n    includes: [127.0.0.1/32]\n"
            f'  stun_servers: ["127.0.0.1:3478"]\n{rtc}'
            f"keys:\n  {self.key}: {self.secret}\n"
            "logging:\n  level: info\n" + more
        )
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start, and return once it answers."""
        with (self.folder / "log").open("ab") as log:
            command = [self.program, "--config", str(self.folder / "config.yaml")]
            self.process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        end = time.monotonic() + 20
        while time.monotonic() < end and self.process.poll() is None:
            try:
                with urllib.request.urlopen(self.http, timeout=1):
                    return
            except OSError:
                time.sleep(0.05)
        log_text = self.log()
        self.stop()
        raise RuntimeError(f"the server did not start:\n{log_text[-3000:]}")

    def stop(self, kill: bool = False) -> None:
        """End it, gracefully unless it is to be killed; participants still there keep a graceful end waiting."""
        if self.process is None:
            return
        if not kill:
            self.process.terminate()
            try:
                self.process.wait(2)
            except subprocess.TimeoutExpired:
                kill = True
        if kill:
            self.process.kill()
            self.process.wait()
        self.process = None

    def log(self) -> str:
        """What it has printed so far."""
        return (self.folder / "log").read_text(errors="replace")

    def remove(self) -> None:
        """Stop it and delete its folder."""
        self.stop(kill=True)
        shutil.rmtree(self.folder, ignore_errors=True)


def _free_port(kind: int) -> int:
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
