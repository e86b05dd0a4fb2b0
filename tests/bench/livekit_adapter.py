"""The client under test for the comparison benchmarks: this project. The functions are those of their contract."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import trio

import trio_client
from trio_client import DataReceived, RoomEvent, TrackKind, TrackSource, TrackSubscribed
from trio_client.media import DecodedAudio, PcmAudioTrack, decode_audio

# ---------------------------------------------------------------- the runtime


def run(main: Callable[..., Awaitable[Any]], *args: Any) -> Any:
    return trio.run(main, *args)


sleep = trio.sleep


async def cancel_after(seconds: float, fn: Callable[..., Awaitable[Any]], *args: Any) -> bool:
    """Run fn; cancel it after `seconds`. True if it was cancelled, False if it had finished."""
    with trio.move_on_after(seconds) as scope:
        await fn(*args)
    return scope.cancelled_caught


@asynccontextmanager
async def tasks() -> AsyncIterator[trio.Nursery]:
    """Background tasks that are cancelled when the block ends."""
    async with trio.open_nursery() as nursery:
        yield nursery
        nursery.cancel_scope.cancel()


# ---------------------------------------------------------------- the client


def warm() -> None:
    """Whatever the client loads on first use."""
    trio_client.preload()


@asynccontextmanager
async def session(
    url: str,
    token: str,
    *,
    on_event: Callable[[str, str], None] | None = None,
    on_data: Callable[[bytes], None] | None = None,
    on_audio_track: Callable[[Any], None] | None = None,
) -> AsyncIterator[trio_client.Room]:
    """Join on entry, leave on exit. Callbacks are plain functions."""
    handlers: dict[Any, Any] = {}
    if on_event is not None:
        for event in RoomEvent:
            handlers[event] = _teller(on_event, event.value)
    if on_data is not None:
        handlers[DataReceived] = lambda event: on_data(event.payload)
    if on_audio_track is not None:
        handlers[TrackSubscribed] = lambda event: (
            on_audio_track(event.track) if event.track.kind is TrackKind.AUDIO else None
        )
    async with trio_client.connect(url, token, on=handlers) as room:
        yield room


def _teller(on_event: Callable[[str, str], None], name: str) -> Callable[..., None]:
    return lambda *args: on_event(name, _describe(args))


def _describe(args: tuple[Any, ...]) -> str:
    if not args:
        return ""
    identity = getattr(args[-1], "identity", None)
    if identity is not None:
        return str(identity)
    return str(args[0]) if isinstance(args[0], int | str) else type(args[0]).__name__


async def send_data(room: trio_client.Room, payload: bytes, reliable: bool = True) -> None:
    await room.local_participant.publish_data(payload, reliable=reliable)


async def publish_audio(room: trio_client.Room, name: str) -> PcmAudioTrack:
    """Publish a microphone track of 48 kHz mono; the thing that push_audio takes."""
    track = PcmAudioTrack(name)
    await room.local_participant.publish_track(track, source=TrackSource.MICROPHONE)
    return track


async def push_audio(source: PcmAudioTrack, pcm: bytes) -> None:
    """Give 48 kHz mono signed 16-bit samples. The room may be left meanwhile."""
    with suppress(trio_client.DisconnectedError):
        await source.write(pcm)


class Audio:
    def __init__(self, decoded: DecodedAudio) -> None:
        self.decoded = decoded

    async def __aiter__(self) -> AsyncIterator[memoryview]:
        async for frame in self.decoded:
            yield frame.data


def open_audio(track: Any, frame_ms: int = 0) -> Audio:
    """Decoded 48 kHz mono frames (memoryview of format 'h'); frame_ms 0: as they come."""
    # The native client makes up some 0.2 s of sound as well when nothing comes.
    return Audio(decode_audio(track, frame_ms=frame_ms or None, bridge=0.2))


async def simulate(room: trio_client.Room, kind: str) -> None:
    scenarios = {"signal": trio_client.Scenario.SIGNAL_RECONNECT, "full": trio_client.Scenario.FULL_RECONNECT}
    await room.simulate(scenarios[kind])
