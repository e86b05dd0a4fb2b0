"""Data tracks, as users publish and subscribe to them."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Self

import trio
from attrs import frozen

from ._closing import Closing
from ._collected import run_soon
from ._core import DataTrackFrame, core_data_tracks
from ._errors import PushFrameError, SubscribeDataTrackError

if TYPE_CHECKING:
    from ._core import models
    from ._session import Session

CAPACITY = 16
"""Frames that a subscription holds unread, unless told otherwise."""
BURST = 32
"""Frames that it hands out between two full checkpoints."""


@frozen
class DataTrackInfo:
    """What is known of a data track. ``sid`` changes when its publisher's session begins anew, ``name`` does not."""

    sid: str
    name: str
    uses_e2ee: bool


class LocalDataTrack:
    """A data track of ours, from ``LocalParticipant.publish_data_track``."""

    def __init__(self, session: Session, core: core_data_tracks.LocalDataTrack) -> None:
        self._session = session
        self._core = core

    def __repr__(self) -> str:
        return f"<LocalDataTrack {self._core.name!r} {self._core.sid}>"

    @property
    def info(self) -> DataTrackInfo:
        """What is known of it now."""
        return DataTrackInfo(self._core.sid, self._core.name, False)

    def is_published(self) -> bool:
        """Whether frames can be sent now; not so while the session is being joined anew."""
        return self._core.published

    @trio.lowlevel.enable_ki_protection
    def try_push(self, frame: DataTrackFrame | bytes, *, user_timestamp: int | None = None) -> None:
        """Send a frame at once, or not at all: it does not wait, and nobody sends it again.

        A frame of more than one packet (16 kB) arrives whole or not at all. Raises PushFrameError when the track is
        not published, when there is no connection, and when frames come faster than the network takes them; and
        LocalProtocolError for more than 128 packets (2 MB).
        """
        if not isinstance(frame, DataTrackFrame):
            frame = DataTrackFrame(bytes(memoryview(frame)), user_timestamp)
        session = self._session
        if not self._core.published:
            raise PushFrameError("the data track is not published")
        if not session.engine.push_data_track(self._core, frame, trio.current_time()):
            raise PushFrameError("there is no connection, or earlier frames still wait to be sent")
        session.driver.pump()

    async def unpublish(self) -> None:
        """End the track. Does nothing when it has ended, with the room or before."""
        await trio.lowlevel.checkpoint()
        _unpublish(self._session, self._core)


def _unpublish(session: Session, core: core_data_tracks.LocalDataTrack) -> None:
    if not session.ended.is_set() and not session.leaving:
        session.do(session.engine.unpublish_data_track, core)


async def publish_data_track(session: Session, name: str) -> LocalDataTrack:
    """Publish a data track."""
    made: core_data_tracks.LocalDataTrack | None = None

    def ask(now: float) -> int:
        nonlocal made
        token, made = session.engine.publish_data_track(name, now)
        return token

    try:
        track = LocalDataTrack(session, await session.request(ask))
    except BaseException:
        if made is not None:  # it may have been published in the moment of the cancellation
            _unpublish(session, made)
        raise
    return track


class RemoteDataTrack(core_data_tracks.RemoteDataTrack):
    """A data track of somebody else, from the event DataTrackPublished or ``RemoteParticipant.data_tracks``."""

    __slots__ = ("_session",)

    def __init__(self, session: Session, info: models.DataTrackInfo, publisher_identity: str) -> None:
        super().__init__(info, publisher_identity)
        self._session = session

    @property
    def info(self) -> DataTrackInfo:
        """What is known of it."""
        return DataTrackInfo(self.sid, self.name, self.uses_e2ee)

    def is_published(self) -> bool:
        """Whether it is there."""
        return self.published

    def subscribe(self, *, capacity: int = CAPACITY) -> DataTrackStream:
        """The frames from now on, of which the latest ``capacity`` wait to be read: the oldest unread one goes first.

        It outlives a reconnect of ours and of the publisher, who has 15 seconds to come back. Raises LocalProtocolError
        when the track is gone, and DisconnectedError when the room has ended or is being left.
        """
        return DataTrackStream(self._session, self, capacity)


class DataTrackStream(Closing):
    """A subscription to a data track: an async iterator over its frames, and a context manager that ends it.

    ``frame.lost`` tells how many frames are missing before it, those included that were not read in time, which
    ``dropped`` counts. It ends with the track, and ``ended`` says why. One that nobody refers to any more is closed.
    """

    @trio.lowlevel.enable_ki_protection
    def __init__(self, session: Session, track: RemoteDataTrack, capacity: int) -> None:
        session.check_open()
        self._session = session
        self._core = core = session.engine.subscribe_data_track(track, capacity, trio.current_time())
        self._lot = trio.lowlevel.ParkingLot()
        self._burst = 0
        token = trio.lowlevel.current_trio_token()

        def gone(_: object) -> None:
            if not core.ended:
                run_soon(token, _unsubscribe, session, core)

        core.owner = weakref.ref(self, gone)
        session.streams.waiting.add(self)
        session.driver.pump()

    def __repr__(self) -> str:
        return f"<DataTrackStream {self._core.track.name!r}{' ' + self.ended if self.ended else ''}>"

    @property
    def ended(self) -> str:
        """Why no more frames will come, "" while they may."""
        return self._core.ended

    @property
    def dropped(self) -> int:
        """Frames that were not read in time."""
        return self._core.dropped

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> DataTrackFrame:
        """The next frame. Raises SubscribeDataTrackError when the server has not let us subscribe."""
        while True:
            self._burst += 1
            if self._burst < BURST:
                await trio.lowlevel.checkpoint_if_cancelled()
            else:
                self._burst = 0
                await trio.lowlevel.checkpoint()
            frame = self._core.read()
            if frame is not None:
                return frame
            if self._core.ended == "refused":
                raise SubscribeDataTrackError("the server did not let the data track come here")
            if self._core.ended or self._session.ended.is_set():
                raise StopAsyncIteration
            await self._lot.park()

    async def read(self) -> DataTrackFrame | None:
        """The next frame, None when the stream has ended."""
        try:
            return await self.__anext__()
        except StopAsyncIteration:
            return None

    def wake(self) -> None:
        """There is something to read, or never will be."""
        self._lot.unpark_all()

    def close(self) -> None:
        """End the subscription."""
        _unsubscribe(self._session, self._core)


@trio.lowlevel.enable_ki_protection
def _unsubscribe(session: Session, core: core_data_tracks.DataTrackStream) -> None:
    if not session.driver.broken:
        session.engine.unsubscribe_data_track(core, trio.current_time())
        session.driver.pump()
