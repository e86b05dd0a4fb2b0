"""The page on porting goes through LiveKit's own client for Python call by call. That is asked in another process."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[2] / "docs" / "guide" / "porting.md").read_text(encoding="utf-8")
CLASSES = (
    *("Room", "RoomOptions", "RtcConfiguration", "DataPacket"),
    *("Participant", "LocalParticipant", "RemoteParticipant"),
    *("TrackPublication", "LocalTrackPublication", "RemoteTrackPublication", "TrackPublishOptions"),
    *("Track", "LocalAudioTrack", "LocalVideoTrack", "RemoteAudioTrack", "RemoteVideoTrack"),
    *("AudioSource", "VideoSource", "AudioStream", "VideoStream"),
    *("TextStreamReader", "TextStreamWriter", "ByteStreamReader", "ByteStreamWriter"),
    *("LocalDataTrack", "RemoteDataTrack", "DataTrackStream", "RpcInvocationData", "RpcError"),
)
LIST = """
import json, sys, typing
from livekit import rtc
from livekit.rtc.room import EventTypes
found = {"events": list(typing.get_args(EventTypes))}
for name in sys.argv[1:]:
    kind = getattr(rtc, name)
    if descriptor := getattr(kind, "DESCRIPTOR", None):
        found[name] = [field.name for field in descriptor.fields]
    else:
        found[name] = sorted({*vars(kind), *kind.__dict__.get("__annotations__", {})})
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def members() -> dict[str, list[str]]:
    """Of each class what it has in public, and the names of the room's events."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", LIST, *CLASSES], capture_output=True, text=True, timeout=60, check=True
    )
    found: dict[str, list[str]] = json.loads(done.stdout)
    return {kind: [name for name in names if not name.startswith("_")] for kind, names in found.items()}


def test_every_call_and_event_is_on_the_page(members):
    # what stands in the first column, or is said to be not here
    rows = [line.split(" | ")[0] for line in PAGE.splitlines() if line.startswith("| ")]
    said = set(re.findall(r"\w+", "\n".join([*rows, PAGE.partition("## Not here")[2]])))
    assert {kind: missing for kind, names in members.items() if (missing := [n for n in names if n not in said])} == {}
