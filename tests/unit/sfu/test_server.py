"""The server: who may come in, what is told to whom, what is relayed."""

from __future__ import annotations

import base64
import json
import zlib
from urllib.parse import quote

import pytest

from sansio import proto
from sansio.base.contract import INF, ClosePort, CloseSignal
from sansio.base.limits import (
    SFU_ATTRIBUTES,
    SFU_JOIN_REQUEST,
    SFU_MESSAGE,
    SFU_METADATA,
    SFU_NAME,
    SFU_NOTES,
    SFU_PARTICIPANTS,
)
from sansio.events import Connected, ParticipantActive, ParticipantConnected, ParticipantDisconnected, Reconnected
from sansio.lifecycle.policy import ReconnectPolicy
from sansio.room.outputs import Ended
from sansio.room.requests import RequestDone, RequestFailed
from sansio.sfu.participant import JOIN_TIMEOUT
from sansio.sfu.server import AcceptSignal, RefuseSignal
from sansio.sfu.token import Claims, mint, verify
from sansio.signal.urls import JoinSettings, join_url, resume_url
from sansio.types import DisconnectReason, ParticipantState, RequestReason
from tests.unit.room.party import Party
from tests.unit.sfu.door import UNIX, Door, asked, wrapped

rtc, models = proto.rtc, proto.models


# ------------------------------------------------------------------ who may come in


def gzipped(data):
    packer = zlib.compressobj(wbits=31)
    return packer.compress(data) + packer.flush()


GOOD = mint(Claims("alice", "room", "key"), "secret", UNIX)


def with_metadata():
    return wrapped(rtc.JoinRequest(metadata="x").SerializeToString())


@pytest.mark.parametrize(
    ("url", "headers", "status", "body"),
    [
        ("ws://x/", None, 404, "404 page not found"),
        ("ws://x/rtc/", None, 404, "404 page not found"),
        ("ws://[x/rtc", None, 400, "cannot read the address"),
        ("ws://x/rtc/v1", None, 400, "join_request is required"),
        ("ws://x/rtc/v1?join_request=%C3%A9", None, 400, "cannot decode join_request"),
        ("ws://x/rtc/v1?join_request=a", None, 400, "cannot decode join_request"),
        ("ws://x/rtc/v1?join_request=////", None, 400, "cannot decode join_request"),
        (wrapped(b"\xff\xff"), None, 400, "cannot decode join_request"),
        (wrapped(b"no gzip", compression=1), None, 400, "cannot decode join_request"),
        (wrapped(gzipped(bytes(SFU_JOIN_REQUEST + 1)), compression=1), None, 400, "join request too large"),
        (with_metadata(), None, 401, "no permissions to access the room"),
        ("ws://x/rtc", (), 401, "no permissions to access the room"),
        (
            f"ws://x/rtc?access_token={GOOD}",
            (("Authorization", "Basic x"),),
            401,
            "invalid authorization header. Must start with Bearer ",
        ),
        ("ws://x/rtc", (("Authorization", "Bearer nonsense"),), 401, "invalid authorization token"),
    ],
)
def test_refusals(url, headers, status, body):
    door = Door()
    assert door.knock(url, headers=headers) == RefuseSignal(1, status, body)
    assert door.server.advance(0.0) == INF


@pytest.mark.parametrize(
    ("claims", "status", "body"),
    [
        ({"room_join": False}, 401, "permissions denied"),
        ({"identity": ""}, 400, "identity cannot be empty"),
        ({"room": ""}, 400, "no room name"),
        ({"identity": "x" * 257}, 400, "participant identity length exceeds limits: max length 256"),
        ({"room": "x" * 257}, 400, "room name length exceeds limits: max length 256"),
        ({"key": "other"}, 401, "invalid API key"),
    ],
)
def test_tokens_that_do_not_let_in(claims, status, body):
    assert Door().knock(**claims) == RefuseSignal(1, status, body)


