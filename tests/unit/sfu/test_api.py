"""The server API over HTTP."""

from __future__ import annotations

import json

import pytest

from sansio import proto
from sansio.base.contract import CloseSignal
from sansio.base.limits import SFU_ATTRIBUTES, SFU_HTTP_BODY, SFU_METADATA, SFU_NAME
from sansio.sfu.api import SERVICE
from sansio.sfu.server import SfuServer
from sansio.sfu.token import Claims, mint
from tests.unit.sfu.door import UNIX, Door, sending

rtc, models, room = proto.rtc, proto.models, proto.room
ADMIN = {"room_create": True, "room_list": True, "room_admin": True}


def token(**grants):
    grants = {"room": "room", **(grants or ADMIN)}
    return mint(Claims(**{"identity": "admin", "key": "key", "room_join": False, **grants}), "secret", UNIX)


def call(door, method, request=None, *, grants=None, kind="application/json", verb="POST", headers=None, body=None):
    """A request to the API: the status, and the answer as a dict."""
    if headers is None:
        headers = (("authorization", f"Bearer {token(**(grants or {}))}"), ("Content-Type", kind))
    if body is None:
        body = json.dumps(request or {}).encode()
    path = method if method.startswith("/") else f"/twirp/livekit.RoomService/{method}"
    status, _, data = door.server.handle_http(verb, path, headers, body, door.now)
    door.turn()
    return status, json.loads(data) if data[:1] == b"{" else data.decode()


@pytest.fixture
def door():
    door = Door(empty_timeout=10)
    door.alice = door.enter("alice", can_update_own_metadata=True)
    return door


# ------------------------------------------------------------------ rooms


def test_rooms_are_made_listed_and_deleted(door):
    status, made = call(door, "CreateRoom", {"name": "new", "metadata": "m", "max_participants": 2, "empty_timeout": 5})
    assert (status, made["name"], made["metadata"], made["max_participants"]) == (200, "new", "m", 2)
    assert made["sid"].startswith("RM_")
    assert call(door, "CreateRoom", {"name": "new"})[1]["sid"] == made["sid"]
    assert [each["name"] for each in call(door, "ListRooms")[1]["rooms"]] == ["room", "new"]
    listed = call(door, "ListRooms", {"names": ["room", "other"]})[1]["rooms"]
    assert [(each["name"], each["num_participants"]) for each in listed] == [("room", 1)]
    assert call(door, "DeleteRoom", {"room": "room"}) == (200, {})
    assert [leave.reason for leave in door.messages("leave", door.alice)] == [models.ROOM_DELETED]
    assert CloseSignal(door.alice) in door.outputs
    assert call(door, "DeleteRoom", {"room": "room"})[0] == 404
    door.turn(5.0)
    assert call(door, "ListRooms")[1]["rooms"] == []  # nobody came


def test_rooms_have_limits(door, monkeypatch):
    assert call(door, "CreateRoom")[1]["code"] == "invalid_argument"
    assert call(door, "CreateRoom", {"name": "x" * 257})[0] == 400
    assert call(door, "CreateRoom", {"name": "x", "metadata": "m" * (SFU_METADATA + 1)})[0] == 400
    monkeypatch.setattr("sansio.sfu.registry.SFU_ROOMS", 1)
    assert call(door, "CreateRoom", {"name": "x"})[1] == {"code": "failed_precondition", "msg": "node limits reached"}
    assert call(door, "CreateRoom", {"name": "room"})[0] == 200


def test_room_metadata(door):
    status, changed = call(door, "UpdateRoomMetadata", {"room": "room", "metadata": "new"})
    assert (status, changed["metadata"]) == (200, "new")
    assert door.messages("room_update", door.alice)[-1].room.metadata == "new"
    assert call(door, "UpdateRoomMetadata", {"room": "room", "metadata": "m" * (SFU_METADATA + 1)})[0] == 400
    other = {"room_admin": True, "room": "other"}
    assert (
        call(door, "UpdateRoomMetadata", {"room": "other"}, grants=other)[1]["msg"] == "requested room does not exist"
    )


