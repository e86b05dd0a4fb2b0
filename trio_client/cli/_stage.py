"""What a demonstration happens on: its transcript, its picture, what had to be seen, and whoever takes part."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import trio

from .. import _core as core
from .._connect import connect
from ._testcard import FPS, HEIGHT, WIDTH, move, sing
from ._timeline import GREEN, ORANGE, RED, Lane, Timeline, dots, states
from ._transcript import Transcript, describe

PATIENCE = 15.0
"""Seconds that each step may take; they take less than one on a good network."""
SILENCE = 0.3
"""Seconds without any sound that are shown as silence."""
MESSAGES = 20
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


class Stage:
    """One demonstration of so many ``steps``."""

    def __init__(self, steps: int, out: Path, media: Any) -> None:
        self.out = out
        self.media = media
        self.transcript = Transcript()
        self.marks: list[tuple[float, str]] = []
        self.seen: list[tuple[bool, str]] = []
        self.messages: list[tuple[float, float]] = []
        """Of each message when it was sent, and the milliseconds until its answer."""
        self._steps = steps
        self._step = 0

    def step(self, text: str) -> None:
        """The next part begins."""
        self._step += 1
        self.transcript.say(f"{self._step}/{self._steps} {text}")

    def say(self, text: str) -> None:
        """A line of a part."""
        self.transcript.say(f"   {text}")

    def mark(self, text: str) -> None:
        """A moment for the picture."""
        self.marks.append((self.transcript.elapsed, text))

    def check(self, good: bool, text: str) -> None:
        """Something that had to be seen."""
        self.seen.append((good, text))

    async def send_messages(self, exchange: Callable[[bytes], Any]) -> None:
        """Let messages be sent, one after the other; ``exchange`` returns when one is answered."""
        self.mark("data")
        for number in range(MESSAGES):
            begun, at = trio.current_time(), self.transcript.elapsed
            await exchange(b"ping %d" % number)
            self.messages.append((at, (trio.current_time() - begun) * 1000))
            await trio.sleep(0.05)

    def spread(self) -> str:
        """How long messages took."""
        times = [took for _, took in self.messages]
        return f"{statistics.median(times):.2f} ms at the median, {max(times):.2f} ms at most"

    def draw(self, subtitle: str, sides: Sequence[Side], lanes: Sequence[Lane]) -> None:
        """Leave the picture behind: ``sides`` in the room, ``lanes``, and the messages."""
        timeline = Timeline("trio-livekit demo", subtitle, marks=self.marks)
        for side in sides:
            spans = [(side.joined, side.left, GREEN, "in the room")]
            spans += [(begin, over, ORANGE, "reconnecting") for begin, over in side.cuts]
            timeline.lanes.append(Lane(side.name, 34, states(spans)))
        timeline.lanes += lanes
        most = max([took for _, took in self.messages])
        points = [(at, took / most) for at, took in self.messages]
        timeline.lanes.append(Lane("data", 60, dots(points, RED), f"up to {most:.1f} ms"))
        (self.out / "timeline.svg").write_text(timeline.svg(self.transcript.elapsed), encoding="utf-8")


class Side:
    """Somebody who takes part."""

    def __init__(self, stage: Stage) -> None:
        self.name = ""
        self.room: Any = None
        self.joined = self.left = 0.0
        self.cuts: list[tuple[float, float]] = []
        self._stage = stage
        self._cut = 0.0

    async def join(self, stack: AsyncExitStack, url: str, token: str) -> None:
        """Join, until the stack unwinds."""
        stage, begun = self._stage, trio.current_time()
        self.room = await stack.enter_async_context(connect(url, token, on={core.Event: self._told}))
        self.joined = stage.transcript.elapsed
        self.name = self.room.local_participant.identity
        stage.mark(f"{self.name} joins")
        stage.say(f"{self.name} joined {self.room.name} within {(trio.current_time() - begun) * 1000:.0f} ms")

    async def publish(self, playing: Playing, **options: Any) -> tuple[Any, Any]:
        """Publish the tone and the moving picture; both publications. ``options``: of the video track."""
        media = self._stage.media
        sound = media.PcmAudioTrack("tone")
        video = media.RawVideoTrack("testcard", WIDTH, HEIGHT, fps=FPS, **options)
        published = [await self.room.local_participant.publish_track(track) for track in (sound, video)]
        self._stage.mark("tracks published")
        playing.start(sound, video)
        return published[0], published[1]

    async def break_link(self) -> tuple[float, str]:
        """Let the signalling link break: the seconds until it is back, and what came back."""
        begun = self._stage.transcript.elapsed
        with self.room.events(core.Reconnected) as back:
            await self.room.simulate(core.Scenario.SIGNAL_RECONNECT)
            event = await anext(back)
        took = self._stage.transcript.elapsed - begun
        self._stage.check(bool(self.cuts), f"the signalling link came back after {took * 1000:.0f} ms")
        return took, "the same session" if event.resumed else "a new session"

    async def leave(self) -> None:
        """Leave the room."""
        self._stage.mark(f"{self.name} leaves")
        await self.room.disconnect()
        self.left = self._stage.transcript.elapsed

    def _told(self, event: core.Event) -> None:
        """Put an event into the transcript."""
        now = self._stage.transcript.elapsed
        match event:
            case core.SignalReconnecting() | core.Reconnecting():
                self._cut = self._cut or now
                self._stage.mark(type(event).__name__)
            case core.Reconnected():
                self.cuts.append((self._cut, now))
                self._cut = 0.0
                self._stage.mark("Reconnected")
        if not isinstance(event, QUIET_EVENTS) and (text := describe(event)):
            self._stage.transcript.say(f"   {self.name:<5}  {text}")


class Playing:
    """The tone and the moving picture, written in a nursery until they are stopped."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self._scope = trio.CancelScope()
        self._stopped = trio.Event()

    def start(self, sound: Any, video: Any) -> None:
        """Begin to write into these tracks."""
        self._nursery.start_soon(self._run, sound, video)

    async def stop(self) -> None:
        """Stop, and wait for the last picture: it may still be with the encoder."""
        self._scope.cancel()
        await self._stopped.wait()

    async def _run(self, sound: Any, video: Any) -> None:
        with self._scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(sing, sound)
                nursery.start_soon(move, video)
        self._stopped.set()


async def until(ready: Callable[[], object]) -> None:
    """Wait until something is so. Raises trio.TooSlowError when it takes too long."""
    with trio.fail_after(PATIENCE):
        while not ready():
            await trio.sleep(0.01)
