"""Data packets."""

from __future__ import annotations

from collections import deque

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sansio import events, proto
from sansio.base import limits
from sansio.base.errors import LocalProtocolError, ParseError
from sansio.room.data import DataReceiver, DataSender, Unacknowledged, decode_data_packet, unacknowledged
from sansio.room.state import RoomState
from sansio.types import EncryptionType

from .build import info, join


def packet(**fields):
    return proto.models.DataPacket(**fields).SerializeToString()


def user(payload=b"hi", **fields):
    return proto.models.UserPacket(payload=payload, **fields)


@pytest.fixture
def state():
    state = RoomState(deque())
    state.apply_join(join(info("bob", "PA_bob")))
    return state


@pytest.fixture
def receiver(state):
    return DataReceiver(state)


# ------------------------------------------------------------------ sending


def test_reliable_packets_are_numbered():
    sender = DataSender()
    first = sender.encode(b"one", reliable=True, topic="t", destination_identities=["bob", "carol"])
    second = sender.encode(b"two", reliable=True)
    assert decode_data_packet(second).sequence == 0  # not before its turn, which may come first
    assert decode_data_packet(sender.number(second)).sequence == 1
    assert decode_data_packet(sender.number(first)) == proto.models.DataPacket(
        user=user(b"one", topic="t"), destination_identities=["bob", "carol"], sequence=2
    )


@pytest.mark.parametrize("number", [1, 127, 128, 16_383, 16_384, 2**31, 2**32 - 1])
def test_numbers_of_every_size(number):
    sender = DataSender()
    sender._next = number
    data = sender.encode(b"x", reliable=True)
    numbered = sender.number(data)
    assert decode_data_packet(numbered).sequence == number
    assert len(numbered) - len(data) <= 7


def test_lossy_packets_have_no_number():
    sent = decode_data_packet(DataSender().encode(b"x", reliable=False))
    assert sent == proto.models.DataPacket(user=user(b"x"), kind=proto.models.DataPacket.LOSSY)
    assert not sent.user.HasField("topic")


@pytest.mark.parametrize("payload", [bytearray(b"abc"), memoryview(b"abc"), b"abc", b""])
def test_payloads_are_bytes_of_any_kind(payload):
    assert decode_data_packet(DataSender().encode(payload, reliable=True)).user.payload == bytes(payload)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"payload": "text"}, "must be bytes, not str"),
        ({"payload": 5}, "must be bytes, not int"),
        ({"destination_identities": "bob"}, "not one string"),
        ({"destination_identities": [1]}, "must be text"),
        ({"destination_identities": 5}, "must be text"),
        ({"destination_identities": ["\ud800"]}, "must be text"),
        ({"topic": 5}, "must be text"),
        ({"topic": "\ud800"}, "must be text"),
    ],
)
def test_wrong_arguments(arguments, words):
    sender = DataSender()
    with pytest.raises(LocalProtocolError, match=words):
        sender.encode(**{"payload": b"x", "reliable": True, **arguments})
    assert decode_data_packet(sender.number(sender.encode(b"x", reliable=True))).sequence == 1


def test_the_whole_packet_is_limited():
    sender = DataSender()
    sender._next = 2**32 - 1
    overhead = len(sender.number(sender.encode(b"x" * 60_000, reliable=True))) - 60_000
    most = limits.DATA_PACKET_BYTES - overhead
    assert len(sender.number(sender.encode(b"x" * most, reliable=True))) == limits.DATA_PACKET_BYTES
    assert sender.encode(b"x" * (most + 1), reliable=False)  # which has no number
    with pytest.raises(LocalProtocolError, match="64001 bytes in all, more than the 64000"):
        sender.encode(b"x" * (most + 1), reliable=True)


def test_the_peer_may_take_less():
    sender = DataSender()
    sender.remote_limit(1000)
    with pytest.raises(LocalProtocolError, match="more than the 1000"):
        sender.encode(b"x" * 1000, reliable=True)
    sender.remote_limit(0)
    assert sender.max_size == limits.DATA_PACKET_BYTES
    sender.remote_limit(1 << 30)
    assert sender.max_size == limits.DATA_PACKET_BYTES


class Channels:
    """Data channels that have acknowledged so many messages."""

    def __init__(self):
        self.count = 0

    def acknowledged(self, message):
        return message <= self.count


