"""Data channels: opening from both sides, sending, back-pressure, closing, and everything a peer may do wrong."""

from __future__ import annotations

import pytest

from sansio.base.contract import INF
from sansio.base.entropy import Entropy
from sansio.base.errors import LocalProtocolError
from sansio.base.limits import SCTP_CHANNELS, SCTP_CHUNK_COST, SCTP_EARLY_MESSAGES, SCTP_LOSSY_RING, SCTP_WINDOW
from sansio.sctp import (
    BufferedLow,
    ChannelClosed,
    ChannelOpened,
    ChannelReadable,
    DataChannels,
    SctpAssociation,
    SctpLost,
    SctpOptions,
    TextMessage,
    chunks,
    dcep,
)
from tests.unit.sctp.line import RTT, Pair, kinds


def of(pair: Pair, side: str, kind: type) -> list:
    return [event for event in pair.events[side] if isinstance(event, kind)]


def data(pair: Pair, sid: int, ppid: int, payload: bytes, *, ssn: int = 0, flags: int = 3) -> tuple[int, int, bytes]:
    """A DATA chunk for "a", the next one in sequence."""
    tsn = (pair.a.association.receiver.cum + 1) & 0xFFFFFFFF
    return (chunks.DATA, flags, tsn.to_bytes(4, "big") + sid.to_bytes(2, "big") + ssn.to_bytes(2, "big")
            + ppid.to_bytes(4, "big") + payload)  # fmt: skip


def give(pair: Pair, sid: int, ppid: int, payload: bytes, **more: int) -> None:
    pair.forge("a", data(pair, sid, ppid, payload, **more))


def open_message(label: str = "x", *, ordered: bool = True, retransmits: int | None = None) -> bytes:
    return dcep.encode_open(dcep.Open(label, "", ordered, retransmits, None, 0))


# ------------------------------------------------------------------ opening


@pytest.mark.parametrize("options", [
    {},
    {"ordered": False},
    {"max_retransmits": 3},
    {"max_lifetime_ms": 250, "ordered": False},
    {"max_retransmits": 0, "ordered": False, "protocol": "proto"},
])  # fmt: skip
def test_both_sides_learn_of_a_channel(options):
    pair = Pair().up()
    number = pair.a.open("label", now=pair.now, **options)
    pair.run(0.1)
    expected = [
        number,
        "label",
        options.get("ordered", True),
        options.get("max_retransmits"),
        True,
        options.get("max_lifetime_ms"),
        options.get("protocol", ""),
    ]
    assert of(pair, "a", ChannelOpened) == [ChannelOpened(*expected)]
    expected[4] = False
    assert of(pair, "b", ChannelOpened) == [ChannelOpened(*expected)]
    assert not of(pair, "b", ChannelReadable)


def test_numbers_follow_the_dtls_role():
    pair = Pair().up()
    assert [pair.a.open("x", now=pair.now) for _ in range(3)] == [0, 2, 4]
    assert [pair.b.open("x", now=pair.now) for _ in range(3)] == [1, 3, 5]
    pair.run(0.1)
    assert len(of(pair, "a", ChannelOpened)) == len(of(pair, "b", ChannelOpened)) == 6


def test_numbers_taken_by_the_peer_are_passed_over():
    pair = Pair().up()
    give(pair, 0, 50, open_message())
    give(pair, 2, 53, b"stray")
    assert pair.a.open("x", now=pair.now) == 4


def test_numbers_run_out():
    machine = DataChannels(SctpAssociation(Entropy(b"x")), role="client")
    machine._next_id = 65534
    assert machine.open("last", now=0.0) == 65534
    with pytest.raises(LocalProtocolError):
        machine.open("one too many", now=0.0)


def test_two_channels_and_first_messages_take_two_round_trips_and_a_half():
    pair = Pair(start="")
    reliable = pair.a.open("_reliable", now=pair.now)
    lossy = pair.a.open("_lossy", ordered=False, max_retransmits=0, now=pair.now)
    pair.a.send(reliable, b"one", pair.now)
    pair.a.start(pair.now)
    pair.b.start(pair.now)
    pair.run(1.5 * RTT)
    assert [event.label for event in of(pair, "b", ChannelOpened)] == ["_reliable", "_lossy"]
    assert of(pair, "b", ChannelReadable) == [ChannelReadable(reliable)]
    assert pair.read("b", reliable) == [b"one"]
    pair.run(0.5 * RTT)
    assert [event.channel for event in of(pair, "a", ChannelOpened)] == [reliable, lossy]


