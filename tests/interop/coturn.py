"""A coturn server, for UDP, TCP and TLS."""

from __future__ import annotations

import shutil
import ssl
from collections.abc import Sequence

import trustme

from .programs import Program, free_port

USER, PASSWORD = "user", "password"


def program() -> str | None:
    """The server program, if it is installed."""
    return shutil.which("turnserver")


class Coturn(Program):
    """A coturn process at ``host``, on free ports or on ``port`` for everything; ``prefix`` goes before its command."""

    name = "coturn"

    def __init__(self, program: str, *, host: str = "127.0.0.1", port: int = 0, prefix: Sequence[str] = ()) -> None:
        self.host, self.port, self.tls_port = host, port or free_port(), port or free_port()
        super().__init__(host, self.tls_port)
        self.authority = trustme.CA()
        certificate = self.authority.issue_cert("localhost", host)
        certificate.private_key_pem.write_to_path(str(self.folder / "key.pem"))
        certificate.cert_chain_pems[0].write_to_path(str(self.folder / "cert.pem"))
        self.command = [
            *prefix, program, "-n", f"--listening-ip={host}", f"--relay-ip={host}", f"--listening-port={self.port}",
            f"--tls-listening-port={self.tls_port}", "--lt-cred-mech", f"--user={USER}:{PASSWORD}",
            "--realm=example.org", "--fingerprint", "--allow-loopback-peers", "--no-multicast-peers",
            f"--cert={self.folder / 'cert.pem'}", f"--pkey={self.folder / 'key.pem'}", "--no-cli",
            "--min-port=40000", "--max-port=40999", "--log-file=stdout", f"--pidfile={self.folder / 'pid'}",
            f"--userdb={self.folder / 'db'}", "--verbose",
        ]  # fmt: skip

    def url(self, kind: str) -> str:
        """Its URL, for "udp", "tcp" or "tls"."""
        if kind == "tls":
            return f"turns:{self.host}:{self.tls_port}?transport=tcp"
        return f"turn:{self.host}:{self.port}?transport={kind}"

    def trusting(self) -> ssl.SSLContext:
        """A context that trusts its certificate."""
        context = ssl.create_default_context()
        self.authority.configure_trust(context)
        return context
