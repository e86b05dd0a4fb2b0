"""A room: who hears of whom, and whom data goes to."""

from __future__ import annotations

import pytest

from sansio import proto
from sansio.base.contract import INF
from sansio.base.limits import SFU_GONE
from sansio.sfu.quality import QUALITY_INTERVAL
from sansio.sfu.room import _mime
from sansio.sfu.track import UpTrack
from sansio.sfu.upstream import UpStream
from tests.unit.sfu.door import Door, active, pair

rtc, models = proto.rtc, proto.models


# ------------------------------------------------------------------ coming and going


def test_others_hear_of_somebody_who_is_active_and_of_the_end():
    door, alice, bob = pair()
    active(door, "alice")
    (told,) = door.messages("update", bob)
    assert [(info.identity, info.state) for info in told.participants] == [("alice", models.ParticipantInfo.ACTIVE)]
    door.publish(alice, "mic", "1")
    assert len(door.there("bob").downs) == 1
    door.request(alice, leave=rtc.LeaveRequest())
    gone = door.messages("update", bob)[-1].participants[0]
    assert (gone.state, gone.disconnect_reason) == (models.ParticipantInfo.DISCONNECTED, models.CLIENT_INITIATED)
    assert not gone.tracks
    assert not door.there("bob").downs
    assert not door.there("bob").unplaced


def test_who_leaves_takes_nothing_any_more():
    door, alice, bob = pair()
    sid = door.publish(alice, "cam", "1", "video")
    assert door.there("bob").sid in door.there("alice").tracks[sid].downs
    door.request(bob, leave=rtc.LeaveRequest())
    assert not door.there("alice").tracks[sid].downs


def test_the_hidden_see_but_are_not_seen():
    door, alice, bob = pair()
    hidden = door.enter("hidden", hidden=True)
    active(door, "hidden")
    assert not door.messages("update", bob)
    assert [info.participants[0].identity for info in door.messages("update", hidden)] == ["hidden"]
    sid = door.publish(alice, "mic", "1")
    assert sid in door.there("hidden").downs
    door.request(hidden, leave=rtc.LeaveRequest())
    assert "hidden" not in [info.identity for each in door.messages("update", bob) for info in each.participants]


def test_those_who_left_are_remembered_so_far(monkeypatch):
    assert SFU_GONE > 2
    monkeypatch.setattr("sansio.sfu.room.SFU_GONE", 2)
    door, _, _ = pair()
    for name in ("a", "b", "c"):
        door.request(door.enter(name), leave=rtc.LeaveRequest())
    gone = door.server.room("room").gone.values()
    assert [info.identity for info, _ in gone] == ["b", "c"]


def test_a_room_is_kept_for_a_while_and_then_ends():
    door = Door(departure_timeout=20)
    door.request(door.enter("alice"), leave=rtc.LeaveRequest())
    sid = door.server.room("room").sid
    door.turn(19.0)
    door.request(door.enter("alice"), leave=rtc.LeaveRequest())
    assert door.server.room("room").sid == sid
    door.turn(20.0)
    assert door.server.room("room") is None
    assert door.server.advance(door.now) == INF


def test_rooms_may_be_full():
    door = Door(max_participants=1)
    door.enter("alice")
    assert door.knock(identity="bob").body == "room max participants exceeded"
    assert door.knock(identity="alice").signal == door.links  # who is there may take their own place


def test_the_numbers_of_a_room_are_told_when_they_change():
    door, alice, bob = pair()
    door.turn(QUALITY_INTERVAL)
    assert [told.room.num_participants for told in door.messages("room_update", bob)] == [2]
    door.turn(QUALITY_INTERVAL)
    assert len(door.messages("room_update", bob)) == 1
    door.publish(alice, "mic", "1")
    door.turn(QUALITY_INTERVAL)
    assert [told.room.num_publishers for told in door.messages("room_update", bob)] == [0, 1]
    door.request(alice, leave=rtc.LeaveRequest())
    door.turn(QUALITY_INTERVAL)
    told = door.messages("room_update", bob)[-1].room
    assert (told.num_participants, told.num_publishers) == (1, 0)


# ------------------------------------------------------------------ data


def deliver(door, packet, monkeypatch, sender=None, reliable=True):
    got = []
    room = door.server.room("room")
    for name in room.participants:
        monkeypatch.setattr(
            door.there(name), "send_data", lambda data, reliable, now, name=name: got.append((name, reliable, data))
        )
    room.relay(door.there(sender), reliable, packet.SerializeToString(), door.now)
    return {name: models.DataPacket.FromString(data) for name, _, data in got}


def test_packets_go_to_those_they_name(monkeypatch):
    door, _, _ = pair()
    door.enter("carol")
    packet = models.DataPacket(user=models.UserPacket(payload=b"x", destination_identities=["bob"]))
    got = deliver(door, packet, monkeypatch, "alice")
    assert list(got) == ["bob"]
    assert (got["bob"].participant_identity, got["bob"].user.participant_identity) == ("alice", "alice")
    assert got["bob"].user.participant_sid == got["bob"].participant_sid == door.there("alice").sid
    packet = models.DataPacket(user=models.UserPacket(destination_sids=[door.there("carol").sid]))
    assert list(deliver(door, packet, monkeypatch, "alice", False)) == ["carol"]
    packet = models.DataPacket(rpc_ack=models.RpcAck(request_id="1"), destination_identities=["bob", "alice"])
    assert list(deliver(door, packet, monkeypatch, "alice")) == ["bob"]
    assert list(deliver(door, models.DataPacket(), monkeypatch, "alice")) == ["bob", "carol"]


def test_the_hidden_speak_without_a_name(monkeypatch):
    door, _, _ = pair()
    door.enter("hidden", hidden=True)
    got = deliver(door, models.DataPacket(user=models.UserPacket(payload=b"x")), monkeypatch, "hidden")
    assert got["bob"].participant_identity == got["bob"].participant_sid == ""


def test_messages_on_channels_of_other_names_are_user_data(monkeypatch):
    door, _, _ = pair()
    there = door.there("alice")
    got = []
    monkeypatch.setattr(door.there("bob"), "send_data", lambda data, reliable, now: got.append((reliable, data)))
    there.received += [("chat", True, b"raw"), ("_data_track", False, b"frame")]
    there.wake()
    door.turn()
    ((reliable, data),) = got
    assert reliable
    assert models.DataPacket.FromString(data).user.payload == b"raw"
    assert door.server.counters.snapshot() == {"data_track_unknown": 1}


def test_who_is_not_there_is_not_found():
    door, _, _ = pair()
    room = door.server.room("room")
    assert room.find_track("TR_x") is None
    assert not door.there("bob").takes_from(door.there("alice"))


def test_a_section_without_codecs_has_a_kind_at_least():
    assert _mime(UpTrack("TR_1", "PA_1", rtc.AddTrackRequest(type=models.VIDEO)), ()) == "video/"


@pytest.mark.parametrize("kind", ["agent", "sip", "standard", "nonsense"])
def test_the_kind_of_a_participant_is_that_of_its_token(kind):
    door = Door()
    link = door.enter("alice", kind=kind)
    expected = kind.upper() if kind != "nonsense" else "STANDARD"
    assert door.messages("join", link)[0].participant.kind == models.ParticipantInfo.Kind.Value(expected)
    assert UpStream(None, 1, 0, "").started is False
