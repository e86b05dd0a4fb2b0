"""Chat, transcriptions, telephone keys."""

from __future__ import annotations

from collections import deque

import pytest

from sansio import proto
from sansio.base import limits
from sansio.base.errors import LocalProtocolError
from sansio.events import ChatMessage, SipDtmfReceived, TranscriptionReceived
from sansio.room.data import DataReceiver
from sansio.room.messages import chat_packet, dtmf_of, dtmf_packet, transcription_packet
from sansio.room.state import RoomState
from sansio.types import ChatEntry, SipDtmf, Transcription, TranscriptionSegment

from .build import info, join, track
from .party import Party

ENTRY = ChatEntry("id", "hello", 1_700_000_000_000)
SEGMENT = TranscriptionSegment("s1", "good morning", 100, 900, "en", True)


@pytest.fixture
def receiver():
    state = RoomState(deque())
    state.apply_join(join(info("bob", "PA_bob", tracks=[track("TR_bob")])))
    return DataReceiver(state)


def arrive(receiver, packet, sender="bob"):
    packet.participant_identity = sender
    return receiver.receive(packet.SerializeToString(), True, 0.0)


@pytest.mark.parametrize(
    "entry",
    [
        ENTRY,
        ChatEntry("id", "changed", 5, 6),
        ChatEntry("", "", 0),
        ChatEntry("id", "", 5, 0, deleted=True, generated=True),
    ],
)
def test_chat(receiver, entry):
    packet = chat_packet(entry, ["alice"])
    assert packet.destination_identities == ["alice"]
    bob = receiver._state.remote_participants["bob"]
    assert arrive(receiver, packet) == ChatMessage(entry, bob, "bob")
    assert arrive(receiver, packet, "new") == ChatMessage(entry, None, "new")
    assert arrive(receiver, packet).size == len(entry.message)


def test_transcriptions(receiver):
    state = receiver._state
    bob = state.remote_participants["bob"]
    event = arrive(receiver, transcription_packet(Transcription("bob", "TR_bob", (SEGMENT,)), ["alice"]), "agent")
    assert event == TranscriptionReceived((SEGMENT,), bob, bob.track_publications["TR_bob"], "bob", "TR_bob", "agent")
    assert event.size == len("good morning") + 100
    event = arrive(receiver, transcription_packet(Transcription("alice", "TR_none", ())), "agent")
    assert event == TranscriptionReceived((), state.local_participant, None, "alice", "TR_none", "agent")
    event = arrive(receiver, transcription_packet(Transcription("gone", "TR_gone", (SEGMENT,))), "agent")
    assert (event.participant, event.publication, event.participant_identity) == (None, None, "gone")


def test_segments_are_bounded(receiver):
    many = Transcription("bob", "TR_bob", (SEGMENT,) * (limits.TRANSCRIPTION_SEGMENTS + 1))
    assert len(arrive(receiver, transcription_packet(many)).segments) == limits.TRANSCRIPTION_SEGMENTS


def test_keys(receiver):
    bob = receiver._state.remote_participants["bob"]
    event = arrive(receiver, dtmf_packet(SipDtmf(11, "#"), ["alice"]))
    assert event == SipDtmfReceived(SipDtmf(11, "#"), bob, "bob")
    assert event.size == 1
    assert [dtmf_of(digit).code for digit in "0123456789*#ABCD"] == list(range(16))
    assert dtmf_of("d") == SipDtmf(15, "D")
    for nonsense in ("", "E", "12", " "):
        with pytest.raises(LocalProtocolError, match="no key"):
            dtmf_of(nonsense)


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (chat_packet, ChatEntry("id", 5, 0)),
        (chat_packet, ChatEntry("id", "\ud800", 0)),
        (chat_packet, ChatEntry("id", "x", 1 << 64)),
        (transcription_packet, Transcription("bob", "TR", (TranscriptionSegment("s", "x", -1),))),
        (transcription_packet, Transcription("bob", None, 5)),
        (dtmf_packet, SipDtmf(-1, "1")),
        (dtmf_packet, SipDtmf(1, 1)),
    ],
)
def test_what_cannot_be_sent(make, what):
    with pytest.raises(LocalProtocolError, match="not a "):
        make(what)


@pytest.mark.parametrize(
    ("make", "what"),
    [(chat_packet, ENTRY), (transcription_packet, Transcription("", "", ())), (dtmf_packet, SipDtmf(1, "1"))],
)
def test_destinations_are_several(make, what):
    with pytest.raises(LocalProtocolError, match="not one string"):
        make(what, "bob")
    with pytest.raises(LocalProtocolError, match="not a "):
        make(what, [5])


def test_a_chat_through_a_session():
    with Party("alice", "bob") as party:
        party.wait(5.0)
        alice, bob = party.engines["alice"], party.engines["bob"]
        entry = alice.chat_entry("hello", party.now)
        edited = alice.chat_entry("hello there", party.now + 1.0, edits=entry)
        assert (edited.id, edited.timestamp, edited.message) == (entry.id, entry.timestamp, "hello there")
        assert edited.edit_timestamp == entry.timestamp + 1000
        assert alice.chat_entry("x", party.now).id != entry.id
        for one in (entry, edited):
            assert alice.send_packet(chat_packet(one), now=party.now)
        party.world.poke("alice")
        party.wait(1.0)
        assert [event.entry for event in party.read("bob")] == [entry, edited]
        assert bob.read_data() is None


def test_whatever_was_sent_is_no_data_packet_for_the_user(receiver):
    packet = proto.models.DataPacket(chat_message={})
    assert isinstance(arrive(receiver, packet), ChatMessage)
    assert receiver.counters.snapshot() == {}
