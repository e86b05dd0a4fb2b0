"""Joining a room and leaving it: the nurseries, and what comes out of the block."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Any, NoReturn, Union, cast
from urllib.parse import urlsplit

import trio

from ._core import DisconnectReason, TrackSource, preload_core
from ._errors import (
    ConnectError,
    ConnectReport,
    DisconnectedError,
    JoinRefused,
    MediaFailed,
    RoomNotFound,
    ServerUnreachable,
    TokenRejected,
)
from ._groups import leaves
from ._network import current_network
from ._options import ConnectOptions, PublishOptions, TokenSource, TurnServer
from ._room import Room
from ._subscription import Handler

if TYPE_CHECKING:
    from ._core import Factories, MediaFailure, Refusal
    from ._participant import LocalParticipant, RemoteParticipant
    from ._rpc import RpcHandler
    from ._session import Session
    from ._tracks import LocalTrack

CANCELLED_CLOSE = 0.25
"""Seconds that leaving may take when the block was cancelled from outside."""

UDP_BLOCKED = (
    "Let UDP pass between this machine and the server's media address, or offer TURN over TLS; report.table lists what "
    "was tried."
)
NOTHING_TRIED = (
    "Look into the server's log, and at the addresses that it announces for media (node_ip, use_external_ip)."
)

ToPublish = Union["LocalTrack", tuple["LocalTrack", PublishOptions | TrackSource | str]]
"""A track to publish with the join: by itself, or with how."""

Handlers = Mapping[Any, Handler | Iterable[Handler]]
"""By EventKey; Any, since the keys of a mapping are invariant, and a dict of names alone would not do otherwise."""


def connect(
    url: str,
    token: str | TokenSource,
    *,
    auto_subscribe: bool = True,
    publish: Iterable[ToPublish] = (),
    options: ConnectOptions | None = None,
    on: Handlers | None = None,
    rpc_methods: Mapping[str, RpcHandler] | None = None,
) -> AbstractAsyncContextManager[Room]:
    """Join a room for the length of a block::

        async with trio_client.connect("wss://example.com", token) as room:
            ...

    Entering returns once media and data can flow. Leaving the block tells the server, then closes everything; no task
    or socket outlives it, whether it ends by itself, by an exception or by cancellation.

    ``url``: the server, as ws, wss, http or https. ``token``: an access token, or an async function that returns one;
    it is asked again when a reconnect needs a token and the ones at hand have ended or were rejected. An exception of
    it leaves ``connect``; during a reconnect it counts as a failed attempt. ``auto_subscribe``: let the server send
    every track. ``publish``: tracks that are published with the join, at no round trip of their own; each by itself, or
    as a pair with its PublishOptions, its source, or its name. ``on``: handlers by event, as for ``Room.on``, one or
    several each; they miss nothing, since they are there before the join begins. ``rpc_methods``: handlers by method,
    as for ``LocalParticipant.register_rpc_method``, which are there for the first call already.

    Raises a ConnectError when the room cannot be joined, RequestRejected when the server refuses one of the tracks,
    DisconnectedError when the room ends before it has answered for all of them, and ValueError for an unusable address
    or token. An exception of the block comes out as it is; several exceptions, of block, handlers and background tasks,
    come out as a group. Cancelled while joining, nothing is left behind, here or at the server.
    """
    options = options or ConnectOptions()

    async def prepare(session: Session) -> None:
        from ._core import EngineOptions, TurnServerConfig
        from ._driver import Driver

        network = current_network.get()
        wall = network.wall()
        engine = network.engine()(
            url,
            token if isinstance(token, str) else await token(),
            EngineOptions(
                auto_subscribe=auto_subscribe,
                allow_pause=options.allow_pause,
                single_peer_connection=options.single_peer_connection,
                metadata=options.metadata,
                attributes=tuple(options.attributes.items()),
                interfaces=options.ice.interfaces,
                port_range=options.ice.port_range,
                ice_servers=tuple([entry for entry in options.ice.servers if isinstance(entry, str)]),
                turn_servers=tuple(
                    [
                        TurnServerConfig(entry.url, entry.username, entry.password)
                        for entry in options.ice.servers
                        if isinstance(entry, TurnServer)
                    ]
                ),
                ice_policy=options.ice.policy,
                reconnect=options.reconnect,
                renew_token=not isinstance(token, str),
                flush_timeout=options.close_timeout / 2,
                max_stream_bytes=options.max_stream_bytes,
                **network.engine_options(),
            ),
            entropy=network.entropy(),
            wall=wall,
            identity=network.identity(wall),
            factories=live_objects(session),
        )
        driver = Driver(
            engine,
            session,
            **network.doors(options),
            token_source=None if isinstance(token, str) else token,
        )
        session.attach(engine, driver)

    return open_room(prepare, options, on or {}, rpc_methods or {}, publish)


def live_objects(session: Session) -> Factories:
    """What makes the core's objects, so that they are the ones that users see."""
    from ._core import Factories
    from ._data_tracks import RemoteDataTrack
    from ._participant import LocalParticipant, RemoteParticipant
    from ._publication import LocalTrackPublication, RemoteTrackPublication
    from ._tracks import make_remote_track

    return Factories(
        local_participant=lambda: LocalParticipant(session),
        remote_participant=lambda identity, sid: RemoteParticipant(session, identity, sid),
        local_publication=lambda own, sid: LocalTrackPublication(session, cast("LocalParticipant", own), sid),
        remote_publication=lambda participant, sid: RemoteTrackPublication(
            session, cast("RemoteParticipant", participant), sid
        ),
        remote_track=lambda publication, receiver: make_remote_track(session, publication, receiver),
        remote_data_track=lambda info, identity: RemoteDataTrack(session, info, identity),
    )


