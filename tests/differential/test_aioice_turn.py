"""Our TURN client and aioice's, at one server on loopback sockets: the server is our own, and strict with both."""

from __future__ import annotations

import json
import select
import socket
import subprocess
import sys
import time
from collections import deque
from pathlib import Path

import pytest

from sansio.base.contract import ClosePort, OpenUdp
from sansio.base.entropy import Entropy
from sansio.ice import stun
from sansio.ice.turn import Allocated, TurnAllocation
from sansio.testing.turnserver import TurnServer

PEER = Path(__file__).with_name("aioice_peer.py")
PATIENCE = 15.0
NAMES = {
    stun.METHOD_ALLOCATE: "allocate",
    stun.METHOD_REFRESH: "refresh",
    stun.METHOD_CREATE_PERMISSION: "permission",
    stun.METHOD_CHANNEL_BIND: "channel",
    stun.METHOD_SEND: "send",
}


def udp() -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    return sock


class Place:
    """The server and our client on real sockets, and aioice in a process of its own."""

    def __init__(self, **server: object) -> None:
        self.began = time.monotonic()
        self.server = TurnServer(Entropy(b"server"), hosts=("127.0.0.1",), **server)  # type: ignore[arg-type]
        self.sockets = {1: udp()}
        self.client = TurnAllocation(Entropy(b"client"), "user", "pass", stream=False)
        self.sock = udp()
        self.address = self.sockets[1].getsockname()
        self.events: deque[object] = deque()
        self.got: deque[tuple[object, bytes]] = deque()
        self.lines: deque[dict] = deque()
        self.asked: dict[str, list[str]] = {"ours": [], "theirs": []}
        self.process = subprocess.Popen(
            [sys.executable, "-W", "ignore", str(PEER), "turn", str(self.address[1])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
        )

    def __enter__(self) -> Place:
        return self

    def __exit__(self, *args: object) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe
            pipe.close()
        for sock in [self.sock, *self.sockets.values()]:
            sock.close()

    def now(self) -> float:
        return time.monotonic() - self.began

    def tell(self, order: object) -> None:
        assert self.process.stdin
        self.process.stdin.write(json.dumps(order).encode() + b"\n")

    def send(self, data: bytes, peer: tuple[str, int]) -> None:
        wrapped = self.client.wrap(peer, data, self.now())
        self.flush()
        self.sock.sendto(wrapped, self.address)

    def flush(self) -> None:
        now = self.now()
        self.client.advance(now)
        while self.client.transmits:
            self.sock.sendto(self.client.transmits.popleft(), self.address)
        self.events.extend(self.client.outbox)
        self.client.outbox.clear()
        while True:
            self.server.advance(now)
            while self.server.transmits:
                transmit = self.server.transmits.popleft()
                self.sockets[transmit.port].sendto(transmit.data, transmit.addr)
            if not self.server.outbox:
                return
            match self.server.outbox.popleft():
                case OpenUdp(port=port):
                    self.sockets[port] = udp()
                    self.server.port_opened(port, self.sockets[port].getsockname(), now)
                case ClosePort(port=port):
                    self.sockets.pop(port).close()

    def note(self, data: bytes, source: tuple[str, int]) -> None:
        if data[0] < 4:
            message = stun.decode(data)
            who = "ours" if source == self.sock.getsockname() else "theirs"
            self.asked[who].append(NAMES[message.method])

    def run(self, until) -> None:  # type: ignore[no-untyped-def]
        end = self.now() + PATIENCE
        while not until():
            assert self.now() < end
            self.flush()
            ports = {sock: port for port, sock in self.sockets.items()}
            for ready in select.select([*ports, self.sock, self.process.stdout], [], [], 0.02)[0]:
                if ready is self.process.stdout:
                    if line := ready.readline():  # empty: it has ended
                        self.lines.append(json.loads(line))
                    continue
                data, source = ready.recvfrom(2048)
                if ready is not self.sock:
                    if ports[ready] == 1:
                        self.note(data, source)
                    self.server.handle_datagram(ports[ready], data, source, self.now())
                elif (inner := self.client.unwrap(data)) is not None:
                    self.got.append(inner)
                else:
                    self.client.handle_packet(data, self.now())

    def hear(self) -> dict:
        self.run(lambda: self.lines)
        return self.lines.popleft()

    def receive(self) -> tuple[object, bytes]:
        self.run(lambda: self.got)
        return self.got.popleft()


@pytest.mark.parametrize("server", [{}, {"nonce_time": 0.3}], ids=["plain", "stale nonces"])
def test_two_relays_of_two_clients_talk_to_each_other(server):
    with Place(**server) as place:
        theirs = tuple(place.hear()["relayed"])
        place.client.start(place.now())
        place.run(lambda: place.events)
        allocated = place.events.popleft()
        assert isinstance(allocated, Allocated)
        (ours,) = allocated.relayed
        assert allocated.mapped == place.sock.getsockname()
        assert ours != theirs
        place.client.permit(theirs, place.now())  # type: ignore[arg-type]
        place.run(lambda: place.client._peers[theirs].bound)  # type: ignore[index]
        place.tell(ours)
        assert place.receive() == (theirs, b"greetings")
        for number in range(5):
            place.send(b"%d" % number, theirs)  # type: ignore[arg-type]
            assert place.receive() == (theirs, b"echo %d" % number)
            time.sleep(0.1)
        place.client.close(place.now())
        place.tell(None)
        assert place.hear() == {"gone": True}
        # ours does not wait for an answer, which would be that the nonce is stale
        place.run(lambda: len(place.server.allocations) == bool(server))
        # both ask for the same in the same order; what theirs needs no permission for, ours asks for beside the channel
        done = {who: [kind for kind in asked if kind != "permission"] for who, asked in place.asked.items()}
        assert {who: list(dict.fromkeys(asked)) for who, asked in done.items()} == {
            "ours": ["allocate", "channel", "refresh"],
            "theirs": ["allocate", "channel", "refresh"],
        }
        assert done["ours"].count("allocate") == done["theirs"].count("allocate") == 2
