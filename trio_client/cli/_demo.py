"""``trio-livekit demo``: two participants, sound, pictures, data, a broken link, in about ten seconds."""

from __future__ import annotations

import math
import statistics
from argparse import Namespace
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import trio

from .. import _core as core
from .._connect import connect, preload
from ._exits import Exit, Failure
from ._places import DEVELOPMENT, key_for, make_token
from ._testcard import FPS, HEIGHT, LOUDNESS, PITCH, WIDTH, move, need_media, sing
from ._timeline import BLUE, GREEN, ORANGE, RED, VIOLET, Lane, Timeline, curve, dots, states, ticks
from ._transcript import Transcript, describe

SPEAKER, LISTENER = "alice", "bob"
PINGS = 20
PATIENCE = 15.0
"""Seconds that each step may take; they take less than one on a good network."""
SILENT = 0.01
"""Amplitude below which nothing is heard."""
SILENCE = 0.3
"""Seconds without any sound that are shown as silence."""
QUIET_EVENTS = (
    core.ActiveSpeakersChanged,
    core.ConnectionQualityChanged,
    core.ConnectionStateChanged,
    core.DataReceived,
    core.IsSpeakingChanged,
    core.LocalTrackLayersChanged,
    core.ParticipantActive,
    core.RoomUpdated,
    core.TokenRefreshed,
    core.TrackSubscriptionStatusChanged,
)
"""What would only make the transcript longer."""


class Side:
    """One of the two, as far as the demonstration goes."""

    def __init__(self, demo: Demo, name: str) -> None:
        self.demo = demo
        self.name = name
        self.room: Any = None
        self.joined = self.left = 0.0
        self.cuts: list[tuple[float, float]] = []
        self._cut = 0.0

    def told(self, event: core.Event) -> None:
        """Put an event into the transcript."""
        now = self.demo.transcript.elapsed
        match event:
            case core.SignalReconnecting() | core.Reconnecting():
                self._cut = self._cut or now
                self.demo.mark(type(event).__name__)
            case core.Reconnected():
                self.cuts.append((self._cut, now))
                self._cut = 0.0
                self.demo.mark("Reconnected")
        if not isinstance(event, QUIET_EVENTS) and (text := describe(event)):
            self.demo.transcript.say(f"   {self.name:<5}  {text}")


class Ears:
    """What arrives at the listener: loudness and pitch of the sound, and pictures."""

    def __init__(self, demo: Demo, media: Any) -> None:
        self.levels: list[tuple[float, float]] = []
        self.pitches: list[float] = []
        self.pictures: list[float] = []
        self.level = 0.0
        self.loud = 0.0
        """When something was heard last."""
        self._demo = demo
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
        self.level = math.sqrt(2 * sum([value * value for value in samples]) / len(samples)) / 32768
        self.levels.append((self._demo.transcript.elapsed, self.level))
        if self.level > SILENT:
            self.loud = self._demo.transcript.elapsed
            rises = [i for i in range(1, len(samples)) if samples[i - 1] < 0 <= samples[i]]
            if len(rises) > 1:
                self.pitches.append(48000 * (len(rises) - 1) / (rises[-1] - rises[0]))

    async def see(self, track: Any) -> None:
        """Count the pictures."""
        async for _ in self._media.decode_video(track):
            self.pictures.append(self._demo.transcript.elapsed)

    def line(self, transcript: Transcript) -> str:
        """For the last line of the terminal."""
        pitch = f"{self.pitches[-1]:.0f} Hz" if self.pitches else ""
        now = transcript.elapsed
        rate = len([at for at in self.pictures if at > now - 1])
        return f"sound [{transcript.bar(self.level / LOUDNESS * 0.8)}] {pitch}   pictures {rate}/s"


