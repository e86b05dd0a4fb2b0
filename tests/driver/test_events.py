"""Listening: streams, handlers and waits over a hub of their own, without a room."""

from __future__ import annotations

import gc
from typing import Any

import pytest
import trio

from trio_client import (
    Connected,
    DataReceived,
    Disconnected,
    DisconnectedError,
    DisconnectReason,
    Event,
    ParticipantEvent,
    RoomEvent,
    RoomMetadataChanged,
    SlowConsumer,
)
from trio_client._core import EncryptionType
from trio_client._subscription import BURST, DATA_BYTES, Hub, Listeners

from .running import run


class Place:
    """A hub and the listeners of one room."""

    def __init__(self, nursery: trio.Nursery | None = None) -> None:
        self.nursery = nursery
        self.crashes: list[BaseException] = []
        self.resumed = 0
        self.hub = Hub(self.spawn, self.crashes.append, self.resume)
        self.listeners = Listeners(self.hub, room=True)
        self.emit = self.listeners.emit

    def spawn(self, coroutine: Any, name: str) -> bool:
        if self.nursery is None:
            coroutine.close()
            return False

        async def run() -> None:
            await coroutine

        self.nursery.start_soon(run, name=name)
        return True

    def resume(self) -> None:
        self.resumed += 1

    def events(self, *types: type[Event], capacity: int = 256, overflow: Any = "error") -> Any:
        return self.listeners.subscribe(types, capacity, overflow)


def changed(text: str) -> RoomMetadataChanged:
    return RoomMetadataChanged(text, "")


def data(size: int = 10) -> DataReceived:
    return DataReceived(bytes(size), None, True, "", EncryptionType.NONE, "", "")


def asynchronous(test):
    def wrapped():
        run(test)

    wrapped.__name__ = test.__name__
    return wrapped


# ------------------------------------------------------------------ streams


@asynchronous
async def test_a_stream_begins_when_it_is_made_and_filters():
    place = Place()
    place.emit(changed("before"))
    stream, everything = place.events(RoomMetadataChanged), place.events()
    place.emit(changed("a"))
    place.emit(Connected())
    assert "RoomMetadataChanged" in repr(stream)
    assert (await anext(stream)).metadata == "a"
    assert type(await anext(everything)) is RoomMetadataChanged
    assert type(await anext(everything)) is Connected
    place.listeners.end(DisconnectReason.CLIENT_INITIATED)
    assert [event async for event in stream] == []
    assert "ended" in repr(stream)


@asynchronous
async def test_streams_end_after_what_they_hold():
    place = Place()
    stream = place.events()
    place.emit(changed("a"))
    place.emit(Disconnected(DisconnectReason.ROOM_DELETED))
    place.listeners.end(DisconnectReason.ROOM_DELETED)
    assert [event.name async for event in stream] == ["room_metadata_changed", "disconnected"]
    assert [event async for event in place.events()] == []
    with pytest.raises(DisconnectedError) as caught:
        await place.listeners.wait_for((Connected,), None)
    assert caught.value.reason is DisconnectReason.ROOM_DELETED


@asynchronous
async def test_a_waiting_reader_is_ended():
    place = Place()
    stream = place.events()
    async with trio.open_nursery() as nursery:

        async def read() -> None:
            assert [event async for event in stream] == []

        nursery.start_soon(read)
        nursery.start_soon(read)
        await trio.testing.wait_all_tasks_blocked()
        place.listeners.end(DisconnectReason.UNKNOWN_REASON)


@asynchronous
async def test_two_readers_of_one_stream_share_it():
    place = Place()
    stream = place.events()
    got: list[str] = []
    async with trio.open_nursery() as nursery:

        async def read() -> None:
            async for event in stream:
                got.append(event.metadata)

        nursery.start_soon(read)
        nursery.start_soon(read)
        for i in range(100):
            place.emit(changed(str(i)))
            if i % 7 == 0:
                await trio.sleep(0)
        await trio.testing.wait_all_tasks_blocked()
        place.listeners.end(DisconnectReason.UNKNOWN_REASON)
    assert sorted(got, key=int) == [str(i) for i in range(100)]


@asynchronous
async def test_two_readers_at_the_last_event():
    """One of them is at the end of its burst, and lets others run while it has not taken the event yet."""
    place = Place()
    stream = place.events()
    stream._burst = BURST - 1
    got: list[str] = []
    async with trio.open_nursery() as nursery:

        async def read() -> None:
            async for event in stream:
                got.append(event.metadata)

        place.emit(changed("the only one"))
        nursery.start_soon(read)
        nursery.start_soon(read)
        await trio.testing.wait_all_tasks_blocked()
        place.listeners.end(DisconnectReason.UNKNOWN_REASON)
    assert got == ["the only one"]


