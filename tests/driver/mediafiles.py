"""Media files for tests, made when they are needed, and what can be measured in them.

The picture is white for the first half of each second and black for the second; the tone sounds while it is white, so
that sound and picture can be compared.
"""

from __future__ import annotations

import array
import itertools
import math
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

RATE = 48000
FPS = 20
SIZE = 160, 120
HZ = 400

KINDS = {
    "wav": ("pcm_s16le", ""),
    "ogg": ("libopus", ""),
    "mp4": ("aac", "libx264"),
    "webm": ("libopus", "libvpx"),
    "mkv": ("flac", "libvpx-vp9"),
    "ivf": ("", "libvpx"),
    "h264": ("", "libx264"),
}
"""File names' endings, and what encodes their sound and pictures."""


def tone(begin: int, count: int, rate: int = RATE, hz: float = HZ) -> bytes:
    """Samples of the tone, which is silent in the second half of each second."""
    wave = [round(12000 * math.sin(math.tau * hz * n / rate)) for n in range(begin, begin + count)]
    return array.array("h", [v if n % rate < rate // 2 else 0 for n, v in enumerate(wave, begin)]).tobytes()


def picture(number: int) -> av.VideoFrame:
    """A picture of the video."""
    frame = av.VideoFrame(*SIZE, "yuv420p")
    for plane, value in zip(frame.planes, (220 if number % FPS < FPS // 2 else 30, 128, 128), strict=True):
        plane.update(bytes([value]) * plane.buffer_size)
    return frame


def make(path: Path, seconds: float, *, gop: int = FPS, b_frames: bool = False) -> Path:
    """Write a file of the kind that its name tells."""
    sound, pictures = KINDS[path.suffix[1:]]
    with av.open(str(path), "w") as container:
        audio: Any = container.add_stream(sound, rate=RATE, layout="mono") if sound else None
        video: Any = container.add_stream(pictures, rate=FPS) if pictures else None
        if video is not None:
            video.width, video.height, video.pix_fmt, video.gop_size = *SIZE, "yuv420p", gop
            if pictures == "libx264":
                video.options = {"preset": "ultrafast", **({"bf": "2"} if b_frames else {"tune": "zerolatency"})}
            else:
                video.options = {"deadline": "realtime", "cpu-used": "8", "lag-in-frames": "0"}
        for tenth in range(round(seconds * 10)):
            if audio is not None:
                frame = av.AudioFrame("s16", "mono", RATE // 10)
                frame.planes[0].update(tone(tenth * RATE // 10, RATE // 10))
                frame.sample_rate, frame.pts, frame.time_base = RATE, tenth * RATE // 10, Fraction(1, RATE)
                container.mux(audio.encode(frame))
            if video is not None:
                for number in range(tenth * FPS // 10, (tenth + 1) * FPS // 10):
                    shown = picture(number)
                    shown.pts, shown.time_base = number, Fraction(1, FPS)
                    container.mux(video.encode(shown))
        for stream in (audio, video):
            if stream is not None:
                container.mux(stream.encode(None))
    return path


class Measured:
    """What is in a file: ``codecs``, and for each kind its length in seconds and when it turns loud or bright."""

    def __init__(self, path: Path) -> None:
        self.codecs: list[str] = []
        self.sound = self.video = 0.0
        self.hz = 0.0
        self.pictures = 0
        self.loud: list[float] = []
        self.bright: list[float] = []
        with av.open(str(path)) as container:
            self.codecs = [stream.codec_context.codec.canonical_name for stream in container.streams]
            if container.streams.audio:
                self._hear(container)
        with av.open(str(path)) as container:
            if container.streams.video:
                self._see(container)

    def _hear(self, container: Any) -> None:
        resampler = av.AudioResampler("s16", "mono", RATE)
        begin = None
        samples = array.array("h")
        for frame in container.decode(audio=0):
            if begin is None:
                begin = frame.time
            for out in resampler.resample(frame):
                samples.frombytes(bytes(out.planes[0])[: out.samples * 2])
        begin = begin or 0.0
        self.sound = begin + len(samples) / RATE
        before = False
        for at in range(0, len(samples) - 480, 480):
            now = max(map(abs, samples[at : at + 480])) > 3000
            if now and not before:
                self.loud.append(begin + at / RATE)
            before = now
        if self.loud:
            at = round((self.loud[0] - begin + 0.05) * RATE)
            some = samples[at : at + RATE // 4]
            crossings = sum((a < 0) != (b < 0) for a, b in itertools.pairwise(some))
            self.hz = crossings / 2 / (len(some) / RATE)

    def _see(self, container: Any) -> None:
        before = False
        for frame in container.decode(video=0):
            self.pictures += 1
            self.video = frame.time
            now = bytes(frame.reformat(format="yuv420p").planes[0])[0] > 128
            if now and not before:
                self.bright.append(frame.time)
            before = now

    def apart(self) -> float:
        """The most seconds that pictures turn bright later (earlier: less than 0) than sound turns loud."""
        pairs = [min((b - a for b in self.bright), key=abs) for a in self.loud]
        return max(pairs, key=abs)
