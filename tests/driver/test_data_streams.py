"""Streams of text and bytes between two clients, over the simulated network."""

from __future__ import annotations

import gc
import os
import random
from functools import partial

import pytest
import trio

from sansio.base import limits
from trio_client import (
    DisconnectedError,
    DisconnectReason,
    LocalProtocolError,
    Scenario,
    StreamError,
    StreamFailure,
    TextStreamReader,
)

from .running import run
from .simnet import sim_net
from .sweep import Cut, sweep


def noise(size, seed=1):
    return random.Random(seed).randbytes(size)


class Collector:
    """Handlers of both kinds that read everything."""

    def __init__(self, room, topic="t"):
        self.done = []
        self.failed = []
        room.register_text_stream_handler(topic, self.read)
        room.register_byte_stream_handler(topic, self.read)

    async def read(self, reader, identity):
        pieces = []
        try:
            async for piece in reader:
                assert piece
                pieces.append(piece)
        except StreamError as error:
            self.failed.append((pieces, error))
            raise
        empty = "" if isinstance(reader, TextStreamReader) else b""
        self.done.append((identity, reader.info, empty.join(pieces)))

    async def wait(self, count):
        while len(self.done) + len(self.failed) < count:
            await trio.sleep(0.05)


def test_texts_and_bytes_both_whole_and_in_pieces():
    async def main():
        async with sim_net() as net, net.connect("alice") as alice, net.connect("bob") as bob:
            inbox = Collector(bob)
            me = alice.local_participant
            info = await me.send_text("hello", topic="t", attributes={"k": "v"}, reply_to_id="r", attachments=["a"])
            assert info.size == 5
            await me.send_text("ä€" * 20_000, topic="t")
            data = noise(100_000)
            await me.send_bytes(data, topic="t", name="n", mime_type="m/m")
            async with me.stream_text(topic="t", total_size=7) as writer:
                assert writer.info.topic == "t"
                await writer.write("one ")
                await writer.write("two")
                assert "7 bytes" in repr(writer)
            writer = await me.stream_bytes("f.bin", topic="t", destination_identities=["bob"])
            await writer.write(memoryview(b"abc"))
            await writer.aclose(attributes={"end": "yes"})
            await writer.aclose()
            await inbox.wait(5)
            contents = [content for _, _, content in sorted(inbox.done, key=lambda entry: len(entry[2]))]
            assert contents == [b"abc", "hello", "one two", "ä€" * 20_000, data]
            assert {identity for identity, _, _ in inbox.done} == {"alice"}
            infos = {info.stream_id: info for _, info, _ in inbox.done}
            first = infos[info.stream_id]
            assert (first.size, first.attributes, first.reply_to_id, first.attachments) == (5, {"k": "v"}, "r", ("a",))
            last = infos[writer.info.stream_id]
            assert (last.name, last.attributes, last.size) == ("f.bin", {"end": "yes"}, None)

    run(main)


def test_files(tmp_path):
    async def main():
        async with sim_net() as net, net.connect("alice") as alice, net.connect("bob") as bob:
            inbox = Collector(bob)
            progress = []
            for name, content in (("small.txt", b"x" * 100), ("empty.png", b""), ("large.bin", noise(600_000))):
                (tmp_path / name).write_bytes(content)
                info = await alice.local_participant.send_file(tmp_path / name, topic="t", on_progress=progress.append)
                assert (info.name, info.size) == (name, len(content))
                await inbox.wait(1)
                assert inbox.done.pop()[2] == content
                assert progress[-1] == 1.0
                assert progress == sorted(progress)
                progress.clear()
            (tmp_path / "zeros").write_bytes(bytes(2_000_000))
            before = alice.stats().bytes_sent
            await alice.local_participant.send_file(tmp_path / "zeros", topic="t")
            assert alice.stats().bytes_sent - before < 100_000
            info = await alice.local_participant.send_file(
                os.fspath(tmp_path / "large.bin"), topic="t", name="other", mime_type="a/b", compress=False
            )
            assert (info.name, info.mime_type) == ("other", "a/b")
            with pytest.raises(FileNotFoundError):
                await alice.local_participant.send_file(tmp_path / "nothing", topic="t")

    run(main)


