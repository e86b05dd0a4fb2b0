"""Our SCTP and data channels against those of aiortc over loopback; aiortc runs in a process of its own."""

from __future__ import annotations

import json
import os
import select
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sansio.base.entropy import Entropy
from sansio.sctp import (
    ChannelClosed,
    ChannelOpened,
    ChannelReadable,
    DataChannels,
    SctpAssociation,
    SctpLost,
    SctpOptions,
    SctpUp,
    TextMessage,
)

PEER = Path(__file__).with_name("aiortc_sctp_peer.py")
PATIENCE = 20.0
SIZES = (1, 100, 1132, 1133, 3000, 20_000, 60_000)


class Meeting:
    """Our data channels on a socket, with the other process."""

    def __init__(self, role: str, *, lose: int = 0, **options: object) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-W", "ignore", str(PEER), "server" if role == "client" else "client", str(lose)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self.lines = b""
        self.told: list[dict] = []
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.socket.setblocking(False)
        self.end = DataChannels(SctpAssociation(Entropy(b"x"), options=SctpOptions(**options)), role=role)
        self.events: list[object] = []
        self.got: dict[int, list[bytes]] = {}
        self.began = time.monotonic()
        self.run(lambda: self.told, wire=False)
        self.socket.connect(("127.0.0.1", self.told.pop(0)["port"]))
        self.say(self.socket.getsockname()[1])
        self.end.start(self.began)

    def __enter__(self) -> Meeting:
        return self

    def __exit__(self, *args: object) -> None:
        self.socket.close()
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()

    def say(self, message: object) -> None:
        self.process.stdin.write(json.dumps(message).encode() + b"\n")
        self.process.stdin.flush()

    def run(self, until, *, wire: bool = True) -> None:
        """Play the driver until ``until()``."""
        while not until():
            now = time.monotonic()
            assert now - self.began < PATIENCE, (self.told, self.events, self.end.counters.snapshot())
            due = self.end.advance(now) if wire else now + 1.0
            while self.end.packets:
                try:
                    self.socket.send(self.end.packets[0])
                except (BlockingIOError, ConnectionRefusedError):
                    break
                self.end.packets.popleft()
            while self.end.outbox:
                self.take(self.end.outbox.popleft())
            timeout = max(0.0, min(due - now, 0.01))
            readable, _, _ = select.select([self.socket, self.process.stdout], [], [], timeout)
            now = time.monotonic()
            if self.process.stdout in readable:
                data = os.read(self.process.stdout.fileno(), 65536)
                assert data, "the other process has ended"
                self.lines += data
                *whole, self.lines = self.lines.split(b"\n")
                self.told += [json.loads(line) for line in whole]
            if self.socket in readable:
                for _ in range(64):
                    try:
                        self.end.handle_packet(self.socket.recv(65536), now)
                    except (BlockingIOError, ConnectionRefusedError):
                        break

    def take(self, event: object) -> None:
        self.events.append(event)
        if isinstance(event, ChannelReadable):
            while (data := self.end.read(event.channel)) is not None:
                self.got.setdefault(event.channel, []).append(data)

    def seen(self, kind: type) -> list:
        return [event for event in self.events if isinstance(event, kind)]