# ------------------------------------------------------------------ participants


def test_participants_are_listed_and_found(door):
    door.enter("hidden", hidden=True)
    found = call(door, "ListParticipants", {"room": "room"})[1]["participants"]
    assert [(each["identity"], each["state"]) for each in found] == [("alice", "JOINED")]
    found = call(door, "GetParticipant", {"room": "room", "identity": "alice"})[1]
    assert found["sid"] == door.there("alice").sid
    assert call(door, "GetParticipant", {"room": "room", "identity": "nobody"}) == (
        404,
        {"code": "not_found", "msg": "participant does not exist"},
    )
    elsewhere = {"room_admin": True, "room": "elsewhere"}
    assert call(door, "ListParticipants", {"room": "elsewhere"}, grants=elsewhere) == (200, {"participants": []})
    assert call(door, "GetParticipant", {"room": "elsewhere", "identity": "a"}, grants=elsewhere)[0] == 404


def test_a_participant_is_removed(door):
    assert call(door, "RemoveParticipant", {"room": "room", "identity": "alice"}) == (200, {})
    assert [leave.reason for leave in door.messages("leave", door.alice)] == [models.PARTICIPANT_REMOVED]
    assert call(door, "RemoveParticipant", {"room": "room", "identity": "alice"})[0] == 404


def test_a_participant_is_changed(door):
    change = {"room": "room", "identity": "alice", "name": "A", "metadata": "m", "attributes": {"k": "v"}}
    status, info = call(door, "UpdateParticipant", change)
    assert (status, info["name"], info["metadata"], info["attributes"]) == (200, "A", "m", {"k": "v"})
    told = door.messages("update", door.alice)[-1].participants[0]
    assert (told.name, told.version) == ("A", info["version"])
    assert len(door.messages("refresh_token", door.alice)) == 2
    for field in (
        {"name": "n" * (SFU_NAME + 1)},
        {"metadata": "m" * (SFU_METADATA + 1)},
        {"attributes": {"k": "v" * SFU_ATTRIBUTES}},
        {"attributes": {"other": "v" * (SFU_ATTRIBUTES - 6)}},
    ):
        assert call(door, "UpdateParticipant", {"room": "room", "identity": "alice", **field})[0] == 400


def permit(door, **permission):
    everything = {"can_publish": True, "can_subscribe": True, "can_publish_data": True}
    request = {"room": "room", "identity": "alice", "permission": {**everything, **permission}}
    return call(door, "UpdateParticipant", request)[1]


def test_permissions_are_taken_and_given_back(door):
    bob = door.enter("bob")
    theirs = door.publish(bob, "mic", "1")
    mine = door.publish(door.alice, "mic", "1", source=models.MICROPHONE)
    other = door.publish(door.alice, "cam", "2", "video", [sending("audio", "1", "mic")], source=models.CAMERA)
    assert list(door.there("alice").downs) == [theirs]
    info = permit(door, can_publish_sources=["MICROPHONE"])
    assert [track["sid"] for track in info["tracks"]] == [mine]
    assert [gone.track_sid for gone in door.messages("track_unpublished", door.alice)] == [other]
    assert door.messages("update", bob)[-1].participants[0].permission.can_publish_sources == [models.MICROPHONE]
    info = permit(door, can_publish=False, can_subscribe=False)
    assert (info["tracks"], info["is_publisher"]) == ([], False)
    assert not door.there("alice").downs
    permit(door)
    assert list(door.there("alice").downs) == [theirs]
    assert door.there("alice").claims.can_publish