def test_what_is_not_acknowledged_is_known():
    log, channels = Unacknowledged(), Channels()
    for number, (data, urgent) in enumerate([(b"a", False), (b"U", True), (b"b", False), (b"c", False)], 1):
        log.add(number, data, urgent)
    for count, ordinary, left in ((0, 0, b"aUbc"), (2, 1, b"bc"), (3, 2, b"c"), (9, 3, b"")):
        channels.count = count
        log.settle(channels)
        assert (log.acknowledged, b"".join(log.packets())) == (ordinary, left)


def test_packets_that_never_left_are_known_as_such():
    class Message:
        sends = 0

    log, message = Unacknowledged(), Message()
    assert log.unsent() == []
    log.add(message, b"a", False)
    log.add(Message(), b"U", True)
    assert log.unsent() == [(b"a", False), (b"U", True)]
    message.sends = 1
    assert log.unsent() is None
    log.acknowledged = 1
    assert Unacknowledged.unsent(log) is None


def test_the_event_shows_packets_as_they_were_published():
    sender = DataSender()
    first = sender.number(sender.encode(b"one", reliable=True, topic="t", destination_identities=["bob", "carol"]))
    chunk = packet(stream_chunk=proto.models.DataStream.Chunk(content=b"x"))
    told = unacknowledged([first, chunk, sender.encode(b"two", reliable=True)])
    assert told == events.DataUnacknowledged(
        (events.UnacknowledgedPacket(b"one", "t", ("bob", "carol")), events.UnacknowledgedPacket(b"two", "", ())), 1
    )


# ------------------------------------------------------------------ receiving


def test_a_packet_becomes_an_event(receiver, state):
    data = packet(user=user(b"hi", topic="t"), participant_identity="bob", participant_sid="PA_bob", sequence=3)
    bob = state.remote_participants["bob"]
    none = EncryptionType.NONE
    assert receiver.receive(data, True, 0.0) == events.DataReceived(b"hi", bob, True, "t", none, "bob", "PA_bob")
    assert receiver.receive(data, False, 0.0) == events.DataReceived(b"hi", bob, False, "t", none, "bob", "PA_bob")
    assert receiver.counters.snapshot() == {}


def test_newcomers_and_the_server_have_no_participant(receiver):
    stranger = receiver.receive(packet(user=user(), participant_identity="new", participant_sid="PA_n"), True, 0.0)
    assert (stranger.participant, stranger.identity, stranger.sid) == (None, "new", "PA_n")
    server = receiver.receive(packet(user=user()), True, 0.0)
    assert (server.participant, server.identity, server.sid) == (None, "", "")


def test_duplicates_of_a_session_are_dropped(receiver):
    def receive(sequence, sid="PA_bob", reliable=True):
        data = packet(user=user(), participant_identity="bob", participant_sid=sid, sequence=sequence)
        return receiver.receive(data, reliable, 0.0) is not None

    assert [receive(n) for n in (3, 3, 2, 5, 4, 6)] == [True, False, False, True, False, True]
    assert receive(1, sid="PA_other")
    assert receive(0)  # without a number
    assert receive(0)
    assert receive(1, sid="")
    assert receive(1, sid="")
    assert receive(1, reliable=False)
    assert receiver.counters["data_duplicate"] == 3
    assert receiver.last_sequences() == [("PA_bob", 6), ("PA_other", 1)]


def test_duplicates_of_any_payload_count(receiver):
    rpc = packet(rpc_ack={"request_id": "x"}, participant_sid="PA_bob", sequence=2)
    assert receiver.receive(rpc, True, 0.0) is None
    assert receiver.receive(packet(user=user(), participant_sid="PA_bob", sequence=2), True, 0.0) is None
    assert receiver.counters["data_duplicate"] == 1


def test_other_payloads_go_to_who_handles_them(receiver):
    got = []
    receiver.handlers["rpc_ack"] = lambda packet, now: got.append((packet.rpc_ack.request_id, now))
    ack = packet(rpc_ack={"request_id": "x"}, participant_sid="PA_bob", sequence=2)
    assert receiver.receive(ack, True, 5.0) is None
    assert receiver.receive(ack, True, 5.0) is None  # a duplicate
    assert receiver.receive(packet(rpc_request={"id": "x"}), True, 5.0) is None
    assert got == [("x", 5.0)]
    assert receiver.counters.snapshot() == {"data_duplicate": 1, "data_unhandled_payload": 1}