def _to_publish(item: ToPublish) -> tuple[LocalTrack, PublishOptions]:
    if not isinstance(item, tuple):
        return item, PublishOptions()
    track, how = item
    if isinstance(how, TrackSource):
        how = PublishOptions(source=how)
    elif isinstance(how, str):
        how = PublishOptions(name=how)
    return track, how


def preload() -> None:
    """Import now what the first ``connect`` would import otherwise, so that it takes no longer than the next one."""
    import trio_websocket  # noqa: F401

    from . import _driver, _session  # noqa: F401

    preload_core()


@asynccontextmanager
async def open_room(
    prepare: Callable[[Session], Awaitable[None]],
    options: ConnectOptions,
    on: Handlers,
    rpc_methods: Mapping[str, RpcHandler],
    publish: Iterable[ToPublish],
) -> AsyncIterator[Room]:
    """What ``connect`` is, for any engine and driver that ``prepare`` attaches to the session."""
    from ._session import Session

    failures: list[BaseException] = []
    try:
        async with trio.open_nursery(strict_exception_groups=True) as outer:
            session = Session()
            await prepare(session)
            room = Room(session, options.close_timeout)
            for event, handlers in on.items():
                for handler in [handlers] if callable(handlers) else handlers:
                    room.on(event, handler)
            for method, answer in rpc_methods.items():
                room.local_participant.register_rpc_method(method, answer)
            # Last: from here on the tracks are taken, and the session has to end for them to be free again.
            session.prepare_tracks([_to_publish(item) for item in publish])
            try:
                await _start_driver(session, outer)
                async with trio.open_nursery(strict_exception_groups=True) as session.tasks:
                    session.driver.start()
                    await session.connected.wait()
                    if session.refusal is not None or session.ended.is_set():
                        raise _connect_error(session)
                    await session.first_tracks_published()
                    with trio.CancelScope() as body:
                        if options.cancel_on_disconnect:
                            session.on_lost = body.cancel
                        outer.start_soon(session.release, name="trio_client first events")
                        try:
                            yield room
                        except BaseException as error:
                            # Kept aside: a nursery would wrap it, and rebuild it if it is a group itself.
                            if _holds(error, cancelled=True):
                                raise
                            failures.append(error)
                    if body.cancelled_caught:
                        raise DisconnectedError(session.reason)
                    session.tasks.cancel_scope.cancel()
            except BaseExceptionGroup as group:
                failures += [error for error in group.exceptions if _holds(error, cancelled=False)]
                if not failures:
                    raise
            finally:
                session.tasks, session.late_tasks = None, outer
                await _leave(session, outer, options.close_timeout)
    except BaseExceptionGroup as group:
        failures += [error for error in group.exceptions if _holds(error, cancelled=False)]
        if not failures:
            failures.append(group)
    if failures:
        _raise(failures[0] if len(failures) == 1 else BaseExceptionGroup("several things failed in a room", failures))


