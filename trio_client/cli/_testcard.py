"""Something to hear and to see where there is no file: a tone, and a picture that moves."""

from __future__ import annotations

import math
from array import array
from typing import TYPE_CHECKING, Any

import trio

from ._exits import Exit, Failure

if TYPE_CHECKING:
    import av

    from ..media import PcmAudioTrack, RawVideoTrack

RATE = 48000
PITCH = 440.0
LOUDNESS = 0.25
"""Amplitude of the tone, of 1."""
WIDTH, HEIGHT, FPS = 320, 240, 15
CHUNK = RATE // 50


def need_media() -> Any:
    """``trio_client.media``, or the word that it is missing."""
    try:
        from .. import media
    except ImportError:
        raise Failure(
            Exit.EXTRA,
            "Sound and pictures need PyAV, which the extra brings: pip install 'trio-livekit[media]'.",
        ) from None
    return media


def tone(begin: int, count: int, pitch: float = PITCH, loudness: float = LOUDNESS) -> array[int]:
    """Samples of a sine, from the sample numbered ``begin`` on."""
    step = 2 * math.pi * pitch / RATE
    return array("h", [round(32767 * loudness * math.sin(step * (begin + i))) for i in range(count)])


async def sing(track: PcmAudioTrack) -> None:
    """Write the tone into a track until cancelled. The track sends it in real time."""
    period = RATE // math.gcd(RATE, round(PITCH))
    wave = memoryview(tone(0, period) * 2)  # from any sample of the first period, a whole period follows
    at = 0
    while True:
        await track.write(wave[at : at + CHUNK])
        at = (at + CHUNK) % period


async def move(track: RawVideoTrack) -> None:
    """Write pictures into a track until cancelled, ``FPS`` a second."""
    begun = trio.current_time()
    number = 0
    while True:
        await trio.sleep_until(begun + number / FPS)
        await track.write(picture(number))
        number += 1


def picture(number: int, width: int = WIDTH, height: int = HEIGHT) -> av.VideoFrame:
    """The picture of that number: a slope of light that wanders, in a colour that turns."""
    import av

    frame = av.VideoFrame(width, height, "yuv420p")
    angle = number / 20
    colours = (128 + 60 * math.cos(angle), 128 + 60 * math.sin(angle))
    for plane, value in zip(frame.planes, (None, *colours), strict=True):
        if value is None:
            slope = bytes([40 + (x * 180 // width) for x in range(width)])
            shift = number * 6 % width
            line = (slope[shift:] + slope[:shift]).ljust(plane.line_size, b"\0")
            plane.update(line * plane.height)
        else:
            plane.update(bytes([round(value)]) * plane.buffer_size)
    return frame
