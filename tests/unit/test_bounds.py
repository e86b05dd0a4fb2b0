"""Nothing that a machine of the core keeps grows without bound: every container has its bound named here.

A container that is new has to be entered with what bounds it: a limit of ``sansio.base.limits``, which has a test that
hits it, or one of the four words below, or another container that has as many entries.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from sansio.base import limits

CORE = Path(limits.__file__).parent.parent
TESTS = Path(__file__).parent.parent
LIMITS = [name for name in vars(limits) if name.isupper()]

OURS = "made by our own operations, options and sockets"
TAKEN = "what goes out: its owner takes it before it gives the next input"
FIXED = "as many entries as there are payload types, kinds or timers"
ONCE = "made whole from one message or one call, and replaced as a whole"

BOUNDS: dict[str, dict[str, str]] = {
    "base/counters.py": {"_counts": FIXED},
    "base/timers.py": {"_at": FIXED},
    "dtls/endpoint.py": {"datagrams": TAKEN, "plaintexts": TAKEN, "outbox": TAKEN, "_early": "DTLS_EARLY_RECORDS"},
    "dtls/identity.py": {"contexts": OURS},
    "dtls/plain.py": {"_profiles": OURS, "_early": "DTLS_EARLY_RECORDS"},
    "dtls/reassembly.py": {"_whole": "DTLS_MESSAGES_AHEAD", "_partial": "DTLS_MESSAGES_AHEAD"},
    "ice/agent.py": {"transmits": TAKEN, "outbox": TAKEN},
    "ice/early.py": {"_checks": "MAX_EARLY_CHECKS"},
    "ice/gather.py": {
        "transmits": TAKEN,
        "outbox": TAKEN,
        "turn_servers": "MAX_STUN_SERVERS",
        "_hosts": "MAX_GATHER_HOSTS",
        "_stun_urls": "MAX_STUN_SERVERS",
        "_servers": "MAX_STUN_SERVERS",
        "_lookups": "_stun_urls",
    },
    "ice/pairing.py": {"locals": OURS, "remotes": "MAX_REMOTE_CANDIDATES"},
    "ice/pairs.py": {"reflexive": "MAX_REMOTE_CANDIDATES", "_pairs": "MAX_PAIRS", "_triggered": "_pairs"},
    "ice/paths.py": {
        "addresses": ONCE,
        "numbers": FIXED,
        "transmits": TAKEN,
        "outbox": TAKEN,
        "_servers": "MAX_TURN_SERVERS",
        "_lookups": "_servers",
        "_bases": "MAX_GATHER_HOSTS",
        "_remotes": "MAX_ICE_STREAMS",
        "_ways": "MAX_TURN_ALLOCATIONS",
        "_by_socket": "_ways",
        "_by_stream": "_ways",
        "by_number": "_ways",
    },
    "ice/sources.py": {"known": "MAX_SOURCES"},
    "ice/transactions.py": {"_by_id": OURS},
    "ice/turn.py": {
        "transmits": TAKEN,
        "outbox": TAKEN,
        "_peers": "MAX_TURN_PEERS",
        "_channels": "_peers",
        "_permissions": "_peers",
    },
    "ice/verdict.py": {"pairs": ONCE, "ways": ONCE},
    "lifecycle/machine.py": {"outbox": TAKEN},
    "peer/connection.py": {"_candidates": OURS},
    "peer/media.py": {
        "sections": "SECTIONS",
        "_places": "sections",
        "_sending": "sections",
        "_leaving": "sections",
        "_free": "sections",
        "_mapped": "sections",
    },
    "peer/transport.py": {"outbox": TAKEN, "_early": "EARLY_DATAGRAMS"},
    "room/course.py": {"_lost": OURS},
    "room/credentials.py": {"_tokens": FIXED, "_rejected": "_tokens"},
    "room/data.py": {"sent": OURS, "handlers": OURS, "_senders": "DATA_SENDERS"},
    "room/data_lanes.py": {"_readable": "SCTP_CHANNELS", "_unread": "SCTP_WINDOW"},
    "room/data_track_packets.py": {"_parts": "DATA_TRACK_PACKETS"},
    "room/data_tracks.py": {
        "_streams": "DATA_TRACK_STREAMS",
        "_frames": OURS,
        "local": "LOCAL_DATA_TRACKS",
        "_pending": "local",
        "_wanted": OURS,
        "_unwanted": OURS,
        "_handles": "_wanted",
        "_waiting": "DATA_TRACKS_AWAITED",
    },
    "room/lane.py": {"_urgent": OURS, "_waiting": OURS},
    "room/parts.py": {"transmits": TAKEN, "outbox": TAKEN},
    "room/participant.py": {
        "_publications": "TRACKS_PER_PARTICIPANT",
        "_data_tracks": "DATA_TRACKS_PER_PARTICIPANT",
    },
    "room/peer.py": {"channels": OURS, "lossy": "SCTP_CHANNELS", "data_tracks": "SCTP_CHANNELS", "blocked": OURS},
    "room/publish.py": {"_tracks": "LOCAL_TRACKS", "_pending": "_tracks"},
    "room/requests.py": {"_pending": "PENDING_REQUESTS", "awaited": OURS},
    "room/rpc.py": {
        "methods": OURS,
        "_calls": "RPC_CALLS",
        "_invocations": "RPC_INVOCATIONS",
        "_callers": "_invocations",
        "_replies": "RPC_REPLIES",
        "_requests": "_calls",
        "_texts": "STREAMS_OUT",
    },
    "room/state.py": {
        "on_left": OURS,
        "_remote": "PARTICIPANTS",
        "_by_sid": "_remote",
        "_speakers": "_remote",
        "_mentioned": "_remote",
    },
    "room/stream_in.py": {
        "_parts": "STREAMS_UNREAD",
        "_holds": FIXED,
        "_versions": "STREAM_VERSIONS",
        "_gathered": "STREAMS_WHOLE",
        "_topics": "STREAM_TOPICS",
        "_streams": "STREAMS_IN",
        "_senders": "_streams",
        "_unread": "STREAMS_UNREAD",
    },
    "room/stream_out.py": {"_packed": TAKEN, "open": "STREAMS_OUT"},
    "room/subscribe.py": {
        "_tracks": "TRACKS_PER_PARTICIPANT",
        "_by_receiver": "_tracks",
        "_waiting": "SECTIONS",
        "_wanted": OURS,
        "_settings": OURS,
        "unwelcome": "_tracks",
    },
    "room/transports.py": {
        "outbox": TAKEN,
        "ports": OURS,
        "_peers": OURS,
        "_held_trickles": OURS,
    },
    "rtp/feedback.py": {"_arrivals": "TWCC_WINDOW", "results": "TWCC_RESULTS", "_ring": "TWCC_SENT"},
    "rtp/pacer.py": {"_queue": "PACER_BYTES", "_urgent": "PACER_BYTES"},
    "rtp/receiver.py": {"_ring": "RTP_FRAMES_VIDEO", "_buffer": "RTP_REORDER_VIDEO", "_missing": "RTP_MISSING"},
    "rtp/sender.py": {
        "_history": "RTP_HISTORY_VIDEO",
        "_resent": "RTP_HISTORY_VIDEO",
        "_packers": FIXED,
        "_copies": OURS,
    },
    "rtp/session.py": {
        "packets": "RTP_UNSIGNALLED_PACKETS",
        "rtp": TAKEN,
        "rtcp": TAKEN,
        "outbox": TAKEN,
        "_formats": FIXED,
        "_rtx_types": FIXED,
        "_routes": "_receivers",
        "_sources": "_receivers",
        "_receivers": "SECTIONS",
        "_by_name": "_receivers",
        "_early": "RTP_UNSIGNALLED_SSRCS",
        "_idle": "_receivers",
        "_senders": OURS,
        "_reserved": OURS,
        "_unreported": OURS,
        "_owing": "_receivers",
        "_references": "RTCP_REFERENCES",
    },
    "rtp/video.py": {"_parts": "RTP_FRAME_PACKETS"},
    "sctp/association.py": {"packets": TAKEN, "outbox": TAKEN, "_control": "SCTP_CONTROL"},
    "sctp/channel.py": {"packets": TAKEN, "outbox": TAKEN, "_channels": "SCTP_CHANNELS", "_closed": "SCTP_CHANNELS"},
    "sctp/receiver.py": {
        "ready": "SCTP_WINDOW",
        "waiting": "SCTP_WINDOW",
        "parts": "SCTP_MESSAGE_IN",
        "gaps": "SCTP_GAPS",
        "by_first": "SCTP_WINDOW",
        "by_last": "SCTP_WINDOW",
        "streams": "SCTP_STREAMS",
        "readable": "streams",
        "control": "SCTP_CHUNKS",
        "duplicates": "SCTP_DUPLICATES",
    },
    "sctp/sender.py": {
        "queue": OURS,
        "outstanding": OURS,
        "active": OURS,
        "lost": OURS,
        "holes": OURS,
        "resent": OURS,
        "sacked": ONCE,
        "lows": OURS,
    },
    "sctp/streams.py": {
        "waiting": "SCTP_STREAMS",
        "answers": "SCTP_RESETS",
        "deferred": "SCTP_RESETS",
        "reset_out": ONCE,
        "reset_in": "SCTP_CHUNKS",
        "replies": "SCTP_CONTROL",
    },
    "sdp/description.py": {"lines": "SDP_LINES"},
    "sfu/calls.py": {"_calls": "SFU_CALLS"},
    "sfu/connection.py": {"slots": "SFU_SECTIONS", "_candidates": OURS, "_outstanding": "slots"},
    "sfu/data_tracks.py": {
        "subscribers": "SFU_PARTICIPANTS",
        "_tracks": "SFU_DATA_TRACKS",
        "_sent": "_tracks",
        "_subscriptions": "SFU_DATA_SUBSCRIPTIONS",
    },
    "sfu/downstream.py": {"_out": TAKEN, "_formats": FIXED, "_history": "RTP_HISTORY_VIDEO"},
    "sfu/layers.py": {"_pauses": "SFU_TRACKS"},
    "sfu/media.py": {
        "rtp": TAKEN,
        "rtcp": TAKEN,
        "outbox": TAKEN,
        "codecs": ONCE,
        "extensions": ONCE,
        "_sources": "SFU_SOURCES",
        "_repairs": "_sources",
        "_sections": "SFU_SECTIONS",
        "_downs": "SFU_TRACKS",
        "_references": "RTCP_REFERENCES",
    },
    "sfu/mock.py": {"_links": OURS},
    "sfu/participant.py": {
        "transmits": TAKEN,
        "channels": OURS,
        "labels": "SCTP_CHANNELS",
        "lossy": "SCTP_CHANNELS",
        "received": TAKEN,
        "pending": "SFU_PENDING_TRACKS",
        "queued": "SFU_QUEUED_TRACKS",
        "tracks": "SFU_TRACKS",
        "downs": "SFU_TRACKS",
        "choices": "SFU_CHOICES",
        "unplaced": "downs",
        "told_speakers": "SFU_PARTICIPANTS",
        "told_qualities": "SFU_PARTICIPANTS",
        "permits": "SFU_CHOICES",
        "_held": "SFU_HELD_PACKETS",
        "peers": FIXED,
    },
    "sfu/registry.py": {"_rooms": "SFU_ROOMS", "_ended": TAKEN},
    "sfu/room.py": {
        "participants": "SFU_PARTICIPANTS",
        "gone": "SFU_GONE",
    },
    "sfu/routes.py": {
        "addresses": "SFU_ADDRESSES",
        "_names": "SFU_PARTICIPANTS",
        "_learnt": "SFU_PARTICIPANTS",
        "_streams": "SFU_STREAMS",
    },
    "sfu/speakers.py": {"_forced": "SFU_PARTICIPANTS"},
    "sfu/server.py": {
        "transmits": TAKEN,
        "outbox": TAKEN,
        "notes": "SFU_NOTES",
        "_ready": "SFU_PARTICIPANTS",
        "_signals": "SFU_PARTICIPANTS",
        "_dues": "SFU_PARTICIPANTS",
        "_armed": "SFU_PARTICIPANTS",
        "_preferences": "SFU_PREFERENCES",
    },
    "sfu/track.py": {"cids": "SHORT_LIST", "downs": "SFU_PARTICIPANTS", "streams": "SFU_SOURCES"},
    "sfu/upstream.py": {"missing": "RTP_MISSING"},
    "signal/session.py": {
        "outbox": TAKEN,
        "_pings": "SIGNAL_PINGS",
        "_early": "SIGNAL_EARLY",  # and SIGNAL_EARLY_BYTES
        "_queue": "SIGNAL_QUEUE",
    },
    "srtp/context.py": {"_streams": "SRTP_STREAMS"},
}
"""By module and attribute. A container that has the same name in two classes of a module has the same bound."""

DISPLAYS = (ast.Dict, ast.List, ast.Set, ast.DictComp, ast.ListComp, ast.SetComp)
MAKERS = ("dict", "list", "set", "deque", "bytearray", "defaultdict", "OrderedDict")
TYPES = re.compile(rf"\b({'|'.join(MAKERS)})\b")


def containers(source: str) -> set[str]:
    """The attributes in which the classes of a module keep what may grow."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.AnnAssign(target=ast.Attribute(value=ast.Name(id="self"), attr=name), annotation=annotation):
                if TYPES.match(ast.unparse(annotation)):
                    found.add(name)
            case ast.Assign(targets=targets, value=value):
                for target in targets:
                    for part in target.elts if isinstance(target, ast.Tuple) else [target]:
                        if isinstance(part, ast.Attribute) and ast.unparse(part.value) == "self" and makes(value):
                            found.add(part.attr)
    return found