def test_messages_before_the_acknowledgement_are_ordered_and_reliable():
    pair = Pair().up()
    number = pair.a.open("lossy", ordered=False, max_retransmits=0, now=pair.now)
    lost = []
    pair.drop = lambda side, packet: side == "a" and not lost and not lost.append(1)
    for value in range(3):
        pair.a.send(number, b"early %d" % value, pair.now)
    pair.run(2.0)
    assert pair.read("b", number) == [b"early 0", b"early 1", b"early 2"]
    pair.a.send(number, b"late", pair.now)
    pair.flush()
    flags = chunks.decode_packet(pair.sent[-1][2]).chunks[-1].flags
    assert flags & chunks.UNORDERED


def test_data_before_the_acknowledgement_confirms_the_channel():
    pair = Pair().up()
    number = pair.a.open("x", ordered=False, now=pair.now)
    give(pair, number, 53, b"data", flags=7)
    pair.flush()
    assert of(pair, "a", ChannelOpened)[0].ours
    assert of(pair, "a", ChannelReadable) == [ChannelReadable(number)]
    pair.forge("a", data(pair, number, 50, dcep.ACK_MESSAGE))
    assert pair.a.counters["dcep_unexpected"] == 0
    assert len(of(pair, "a", ChannelOpened)) == 1


def test_data_before_the_open_is_kept_but_not_without_bound():
    pair = Pair().up()
    for value in range(SCTP_EARLY_MESSAGES + 2):
        give(pair, 7, 53, b"%d" % value, flags=7)
    assert pair.a.read(7) is None
    pair.flush()
    assert not of(pair, "a", ChannelReadable)
    give(pair, 7, 50, open_message(ordered=False))
    pair.flush()
    assert [type(event) for event in pair.events["a"][-2:]] == [ChannelOpened, ChannelReadable]
    assert pair.read("a", 7) == [b"%d" % value for value in range(2, SCTP_EARLY_MESSAGES + 2)]


@pytest.mark.parametrize("lost", ["the open", "its acknowledgement"])
def test_data_that_waited_for_a_lost_open_is_all_kept(lost):
    """One packet makes more messages ready than are kept of a stream that nobody has opened."""
    pair, count = Pair().up(), SCTP_EARLY_MESSAGES + 20
    a, b, side, other = (pair.a, pair.b, "a", "b") if lost == "the open" else (pair.b, pair.a, "b", "a")
    number = pair.a.open("x", now=pair.now)
    if lost != "the open":
        pair.run(0.4 * RTT)
    losses = []
    pair.drop = lambda where, packet: where == side and not losses and not losses.append(1)
    pair.run(0.2 * RTT)
    for value in range(count):
        a.send(number, b"%d" % value, pair.now)
    pair.run(3.0)
    assert losses
    assert pair.read(other, number) == [b"%d" % value for value in range(count)]
    assert b.association.receiver.counters["unread_dropped"] == 0


def test_an_open_that_is_none_makes_no_room_for_data():
    pair = Pair().up()
    give(pair, 7, 50, b"\xff", ssn=0)
    for value in range(SCTP_EARLY_MESSAGES + 2):
        give(pair, 7, 53, b"%d" % value, ssn=1 + value)
    assert pair.a.association.receiver.counters["unread_dropped"] == 2


def test_open_and_data_in_one_packet_tell_readable_once():
    pair = Pair().up()
    number = pair.a.open("x", now=pair.now)
    pair.a.send(number, b"with it", pair.now)
    pair.run(0.1)
    assert [type(event) for event in pair.events["b"][-2:]] == [ChannelOpened, ChannelReadable]


def test_dcep_nonsense_is_counted():
    pair = Pair().up()
    give(pair, 1, 50, b"\x07")
    give(pair, 1, 50, dcep.ACK_MESSAGE, ssn=1)
    give(pair, 3, 50, open_message())
    give(pair, 3, 50, open_message(), ssn=1)
    give(pair, 3, 50, dcep.ACK_MESSAGE, ssn=2)
    assert pair.a.counters["dcep_malformed"] == 1
    assert pair.a.counters["dcep_unexpected"] == 3
    pair.flush()
    assert len(of(pair, "a", ChannelOpened)) == 1


