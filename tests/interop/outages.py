"""A client and a real server with a network between them that swallows packets for a while.

``unshare -n python -m tests.interop.outages SERVER KIND SECONDS...``: see ``namespaces``. Rules at the server's end
drop silently, for each of so many seconds, what is of a kind: signalling, media, or both. Tells for each outage the
story of the room, how long it took from the end of the outage until the room was connected, whether it is the same
session, what became of the numbered messages that were published all the while, and of the sound that came.
"""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import suppress
from itertools import pairwise
from typing import Any

import trio

from trio_client import (
    ConnectionState,
    DataReceived,
    DataUnacknowledged,
    Disconnected,
    DisconnectedError,
    LocalAudioTrack,
    NotAcknowledged,
    Room,
    TrackSubscribed,
)

from .namespaces import THERE, Far, far_end, main
from .ours import joined, story
from .servers import OwnServer, Server
from .signals import play

NO_SIGNALLING = ["pref 4 iif far ipproto tcp dport 7880 blackhole"]
NO_MEDIA = ["pref 5 iif far ipproto udp blackhole", "pref 6 iif far ipproto tcp dport 7881 blackhole"]
RULES = {"signalling": NO_SIGNALLING, "media": NO_MEDIA, "both": ["pref 7 iif far blackhole"]}
"""What reaches the server is dropped; so it does not answer, and its own packets are not answered either."""


async def listen(server: Server, room_name: str) -> None:
    """On the server's side, where no outage reaches: speak, and print the numbers that arrive, until the input ends."""
    got: list[int] = []
    voice = LocalAudioTrack("voice")
    async with joined(server, room_name, "listener", publish=[voice]) as room:
        room.on(DataReceived, lambda event: got.append(int(event.payload)) if not event.topic else None)
        room.start_soon(play, voice)
        print("ready", flush=True)
        await trio.to_thread.run_sync(sys.stdin.read)
    print(json.dumps(got))


class Session:
    """Our client in a room: what it has sent, and what it has been told and has heard."""

    def __init__(self, room: Room) -> None:
        self.room = room
        self.story = story(room)
        self.sent = 0
        self.unacknowledged: list[int] = []
        self.heard: list[tuple[float, int]] = []
        """When a frame of sound came, and how many were missing before it."""
        self.ended = 0.0
        self._subscribed = room.events(TrackSubscribed)
        room.on(DataUnacknowledged, self._lost)
        room.on(Disconnected, self._end)

    def _lost(self, event: DataUnacknowledged) -> None:
        self.unacknowledged += [int(packet.payload) for packet in event.packets]

    def _end(self, event: Disconnected) -> None:
        self.ended = trio.current_time()

    async def publish(self) -> None:
        """Numbered messages, 20 a second."""
        with suppress(DisconnectedError):
            while True:
                await self.room.local_participant.publish_data(b"%d" % self.sent)
                self.sent += 1
                await trio.sleep(0.05)

    async def hear(self) -> None:
        """Listen to every track that comes, one after the other."""
        async for event in self._subscribed:
            async for frame in event.track.frames():
                self.heard.append((trio.current_time(), frame.lost))

    async def settle(self) -> None:
        """Wait until a message gets through, or the session has ended."""
        with suppress(NotAcknowledged, DisconnectedError):
            await self.room.local_participant.publish_data(b"-1", topic="mark", wait_acked=True)
            await self.room.wait_until(lambda: self.room.state is ConnectionState.CONNECTED)

    def silence(self, start: float, end: float) -> float:
        """The longest time without sound between two moments."""
        times = [start, *[at for at, _ in self.heard if start < at < end], end]
        return max([later - earlier for earlier, later in pairwise(times)])


async def outage(server: OwnServer, far: Far, kind: str, seconds: float) -> dict[str, Any]:
    """One outage of a session that another one listens to."""
    room_name = f"{kind} {seconds:g}"
    listening = [sys.executable, "-m", __spec__.name, "--listen", server.url, server.key, server.secret, room_name]
    with subprocess.Popen([*far.prefix, *listening], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as listener:
        assert listener.stdout
        await trio.to_thread.run_sync(listener.stdout.readline)
        async with joined(server, room_name, single=None) as room:
            session = Session(room)
            sid = room.local_participant.sid
            room.start_soon(session.hear)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(session.publish)
                while not session.heard:
                    await trio.sleep(0.05)
                await trio.sleep(1)
                start = trio.current_time()
                with far.ruled(*RULES[kind]):
                    await trio.sleep(seconds)
                back = trio.current_time()
                await session.settle()
                settled = trio.current_time()
                await trio.sleep(1)
                nursery.cancel_scope.cancel()
            await trio.sleep(1)  # for the last messages to arrive
            end = trio.current_time()
            same = room.local_participant.sid == sid
            ended = session.ended and session.ended - start
        said, _ = await trio.to_thread.run_sync(listener.communicate)
    return {
        "story": session.story,
        "same": same,
        "ended": round(ended, 2),
        "back": round(settled - back, 2),
        "sent": session.sent,
        "got": json.loads(said),
        "unacknowledged": session.unacknowledged,
        "silence": round(session.silence(start, end), 3),
        "lost": sum([lost for at, lost in session.heard if at > start]),
    }


def outages(program: str, kind: str, *lengths: str) -> dict[str, Any]:
    with far_end() as far, OwnServer(program, host=THERE, prefix=far.prefix) as server:
        return {length: trio.run(outage, server, far, kind, float(length)) for length in lengths}


if __name__ == "__main__":
    if sys.argv[1] == "--listen":
        url, key, secret, name = sys.argv[2:]
        trio.run(listen, Server(url, key, secret), name)
    else:
        main(outages)