def test_a_token_in_the_query_lets_in_too():
    door = Door()
    assert door.knock(f"ws://x//rtc?access_token={GOOD}", headers=(("User-Agent", "x"),)) == AcceptSignal(1)


def test_old_servers_do_not_know_the_new_path():
    door = Door(path_v1=False)
    assert door.knock(asked()) == RefuseSignal(1, 404, "404 page not found")


def test_rooms_need_not_be_made_by_joining():
    door = Door(auto_create=False)
    assert door.knock() == RefuseSignal(1, 404, "requested room does not exist")


def test_there_is_room_for_so_many(monkeypatch):
    assert SFU_PARTICIPANTS > 2
    monkeypatch.setattr("sansio.sfu.server.SFU_PARTICIPANTS", 2)
    door = Door()
    assert door.knock(identity="a") == AcceptSignal(1)
    assert door.knock(identity="b", room="other") == AcceptSignal(2)
    assert door.knock(identity="c") == RefuseSignal(3, 503, "node limits reached")
    door.server.signal_closed(1, "gone", 0.0)
    door.turn()
    assert door.knock(identity="c") == AcceptSignal(4)


# ------------------------------------------------------------------ joining


@pytest.mark.parametrize("single", [True, False])
def test_what_a_newcomer_is_told_and_what_he_says_of_himself(single):
    door = Door(ping_interval=3, ping_timeout=9)
    settings = JoinSettings(metadata="new" if single else "", attributes={"k": "v", "empty": ""})
    claims = {"can_update_own_metadata": True, "metadata": "old", "attributes": {"t": "u"}, "name": "Alice"}
    assert door.knock(join_url("ws://x", settings, single=single), **claims) == AcceptSignal(1)
    (join,) = door.messages("join")
    me = join.participant
    assert (me.identity, me.name, me.metadata) == ("alice", "Alice", "new" if single else "old")
    assert {name: value for name, value in me.attributes.items() if value} == {"t": "u", "k": "v"}
    assert me.sid.startswith("PA_")
    assert me.joined_at == int(UNIX)
    assert (join.room.name, join.room.num_participants) == ("room", 1)
    assert join.room.sid.startswith("RM_")
    assert (join.ping_interval, join.ping_timeout) == (3, 9)
    assert (join.subscriber_primary, join.fast_publish) == (not single, True)
    assert len(door.messages("offer")) == (0 if single else 1)
    assert not door.messages("answer")


@pytest.mark.parametrize("text", ["", "%%%", base64.b64encode(b"[1]").decode(), base64.b64encode(b'{"a":5}').decode()])
def test_attributes_of_the_old_path_that_cannot_be_read_are_passed_over(text):
    door = Door()
    assert door.knock(f"ws://x/rtc?attributes={quote(text)}") == AcceptSignal(1)
    assert not door.messages("join")[0].participant.attributes


def test_attributes_that_are_no_text_are_passed_over():
    text = base64.urlsafe_b64encode(json.dumps({"\ud800": "x"}).encode()).decode()
    assert Door().knock(f"ws://x/rtc?attributes={text}") == AcceptSignal(1)


def test_those_who_are_there_are_told_and_the_hidden_are_not():
    door = Door()
    door.knock(identity="a")
    door.knock(identity="h", hidden=True)
    door.knock(identity="b")
    third = door.messages("join", 3)[0]
    assert [other.identity for other in third.other_participants] == ["a"]
    assert third.room.num_participants == 3
    door.request(2, leave=rtc.LeaveRequest())
    assert not door.messages("update")


def test_a_room_ends_with_its_last_participant():
    door = Door()
    door.knock()
    first = door.messages("join", 1)[0].room.sid
    door.request(1, leave=rtc.LeaveRequest())
    door.knock()
    assert door.messages("join", 2)[0].room.sid != first
    assert door.server.remove("room", "nobody", 0.0) is False
    assert door.server.remove("nowhere", "alice", 0.0) is False