@asynchronous
async def test_overflow_is_an_error_after_the_backlog():
    place = Place()
    stream = place.events(capacity=3)
    for i in range(10):
        place.emit(changed(str(i)))
    assert [(await anext(stream)).metadata for _ in range(3)] == ["0", "1", "2"]
    for _ in range(2):
        with pytest.raises(SlowConsumer) as caught:
            await anext(stream)
    assert caught.value.capacity == 3
    assert place.listeners._streams == []


@asynchronous
async def test_overflow_wakes_a_reader_once_it_reads():
    """The default holds 256 events; the 257th is one too many."""
    place = Place()
    stream = place.events()
    for i in range(256):
        place.emit(changed(str(i)))
    assert (await anext(stream)).metadata == "0"
    place.emit(changed("256"))
    place.emit(changed("one too many"))
    rest = []

    async def read() -> None:
        async for event in stream:
            rest.append(event.metadata)

    with pytest.raises(SlowConsumer):
        await read()
    assert rest == [str(i) for i in range(1, 257)]


@asynchronous
async def test_drop_oldest_counts():
    place = Place()
    stream = place.events(capacity=2, overflow="drop_oldest")
    place.emit(changed("0"))
    assert (await anext(stream)).metadata == "0"
    assert stream.missed == 0
    for i in range(1, 6):
        place.emit(changed(str(i)))
    assert (await anext(stream)).metadata == "4"
    assert (stream.missed, stream.dropped) == (3, 3)
    assert (await anext(stream)).metadata == "5"
    assert (stream.missed, stream.dropped) == (0, 3)


@asynchronous
async def test_dropping_spares_data():
    place = Place()
    stream = place.events(capacity=1, overflow="drop_oldest")
    place.emit(data(1))
    place.emit(changed("a"))
    place.emit(data(2))
    place.emit(changed("b"))
    got = [await anext(stream) for _ in range(3)]
    assert [event.name for event in got] == ["data_received", "data_received", "room_metadata_changed"]
    assert stream.dropped == 1


@asynchronous
async def test_closing_a_stream():
    place = Place()
    with place.events() as stream:
        place.emit(changed("a"))
    assert [event async for event in stream] == []
    async with place.events() as stream:
        pass
    await stream.aclose()
    assert place.listeners._streams == []
    place.emit(changed("b"))
    assert [event async for event in stream] == []


@asynchronous
async def test_a_stream_that_nobody_holds_is_forgotten():
    place = Place()
    async with trio.open_nursery() as nursery:

        async def first() -> str:
            async for event in place.events(DataReceived, RoomMetadataChanged):
                return event.metadata
            raise AssertionError

        nursery.start_soon(first)
        await trio.testing.wait_all_tasks_blocked()
        place.emit(changed("a"))
    gc.collect()
    assert place.listeners._streams == []
    assert place.hub.data_streams == []


@asynchronous
async def test_a_burst_lets_others_run():
    place = Place()
    stream = place.events(capacity=1000)
    for i in range(1000):
        place.emit(changed(str(i)))
    turns = 0
    async with trio.open_nursery() as nursery:

        async def other() -> None:
            nonlocal turns
            while True:
                turns += 1
                await trio.lowlevel.checkpoint()

        nursery.start_soon(other)
        for _ in range(1000):
            await anext(stream)
        nursery.cancel_scope.cancel()
    assert turns > 20


@asynchronous
async def test_bad_arguments():
    place = Place()
    with pytest.raises(ValueError, match="at least one"):
        place.events(capacity=0)
    with pytest.raises(ValueError, match="overflow"):
        place.events(overflow="explode")
    with pytest.raises(TypeError, match="event classes"):
        place.events("connected")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="event classes"):
        await place.listeners.wait_for((int,), None)  # type: ignore[type-var]
    with pytest.raises(TypeError, match="callable"):
        place.listeners.on(Connected, 5, once=False)  # type: ignore[type-var]
    for wrong in ("no_such_event", ParticipantEvent.AttributesChanged, "attributes_changed", int, 5):
        with pytest.raises(ValueError, match="not an event of a room"):
            place.listeners.on(wrong, print, once=False)  # type: ignore[arg-type]