def test_limit_on_channels_of_the_peer():
    pair = Pair().up()
    for number in range(SCTP_CHANNELS + 2):
        give(pair, number, 50, open_message())
    pair.run(1.0)
    assert len(of(pair, "a", ChannelOpened)) == SCTP_CHANNELS
    assert pair.a.counters["channel_limit"] == 2
    assert any("RE_CONFIG" in kinds(packet) for _, side, packet in pair.sent if side == "a")
    assert pair.a.open("ours", now=pair.now) == SCTP_CHANNELS + 2


# ------------------------------------------------------------------ messages


def test_messages_are_acknowledged_one_after_the_other():
    pair = Pair()
    channel = pair.a.open("label", now=pair.now)
    first = pair.a.send(channel, b"before the association is up", pair.now)
    assert not pair.a.acknowledged(first)
    pair.up()
    pair.run(1.0)
    assert pair.a.acknowledged(first)
    long = pair.a.send(channel, bytes(60_000), pair.now)
    last = pair.a.send(channel, b"last", pair.now)
    pair.run(RTT / 2)
    assert not pair.a.acknowledged(long)
    pair.run(2.0)
    assert pair.a.acknowledged(long)
    assert pair.a.acknowledged(last)


def test_messages_of_every_kind():
    pair = Pair().up()
    number = pair.channel()
    made = [(b"", True), (b"", False), (b"text", False), (b"\0\xff", True), (bytes(65_535), True)]
    for payload, binary in made:
        pair.a.send(number, payload, pair.now, binary=binary)
    pair.run(1.0)
    got = pair.read("b", number)
    assert got == [payload for payload, _ in made]
    assert [isinstance(payload, TextMessage) for payload in got] == [not binary for _, binary in made]
    empty = [
        (int.from_bytes(chunk.body[8:12], "big"), chunk.body[12:])
        for _, side, packet in pair.sent
        if side == "a"
        for chunk in chunks.decode_packet(packet).chunks
        if chunk.kind == chunks.DATA
    ]
    assert empty[:2] == [(57, b"\0"), (56, b"\0")]


def test_everything_is_handed_through():
    pair = Pair(start="")
    pair.a.blocked = True
    assert pair.a.association.blocked
    assert pair.a.blocked
    pair.a.start(pair.now)
    pair.a.blocked = False
    pair.run(1.0)
    assert pair.b.association.up
    number = pair.channel()
    pair.a.shutdown(pair.now)
    with pytest.raises(LocalProtocolError):
        pair.a.open("late", now=pair.now)
    with pytest.raises(LocalProtocolError):
        pair.a.send(number, b"late", pair.now)


def test_both_directions_of_one_channel():
    pair = Pair().up()
    number = pair.channel()
    pair.a.send(number, b"ping", pair.now)
    pair.b.send(number, b"pong", pair.now)
    pair.run(0.1)
    assert pair.read("b", number) == [b"ping"]
    assert pair.read("a", number) == [b"pong"]


def test_readable_is_told_once_for_each_time_it_becomes_so():
    pair = Pair().up()
    number = pair.channel()
    for _ in range(3):
        pair.a.send(number, b"x", pair.now)
        pair.run(0.1)
    assert of(pair, "b", ChannelReadable) == [ChannelReadable(number)]
    assert pair.b.read(number) == b"x"
    pair.a.send(number, b"x", pair.now)
    pair.run(0.1)
    assert len(of(pair, "b", ChannelReadable)) == 1
    assert len(pair.read("b", number)) == 3
    pair.a.send(number, b"x", pair.now)
    pair.run(0.1)
    assert len(of(pair, "b", ChannelReadable)) == 2


def test_unread_lossy_messages_go_oldest_first():
    pair = Pair().up()
    number = pair.channel(ordered=False, max_retransmits=0)
    for value in range(SCTP_LOSSY_RING + 10):
        pair.a.send(number, b"%d" % value, pair.now)
    pair.run(1.0)
    got = pair.read("b", number)
    assert len(got) == SCTP_LOSSY_RING
    assert got[-1] == b"%d" % (SCTP_LOSSY_RING + 9)
    assert pair.b.counters["unread_dropped"] == 10


@pytest.mark.parametrize("options", [{"ordered": False}, {"max_retransmits": 0}, {}])
def test_messages_of_other_channels_are_never_dropped(options):
    pair = Pair().up()
    number = pair.channel(**options)
    for value in range(2 * SCTP_LOSSY_RING):
        pair.a.send(number, b"%d" % value, pair.now)
    pair.run(1.0)
    assert len(pair.read("b", number)) == 2 * SCTP_LOSSY_RING