class Demo:
    """One demonstration."""

    def __init__(self, arguments: Namespace, media: Any) -> None:
        self.out = Path(arguments.out)
        self.media = media
        self.transcript = Transcript()
        self.marks: list[tuple[float, str]] = []
        self.pings: list[tuple[float, float]] = []
        self.speaker, self.listener = Side(self, SPEAKER), Side(self, LISTENER)
        self.ears = Ears(self, media)
        self.seen: list[tuple[bool, str]] = []
        self.recorded: list[Any] = []
        self._step = 0

    def step(self, text: str) -> None:
        """The next part begins."""
        self._step += 1
        self.transcript.say(f"{self._step}/6 {text}")

    def say(self, text: str) -> None:
        """A line of a part."""
        self.transcript.say(f"   {text}")

    def mark(self, text: str) -> None:
        """A moment for the picture."""
        self.marks.append((self.transcript.elapsed, text))

    def check(self, good: bool, text: str) -> None:
        """Something that had to be seen."""
        self.seen.append((good, text))

    # ------------------------------------------------------------------ the parts

    async def run(self, url: str, tokens: tuple[str, str]) -> None:
        """All of it. Leaves picture and recording behind."""
        async with AsyncExitStack() as stack:
            self.step(f"Joining {url}, twice")
            await self._join(stack, url, tokens)
            async with trio.open_nursery() as nursery:
                if self.transcript.live:
                    nursery.start_soon(self._levels)
                with trio.fail_after(3 * PATIENCE):
                    await self._talk(nursery)
                nursery.cancel_scope.cancel()
        self._picture()

    async def _join(self, stack: AsyncExitStack, url: str, tokens: tuple[str, str]) -> None:
        for side, token in zip((self.speaker, self.listener), tokens, strict=True):
            begun = trio.current_time()
            side.room = await stack.enter_async_context(connect(url, token, on={core.Event: side.told}))
            side.joined = self.transcript.elapsed
            side.name = side.room.local_participant.identity
            self.mark(f"{side.name} joins")
            took = (trio.current_time() - begun) * 1000
            self.say(f"{side.name} joined {side.room.name} within {took:.0f} ms")

    async def _talk(self, nursery: trio.Nursery) -> None:
        speaker, listener = self.speaker.room, self.listener.room
        tracks = listener.events(core.TrackSubscribed)
        self.step(f"{self.speaker.name} publishes a tone of {PITCH:.0f} Hz and {FPS} pictures a second")
        sound = self.media.PcmAudioTrack("tone")
        video = self.media.RawVideoTrack("testcard", WIDTH, HEIGHT, fps=FPS)
        begun = self.transcript.elapsed
        publication = await speaker.local_participant.publish_track(sound)
        await speaker.local_participant.publish_track(video)
        self.mark("tracks published")
        playing, played = trio.CancelScope(), trio.Event()
        nursery.start_soon(_play, playing, played, sound, video)
        got = [(await anext(tracks)).track for _ in range(2)]
        recording = trio.Event()
        nursery.start_soon(self._record, got, recording)
        for track in got:
            nursery.start_soon(self.ears.hear if track.kind is core.TrackKind.AUDIO else self.ears.see, track)
        await _until(lambda: self.ears.pitches and self.ears.pictures)
        self.say(
            f"{self.listener.name} hears {self.ears.pitches[-1]:.1f} Hz and sees pictures, "
            f"{(self.ears.pictures[0] - begun) * 1000:.0f} ms after the request to publish"
        )
        await trio.sleep(2.0)
        self.step("Data: twenty messages there and back")
        await self._ping()
        await trio.sleep(0.5)
        self.step("Muting, and unmuting")
        await self._mute(publication)
        await trio.sleep(0.5)
        self.step("The signalling link breaks")
        await self._cut()
        await trio.sleep(2.5)
        self.step("Leaving")
        playing.cancel()
        await played.wait()  # a picture may still be with the encoder
        self.mark(f"{self.speaker.name} leaves")
        await speaker.disconnect()
        self.speaker.left = self.transcript.elapsed
        await _until(lambda: self.speaker.name not in listener.remote_participants)
        await recording.wait()
        await listener.disconnect()
        self.listener.left = self.transcript.elapsed
        self.check(True, "both left, and were seen leaving")

    async def _ping(self) -> None:
        speaker, listener = self.speaker.room, self.listener.room
        self.mark("data")
        for number in range(PINGS):
            with speaker.events(core.DataReceived) as there, listener.events(core.DataReceived) as back:
                begun, at = trio.current_time(), self.transcript.elapsed
                await listener.local_participant.publish_data(b"ping %d" % number, topic="demo")
                ping = await anext(there)
                await speaker.local_participant.publish_data(ping.payload, topic="demo")
                pong = await anext(back)
            assert pong.payload == b"ping %d" % number
            self.pings.append((at, (trio.current_time() - begun) * 1000))
            await trio.sleep(0.05)
        times = [took for _, took in self.pings]
        self.say(f"there and back in {statistics.median(times):.2f} ms at the median, {max(times):.2f} ms at most")
        self.check(len(times) == PINGS, f"{len(times)} of {PINGS} messages went there and back")

    async def _mute(self, publication: Any) -> None:
        self.mark("muted")
        await publication.mute()
        await _until(lambda: self._publication().muted)
        await _until(lambda: self.transcript.elapsed - self.ears.loud > SILENCE)
        await trio.sleep(SILENCE)
        await publication.unmute()
        self.mark("unmuted")
        again = self.transcript.elapsed
        await _until(lambda: not self._publication().muted and self.ears.loud > again)
        self.check(True, "the sound stopped when it was muted, and came back")

    def _publication(self) -> Any:
        participant = self.listener.room.remote_participants[self.speaker.name]
        return participant.get_track_publication(core.TrackSource.MICROPHONE)

    async def _cut(self) -> None:
        begun = self.transcript.elapsed
        with self.speaker.room.events(core.Reconnected) as back:
            await self.speaker.room.simulate(core.Scenario.SIGNAL_RECONNECT)
            event = await anext(back)
        took = self.transcript.elapsed - begun
        pictures = len([at for at in self.ears.pictures if at > begun])
        session = "the same session" if event.resumed else "a new session"
        self.say(f"back after {took * 1000:.0f} ms, {session}; {pictures} pictures came meanwhile")
        self.check(bool(self.speaker.cuts), f"the signalling link came back after {took * 1000:.0f} ms")

    async def _record(self, tracks: list[Any], done: trio.Event) -> None:
        self.recorded = await self.media.record(tracks, self.out / "recording.webm")
        done.set()

    async def _levels(self) -> None:
        while True:
            self.transcript.status(self.ears.line(self.transcript))
            await trio.sleep(0.1)

    # ------------------------------------------------------------------ what is left

    def _picture(self) -> None:
        ears, end = self.ears, self.transcript.elapsed
        pitch = statistics.median(ears.pitches)
        self.check(abs(pitch - PITCH) < 5, f"the tone of {PITCH:.0f} Hz was heard as {pitch:.1f} Hz")
        seconds = ears.pictures[-1] - ears.pictures[0]
        rate = (len(ears.pictures) - 1) / seconds if seconds else 0.0
        self.check(len(ears.pictures) > FPS, f"{len(ears.pictures)} pictures came, {rate:.1f} a second")
        for found in self.recorded:
            kind = found.track.kind.name.lower()
            self.check(found.frames > 0, f"{found.ended:.1f} s of {kind} recorded, {found.lost} frames lost")
        timeline = Timeline(
            "trio-livekit demo", f"two participants, {end:.1f} s; sound and pictures as they arrive", marks=self.marks
        )
        for side in (self.speaker, self.listener):
            spans = [(side.joined, side.left, GREEN, "in the room")]
            spans += [(begin, over, ORANGE, "reconnecting") for begin, over in side.cuts]
            timeline.lanes.append(Lane(side.name, 34, states(spans)))
        levels = _with_silence([(at, min(level / LOUDNESS, 1.0) * 0.8) for at, level in ears.levels])
        timeline.lanes.append(Lane("sound", 70, curve(levels, BLUE), f"{pitch:.0f} Hz"))
        timeline.lanes.append(Lane("pictures", 40, ticks(ears.pictures, VIOLET), f"{rate:.1f} a second"))
        most = max([took for _, took in self.pings])
        pings = [(at, took / most) for at, took in self.pings]
        timeline.lanes.append(Lane("data", 60, dots(pings, RED), f"up to {most:.1f} ms"))
        (self.out / "timeline.svg").write_text(timeline.svg(end), encoding="utf-8")


