"""Our DTLS and SRTP against those of aiortc over loopback, in both roles; aiortc runs in a process of its own."""

from __future__ import annotations

import json
import select
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sansio.base.entropy import Entropy
from sansio.dtls import DtlsClosed, DtlsConnected, DtlsEndpoint, DtlsFailed, DtlsFailure, DtlsIdentity
from sansio.srtp import SrtpReceiver, SrtpSender

PEER = Path(__file__).with_name("aiortc_dtls_peer.py")
PATIENCE = 15.0


class Meeting:
    """One of our endpoints on a socket, with the other process."""

    def __init__(
        self, role: str, *, lose: int = 0, lose_ours: int = 0, mtu: int = 1200, fingerprint: list[str] | None = None
    ) -> None:
        """``lose`` and ``lose_ours``: how many datagrams with a ChangeCipherSpec get lost."""
        self.process = subprocess.Popen(
            [sys.executable, "-W", "ignore", str(PEER), "server" if role == "client" else "client", str(lose)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.lose_ours = lose_ours
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        identity = DtlsIdentity.generate(time.time())
        self.end = DtlsEndpoint(identity, entropy=Entropy(b"x"), mtu=mtu)
        self.events: list[object] = []
        self.other: list[bytes] = []  # datagrams that are not DTLS
        theirs = self.hear()
        self.socket.connect(("127.0.0.1", theirs["port"]))
        self.end.set_remote_fingerprint(*(fingerprint or theirs["fingerprint"]))
        self.began = time.monotonic()
        self.end.start(role, self.began)
        self.say({"port": self.socket.getsockname()[1], "fingerprint": identity.fingerprint})

    def __enter__(self) -> Meeting:
        return self

    def __exit__(self, *args: object) -> None:
        self.socket.close()
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()

    def hear(self) -> dict:
        return json.loads(self.process.stdout.readline())

    def say(self, message: object) -> None:
        self.process.stdin.write(json.dumps(message) + "\n")
        self.process.stdin.flush()

    def run(self, until) -> None:
        """Drive our end until something holds."""
        limit = time.monotonic() + PATIENCE
        while True:
            due = self.end.advance(time.monotonic())
            while self.end.datagrams:
                datagram = self.end.datagrams.popleft()
                if self.lose_ours and b"\x14\xfe\xfd\0\0" in datagram:
                    self.lose_ours -= 1
                else:
                    self.socket.send(datagram)
            self.events.extend(self.end.outbox)
            self.end.outbox.clear()
            if until():
                return
            now = time.monotonic()
            assert now < limit, "nothing comes of it"
            if select.select([self.socket], [], [], max(0.0, min(due, limit) - now))[0]:
                data = self.socket.recv(2048)
                if 20 <= data[0] < 64:
                    self.end.handle_datagram(data, time.monotonic())
                else:
                    self.other.append(data)

    def connect(self) -> DtlsConnected:
        self.run(lambda: self.events)
        (connected,) = self.events
        assert isinstance(connected, DtlsConnected)
        return connected


def check_traffic(meeting: Meeting, connected: DtlsConnected) -> None:
    end = meeting.end
    for i in range(20):
        meeting.socket.send(end.seal(b"%d" % i * 50))
    meeting.run(lambda: len(end.plaintexts) == 20)
    assert list(end.plaintexts) == [b"echo " + b"%d" % i * 50 for i in range(20)]
    sender, receiver = (
        SrtpSender(connected.profile, connected.local_key),
        SrtpReceiver(connected.profile, connected.remote_key),
    )
    for seq in range(10):
        meeting.socket.send(sender.protect(struct.pack("!BBHII", 0x80, 96, seq, 0, 77) + bytes(100 * seq)))
        meeting.run(lambda seq=seq: len(meeting.other) == seq + 1)
        assert receiver.unprotect(meeting.other[seq])[12:] == b"\xff" * (100 * seq)
    meeting.socket.send(sender.protect_rtcp(struct.pack("!BBHII", 0x80, 206, 2, 77, 0)))
    meeting.run(lambda: len(meeting.other) == 11)
    assert receiver.unprotect_rtcp(meeting.other[10])[8:] == b"\xff" * 4


@pytest.mark.parametrize("mtu", [1200, 300])
@pytest.mark.parametrize("role", ["client", "server"])
def test_handshake_data_and_media(role, mtu):
    with Meeting(role, mtu=mtu) as meeting:
        connected = meeting.connect()
        said = meeting.hear()
        assert said == {"state": "connected", "profile": f"SRTP_{connected.profile}"}
        check_traffic(meeting, connected)
        meeting.say("stop")
        meeting.run(lambda: len(meeting.events) == 2)
        assert meeting.events[1] == DtlsClosed()


@pytest.mark.parametrize("role", ["client", "server"])
def test_our_close_is_understood(role):
    with Meeting(role) as meeting:
        meeting.connect()
        meeting.hear()
        meeting.end.close(time.monotonic())
        meeting.run(lambda: len(meeting.events) == 2)
        time.sleep(0.1)
        meeting.say("stop")
        assert meeting.hear() == {"state": "closed"}


@pytest.mark.parametrize("role", ["client", "server"])
def test_its_last_flight_is_lost(role):
    """It repeats a flight after a second, and its last one only for a Finished that it has not seen."""
    with Meeting(role, lose=1) as meeting:
        connected = meeting.connect()
        assert meeting.hear()["state"] == "connected"
        assert time.monotonic() - meeting.began < 4
        check_traffic(meeting, connected)


@pytest.mark.parametrize("early", [1, 200])
def test_our_last_flight_is_lost_and_our_data_is_not(early):
    """It repeats its own with a new Finished, and takes ours after all that data."""
    with Meeting("server", lose_ours=1) as meeting:
        meeting.connect()
        end = meeting.end
        for _ in range(early):
            meeting.socket.send(end.seal(b"early"))
        meeting.run(lambda: end.counters["dtls_resent"])
        assert meeting.hear()["state"] == "connected"
        meeting.socket.send(end.seal(b"late"))
        for _ in range(early):  # it reads one record a datagram, and OpenSSL has kept some of the early ones
            meeting.socket.send(end.seal(b"early"))
        meeting.run(lambda: end.plaintexts)
        assert list(end.plaintexts) == [b"echo late"]


def test_our_answer_is_lost():
    with Meeting("client", lose_ours=1) as meeting:
        connected = meeting.connect()
        assert meeting.hear()["state"] == "connected"
        check_traffic(meeting, connected)


@pytest.mark.parametrize("role", ["client", "server"])
def test_wrong_fingerprint(role):
    with Meeting(role, fingerprint=["sha-256", "00" * 32]) as meeting:
        meeting.run(lambda: meeting.events)
        (failed,) = meeting.events
        assert isinstance(failed, DtlsFailed)
        assert failed.reason == DtlsFailure.FINGERPRINT
