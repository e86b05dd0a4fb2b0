"""A whole peer connection of ours with one of aiortc: descriptions, ICE, DTLS, data, sound and pictures both ways."""

from __future__ import annotations

import itertools
import json
import re
import select
import socket
import subprocess
import sys
import time
from array import array
from collections import deque
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest

from sansio.base.entropy import Entropy
from sansio.dtls.identity import DtlsIdentity
from sansio.peer.connection import PeerConnection
from sansio.peer.media import SendingStarted, TrackMapped
from sansio.sctp.channel import ChannelOpened
from sansio.testing.pairs import host_candidate
from tests.interop.signals import tone

PEER = Path(__file__).with_name("aiortc_peer.py")
PATIENCE = 30.0


class Meeting:
    """A connection of ours on a socket, with the other process."""

    def __init__(self, *, offerer: bool) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-W", "ignore", str(PEER), "answer" if offerer else "offer"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,  # so that select sees every line
        )
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.socket.setblocking(False)
        identity = DtlsIdentity.generate(time.time())
        self.end = PeerConnection(Entropy(b"peer"), identity, deque(), offerer=offerer)
        self.end.add_local_candidate(host_candidate(self.socket.getsockname()), 1, time.monotonic())
        self.outputs: list[Any] = []
        self.heard: dict[str, Any] = {}

    def __enter__(self) -> Meeting:
        return self

    def __exit__(self, *args: object) -> None:
        self.socket.close()
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()

    def hear(self, name: str) -> Any:
        """The value of this name, when the other process has said it."""
        self.run(lambda: name in self.heard)
        return self.heard[name]

    def say(self, **message: object) -> None:
        self.process.stdin.write(json.dumps(message).encode() + b"\n")

    def run(self, until, due: float = PATIENCE) -> None:
        """Drive our end until something holds."""
        limit = time.monotonic() + due
        transport = self.end.transport
        while True:
            deadline = self.end.advance(time.monotonic())
            while transport.transmits:
                sent = transport.transmits.popleft()
                self.socket.sendto(sent.data, sent.addr)
            self.outputs += self.end.outbox
            self.end.outbox.clear()
            if until():
                return
            now = time.monotonic()
            assert now < limit, ("nothing comes of it", self.heard, self.end.diagnostics())
            wait = max(0.0, min(deadline, limit, now + 0.01) - now)
            for source in select.select([self.socket, self.process.stdout], [], [], wait)[0]:
                if source is self.socket:
                    data, address = self.socket.recvfrom(2048)
                    transport.receive_datagram(1, data, address, time.monotonic())
                else:
                    line = self.process.stdout.readline()
                    assert line, "it has ended"
                    self.heard |= json.loads(line)

    def find(self, kind: type) -> list[Any]:
        return [output for output in self.outputs if isinstance(output, kind)]

    def exchange(self, label: str) -> None:
        """A message over a channel of ours, of many fragments, and its echo."""
        channels = self.end.transport.channels
        channel = channels.open(label, now=time.monotonic())
        message = bytes(range(256)) * 200
        channels.send(channel, message, time.monotonic())
        self.end.transport.touch_data()
        got: list[bytes] = []

        def answered() -> bool:
            while (data := channels.read(channel)) is not None:
                got.append(bytes(data))
            return bool(got)

        self.run(answered)
        assert got == [b"echo " + message]

    def receive(self, kind: str, count: int) -> list[Any]:
        """So many frames of the track of this kind."""
        self.run(lambda: any(mapped.receiver.kind == kind for mapped in self.find(TrackMapped)))
        (receiver,) = [mapped.receiver for mapped in self.find(TrackMapped) if mapped.receiver.kind == kind]
        self.end.transport.rtp.set_enabled(receiver, True, time.monotonic())
        frames: list[Any] = []

        def enough() -> bool:
            while (frame := receiver.read()) is not None:
                frames.append(frame)
            return len(frames) >= count

        self.end.transport.touch_media()
        self.run(enough)
        return frames

    def send(self, sender: Any, frames: list[bytes], seconds: float, step: int, name: str) -> Any:
        """Frames over and over, until the other side has measured them."""
        for number, frame in enumerate(itertools.cycle(frames)):
            if name in self.heard:
                return self.heard[name]
            sender.write(frame, time.monotonic(), timestamp=number * step)
            self.end.transport.touch_media()
            begun = time.monotonic()
            self.run(lambda begun=begun: time.monotonic() - begun > seconds)
            assert number < 1500, self.heard
        raise AssertionError


