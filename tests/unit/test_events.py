"""Events: names, forms, and the table that the documentation is made of."""

from __future__ import annotations

import re

import attrs
import pytest

from sansio import events
from sansio.events import ALL, BY_NAME, PARTICIPANT_BY_NAME, Event, PacketReceived, ParticipantEvent, RoomEvent
from sansio.room.participant import RemoteParticipant
from sansio.room.publication import RemoteTrackPublication
from sansio.types import ConnectionState, DataPacketKind, DisconnectReason, EncryptionType


def snake(name: str) -> str:
    return re.sub(r"(?<!^)([A-Z])", r"_\1", name).lower()


def test_every_class_of_the_module_is_listed_once():
    classes = [value for value in vars(events).values() if isinstance(value, type) and issubclass(value, Event)]
    assert sorted(cls.__name__ for cls in classes if cls not in (Event, PacketReceived)) == sorted(
        cls.__name__ for cls in ALL
    )
    assert len(set(ALL)) == len(ALL)


def test_the_room_enum_maps_one_to_one_to_classes():
    assert {member.name: member.value for member in RoomEvent} == {cls.__name__: cls.name for cls in ALL if cls.name}
    assert {member.value: BY_NAME[member.value].__name__ for member in RoomEvent} == {
        member.value: member.name for member in RoomEvent
    }


def test_the_participant_enum_maps_one_to_one_to_classes():
    assert sorted(member.value for member in ParticipantEvent) == sorted(PARTICIPANT_BY_NAME)
    assert len(PARTICIPANT_BY_NAME) == len([cls for cls in ALL if cls.participant_name])
    for member in ParticipantEvent:
        assert snake(member.name) == member.value
        assert PARTICIPANT_BY_NAME[member.value].__name__.endswith(member.name)


@pytest.mark.parametrize("cls", ALL, ids=lambda cls: cls.__name__)
def test_each_class_is_complete(cls):
    fields = [attribute.name for attribute in attrs.fields(cls)]
    assert cls.name in ("", snake(cls.__name__))
    assert cls.name or cls.participant_name
    for argument in cls.arguments + cls.participant_arguments:
        assert argument in fields or isinstance(getattr(cls, argument), property)
    assert set(cls.participant_arguments) <= {*cls.arguments, "participant", "speaking"}
    if cls.participant_name:
        assert "participant" in fields
    assert cls.__doc__
    assert cls.follows.endswith(".")
    event = cls(*[None] * len(fields))
    assert len(event.args()) == len(cls.arguments)
    assert len(event.participant_args()) == len(cls.participant_arguments)
    assert event.source is None
    for name in fields:
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            setattr(event, name, 1)


def test_arguments_come_in_the_order_of_the_javascript_client():
    bob = RemoteParticipant("bob", "PA_1")
    publication = RemoteTrackPublication(bob, "TR_1")
    event = events.TrackPublished(publication, bob)
    assert event.args() == (publication, bob)
    assert event.participant_args() == (publication,)
    assert event.source is bob
    renamed = events.ParticipantNameChanged("Bob", bob, "")
    assert (renamed.args(), renamed.participant_args()) == (("Bob", bob), ("Bob",))
    changed = events.ParticipantMetadataChanged("old", bob, "new")
    assert (changed.args(), changed.participant_args()) == (("old", bob), ("old", bob))
    assert events.Disconnected(DisconnectReason.ROOM_DELETED).args() == (DisconnectReason.ROOM_DELETED,)
    moved = events.ConnectionStateChanged(ConnectionState.CONNECTED, ConnectionState.CONNECTING)
    assert moved.args() == (ConnectionState.CONNECTED,)
    assert moved.source is None


def test_data_comes_with_its_kind():
    none = EncryptionType.NONE
    lossy = events.DataReceived(b"x", None, False, "t", none, "bob", "PA_1")
    assert lossy.args() == (b"x", None, DataPacketKind.LOSSY, "t", none)
    assert lossy.participant_args() == (b"x", DataPacketKind.LOSSY, none)
    reliable = events.DataReceived(b"x", None, True, "t", none, "bob", "PA_1")
    assert reliable.kind is DataPacketKind.RELIABLE
    assert reliable.source is None


def test_a_token_is_not_shown():
    assert "secret" not in repr(events.TokenRefreshed("secret"))


def test_the_table_has_a_row_a_class():
    rows = list(events.table())
    assert [row.class_name for row in rows] == [cls.__name__ for cls in ALL]
    row = next(row for row in rows if row.class_name == "TrackMuted")
    assert row.name == row.participant_name == "track_muted"
    assert row.arguments == row.attributes == ("publication", "participant")
    assert row.participant_arguments == ("publication",)
    assert row.when == "A track was muted: a remote one by its publisher, an own one by the server."
    assert row.follows == "TrackUnmuted, if ever."
    assert all("\n" not in row.when for row in rows)


def test_events_of_packets_tell_their_size():
    assert PacketReceived().size == 0
    assert events.DataReceived(b"four", None, True, "", EncryptionType.NONE, "", "").size == 4