# ------------------------------------------------------------------ data


@asynchronous
async def test_unread_data_pauses_reading():
    place = Place()
    stream = place.events(DataReceived)
    other = place.events(Connected)
    while not place.hub.data_paused():
        place.emit(data(100_000))
    assert sum(len(event.payload) for event in stream._queue) >= DATA_BYTES - 100_000
    assert other._queue == type(other._queue)()
    count = len(stream._queue)
    await anext(stream)
    assert place.resumed == 1
    assert not place.hub.data_paused()
    for _ in range(count - 1):
        await anext(stream)
    assert place.resumed == 1
    assert stream._bytes == 0


@asynchronous
async def test_small_data_packets_are_bounded_too():
    place = Place()
    stream = place.events(DataReceived)
    while not place.hub.data_paused():
        place.emit(data(0))
    assert len(stream._queue) <= DATA_BYTES / 200


@asynchronous
async def test_data_does_not_overflow():
    place = Place()
    stream = place.events(capacity=1)
    for _ in range(100):
        place.emit(data())
    place.emit(changed("a"))
    assert len([await anext(stream) for _ in range(101)]) == 101


@asynchronous
async def test_closing_or_losing_a_full_stream_resumes():
    place = Place()
    stream = place.events()
    place.emit(data(DATA_BYTES))
    assert place.hub.data_paused()
    stream.close()
    assert place.resumed == 1
    stream = place.events()
    place.emit(data(DATA_BYTES))
    assert place.hub.data_paused()
    del stream
    gc.collect()
    await trio.testing.wait_all_tasks_blocked()
    assert place.resumed == 2


@asynchronous
async def test_a_full_stream_that_overflows_resumes():
    place = Place()
    stream = place.events(capacity=1)
    place.emit(data(DATA_BYTES))
    assert place.hub.data_paused()
    place.emit(changed("a"))
    place.emit(changed("b"))
    assert place.resumed == 1
    assert len(stream._queue) == 2


@asynchronous
async def test_async_data_handlers_at_work_count():
    async with trio.open_nursery() as nursery:
        place = Place(nursery)
        go = trio.Event()

        async def slow(event: DataReceived) -> None:
            await go.wait()

        place.listeners.on(DataReceived, slow, once=False)
        for _ in range(3):
            assert not place.hub.data_paused()
            place.emit(data(400_000))
        assert place.hub.data_paused()
        go.set()
        await trio.testing.wait_all_tasks_blocked()
        assert place.resumed == 1
        assert place.hub.in_flight == 0
        place.nursery = None
        place.emit(data(400_000))
        assert place.hub.in_flight == 0


# ------------------------------------------------------------------ handlers


@asynchronous
async def test_forms_of_handlers():
    place = Place()
    got: list[Any] = []
    event = RoomMetadataChanged("new", "old")
    place.listeners.on(RoomMetadataChanged, lambda e: got.append(("class", e)), once=False)
    place.listeners.on("room_metadata_changed", lambda *args: got.append(("name", args)), once=False)
    place.listeners.on(RoomEvent.RoomMetadataChanged, lambda *args: got.append(("enum", args)), once=False)
    place.listeners.on(Event, lambda e: got.append(("all", e.name)), once=False)
    place.emit(event)
    assert got == [("class", event), ("name", ("new",)), ("enum", ("new",)), ("all", "room_metadata_changed")]


@asynchronous
async def test_participant_forms():
    place = Place()
    own = Listeners(place.hub, room=False)
    got: list[Any] = []
    own.on(ParticipantEvent.DataReceived, lambda *args: got.append(args), once=False)
    own.on("data_received", lambda *args: got.append(args), once=False)
    event = data()
    own.emit(event)
    assert got == [event.participant_args()] * 2
    with pytest.raises(ValueError, match="not an event of a participant"):
        own.on(RoomEvent.Connected, print, once=False)


@asynchronous
async def test_once_and_off():
    place = Place()
    got: list[str] = []
    one = place.listeners.on(Connected, lambda e: got.append("once"), once=True)
    two = place.listeners.on("connected", lambda: got.append("always"), once=False)
    gone = place.listeners.on(Connected, lambda e: got.append("gone"), once=True)
    place.listeners.off("connected", gone)
    place.emit(Connected())
    place.emit(Connected())
    assert got == ["once", "always", "always"]
    place.listeners.off(Connected, one)
    place.listeners.off(Connected, two)
    place.listeners.off(Disconnected, two)
    place.emit(Connected())
    assert got == ["once", "always", "always"]


