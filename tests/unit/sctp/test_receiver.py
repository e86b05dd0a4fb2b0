"""The receiving half by itself: order, gaps, duplicates, fragments in any order, windows, FORWARD-TSN, every limit."""

from __future__ import annotations

import itertools

import pytest

from sansio.base.counters import Counters
from sansio.base.entropy import Entropy
from sansio.base.limits import (
    SCTP_CHUNK_COST,
    SCTP_DUPLICATES,
    SCTP_EARLY_MESSAGES,
    SCTP_GAPS,
    SCTP_MESSAGE_IN,
    SCTP_OVERRUN,
    SCTP_STREAMS,
    SCTP_TSN_AHEAD,
)
from sansio.sctp import TextMessage, chunks
from sansio.sctp.receiver import NO_RING, Receiver

BASE = 0xFFFFFFF0
"""So that TSNs wrap in every test."""
WHOLE, FIRST, MIDDLE, LAST, UNORDERED = 3, 2, 0, 1, 4
BINARY = 53


def receiver(window: int = 1 << 20) -> Receiver:
    made = Receiver(Counters(), window)
    made.cum = BASE
    return made


def give(
    one: Receiver, offset: int, data: bytes = b"x", *, flags: int = WHOLE, sid: int = 0, ssn: int = 0, ppid=BINARY
):
    one.handle_data(flags, (BASE + offset) & 0xFFFFFFFF, sid, ssn, ppid, data)


def unordered(one: Receiver, offset: int, data: bytes = b"x", flags: int = WHOLE, sid: int = 0) -> None:
    give(one, offset, data, flags=flags | UNORDERED, sid=sid)


def messages(one: Receiver, sid: int = 0) -> list[bytes]:
    stream = one.streams[sid]
    out = []
    while (data := one.read(stream)) is not None:
        out.append(data)
    return out


def sack(one: Receiver, room: int = 1151) -> tuple[int, list[tuple[int, int]], list[int]]:
    """The SACK owed: cumulative TSN, gap blocks and duplicates, relative to BASE."""
    chunk = one.take_sack(room)
    assert len(chunk) <= room
    assert chunk[0] == chunks.SACK
    assert len(chunk) == int.from_bytes(chunk[2:4], "big")
    decoded = chunks.decode_sack(chunk[4:])
    assert decoded.window == max(0, one.window - one.held)
    return (
        (decoded.cumulative - BASE) & 0xFFFFFFFF,
        decoded.gaps,
        [(tsn - BASE) & 0xFFFFFFFF for tsn in decoded.duplicates],
    )


def test_in_order():
    one = receiver()
    for number in range(40):
        give(one, 1 + number, b"%d" % number, ssn=number)
    assert not one.sack_now
    assert sack(one) == (40, [], [])
    assert len(one.readable) == 1
    assert messages(one) == [b"%d" % number for number in range(40)]
    assert one.held == 0


def test_gaps_merge_whatever_the_order():
    for order in itertools.permutations(range(2, 7)):
        one = receiver()
        for offset in order:
            unordered(one, offset)
            assert one.sack_now
        assert sack(one) == (0, [(2, 6)], [])
        unordered(one, 1)
        assert sack(one) == (6, [], [])


def test_gap_blocks_against_a_set():
    entropy = Entropy(b"gaps")
    for _ in range(50):
        one = receiver()
        seen: set[int] = set()
        for _ in range(60):
            offset = 1 + entropy.below(50)
            unordered(one, offset)
            seen.add(offset)
            cum = next(n for n in itertools.count(1) if n not in seen) - 1
            blocks = []
            for tsn in sorted(seen):
                if tsn > cum:
                    if blocks and blocks[-1][1] == tsn - cum - 1:
                        blocks[-1][1] += 1
                    else:
                        blocks.append([tsn - cum, tsn - cum])
            got = sack(one)
            assert got[:2] == (cum, [tuple(block) for block in blocks])
        assert len(messages(one)) == min(len(seen), SCTP_EARLY_MESSAGES)
        assert one.held == 0


def test_duplicates_are_reported_and_bounded():
    one = receiver()
    for offset in (1, 3, 5, 1, 3, 5):
        unordered(one, offset)
    assert sack(one) == (1, [(2, 2), (4, 4)], [1, 3, 5])
    assert sack(one) == (1, [(2, 2), (4, 4)], [])
    unordered(one, 4)
    unordered(one, 4)
    assert sack(one) == (1, [(2, 4)], [4])
    for _ in range(SCTP_DUPLICATES + 5):
        unordered(one, 1)
    assert len(sack(one)[2]) == SCTP_DUPLICATES
    assert one.counters["data_duplicate"] == SCTP_DUPLICATES + 9


