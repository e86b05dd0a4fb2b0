"""The client under test without a codec: what tracks cost that are passed on encoded. The same functions.

Reading yields the same loud sound for each encoded frame, which is not looked at. Publishing takes samples only for the
clock, and sends a packet of a tone, always the same.
"""

from __future__ import annotations

import array
import math
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

from livekit_adapter import cancel_after, run, send_data, session, simulate, sleep, tasks, warm

import trio_client
from trio_client import LocalAudioTrack, TrackSource
from trio_client.media._opus import OpusEncoder

TONE = array.array("h", [round(8000 * math.sin(math.tau * 400 * n / 48000)) for n in range(960)])
PACKET = OpusEncoder(1, 48000).encode(TONE)

__all__ = [
    "cancel_after",
    "open_audio",
    "publish_audio",
    "push_audio",
    "run",
    "send_data",
    "session",
    "simulate",
    "sleep",
    "tasks",
    "warm",
]


async def publish_audio(room: trio_client.Room, name: str) -> LocalAudioTrack:
    track = LocalAudioTrack(name)
    await room.local_participant.publish_track(track, source=TrackSource.MICROPHONE)
    return track


async def push_audio(source: LocalAudioTrack, pcm: bytes) -> None:
    with suppress(trio_client.DisconnectedError):  # the room may be left meanwhile
        for _ in range(len(pcm) // 1920):
            await source.write(PACKET)


class Audio:
    def __init__(self, track: Any) -> None:
        self.frames = track.frames()

    async def __aiter__(self) -> AsyncIterator[memoryview]:
        loud = memoryview(TONE)
        async for _ in self.frames:
            yield loud


def open_audio(track: Any, frame_ms: int = 0) -> Audio:
    return Audio(track)
