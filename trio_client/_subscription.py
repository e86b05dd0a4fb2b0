"""Listening to events: bounded streams, callbacks, and one-shot waits.

A ``Listeners`` belongs to a room or to one participant. It knows three kinds of listeners for the event types they
asked for: subscriptions (streams), handlers (callbacks) and waiters. Delivery is synchronous; nothing in it waits.
"""

from __future__ import annotations

import inspect
import weakref
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from enum import Enum
from typing import TYPE_CHECKING, Any, Generic, Literal, Self, TypeVar

import trio

from ._closing import Closing
from ._collected import run_soon
from ._core import DisconnectReason, Event, PacketReceived, ParticipantEvent, RoomEvent, events
from ._errors import DisconnectedError, SlowConsumer

if TYPE_CHECKING:
    from collections.abc import Coroutine

E = TypeVar("E", bound=Event)
H = TypeVar("H", bound=Callable[..., Any])
Handler = Callable[..., Any]
EventKey = RoomEvent | ParticipantEvent | str | type[Event]
Overflow = Literal["error", "drop_oldest"]

CAPACITY = 256
"""Events that a stream holds unread, unless told otherwise."""
DATA_BYTES = 1 << 20
"""Bytes of data packets that one stream, or all async data handlers together, may hold before reading pauses."""
DATA_OVERHEAD = 256
"""What a data packet counts for beside its payload, so that small ones are bounded too."""
BURST = 32
"""Events that a stream hands out between two full checkpoints."""


def data_cost(event: PacketReceived) -> int:
    """What an unread data packet counts for."""
    return event.size + DATA_OVERHEAD


class Subscription(Closing, Generic[E]):
    """A stream of events from ``events()``: an async iterator, and a context manager that ends it.

    It begins with the call that made it, not with the first read. It ends after Disconnected, or when it is closed.
    Data packets do not count towards ``capacity``: a stream that holds a mebibyte of them unread stops the room from
    reading more, which makes the senders wait. A stream that nobody refers to any more is forgotten.

    ``missed`` tells how many events were dropped right before the one that was read last (with
    ``overflow="drop_oldest"``), ``dropped`` how many in all.
    """

    __slots__ = (
        "capacity",
        "overflow",
        "missed",
        "dropped",
        "_listeners",
        "types",
        "_queue",
        "_events",
        "_bytes",
        "_gap",
        "_wake",
        "_ended",
        "_overflowed",
        "_burst",
        "__weakref__",
    )

    def __init__(self, listeners: Listeners, types: tuple[type[Event], ...], capacity: int, overflow: Overflow) -> None:
        if capacity < 1:
            raise ValueError("a stream holds at least one event")
        if overflow not in ("error", "drop_oldest"):
            raise ValueError(f"overflow is 'error' or 'drop_oldest', not {overflow!r}")
        self.capacity = capacity
        self.overflow = overflow
        self.missed = 0
        self.dropped = 0
        self._listeners = listeners
        self.types = types
        self._queue: deque[Event] = deque()
        self._events = 0
        self._bytes = 0
        self._gap = 0
        self._wake: trio.Event | None = None
        self._ended = False
        self._overflowed = False
        self._burst = 0

    def __repr__(self) -> str:
        names = ", ".join([event.__name__ for event in self.types])
        return f"<Subscription {names} {len(self._queue)} unread{' ended' if self._ended else ''}>"

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> E:
        while True:
            if self._queue:
                self._burst += 1
                if self._burst < BURST:
                    await trio.lowlevel.checkpoint_if_cancelled()
                else:
                    self._burst = 0
                    await trio.lowlevel.checkpoint()
                if self._queue:  # another task may have read it meanwhile
                    return self._pop()
            elif self._overflowed or self._ended:
                await trio.lowlevel.checkpoint()
                if self._overflowed:
                    raise SlowConsumer(self.capacity)
                raise StopAsyncIteration
            else:
                self._burst = 0
                if self._wake is None:
                    self._wake = trio.Event()
                await self._wake.wait()

    def _pop(self) -> E:
        event = self._queue.popleft()
        self.missed, self._gap = self._gap, 0
        if isinstance(event, PacketReceived):
            full = self._bytes >= DATA_BYTES
            self._bytes -= data_cost(event)
            if full and self._bytes < DATA_BYTES:
                self._listeners.hub.consumed()
        else:
            self._events -= 1
        return event  # type: ignore[return-value]  # only the types asked for are put in

    def close(self) -> None:
        """End the stream and forget what it holds unread."""
        self._queue.clear()
        self._events = self._bytes = 0
        self.end()
        self._listeners.forget(self)

    @property
    def data_full(self) -> bool:
        """Whether it holds as much unread data as it may."""
        return self._bytes >= DATA_BYTES

    def push(self, event: Event) -> None:
        """Take one event."""
        if isinstance(event, PacketReceived):
            self._bytes += data_cost(event)
        elif self._events < self.capacity:
            self._events += 1
        elif self.overflow == "error":
            self._overflowed = True
            self.end()
            self._listeners.forget(self)
            return
        else:
            self._drop_oldest()
        self._queue.append(event)
        if self._wake is not None:
            self._wake.set()
            self._wake = None

    def _drop_oldest(self) -> None:
        """Make room for one event; data packets keep their place, since they are not what is too many."""
        queue = self._queue
        for i, event in enumerate(queue):
            if not isinstance(event, PacketReceived):
                del queue[i]
                break
        self.dropped += 1
        self._gap += 1

    def end(self) -> None:
        """No more will come; what is held can still be read."""
        self._ended = True
        if self._wake is not None:
            self._wake.set()
            self._wake = None