def test_messages_with_a_lifetime():
    pair = Pair().up()
    number = pair.channel(ordered=False, max_lifetime_ms=500)
    pair.a.blocked = True
    pair.a.send(number, b"old", pair.now)
    pair.run(1.0)
    pair.a.send(number, b"new", pair.now)
    pair.a.blocked = False
    pair.run(0.1)
    assert pair.read("b", number) == [b"new"]


def test_misuse():
    pair = Pair().up()
    number = pair.channel()
    with pytest.raises(LocalProtocolError):
        pair.a.send(number, bytes(65_536), pair.now)
    with pytest.raises(LocalProtocolError):
        pair.a.send(number + 2, b"x", pair.now)
    for options in (
        {"max_retransmits": 1, "max_lifetime_ms": 1},
        {"max_retransmits": -1},
        {"max_lifetime_ms": 1 << 32},
        {"protocol": "x" * 65_536},
        {"protocol": "x" * 65_530},
    ):
        with pytest.raises(LocalProtocolError):
            pair.a.open("label", now=pair.now, **options)
    with pytest.raises(LocalProtocolError):
        pair.a.open("ä" * 40_000, now=pair.now)
    with pytest.raises(LocalProtocolError):
        pair.a.set_thresholds(number, 2, 1)
    with pytest.raises(LocalProtocolError):
        pair.a.set_thresholds(999, 1, 2)
    assert pair.a.read(999) is None
    assert pair.a.buffered(999) == 0
    assert not pair.a.writable(999)
    pair.a.close(999, pair.now)
    pair.run(0.1)
    assert pair.log() == []


# ------------------------------------------------------------------ back-pressure


def test_buffered_low_after_high():
    pair = Pair().up()
    number = pair.channel()
    pair.a.set_thresholds(number, 10_000, 50_000)
    pair.a.send(number, bytes(50_000), pair.now)
    assert pair.a.writable(number)
    pair.run(1.0)
    assert not of(pair, "a", BufferedLow)
    pair.a.send(number, bytes(50_000), pair.now)
    pair.a.send(number, bytes(50_000), pair.now)
    assert not pair.a.writable(number)
    assert pair.a.buffered(number) == pair.a.total_buffered() == 100_000
    pair.run(1.0)
    assert of(pair, "a", BufferedLow) == [BufferedLow(number)]
    assert pair.a.writable(number)
    assert pair.a.buffered(number) == pair.a.total_buffered() == 0


def test_blocked_socket_stops_data_and_nothing_else():
    pair = Pair().up()
    number = pair.channel()
    pair.a.blocked = True
    pair.a.send(number, b"later", pair.now)
    pair.b.send(number, b"now", pair.now)
    pair.run(0.3)
    assert pair.log() == [("b", ["DATA"]), ("a", ["SACK"])]
    assert pair.a.buffered(number) == 5
    pair.a.blocked = False
    pair.run(0.1)
    assert pair.read("b", number) == [b"later"]


def test_reader_that_stops_shuts_the_window_and_reopens_it():
    pair = Pair(options=SctpOptions(window=100_000)).up()
    number = pair.channel()
    for value in range(300):
        pair.a.send(number, b"%03d" % value * 300, pair.now)
    pair.run(20.0)
    receiver = pair.b.association.receiver
    assert 95_000 < receiver.held <= 100_000 + 1000 + SCTP_CHUNK_COST
    assert pair.a.buffered(number) > 150_000
    assert pair.a.association.up
    got = []
    while len(got) < 300:
        before = len(got)
        got += pair.read("b", number)
        pair.run(0.2)
        assert len(got) > before
    assert got == [b"%03d" % value * 300 for value in range(300)]
    assert receiver.held == 0


