"""Audio and video between our client and LiveKit's own, through the real server, over one peer connection and two."""

from __future__ import annotations

import array
import math
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

import trio_client
from trio_client import (
    ConnectOptions,
    EncodedFrame,
    LocalAudioTrack,
    Room,
    TrackSubscribed,
    TrackUnsubscribed,
)

from .servers import Server

MODES = pytest.mark.parametrize("single", [True, False], ids=["single", "dual"])
SILENCE = b"\xf8\xff\xfe"


def run(scenario: Callable[[], Any], seconds: float = 40) -> None:
    async def bounded() -> None:
        with trio.fail_after(seconds):
            await scenario()

    trio.run(bounded)


@asynccontextmanager
async def joined(
    server: Server, room: str, identity: str = "ours", *, single: bool = True, **grants: Any
) -> AsyncIterator[Room]:
    options = ConnectOptions(single_peer_connection=single)
    async with trio_client.connect(server.url, server.token(room, identity, **grants), options=options) as found:
        yield found


@MODES
@pytest.mark.parametrize("first", [True, False], ids=["there", "later"])
def test_frames_of_a_native_publisher_arrive(server, room, native, single, first):
    peer = native("them")
    if first:
        peer.call("publish_audio")

    async def scenario() -> None:
        began = trio.current_time()
        async with joined(server, room, single=single) as ours:
            async with ours.events(TrackSubscribed, TrackUnsubscribed) as events:
                if not first:
                    await peer.acall("publish_audio")
                event = await anext(events)
                print("joined and subscribed after", trio.current_time() - began)
                track = event.track
                assert (track.name, event.participant.identity) == ("voice", "them")
                assert event.publication.track is track
                assert event.publication.subscribed
                times = []
                async with track.frames() as frames:
                    async for frame in frames:
                        if not times:
                            print("first frame after", trio.current_time() - began)
                        assert frame.data
                        times.append(frame.time)
                        if len(times) == 50:
                            break
                assert times == sorted(times)
                assert frames.ended == "closed"
                with trio.move_on_after(4):
                    async for frame in track.frames():
                        if frame.ntp_time is not None:
                            break
                assert frame.ntp_time is not None
                print(track.stats())

    run(scenario)


# ------------------------------------------------------------------ publishing


def tone() -> list[bytes]:
    """A second of a loud 440 Hz tone in Opus packets of 20 ms."""
    av = pytest.importorskip("av")
    encoder = av.CodecContext.create("libopus", "w")
    encoder.sample_rate, encoder.layout, encoder.format = 48000, "mono", "s16"
    packets = []
    for number in range(50):
        samples = [round(20000 * math.sin(math.tau * 440 * n / 48000)) for n in range(number * 960, number * 960 + 960)]
        frame = av.AudioFrame(format="s16", layout="mono", samples=960)
        frame.planes[0].update(array.array("h", samples).tobytes())
        frame.sample_rate, frame.pts = 48000, number * 960
        packets += [bytes(packet) for packet in encoder.encode(frame)]
    return packets


async def play(track: LocalAudioTrack, packets: list[bytes]) -> None:
    """Write the packets over and over, one each 20 ms."""
    due = trio.current_time()
    while True:
        for packet in packets:
            await track.write(EncodedFrame(data=packet, level=10, voice=True))
            due += 0.02
            await trio.sleep_until(due)


@MODES
@pytest.mark.parametrize("red", [True, False], ids=["red", "plain"])
def test_a_native_client_hears_us(server, room, native, single, red):
    packets = tone()
    peer = native("them")
    peer.call("listen")

    async def scenario() -> None:
        async with joined(server, room, single=single) as ours:
            me = ours.local_participant
            track = LocalAudioTrack("voice", red=red)
            began = trio.current_time()
            publication = await me.publish_track(track)
            print("published after", trio.current_time() - began)
            assert me.track_publications == {publication.sid: publication}
            assert publication.track is track
            ours.start_soon(play, track, packets)
            heard = await peer.await_("heard")
            print("heard after", trio.current_time() - began)
            assert heard["sid"] == publication.sid
            assert publication.mime_type in ("audio/opus", "audio/red")
            await peer.await_("active_speakers_changed", where=lambda e: e["args"][0])
            await publication.mute()
            await peer.await_("track_muted")
            await peer.await_("silent")
            assert publication.muted
            assert not await track.write(packets[0])
            await publication.unmute()
            await peer.await_("track_unmuted")
            await peer.await_("heard")
            await trio.sleep(1.5)
            stats = track.stats()
            print(stats)
            assert stats.rtt is not None
            assert stats.lost == 0
            await me.unpublish_track(publication)
            await peer.await_("track_unpublished")
            assert not me.track_publications

    async def stopping() -> None:
        with pytest.raises(trio_client.LocalProtocolError, match="not published"):
            await scenario()

    run(stopping)
