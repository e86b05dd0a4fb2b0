"""The roundabout ways of an agent: with servers that answer, refuse and vanish."""

from __future__ import annotations

from itertools import count

from sansio.base.contract import OpenStream, Resolve, Transmit
from sansio.base.entropy import Entropy
from sansio.ice.candidate import Candidate
from sansio.ice.gather import CandidateFound
from sansio.ice.paths import Paths, TurnServerConfig
from sansio.testing.conformance import Input, Script, Subject, call

from .duet import mutated
from .turn import Server

BASES = {
    1: Candidate("1", 1, "udp", 2130706431, "192.0.2.1", 5000, "host"),
    2: Candidate("2", 1, "udp", 2130706430, "192.0.2.2", 5000, "host"),
}
SERVERS = [
    TurnServerConfig("turn:203.0.113.1:3478?transport=udp", "user", "pass"),
    TurnServerConfig("turn:203.0.113.2:3478?transport=tcp", "user", "pass"),
    TurnServerConfig("turns:turn.example.org:443?transport=tcp", "user", "pass"),
    TurnServerConfig("turns:x:443?transport=udp", "user", "pass"),
    TurnServerConfig("stun:203.0.113.3", "", ""),
    TurnServerConfig("nonsense", "", ""),
]
REMOTES = [
    Candidate("3", 1, "tcp", 1671430143, "198.51.100.1", 7881, "host", tcptype="passive"),
    Candidate("4", 1, "udp", 1671430143, "198.51.100.1", 7882, "host"),
]
PEER = ("198.51.100.1", 7882)


class Carried(Paths):
    """Paths with one input for packets either way, as their owner feeds them."""

    def arrive(self, port: int, data: bytes, src: tuple[str, int], now: float) -> None:
        self.receive(port, data, src, now)

    def leave(self, port: int, data: bytes, now: float) -> None:
        self.send(Transmit(port, data, PEER), self.transmits, now)


def script(entropy: Entropy) -> Script:
    pending: list[Input] = [
        call("base_opened", BASES[1], 1),
        call("add_servers", SERVERS),
        call("add_remote", REMOTES[0]),
        call("add_remote", REMOTES[1]),
        call("base_opened", BASES[2], 2),
    ]
    servers: dict[tuple[int, tuple[str, int]], Server] = {}
    streams: list[int] = []
    numbers: list[int] = []
    turn = yield None
    while True:
        for output in turn.outputs:
            if isinstance(output, OpenStream):
                streams.append(output.port)
                good = call("port_opened", output.port, ("192.0.2.1", 30000 + output.port))
                pending.append(good if entropy.below(4) else call("port_failed", output.port, "refused"))
            elif isinstance(output, Resolve):
                pending.append(call("resolved", output.token, entropy.choice([[], ["203.0.113.9", "2001:db8::9"]])))
            elif isinstance(output, CandidateFound):
                numbers.append(output.port)
            elif isinstance(output, Transmit) and entropy.below(8):
                key = output.port, output.addr
                if key not in servers:
                    servers[key] = Server(entropy.fork(f"{key}"), output.port in streams)
                servers[key].give(output.data, turn.now)
        for (port, address), server in servers.items():
            for data in server.take(entropy, turn.now):
                kept = data if entropy.below(16) else mutated(data, entropy)
                pending.append(call("arrive", port, kept, address))
        del pending[64:]
        kind = entropy.below(24)
        item: Input | None = None
        if kind == 0:
            item = call("arrive", entropy.choice([1, 2, *streams]), entropy.bytes(30), ("203.0.113.1", 3478))
        elif kind < 4 and numbers:
            item = call("leave", entropy.choice(numbers), entropy.bytes(20))
        elif kind == 4:
            lost = call("base_lost", 2) if entropy.below(2) else call("base_opened", BASES[2], 2)
            failed = call("port_failed", entropy.choice([0, *streams]), "reset")
            item = entropy.choice([lost, failed, call("reopen"), call("selected", entropy.choice([1, *numbers]))])
        elif kind == 5:
            item = call("send_failed", 1, ("203.0.113.1", 3478), "no route")
        elif pending:
            item = pending.pop(entropy.below(min(3, len(pending))))
        turn = yield item


SUBJECTS = {
    "ice.paths.Paths": [
        Subject(
            make=lambda entropy: Carried(entropy, count(100).__next__),
            script=script,
            close=call("close"),
        )
    ]
}
