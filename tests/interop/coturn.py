"""A coturn server on loopback, for UDP, TCP and TLS."""

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
    """A coturn process; ``options`` are more of its command line."""

    def __init__(self, program: str, *options: str) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="coturn-"))
        self.port, self.tls_port = _free_port(), _free_port()
        self.authority = trustme.CA()
        certificate = self.authority.issue_cert("localhost", "127.0.0.1")
        certificate.private_key_pem.write_to_path(str(self.folder / "key.pem"))
        certificate.cert_chain_pems[0].write_to_path(str(self.folder / "cert.pem"))
        command = [
            program, "-n", "--listening-ip=127.0.0.1", "--relay-ip=127.0.0.1", f"--listening-port={self.port}",
            f"--tls-listening-port={self.tls_port}", "--lt-cred-mech", f"--user={USER}:{PASSWORD}",
            "--realm=example.org", "--fingerprint", "--allow-loopback-peers", "--no-multicast-peers",
            f"--cert={self.folder / 'cert.pem'}", f"--pkey={self.folder / 'key.pem'}", "--no-cli",
            "--min-port=40000", "--max-port=40999", "--log-file=stdout", f"--pidfile={self.folder / 'pid'}",
            f"--userdb={self.folder / 'db'}", "--verbose", *options,
        ]  # fmt: skip
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        end = time.monotonic() + 20
        while time.monotonic() < end and self.process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", self.tls_port), 1).close()
                return
            except OSError:
                time.sleep(0.05)
        text = self.log()
        self.remove()
        raise RuntimeError(f"coturn did not start:\n{text[-3000:]}")

    def url(self, kind: str) -> str:
        """Its URL, for "udp", "tcp" or "tls"."""
        if kind == "tls":
            return f"turns:127.0.0.1:{self.tls_port}?transport=tcp"
        return f"turn:127.0.0.1:{self.port}?transport={kind}"

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
