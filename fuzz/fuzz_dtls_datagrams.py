"""A client and a server whose datagrams are delivered, lost, repeated, joined, broken and invented as the bytes say."""

from __future__ import annotations

from collections.abc import Iterator

from fuzz._turn import settle
from sansio.base.contract import INF
from sansio.base.entropy import Entropy
from sansio.base.limits import DTLS_RECORDS
from sansio.dtls import DtlsClosed, DtlsConnected, DtlsEndpoint, DtlsFailed, DtlsIdentity, default_engine
from sansio.dtls.plain import PlainEngine, plain_identity

REAL = [DtlsIdentity.generate(1.8e9, Entropy(name)) for name in (b"client", b"server")]
PLAIN = [plain_identity(Entropy(name)) for name in (b"client", b"server")]
MOST_STEPS = 60


class Side:
    """An endpoint, what it has sent, and what came of it."""

    def __init__(self, end: DtlsEndpoint) -> None:
        self.end = end
        self.sent: list[bytes] = []
        self.under_way: list[bytes] = []
        self.sealed: list[bytes] = []
        self.received: list[bytes] = []
        self.events: list[object] = []

    def settle(self, now: float, real: bool, other: Side) -> float:
        """The contract, after each input."""
        end = self.end
        due = settle(end, now)
        assert len(end.datagrams) <= 30, "too much in answer to one input"
        self.sent += end.datagrams
        self.under_way += end.datagrams
        end.datagrams.clear()
        assert len(end.plaintexts) <= 100 + DTLS_RECORDS
        for plaintext in end.plaintexts:
            assert not real or plaintext in other.sealed, "data that the peer has not sent"
        self.received += end.plaintexts
        assert not real or len(set(self.received)) == len(self.received), "data that came twice"
        end.plaintexts.clear()
        self.events += end.outbox
        end.outbox.clear()
        kinds = [type(event) for event in self.events]
        assert kinds in (
            [],
            [DtlsConnected],
            [DtlsClosed],
            [DtlsFailed],
            [DtlsConnected, DtlsClosed],
            [DtlsConnected, DtlsFailed],
        )
        assert end.connected == (kinds == [DtlsConnected])
        assert not self.received or DtlsConnected in kinds
        assert due < INF or bool(kinds), "nothing will ever happen"
        return due


def one(data: bytes) -> None:
    """The first byte chooses engine and MTU, then come operations."""
    source = iter(data)
    first = next(source, 0)
    real = bool(first & 1)
    identities = REAL if real else PLAIN
    client, server = (
        Side(
            DtlsEndpoint(
                identity,
                entropy=Entropy(b"fuzz").fork(name),
                engine=default_engine if real else PlainEngine,
                mtu=300 if first & 2 else 1200,
            )
        )
        for name, identity in zip(("client", "server"), identities, strict=True)
    )
    client.end.set_remote_fingerprint(*identities[1].fingerprint)
    server.end.set_remote_fingerprint(*identities[0].fingerprint)
    server.end.start("server", 0.0)
    client.end.start("client", 0.0)
    now = 0.0
    client.settle(now, real, server)
    for _, op in zip(range(MOST_STEPS), source, strict=False):
        one_side, other = (client, server) if op & 8 else (server, client)
        now += 0.001
        _act(op, source, one_side, other, now)
        if op & 7 == 6:
            now += (op >> 4) * 0.02
        client.settle(now, real, server)
        server.settle(now, real, client)
    _finish(client, server, now, real)


def _act(op: int, source: Iterator[int], side: Side, other: Side, now: float) -> None:
    """One operation upon the datagrams that ``other`` has sent to ``side``."""
    what = op & 7
    if what == 0 and other.under_way:
        side.end.handle_datagram(other.under_way.pop(0), now)
    elif what == 1 and other.under_way:
        other.under_way.pop(0)
    elif what == 2 and other.sent:
        side.end.handle_datagram(other.sent[(op >> 4) % len(other.sent)], now)
    elif what == 3 and other.under_way:
        broken = bytearray(other.under_way[0])
        for _ in range(1 + (op >> 6)):
            broken[(next(source, 0) << 3 | op >> 4 & 3) % len(broken)] ^= next(source, 1)
        side.end.handle_datagram(bytes(broken), now)
    elif what == 4:
        side.end.handle_datagram(bytes([next(source, 0) for _ in range(next(source, 0))]), now)
    elif what == 5 and side.end.connected:
        plaintext = b"%d" % len(side.sealed) + bytes(op >> 4)
        side.sealed.append(plaintext)
        sealed = side.end.seal(plaintext)
        side.sent.append(sealed)
        side.under_way.append(sealed)
    elif what == 7 and op >> 4 == 15:
        side.end.close(now)
    elif what == 7 and other.under_way:
        other.under_way[:2] = [b"".join(other.under_way[:2])]


def _finish(client: Side, server: Side, now: float, real: bool) -> None:
    """From here on the network is faithful: soon each end is connected or over."""
    limit = now + 40.0
    while now < limit:
        now += 0.01
        for side, other in ((client, server), (server, client)):
            for datagram in other.under_way:
                side.end.handle_datagram(datagram, now)
            other.under_way.clear()
        due = min(client.settle(now, real, server), server.settle(now, real, client))
        if not client.under_way and not server.under_way:
            if due == INF:
                break
            now = max(now, due)
    assert client.events
    assert server.events
