"""Two endpoints on a virtual wire."""

from __future__ import annotations

import heapq
from collections.abc import Callable

import pytest

from sansio.base.contract import INF
from sansio.base.entropy import Entropy
from sansio.dtls import DtlsEndpoint, DtlsIdentity, DtlsOptions, EngineFactory, default_engine
from sansio.dtls.plain import PlainEngine, plain_identity

ENGINES: dict[str, EngineFactory] = {"openssl": default_engine, "plain": PlainEngine}
IDENTITIES = {
    "openssl": [DtlsIdentity.generate(1.8e9, Entropy(name)) for name in (b"first", b"second")],
    "plain": [plain_identity(Entropy(name)) for name in (b"first", b"second")],
}


class Pair:
    """A client and a server, and datagrams under way between them.

    ``fate(sender, index)`` tells after how many seconds copies of the sender's index-th datagram arrive: an empty list
    loses it.
    """

    def __init__(
        self,
        engine: str = "openssl",
        *,
        mtu: int = 1200,
        options: DtlsOptions | None = None,
        server_options: DtlsOptions | None = None,
        fate: Callable[[str, int], list[float]] | None = None,
        announce: bool = True,
        seed: bytes = b"pair",
    ) -> None:
        self.now = 0.0
        self.fate = fate or (lambda sender, index: [0.005])
        self.sent = {"client": 0, "server": 0}
        self.log: list[tuple[float, str, bytes]] = []
        self.wire: list[tuple[float, int, str, bytes]] = []
        self.events: dict[str, list[object]] = {"client": [], "server": []}
        self.ends: dict[str, DtlsEndpoint] = {}
        chosen = {"client": options or DtlsOptions(), "server": server_options or options or DtlsOptions()}
        for name, identity in zip(("client", "server"), IDENTITIES[engine], strict=True):
            self.ends[name] = DtlsEndpoint(
                identity,
                entropy=Entropy(seed).fork(name),
                engine=ENGINES[engine],
                mtu=mtu,
                options=chosen[name],
            )
        self.client, self.server = self.ends["client"], self.ends["server"]
        if announce:
            self.client.set_remote_fingerprint(*IDENTITIES[engine][1].fingerprint)
            self.server.set_remote_fingerprint(*IDENTITIES[engine][0].fingerprint)
            self.server.start("server", 0.0)
            self.client.start("client", 0.0)

    def other(self, name: str) -> str:
        return "server" if name == "client" else "client"

    def send(self, name: str, data: bytes) -> None:
        """Put a datagram of ``name`` on the wire."""
        index = self.sent[name]
        self.sent[name] += 1
        self.log.append((self.now, name, data))
        for delay in self.fate(name, index):
            heapq.heappush(self.wire, (self.now + delay, len(self.log), self.other(name), data))

    def settle(self) -> float:
        """Advance both ends, with the contract asserted, and return the next moment at which anything happens."""
        due = INF
        for name, end in self.ends.items():
            mine = end.advance(self.now)
            assert mine > self.now
            while end.datagrams:
                self.send(name, end.datagrams.popleft())
            self.events[name].extend(end.outbox)
            end.outbox.clear()
            assert end.advance(self.now) == mine
            assert not end.datagrams
            assert not end.outbox
            due = min(due, mine)
        return min(due, self.wire[0][0]) if self.wire else due

    def run(self, limit: float = 60.0, until: Callable[[], bool] | None = None) -> None:
        """Go on until ``until`` (by default: both are connected), until nothing happens any more, or up to a time."""
        until = until or (lambda: self.client.connected and self.server.connected)
        due = self.settle()
        while not until() and due <= limit:
            self.now = due
            while self.wire and self.wire[0][0] <= self.now:
                _, _, name, data = heapq.heappop(self.wire)
                self.ends[name].handle_datagram(data, self.now)
            due = self.settle()

    def exchange(self) -> None:
        """Both ends are connected with each other: keys agree, and data passes both ways."""
        (ours,), (theirs,) = self.events["client"], self.events["server"]
        assert ours.profile == theirs.profile
        assert (ours.local_key, ours.remote_key) == (theirs.remote_key, theirs.local_key)
        self.server.handle_datagram(self.client.seal(b"ping"), self.now)
        self.client.handle_datagram(self.server.seal(b"pong"), self.now)
        assert self.server.plaintexts.pop() == b"ping"
        assert self.client.plaintexts.pop() == b"pong"


@pytest.fixture
def pair() -> type[Pair]:
    return Pair


@pytest.fixture(params=["openssl", "plain"])
def engine(request: pytest.FixtureRequest) -> str:
    return request.param