@asynchronous
async def test_bound_methods_can_be_removed():
    class Thing:
        got = 0

        def method(self, event: Event) -> None:
            self.got += 1

    place, thing = Place(), Thing()
    place.listeners.on(Connected, thing.method, once=False)
    place.emit(Connected())
    place.listeners.off(Connected, thing.method)
    place.emit(Connected())
    assert thing.got == 1


@asynchronous
async def test_handlers_added_and_removed_while_called():
    place = Place()
    got: list[str] = []

    def first(event: Event) -> None:
        got.append("first")
        place.listeners.off(Connected, first)
        place.listeners.on(Connected, lambda e: got.append("later"), once=False)

    place.listeners.on(Connected, first, once=False)
    place.emit(Connected())
    assert got == ["first"]
    place.emit(Connected())
    assert got == ["first", "later"]


@asynchronous
async def test_handlers_that_come_after_the_first_event():
    place = Place()
    got: list[Any] = []
    place.emit(Connected())
    place.listeners.on(Connected, got.append, once=False)
    place.emit(Connected())
    place.listeners.on(Event, got.append, once=False)
    place.emit(Connected())
    assert got == [Connected()] * 3


@asynchronous
async def test_errors_of_handlers_crash_and_others_still_run():
    place = Place()
    got: list[str] = []

    def bad(event: Event) -> None:
        raise KeyError("bad")

    def worse(event: Event) -> None:
        raise KeyboardInterrupt

    place.listeners.on(Connected, bad, once=False)
    place.listeners.on(Connected, worse, once=False)
    place.listeners.on(Connected, lambda e: got.append("good"), once=False)
    place.emit(Connected())
    assert [type(error) for error in place.crashes] == [KeyError, KeyboardInterrupt]
    assert got == ["good"]


@asynchronous
async def test_async_handlers():
    async with trio.open_nursery() as nursery:
        place = Place(nursery)
        got: list[Any] = []

        async def handler(metadata: str) -> None:
            await trio.sleep(1)
            got.append(metadata)

        place.listeners.on("room_metadata_changed", handler, once=False)
        place.listeners.on("room_metadata_changed", lambda metadata: handler(metadata + "!"), once=False)
        place.listeners.on("connected", lambda: 5, once=False)
        place.emit(changed("a"))
        place.emit(Connected())
        assert got == []
    assert sorted(got) == ["a", "a!"]
    assert place.crashes == []


@asynchronous
async def test_a_handler_for_another_loop_crashes():
    class Future:
        def __await__(self) -> Any:
            raise AssertionError

    place = Place()
    place.listeners.on(Connected, lambda e: Future(), once=False)
    place.emit(Connected())
    assert isinstance(place.crashes[0], TypeError)


# ------------------------------------------------------------------ one-shot waits


@asynchronous
async def test_wait_for():
    place = Place()
    async with trio.open_nursery() as nursery:
        results: list[Any] = []

        async def wait(where: Any) -> None:
            try:
                results.append(await place.listeners.wait_for((RoomMetadataChanged,), where))
            except (DisconnectedError, ZeroDivisionError) as error:
                results.append(type(error))

        nursery.start_soon(wait, None)
        nursery.start_soon(wait, lambda e: e.metadata == "b")
        nursery.start_soon(wait, lambda e: 1 / 0)
        nursery.start_soon(wait, lambda e: False)
        await trio.testing.wait_all_tasks_blocked()
        assert place.emit(data())
        place.emit(Connected())
        place.emit(changed("a"))
        place.emit(changed("b"))
        await trio.testing.wait_all_tasks_blocked()
        assert len(results) == 3
        place.listeners.end(DisconnectReason.SERVER_SHUTDOWN)
    assert ZeroDivisionError in results
    assert DisconnectedError in results
    assert sorted(result.metadata for result in results if isinstance(result, Event)) == ["a", "b"]
    assert place.listeners._waiters == []


@asynchronous
async def test_who_wants_data():
    place = Place()
    assert not place.emit(data())
    place.listeners.on(Connected, print, once=False)
    assert not place.emit(data())
    handler = place.listeners.on(DataReceived, print, once=False)
    assert place.emit(data())
    place.listeners.off(DataReceived, handler)
    assert not place.emit(data())
    with place.events(Connected):
        assert not place.emit(data())
    with place.events(DataReceived):
        assert place.emit(data())
