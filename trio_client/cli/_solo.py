"""The demonstration with one participant, for whom there is one token: what the server confirms is measured."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import trio

from ._rates import rates
from ._stage import MESSAGES, PATIENCE, SILENCE, Playing, Side, Stage, until
from ._testcard import FPS, PITCH
from ._timeline import BLUE, Lane, curve

REFRESH = 0.1


class Solo:
    """See the head of the module. Whoever else is in the room hears and sees it."""

    def __init__(self, out: Path, media: Any) -> None:
        self.stage = Stage(6, out, media)
        self.side = Side(self.stage)
        self.left_behind = [out / "timeline.svg"]
        self._rates: list[tuple[float, float]] = []

    async def run(self, url: str, tokens: list[str]) -> None:
        """All of it. Leaves a picture behind."""
        stage = self.stage
        async with AsyncExitStack() as stack:
            stage.step(f"Joining {url}: one token, so one participant")
            await self.side.join(stack, url, *tokens)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._measure)
                with trio.fail_after(3 * PATIENCE):
                    await self._talk(Playing(nursery))
                nursery.cancel_scope.cancel()
        stage.check(True, f"{self.side.name} left")
        most = max([rate for _, rate in self._rates])
        sent = [(at, rate / most * 0.9 if most else 0.0) for at, rate in self._rates]
        stage.draw(
            f"one participant, {stage.transcript.elapsed:.1f} s; what was sent, and how long the server took to answer",
            [self.side],
            [Lane("sent", 70, curve(sent, BLUE), f"up to {most:.0f} kbit/s")],
        )

    async def _talk(self, playing: Playing) -> None:
        stage, side = self.stage, self.side
        stage.step(f"{side.name} publishes a tone of {PITCH:.0f} Hz and {FPS} pictures a second")
        # Pictures that nobody has subscribed to would not be sent.
        published = await side.publish(playing, dynacast=False)
        for publication in published:
            await until(lambda publication=publication: _reported(publication))  # type: ignore[misc]
        await trio.sleep(2.0)
        for publication in published:
            stats = publication.stats()
            kind = publication.kind.name.lower()
            stage.say(
                f"{kind}: {stats.packets} packets, the server misses {stats.lost}, {stats.rtt * 1000:.1f} ms away"
            )
            stage.check(stats.lost <= stats.packets // 10, f"the server got {kind} and missed {stats.lost} packets")
        stage.step("Data: twenty messages that the server acknowledges")
        await stage.send_messages(self._send)
        stage.say(f"acknowledged within {stage.spread()}")
        stage.check(len(stage.messages) == MESSAGES, f"{len(stage.messages)} of {MESSAGES} messages were acknowledged")
        stage.step("Muting, and unmuting")
        await self._mute(published[0])
        stage.step("The signalling link breaks")
        took, session = await side.break_link()
        before = [publication.stats().packets for publication in published]
        stage.say(f"back after {took * 1000:.0f} ms, {session}")
        await trio.sleep(2.0)
        after = [publication.stats().packets for publication in published]
        stage.check(all(now > then for now, then in zip(after, before, strict=True)), "sound and pictures went on")
        stage.step("Leaving")
        await playing.stop()
        await side.leave()

    async def _send(self, message: bytes) -> None:
        await self.side.room.local_participant.publish_data(message, topic="demo", wait_acked=True)

    async def _mute(self, publication: Any) -> None:
        stage = self.stage
        await publication.mute()
        stage.mark("muted")
        await trio.sleep(SILENCE)
        silent = publication.stats().packets
        await trio.sleep(SILENCE)
        stage.check(publication.stats().packets == silent, "no sound was sent while it was muted")
        await publication.unmute()
        stage.mark("unmuted")
        await until(lambda: publication.stats().packets > silent)
        stage.check(True, "and it came back afterwards")

    async def _measure(self) -> None:
        """What is sent, for the picture and the last line of the terminal."""
        room, transcript = self.side.room, self.stage.transcript
        async for rate in rates(lambda: room.stats().bytes_sent, REFRESH):
            self._rates.append((transcript.elapsed, rate))
            transcript.status(f"sending {rate:.0f} kbit/s, {len(room.remote_participants)} others here")


def _reported(publication: Any) -> bool:
    """Whether the server has said what it got."""
    stats = publication.stats()
    return stats is not None and stats.rtt is not None