class _Handler:
    __slots__ = ("original", "once", "arguments")

    def __init__(self, original: Handler, once: bool, arguments: Literal["event", "room", "participant"]) -> None:
        self.original = original
        self.once = once
        self.arguments = arguments


class _Waiter:
    __slots__ = ("types", "where", "event", "found", "error")

    def __init__(self, types: tuple[type[Event], ...], where: Callable[[Any], object] | None) -> None:
        self.types = types
        self.where = where
        self.event = trio.Event()
        self.found: Event | None = None
        self.error: BaseException | None = None


class Hub:
    """What all listeners of one room share: where handlers' tasks and errors go, and whether data may be read.

    ``spawn(coroutine, name)`` starts a task and tells whether it could, ``crash(error)`` ends the room by an error,
    ``resume()`` reads data again.
    """

    __slots__ = ("spawn", "crash", "resume", "data_streams", "in_flight", "paused", "_token")

    def __init__(
        self,
        spawn: Callable[[Coroutine[Any, Any, object], str], bool],
        crash: Callable[[BaseException], None],
        resume: Callable[[], None],
    ) -> None:
        self.spawn = spawn
        self.crash = crash
        self.resume = resume
        self.data_streams: list[weakref.ref[Subscription[Any]]] = []
        self.in_flight = 0
        self.paused = False
        self._token = trio.lowlevel.current_trio_token()

    def call(self, handler: Handler, args: tuple[Any, ...]) -> Coroutine[Any, Any, object] | None:
        """Call a user's handler: the coroutine that it returned, which is to be spawned, if it is an async one.

        What it raises ends the room, and so does returning what only another event loop could await.
        """
        try:
            result = invoke(handler, args)
        except BaseException as error:  # KeyboardInterrupt too: it must not end the pump half-way
            self.crash(error)
            return None
        if result is None or inspect.iscoroutine(result):
            return result
        if isinstance(result, Awaitable):
            self.crash(TypeError(f"the handler {handler!r} returned {result!r}, which Trio cannot await"))
        return None

    def data_paused(self) -> bool:
        """Whether data must stay in the core, because what was delivered is not consumed yet."""
        paused = self.in_flight >= DATA_BYTES
        for ref in self.data_streams:
            stream = ref()
            if stream is not None and stream.data_full:
                paused = True
        self.paused = paused
        return paused

    def consumed(self) -> None:
        """Something was consumed or given up: go on reading, if reading had stopped."""
        if self.paused and not self.data_paused():
            self.resume()

    def consumed_soon(self) -> None:
        """The same, from a place where nothing may be called but this: the garbage collector."""
        if self.paused:
            run_soon(self._token, self.consumed)