def test_lists_of_streams():
    async def main():
        async with sim_net() as net, net.connect("alice") as alice, net.connect("bob") as bob:
            me = alice.local_participant
            got = []

            async def texts():
                async for reader in bob.text_streams("t"):
                    got.append(await reader.read_all())

            async def files():
                async with bob.byte_streams("t") as readers:
                    async for reader in readers:
                        async with reader:
                            got.append(await reader.read_all())
                            assert reader.participant_identity == "alice"
                            assert "'t' from 'alice'" in repr(reader)
                        break

            async with trio.open_nursery() as nursery:
                nursery.start_soon(texts)
                nursery.start_soon(files)
                await trio.testing.wait_all_tasks_blocked()
                with pytest.raises(ValueError, match="handler of text streams already"):
                    bob.text_streams("t")
                for text in ("one", "two"):
                    await me.send_text(text, topic="t")
                await me.send_bytes(b"three", topic="t")
                await me.send_bytes(b"nobody", topic="t")
                await trio.sleep(1)
                assert sorted(got, key=str) == [b"three", "one", "two"]
                bob.byte_streams("t").close()
                await bob.disconnect()
            with bob.text_streams("u") as none:
                assert [reader async for reader in none] == []

    run(main)


def test_several_tasks_take_from_one_list():
    async def main():
        async with sim_net() as net, net.connect("alice") as alice, net.connect("bob") as bob:
            got = []

            async def take(readers):
                async for reader in readers:
                    got.append(await reader.read_all())

            async with trio.open_nursery() as nursery:
                readers = bob.text_streams("t")
                nursery.start_soon(take, readers)
                nursery.start_soon(take, readers)
                await trio.testing.wait_all_tasks_blocked()
                for text in ("one", "two", "three"):
                    await alice.local_participant.send_text(text, topic="t")
                await trio.sleep(1)
                await bob.disconnect()
            assert sorted(got) == ["one", "three", "two"]

    run(main)


def test_a_list_that_was_closed_leaves_its_successor_alone():
    async def main():
        async with sim_net() as net, net.connect("alice") as alice, net.connect("bob") as bob:
            readers = bob.text_streams("t")
            readers.close()
            inbox = Collector(bob)
            readers.close()
            del readers
            gc.collect()
            await alice.local_participant.send_text("for the handler", topic="t")
            await inbox.wait(1)

    run(main)


def test_a_list_that_is_forgotten_makes_room_for_another():
    async def main():
        async with sim_net() as net, net.connect("alice") as alice, net.connect("bob") as bob:
            readers = bob.text_streams("t")
            await alice.local_participant.send_text("unread", topic="t")
            await trio.sleep(1)
            assert bob.stats().core["streams"]["unread"] > 0
            del readers
            gc.collect()
            await trio.sleep(1)
            with bob.text_streams("t"):
                assert bob.stats().core["streams"]["unread"] == 0

    run(main)


def test_misuse():
    async def main():
        async with sim_net() as net, net.connect("alice") as alice:
            me = alice.local_participant
            with pytest.raises(TypeError, match="callable"):
                alice.register_text_stream_handler("t", None)
            alice.register_text_stream_handler("t", print)
            with pytest.raises(ValueError, match="handler of text"):
                alice.register_text_stream_handler("t", print)
            alice.register_byte_stream_handler("t", print)
            alice.unregister_text_stream_handler("t")
            alice.unregister_byte_stream_handler("t")
            alice.unregister_byte_stream_handler("t")
            alice.register_text_stream_handler("t", print)
            with pytest.raises(LocalProtocolError, match="one string"):
                await me.send_text("x", destination_identities="bob")
            with pytest.raises(LocalProtocolError, match="takes str"):
                await me.send_text(b"x")
            with pytest.raises(LocalProtocolError, match="more than the 15000"):
                async with me.stream_bytes(attributes={"k": "v" * 15_000}):
                    raise AssertionError
            with pytest.raises(LocalProtocolError, match="announced with 5 bytes"):
                async with me.stream_bytes(total_size=5) as writer:
                    await writer.write(b"123")
            with pytest.raises(LocalProtocolError, match="closed"):
                await writer.write(b"45")

    run(main)


