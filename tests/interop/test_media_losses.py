"""What the way to and from the real server loses, and what each side tells the other of it."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import trio

from sansio.rtp import session
from sansio.rtp.feedback import decode_arrivals
from sansio.rtp.rtcp import TransportFeedback
from trio_client import LocalAudioTrack, LocalVideoTrack, RemoteTrack, TrackSubscribed
from trio_client._ports import UdpPort

from .ours import MODES, joined, run
from .signals import pictures, play, show, tone
from .test_media import LAYERS


def media(data: bytes) -> bool:
    """Whether a datagram is RTP, and not RTCP."""
    return len(data) > 1 and 128 <= data[0] < 192 and not 192 <= data[1] < 224


class Lossy:
    """Every so-manieth packet of media that comes is lost, in every session that begins while ``every`` is set."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.every = 0
        self.lost = 0
        self._count = 0
        made = UdpPort.__init__

        def make(port: UdpPort, sock: Any) -> None:
            made(port, sock)
            if self.every:
                port.recvfrom = self._losing(port.recvfrom)

        monkeypatch.setattr(UdpPort, "__init__", make)

    def _losing(self, recvfrom: Callable[[int], Any]) -> Callable[[int], Any]:
        def receive(size: int) -> Any:
            while True:
                data, address = recvfrom(size)
                self._count += media(data)
                if not media(data) or self._count % self.every:
                    return data, address
                self.lost += 1

        return receive


@pytest.fixture
def lossy(monkeypatch) -> Lossy:
    return Lossy(monkeypatch)


async def collect(track: RemoteTrack, count: int) -> list[Any]:
    found = []
    async for frame in track.frames():
        found.append(frame)
        if len(found) == count:
            break
    return found


@MODES
@pytest.mark.parametrize("codec", ["VP8", "H264"])
def test_pictures_that_are_lost_on_the_way_to_us_are_asked_for_again(server, room, native, single, codec, lossy):
    native("them").call("publish_video", codec=codec)
    lossy.every = 9

    async def scenario() -> None:
        async with joined(server, room, single=single) as ours, ours.events(TrackSubscribed) as events:
            track = (await anext(events)).track
            found = await collect(track, 120)
            stats = track.stats()
            print(lossy.lost, stats)
            assert sum([frame.lost for frame in found[1:]]) == 0
            assert stats.frames_dropped <= 1  # what came before the first key frame
            assert stats.nacks > 5
            assert stats.repaired > 5

    run(scenario)


@MODES
@pytest.mark.parametrize("red", [True, False], ids=["red", "plain"])
def test_sound_that_is_lost_on_the_way_to_us_is_there_all_the_same(server, room, single, red, lossy):
    """By its redundant copies, or asked for again: audio has no stream of its own for that."""
    packets = tone()

    async def scenario() -> None:
        lossy.every = 9
        async with joined(server, room, single=single) as ours, ours.events(TrackSubscribed) as events:
            lossy.every = 0
            async with joined(server, room, "other", single=single) as other:
                lossy.every = 9
                voice = LocalAudioTrack("voice", red=red)
                await other.local_participant.publish_track(voice)
                other.start_soon(play, voice, packets)
                track = (await anext(events)).track
                found = await collect(track, 300)
                stats = track.stats()
                print(lossy.lost, stats)
                assert lossy.lost > 20
                assert sum([frame.lost for frame in found[1:]]) == 0
                assert {b.timestamp - a.timestamp for a, b in itertools.pairwise(found)} == {960}

    run(scenario)


@MODES
def test_what_is_lost_on_the_way_to_the_server_is_sent_again_layer_by_layer(server, room, single):
    frames = [pictures("vp8", layer.width, layer.height) for layer in LAYERS]
    count = 0

    def lossy(sendto: Any) -> Any:
        def send(data: bytes, address: Any) -> int:
            nonlocal count
            if media(data):
                count += 1
                if count % 20 == 0:
                    return len(data)
            sent: int = sendto(data, address)
            return sent

        return send

    async def scenario() -> None:
        async with (
            joined(server, room, single=single) as ours,
            joined(server, room, "other", single=single) as other,
            other.events(TrackSubscribed) as events,
        ):
            track = LocalVideoTrack("cam", layers=LAYERS, dynacast=False)
            await ours.local_participant.publish_track(track)
            for port in ours._session.driver._ports.values():
                port.sendto, port.send_run = lossy(port.sendto), None
            got: list[Any] = []

            async def watch(remote: RemoteTrack) -> None:
                async for frame in remote.frames():
                    got.append(frame)

            for place in range(150):
                for layer, pictured in zip(track.layers, frames, strict=True):
                    await layer.write(pictured[place % len(pictured)])
                await trio.sleep(1 / 30)
                if place == 30:  # others see a track with layers from its first packets on
                    remote = (await anext(events)).track
                    other.start_soon(watch, remote)
            await trio.sleep(0.5)
            for layer in track.layers:
                print(layer.stats())
                assert layer.stats().nacks > 2
                assert layer.stats().resent_packets > 2
            print(remote.stats(), [(place, frame.lost) for place, frame in enumerate(got) if frame.lost])
            assert len(got) > 90
            assert sum(frame.lost for frame in got[1:]) == 0

    run(scenario)


@MODES
def test_the_server_tells_which_packets_came(server, room, single):
    """Transport-wide feedback, for video; and reports for each stream."""
    frames = [frame + bytes(6000) for frame in pictures("vp8", 640, 480)]

    async def scenario() -> None:
        async with joined(server, room, single=single) as ours:
            track = LocalVideoTrack("cam", width=640, height=480)
            await ours.local_participant.publish_track(track)
            ours.start_soon(show, [track], [frames])

            def told() -> Any:
                return ours.stats().links[0]

            while told().acknowledged < 200 or track.stats().rtt is None:
                await trio.sleep(0.1)
            print(told(), track.stats())
            assert told().acknowledged > 0.5 * track.stats().packets
            assert told().missing <= track.stats().lost
            counted = json.loads(ours.diagnostics())["core"]
            assert "bad_rtcp" not in str(counted)
            assert "bad_twcc" not in str(counted)

    run(scenario)


@MODES
def test_we_tell_the_server_which_packets_came(own_server, room, single, monkeypatch):
    """Where it numbers them, which it does when it estimates the way to us by itself."""
    server = own_server(rtc="  congestion_control:\n    use_send_side_bwe: true\n")
    frames = [frame + bytes(6000) for frame in pictures("vp8", 640, 480)]
    told: list[Any] = []
    encode = session.encode_rtcp

    def watch(packets: Sequence[Any]) -> bytes:
        told.extend([packet for packet in packets if isinstance(packet, TransportFeedback)])
        return encode(packets)

    async def scenario() -> None:
        async with (
            joined(server, room, single=single) as ours,
            joined(server, room, "other", single=single) as other,
            ours.events(TrackSubscribed) as events,
        ):
            track = LocalVideoTrack("cam", width=640, height=480)
            await other.local_participant.publish_track(track)
            other.start_soon(show, [track], [frames])
            remote = (await anext(events)).track
            monkeypatch.setattr(session, "encode_rtcp", watch)
            await collect(remote, 60)
            came = sum([delta is not None for report in told for delta in decode_arrivals(report.body).deltas])
            print(len(told), came, remote.stats())
            assert came > 0.9 * remote.stats().packets

    run(scenario)