def named(sdp: str) -> str:
    """Their description with tracks named as LiveKit's server names them."""
    return re.sub(r"msid:\S+ (\S+)", r"msid:PA_aiortc|TR_\1 TR_\1", sdp)


def grey(luma: int) -> list[bytes]:
    """A second of a picture that stands still, in VP8."""
    encoder: Any = av.CodecContext.create("libvpx", "w")
    encoder.width, encoder.height, encoder.pix_fmt = 320, 240, "yuv420p"
    encoder.time_base, encoder.gop_size = Fraction(1, 15), 5
    encoder.options = {"deadline": "realtime", "lag-in-frames": "0", "cpu-used": "8"}
    found = []
    for number in range(15):
        frame = av.VideoFrame(320, 240, "yuv420p")
        for plane, value in zip(frame.planes, (luma, 128, 128), strict=True):
            plane.update(bytes([value]) * plane.buffer_size)
        frame.pts = number
        found += [bytes(packet) for packet in encoder.encode(frame)]
    return found


def pitch(frames: list[Any]) -> float:
    """The frequency of Opus frames, without the first of them."""
    decoder: Any = av.CodecContext.create("libopus", "r")
    decoder.sample_rate, decoder.layout = 48000, "mono"
    samples = array("h")
    for frame in frames:
        for decoded in decoder.decode(av.Packet(frame.data)):
            samples.frombytes(bytes(decoded.planes[0])[: decoded.samples * 2])
    samples = samples[24000:]
    return sum([(a < 0) != (b < 0) for a, b in itertools.pairwise(samples)]) / 2 / (len(samples) / 48000)


def check_what_comes(meeting: Meeting) -> None:
    assert pitch(meeting.receive("audio", 100)) == pytest.approx(523, abs=6)
    frames = meeting.receive("video", 20)
    assert frames[0].keyframe
    decoder: Any = av.CodecContext.create("vp8", "r")
    shown = [picture for frame in frames for picture in decoder.decode(av.Packet(frame.data))]
    assert (shown[-1].width, shown[-1].height) == (640, 480)
    assert shown[-1].to_rgb().to_ndarray()[240, 320].tolist() == pytest.approx([0, 135, 0], abs=30)


def test_we_offer():
    with Meeting(offerer=True) as meeting:
        media = meeting.end.media
        media.add_receive_sections(1, 1)
        media.add_sending("opus", "cid-a", "stream")
        media.add_sending("vp8", "cid-v", "stream")
        offer, number = meeting.end.create_offer(time.monotonic())
        meeting.say(sdp=offer)
        meeting.end.handle_answer(named(meeting.hear("sdp")), number, time.monotonic())
        meeting.run(lambda: meeting.end.transport.connected and meeting.end.transport.association.up)
        meeting.exchange("ours")
        sound, video = [started.sending.senders[0] for started in meeting.find(SendingStarted)]
        assert meeting.send(sound, tone(), 0.02, 960, "hz") == pytest.approx(440, abs=6)
        assert meeting.send(video, grey(180), 1 / 15, 6000, "luma") == pytest.approx(180, abs=8)
        check_what_comes(meeting)
        meeting.say()
        assert meeting.hear("state") == "closed"


def test_they_offer():
    with Meeting(offerer=False) as meeting:
        meeting.say(sdp=meeting.end.handle_offer(named(meeting.hear("sdp")), time.monotonic()))
        meeting.run(lambda: meeting.end.transport.connected and meeting.find(ChannelOpened))
        (opened,) = meeting.find(ChannelOpened)
        got: list[bytes] = []

        def told() -> bool:
            got.extend([bytes(data)] if (data := meeting.end.transport.channels.read(opened.channel)) else [])
            return bool(got)

        meeting.run(told)
        assert (opened.label, got) == ("theirs", [b"opened by them"])
        meeting.exchange("ours")
        check_what_comes(meeting)
        meeting.say()
        assert meeting.hear("state") == "closed"
