"""The lazy door to the protobuf classes."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from sansio import proto

CHECK = """
import sys
import sansio.proto, sansio.signal.session, sansio.signal.urls, sansio.signal.refusal
from sansio.base.wallclock import WallClock
from sansio.signal.session import SignalSession
from sansio.signal.urls import JoinSettings
SignalSession(wall=WallClock()).advance(0.0)
JoinSettings()
assert not [name for name in sys.modules if name.startswith(("google.protobuf", "livekit"))]
assert sansio.proto.rtc.Ping(timestamp=3).timestamp == 3
assert "livekit.protocol.rtc" in sys.modules
"""


def test_nothing_is_imported_before_the_first_use() -> None:
    subprocess.run([sys.executable, "-c", CHECK], check=True, timeout=60)


def test_the_door_opens_for_what_it_names_and_nothing_else() -> None:
    for name in proto.__all__:
        assert getattr(proto, name) is getattr(proto, name)
        assert name.endswith("_json") or proto.__getattr__(name) is getattr(proto, name)
    assert proto.rtc.SignalRequest.DESCRIPTOR.full_name == "livekit.SignalRequest"
    assert proto.models.ClientInfo.DESCRIPTOR.full_name == "livekit.ClientInfo"
    assert proto.room.CreateRoomRequest.DESCRIPTOR.full_name == "livekit.CreateRoomRequest"
    assert issubclass(proto.rtc.Ping, proto.Message)
    with pytest.raises(proto.DecodeError):
        proto.rtc.Ping.FromString(b"\x0a\xff")
    with pytest.raises(AttributeError, match="nonsense"):
        _ = proto.nonsense  # type: ignore[attr-defined]


def test_messages_as_json() -> None:
    text = proto.to_json(proto.rtc.Ping(timestamp=3))
    assert json.loads(text) == {"timestamp": "3", "rtt": "0"}
    ping = proto.rtc.Ping()
    proto.from_json(b'{"timestamp": "4", "unknown": []}', ping)
    assert ping.timestamp == 4
    for bad in (b"", b"{", b'{"timestamp": {}}', b"\xff", b"[" * 5000):
        with pytest.raises(proto.DecodeError):
            proto.from_json(bad, ping)