def test_sack_fits_into_the_room():
    one = receiver()
    for offset in range(3, 90, 2):
        unordered(one, offset)
        unordered(one, offset)
    assert sack(one, 100) == (0, [(n, n) for n in range(3, 45, 2)], [])
    assert len(sack(one, 200)[1]) == 44


def test_far_ahead_is_dropped():
    one = receiver()
    unordered(one, SCTP_TSN_AHEAD + 1)
    assert one.counters["tsn_too_far"] == 1
    assert one.held == 0
    unordered(one, SCTP_TSN_AHEAD)
    assert sack(one) == (0, [(SCTP_TSN_AHEAD, SCTP_TSN_AHEAD)], [])


def test_limit_on_gaps():
    one = receiver()
    for number in range(SCTP_GAPS + 3):
        unordered(one, 3 + 2 * number)
    assert one.counters["gap_limit"] == 3
    assert len(sack(one)[1]) == SCTP_GAPS
    unordered(one, 4)
    assert len(sack(one)[1]) == SCTP_GAPS - 1


def test_limit_on_streams():
    one = receiver()
    for number in range(SCTP_STREAMS + 2):
        give(one, 1 + number, sid=number)
    assert len(one.streams) == SCTP_STREAMS
    assert one.counters["stream_limit"] == 2
    assert sack(one)[0] == SCTP_STREAMS + 2
    assert one.held == SCTP_STREAMS * (1 + SCTP_CHUNK_COST)


def test_ordered_messages_wait_for_those_before():
    for order in itertools.permutations(range(5)):
        one = receiver()
        for number in order:
            give(one, 1 + number, b"%d" % number, ssn=number)
        assert messages(one) == [b"0", b"1", b"2", b"3", b"4"]
        assert one.held == 0


def test_sequence_numbers_wrap():
    one = receiver()
    give(one, 1)
    one.streams[0].next_ssn = 0xFFFE
    give(one, 3, b"b", ssn=0xFFFF)
    give(one, 4, b"c", ssn=0)
    give(one, 2, b"a", ssn=0xFFFE)
    assert messages(one) == [b"x", b"a", b"b", b"c"]


def test_sequence_numbers_of_the_past_and_taken_ones():
    one = receiver()
    give(one, 1, ssn=0)
    give(one, 2, ssn=0)
    give(one, 3, ssn=7)
    give(one, 4, ssn=7)
    assert one.counters["ssn_unexpected"] == 2
    assert one.held == 2 * (1 + SCTP_CHUNK_COST)


@pytest.mark.parametrize("mode", [0, UNORDERED])
def test_fragments_in_every_order(mode):
    parts = [b"a" * 5, b"b", b"c" * 3, b"d", b"e" * 2]
    flags = [FIRST, MIDDLE, MIDDLE, MIDDLE, LAST]
    for order in itertools.permutations(range(5)):
        one = receiver()
        for number in order:
            give(one, 1 + number, parts[number], flags=flags[number] | mode)
        assert messages(one) == [b"".join(parts)]
        assert one.held == 0
        assert not one.by_first
        assert not one.by_last


def test_fragments_of_neighbouring_messages_do_not_mix():
    entropy = Entropy(b"neighbours")
    for _ in range(60):
        one = receiver()
        one.cum = BASE
        made = []
        tsn = 1
        expected = []
        for number in range(6):
            count = 1 + entropy.below(4)
            expected.append(b"%d" % number * count)
            for part in range(count):
                flags = (FIRST if part == 0 else 0) | (LAST if part == count - 1 else 0)
                made.append((tsn, b"%d" % number, flags, number))
                tsn += 1
        while made:
            offset, data, flags, number = made.pop(entropy.below(len(made)))
            give(one, offset, data, flags=flags, ssn=number)
        assert messages(one) == expected
        assert one.held == 0


def test_unordered_fragments_do_not_wait_for_others():
    one = receiver()
    unordered(one, 5, b"a", FIRST)
    unordered(one, 6, b"b", LAST)
    assert messages(one) == [b"ab"]


@pytest.mark.parametrize("order", [(1, 2), (2, 1)])
@pytest.mark.parametrize("change", [{"sid": 1}, {"ssn": 1}, {"flags": LAST | UNORDERED}])
def test_fragments_that_disagree_break_the_association(order, change):
    one = receiver()
    for number in order:
        given = {"flags": FIRST if number == 1 else LAST}
        if number == 2:
            given |= change
        give(one, number, **given)
    assert one.broken
    give(one, 3)
    assert one.broken == "fragments of one message disagree"