def test_how_a_sender_gives_up():
    async def main():
        async with sim_net() as net, net.connect("alice") as alice, net.connect("bob") as bob:
            inbox = Collector(bob)
            me = alice.local_participant

            async def fail():
                async with me.stream_text(topic="t") as writer:
                    await writer.write("before")
                    raise KeyError("a secret of ours")

            with pytest.raises(KeyError):
                await fail()
            writer = await me.stream_text(topic="t")
            await writer.aclose(reason="no more")
            with trio.CancelScope() as scope:
                async with me.stream_text(topic="t"):
                    scope.cancel()
                    await trio.sleep(1)
            writer = await me.stream_text(topic="t")
            del writer
            gc.collect()
            await inbox.wait(4)
            assert not inbox.done
            assert {error.failure for _, error in inbox.failed} == {StreamFailure.ABORTED}
            assert {error.detail: pieces for pieces, error in inbox.failed} == {
                "the sender failed: KeyError": ["before"],
                "no more": [],
                "cancelled": [],
                "abandoned": [],
            }
            await bob.local_participant.set_name("bob is still there")
            assert bob._session.counters["stream_handler_failed"] == 4

    run(main)


def test_a_stream_that_fails_in_a_nursery_of_its_handler():
    async def main():
        async with sim_net() as net, net.connect("alice") as alice, net.connect("bob") as bob:

            async def in_tasks(reader, identity):
                async with trio.open_nursery() as nursery:
                    for _ in range(2):
                        nursery.start_soon(reader.read_all)

            bob.register_text_stream_handler("t", in_tasks)
            writer = await alice.local_participant.stream_text(topic="t")
            await trio.sleep(1)
            await writer.aclose(reason="no more")
            await trio.sleep(1)
            assert bob._session.counters["stream_handler_failed"] == 1
            await bob.local_participant.set_name("bob is still there")

    run(main)


def test_cancelled_just_before_the_block_ends():
    """The readers are told, also while the writer is held on to."""

    async def main():
        async with sim_net() as net, net.connect("alice") as alice, net.connect("bob") as bob:
            inbox = Collector(bob)
            with trio.CancelScope() as scope:
                async with alice.local_participant.stream_text(topic="t") as writer:
                    await writer.write("one")
                    scope.cancel()
            assert scope.cancelled_caught
            await inbox.wait(1)
            assert [(pieces, error.detail) for pieces, error in inbox.failed] == [(["one"], "cancelled")]
            assert writer.info.topic == "t"

    run(main)


def test_giving_up_against_a_full_budget():
    async def main():
        async with sim_net() as net, net.connect("alice") as alice, net.connect("bob") as bob:
            inbox = Collector(bob)
            await trio.sleep(1)
            net.loss = lambda data: True
            with trio.move_on_after(1):
                await alice.local_participant.send_bytes(noise(5_000_000), topic="t")
            assert not alice._session.engine.streams_out.open
            net.loss = lambda data: False
            await inbox.wait(1)
            (pieces, error) = inbox.failed[0]
            assert (error.failure, error.detail) == (StreamFailure.ABORTED, "cancelled")
            assert 100_000 < sum(map(len, pieces)) < 2_000_000

    run(main)