@pytest.mark.parametrize("role", ["client", "server"])
@pytest.mark.parametrize("lose", [0, 25])
def test_channels_of_both_sides(role, lose):
    with Meeting(role, lose=lose) as meeting:
        now = time.monotonic()
        ours = meeting.end.open("ours", protocol="proto", now=now)
        messages = [Entropy(b"%d" % size).bytes(size) for size in SIZES]
        for message in messages:
            meeting.end.send(ours, message, now)
        meeting.end.send(ours, "gr\u00fc\u00df".encode(), now, binary=False)
        meeting.run(lambda: len(meeting.got.get(ours, [])) == len(SIZES) + 1)
        assert meeting.got[ours] == [*messages, "gr\u00fc\u00df".encode()]
        assert isinstance(meeting.got[ours][-1], TextMessage)
        assert {
            "opened": "ours",
            "id": ours,
            "ordered": True,
            "retransmits": None,
            "lifetime": None,
            "protocol": "proto",
        } in meeting.told
        assert meeting.seen(SctpUp)
        theirs = next(event for event in meeting.seen(ChannelOpened) if not event.ours)
        assert (theirs.label, theirs.protocol, theirs.channel & 1) == ("theirs", "p", 1 - (ours & 1))
        meeting.run(lambda: len(meeting.got.get(theirs.channel, [])) == 6)
        got = meeting.got[theirs.channel]
        assert [len(data) for data in got] == [1, 100, 1200, 5000, 60_000, 6]
        assert got[-1] == TextMessage(b"a text")
        # We close theirs, they close ours.
        now = time.monotonic()
        meeting.end.close(theirs.channel, now)
        meeting.end.send(ours, b"close", now)
        meeting.run(lambda: len(meeting.seen(ChannelClosed)) == 2)
        meeting.run(lambda: {"closed": "theirs"} in meeting.told and {"closed": "ours"} in meeting.told)
        if not lose:
            assert meeting.end.counters["timeouts"] == 0
            # A busy machine may answer late enough for a probe.
            assert meeting.end.counters["data_resent"] <= meeting.end.counters["probes"]


@pytest.mark.parametrize(
    ("options", "retransmits", "lifetime"),
    [
        ({"ordered": False, "max_retransmits": 0}, 0, None),
        ({"max_retransmits": 2}, 2, None),
        ({"ordered": False, "max_lifetime_ms": 300}, None, 300),
    ],
)
def test_partial_reliability(options, retransmits, lifetime):
    with Meeting("client", lose=20) as meeting:
        lossy = meeting.end.open("lossy", now=time.monotonic(), **options)
        check = meeting.end.open("check", now=time.monotonic())
        meeting.run(lambda: len([event for event in meeting.seen(ChannelOpened) if event.ours]) == 2)
        told = next(one for one in meeting.told if one.get("opened") == "lossy")
        assert (told["ordered"], told["retransmits"], told["lifetime"]) == (
            options.get("ordered", True),
            retransmits,
            lifetime,
        )
        sent = []
        for turn in range(30):
            message = b"%d" % turn * 700
            sent.append(message)
            meeting.end.send(lossy, message, time.monotonic())
            pause = time.monotonic() + 0.002
            meeting.run(lambda pause=pause: time.monotonic() > pause)
        meeting.end.send(check, b"end", time.monotonic())
        meeting.run(lambda: meeting.got.get(check) and meeting.end.association.sender.idle())
        got = meeting.got.get(lossy, [])
        assert len(got) == len(set(got))
        assert set(got) <= set(sent)
        assert len(got) >= 10
        if options.get("ordered", True):
            assert got == sorted(got, key=sent.index)


def test_small_window_and_mtu():
    with Meeting("server", window=80_000, mtu=600) as meeting:
        ours = meeting.end.open("ours", now=time.monotonic())
        for _ in range(10):
            meeting.end.send(ours, bytes(15_000), time.monotonic())
        meeting.run(lambda: len(meeting.got.get(ours, [])) == 10)
        assert meeting.got[ours] == [bytes(15_000)] * 10


def test_abort_by_either_side():
    with Meeting("client") as meeting:
        meeting.run(lambda: meeting.seen(SctpUp))
        meeting.say("stop")
        meeting.run(lambda: meeting.seen(SctpLost))
        assert meeting.seen(SctpLost)[0].reason == "aborted"


def test_shutdown():
    with Meeting("client") as meeting:
        ours = meeting.end.open("ours", now=time.monotonic())
        meeting.run(lambda: len(meeting.seen(ChannelOpened)) == 2 and len(meeting.got.get(1, [])) == 6)
        meeting.end.send(ours, b"last", time.monotonic())
        meeting.end.shutdown(time.monotonic())
        meeting.run(lambda: meeting.seen(SctpLost))
        assert meeting.seen(SctpLost) == [SctpLost("shutdown", "")]
