"""Streams of text and bytes with LiveKit's own clients, through the real server."""

from __future__ import annotations

import hashlib
import random
from typing import Any

import trio

from trio_client import Reconnected, Room, Scenario, StreamError, StreamFailure, TextStreamReader

from .native_peer import pattern
from .ours import MODES, joined, run

SIZE = 5_000_000

LONG = "".join(random.Random(1).choices("abcdefgäöü€😀0123456789", k=40_000))
TEXTS = {"short": "hello", "empty": "", "same": "all the same " * 5000, "long": LONG}


def sha(data: str | bytes) -> str:
    return hashlib.sha256(data.encode() if isinstance(data, str) else data).hexdigest()


class Inbox:
    """Reads every stream of a topic."""

    def __init__(self, room: Room, topic: str) -> None:
        self.done: list[dict[str, Any]] = []
        self._news = trio.Event()
        room.register_text_stream_handler(topic, self.drain)
        room.register_byte_stream_handler(topic, self.drain)

    async def drain(self, reader: Any, identity: str) -> None:
        found, error = [], None
        try:
            async for piece in reader:
                found.append(piece)
        except StreamError as failure:
            error = failure
        whole: Any = ("" if isinstance(reader, TextStreamReader) else b"").join(found)
        self.done.append({"identity": identity, "info": reader.info, "whole": whole, "error": error})
        self._news.set()

    async def next(self, count: int = 1) -> Any:
        while len(self.done) < count:
            self._news = trio.Event()
            await self._news.wait()
        found, self.done = self.done[:count], self.done[count:]
        return found[0] if count == 1 else found


async def known(room: Room, identity: str = "them") -> Any:
    """Wait until a participant is known with all that it says of itself."""
    await room.wait_until(lambda: identity in room.remote_participants)
    return room.remote_participants[identity]


@MODES
def test_texts_both_ways(server, room, other, single):
    peer = other("them")
    peer.call("hear_streams", topic="t")

    async def scenario() -> None:
        async with joined(server, room, single=single) as ours:
            inbox = Inbox(ours, "t")
            me = ours.local_participant
            assert (await known(ours)).client_protocol >= 2
            await peer.await_("participant_connected")
            for text in TEXTS.values():
                for to in ([], ["them"]):
                    await me.send_text(text, topic="t", attributes={"k": "v"}, destination_identities=to)
                    got = await peer.await_("stream")
                    assert (got["identity"], got["error"], got["sha"]) == ("ours", None, sha(text))
                    assert (got["info"]["attributes"], got["info"].get("size", 0)) == ({"k": "v"}, len(text.encode()))
                    assert got["info"]["mime_type"] == "text/plain"
                    await peer.acall("send_text", text=text, topic="t", attributes={"k": "v"}, to=to and ["ours"])
                    found = await inbox.next()
                    assert (found["identity"], found["error"], found["whole"]) == ("them", None, text)
                    assert (found["info"].attributes, found["info"].size) == ({"k": "v"}, len(text.encode()))
            parts = ["one ", "zwei ", "äöü ", "😀" * 9000]
            async with me.stream_text(topic="t") as writer:
                for part in parts:
                    await writer.write(part)
            got = await peer.await_("stream")
            assert (got["error"], got["sha"]) == (None, sha("".join(parts)))
            await peer.acall("stream_text", parts=parts, topic="t")
            found = await inbox.next()
            assert (found["error"], found["whole"], found["info"].size) == (None, "".join(parts), None)

    run(scenario)


def test_five_megabytes_both_ways(server, room, other):
    peer = other("them")
    peer.call("hear_streams", topic="t")

    async def scenario() -> None:
        async with joined(server, room) as ours:
            inbox = Inbox(ours, "t")
            await peer.await_("participant_connected")
            data = pattern(SIZE)
            await ours.local_participant.send_bytes(data, topic="t", name="five.bin", mime_type="a/b")
            got = await peer.await_("stream", timeout=30)
            assert (got["size"], got["sha"], got["error"]) == (SIZE, sha(data), None)
            assert (got["info"]["name"], got["info"]["mime_type"]) == ("five.bin", "a/b")
            await peer.acall("send_bytes", size=SIZE, topic="t", name="back.bin", chunk=1_000_000, timeout=30)
            found = await inbox.next()
            assert (found["whole"] == data, found["error"]) == (True, None)
            assert (found["info"].name, found["info"].size) == ("back.bin", SIZE)

    run(scenario, 90)


