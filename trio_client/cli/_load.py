"""``trio-livekit load``."""

from __future__ import annotations

import math
import statistics
import struct
import time
from argparse import Namespace
from contextlib import AsyncExitStack
from typing import Any

import trio

from .. import _core as core
from .._connect import connect, preload
from ._exits import Exit, Failure
from ._places import embed_server, key_for, make_token

HEAD = struct.Struct("!IId")
"""Of a message: its sender, its number, when it was sent."""
LATE = 5.0
"""Seconds that the last messages may take."""
TOPIC = "trio-livekit load"


class Participant:
    """One of the many: sends, and notes what comes."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.joined = 0.0
        self.sent = 0
        self.latencies: list[float] = []
        self.wrong = 0
        self._last: dict[int, int] = {}

    def note(self, event: core.DataReceived) -> None:
        """Take what came, in its order."""
        if event.topic != TOPIC or len(event.payload) < HEAD.size:
            return
        sender, number, at = HEAD.unpack_from(event.payload)
        self.latencies.append(trio.current_time() - at)
        self.wrong += number != self._last.get(sender, -1) + 1
        self._last[sender] = number

    async def send(self, room: Any, rate: float, size: int, seconds: float) -> None:
        """Send at an even rate."""
        begun = trio.current_time()
        while (due := begun + self.sent / rate) < begun + seconds:
            await trio.sleep_until(due)
            head = HEAD.pack(self.number, self.sent, trio.current_time())
            await room.local_participant.publish_data(head.ljust(size, b"\xa5"), topic=TOPIC)
            self.sent += 1


async def run(arguments: Namespace) -> int:
    """Join, send, count, print."""
    if arguments.token:
        raise Failure(Exit.USAGE, "One token is for one participant; give --key and --secret in place of it.")
    if arguments.url:
        return await _load(arguments, arguments.url, key_for(arguments, arguments.url))
    async with AsyncExitStack() as stack:
        url = await embed_server(stack)
        print(f"an embedded development server at {url}")
        return await _load(arguments, url, core.DEVELOPMENT_KEY)


async def _load(arguments: Namespace, url: str, key: tuple[str, str]) -> int:
    preload()
    count = int(arguments.participants)
    everybody = [Participant(number) for number in range(count)]
    async with AsyncExitStack() as stack:
        rooms = []
        for participant in everybody:
            begun = trio.current_time()
            token = make_token(key, f"{arguments.identity}-{participant.number}", arguments.room)
            on = {core.DataReceived: participant.note}
            rooms.append(await stack.enter_async_context(connect(url, token, on=on)))
            participant.joined = trio.current_time() - begun
        with trio.fail_after(LATE + count):
            for room in rooms:
                await room.wait_until(lambda room: len(room.remote_participants) >= count - 1)
        joins = [participant.joined * 1000 for participant in everybody]
        print(f"joined: {count} participants, {_spread(joins)} ms each")
        used, begun = time.process_time(), trio.current_time()
        async with trio.open_nursery() as nursery:
            for participant, room in zip(everybody, rooms, strict=True):
                size = int(arguments.size)
                nursery.start_soon(participant.send, room, arguments.rate, size, arguments.seconds)
        took = trio.current_time() - begun
        expected = sum([participant.sent for participant in everybody]) * (count - 1)
        with trio.move_on_after(LATE):
            while sum([len(participant.latencies) for participant in everybody]) < expected:
                await trio.sleep(0.01)
        used = time.process_time() - used
    return _report(everybody, expected, took, used, int(arguments.size))


def _report(everybody: list[Participant], expected: int, took: float, used: float, size: int) -> int:
    latencies = [latency * 1000 for participant in everybody for latency in participant.latencies]
    sent = sum([participant.sent for participant in everybody])
    wrong = sum([participant.wrong for participant in everybody])
    print(f"sent: {sent} messages of {size} bytes in {took:.1f} s, {sent / took:.0f} a second")
    print(f"received: {len(latencies)} of {expected}, {wrong} out of order")
    if latencies:
        print(f"latency: {_spread(latencies)} ms, 99 % within {_quantile(latencies, 0.99):.1f} ms")
    print(f"CPU of this process: {100 * used / took:.0f} %")
    if len(latencies) != expected or wrong:
        raise Failure(Exit.CHECK, f"Of {expected} messages {len(latencies)} came, {wrong} of them out of order.")
    return Exit.OK


def _spread(values: list[float]) -> str:
    return f"{min(values):.1f} to {max(values):.1f}, median {statistics.median(values):.1f}"


def _quantile(values: list[float], share: float) -> float:
    return sorted(values)[min(math.ceil(len(values) * share), len(values)) - 1]
