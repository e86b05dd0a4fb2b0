"""Enums and values of the wire."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import Enum

import pytest

from sansio import proto, types


@pytest.mark.parametrize(
    ("ours", "wire", "prefix"),
    [
        (types.DisconnectReason, "DisconnectReason", ""),
        (types.ParticipantKind, "ParticipantInfo.Kind", ""),
        (types.ParticipantState, "ParticipantInfo.State", ""),
        (types.TrackKind, "TrackType", ""),
        (types.TrackSource, "TrackSource", ""),
        (types.AudioFeature, "AudioTrackFeature", "TF_"),
        (types.ConnectionQuality, "ConnectionQuality", ""),
        (types.EncryptionType, "Encryption.Type", ""),
        (types.VideoQuality, "VideoQuality", ""),
        (types.DataPacketKind, "DataPacket.Kind", ""),
        (types.SubscriptionError, "SubscriptionError", "SE_"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_numbers_are_those_of_the_wire(ours, wire, prefix):
    theirs = proto.models
    for part in wire.split("."):
        theirs = getattr(theirs, part)
    names = {name.removeprefix(prefix).replace("_", ""): number for name, number in theirs.items()}
    mine = {member.name.replace("_", ""): member.value for member in ours if member.value >= 0}
    assert mine == names


def test_numbers_of_the_enums_in_signal_messages():
    states = proto.rtc.StreamState.items()
    assert {member.name: member.value for member in types.StreamState if member.value >= 0} == dict(states)
    reasons = dict(proto.rtc.RequestResponse.Reason.items())
    assert {member.name: member.value for member in types.RequestReason if member.value >= 0} == reasons


@pytest.mark.parametrize(
    ("enum", "unknown"),
    [
        (types.DisconnectReason, types.DisconnectReason.UNKNOWN_REASON),
        (types.ParticipantKind, types.ParticipantKind.UNKNOWN),
        (types.ParticipantState, types.ParticipantState.UNKNOWN),
        (types.TrackKind, types.TrackKind.UNKNOWN),
        (types.TrackSource, types.TrackSource.UNKNOWN),
        (types.AudioFeature, types.AudioFeature.UNKNOWN),
        (types.StreamState, types.StreamState.UNKNOWN),
        (types.ConnectionQuality, types.ConnectionQuality.UNKNOWN),
        (types.EncryptionType, types.EncryptionType.UNKNOWN),
        (types.VideoQuality, types.VideoQuality.UNKNOWN),
        (types.SubscriptionError, types.SubscriptionError.UNKNOWN),
        (types.RequestReason, types.RequestReason.UNCLASSIFIED_ERROR),
    ],
)
def test_what_the_wire_may_bring_later_is_unknown(enum, unknown):
    for value in (-(2**31), -99, 99, 2**31 - 1):
        assert enum(value) is unknown


def test_members_of_different_enums_differ():
    assert types.TrackKind.AUDIO != types.VideoQuality.LOW
    assert not issubclass(types.TrackKind, int)
    assert issubclass(types.ConnectionState, Enum)


@pytest.mark.parametrize(
    ("ms", "expected"),
    [
        (0, None),
        (-1, None),
        (1_700_000_000_123, datetime(2023, 11, 14, 22, 13, 20, 123000, tzinfo=UTC)),
        (253402300799999, datetime(9999, 12, 31, 23, 59, 59, 999000, tzinfo=UTC)),
        (253402300800000, None),
        (2**63 - 1, None),
    ],
)
def test_times_of_the_wire(ms, expected):
    assert types.utc_from_ms(ms) == expected


def test_values_cannot_be_changed():
    permissions = types.Permissions(can_publish=True)
    with pytest.raises(AttributeError):
        permissions.can_publish = False
    assert types.Permissions(can_publish=True) == permissions
    assert types.ServerInfo().version == ""
    assert types.Dimensions(640, 480).width == 640