def test_who_is_where():
    door = Door()
    assert door.server.identities("room") == []
    assert door.server.signal_of("room", "alice") == 0
    door.knock()
    door.knock(identity="bob")
    assert door.server.identities("room") == ["alice", "bob"]
    assert door.server.signal_of("room", "bob") == 2
    assert door.server.signal_of("elsewhere", "bob") == 0


# ------------------------------------------------------------------ messages


def test_pings_are_answered():
    door = Door()
    door.knock()
    door.now = 2.5
    door.request(1, ping_req=rtc.Ping(timestamp=77))
    (pong,) = door.messages("pong_resp")
    assert (pong.last_ping_timestamp, pong.timestamp) == (77, int((UNIX + 2.5) * 1000))


def test_a_leave_is_answered_and_ends_the_link():
    door = Door()
    door.knock()
    fresh = door.request(1, leave=rtc.LeaveRequest())
    assert fresh[-1] == CloseSignal(1)
    (leave,) = door.messages("leave")
    assert leave.reason == models.CLIENT_INITIATED
    assert door.server.advance(door.now) == INF
    assert door.request(1, ping_req=rtc.Ping(timestamp=1)) == []
    door.server.signal_closed(1, "closed", door.now)
    assert door.turn() == []


@pytest.mark.parametrize("data", [b"\xff\xff", bytes(SFU_MESSAGE + 1)], ids=["nonsense", "too-long"])
def test_what_cannot_be_decoded_ends_the_session(data):
    door = Door()
    door.knock()
    door.server.signal_received(1, data, 0.0)
    assert door.turn() == [CloseSignal(1)]
    assert door.server.advance(door.now) == INF


def test_requests_that_mean_nothing_here_are_counted():
    door = Door()
    door.knock()
    door.request(1, update_layers=rtc.UpdateVideoLayers())
    door.request(1)
    assert door.server.counters.snapshot() == {"request_ignored": 2}


def test_negotiation_goes_to_the_participant():
    door = Door()
    door.knock(asked())
    door.request(1, offer=rtc.SessionDescription(type="offer", sdp="nonsense"))
    door.request(1, answer=rtc.SessionDescription(type="answer", sdp="nonsense"))
    door.request(1, trickle=rtc.TrickleRequest(candidateInit="nonsense"))
    participant = door.server._find("room", "alice")
    assert participant.counters.snapshot() == {"bad_offer": 1, "bad_trickle": 1, "unexpected_answer": 1}
    assert not door.messages("answer")


def test_own_metadata_is_changed_announced_and_acknowledged():
    door = Door()
    door.knock(identity="a", can_update_own_metadata=True, attributes={"old": "1", "gone": "1"})
    door.knock(identity="b")
    update = rtc.UpdateParticipantMetadata(name="A", metadata="m", attributes={"new": "2", "gone": ""}, request_id=9)
    door.request(1, update_metadata=update)
    for link in (1, 2):
        info = door.messages("update", link)[-1].participants[0]
        assert (info.name, info.metadata, dict(info.attributes)) == ("A", "m", {"old": "1", "new": "2"})
    (response,) = door.messages("request_response", 1)
    assert (response.request_id, response.reason) == (9, rtc.RequestResponse.OK)
    version = door.messages("update", 2)[-1].participants[0].version
    door.request(1, update_metadata=rtc.UpdateParticipantMetadata(name="", metadata=""))
    info = door.messages("update", 2)[-1].participants[0]
    assert (info.name, info.metadata, info.version) == ("A", "m", version + 1)


