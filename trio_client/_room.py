"""The room, as users see it."""

from __future__ import annotations

import inspect
import json
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, cast

import trio
from attrs import frozen

from ._core import ConnectionState, DisconnectReason, Scenario, ServerInfo
from ._data_streams import ByteStreamReader, StreamHandler, StreamReaders, TextStreamReader
from ._listening import Listening

if TYPE_CHECKING:
    from ._core import LinkStats, ReceiverStats, SenderStats
    from ._participant import LocalParticipant, RemoteParticipant
    from ._session import Session
    from ._subscription import Listeners


@frozen(kw_only=True)
class RoomStats:
    """Counters of a room since it was joined.

    ``sent`` has what was sent of our tracks, by sid, a tuple of one SenderStats a layer; ``received`` what came of the
    tracks of others, by sid; ``links`` how media fares on the way, for each peer connection.

    ``datagrams_*`` and ``bytes_*`` count UDP datagrams and what they hold. ``data_unheard`` counts data packets that
    nobody listened for. ``driver`` counts what sockets dropped, by reason. ``core`` has the counters of every layer
    of the core.
    """

    sent: Mapping[str, tuple[SenderStats, ...]]
    received: Mapping[str, ReceiverStats]
    links: tuple[LinkStats, ...]
    datagrams_sent: int
    datagrams_received: int
    bytes_sent: int
    bytes_received: int
    data_unheard: int
    driver: Mapping[str, int]
    core: Mapping[str, Any]