def makes(value: ast.expr) -> bool:
    """Whether an expression makes a container."""
    if isinstance(value, ast.BinOp):
        return makes(value.left)  # [0] * size
    return isinstance(value, DISPLAYS) or (isinstance(value, ast.Call) and ast.unparse(value.func) in MAKERS)


MODULES = [
    path.relative_to(CORE).as_posix()
    for path in sorted(CORE.rglob("*.py"))
    if path.relative_to(CORE).parts[0] != "testing"
]


def test_what_is_a_container():
    source = """
class A:
    def __init__(self):
        self.a: dict[int, str] = other
        self.b = deque()
        self.c, self.d = [], 5
        self.e: set[int] | None = None
        self.f = tuple([1])
        self.g: Mapping[int, str] = x
        other.h = []
        self.i = [x for x in y]
        self.j = [0] * 5
"""
    assert containers(source) == {"a", "b", "e", "i", "j"}


@pytest.mark.parametrize("module", MODULES)
def test_every_container_has_a_bound(module):
    kept, bounded = containers((CORE / module).read_text()), set(BOUNDS.get(module, ()))
    assert sorted(kept - bounded) == [], "say in BOUNDS what bounds these"
    assert sorted(bounded - kept) == [], "these are no containers of the module any more"


def test_bounds_are_limits_or_other_containers():
    assert set(BOUNDS) <= set(MODULES)
    for module, bounds in BOUNDS.items():
        for attribute, bound in bounds.items():
            known = bound in LIMITS or bound in (OURS, TAKEN, FIXED, ONCE) or (bound in bounds and bound != attribute)
            assert known, f"{module}: {attribute} has the unknown bound {bound!r}"


def test_every_limit_is_hit_by_a_test():
    """At least it is named by a test other than this one."""
    text = "\n".join([path.read_text() for path in TESTS.rglob("test_*.py") if path != Path(__file__)])
    named = set(re.findall(r"\b[A-Z][A-Z0-9_]+\b", text))
    assert [name for name in LIMITS if name not in named] == []
