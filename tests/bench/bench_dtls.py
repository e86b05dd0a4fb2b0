"""Microseconds to seal and to open a datagram of application data, each suite, at warm caches; the best of several.

    python tests/bench/bench_dtls.py [datagrams per case]

Under AES-GCM both pass by OpenSSL's memory buffers; the last columns have them go through all the same.
"""

from __future__ import annotations

import sys
import time

from sansio.base.entropy import Entropy
from sansio.dtls import DtlsEndpoint, DtlsIdentity, default_engine
from sansio.dtls.engine import DEFAULT_PROFILES, Records
from sansio.dtls.openssl import CIPHERS, OpenSslEngine, make_context

SIZES = (100, 1100)
ROUNDS = 9


class Whole(OpenSslEngine):
    """OpenSSL for the records too, whatever the suite."""

    __slots__ = ()

    def records(self) -> Records:
        """See Engine."""
        return self


def connect(suite: str, engine: type[OpenSslEngine] | None) -> tuple[DtlsEndpoint, DtlsEndpoint]:
    """A client and a server that have connected under one suite."""
    identities = [DtlsIdentity.generate(time.time()) for _ in range(2)]
    ends = []
    for identity, other in zip(identities, reversed(identities), strict=True):
        context = identity.contexts[DEFAULT_PROFILES] = make_context(identity, DEFAULT_PROFILES)
        context.set_cipher_list(suite.encode())
        end = DtlsEndpoint(identity, entropy=Entropy(b"bench"), engine=engine or default_engine)
        end.set_remote_fingerprint(*other.fingerprint)
        ends.append(end)
    client, server = ends
    server.start("server", 0.0)
    client.start("client", 0.0)
    while not client.connected:
        server.handle_datagram(client.datagrams.popleft(), 0.0)
        client.handle_datagram(server.datagrams.popleft(), 0.0)
    return client, server


def measure(client: DtlsEndpoint, server: DtlsEndpoint, size: int, count: int) -> tuple[float, float]:
    """Seconds a datagram, sealed and opened."""
    data = bytes(size)
    seals, opens = [], []
    for _ in range(ROUNDS):
        began = time.process_time()
        sealed = [client.seal(data) for _ in range(count)]
        between = time.process_time()
        for datagram in sealed:
            server.handle_datagram(datagram, 1.0)
        seals.append((between - began) / count)
        opens.append((time.process_time() - between) / count)
        assert len(server.plaintexts) == count
        server.plaintexts.clear()
    return min(seals), min(opens)


def main(count: int) -> None:
    """Every suite and size."""
    print(f"{'suite':32}{'bytes':>6}{'seal':>8}{'open':>8}{'by OpenSSL':>16}")
    for suite in CIPHERS.decode().split(":"):
        for size in SIZES:
            figures = [measure(*connect(suite, engine), size, count) for engine in (None, Whole)]
            (seal, opened), whole = figures
            print(f"{suite:32}{size:6}{seal * 1e6:8.2f}{opened * 1e6:8.2f}{whole[0] * 1e6:8.2f}{whole[1] * 1e6:8.2f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5_000)