async def _start_driver(session: Session, outer: trio.Nursery) -> None:
    # Nursery.start would not do: cancelled at the wrong moment it waits for a task that is shielded already.
    outer.start_soon(session.driver.run, name="trio_client driver")
    with trio.CancelScope(shield=True):
        await session.driver.running.wait()


async def _leave(session: Session, outer: trio.Nursery, close_timeout: float) -> None:
    """Tell the server and close, within a bounded time, whatever is being cancelled around."""
    driver = session.driver
    try:
        with trio.CancelScope(shield=True, deadline=trio.current_time() + close_timeout) as scope:
            outer.start_soon(_hurry, session, scope, name="trio_client hurry")
            session.stop()
            if not driver.broken:
                await session.ended.wait()
                await driver.links_closed()
            await session.late_handlers_done()
    finally:
        driver.shut()
        session.give_up()
        outer.cancel_scope.cancel()


async def _hurry(session: Session, closing: trio.CancelScope) -> None:
    """Leave quickly when the room is cancelled from outside, before or while it is leaving.

    Half of the time is for data that is not acknowledged yet, the rest is for telling the server.
    """
    try:
        await trio.sleep_forever()
    finally:
        closing.deadline = min(closing.deadline, trio.current_time() + CANCELLED_CLOSE)
        with trio.CancelScope(deadline=trio.current_time() + CANCELLED_CLOSE / 2, shield=True):
            await session.ended.wait()
        session.stop(flush=False)


# ------------------------------------------------------------------ what comes out


def _holds(error: BaseException, *, cancelled: bool) -> bool:
    """Whether an exception is, or a group holds, Cancelled (or something else than that)."""
    return any(isinstance(leaf, trio.Cancelled) is cancelled for leaf in leaves(error))


def _raise(error: BaseException) -> NoReturn:
    """Raise an exception from elsewhere without making the groups that carried it its context."""
    context = error.__context__
    try:
        raise error
    finally:
        error.__context__ = context
        del error, context


def _connect_error(session: Session) -> ConnectError:
    if session.refusal is None:
        report = ConnectReport(
            what="The session ended while it was being joined.",
            why=f"The reason is {session.reason.name}.",
            advice="Join anew.",
            kind="ended",
            server=_server(session.engine.url),
        )
        return JoinRefused(report, session.reason)
    return connect_error(session.refusal, _server(session.engine.url))


def _server(url: str) -> str:
    """Scheme, host and port; a path or query may hold what others should not see."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def connect_error(failure: Refusal | MediaFailure, server: str = "") -> ConnectError:
    """The exception for what the core says about a failed join."""
    from ._core import Refusal, RefusalKind, pair_line, path_table, way_line

    if not isinstance(failure, Refusal):
        return MediaFailed(
            ConnectReport(
                what="The server let us in, but no media connection came up.",
                why=" ".join([f"{failure.detail[:1].upper()}{failure.detail[1:]}.", failure.verdict]).strip(),
                advice=UDP_BLOCKED if failure.pairs else NOTHING_TRIED,
                kind="media_failed",
                server=server,
                verdict=failure.verdict,
                pairs=tuple([pair_line(pair) for pair in failure.pairs]),
                ways=tuple([way_line(way) for way in failure.ways]),
                table=path_table(failure.pairs, failure.ways),
            )
        )
    report = ConnectReport(
        what=failure.what,
        why=failure.why,
        advice=failure.advice,
        kind=failure.kind.value,
        server=server,
        status=failure.status,
        body=failure.body,
    )
    match failure.kind:
        case RefusalKind.TOKEN_REJECTED:
            return TokenRejected(report)
        case RefusalKind.ROOM_NOT_FOUND:
            return RoomNotFound(report)
        case RefusalKind.REFUSED | RefusalKind.SERVER_ERROR:
            leave = failure.leave
            return JoinRefused(report, DisconnectReason(leave.reason) if leave is not None else None)
        case _:
            return ServerUnreachable(report)