def test_small_and_compressible_bytes_both_ways(server, room, native, tmp_path):
    peer = native("them")
    peer.call("hear_streams", topic="t")

    async def scenario() -> None:
        async with joined(server, room) as ours:
            inbox = Inbox(ours, "t")
            await known(ours)
            await peer.await_("participant_connected")
            for data in (b"", b"abc", bytes(300_000), pattern(600_000).hex().encode()):
                await ours.local_participant.send_bytes(data, topic="t", name="n")
                got = await peer.await_("stream")
                assert (got["sha"], got["error"]) == (sha(data), None)
                (tmp_path / "file.txt").write_bytes(data)
                await ours.local_participant.send_file(tmp_path / "file.txt", topic="t")
                got = await peer.await_("stream")
                assert (got["sha"], got["error"], got["info"]["name"]) == (sha(data), None, "file.txt")
            for size in (0, 3, 10_000, 40_000):
                await peer.acall("send_bytes", size=size, topic="t", name="n")
                found = await inbox.next()
                assert (found["whole"], found["error"]) == (pattern(size), None)

    run(scenario)


def test_who_gives_up_tells_why(server, room, other):
    peer = other("them")
    peer.call("hear_streams", topic="t")

    async def scenario() -> None:
        async with joined(server, room) as ours:
            await peer.await_("participant_connected")
            with trio.CancelScope() as scope:
                async with ours.local_participant.stream_text(topic="t") as writer:
                    await writer.write("half")
                    scope.cancel()
                    await trio.sleep(1)
            got = await peer.await_("stream")
            assert got["size"] == 4
            assert "cancelled" in got["error"]

    run(scenario)


def test_the_others_give_up_or_leave(server, room, native):
    peer = native("them")

    async def scenario() -> None:
        async with joined(server, room) as ours:
            inbox = Inbox(ours, "t")
            await peer.await_("participant_connected")
            await peer.acall("stream_text", parts=["half"], topic="t", reason="no more")
            found = await inbox.next()
            assert (found["whole"], found["error"].failure, found["error"].detail) == (
                "half",
                StreamFailure.ABORTED,
                "no more",
            )
            assert found["info"].attributes == {"end": "yes"}
            await peer.acall("stream_text", parts=["half"], topic="t", reason=None)
            await peer.acall("leave")
            found = await inbox.next()
            assert (found["whole"], found["error"].failure) in [
                ("half", StreamFailure.SENDER_LEFT),
                ("half", StreamFailure.ABORTED),
            ]

    run(scenario)


@MODES
def test_a_resume_in_the_middle(server, room, native, single):
    peer = native("them")
    peer.call("hear_streams", topic="t")

    async def scenario() -> None:
        async with joined(server, room, single=single) as ours:
            inbox = Inbox(ours, "t")
            await peer.await_("participant_connected")
            data = pattern(2_000_000)
            async with ours.local_participant.stream_bytes("n", topic="t", total_size=len(data)) as writer:
                await writer.write(data[:700_000])
                async with ours.events(Reconnected) as events:
                    await ours.simulate(Scenario.SIGNAL_RECONNECT)
                    await writer.write(data[700_000:1_400_000])
                    assert (await anext(events)).resumed
                await writer.write(data[1_400_000:])
            got = await peer.await_("stream", timeout=20)
            assert (got["sha"], got["error"]) == (sha(data), None)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(lambda: peer.acall("send_bytes", size=5_000_000, topic="t", name="n", timeout=30))
                await ours.simulate(Scenario.SIGNAL_RECONNECT)
            found = await inbox.next()
            assert (found["whole"] == pattern(5_000_000), found["error"]) == (True, None)

    run(scenario, 60)
