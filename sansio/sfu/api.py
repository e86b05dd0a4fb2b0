"""The server API over HTTP: RoomService by Twirp, with bodies in protobuf or JSON.

``POST /twirp/livekit.RoomService/<Method>`` with a token whose grants allow it. Answers and errors have the form of
LiveKit's server; what needs more than one server is not implemented (501).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from .. import proto
from ..base.limits import SFU_HTTP_BODY, SFU_METADATA
from .calls import CallEnded
from .joining import LONGEST_NAME, Refused, authorise
from .options import CORS, Headers, HttpResponse, ServerOptions
from .participant import ServerParticipant
from .permissions import update_permission
from .requests import set_muted, subscription, update_info, within_limits
from .room import Room
from .token import Claims

if TYPE_CHECKING:
    from .server import SfuServer

PREFIX = "/twirp/"
SERVICE = "livekit.RoomService"

_STATUS = {
    "bad_route": 404,
    "malformed": 400,
    "invalid_argument": 400,
    "not_found": 404,
    "unauthenticated": 401,
    "failed_precondition": 412,
    "unimplemented": 501,
    "unavailable": 503,
    "canceled": 408,
    "internal": 500,
}
_CALL_FAILED = {
    1400: "invalid_argument",
    1402: "invalid_argument",
    1501: "canceled",
    1502: "canceled",
    1503: "not_found",
}
"""The codes of calls as those of the API; other failures are internal."""


class _ApiError(Exception):
    def __init__(self, code: str, text: str) -> None:
        super().__init__(code, text)
        self.code = code
        self.text = text


def preflight() -> HttpResponse:
    """The answer to a browser that asks whether it may ask."""
    allowed = (("Access-Control-Allow-Methods", "GET, POST, HEAD"), ("Access-Control-Allow-Headers", "*"))
    return HttpResponse(204, (CORS, *allowed), b"")


def handle(
    server: SfuServer, options: ServerOptions, method: str, path: str, headers: Headers, body: bytes, now: float
) -> HttpResponse | int:
    """Answer a request to the API; a number when ``answer_call`` will."""
    kinds = [value for name, value in headers if name.lower() == "content-type"]
    kind = kinds[0].partition(";")[0].strip().lower() if kinds else ""
    try:
        service, _, name = path.removeprefix(PREFIX).partition("/")
        call = _CALLS.get(name)
        if service != SERVICE or (call is None and name not in _ABSENT):
            raise _ApiError("bad_route", f"no handler for path {path!r}")
        if method != "POST":
            raise _ApiError("bad_route", f"unsupported method {method!r} (only POST is allowed)")
        if kind not in ("application/json", "application/protobuf"):
            raise _ApiError("bad_route", f"unexpected Content-Type: {kind!r}")
        if call is None:
            raise _ApiError("unimplemented", "not implemented")
        try:
            claims = authorise(headers, {}, options, server.unix(now))
        except Refused as refused:
            if "authorization" in [header.lower() for header, _ in headers]:
                return HttpResponse.plain(refused.status, refused.body)
            raise _ApiError("unauthenticated", "permissions denied") from None
        request = _decode(getattr(proto.room, call[0])(), kind, body)
        answer = call[1](server, claims, request, now)
        if isinstance(answer, ServerParticipant):  # who has to answer
            return server.call(answer, request, kind, now)
        return _encode(kind, answer)
    except _ApiError as error:
        return _refuse(error)


def answer_call(ended: CallEnded) -> HttpResponse:
    """The answer to a PerformRpc, when the call is over."""
    if ended.error is None:
        return _encode(ended.kind, proto.room.PerformRpcResponse(payload=ended.payload))
    number, message, data = ended.error
    text = f"RpcError {number}: {message}" + (f": {data}" if data else "")
    return _refuse(_ApiError(_CALL_FAILED.get(number, "internal"), text))


def _encode(kind: str, answer: Any) -> HttpResponse:
    data = (
        proto.to_json(answer).encode() if kind == "application/json" else answer.SerializeToString(deterministic=True)
    )
    return HttpResponse(200, (("Content-Type", kind), CORS), data)


def _refuse(error: _ApiError) -> HttpResponse:
    text = json.dumps({"code": error.code, "msg": error.text})
    return HttpResponse(_STATUS[error.code], (("Content-Type", "application/json"), CORS), text.encode())


def _decode(request: Any, kind: str, body: bytes) -> Any:
    if len(body) > SFU_HTTP_BODY:
        raise _ApiError("malformed", "the request is too large")
    try:
        if kind == "application/json":
            proto.from_json(body, request)
        else:
            request.ParseFromString(body)
    except proto.DecodeError:
        raise _ApiError("malformed", "the request could not be decoded") from None
    return request


# ------------------------------------------------------------------ who may, and whom it is about


def _allow(granted: bool) -> None:
    if not granted:
        raise _ApiError("unauthenticated", "permissions denied")


def _allow_admin(claims: Claims, room: str) -> None:
    _allow(claims.room_admin and claims.room == room)


def _room(server: SfuServer, name: str) -> Room:
    found = server.room(name)
    if found is None:
        raise _ApiError("not_found", "requested room does not exist")
    return found


def _participant(server: SfuServer, room: str, identity: str) -> ServerParticipant:
    found = server.room(room)
    participant = found.participants.get(identity) if found is not None else None
    if participant is None:
        raise _ApiError("not_found", "participant does not exist")
    return participant


# ------------------------------------------------------------------ the calls


def _create_room(server: SfuServer, claims: Claims, request: Any, now: float) -> Any:
    _allow(claims.room_create)
    if not request.name:
        raise _ApiError("invalid_argument", "no room name")
    if len(request.name) > LONGEST_NAME:
        raise _ApiError("invalid_argument", "room name length exceeds limits")
    if len(request.metadata) > SFU_METADATA:
        raise _ApiError("invalid_argument", "metadata size exceeds limits")
    if not server.has_place(request.name):
        raise _ApiError("failed_precondition", "node limits reached")
    return server.create_room(request, now).info


def _list_rooms(server: SfuServer, claims: Claims, request: Any, now: float) -> Any:
    _allow(claims.room_list)
    names = dict.fromkeys(request.names)
    return proto.room.ListRoomsResponse(rooms=[room.info for room in server.rooms if not names or room.name in names])


def _delete_room(server: SfuServer, claims: Claims, request: Any, now: float) -> Any:
    _allow(claims.room_create)
    server.delete_room(_room(server, request.room), proto.models.ROOM_DELETED, now)
    return proto.room.DeleteRoomResponse()


def _list_participants(server: SfuServer, claims: Claims, request: Any, now: float) -> Any:
    _allow_admin(claims, request.room)
    found = server.room(request.room)
    shown = found.visible() if found is not None else []
    return proto.room.ListParticipantsResponse(participants=[participant.info for participant in shown])


def _get_participant(server: SfuServer, claims: Claims, request: Any, now: float) -> Any:
    _allow_admin(claims, request.room)
    return _participant(server, request.room, request.identity).info


def _remove_participant(server: SfuServer, claims: Claims, request: Any, now: float) -> Any:
    _allow_admin(claims, request.room)
    server.dismiss(_participant(server, request.room, request.identity), proto.models.PARTICIPANT_REMOVED, now)
    return proto.room.RemoveParticipantResponse()


def _mute_track(server: SfuServer, claims: Claims, request: Any, now: float) -> Any:
    _allow_admin(claims, request.room)
    participant = _participant(server, request.room, request.identity)
    if not request.muted and not server.remote_unmute:
        raise _ApiError("failed_precondition", "remote unmute not enabled")
    track = participant.tracks.get(request.track_sid)
    if track is None:
        return proto.room.MuteRoomTrackResponse()
    if track.info.muted != request.muted:
        participant.send("mute", proto.rtc.MuteTrackRequest(sid=track.sid, muted=request.muted))
        set_muted(participant, track, request.muted, now)
    return proto.room.MuteRoomTrackResponse(track=track.info)


def _update_participant(server: SfuServer, claims: Claims, request: Any, now: float) -> Any:
    if not within_limits(request.name, request.metadata, request.attributes):
        raise _ApiError("invalid_argument", "name, metadata or attribute size exceeds limits")
    _allow_admin(claims, request.room)
    participant = _participant(server, request.room, request.identity)
    changed = request.name or request.metadata or request.attributes
    if changed and not update_info(server, participant, request.name, request.metadata, request.attributes, now):
        raise _ApiError("invalid_argument", "attribute size exceeds limits")
    if request.HasField("permission"):
        update_permission(server, participant, request.permission, now)
    return participant.info


def _update_subscriptions(server: SfuServer, claims: Claims, request: Any, now: float) -> Any:
    _allow_admin(claims, request.room)
    participant = _participant(server, request.room, request.identity)
    update = proto.rtc.UpdateSubscription(
        track_sids=request.track_sids, subscribe=request.subscribe, participant_tracks=request.participant_tracks
    )
    subscription(participant, update, now)
    return proto.room.UpdateSubscriptionsResponse()


def _send_data(server: SfuServer, claims: Claims, request: Any, now: float) -> Any:
    _allow_admin(claims, request.room)
    if len(request.nonce) not in (0, 16):
        raise _ApiError("invalid_argument", "nonce should be 16-bytes or not present")
    room = _room(server, request.room)
    packet = proto.models.DataPacket(destination_identities=request.destination_identities)
    user = packet.user
    user.payload, user.nonce = request.data, request.nonce
    if request.HasField("topic"):
        user.topic = request.topic
    user.destination_sids.extend(request.destination_sids)
    user.destination_identities.extend(request.destination_identities)
    room.deliver(packet, request.kind == proto.models.DataPacket.RELIABLE, None, now)
    return proto.room.SendDataResponse()


def _update_room_metadata(server: SfuServer, claims: Claims, request: Any, now: float) -> Any:
    if len(request.metadata) > SFU_METADATA:
        raise _ApiError("invalid_argument", "metadata size exceeds limits")
    _allow_admin(claims, request.room)
    room = _room(server, request.room)
    room.info.metadata = request.metadata
    room.broadcast("room_update", proto.rtc.RoomUpdate(room=room.info))
    return room.info


def _perform_rpc(server: SfuServer, claims: Claims, request: Any, now: float) -> ServerParticipant:
    _allow_admin(claims, request.room)
    if not request.destination_identity:
        raise _ApiError("invalid_argument", "destination identity is required")
    found = server.room(request.room)
    participant = found.participants.get(request.destination_identity) if found is not None else None
    if found is None or participant is None or found.calls.full:
        raise _ApiError("unavailable", "no response from servers")  # so LiveKit's server puts it
    return participant


_Call = Callable[["SfuServer", Claims, Any, float], Any]
_CALLS: Mapping[str, tuple[str, _Call]] = {
    "CreateRoom": ("CreateRoomRequest", _create_room),
    "ListRooms": ("ListRoomsRequest", _list_rooms),
    "DeleteRoom": ("DeleteRoomRequest", _delete_room),
    "ListParticipants": ("ListParticipantsRequest", _list_participants),
    "GetParticipant": ("RoomParticipantIdentity", _get_participant),
    "RemoveParticipant": ("RoomParticipantIdentity", _remove_participant),
    "MutePublishedTrack": ("MuteRoomTrackRequest", _mute_track),
    "UpdateParticipant": ("UpdateParticipantRequest", _update_participant),
    "UpdateSubscriptions": ("UpdateSubscriptionsRequest", _update_subscriptions),
    "SendData": ("SendDataRequest", _send_data),
    "PerformRpc": ("PerformRpcRequest", _perform_rpc),
    "UpdateRoomMetadata": ("UpdateRoomMetadataRequest", _update_room_metadata),
}
_ABSENT = ("ForwardParticipant", "MoveParticipant")