def _with_silence(levels: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Down to nothing where nothing came: a muted track sends no sound at all."""
    found: list[tuple[float, float]] = []
    for at, level in levels:
        if found and at - found[-1][0] > SILENCE:
            found += [(found[-1][0] + 0.01, 0.0), (at - 0.01, 0.0)]
        found.append((at, level))
    return found


async def _play(scope: trio.CancelScope, done: trio.Event, sound: Any, video: Any) -> None:
    with scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(sing, sound)
            nursery.start_soon(move, video)
    done.set()


async def _until(ready: Callable[[], object]) -> None:
    with trio.fail_after(PATIENCE):
        while not ready():
            await trio.sleep(0.01)


async def run(arguments: Namespace) -> int:
    """The demonstration, here or elsewhere."""
    media = need_media()
    preload()
    out = Path(arguments.out)
    out.mkdir(parents=True, exist_ok=True)
    demo = Demo(arguments, media)
    try:
        async with AsyncExitStack() as stack:
            if arguments.url:
                url = arguments.url
            else:
                from ..devserver import serve

                server = await stack.enter_async_context(serve(keys=dict([DEVELOPMENT])))
                url = server.url
            await demo.run(url, _tokens(arguments, url))
    except trio.TooSlowError:
        raise Failure(Exit.CHECK, "The demonstration took too long: what was waited for did not come.") from None
    finally:
        demo.transcript.close()
    print("\nSeen:")
    for good, text in demo.seen:
        print(f"  {'yes' if good else 'NO '}  {text}")
    for name in ("recording.webm", "timeline.svg"):
        print(f"  {out / name}  {(out / name).stat().st_size} bytes")
    if missed := [text for good, text in demo.seen if not good]:
        raise Failure(Exit.CHECK, f"Not as it ought to be: {'; '.join(missed)}.")
    return Exit.OK


def _tokens(arguments: Namespace, url: str) -> tuple[str, str]:
    given = arguments.token or []
    if given:
        if len(given) != 2:
            raise Failure(
                Exit.USAGE, "The demonstration has two participants: give --token twice, or a key and a secret."
            )
        return given[0], given[1]
    key = key_for(arguments, url)
    return make_token(key, SPEAKER, arguments.room), make_token(key, LISTENER, arguments.room)
