"""The demonstration with two participants: one publishes, the other receives, measures and records."""

from __future__ import annotations

import math
import statistics
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import trio

from .. import _core as core
from ._exits import Exit, Failure
from ._stage import MESSAGES, PATIENCE, SILENCE, Playing, Side, Stage, until
from ._testcard import FPS, LOUDNESS, PITCH
from ._timeline import BLUE, VIOLET, Lane, curve, ticks
from ._transcript import Transcript

SILENT = 0.01
"""Amplitude below which nothing is heard."""


class Ears:
    """What arrives at the listener: loudness and pitch of the sound, and pictures."""

    def __init__(self, transcript: Transcript, media: Any) -> None:
        self.levels: list[tuple[float, float]] = []
        self.pitches: list[float] = []
        self.pictures: list[float] = []
        self.level = 0.0
        self.loud = 0.0
        """When something was heard last."""
        self._transcript = transcript
        self._media = media

    async def hear(self, track: Any) -> None:
        """Measure the sound, ten times a second."""
        samples: list[int] = []
        async for frame in self._media.decode_audio(track, sample_rate=48000, channels=1):
            samples += frame.data
            if len(samples) >= 4800:
                self._measure(samples)
                samples = []

    def _measure(self, samples: list[int]) -> None:
        now = self._transcript.elapsed
        self.level = math.sqrt(2 * sum([value * value for value in samples]) / len(samples)) / 32768
        self.levels.append((now, self.level))
        if self.level > SILENT:
            self.loud = now
            rises = [i for i in range(1, len(samples)) if samples[i - 1] < 0 <= samples[i]]
            if len(rises) > 1:
                self.pitches.append(48000 * (len(rises) - 1) / (rises[-1] - rises[0]))

    async def see(self, track: Any) -> None:
        """Count the pictures."""
        async for _ in self._media.decode_video(track):
            self.pictures.append(self._transcript.elapsed)

    def pictures_since(self, begin: float) -> int:
        """How many came since then."""
        return len([at for at in self.pictures if at > begin])

    def line(self) -> str:
        """For the last line of the terminal."""
        bar = self._transcript.bar(self.level / LOUDNESS * 0.8)
        pitch = f"{self.pitches[-1]:.0f} Hz" if self.pitches else ""
        return f"sound [{bar}] {pitch}   pictures {self.pictures_since(self._transcript.elapsed - 1)}/s"


