"""A coturn server, for UDP, TCP and TLS."""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import trustme

USER, PASSWORD = "user", "password"


def program() -> str | None:
    """The server program, if it is installed."""
    return shutil.which("turnserver")


class Coturn:
    """A coturn process at ``host``, on free ports or on ``port`` for everything; ``prefix`` goes before its command."""

    def __init__(self, program: str, *, host: str = "127.0.0.1", port: int = 0, prefix: tuple[str, ...] = ()) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="coturn-"))
        self.host, self.port, self.tls_port = host, port or _free_port(), port or _free_port()
        self.authority = trustme.CA()
        certificate = self.authority.issue_cert("localhost", host)
        certificate.private_key_pem.write_to_path(str(self.folder / "key.pem"))
        certificate.cert_chain_pems[0].write_to_path(str(self.folder / "cert.pem"))
        command = [
            *prefix, program, "-n", f"--listening-ip={host}", f"--relay-ip={host}", f"--listening-port={self.port}",
            f"--tls-listening-port={self.tls_port}", "--lt-cred-mech", f"--user={USER}:{PASSWORD}",
            "--realm=example.org", "--fingerprint", "--allow-loopback-peers", "--no-multicast-peers",
            f"--cert={self.folder / 'cert.pem'}", f"--pkey={self.folder / 'key.pem'}", "--no-cli",
            "--min-port=40000", "--max-port=40999", "--log-file=stdout", f"--pidfile={self.folder / 'pid'}",
            f"--userdb={self.folder / 'db'}", "--verbose",
        ]  # fmt: skip
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        end = time.monotonic() + 20
        while time.monotonic() < end and self.process.poll() is None:
            try:
                socket.create_connection((host, self.tls_port), 1).close()
                return
            except OSError:
                time.sleep(0.05)
        text = self.log()
        self.remove()
        raise RuntimeError(f"coturn did not start:\n{text[-3000:]}")

    def url(self, kind: str) -> str:
        """Its URL, for "udp", "tcp" or "tls"."""
        if kind == "tls":
            return f"turns:{self.host}:{self.tls_port}?transport=tcp"
        return f"turn:{self.host}:{self.port}?transport={kind}"

    def log(self) -> str:
        """What it has printed so far."""
        return (self.folder / "log").read_text(errors="replace")

    def remove(self) -> None:
        """End it and delete its folder."""
        self.process.kill()
        self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