@pytest.mark.parametrize(
    "update",
    [
        rtc.UpdateParticipantMetadata(name="n" * (SFU_NAME + 1)),
        rtc.UpdateParticipantMetadata(metadata="m" * (SFU_METADATA + 1)),
        rtc.UpdateParticipantMetadata(attributes={"k": "v" * SFU_ATTRIBUTES}),
    ],
    ids=["name", "metadata", "attributes"],
)
def test_what_a_participant_says_of_himself_has_limits(update):
    door = Door()
    door.knock(can_update_own_metadata=True)
    door.request(1, update_metadata=update)
    assert [found.reason for found in door.messages("request_response")] == [rtc.RequestResponse.LIMIT_EXCEEDED]
    assert not door.messages("update")


def test_own_metadata_needs_a_grant():
    door = Door()
    door.knock()
    door.request(1, update_metadata=rtc.UpdateParticipantMetadata(name="A", request_id=3))
    (response,) = door.messages("request_response")
    assert (response.request_id, response.reason) == (3, rtc.RequestResponse.NOT_ALLOWED)
    assert "permission" in response.message


# ------------------------------------------------------------------ ends


def test_an_identity_that_joins_again_replaces_itself():
    door = Door()
    door.knock()
    door.knock(identity="bob")
    assert door.knock() == AcceptSignal(3)
    assert [leave.reason for leave in door.messages("leave", 1)] == [models.DUPLICATE_IDENTITY]
    assert CloseSignal(1) in door.outputs
    assert [other.identity for other in door.messages("join", 3)[0].other_participants] == ["bob"]
    # nobody is told of the end, only of the new session, as LiveKit's server does it
    assert not door.messages("update", 2)
    there = door.server._find("room", "alice")
    there.active = True
    door.server.room("room").announce(there)
    door.turn()
    assert [update.participants[0].sid for update in door.messages("update", 2)] == [there.sid]


def test_a_client_that_does_not_bring_media_up_is_sent_away():
    door = Door()
    door.knock()
    due = door.server.advance(0.0)
    assert due <= JOIN_TIMEOUT
    while not door.messages("leave"):
        door.now = due
        door.turn()
        due = door.server.advance(door.now)
    assert door.now == JOIN_TIMEOUT
    assert [leave.reason for leave in door.messages("leave")] == [models.JOIN_FAILURE]
    assert due == INF


def test_a_link_lost_before_media_is_up_ends_the_session():
    door = Door()
    door.knock()
    door.server.signal_closed(1, "gone", 0.0)
    assert door.turn() == []
    assert door.server.advance(0.0) == INF


def test_an_unknown_client_cannot_resume():
    door = Door()
    url = resume_url("ws://x", JoinSettings(), sid="PA_unknown")
    assert door.knock(url) == AcceptSignal(1)
    (leave,) = door.messages("leave")
    assert (leave.action, leave.reason) == (rtc.LeaveRequest.RECONNECT, models.STATE_MISMATCH)
    assert door.outputs[-1] == CloseSignal(1)
    assert door.server.advance(0.0) == INF


# ------------------------------------------------------------------ with real clients


@pytest.mark.parametrize("single", [True, False])
def test_everybody_hears_of_everybody(single):
    with Party("alice", "bob", single_peer_connection=single) as party:
        party.wait(1.0)
        (connected,) = party.found("alice", ParticipantConnected)
        assert connected.participant.identity == "bob"
        bob = party.engines["alice"].state.remote_participants["bob"]
        assert bob.state is ParticipantState.ACTIVE
        assert party.found("alice", ParticipantActive)
        party.stop("bob")
        party.run(lambda: party.found("alice", ParticipantDisconnected))
        assert not party.engines["alice"].state.remote_participants


def test_requests_come_back_to_real_clients():
    with Party("alice") as party:
        party.join("bob", token=party.rooms.token("bob", can_update_own_metadata=False))
        for name in ("alice", "bob"):
            party.engines[name].set_name("new", party.now)
            party.world.poke(name)
        party.run(lambda: party.found("alice", RequestDone) and party.found("bob", RequestFailed))
        assert party.found("bob", RequestFailed)[0].error.reason is RequestReason.NOT_ALLOWED
        assert party.engines["bob"].state.remote_participants["alice"].name == "new"