def test_other_exceptions_of_a_handler_end_the_room():
    async def failing(handler):
        async with sim_net() as net, net.connect("alice") as alice, net.connect("bob") as bob:
            bob.register_text_stream_handler("t", handler)
            await alice.local_participant.send_text("x", topic="t")
            await trio.sleep(5)

    async def asynchronous(reader, identity):
        raise KeyError

    def synchronous(reader, identity):
        raise KeyError

    async def not_its_own(reader, identity):
        raise StreamError(StreamFailure.GAP)

    async def not_yet(reader, identity):
        raise DisconnectedError(DisconnectReason.ROOM_CLOSED)

    for handler, error in (
        (asynchronous, KeyError),
        (synchronous, KeyError),
        (lambda *args: _Awaitable(), TypeError),
        (not_its_own, StreamError),
        (not_yet, DisconnectedError),
    ):
        with pytest.raises(BaseException) as caught:  # a group of the network's, or what left it
            run(partial(failing, handler))
        assert [type(leaf) for leaf in leaves(caught.value)] == [error]


def leaves(error):
    """The exceptions in a group, or the one that is none."""
    if isinstance(error, BaseExceptionGroup):
        return [leaf for inner in error.exceptions for leaf in leaves(inner)]
    return [error]


class _Awaitable:
    def __await__(self):
        yield


def test_a_sync_handler_may_pass_the_reader_on():
    async def main():
        async with sim_net() as net, net.connect("alice") as alice, net.connect("bob") as bob:
            kept = []
            bob.register_text_stream_handler("t", lambda reader, identity: kept.append(reader))
            async with alice.local_participant.stream_text(topic="t") as writer:
                await writer.write("one ")
                await trio.sleep(1)
                bob.unregister_text_stream_handler("t")
                reader = kept.pop()
                assert await anext(reader) == "one "
                await writer.write("two")
            assert await reader.read_all() == "two"
            assert await reader.read_all() == "two"
            with pytest.raises(LocalProtocolError, match="as a whole"):
                await anext(reader)

    run(main)


def test_a_forgotten_reader_holds_nothing():
    async def main():
        async with sim_net() as net, net.connect("alice") as alice, net.connect("bob") as bob:
            bob.register_byte_stream_handler("t", lambda reader, identity: None)
            await alice.local_participant.send_bytes(noise(3_000_000), topic="t")
            await trio.sleep(2)
            core = bob.stats().core["streams"]
            assert (core["streams"], core["unread"]) == (0, 0)

    run(main)


def test_a_closed_reader_ends():
    async def main():
        async with sim_net() as net, net.connect("alice") as alice, net.connect("bob") as bob:
            kept = []
            bob.register_text_stream_handler("t", lambda reader, identity: kept.append(reader))
            async with alice.local_participant.stream_text(topic="t") as writer:
                await writer.write("one")
                await trio.sleep(1)
                await kept[0].aclose()
                assert [piece async for piece in kept[0]] == []

    run(main)


def test_a_reader_that_does_not_read_holds_up_its_sender_and_then_loses_its_stream():
    async def main():
        async with sim_net() as net, net.connect("alice") as alice, net.connect("bob") as bob:
            kept = []
            bob.register_byte_stream_handler("t", lambda reader, identity: kept.append(reader))
            inbox = Collector(bob, "other")
            alice.start_soon(partial(alice.local_participant.send_bytes, noise(8_000_000), topic="t"))
            await trio.sleep(2)
            await alice.local_participant.send_text("waits", topic="other")
            assert bob.stats().core["streams"]["unread"] < 6_000_000
            await trio.sleep(limits.STREAM_STALL + 8)
            with pytest.raises(StreamError) as caught:
                await kept[0].read_all()
            assert caught.value.failure is StreamFailure.OVERFLOW
            await inbox.wait(1)
            assert inbox.done

    run(main)


def test_a_slow_reader_gets_everything():
    async def main():
        async with sim_net() as net, net.connect("alice") as alice, net.connect("bob") as bob:
            data = noise(6_000_000)
            got = []

            async def slowly(reader, identity):
                async for piece in reader:
                    got.append(piece)
                    await trio.sleep(0.05)

            bob.register_byte_stream_handler("t", slowly)
            await alice.local_participant.send_bytes(data, topic="t")
            while sum(map(len, got)) < len(data):
                await trio.sleep(1)
                assert bob.stats().core["streams"]["unread"] < 6_000_000
            assert b"".join(got) == data

    run(main)


