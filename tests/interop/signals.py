"""Sounds and pictures that tests send, and what they measure of those that arrive."""

from __future__ import annotations

import array
import itertools
import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any, Self

import av
import trio

from trio_client import EncodedFrame, LocalAudioTrack
from trio_client.media import decode_audio, decode_video

HZ, PEAK = 480, 8000
SILENCE = b"\xf8\xff\xfe"
"""An Opus packet of 20 ms."""
FPS = 15


class Beat:
    """``async for _ in Beat(seconds)``: now, and again and again in so many seconds."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._due = trio.current_time() - seconds

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> None:
        self._due += self._seconds
        await trio.sleep_until(self._due)


def sine(begin: int, count: int, rate: int, *, hz: float = HZ, peak: int = PEAK, channels: int = 1) -> array.array[int]:
    wave = [round(peak * math.sin(math.tau * hz * n / rate)) for n in range(begin, begin + count)]
    return array.array("h", [value for value in wave for _ in range(channels)])


# ------------------------------------------------------------------ encoded here


def tone() -> list[bytes]:
    """A second of a loud 440 Hz tone in Opus packets of 20 ms."""
    encoder: Any = av.CodecContext.create("libopus", "w")
    encoder.sample_rate, encoder.layout, encoder.format = 48000, "mono", "s16"
    packets = []
    for number in range(50):
        frame = av.AudioFrame(format="s16", layout="mono", samples=960)
        frame.planes[0].update(sine(number * 960, 960, 48000, hz=440, peak=20000).tobytes())
        frame.sample_rate, frame.pts = 48000, number * 960
        packets += [bytes(packet) for packet in encoder.encode(frame)]
    return packets


def pictures(codec: str, width: int = 320, height: int = 240) -> list[bytes]:
    """Three seconds of a moving picture, a key frame every half second."""
    encoder: Any = av.CodecContext.create({"vp8": "libvpx", "h264": "libx264"}[codec], "w")
    encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuv420p"
    encoder.time_base, encoder.framerate, encoder.gop_size = Fraction(1, FPS), Fraction(FPS), 8
    encoder.bit_rate = 300_000
    encoder.options = (
        {"deadline": "realtime", "lag-in-frames": "0", "cpu-used": "8"}
        if codec == "vp8"
        else {"tune": "zerolatency", "preset": "ultrafast", "profile": "baseline", "x264-params": "repeat-headers=1"}
    )
    found = []
    for number in range(45):
        frame = av.VideoFrame(width, height, "yuv420p")
        for place, plane in enumerate(frame.planes):
            plane.update(bytes([(number * 5 + place * 40) % 256]) * plane.buffer_size)
        frame.pts = number
        found += [bytes(packet) for packet in encoder.encode(frame)]
    return found


async def play(track: LocalAudioTrack, packets: Sequence[bytes] = (SILENCE,)) -> None:
    """Write the packets over and over, one each 20 ms."""
    repeated = itertools.cycle(packets)
    async for _ in Beat(0.02):
        await track.write(EncodedFrame(data=next(repeated), level=10, voice=True))


async def show(layers: Sequence[Any], streams: Sequence[Sequence[bytes]]) -> None:
    """Write pictures over and over to each layer of a track."""
    repeated = itertools.cycle(zip(*streams, strict=True))
    async for _ in Beat(1 / FPS):
        for layer, frame in zip(layers, next(repeated), strict=True):
            await layer.write(frame)


# ------------------------------------------------------------------ encoded by the track


async def sing(track: Any, hz: float = HZ) -> None:
    """A tone in pieces of an awkward length."""
    at, piece = 0, track.sample_rate // 30
    while True:
        await track.write(sine(at, piece, track.sample_rate, hz=hz, channels=track.channels))
        at += piece


async def sing_two(track: Any, left: float, right: float) -> None:
    """Two tones, one for each ear."""
    at, piece = 0, track.sample_rate // 50
    while True:
        pairs = zip(*[sine(at, piece, track.sample_rate, hz=hz) for hz in (left, right)], strict=True)
        await track.write(array.array("h", itertools.chain.from_iterable(pairs)))
        at += piece


async def paint(track: Any, rgb: Sequence[int]) -> None:
    """Pictures of one colour, with a corner that changes."""
    frame = av.VideoFrame(320, 240, "rgb24")
    line, row = frame.planes[0].line_size, bytes(rgb) * 320
    corners = itertools.cycle([bytes(24) + row[24:], b"\xff" * 24 + row[24:]])
    async for _ in Beat(1 / FPS):
        rows = [next(corners)] * 8 + [row] * 232
        frame.planes[0].update(b"".join([part.ljust(line, b"\0") for part in rows]))
        await track.write(frame)


# ------------------------------------------------------------------ what arrives


async def listen(track: Any, seconds: float = 0.5) -> tuple[float, int]:
    """Frequency and peak of some sound, after a second of it."""
    samples = array.array("h")
    async with decode_audio(track, 24000, frame_ms=20) as decoded:
        async for frame in decoded:
            if frame.time > 1:
                samples.extend(frame.data)
            if len(samples) > 24000 * seconds:
                break
    crossings = sum([(a < 0) != (b < 0) for a, b in itertools.pairwise(samples)])
    return crossings / 2 / (len(samples) / 24000), max(map(abs, samples))


async def listen_twice(track: Any) -> list[float]:
    """The frequencies of half a second for each ear, after a second."""
    samples = array.array("h")
    async with decode_audio(track, 48000, 2, frame_ms=20) as decoded:
        async for frame in decoded:
            if frame.time > 1:
                samples.extend(frame.data)
            if len(samples) > 48000:
                break
    ears = [samples[0::2], samples[1::2]]
    return [sum([(a < 0) != (b < 0) for a, b in itertools.pairwise(ear)]) / 2 / (len(ear) / 48000) for ear in ears]


async def look(track: Any) -> Any:
    """A picture, half a second after the first."""
    async with decode_video(track) as decoded:
        async for picture in decoded:
            if picture.time > 0.5:
                return picture
    raise AssertionError("no pictures")


def colour(picture: Any) -> tuple[int, ...]:
    """Red, green and blue in the middle."""
    found = picture.reformat(format="rgb24")
    at = found.height // 2 * found.planes[0].line_size + found.width // 2 * 3
    return tuple(bytes(found.planes[0])[at : at + 3])