def test_what_was_announced_is_taken_back_with_the_permission(door):
    door.publish(door.alice, "mic", "1")
    door.add_track(door.alice, "mic")  # waits for the name
    door.add_track(door.alice, "cam", "video")
    door.request(door.alice, publish_data_track_request=rtc.PublishDataTrackRequest(pub_handle=1, name="n"))
    info = permit(door, can_publish=False, can_publish_data=False)
    assert info["data_tracks"] == []
    door.offer(door.alice, sending("audio", "1", "mic"), sending("video", "2", "cam"))
    there = door.there("alice")
    assert (there.tracks, there.pending, there.queued) == ({}, {}, {})
    assert door.messages("request_response", door.alice)[-1].reason == rtc.RequestResponse.NOT_ALLOWED
    permit(door)
    door.request(door.alice, publish_data_track_request=rtc.PublishDataTrackRequest(pub_handle=1, name="n"))
    assert len(there.info.data_tracks) == 1


def test_tracks_are_muted(door):
    sid = door.publish(door.alice, "mic", "1")
    mute = {"room": "room", "identity": "alice", "track_sid": sid, "muted": True}
    assert call(door, "MutePublishedTrack", mute)[1]["track"]["muted"] is True
    assert [(told.sid, told.muted) for told in door.messages("mute", door.alice)] == [(sid, True)]
    assert call(door, "MutePublishedTrack", mute)[0] == 200
    assert len(door.messages("mute", door.alice)) == 1
    assert call(door, "MutePublishedTrack", {**mute, "muted": False})[1]["msg"] == "remote unmute not enabled"
    assert call(door, "MutePublishedTrack", {**mute, "track_sid": "x"}) == (200, {})
    kind = Door(remote_unmute=True)
    link = kind.enter("alice")
    sid = kind.publish(link, "mic", "1", muted=True)
    assert call(kind, "MutePublishedTrack", {**mute, "track_sid": sid, "muted": False})[0] == 200
    assert [told.muted for told in kind.messages("mute", link)] == [False]


def test_subscriptions_are_changed(door):
    sid = door.publish(door.enter("bob"), "mic", "1")
    change = {"room": "room", "identity": "alice", "track_sids": [sid], "subscribe": False}
    assert call(door, "UpdateSubscriptions", change) == (200, {})
    assert not door.there("alice").downs
    group = [{"participant_sid": "x", "track_sids": [sid]}]
    change = {"room": "room", "identity": "alice", "participant_tracks": group, "subscribe": True}
    assert call(door, "UpdateSubscriptions", change)[0] == 200
    assert list(door.there("alice").downs) == [sid]


def test_data_is_sent(door, monkeypatch):
    door.enter("bob")
    got = []
    for name in ("alice", "bob"):
        monkeypatch.setattr(
            door.there(name), "send_data", lambda data, reliable, now, name=name: got.append((name, reliable, data))
        )
    send = {"room": "room", "data": "aGk=", "topic": "t"}
    assert call(door, "SendData", send) == (200, {})
    assert [(name, reliable) for name, reliable, _ in got] == [("alice", True), ("bob", True)]
    packet = models.DataPacket.FromString(got[0][2])
    assert (packet.user.payload, packet.user.topic, packet.participant_identity) == (b"hi", "t", "")
    got.clear()
    call(door, "SendData", {"room": "room", "data": "aGk=", "kind": "LOSSY", "destination_identities": ["bob"]})
    call(door, "SendData", {"room": "room", "data": "aGk=", "destination_sids": [door.there("alice").sid]})
    assert [(name, reliable) for name, reliable, _ in got] == [("bob", False), ("alice", True)]
    assert not models.DataPacket.FromString(got[0][2]).user.HasField("topic")
    assert call(door, "SendData", {"room": "room", "nonce": "aGk="})[1]["code"] == "invalid_argument"
    other = {"room_admin": True, "room": "other"}
    assert call(door, "SendData", {"room": "other"}, grants=other)[0] == 404


# ------------------------------------------------------------------ who may, and in what form