def test_a_first_or_last_fragment_does_not_join_the_wrong_way():
    one = receiver()
    give(one, 2, flags=LAST)
    give(one, 3, flags=MIDDLE)
    give(one, 5, flags=FIRST)
    give(one, 4, flags=MIDDLE)
    assert not one.broken
    assert sorted(run.first - BASE for run in one.by_first.values()) == [2, 3, 5]


def test_messages_longer_than_the_limit_are_dropped():
    part = bytes(SCTP_MESSAGE_IN // 2)
    for order in ((0, 1, 2, 3, 4), (4, 3, 2, 1, 0), (0, 4, 1, 3, 2), (0, 1, 3, 4, 2), (0, 1, 2, 4, 3), (4, 3, 2, 0, 1)):
        one = receiver(1 << 24)
        give(one, 6, b"after", ssn=1)
        unordered(one, 7, b"beside")
        for number in order:
            give(one, 1 + number, part, flags=(FIRST, 0, 0, 0, LAST)[number])
            assert one.held <= 2 * SCTP_MESSAGE_IN + 10 * SCTP_CHUNK_COST
        assert one.counters["message_too_long"] == 1
        assert messages(one) == [b"beside", b"after"]
        assert one.held == 0


def test_a_long_unordered_message_is_dropped_without_trace():
    one = receiver(1 << 24)
    part = bytes(SCTP_MESSAGE_IN)
    unordered(one, 1, part, FIRST)
    unordered(one, 2, b"x", MIDDLE)
    unordered(one, 3, b"x", MIDDLE)
    unordered(one, 4, b"x", LAST)
    assert one.held == 0
    assert one.counters["message_too_long"] == 1
    assert messages(one) == []


def test_text_and_empty_messages():
    one = receiver()
    for number, ppid in enumerate((51, 53, 56, 57, 52, 54, 99)):
        give(one, 1 + number, b"z", ssn=number, ppid=ppid)
    got = messages(one)
    assert got == [b"z", b"z", b"", b"", b"z", b"z", b"z"]
    assert [isinstance(data, TextMessage) for data in got] == [True, False, True, False, False, True, False]
    assert one.held == 0


def test_channel_messages_are_set_apart():
    one = receiver()
    give(one, 1, b"open", ppid=50)
    give(one, 2, b"op", ppid=50, flags=FIRST, ssn=1)
    give(one, 3, b"en", ppid=50, flags=LAST, ssn=1)
    assert one.control == [(0, b"open"), (0, b"open")]
    assert one.held == 0
    assert not one.readable


# ------------------------------------------------------------------ the window


def test_what_is_not_read_shuts_the_window():
    one = receiver(window=10_000)
    for number in range(20):
        give(one, 1 + number, bytes(904), ssn=number)
    assert one.held == 10_000
    assert one.counters["window_full"] == 10
    assert sack(one)[0] == 10
    one.streams[0].ring = NO_RING
    reads = 0
    while not one.sack_now:
        assert one.read(one.streams[0]) is not None
        reads += 1
    assert reads == 3
    sack(one)
    while not one.sack_now:
        assert one.read(one.streams[0]) is not None
        reads += 1
    assert reads == 6
    sack(one)
    assert len(messages(one)) == 4
    assert not one.sack_now


def test_what_is_taken_or_charged_keeps_the_window_shut_until_it_is_credited():
    one = receiver(window=10_000)
    one.streams.clear()
    for number in range(10):
        give(one, 1 + number, bytes(904), ssn=number)
    assert sack(one)[0] == 10
    sizes = [len(one.take(one.streams[0])) for _ in range(10)]
    assert one.take(one.streams[0]) is None
    assert one.held == 10_000
    assert not one.sack_now
    one.charge(500)
    for size in sizes:
        one.credit(size)
    assert one.held == 596
    assert one.sack_now
    one.credit(500)
    assert one.held == 0


def test_chunks_that_fill_holes_are_taken_beyond_the_window():
    one = receiver(window=1000)
    unordered(one, 9, bytes(904))
    unordered(one, 8, bytes(904))
    assert one.held == 2000
    assert sack(one)[1] == [(8, 9)]
    unordered(one, 10, bytes(904))
    assert one.counters["window_full"] == 1
    unordered(one, 1, bytes(904))
    assert sack(one)[:2] == (1, [(7, 8)])


def test_limit_beyond_the_window():
    one = receiver(window=1000)
    unordered(one, 60_000)
    part = bytes(SCTP_OVERRUN // 8)
    for offset in range(1, 20):
        unordered(one, offset, part, FIRST)
    assert one.held <= 1000 + SCTP_OVERRUN + len(part) + SCTP_CHUNK_COST
    assert one.counters["window_full"] > 8


def test_rings_drop_the_oldest():
    one = receiver()
    for number in range(SCTP_EARLY_MESSAGES + 3):
        give(one, 1 + number, b"%d" % number, ssn=number)
    for number in range(5):
        unordered(one, 100 + number, b"y")
    assert one.counters["unread_dropped"] == 8
    assert messages(one)[0] == b"8"
    assert one.held == 0


def test_readable_is_told_once_until_read_to_the_end():
    one = receiver()
    give(one, 1)
    give(one, 2, ssn=1)
    unordered(one, 3)
    assert len(one.readable) == 1
    one.readable.clear()
    assert one.read(one.streams[0]) == b"x"
    unordered(one, 4)
    assert not one.readable
    messages(one)
    unordered(one, 5)
    assert len(one.readable) == 1


# ------------------------------------------------------------------ FORWARD-TSN


def test_forward_skips_what_is_missing():
    one = receiver()
    give(one, 1, b"0", ssn=0)
    give(one, 3, b"2", ssn=2)
    give(one, 5, b"4", ssn=4)
    one.handle_forward((BASE + 2) & 0xFFFFFFFF, [(0, 1)])
    assert sack(one) == (3, [(2, 2)], [])
    assert messages(one) == [b"0", b"2"]
    one.handle_forward((BASE + 4) & 0xFFFFFFFF, [(0, 3)])
    assert sack(one) == (5, [], [])
    assert messages(one) == [b"4"]


def test_forward_delivers_what_waited_in_front():
    one = receiver()
    for offset, ssn in ((2, 1), (4, 3), (6, 5)):
        give(one, offset, b"%d" % ssn, ssn=ssn)
    one.handle_forward((BASE + 5) & 0xFFFFFFFF, [(0, 4)])
    assert messages(one) == [b"1", b"3", b"5"]
    assert one.held == 0


def test_forward_of_the_past_only_owes_a_sack():
    one = receiver()
    give(one, 1)
    for offset in (0, 1):
        one.sack_now = False
        one.handle_forward((BASE + offset) & 0xFFFFFFFF, [(0, 9)])
        assert one.sack_now
    assert sack(one) == (1, [], [])
    assert one.streams[0].next_ssn == 1
    one.handle_forward((BASE + 2) & 0xFFFFFFFF, [(0, 0xFFFF)])
    assert one.streams[0].next_ssn == 1


def test_forward_swallows_gaps():
    one = receiver()
    for offset in (3, 5, 6, 8, 20):
        unordered(one, offset)
    one.handle_forward((BASE + 7) & 0xFFFFFFFF, [])
    assert sack(one) == (8, [(12, 12)], [])
    one.handle_forward((BASE + 30) & 0xFFFFFFFF, [])
    assert sack(one) == (30, [], [])


def test_forward_drops_incomplete_messages_and_no_others():
    one = receiver()
    unordered(one, 2, b"half", FIRST)
    unordered(one, 5, b"tail", MIDDLE)
    unordered(one, 7, b"kept", FIRST)
    one.handle_forward((BASE + 4) & 0xFFFFFFFF, [])
    assert one.counters["message_incomplete"] == 2
    unordered(one, 8, b" whole", LAST)
    assert messages(one) == [b"kept whole"]
    assert one.held == 0


def test_forward_for_streams_never_seen_is_bounded():
    one = receiver()
    one.handle_forward((BASE + 1) & 0xFFFFFFFF, [(sid, 0) for sid in range(SCTP_STREAMS + 3)])
    assert len(one.streams) == SCTP_STREAMS
    assert one.streams[5].next_ssn == 1
    assert one.counters["stream_limit"] == 3


# ------------------------------------------------------------------ resets


def test_detached_streams_start_anew_and_keep_what_was_ready():
    one = receiver()
    give(one, 1, b"ready", sid=4)
    give(one, 2, b"waiting", sid=4, ssn=5)
    give(one, 3, b"half", sid=4, ssn=6, flags=FIRST)
    give(one, 4, b"other", sid=5, flags=FIRST)
    old = one.streams[4]
    one.detach(4)
    one.detach(99)
    assert one.held == 2 * SCTP_CHUNK_COST + len(b"ready") + len(b"other")
    give(one, 5, b"new", sid=4)
    assert messages(one, 4) == [b"new"]
    assert one.read(old) == b"ready"
    assert one.held == SCTP_CHUNK_COST + len(b"other")


def test_released_streams_hold_nothing():
    one = receiver()
    give(one, 1, b"ready")
    give(one, 2, b"waiting", ssn=5)
    one.release(one.streams[0])
    assert one.held == 0
    assert messages(one) == []