def test_what_is_too_large_for_us():
    async def main():
        async with sim_net() as net, net.connect("alice") as alice, net.connect("bob", max_stream_bytes=1000) as bob:
            inbox = Collector(bob)
            await alice.local_participant.send_bytes(bytes(1001), topic="t")
            async with alice.local_participant.stream_bytes(topic="t") as writer:
                await writer.write(bytes(900))
                await writer.write(bytes(900))
            await inbox.wait(2)
            assert [error.failure for _, error in inbox.failed] == [StreamFailure.TOO_LARGE] * 2

    run(main)


def test_the_sender_leaves_in_the_middle():
    async def main():
        async with sim_net() as net, net.connect("bob") as bob:
            inbox = Collector(bob)
            async with net.connect("alice") as alice:
                writer = await alice.local_participant.stream_text(topic="t")
                await writer.write("half")
                await alice.local_participant.send_text("x" * 50_000, topic="t")
            await inbox.wait(2)
            assert inbox.done[0][2] == "x" * 50_000
            assert [(pieces, error.failure) for pieces, error in inbox.failed] == [
                (["half"], StreamFailure.SENDER_LEFT)
            ]

    run(main)


def test_our_room_ends_in_the_middle():
    async def main():
        async with sim_net() as net, net.connect("alice") as alice, net.connect("bob") as bob:
            kept = []
            bob.register_text_stream_handler("t", lambda reader, identity: kept.append(reader))
            Collector(bob, "u")
            writers = [await alice.local_participant.stream_text(topic=topic) for topic in ("t", "t", "u")]
            for writer in writers:
                await writer.write("half")
            await trio.sleep(1)
            ends = []

            async def whole():
                with pytest.raises(DisconnectedError):
                    await kept[1].read_all()
                ends.append(True)

            async with trio.open_nursery() as nursery:
                nursery.start_soon(whole)
                await trio.sleep(1)
                await bob.disconnect()
                assert await anext(kept[0]) == "half"
                with pytest.raises(DisconnectedError):
                    await anext(kept[0])
            assert ends
            with pytest.raises(DisconnectedError):
                await bob.local_participant.send_text("x")

    run(main)


@pytest.mark.parametrize(("scenario", "whole"), [(Scenario.SIGNAL_RECONNECT, True), (Scenario.FULL_RECONNECT, False)])
def test_reconnecting_in_the_middle(scenario, whole):
    async def main():
        async with sim_net() as net, net.connect("alice") as alice, net.connect("bob") as bob:
            inbox = Collector(bob)
            writer = await alice.local_participant.stream_text(topic="t")
            await writer.write("before ")
            await trio.sleep(1)
            await alice.simulate(scenario)
            await trio.sleep(5)
            if whole:
                await writer.write("after")
                await writer.aclose()
                await inbox.wait(1)
                assert inbox.done[0][2] == "before after"
            else:
                with pytest.raises(StreamError, match="made anew"):
                    await writer.write("after")
                await inbox.wait(1)
                assert inbox.failed[0][1].failure is StreamFailure.SENDER_LEFT
                await alice.local_participant.send_text("again", topic="t")
                await inbox.wait(2)
            writer = await alice.local_participant.stream_text(topic="t")
            await writer.write("before ")
            await trio.sleep(1)
            await bob.simulate(scenario)
            await trio.sleep(5)
            await writer.write("after")
            await writer.aclose()
            await trio.sleep(1)
            if whole:
                assert inbox.done[-1][2] == "before after"
            else:
                assert inbox.failed[-1][1].failure is StreamFailure.RECONNECTED

    run(main)


def test_a_writer_that_waits_in_line_while_the_session_is_joined_anew():
    async def main():
        async with sim_net() as net, net.connect("alice") as alice, net.connect("bob"):
            await trio.sleep(1)
            net.loss = lambda data: True

            async def write():
                with pytest.raises(StreamError) as caught:
                    await alice.local_participant.send_bytes(noise(3_000_000), topic="t")
                assert caught.value.failure is StreamFailure.RECONNECTED

            async with trio.open_nursery() as nursery:
                nursery.start_soon(write)
                await trio.sleep(1)
                await alice.simulate(Scenario.FULL_RECONNECT)
                net.loss = lambda data: False
                before = alice.stats().bytes_sent
            await trio.sleep(1)
            assert alice.stats().bytes_sent - before < 100_000, "the rest went out all the same"

    run(main)