class Room(Listening):
    """A joined room, from ``connect``. Its attributes show what is now; events tell what changed."""

    def __init__(self, session: Session, close_timeout: float) -> None:
        self._session = session
        self._state = session.engine.state
        self._close_timeout = close_timeout

    def __repr__(self) -> str:
        return f"<Room {self.name!r} {self.state.name}>"

    # ------------------------------------------------------------------ what is now

    @property
    def name(self) -> str:
        """Name of the room."""
        return self._state.name

    @property
    def sid(self) -> str:
        """The server's id of this room's session."""
        return self._state.sid

    @property
    def metadata(self) -> str:
        """Metadata of the room, set through the server API."""
        return self._state.metadata

    @property
    def num_participants(self) -> int:
        """Participants in the room by the server's count, hidden ones left out; it may lag behind."""
        return self._state.num_participants

    @property
    def num_publishers(self) -> int:
        """Publishing participants by the server's count."""
        return self._state.num_publishers

    @property
    def is_recording(self) -> bool:
        """Whether the room is being recorded."""
        return self._state.is_recording

    @property
    def creation_time(self) -> datetime | None:
        """When the room was created, in UTC."""
        return self._state.creation_time

    @property
    def server_info(self) -> ServerInfo:
        """What the server says about itself."""
        return self._state.server_info

    @property
    def state(self) -> ConnectionState:
        """How we are connected."""
        return self._state.connection

    @property
    def local_participant(self) -> LocalParticipant:
        """Ourselves."""
        return cast("LocalParticipant", self._state.local_participant)

    @property
    def remote_participants(self) -> Mapping[str, RemoteParticipant]:
        """The others, by identity: a read-only view that is always current."""
        return cast("Mapping[str, RemoteParticipant]", self._state.remote_participants)

    @property
    def active_speakers(self) -> tuple[LocalParticipant | RemoteParticipant, ...]:
        """Who speaks, loudest first."""
        return cast("tuple[LocalParticipant | RemoteParticipant, ...]", self._state.active_speakers)

    # ------------------------------------------------------------------ events

    def _get_listeners(self) -> Listeners:
        return self._session.listeners

    async def wait_until(self, predicate: Callable[..., object]) -> None:
        """Wait until ``predicate()`` is true; it is called now and whenever the room may have changed.

        A predicate with a parameter gets the room. Raises DisconnectedError when the room ends before.
        """
        if inspect.signature(predicate).parameters:
            await self._session.wait_until(lambda: predicate(self))
        else:
            await self._session.wait_until(predicate)

    # ------------------------------------------------------------------ streams

    def register_text_stream_handler(self, topic: str, handler: StreamHandler) -> None:
        """Call ``handler(reader, participant_identity)`` for each text stream of this topic that begins.

        An async handler becomes a task that lives as long as the room, a sync one is called at once and may keep the
        reader for others to read. Streams of topics without a handler are ignored. Raises ValueError when the topic
        has one. A stream that fails ends its handler by StreamError, and nothing else; any other exception in a handler
        ends the room and leaves through the ``async with``.
        """
        self._session.streams.register(True, topic, handler)

    def unregister_text_stream_handler(self, topic: str) -> None:
        """Take no more text streams of this topic; those that have begun go on."""
        self._session.streams.unregister(True, topic)

    def register_byte_stream_handler(self, topic: str, handler: StreamHandler) -> None:
        """The same for byte streams; see ``register_text_stream_handler``."""
        self._session.streams.register(False, topic, handler)

    def unregister_byte_stream_handler(self, topic: str) -> None:
        """Take no more byte streams of this topic; those that have begun go on."""
        self._session.streams.unregister(False, topic)

    def text_streams(self, topic: str = "") -> StreamReaders[TextStreamReader]:
        """The text streams of a topic, as they begin: ``async for reader in room.text_streams("chat")``.

        It begins with this call, in the place of a handler, and ends with the room or when it is closed. Raises
        ValueError when the topic has a handler.
        """
        return StreamReaders(self._session.streams, True, topic)

    def byte_streams(self, topic: str = "") -> StreamReaders[ByteStreamReader]:
        """The byte streams of a topic, as they begin; see ``text_streams``."""
        return StreamReaders(self._session.streams, False, topic)

    # ------------------------------------------------------------------ doing

    def start_soon(self, async_fn: Callable[..., Awaitable[object]], *args: Any, name: object = None) -> None:
        """Run a task that is cancelled when the block ends. Its exception ends the room."""
        if self._session.tasks is None:
            raise RuntimeError("the block of this room has ended: it takes no more tasks")
        self._session.tasks.start_soon(async_fn, *args, name=name)

    async def disconnect(self, *, reason: DisconnectReason = DisconnectReason.CLIENT_INITIATED) -> None:
        """Leave now, telling the server; leaving the block does it too. Does nothing when the room has ended.

        Returns when the room has ended, after ``close_timeout`` at the latest; cancelled, it ends all the same.
        ``reason``: what the others are told; LiveKit's server passes CLIENT_INITIATED, USER_UNAVAILABLE, USER_REJECTED
        and AGENT_ERROR on, and CLIENT_INITIATED for any other.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        self._session.stop(reason=reason)
        with trio.move_on_after(self._close_timeout):
            await self._session.ended.wait()

    async def simulate(self, scenario: Scenario, value: int | None = None) -> None:
        """Stage a drill, and see how the program takes it: a lost link, a lost session, a server that leaves.

        ``value``: seconds of SPEAKER_UPDATE (3 unless told), bit/s of SUBSCRIBER_BANDWIDTH (100 000). Returns once it
        is staged; the events tell what follows. Raises LocalProtocolError while reconnecting and for a value that the
        drill does not take, and DisconnectedError when the room has ended or is being left.
        """
        await trio.lowlevel.checkpoint()
        self._session.do(self._session.engine.simulate, scenario, value=value)

    # ------------------------------------------------------------------ looking inside

    def stats(self) -> RoomStats:
        """Counters of every track and every layer. They are a copy, made now."""
        session, driver = self._session, self._session.driver
        return RoomStats(
            sent=session.engine.sent_stats(),
            received=session.engine.received_stats(),
            links=session.engine.link_stats(),
            datagrams_sent=driver.sent,
            datagrams_received=driver.received,
            bytes_sent=driver.sent_bytes,
            bytes_received=driver.received_bytes,
            data_unheard=session.counters["data_unheard"],
            driver=driver.counters.snapshot(),
            core=session.engine.diagnostics(),
        )

    def diagnostics(self) -> str:
        """State and counters as JSON, without anything secret: fit for a bug report."""
        stats = self.stats()
        return json.dumps(
            {
                "room": {"name": self.name, "sid": self.sid, "state": self.state.name},
                "participant": {"identity": self.local_participant.identity, "sid": self.local_participant.sid},
                "remote_participants": len(self.remote_participants),
                "reason": self._session.reason.name if self._session.ended.is_set() else None,
                "datagrams": {"sent": stats.datagrams_sent, "received": stats.datagrams_received},
                "bytes": {"sent": stats.bytes_sent, "received": stats.bytes_received},
                "data_unheard": stats.data_unheard,
                "driver": dict(stats.driver),
                "core": stats.core,
            },
            indent=1,
            default=str,
        )