def test_lossy_data_is_relayed_too():
    with Party("alice", "bob") as party:
        party.wait(1.0)
        party.publish("alice", b"lossy", reliable=False)
        assert party.hear("bob", 1) == [b"lossy"]


def test_a_participant_can_be_removed():
    with Party("alice", "bob") as party:
        assert party.rooms.server.remove("room", "alice", party.now)
        party.world.poke("server")
        party.run(lambda: party.found("alice", Ended))
        assert party.found("alice", Ended)[0].reason is DisconnectReason.PARTICIPANT_REMOVED
        party.run(lambda: party.found("bob", ParticipantDisconnected))


def test_a_session_can_be_forgotten_without_a_word():
    with Party("alice", "bob") as party:
        server = party.rooms.server
        assert [info.identity for info in server.participants("room")] == ["alice", "bob"]
        sid = party.there("alice").sid
        server.vanish(server.participant("room", "alice"), party.now)
        party.world.poke("server")
        assert [info.identity for info in server.participants("room")] == ["bob"]
        assert server.participant("room", "alice") is None
        assert server.participants("elsewhere") == []
        party.run(lambda: party.found("alice", Reconnected), limit=20)
        assert server.participant("room", "alice").sid != sid


def test_a_resume_restarts_the_subscriber_connection():
    with Party("alice", single_peer_connection=False) as party:
        party.wait(1.0)
        before = party.there("alice").peers[1].connection.transport.ice.local_ufrag
        party.world.cut_signals("alice")
        party.run(lambda: party.found("alice", Reconnected), limit=10)
        assert party.there("alice").peers[1].connection.transport.ice.local_ufrag != before


def test_data_without_the_grant_is_not_relayed():
    with Party("alice") as party:
        party.join("mute", token=party.rooms.token("mute", can_publish_data=False))
        party.wait(1.0)
        party.publish("mute", b"x")
        party.wait(1.0)
        assert party.read("alice") == []
        assert party.rooms.server.counters.snapshot() == {"data_not_allowed": 1}


def test_data_that_is_none_or_comes_again_is_not_relayed():
    with Party("alice", "bob") as party:
        party.wait(1.0)
        transport = party.transport("alice")
        transports = party.engines["alice"]._parts.transports
        channel = transports.publisher.channels["_reliable"]
        packet = models.DataPacket(user=models.UserPacket(payload=b"x"), sequence=5).SerializeToString()
        for data in (packet, packet, b"\xff\xff"):
            transport.channels.send(channel, data, party.now)
        transport.touch_data()
        transports.publisher.due = transports.due = float("-inf")
        party.world.poke("alice")
        assert party.hear("bob", 1) == [b"x"]
        party.wait(0.5)
        assert party.read("bob") == []
        assert party.rooms.server.counters.snapshot() == {"data_undecodable": 1, "data_duplicate": 1}


def test_a_client_whose_media_dies_is_asked_to_resume_and_forgotten_when_it_does_not():
    with Party("alice", reconnect=ReconnectPolicy(attempts=0)) as party:
        party.world.link("alice", "server").down = True
        party.run(lambda: party.found("alice", Ended), limit=60)
        assert party.found("alice", Ended)[0].reason is DisconnectReason.CONNECTION_TIMEOUT
        assert party.there("alice") is not None
        party.run(lambda: party.there("alice") is None, limit=6)


def test_a_client_without_link_or_media_is_forgotten_in_silence():
    with Party("alice", reconnect=ReconnectPolicy(attempts=0)) as party:
        party.wait(1.0)
        party.world.cut_signals("alice")
        party.run(lambda: party.there("alice") is None, limit=20)  # when ICE gives up
        assert [end.reason for end in party.found("alice", Ended)] == [DisconnectReason.SIGNAL_CLOSE]