def test_many_writers_take_turns():
    async def main():
        async with sim_net() as net, net.connect("alice") as alice, net.connect("bob") as bob:
            arrived = []

            async def read(reader, identity):
                async for piece in reader:
                    arrived.append(reader.info.name)
                    assert piece[:2] == reader.info.name.encode()

            bob.register_byte_stream_handler("t", read)
            async with trio.open_nursery() as nursery:
                for name in ("aa", "bb", "cc"):
                    data = (name.encode() + bytes(14_998)) * 80
                    nursery.start_soon(
                        partial(alice.local_participant.send_bytes, data, topic="t", name=name, compress=False)
                    )
            await trio.sleep(5)
            assert len(arrived) == 240
            middle = arrived[120:210]
            assert all(25 <= middle.count(name) <= 35 for name in ("aa", "bb", "cc"))

    run(main)


# ------------------------------------------------------------------ cancellation


def test_cancelling_a_writer_at_every_checkpoint():
    async def scenario(cut: Cut) -> None:
        async with sim_net() as net, net.connect("alice") as alice, net.connect("bob") as bob:
            inbox = Collector(bob)
            data = noise(2_000_000)

            async def write() -> None:
                async with alice.local_participant.stream_bytes(topic="t", total_size=len(data)) as writer:
                    await writer.write(data)

            await cut(write)
            assert not alice._session.engine.streams_out.open
            await trio.sleep(3)
            if cut.cancelled:
                assert not inbox.done
                assert [error.failure for _, error in inbox.failed] in ([], [StreamFailure.ABORTED])
            else:
                assert inbox.done[0][2] == data
            assert bob.stats().core["streams"]["streams"] == 0
            await alice.local_participant.send_text("still works", topic="t")
            await trio.sleep(1)
            assert inbox.done[-1][2] == "still works"

    assert sweep(scenario, step=2) > 10


def test_cancelling_a_whole_one_at_every_checkpoint():
    async def scenario(cut: Cut) -> None:
        async with sim_net() as net, net.connect("alice") as alice, net.connect("bob") as bob:
            inbox = Collector(bob)
            await cut(partial(alice.local_participant.send_text, "x" * 1_500_000, topic="t", compress=False))
            assert not alice._session.engine.streams_out.open
            await trio.sleep(3)
            assert len(inbox.done) + len(inbox.failed) <= 1
            assert bob.stats().core["streams"]["streams"] == 0
            if not cut.cancelled:
                assert inbox.done

    assert sweep(scenario) >= 4


@pytest.mark.parametrize("whole", [True, False])
def test_cancelling_a_reader_at_every_checkpoint(whole):
    async def scenario(cut: Cut) -> None:
        async with sim_net() as net, net.connect("alice") as alice, net.connect("bob") as bob:
            got = []

            async def read() -> None:
                async for reader in bob.text_streams("t"):
                    if whole:
                        got.append(await reader.read_all())
                    else:
                        async for piece in reader:
                            got.append(piece)
                    break

            async def write() -> None:
                await trio.sleep(0.1)
                async with alice.local_participant.stream_text(topic="t") as writer:
                    for text in ("one ", "two ", "three"):
                        await writer.write(text)
                        await trio.sleep(0.1)

            alice.start_soon(write)
            await cut(read)
            gc.collect()
            await trio.sleep(2)
            core = bob.stats().core["streams"]
            assert (core["streams"], core["unread"]) == (0, 0)
            assert "one two three".startswith("".join(got))
            if not cut.cancelled:
                assert "".join(got) == "one two three"
            bob.text_streams("t").close()

    assert sweep(scenario) >= 3