def test_our_own_packets_are_ignored(receiver):
    assert receiver.receive(packet(user=user(), participant_identity="alice"), True, 0.0) is None
    assert receiver.counters["data_from_ourselves"] == 1


@pytest.mark.parametrize(
    ("data", "counter"),
    [
        (packet(rpc_ack={"request_id": "x"}), "data_unhandled_payload"),
        (packet(encrypted_packet={"iv": b"x"}), "data_unhandled_payload"),
        (packet(participant_identity="bob"), "data_unknown_payload"),
        (b"", "data_unknown_payload"),
        (b"\xfa\x07\x01x", "data_unknown_payload"),  # field 127
        (b"\x12\x05ab", "data_undecodable"),
        (b"\xff" * 20, "data_undecodable"),
        (b"\x22\x02\xff\xff", "data_undecodable"),  # an identity that is no UTF-8
    ],
)
def test_what_is_not_for_the_user_is_counted(receiver, data, counter):
    assert receiver.receive(data, True, 0.0) is None
    assert receiver.counters.snapshot() == {counter: 1}


def test_senders_are_bounded(receiver):
    def receive(sid, now, sequence=1):
        data = packet(user=user(), participant_sid=sid, sequence=sequence)
        return receiver.receive(data, True, now) is not None

    for number in range(limits.DATA_SENDERS + 5):
        assert receive(f"PA_{number}", 0.0)
    assert len(receiver.last_sequences()) == limits.DATA_SENDERS
    assert receiver.counters["data_sender_forgotten"] == 5
    assert not receive("PA_5", 1.0)
    assert receive("PA_0", 1.0)  # forgotten, hence new


def test_silent_senders_are_forgotten(receiver):
    def receive(sid, now, sequence):
        data = packet(user=user(), participant_sid=sid, sequence=sequence)
        return receiver.receive(data, True, now) is not None

    ttl = limits.DATA_SENDER_TTL
    assert receive("PA_silent", 0.0, 7)
    assert receive("PA_talks", 0.0, 7)
    assert receive("PA_once", 0.0, 7)
    assert receive("PA_talks", ttl, 8)
    assert not receive("PA_silent", ttl + 1.0, 7)  # still known: nothing new came since
    assert receive("PA_third", 1.5 * ttl, 1)
    assert receiver.last_sequences() == [("PA_silent", 7), ("PA_talks", 8), ("PA_third", 1)]
    assert receive("PA_fourth", 3 * ttl, 1)
    assert receiver.last_sequences() == [("PA_fourth", 1)]
    assert receive("PA_silent", 3 * ttl, 7)


# ------------------------------------------------------------------ bytes


def test_every_truncation_is_a_packet_or_a_parse_error():
    data = packet(
        user=user(b"hi there", topic="t"), participant_identity="bob", participant_sid="PA_bob", sequence=300,
        destination_identities=["alice"],
    )  # fmt: skip
    refused = 0
    for end in range(len(data)):
        try:
            decode_data_packet(data[:end])
        except ParseError:
            refused += 1
    assert refused > len(data) // 2


@given(st.binary(max_size=200), st.booleans())
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_survived(data, reliable):
    state = RoomState(deque())
    state.apply_join(join(info("bob", "PA_bob")))
    receiver = DataReceiver(state)
    receiver.receive(data, reliable, 0.0)
    assert sum(receiver.counters.snapshot().values()) <= 1


@given(st.binary(max_size=2000), st.text(max_size=20), st.lists(st.text(max_size=10), max_size=4), st.booleans())
@settings(max_examples=100, deadline=None)
def test_what_is_sent_is_received(payload, topic, destinations, reliable):
    state = RoomState(deque())
    try:
        data = DataSender().encode(payload, reliable=reliable, topic=topic, destination_identities=destinations)
    except LocalProtocolError:
        assert any("\ud800" <= c <= "\udfff" for c in topic + "".join(destinations))
        return
    event = DataReceiver(state).receive(data, reliable, 0.0)
    assert (event.payload, event.topic, event.reliable) == (payload, topic, reliable)
