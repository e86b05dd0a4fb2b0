"""One session: what a room and its participants share behind their faces.

It takes the engine's outputs from the driver, gives events to listeners, pulls data as fast as it is consumed, and lets
tasks wait for the engine: for the end of a request, for room to send, for a state.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Coroutine, Iterable
from typing import TYPE_CHECKING, Any, TypeVar

import trio

from ._core import (
    Connected,
    Counters,
    DataReadable,
    DataTrackReadable,
    DataWritable,
    Disconnected,
    DisconnectReason,
    Ended,
    Event,
    JoinFailed,
    LocalProtocolError,
    LocalTrackLayersChanged,
    LocalTrackUnpublished,
    ParticipantDisconnected,
    RequestDone,
    RequestError,
    RequestFailed,
    RequestReason,
    RpcCancelled,
    RpcError,
    RpcInvoked,
    StreamOpened,
    StreamReadable,
    TrackKeyframeWanted,
    TrackReadable,
    TrackSource,
    TrackStarted,
    TrackUnsubscribed,
)
from ._data_streams import Streams
from ._errors import DataTooLarge, DisconnectedError, NotAcknowledged, RequestRejected
from ._rpc import RpcDesk
from ._subscription import Hub, Listeners

if TYPE_CHECKING:
    from ._core import MediaFailure, Refusal, RoomEngine, models
    from ._driver import Driver
    from ._options import PublishOptions
    from ._tracks import LocalTrack

T = TypeVar("T")

SENDS = 16
"""Data packets that one room sends between two full checkpoints, so that a flood does not keep others from running."""
PACKET_BYTES = 64_000
"""Largest data packet of the protocol, all of it."""


class _Operation:
    __slots__ = ("event", "result", "error")

    def __init__(self) -> None:
        self.event = trio.Event()
        self.result: Any = None
        self.error: Exception | None = None


class _Condition:
    __slots__ = ("predicate", "event", "error")

    def __init__(self, predicate: Callable[[], object]) -> None:
        self.predicate = predicate
        self.event = trio.Event()
        self.error: BaseException | None = None


class Session:
    """Use: make it, ``attach`` engine and driver, and give it a nursery for handlers (``tasks``)."""

    def __init__(self) -> None:
        self.engine: RoomEngine
        self.driver: Driver
        self.tasks: trio.Nursery | None = None
        """Where handlers and the user's background tasks run while the block does."""
        self.late_tasks: trio.Nursery | None = None
        """Where handlers run that are called while the room closes."""
        self.connected = trio.Event()
        """Joining is over: the room is joined, ``refusal`` says why not, or ``ended`` is set."""
        self.refusal: Refusal | MediaFailure | None = None
        self.ended = trio.Event()
        self.reason = DisconnectReason.UNKNOWN_REASON
        self.counters = Counters()
        self.on_lost: Callable[[], None] | None = None
        """Called when the room ends without our asking."""
        self.leaving = False
        self.hub = Hub(self.spawn, self.crash, self._resume_data)
        self.listeners = Listeners(self.hub, room=True)
        self.rpc = RpcDesk(self)
        self._operations: dict[int, _Operation] = {}
        self._conditions: list[_Condition] = []
        self._senders: tuple[deque[trio.Event], deque[trio.Event]] = (deque(), deque())  # lossy, reliable
        self._sends = 0
        self._held: list[Event] | None = []
        self._local_tracks: list[LocalTrack] = []
        """Those that are published, or are to be."""
        self._first_tracks: list[tuple[LocalTrack, _Operation]] = []
        self._disconnected = False
        self._late = 0
        self._late_done = trio.Event()
        self.streams = Streams(self)

    def attach(self, engine: RoomEngine, driver: Driver) -> None:
        """The engine and the driver that runs it."""
        self.engine = engine
        self.driver = driver

    # ------------------------------------------------------------------ outputs of the engine

    def deliver(self, output: Any) -> None:
        """One output that is not for the driver."""
        if type(output) is TrackReadable:  # for nearly every packet of media
            output.track._wake()  # type: ignore[attr-defined]
            return
        if type(output) is DataReadable:
            self._pull_data()
            return
        if isinstance(output, Event):
            self._emit(output)
            return
        match output:
            case TrackStarted(track=track) | TrackKeyframeWanted(track=track):
                track.description.owner._wake()
            case StreamReadable(stream=stream):
                if stream.owner is not None and (reader := stream.owner()) is not None:
                    reader.wake()
            case DataTrackReadable(stream=stream):
                if stream.owner is not None and (frames := stream.owner()) is not None:
                    frames.wake()
            case StreamOpened(stream=stream):
                self.streams.opened(stream)
            case DataWritable(reliable=reliable):
                self._wake_sender(reliable)
            case RpcInvoked(invocation=invocation):
                self.rpc.serve(invocation)
            case RpcCancelled(invocation=invocation):
                self.rpc.cancel(invocation)
            case RequestDone(token=token, result=result):
                if (operation := self._operations.pop(token, None)) is not None:
                    operation.result = result
                    operation.event.set()
            case RequestFailed(token=token, error=error):
                if (operation := self._operations.pop(token, None)) is not None:
                    operation.error = self._rejected(error)
                    operation.event.set()
            case JoinFailed(error=error):
                self.refusal = error
                self.connected.set()
            case Ended(reason=reason):
                self._end(reason)
            case _:
                raise AssertionError(f"unknown output {output!r}")

    def settled(self) -> None:
        """The state may have changed: look again at what tasks wait for."""
        for condition in list(self._conditions):
            try:
                if not condition.predicate():
                    continue
            except Exception as error:
                condition.error = error
            self._conditions.remove(condition)
            condition.event.set()

    async def release(self) -> None:
        """The user's block runs: what has happened meanwhile is told to whoever listens now."""
        held, self._held = self._held, None
        for event in held or ():
            self._emit(event)
        if held:
            self.settled()

    def _emit(self, event: Event) -> None:
        if self._held is not None and self.connected.is_set():
            if not isinstance(event, Disconnected):
                self._held.append(event)
                return
            held, self._held = self._held, None
            for waiting in held:
                self._emit(waiting)
        if isinstance(event, TrackUnsubscribed):
            event.track._wake()  # type: ignore[attr-defined]
        elif isinstance(event, LocalTrackLayersChanged):
            event.publication.track._wake()
        elif isinstance(event, LocalTrackUnpublished):
            self._let_go(event.publication.track)
        source: Any = event.source
        if source is not None and (listeners := source._listeners) is not None:
            listeners.emit(event)
        self.listeners.emit(event)
        if isinstance(event, ParticipantDisconnected):
            if (gone := source._listeners) is not None:
                gone.end(event.reason)
        elif isinstance(event, Disconnected):
            self.reason, self._disconnected = event.reason, True
        elif isinstance(event, Connected):
            self.connected.set()

    def _end(self, reason: DisconnectReason) -> None:
        self.reason = reason
        self.ended.set()
        self.connected.set()
        self.listeners.end(reason)
        state = self.engine.state
        participants: list[Any] = [state.local_participant, *state.remote_participants.values()]
        for participant in participants:
            if participant._listeners is not None:
                participant._listeners.end(reason)
        for operation in self._operations.values():
            operation.error = DisconnectedError(reason)
            operation.event.set()
        self._operations.clear()
        for line in self._senders:
            for ticket in line:
                ticket.set()
        for track in self._local_tracks:
            track._wake()
        self.streams.end()
        self.settled()
        for condition in self._conditions:
            condition.error = DisconnectedError(reason)
            condition.event.set()
        self._conditions.clear()
        self.driver.close_all()
        if self.on_lost is not None and not self.leaving:
            self.on_lost()

    # ------------------------------------------------------------------ handlers' tasks

    def spawn(self, coroutine: Coroutine[Any, Any, object], name: str) -> bool:
        """Run an async handler as a task. False if the room is past that; the coroutine is closed then."""
        if self.tasks is not None:
            try:
                self.tasks.start_soon(_await, coroutine, name=name)
            except RuntimeError:  # the block has just ended
                pass
            else:
                return True
        if self.late_tasks is not None:
            self._late += 1
            self.late_tasks.start_soon(self._run_late, coroutine, name=name)
            return True
        coroutine.close()
        return False

    def crash(self, error: BaseException) -> None:
        """A handler failed: end the block by its exception."""

        async def fail() -> None:
            raise error

        self.spawn(fail(), "trio_client failed handler")

    async def _run_late(self, coroutine: Coroutine[Any, Any, object]) -> None:
        try:
            await coroutine
        finally:
            self._late -= 1
            self._late_done.set()

    async def late_handlers_done(self) -> None:
        """Wait for the handlers that were called while the room closed."""
        while self._late:
            self._late_done = trio.Event()
            await self._late_done.wait()

    # ------------------------------------------------------------------ data in

    def _pull_data(self) -> None:
        """Read what the core holds, as long as the listeners consume it; unread data closes the SCTP window."""
        read = self.engine.read_data
        hub, listeners = self.hub, self.listeners
        while not hub.data_paused():
            event = read()
            if event is None:
                break
            source: Any = event.source
            heard = source is not None and source._listeners is not None and source._listeners.emit(event)
            if not listeners.emit(event) and not heard:
                self.counters.add("data_unheard")
        if self.engine.owing:  # the window has opened
            self.driver.pump()

    def _resume_data(self) -> None:
        if not self.ended.is_set():
            self.driver.inject(DataReadable())

    # ------------------------------------------------------------------ data out

    async def publish_data(
        self, payload: bytes, reliable: bool, topic: str, destination_identities: Iterable[str], wait_acked: bool
    ) -> None:
        """Queue one packet whole, waiting in line until there is room for it; then perhaps for its acknowledgement."""
        await self.send_in_line(reliable, self._publish, payload, reliable, topic, destination_identities)
        if wait_acked:
            try:
                await self.request(self.engine.wait_acknowledged)
            except RequestRejected:
                raise NotAcknowledged from None

    async def send_in_line(self, reliable: bool, attempt: Callable[..., bool], *args: Any) -> None:
        """Call ``attempt(*args)`` until it is true: at once, or whenever there is room and its turn has come."""
        self._sends += 1
        if self._sends >= SENDS:
            self._sends = 0
            await trio.lowlevel.checkpoint()
        else:
            await trio.lowlevel.checkpoint_if_cancelled()
        line = self._senders[reliable]
        if not line and attempt(*args):
            return
        ticket = trio.Event()  # of the first in line it tells that there may be room, of others that they are first
        line.append(ticket)
        try:
            while True:
                await ticket.wait()
                if attempt(*args):
                    return
                ticket = line[0] = trio.Event()
        finally:
            self._leave_line(line, ticket)

    def _leave_line(self, line: deque[trio.Event], ticket: trio.Event) -> None:
        first = line[0] is ticket
        line.remove(ticket)
        if first and line:
            line[0].set()  # whoever is next tries for itself

    def _wake_sender(self, reliable: bool) -> None:
        if line := self._senders[reliable]:
            line[0].set()

    @trio.lowlevel.enable_ki_protection
    def _publish(self, payload: bytes, reliable: bool, topic: str, destination_identities: Iterable[str]) -> bool:
        self.check_open()
        now = trio.current_time()
        try:
            queued = self.engine.publish_data(
                payload,
                reliable=reliable,
                topic=topic,
                destination_identities=destination_identities,
                now=now,
            )
        except LocalProtocolError as error:
            if _is_too_large(payload, topic):
                raise DataTooLarge(str(error)) from None
            raise
        self.driver.pump(now)
        return queued

    @trio.lowlevel.enable_ki_protection
    def send_packet(self, packet: models.DataPacket) -> bool:
        """Queue a reliable packet of any payload, if there is room for it."""
        self.check_open()
        queued = self.engine.send_packet(packet, now=trio.current_time())
        self.driver.pump()
        return queued

    async def send_message(self, packet: models.DataPacket) -> None:
        """Queue a reliable packet that users made, in its turn."""
        try:
            await self.send_in_line(True, self.send_packet, packet)
        except LocalProtocolError as error:
            if packet.ByteSize() > PACKET_BYTES - 128:
                raise DataTooLarge(str(error)) from None
            raise

    @property
    def reliable_line(self) -> bool:
        """Whether somebody waits for room for reliable packets."""
        return bool(self._senders[True])

    # ------------------------------------------------------------------ requests

    def check(self) -> None:
        """Raise DisconnectedError when the room has ended."""
        if self.ended.is_set():
            raise DisconnectedError(self.reason)

    def check_open(self) -> None:
        """The same when the room is being left: the engine takes no more operations then."""
        if self.leaving or self.ended.is_set():
            self.check()
            raise DisconnectedError(self.reason, "we are leaving the room: nothing more can be asked of it or sent")

    @trio.lowlevel.enable_ki_protection
    def do(self, operation: Callable[..., T], *args: Any, **options: Any) -> T:
        """Do an operation of the engine that needs no answer, and what it owes then: ``operation(*args, now)``."""
        self.check_open()
        result = operation(*args, trio.current_time(), **options)
        self.driver.pump()
        return result

    async def request(self, ask: Callable[..., int], *args: Any) -> Any:
        """Do an operation that the server answers: ``ask(*args, now)`` gives its token. Its result."""
        await trio.lowlevel.checkpoint_if_cancelled()
        token, operation = self._ask(ask, *args)
        try:
            await operation.event.wait()
        except BaseException:
            self._abandon(token)
            raise
        if operation.error is not None:
            raise operation.error
        return operation.result

    @trio.lowlevel.enable_ki_protection
    def _ask(self, ask: Callable[..., int], *args: Any) -> tuple[int, _Operation]:
        self.check_open()
        token = ask(*args, trio.current_time())
        operation = self._operations[token] = _Operation()
        self.driver.pump()
        return token, operation

    @trio.lowlevel.enable_ki_protection
    def _abandon(self, token: int) -> None:
        if self._operations.pop(token, None) is not None:
            self.engine.cancel(token, trio.current_time())
            self.driver.pump()

    def _rejected(self, error: RequestError | RpcError) -> Exception:
        if isinstance(error, RpcError):
            return error
        if error.reason is RequestReason.ROOM_ENDED and self._disconnected:  # else a new session has replaced it
            return DisconnectedError(self.reason)
        return RequestRejected(error.reason, error.message)

    # ------------------------------------------------------------------ tracks

    async def publish(self, track: LocalTrack, source: TrackSource | None, name: str, stream: str) -> Any:
        """Publish a track; its publication."""

        def ask(now: float) -> int:
            return self._publish_track(track, source, name, stream, now)

        _check_free(track)
        try:
            track.publication = publication = await self.request(ask)
        except BaseException:
            self._give_up(track)
            raise
        return publication

    def _publish_track(self, track: LocalTrack, source: TrackSource | None, name: str, stream: str, now: float) -> int:
        token, core = self.engine.publish_track(track._describe(source, name, stream), now)
        track._attach(self, core)
        self._local_tracks.append(track)
        return token

    def _let_go(self, track: LocalTrack) -> None:
        """A track is not published, or no longer."""
        track._detach()
        if track in self._local_tracks:
            self._local_tracks.remove(track)

    def prepare_tracks(self, items: Iterable[tuple[LocalTrack, PublishOptions]]) -> None:
        """Tracks that are to be published with the join, before that begins."""
        try:
            for track, options in items:
                _check_free(track)
                token = self._publish_track(track, options.source, options.name, options.stream, trio.current_time())
                operation = self._operations[token] = _Operation()
                self._first_tracks.append((track, operation))
        except BaseException:
            for track, _ in self._first_tracks:
                self._let_go(track)
            raise

    async def first_tracks_published(self) -> None:
        """Wait until the server has accepted the tracks that came with the join. Raises RequestRejected if not."""
        for track, operation in self._first_tracks:
            await operation.event.wait()
            if operation.error is not None:
                raise operation.error
            track.publication = operation.result

    @trio.lowlevel.enable_ki_protection
    def _give_up(self, track: LocalTrack) -> None:
        """Publishing failed, or was cancelled, maybe just after it had succeeded."""
        core = track._core
        self._let_go(track)
        if core is not None and core.publication is not None and not self.leaving and not self.ended.is_set():
            self.unpublish(core.publication.sid)

    def unpublish(self, sid: str) -> None:
        """End a track of ours."""
        self.do(self.engine.unpublish_track, sid)

    # ------------------------------------------------------------------ states

    async def wait_until(self, predicate: Callable[[], object]) -> None:
        """Wait for a state of the room."""
        await trio.lowlevel.checkpoint_if_cancelled()
        if predicate():
            await trio.lowlevel.cancel_shielded_checkpoint()
            return
        self.check()
        condition = _Condition(predicate)
        self._conditions.append(condition)
        try:
            await condition.event.wait()
        finally:
            if condition in self._conditions:
                self._conditions.remove(condition)
        if condition.error is not None:
            raise condition.error

    # ------------------------------------------------------------------ joining and leaving

    @trio.lowlevel.enable_ki_protection
    def stop(self, *, reason: DisconnectReason = DisconnectReason.CLIENT_INITIATED, flush: bool = True) -> None:
        """Begin to leave; ``flush`` False: at once, whatever has not been acknowledged yet."""
        if not self.leaving and not self.ended.is_set():
            self.reason = reason
        self.leaving = True
        if not self.driver.broken:
            self.engine.stop(trio.current_time(), reason=reason, flush=flush)
            self.driver.pump()

    def give_up(self) -> None:
        """The driver has gone. If the engine could not end before that, the room has ended all the same.

        Whoever waits for it, perhaps in a task that outlives the block, must not wait for ever.
        """
        self.tasks = self.late_tasks = None
        if not self.ended.is_set():
            self.driver.broken = True
            self._end(self.reason)


def _check_free(track: LocalTrack) -> None:
    if track._session is not None and not track._session.ended.is_set():
        raise LocalProtocolError(f"{track!r} is published already")


async def _await(coroutine: Coroutine[Any, Any, object]) -> None:
    await coroutine


def _is_too_large(payload: bytes, topic: str) -> bool:
    return len(payload) + len(topic) + 128 > PACKET_BYTES