@pytest.mark.parametrize("method", ["CreateRoom", "ListRooms", "DeleteRoom"])
def test_grants_for_rooms(door, method):
    assert call(door, method, grants={"room_admin": True}) == (
        401,
        {"code": "unauthenticated", "msg": "permissions denied"},
    )


@pytest.mark.parametrize(
    "method",
    [
        *("ListParticipants", "GetParticipant", "RemoveParticipant", "MutePublishedTrack"),
        *("UpdateParticipant", "UpdateSubscriptions", "SendData", "UpdateRoomMetadata"),
    ],
)
def test_grants_for_what_happens_in_a_room(door, method):
    assert call(door, method, {"room": "room"}, grants={"room_create": True, "room_list": True})[0] == 401
    assert call(door, method, {"room": "room"}, grants={"room_admin": True, "room": "other"})[0] == 401


def test_tokens(door):
    kind = ("Content-Type", "application/json")
    assert call(door, "ListRooms", headers=(kind,)) == (401, {"code": "unauthenticated", "msg": "permissions denied"})
    bad = call(door, "ListRooms", headers=(kind, ("Authorization", "Bearer x")))
    assert bad == (401, "invalid authorization token")


def test_protobuf_bodies(door):
    headers = (("Authorization", f"Bearer {token()}"), ("content-type", "application/protobuf"))
    body = room.CreateRoomRequest(name="p").SerializeToString()
    path = "/twirp/livekit.RoomService/CreateRoom"
    status, answered, data = door.server.handle_http("POST", path, headers, body, 0.0)
    assert (status, dict(answered)["Content-Type"]) == (200, "application/protobuf")
    assert models.Room.FromString(data).name == "p"
    assert door.server.handle_http("POST", path, headers, b"\xff", 0.0).status == 400


def test_forms_that_are_not_taken(door):
    assert call(door, "CreateRoom", body=b"{")[1]["code"] == "malformed"
    assert call(door, "CreateRoom", body=b" " * (SFU_HTTP_BODY + 1))[1]["code"] == "malformed"
    assert call(door, "CreateRoom", verb="GET")[1]["code"] == "bad_route"
    assert call(door, "CreateRoom", kind="text/plain")[1]["code"] == "bad_route"
    assert call(door, "CreateRoom", headers=())[1]["code"] == "bad_route"
    assert call(door, "Nonsense")[1]["code"] == "bad_route"
    assert call(door, "/twirp/livekit.Egress/CreateRoom")[1]["code"] == "bad_route"
    assert call(door, "MoveParticipant") == (501, {"code": "unimplemented", "msg": "not implemented"})


# ------------------------------------------------------------------ other paths


def get(door, target, verb="GET", headers=()):
    status, _, body = door.server.handle_http(verb, target, headers, b"", 0.0)
    return status, body.decode()


def test_other_paths(door):
    assert get(door, "/") == (200, "OK")
    assert get(door, "http://[x") == (400, "cannot read the address")
    assert get(door, "/rtc") == (404, "")
    assert get(door, "/rtc/v1?join_request=x") == (404, "")
    assert get(door, "/settings/regions") == (404, "404 page not found")
    assert get(door, "/rtc/validate", "OPTIONS")[0] == 204


def test_validation_says_what_a_handshake_would(door):
    good = mint(Claims("bob", "room", "key"), "secret", UNIX)
    assert get(door, f"/rtc/validate?access_token={good}") == (200, "success")
    assert get(door, "//rtc/validate") == (401, "no permissions to access the room")
    assert get(door, f"/rtc/v1/validate?access_token={good}") == (400, "join_request is required")
    assert get(door, "/rtc/validate?access_token=x")[0] == 401
    assert isinstance(door.server, SfuServer)


def test_a_server_that_has_stopped_makes_no_rooms(door):
    door.server.stop(door.now)
    assert door.server.handle_http("POST", f"/twirp/{SERVICE}/CreateRoom", (), b"", door.now).status == 503
    assert door.server.handle_http("GET", "/", (), b"", door.now).status == 503
