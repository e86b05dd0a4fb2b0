"""The rooms of a server."""

from __future__ import annotations

from sansio import proto
from sansio.base.entropy import Entropy
from sansio.base.wallclock import WallClock
from sansio.sfu.options import ServerOptions
from sansio.sfu.registry import Registry

room = proto.room


def registry(**options):
    return Registry(ServerOptions(keys={}, **options), Entropy(b"x"), WallClock(1_800_000_000.0))


def test_a_room_is_made_once():
    found = registry(empty_timeout=7, departure_timeout=8, max_participants=9)
    made = found.create_room(room.CreateRoomRequest(name="r"), 2.0)
    assert (made.info.empty_timeout, made.info.departure_timeout, made.info.max_participants) == (7, 8, 9)
    assert (made.info.creation_time, made.closes_at) == (1_800_000_002, 9.0)
    assert "video/VP8" in [codec.mime for codec in made.info.enabled_codecs]
    assert found.create_room(room.CreateRoomRequest(name="r", metadata="other"), 3.0) is made
    assert (found.rooms, found.room("r"), found.room("s")) == ([made], made, None)
    own = found.create_room(room.CreateRoomRequest(name="own", empty_timeout=1, max_participants=2), 3.0)
    assert (own.info.empty_timeout, own.info.max_participants) == (1, 2)
    assert own.sid != made.sid
    assert own.trailer != made.trailer


def test_rooms_are_limited(monkeypatch):
    monkeypatch.setattr("sansio.sfu.registry.SFU_ROOMS", 1)
    found = registry()
    assert found.has_place("r")
    found.create_room(room.CreateRoomRequest(name="r"), 0.0)
    assert found.has_place("r")
    assert not found.has_place("s")


def test_nobody_is_in_a_room_that_is_not_there():
    found = registry(remote_unmute=True)
    assert found.identities("r") == []
    assert found.participants("r") == []
    assert found.participant("r", "alice") is None
    assert found.signal_of("r", "alice") == 0
    assert found.remote_unmute
    assert found.unix(1.5) == 1_800_000_001.5
    assert found.make_track_sid("TR_A") != found.make_track_sid("TR_A")
