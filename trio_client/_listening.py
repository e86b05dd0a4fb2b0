"""What rooms and participants have in common: ``on``, ``once``, ``off``, ``events`` and ``wait_for``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, overload

from ._core import Event
from ._subscription import CAPACITY, EventKey, H, Handler, Listeners, Overflow, Subscription

E = TypeVar("E", bound=Event)


class Listening:
    """Something whose events can be listened to: a room, for all of them, or a participant, for its own."""

    __slots__ = ()

    def _get_listeners(self) -> Listeners:
        raise NotImplementedError  # a mixin: rooms and participants each keep their own

    @overload
    def events(self, *, capacity: int = CAPACITY, overflow: Overflow = "error") -> Subscription[Event]: ...
    @overload
    def events(self, *types: type[E], capacity: int = CAPACITY, overflow: Overflow = "error") -> Subscription[E]: ...
    def events(self, *types: type[Any], capacity: int = CAPACITY, overflow: Overflow = "error") -> Subscription[Any]:
        """A stream of events of these types (all, if none is given), independent of other streams.

        It begins now, and ends after Disconnected, or when the participant has left. A stream that holds ``capacity``
        unread events when one more comes ends with SlowConsumer after those (``overflow="error"``), or loses the oldest
        one (``"drop_oldest"``; see ``missed`` and ``dropped`` of the stream). Data packets do not count: unread ones
        make their senders wait.
        """
        return self._get_listeners().subscribe(types, capacity, overflow)

    @overload
    def on(self, event: EventKey, handler: H) -> H: ...
    @overload
    def on(self, event: EventKey) -> Callable[[H], H]: ...
    def on(self, event: EventKey, handler: Any = None) -> Any:
        """Call a handler for each such event; without a handler, a decorator.

        An event class passes the event object. A member of RoomEvent (of a participant: ParticipantEvent) or its
        snake_case name passes the positional arguments of the JavaScript client. A sync handler is called at once, an
        async one becomes a task that lives as long as the room. An exception in a handler ends the room and leaves
        through the ``async with``.
        """
        if handler is None:
            return lambda handler: self._get_listeners().on(event, handler, once=False)
        return self._get_listeners().on(event, handler, once=False)

    @overload
    def once(self, event: EventKey, handler: H) -> H: ...
    @overload
    def once(self, event: EventKey) -> Callable[[H], H]: ...
    def once(self, event: EventKey, handler: Any = None) -> Any:
        """Call a handler for the next such event only; see ``on``."""
        if handler is None:
            return lambda handler: self._get_listeners().on(event, handler, once=True)
        return self._get_listeners().on(event, handler, once=True)

    def off(self, event: EventKey, handler: Handler) -> None:
        """Remove a handler that ``on`` or ``once`` registered; nothing happens if there is none."""
        self._get_listeners().off(event, handler)

    async def wait_for(self, event: type[E], where: Callable[[E], object] | None = None) -> E:
        """The next event of this type for which ``where(event)`` is true.

        Raises DisconnectedError when the room ends before, or the participant leaves, and what ``where`` raises.
        """
        return await self._get_listeners().wait_for((event,), where)