class Duet:
    """See the head of the module."""

    def __init__(self, out: Path, media: Any) -> None:
        self.stage = Stage(6, out, media)
        self.speaker, self.listener = Side(self.stage), Side(self.stage)
        self.ears = Ears(self.stage.transcript, media)
        self.left_behind = [out / "recording.webm", out / "timeline.svg"]
        self.recorded: list[Any] = []

    async def run(self, url: str, tokens: list[str]) -> None:
        """All of it. Leaves picture and recording behind."""
        stage = self.stage
        async with AsyncExitStack() as stack:
            stage.step(f"Joining {url}, twice")
            for side, token in zip((self.speaker, self.listener), tokens, strict=True):
                await side.join(stack, url, token)
            self._compare()
            async with trio.open_nursery() as nursery:
                if stage.transcript.live:
                    nursery.start_soon(self._levels)
                with trio.fail_after(3 * PATIENCE):
                    await self._talk(nursery)
                nursery.cancel_scope.cancel()
        self._conclude()

    def _compare(self) -> None:
        """Tokens can be given that do not go together."""
        speaker, listener = self.speaker, self.listener
        if speaker.room.name != listener.room.name:
            raise Failure(Exit.USAGE, "The two tokens are of different rooms.")
        if speaker.name == listener.name:
            raise Failure(Exit.USAGE, f"Both tokens are of {speaker.name}: nobody can be there twice.")

    async def _talk(self, nursery: trio.Nursery) -> None:
        stage, speaker, listener, ears = self.stage, self.speaker, self.listener, self.ears
        playing, recording = Playing(nursery), trio.Event()
        stage.step(f"{speaker.name} publishes a tone of {PITCH:.0f} Hz and {FPS} pictures a second")
        begun = stage.transcript.elapsed
        with listener.room.events(core.TrackSubscribed) as tracks:
            sound, _ = await speaker.publish(playing)
            got = [(await anext(tracks)).track for _ in range(2)]
        nursery.start_soon(self._record, got, recording)
        for track in got:
            nursery.start_soon(ears.hear if track.kind is core.TrackKind.AUDIO else ears.see, track)
        await until(lambda: ears.pitches and ears.pictures)
        stage.say(
            f"{listener.name} hears {ears.pitches[-1]:.1f} Hz and sees pictures, "
            f"{(ears.pictures[0] - begun) * 1000:.0f} ms after the request to publish"
        )
        await trio.sleep(2.0)
        stage.step("Data: twenty messages there and back")
        await stage.send_messages(self._exchange)
        stage.say(f"there and back in {stage.spread()}")
        stage.check(
            len(stage.messages) == MESSAGES, f"{len(stage.messages)} of {MESSAGES} messages went there and back"
        )
        await trio.sleep(0.5)
        stage.step("Muting, and unmuting")
        await self._mute(sound)
        await trio.sleep(0.5)
        stage.step("The signalling link breaks")
        begun = stage.transcript.elapsed
        took, session = await speaker.break_link()
        stage.say(f"back after {took * 1000:.0f} ms, {session}; {ears.pictures_since(begun)} pictures came meanwhile")
        await trio.sleep(2.5)
        stage.step("Leaving")
        await playing.stop()
        await speaker.leave()
        await until(lambda: speaker.name not in listener.room.remote_participants)
        await recording.wait()
        await listener.leave()
        stage.check(True, "both left, and were seen leaving")

    async def _exchange(self, message: bytes) -> None:
        """From the listener to the speaker, and back."""
        speaker, listener = self.speaker.room, self.listener.room
        with speaker.events(core.DataReceived) as there, listener.events(core.DataReceived) as back:
            await listener.local_participant.publish_data(message, topic="demo")
            ping = await anext(there)
            await speaker.local_participant.publish_data(ping.payload, topic="demo")
            pong = await anext(back)
        assert pong.payload == message

    async def _mute(self, publication: Any) -> None:
        stage, ears = self.stage, self.ears
        stage.mark("muted")
        await publication.mute()
        await until(lambda: self._publication().muted)
        await until(lambda: stage.transcript.elapsed - ears.loud > SILENCE)
        await trio.sleep(SILENCE)
        await publication.unmute()
        stage.mark("unmuted")
        again = stage.transcript.elapsed
        await until(lambda: not self._publication().muted and ears.loud > again)
        stage.check(True, "the sound stopped when it was muted, and came back")

    def _publication(self) -> Any:
        participant = self.listener.room.remote_participants[self.speaker.name]
        return participant.get_track_publication(core.TrackSource.MICROPHONE)

    async def _record(self, tracks: list[Any], done: trio.Event) -> None:
        self.recorded = await self.stage.media.record(tracks, self.left_behind[0])
        done.set()

    async def _levels(self) -> None:
        while True:
            self.stage.transcript.status(self.ears.line())
            await trio.sleep(0.1)

    def _conclude(self) -> None:
        """Judge what came, and draw it."""
        stage, ears = self.stage, self.ears
        pitch = statistics.median(ears.pitches)
        stage.check(abs(pitch - PITCH) < 5, f"the tone of {PITCH:.0f} Hz was heard as {pitch:.1f} Hz")
        seconds = ears.pictures[-1] - ears.pictures[0]
        rate = (len(ears.pictures) - 1) / seconds if seconds else 0.0
        stage.check(len(ears.pictures) > FPS, f"{len(ears.pictures)} pictures came, {rate:.1f} a second")
        for found in self.recorded:
            kind = found.track.kind.name.lower()
            stage.check(found.frames > 0, f"{found.ended:.1f} s of {kind} recorded, {found.lost} frames lost")
        levels = _with_silence([(at, min(level / LOUDNESS, 1.0) * 0.8) for at, level in ears.levels])
        stage.draw(
            f"two participants, {stage.transcript.elapsed:.1f} s; sound and pictures as they arrive",
            (self.speaker, self.listener),
            [
                Lane("sound", 70, curve(levels, BLUE), f"{pitch:.0f} Hz"),
                Lane("pictures", 40, ticks(ears.pictures, VIOLET), f"{rate:.1f} a second"),
            ],
        )


def _with_silence(levels: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Down to nothing where nothing came: a muted track sends no sound at all."""
    found: list[tuple[float, float]] = []
    for at, level in levels:
        if found and at - found[-1][0] > SILENCE:
            found += [(found[-1][0] + 0.01, 0.0), (at - 0.01, 0.0)]
        found.append((at, level))
    return found
