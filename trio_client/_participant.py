"""Participants as users see them: the core's live objects, with listening and asking added."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar, cast, overload

import trio

from ._core import (
    LocalProtocolError,
    ParticipantTrackPermission,
    SipDtmf,
    TrackSource,
    core_messages,
    core_participant,
)
from ._data_streams import ByteStreamWriter, Opening, TextStreamWriter, send_file, send_whole
from ._data_tracks import LocalDataTrack, RemoteDataTrack, publish_data_track
from ._listening import Listening
from ._subscription import Listeners

if TYPE_CHECKING:
    from ._core import ByteStreamInfo, ChatEntry, TextStreamInfo, Transcription
    from ._publication import LocalTrackPublication
    from ._rpc import RpcCodec, RpcHandler
    from ._session import Session
    from ._tracks import LocalTrack

Q = TypeVar("Q")
A = TypeVar("A")
R = TypeVar("R", bound="RpcHandler")


class _Participant(Listening, core_participant.Participant):
    """A participant whose listeners are made when first asked for: most have none."""

    __slots__ = ("_listeners", "_session")
    _session: Session
    _listeners: Listeners | None

    def _get_listeners(self) -> Listeners:
        if self._listeners is None:
            self._listeners = Listeners(self._session.hub, room=False)
            if self._session.ended.is_set():
                self._listeners.end(self._session.reason)
            elif self.disconnect_reason is not None:
                self._listeners.end(self.disconnect_reason)
        return self._listeners


class RemoteParticipant(_Participant, core_participant.RemoteParticipant):
    """Somebody else in the room. Who leaves and comes back is a new object."""

    __slots__ = ()

    def __init__(self, session: Session, identity: str, sid: str) -> None:
        super().__init__(identity, sid)
        self._session = session
        self._listeners = None

    @property
    def data_tracks(self) -> Mapping[str, RemoteDataTrack]:
        """Data tracks by sid; a read-only view that is always current."""
        return cast("Mapping[str, RemoteDataTrack]", super().data_tracks)


class LocalParticipant(_Participant, core_participant.LocalParticipant):
    """Ourselves in the room."""

    __slots__ = ()

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session
        self._listeners = None

    async def publish_data(
        self,
        payload: bytes | bytearray | memoryview,
        *,
        reliable: bool = True,
        topic: str = "",
        destination_identities: Iterable[str] = (),
        wait_acked: bool = False,
    ) -> None:
        """Send a data packet to everybody, or to the named identities.

        Reliable packets arrive in order and exactly once, lossy ones as the network likes. Returns when the packet is
        queued, which waits while the receiver or the network is slower than the sender; senders that wait are served
        in order. Cancelled, the packet was not queued. Raises DataTooLarge for a packet of more than 64 000 bytes in
        all, and DisconnectedError when the room has ended or is being left.

        ``wait_acked``: for a reliable packet, return when the server has acknowledged it (not the receivers). Raises
        NotAcknowledged when the session had to be joined anew before that. Cancelled, it may have been queued.
        """
        if wait_acked and not reliable:
            raise LocalProtocolError("wait_acked is for reliable data: nobody acknowledges lossy packets")
        if not isinstance(payload, bytes):
            payload = bytes(memoryview(payload))
        await self._session.publish_data(payload, reliable, topic, destination_identities, wait_acked)

    async def send_text(
        self,
        text: str,
        *,
        topic: str = "",
        destination_identities: Iterable[str] = (),
        attributes: Mapping[str, str] | None = None,
        reply_to_id: str = "",
        attachments: Iterable[str] = (),
        compress: bool = True,
    ) -> TextStreamInfo:
        """Send a text of any length, to everybody or to the named identities, as a text stream; its info.

        Returns when all of it is queued, like ``publish_data``. A short text takes one packet, and a long one is
        compressed, if everybody who gets it can read that. Cancelled, its readers are told that it was given up.
        ``attachments``: ids of byte streams that belong to it. Raises LocalProtocolError for attributes above 15 kB,
        StreamError when the connection was made anew in the middle, and DisconnectedError when the room has ended or is
        being left.
        """
        streams = self._session.streams
        header = _header(topic, destination_identities, attributes)
        header.update(reply_to_id=reply_to_id, attachments=tuple(attachments))
        out = self._session.engine.streams_out
        info: TextStreamInfo = await send_whole(
            streams, lambda now: out.send_text(text, now, compress=compress, **header)
        )
        return info

    def stream_text(
        self,
        *,
        topic: str = "",
        destination_identities: Iterable[str] = (),
        attributes: Mapping[str, str] | None = None,
        stream_id: str | None = None,
        total_size: int | None = None,
        reply_to_id: str = "",
        attachments: Iterable[str] = (),
    ) -> Opening[TextStreamWriter]:
        """Send a text piece by piece: ``async with participant.stream_text(topic="t") as writer``.

        Leaving the block ends the stream; by an exception, its readers get an error. Awaited, it gives the writer
        without a block: then ``await writer.aclose()`` ends the stream. ``total_size``, in bytes of UTF-8, is only for
        the readers to know.
        """
        header = _header(topic, destination_identities, attributes)
        return self._session.streams.open_text(
            stream_id=stream_id,
            total_size=total_size,
            reply_to_id=reply_to_id,
            attachments=tuple(attachments),
            **header,
        )

    async def send_bytes(
        self,
        data: bytes | bytearray | memoryview,
        *,
        name: str = "",
        topic: str = "",
        destination_identities: Iterable[str] = (),
        attributes: Mapping[str, str] | None = None,
        mime_type: str = "application/octet-stream",
        stream_id: str | None = None,
        compress: bool = True,
    ) -> ByteStreamInfo:
        """Send bytes of any number as a byte stream; see ``send_text``."""
        streams = self._session.streams
        header = _header(topic, destination_identities, attributes)
        header.update(name=name, mime_type=mime_type, stream_id=stream_id)
        out = self._session.engine.streams_out
        info: ByteStreamInfo = await send_whole(
            streams, lambda now: out.send_bytes(data, now, compress=compress, **header)
        )
        return info

    def stream_bytes(
        self,
        name: str = "",
        *,
        topic: str = "",
        destination_identities: Iterable[str] = (),
        attributes: Mapping[str, str] | None = None,
        mime_type: str = "application/octet-stream",
        stream_id: str | None = None,
        total_size: int | None = None,
    ) -> Opening[ByteStreamWriter]:
        """Send bytes piece by piece; see ``stream_text``. ``name`` is that of a file, or what you like."""
        header = _header(topic, destination_identities, attributes)
        return self._session.streams.open_bytes(
            name=name, mime_type=mime_type, stream_id=stream_id, total_size=total_size, **header
        )

    async def send_file(
        self,
        file_path: str | os.PathLike[str],
        *,
        topic: str = "",
        destination_identities: Iterable[str] = (),
        attributes: Mapping[str, str] | None = None,
        name: str | None = None,
        mime_type: str | None = None,
        stream_id: str | None = None,
        compress: bool = True,
        on_progress: Callable[[float], object] | None = None,
    ) -> ByteStreamInfo:
        """Send a file as a byte stream, read piece by piece; see ``send_text``.

        Its name and type are those of the path, unless told. ``on_progress`` is called with the part that is queued,
        up to 1.0. Raises OSError for a file that cannot be read, LocalProtocolError for one that shrinks meanwhile.
        """
        header = _header(topic, destination_identities, attributes)
        return await send_file(
            self._session.streams,
            file_path,
            name=name,
            mime_type=mime_type,
            compress=compress,
            on_progress=on_progress,
            header={**header, "stream_id": stream_id},
        )

    @overload
    async def perform_rpc(
        self, identity: str, method: str, payload: str = "", response_timeout: float = 15.0
    ) -> str: ...
    @overload
    async def perform_rpc(
        self, identity: str, method: str, payload: Q, response_timeout: float = 15.0, *, codec: RpcCodec[Q, A]
    ) -> A: ...
    async def perform_rpc(
        self,
        identity: str,
        method: str,
        payload: Any = "",
        response_timeout: float = 15.0,
        *,
        codec: RpcCodec[Any, Any] | None = None,
    ) -> Any:
        """Call a method of a participant, and return its answer.

        ``response_timeout``: seconds to wait for the answer. With a ``codec`` the payload is what that encodes, and the
        answer what it decodes; else both are text, of at most 15 360 bytes where the other client is old.

        Raises RpcError: what the method raised, or one of RpcErrorCode, at once when the participant leaves, and after
        7 s when it does not acknowledge the call. Raises DisconnectedError when the room ends or is left meanwhile.
        Cancelled, the call is forgotten: the other side may have carried it out, and its answer is dropped.
        """
        return await self._session.rpc.perform(identity, method, payload, response_timeout, codec)

    @overload
    def register_rpc_method(self, method: str, handler: R, *, codec: RpcCodec[Any, Any] | None = None) -> R: ...
    @overload
    def register_rpc_method(self, method: str, *, codec: RpcCodec[Any, Any] | None = None) -> Callable[[R], R]: ...
    def register_rpc_method(self, method: str, handler: Any = None, *, codec: RpcCodec[Any, Any] | None = None) -> Any:
        """Answer calls to a method with what ``handler(data: RpcInvocationData)`` returns; a decorator without one.

        An async handler is a task of the room, cancelled when nobody waits for its answer any more: at its deadline,
        when the caller leaves, when the room ends. A sync one is called at once. An RpcError that it raises goes to the
        caller; any other exception is logged, and the caller gets APPLICATION_ERROR: one bad call does not end a room.
        With a ``codec`` the handler gets objects and returns objects. A second handler for a method takes the place of
        the first.
        """
        if handler is None:
            return lambda handler: self.register_rpc_method(method, handler, codec=codec)
        self._session.rpc.register(method, handler, codec)
        return handler

    def unregister_rpc_method(self, method: str) -> None:
        """Answer no more calls to a method; those under way go on. Does nothing if it is not registered."""
        self._session.rpc.unregister(method)

    async def publish_data_track(self, name: str) -> LocalDataTrack:
        """Publish a data track, for frames that are sent once and are late for nobody; returns when the server has it.

        The track is published again when the session has to be joined anew. Cancelled, it is not published. Raises
        RequestRejected when the server refuses, LocalProtocolError for a name that is in use, empty, or longer than
        256 bytes, and DisconnectedError when the room has ended or is being left.
        """
        return await publish_data_track(self._session, name)

    async def send_chat_message(self, message: str, *, destination_identities: Iterable[str] = ()) -> ChatEntry:
        """Write into the chat, to everybody or to the named identities; what was written, for ``edit_chat_message``.

        Others get the event ChatMessage. Returns and raises like ``publish_data``. LiveKit's own clients show text
        streams of the topic "lk.chat" as well; see ``send_text``.
        """
        entry = self._session.engine.chat_entry(message, trio.current_time())
        await self._session.send_message(core_messages.chat_packet(entry, destination_identities))
        return entry

    async def edit_chat_message(
        self, entry: ChatEntry, message: str, *, destination_identities: Iterable[str] = ()
    ) -> ChatEntry:
        """Put another text in the place of what was written; the changed entry. See ``send_chat_message``."""
        entry = self._session.engine.chat_entry(message, trio.current_time(), edits=entry)
        await self._session.send_message(core_messages.chat_packet(entry, destination_identities))
        return entry

    async def publish_transcription(
        self, transcription: Transcription, *, destination_identities: Iterable[str] = ()
    ) -> None:
        """Tell what was said on a track; others get the event TranscriptionReceived.

        The server passes on only what agents send, participants with ``kind`` AGENT. Returns and raises like
        ``publish_data``.
        """
        await self._session.send_message(core_messages.transcription_packet(transcription, destination_identities))

    async def publish_dtmf(
        self, *, code: int | None = None, digit: str, destination_identities: Iterable[str] = ()
    ) -> None:
        """Press a key of the telephone, for participants who are connected by SIP; ``code`` follows from ``digit``.

        Returns and raises like ``publish_data``; raises LocalProtocolError for a digit that no telephone has.
        """
        dtmf = core_messages.dtmf_of(digit) if code is None else SipDtmf(code, digit)
        await self._session.send_message(core_messages.dtmf_packet(dtmf, destination_identities))

    async def publish_track(
        self,
        track: LocalTrack,
        *,
        source: TrackSource | None = None,
        name: str = "",
        stream: str = "",
    ) -> LocalTrackPublication:
        """Publish a track; returns when the server has accepted it. Frames can be written from then on.

        ``source``: where it comes from, microphone or camera unless told. ``name``: how others find it, that of the
        track unless told. ``stream``: a name that groups tracks to be played in step. Cancelled, the track is not
        published. Raises RequestRejected when the server refuses, as it does without the grant for this source, and
        DisconnectedError when the room has ended or is being left.
        """
        publication: LocalTrackPublication = await self._session.publish(track, source, name, stream)
        return publication

    async def unpublish_track(self, publication: LocalTrackPublication | str) -> None:
        """End a published track, named by its publication or its sid.

        Raises DisconnectedError when the room has ended or is being left, which ends every track.
        """
        await trio.lowlevel.checkpoint()
        self._session.unpublish(publication if isinstance(publication, str) else publication.sid)

    def set_track_subscription_permissions(
        self,
        *,
        allow_all_participants: bool = True,
        participant_permissions: Iterable[ParticipantTrackPermission] = (),
    ) -> None:
        """Say who may subscribe to our tracks: everybody, or only the named participants what their entries allow.

        Each call replaces what was set before, for tracks that are published and those to come; what somebody may not
        have any more ends for them at once. Raises DisconnectedError when the room has ended or is being left.
        """
        self._session.do(self._session.engine.set_track_permissions, allow_all_participants, participant_permissions)

    async def set_name(self, name: str) -> None:
        """Change our display name; returns when the server has accepted it.

        Raises RequestRejected if it has not, and DisconnectedError when the room has ended or is being left.
        """
        await self._session.request(self._session.engine.set_name, name)

    async def set_metadata(self, metadata: str) -> None:
        """Change our metadata; returns and raises like ``set_name``."""
        await self._session.request(self._session.engine.set_metadata, metadata)

    async def set_attributes(self, attributes: Mapping[str, str]) -> None:
        """Set the named attributes of ours; "" deletes one, others stay. Returns and raises like ``set_name``."""
        await self._session.request(self._session.engine.set_attributes, attributes)


def _header(topic: str, destinations: Iterable[str], attributes: Mapping[str, str] | None) -> dict[str, Any]:
    return {
        "topic": topic,
        "destination_identities": destinations if isinstance(destinations, str) else tuple(destinations),
        "attributes": attributes,
    }
