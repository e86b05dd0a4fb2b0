"""Our ICE agent with aioice's over loopback sockets, in every mix of roles; aioice runs in a process of its own."""

from __future__ import annotations

import contextlib
import json
import select
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sansio.base.entropy import Entropy
from sansio.ice import stun
from sansio.ice.agent import IceAgent, IceOptions, IceState, PairSelected
from sansio.ice.candidate import Candidate, parse_candidate

PEER = Path(__file__).with_name("aioice_peer.py")
PATIENCE = 15.0


class Meeting:
    """One of our agents with two sockets, and the other process."""

    def __init__(self, ours: str, theirs: str, *, options: IceOptions | None = None) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-W", "ignore", str(PEER), "ice", theirs],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
        )
        self.agent = IceAgent(
            Entropy(ours.encode()), controlling=ours == "controlling", options=options or IceOptions()
        )
        self.began = time.monotonic()
        self.sockets = {}
        self.candidates = []
        self.selected_at = 0.0
        self.data: list[bytes] = []
        self.lines: list[dict] = []
        for port in (1, 2):
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            sock.bind(("127.0.0.1", 0))
            self.sockets[port] = sock
            candidate = Candidate(f"{port}", 1, "udp", 2130706431 - port, "127.0.0.1", sock.getsockname()[1], "host")
            self.agent.add_local(candidate, port, self.now())
            self.candidates.append(candidate)

    def __enter__(self) -> Meeting:
        return self

    def __exit__(self, *args: object) -> None:
        for sock in self.sockets.values():
            sock.close()
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()

    def now(self) -> float:
        return time.monotonic() - self.began

    def hear(self) -> dict:
        """The next line of the other process; our agent goes on meanwhile."""
        self.run(lambda: bool(self.lines))
        return self.lines.pop(0)

    def introduce_them(self, theirs: dict) -> None:
        now = self.now()
        self.agent.set_remote_credentials(theirs["ufrag"], theirs["pwd"], now)
        for line in theirs["candidates"]:
            self.agent.add_remote(parse_candidate(line), now)
        self.agent.end_of_remote(now)

    def introduce_us(self) -> None:
        lines = [candidate.to_sdp().removeprefix("candidate:") for candidate in self.candidates]
        message = {"ufrag": self.agent.local_ufrag, "pwd": self.agent.local_pwd, "candidates": lines}
        self.process.stdin.write(json.dumps(message).encode() + b"\n")
        self.process.stdin.flush()

    def run(self, until, *, seconds: float = PATIENCE) -> None:
        end = self.now() + seconds
        while True:
            now = self.now()
            due = self.agent.advance(now)
            while self.agent.transmits:
                transmit = self.agent.transmits.popleft()
                with contextlib.suppress(ConnectionRefusedError):
                    self.sockets[transmit.port].sendto(transmit.data, transmit.addr)
            while self.agent.outbox:
                if isinstance(self.agent.outbox.popleft(), PairSelected):
                    self.selected_at = now
            if until():
                return
            assert now < end, self.agent.pairs_report()
            ports = {sock: port for port, sock in self.sockets.items()}
            ready = select.select([*ports, self.process.stdout], [], [], max(0.0, min(due - now, 0.05)))[0]
            if self.process.stdout in ready:
                ready.remove(self.process.stdout)
                line = self.process.stdout.readline()
                if not line:
                    time.sleep(0.01)  # the other process is gone: its pipe stays readable
                else:
                    self.lines.append(json.loads(line))
            for sock in ready:
                try:
                    data, addr = sock.recvfrom(2048)
                except ConnectionRefusedError:
                    continue
                if stun.is_stun(data):
                    self.agent.handle_stun(ports[sock], data, addr, self.now())
                elif self.agent.is_valid_source(ports[sock], addr):
                    self.agent.note_inbound(self.now())
                    self.data.append(data)

    def exchange(self) -> None:
        """Data by the selected pair, there and back."""
        count = len(self.data)
        self.sockets[self.agent.selected_port].sendto(b"\xff%d" % count, self.agent.selected_addr)
        self.run(lambda: len(self.data) > count)
        assert self.data[-1] == b"\xffecho %d" % count


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("controlling", "controlled"),
        ("controlled", "controlling"),
        ("controlling", "controlling"),
        ("controlled", "controlled"),
    ],
)
def test_both_connect_and_data_flows(ours, theirs):
    with Meeting(ours, theirs) as meeting:
        meeting.introduce_them(meeting.hear())
        meeting.introduce_us()
        meeting.run(lambda: meeting.agent.state == IceState.CONNECTED)
        other = meeting.hear()
        assert other["connected"]
        meeting.run(lambda: meeting.agent.controlling != other["controlling"])
        for _ in range(3):
            meeting.exchange()


def test_its_checks_may_come_before_its_description():
    with Meeting("controlling", "controlled") as meeting:
        theirs = meeting.hear()
        meeting.introduce_us()
        meeting.run(lambda: bool(meeting.agent._early))
        assert meeting.agent.state == IceState.NEW
        meeting.introduce_them(theirs)
        known_at = meeting.now()
        meeting.run(lambda: meeting.agent.state == IceState.CONNECTED)
        assert meeting.selected_at - known_at < 0.5
        assert meeting.hear()["connected"]
        meeting.exchange()


def test_consent_is_kept():
    options = IceOptions(consent_interval=0.2, disconnected_after=0.8, failed_after=2.0, consent_expiry=2.0)
    with Meeting("controlling", "controlled", options=options) as meeting:
        meeting.introduce_them(meeting.hear())
        meeting.introduce_us()
        meeting.run(lambda: meeting.agent.state == IceState.CONNECTED)
        assert meeting.hear()["connected"]
        until = meeting.now() + 2.5
        meeting.run(lambda: meeting.now() > until)
        assert meeting.agent.state == IceState.CONNECTED
        meeting.process.kill()
        meeting.run(lambda: meeting.agent.state == IceState.FAILED)