class Listeners:
    """The listeners of one room, or of one participant."""

    __slots__ = ("hub", "_room_form", "_handlers", "_calls", "_streams", "_waiters", "_over", "__weakref__")

    def __init__(self, hub: Hub, *, room: bool) -> None:
        self.hub = hub
        self._room_form = room
        self._handlers: dict[type[Event], list[_Handler]] = {}
        self._calls: dict[type[Event], tuple[_Handler, ...]] = {}  # per concrete class, made when first needed
        self._streams: list[weakref.ref[Subscription[Any]]] = []
        self._waiters: list[_Waiter] = []
        self._over: DisconnectReason | None = None

    # ------------------------------------------------------------------ what users call

    def subscribe(self, types: Iterable[type[E]], capacity: int, overflow: Overflow) -> Subscription[E]:
        """A new stream of these event types, of all if none is given."""
        wanted: tuple[type[Event], ...] = tuple(types) or (Event,)
        for event in wanted:
            if not (isinstance(event, type) and issubclass(event, Event)):
                raise TypeError(f"events() takes event classes, not {event!r}")
        stream: Subscription[E] = Subscription(self, wanted, capacity, overflow)
        if self._over is not None:
            stream.end()
            return stream
        listeners, hub = weakref.ref(self), self.hub

        def gone(ref: weakref.ref[Subscription[Any]]) -> None:
            if (owner := listeners()) is not None and ref in owner._streams:
                owner._streams.remove(ref)
            if ref in hub.data_streams:
                hub.data_streams.remove(ref)
                hub.consumed_soon()

        ref = weakref.ref(stream, gone)
        self._streams.append(ref)
        if any(issubclass(PacketReceived, event) or issubclass(event, PacketReceived) for event in wanted):
            hub.data_streams.append(ref)
        return stream

    def on(self, event: EventKey, handler: H, *, once: bool) -> H:
        """Call ``handler`` for each such event, or for the next one."""
        if not callable(handler):
            raise TypeError(f"a handler must be callable, not {handler!r}")
        cls, by_name = self._resolve(event)
        arguments: Literal["event", "room", "participant"] = "event"
        if by_name:
            arguments = "room" if self._room_form else "participant"
        self._handlers.setdefault(cls, []).append(_Handler(handler, once, arguments))
        self._calls.clear()
        return handler

    def off(self, event: EventKey, handler: Handler) -> None:
        """Remove the handler that was registered last for this event; nothing happens if there is none."""
        cls, _ = self._resolve(event)
        handlers = self._handlers.get(cls, [])
        for i in range(len(handlers) - 1, -1, -1):
            if handlers[i].original == handler:
                del handlers[i]
                self._calls.clear()
                return

    async def wait_for(self, types: tuple[type[E], ...], where: Callable[[E], object] | None) -> E:
        """The first of these events for which ``where`` is true."""
        for event in types:
            if not (isinstance(event, type) and issubclass(event, Event)):
                raise TypeError(f"wait_for() takes event classes, not {event!r}")
        if self._over is not None:
            await trio.lowlevel.checkpoint()
            raise DisconnectedError(self._over)
        waiter = _Waiter(types, where)
        self._waiters.append(waiter)
        try:
            await waiter.event.wait()
        finally:
            if waiter in self._waiters:
                self._waiters.remove(waiter)
        if waiter.error is not None:
            raise waiter.error
        return waiter.found  # type: ignore[return-value]  # one of the types asked for

    def _resolve(self, event: EventKey) -> tuple[type[Event], bool]:
        """The event class, and whether it was named in place of being given."""
        if isinstance(event, type) and issubclass(event, Event):
            return event, False
        name = event.value if isinstance(event, Enum) else event
        table = events.BY_NAME if self._room_form else events.PARTICIPANT_BY_NAME
        if not isinstance(name, str) or name not in table:
            owner = "a room" if self._room_form else "a participant"
            raise ValueError(f"{event!r} is not an event of {owner}; its events are {', '.join(table)}")
        return table[name], True

    # ------------------------------------------------------------------ delivery

    def emit(self, event: Event) -> bool:
        """Give one event to everybody who wants it. Whether anybody does, or waits for one and looks at it."""
        heard = False
        if self._waiters:
            self._wake_waiters(event)
            heard = True
        for ref in tuple(self._streams):
            stream = ref()
            if stream is not None and isinstance(event, stream.types):
                stream.push(event)
                heard = True
        cls = type(event)
        calls = self._calls.get(cls)
        if calls is None:
            calls = self._collect(cls)
        for handler in calls:
            if handler.once:
                self._forget_handler(handler)
            args: tuple[Any, ...] = (event,)
            if handler.arguments != "event":
                args = event.args() if handler.arguments == "room" else event.participant_args()
            coroutine = self.hub.call(handler.original, args)
            if coroutine is not None:
                self._start(handler, event, coroutine)
        return heard or bool(calls)

    def _collect(self, cls: type[Event]) -> tuple[_Handler, ...]:
        calls = tuple([handler for base in cls.__mro__ for handler in self._handlers.get(base, ())])
        self._calls[cls] = calls
        return calls

    def _start(self, handler: _Handler, event: Event, coroutine: Coroutine[Any, Any, object]) -> None:
        name = handler_name(handler.original)
        if not isinstance(event, PacketReceived):
            self.hub.spawn(coroutine, name)
            return
        cost = data_cost(event)
        self.hub.in_flight += cost
        if not self.hub.spawn(_counted(self.hub, cost, coroutine), name):
            self.hub.in_flight -= cost
            coroutine.close()  # what was given to spawn is only the wrapper around it

    def _wake_waiters(self, event: Event) -> None:
        for waiter in list(self._waiters):
            if not isinstance(event, waiter.types):
                continue
            try:
                if waiter.where is not None and not waiter.where(event):
                    continue
                waiter.found = event
            except Exception as error:
                waiter.error = error
            self._waiters.remove(waiter)
            waiter.event.set()

    def end(self, reason: DisconnectReason) -> None:
        """Nothing will happen any more: streams end after what they hold, waits fail."""
        self._over = reason
        streams, self._streams = self._streams, []
        for ref in streams:
            if (stream := ref()) is not None:
                stream.end()
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            waiter.error = DisconnectedError(reason)
            waiter.event.set()

    # ------------------------------------------------------------------ forgetting

    def forget(self, stream: Subscription[Any]) -> None:
        """A stream takes no more."""
        self._streams = [ref for ref in self._streams if ref() is not stream]
        hub = self.hub
        hub.data_streams = [ref for ref in hub.data_streams if ref() is not stream]
        hub.consumed()

    def _forget_handler(self, handler: _Handler) -> None:
        for handlers in self._handlers.values():
            if handler in handlers:
                handlers.remove(handler)
        self._calls.clear()


@trio.lowlevel.disable_ki_protection
def invoke(handler: Handler, args: tuple[Any, ...]) -> Any:
    """Call a user's function from within the pump, which Ctrl-C must not interrupt: the function it may."""
    return handler(*args)


def handler_name(handler: Handler) -> str:
    """What its task is called."""
    return getattr(handler, "__qualname__", None) or repr(handler)


async def _counted(hub: Hub, cost: int, coroutine: Coroutine[Any, Any, object]) -> None:
    """An async data handler at work: its packet counts as unread until it is done."""
    try:
        await coroutine
    finally:
        hub.in_flight -= cost
        hub.consumed()