def test_a_session_outlives_its_link_while_its_media_lives():
    with Party("alice", "bob") as party:
        party.wait(1.0)
        sid = party.there("alice").sid
        party.world.cut_signals("alice")
        party.wait(5.0)
        assert party.there("alice").sid == sid
        assert len(party.found("alice", Connected)) == 1
        assert not party.found("bob", ParticipantDisconnected)


def test_a_resume_takes_the_place_of_a_link_that_is_still_open():
    with Party("alice") as party:
        party.wait(1.0)
        there = party.there("alice")
        old = there.signal
        url = resume_url("ws://server.test", JoinSettings(), sid=there.sid)
        headers = (("Authorization", "Bearer " + party.rooms.token("alice")),)
        party.rooms.server.signal_accepted(5000, url, headers, party.now)
        assert there.signal == 5000
        assert CloseSignal(old) in list(party.rooms.server.outbox)
        assert old not in party.rooms.server._signals


# ------------------------------------------------------------------ the end


def test_a_server_that_stops_tells_everybody():
    door = Door(tcp_address=("10.1.0.1", 7881))
    door.knock(asked())
    door.knock(identity="bob", room="other")
    door.server.stream_accepted(7, ("10.0.0.9", 50000), door.now)
    door.server.stop(door.now)
    assert not door.server.closed or door.server.advance(door.now) == INF
    door.turn()
    assert [leave.reason for leave in door.messages("leave")] == [models.SERVER_SHUTDOWN] * 2
    assert [output for output in door.outputs if isinstance(output, ClosePort)] == [ClosePort(7)]
    assert [output.signal for output in door.outputs if isinstance(output, CloseSignal)] == [1, 2]
    assert door.knock() == RefuseSignal(3, 503, "server is shutting down")
    door.server.stream_accepted(8, ("10.0.0.9", 50001), door.now)
    assert door.turn() == [ClosePort(8)]
    assert door.server.handle_http("GET", "/rtc/validate", (), b"", door.now).status == 503
    assert door.server.participant("room", "alice") is None


def test_notes_for_whoever_watches():
    door = Door()
    door.knock()
    door.request(1, leave=rtc.LeaveRequest())
    assert [(note.what, note.room, note.identity) for note in door.server.notes] == [
        ("joined", "room", "alice"),
        ("left", "room", "alice"),
    ]
    assert door.server.notes.maxlen == SFU_NOTES


def test_fresh_tokens():
    door = Door()
    door.knock(name="A", attributes={"k": "v"}, can_publish_sources=("camera",), kind="agent")
    (token,) = door.messages("refresh_token")
    claims = verify(token, {"key": "secret"}, UNIX)
    assert (claims.name, claims.attributes, claims.can_publish_sources, claims.kind) == (
        "A",
        {"k": "v"},
        ("camera",),
        "agent",
    )
    assert claims.expires == UNIX + 3600
    there = door.server._find("room", "alice")
    there.active = True
    door.turn(300.0)
    assert len(door.messages("refresh_token")) == 2
    off = Door(refresh_tokens=False)
    off.knock()
    assert not off.messages("refresh_token")


def test_somebody_who_is_sent_away_by_another_has_no_turn():
    door = Door()
    door.knock()
    door.knock(identity="bob")
    alice, bob = [door.server._find("room", name) for name in ("alice", "bob")]
    alice.closed = bob.closed = True
    advance = alice.advance

    def both(now):
        door.server.vanish(bob, now)
        return advance(now)

    alice.advance = both
    alice.wake()
    bob.wake()
    door.turn()
    assert door.server.identities("room") == []
    bob.wake()
    door.turn()


def test_what_wakes_a_room_wakes_its_participants():
    door = Door()
    door.knock()
    there = door.server._find("room", "alice")
    room = door.server.room("room")
    room.quality.due = 0.0
    judge = room.quality.tick

    def judging(now):
        there.wake()
        judge(now)

    room.quality.tick = judging
    door.turn()
    assert not door.server._ready