def test_the_window_is_bounded_unless_the_user_says_otherwise():
    pair = Pair().up()
    number = pair.channel()
    for _ in range(SCTP_WINDOW // 60_000 + 10):
        pair.a.send(number, bytes(60_000), pair.now)
    pair.run(10.0)
    assert SCTP_WINDOW - 10_000 < pair.b.association.receiver.held <= SCTP_WINDOW + 2_000
    assert pair.a.buffered(number) > 0


def test_window_update_is_sent_without_waiting_for_a_probe():
    pair = Pair(options=SctpOptions(window=100_000)).up()
    number = pair.channel()
    for _ in range(300):
        pair.a.send(number, bytes(900), pair.now)
    pair.run(3.0)
    pair.sent.clear()
    pair.read("b", number)
    pair.run(2 * RTT)
    assert pair.log()[0] == ("b", ["SACK"])
    assert len(pair.read("b", number)) > 50


# ------------------------------------------------------------------ closing


def test_close_delivers_what_is_queued_and_tells_both_sides():
    pair = Pair().up()
    number = pair.channel()
    for _ in range(40):
        pair.a.send(number, bytes(5000), pair.now)
    pair.a.close(number, pair.now)
    pair.a.close(number, pair.now)
    assert not pair.a.writable(number)
    with pytest.raises(LocalProtocolError):
        pair.a.send(number, b"late", pair.now)
    pair.run(2.0)
    assert of(pair, "a", ChannelClosed) == of(pair, "b", ChannelClosed) == [ChannelClosed(number)]
    assert pair.read("b", number) == [bytes(5000)] * 40
    assert pair.b.read(number) is None
    assert pair.b.association.receiver.held == 0
    assert not of(pair, "a", BufferedLow)
    with pytest.raises(LocalProtocolError):
        pair.b.send(number, b"late", pair.now)


def test_close_from_both_sides_at_once():
    pair = Pair().up()
    number = pair.channel()
    pair.a.close(number, pair.now)
    pair.b.close(number, pair.now)
    pair.run(1.0)
    assert of(pair, "a", ChannelClosed) == of(pair, "b", ChannelClosed) == [ChannelClosed(number)]


def test_close_of_a_channel_of_the_peer():
    pair = Pair().up()
    number = pair.channel()
    pair.b.send(number, b"last words", pair.now)
    pair.b.close(number, pair.now)
    pair.run(1.0)
    assert of(pair, "a", ChannelClosed) == [ChannelClosed(number)]
    assert pair.read("a", number) == [b"last words"]


@pytest.mark.parametrize("seed", range(12))
def test_close_under_loss(seed):
    entropy = Entropy(b"close %d" % seed)
    pair = Pair().up()
    numbers = [pair.a.open(str(value), now=pair.now) for value in range(4)]
    pair.run(0.5)
    pair.drop = lambda side, packet: entropy.below(4) == 0
    for number in numbers:
        pair.a.send(number, bytes(3000), pair.now)
        pair.sides["ab"[entropy.below(2)]].close(number, pair.now)
    pair.run(100.0)
    assert sorted(event.channel for event in of(pair, "a", ChannelClosed)) == numbers
    assert sorted(event.channel for event in of(pair, "b", ChannelClosed)) == numbers
    assert pair.a.association.up


def test_closed_number_may_be_opened_again_by_the_peer():
    pair = Pair().up()
    number = pair.channel()
    pair.a.send(number, b"never read", pair.now)
    pair.run(0.1)
    for turn in range(3):
        pair.a.close(number, pair.now)
        pair.run(1.0)
        assert len(of(pair, "b", ChannelClosed)) == turn + 1
        pair.a._next_id = number
        assert pair.a.open("again", now=pair.now) == number
        pair.a.send(number, b"turn %d" % turn, pair.now)
        pair.run(1.0)
    # The last messages are there; what nobody read of the earlier lives of the channel is not counted any more.
    assert pair.read("b", number) == [b"turn 2"]
    pair.a.close(number, pair.now)
    pair.run(1.0)
    assert pair.b.association.receiver.held == 0
    assert pair.b.read(number) is None


def test_unread_messages_of_closed_channels_are_bounded():
    pair = Pair().up()
    total = SCTP_CHANNELS + 5
    for _ in range(total):
        number = pair.a.open("x", now=pair.now)
        pair.a.send(number, b"unread", pair.now)
        pair.a.close(number, pair.now)
    pair.run(5.0)
    assert len(of(pair, "b", ChannelClosed)) + pair.b.counters["channel_limit"] >= SCTP_CHANNELS
    for _ in range(8):
        number = pair.a.open("x", now=pair.now)
        pair.a.send(number, b"unread", pair.now)
        pair.a.close(number, pair.now)
        pair.run(1.0)
    assert len(pair.b._closed) == SCTP_CHANNELS
    kept = [number for number in range(0, 2 * total + 40, 2) if pair.read("b", number)]
    assert len(kept) == SCTP_CHANNELS


@pytest.mark.parametrize("shutdown", [False, True])
def test_close_after_messages_whose_time_ran_out(shutdown):
    """What is dropped unsent may be the last thing that a close or a shutdown waits for."""
    pair = Pair().up()
    number = pair.channel(ordered=False, max_lifetime_ms=100)
    pair.a.blocked = True
    pair.a.send(number, b"too late", pair.now)
    pair.run(0.5)
    if shutdown:
        pair.a.shutdown(pair.now)
    else:
        pair.a.close(number, pair.now)
    pair.run(0.1)
    assert pair.log() == []
    pair.a.blocked = False
    pair.flush()
    assert pair.log() == [("a", ["SHUTDOWN" if shutdown else "RE_CONFIG"])]
    pair.run(0.1)
    assert of(pair, "a", SctpLost if shutdown else ChannelClosed)


def test_an_open_and_a_reset_in_one_packet():
    pair = Pair().up()
    resets, tsn = pair.a.association.resets, pair.a.association.receiver.cum + 1
    request = chunks.encode_reset_request(chunks.ResetRequest(resets.expected, 0, tsn & 0xFFFFFFFF, [7]))
    reset = (chunks.RE_CONFIG, 0, chunks.encode_parameters([(chunks.OUTGOING_RESET, request)]))
    pair.forge("a", data(pair, 7, 50, open_message()), reset)
    pair.run(1.0)
    assert [event.channel for event in of(pair, "a", ChannelOpened)] == [7]


def test_reset_of_streams_without_a_channel_is_harmless():
    pair = Pair().up()
    sequence = pair.a.association.resets.expected
    last = pair.a.association.receiver.cum & 0xFFFFFFFF
    request = chunks.encode_reset_request(chunks.ResetRequest(sequence, 0, last, [77]))
    pair.forge("a", (chunks.RE_CONFIG, 0, chunks.encode_parameters([(chunks.OUTGOING_RESET, request)])))
    pair.run(0.1)
    assert pair.log() == [("a", ["RE_CONFIG"])]
    assert pair.events["a"][-1:] != [ChannelClosed(77)]
    pair.a._resets.reset_out.append(77)
    pair.run(0.1)
    assert not of(pair, "a", ChannelClosed)


def test_message_after_the_peer_has_closed_is_not_told():
    pair = Pair().up()
    number = pair.channel()
    pair.drop = lambda side, packet: side == "a"
    sequence = pair.a.association.resets.expected
    last = pair.a.association.receiver.cum & 0xFFFFFFFF
    request = chunks.encode_reset_request(chunks.ResetRequest(sequence, 0, last, [number]))
    pair.forge("a", (chunks.RE_CONFIG, 0, chunks.encode_parameters([(chunks.OUTGOING_RESET, request)])))
    give(pair, number, 53, b"after the end")
    pair.flush()
    assert not of(pair, "a", ChannelReadable)


def test_low_water_of_a_closing_channel_is_not_told():
    pair = Pair().up()
    number = pair.channel()
    pair.a.set_thresholds(number, 0, 0)
    pair.a.send(number, bytes(9000), pair.now)
    pair.a.close(number, pair.now)
    pair.run(1.0)
    assert not of(pair, "a", BufferedLow)
    assert of(pair, "a", ChannelClosed)


def test_what_came_with_the_end_is_told_before_it():
    pair = Pair().up()
    number = pair.channel()
    pair.forge("a", data(pair, number, 53, b"last", flags=7), (chunks.ABORT, 0, b""))
    assert [type(event) for event in pair.a.outbox] == [ChannelReadable, SctpLost]
    assert pair.read("a", number) == [b"last"]
    pair.a._sender.lows.append(pair.a._channels[number].outgoing)
    pair.flush()
    assert [type(event) for event in pair.events["a"]] == [ChannelReadable, SctpLost]


def test_events_end_with_the_association():
    pair = Pair().up()
    number = pair.channel()
    pair.a.send(number, b"x", pair.now)
    pair.a.abort(pair.now)
    assert pair.a.advance(pair.now) == INF
    pair.a._resets.reset_in.append(number)
    pair.a._resets.reset_out.append(number)
    pair.a.advance(pair.now)
    assert not any(isinstance(event, ChannelClosed) for event in pair.a.outbox)
