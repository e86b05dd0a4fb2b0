"""The sending half by itself: bundling, windows, loss, timeouts, giving up, against a receiver that plays the peer."""

from __future__ import annotations

from collections import deque

import pytest

from sansio.base.contract import INF
from sansio.base.counters import Counters
from sansio.base.entropy import Entropy
from sansio.sctp import chunks
from sansio.sctp.chunks import BEGIN, END, IMMEDIATE, UNORDERED
from sansio.sctp.receiver import NO_RING, Receiver
from sansio.sctp.sender import ABANDONED, ACKED, FLIGHT, LOST, OutStream, Sender

TSN = 0xFFFFFFF8
MTU = 1163
FRAGMENT = 1132


class Peer:
    """A sender, and a receiver to which its packets can be given one by one."""

    def __init__(self, *, window: int = 1 << 20, burst: int = 64, rtt: float = 0.0, partial: bool = True) -> None:
        self.counters = Counters()
        self.sender = Sender(TSN, self.counters, mtu=MTU, rto_initial=0.5, rto_min=0.4, rto_max=10.0, burst=burst)
        self.sender.header = bytes(12)
        self.sender.zero_checksum = True
        self.sender.peer_window = window
        self.sender.partial = partial
        if rtt:
            self.sender.measured(rtt)
        self.receiver = Receiver(Counters(), window)
        self.receiver.cum = TSN - 1
        self.out: deque[bytes] = deque()
        self.stream = OutStream(0, 1000, 5000)
        self.got: list[bytes] = []

    def queue(self, data: bytes, stream: OutStream | None = None, **more) -> None:
        self.sender.queue(stream or self.stream, 53, data, **more)

    def emit(self, now: float = 0.0) -> list[bytes]:
        parts = [self.sender.header]
        room = MTU - 12
        if self.sender.forward_owed:
            parts.append(self.sender.take_forward(room, now))
            room -= len(parts[-1])
        self.sender.emit(self.out, parts, room, now)
        packets = list(self.out)
        self.out.clear()
        for packet in packets:
            assert len(packet) <= MTU
            assert len(packet) % 4 == 0
        return packets

    def give(self, *packets: bytes) -> None:
        for packet in packets:
            for kind, flags, body in chunks.decode_packet(packet).chunks:
                if kind == chunks.DATA:
                    self.receiver.handle_data(flags, *chunks.DATA_FIELDS.unpack(b"\0\0\0\0" + body[:12])[2:], body[12:])
                else:
                    self.receiver.handle_forward(*chunks.decode_forward_tsn(body))
        for stream in self.receiver.streams.values():
            stream.ring = NO_RING
            while (data := self.receiver.read(stream)) is not None:
                self.got.append(data)

    def sack(self, now: float) -> None:
        chunk = self.receiver.take_sack(1151)
        self.sender.handle_sack(chunk, 0, len(chunk), now)

    def tsns(self, packets: list[bytes]) -> list[int]:
        return [number - TSN for number, _ in self.data(packets)]

    def data(self, packets: list[bytes]) -> list[tuple[int, int]]:
        """(TSN, flags) of each DATA chunk."""
        out = []
        for packet in packets:
            for kind, flags, body in chunks.decode_packet(packet).chunks:
                if kind == chunks.DATA:
                    out.append((TSN + ((int.from_bytes(body[:4], "big") - TSN) & 0xFFFFFFFF), flags))
        return out

    def raw_sack(self, cumulative: int, gaps=(), duplicates=(), *, now: float = 1.0, window: int = 1 << 20) -> None:
        """A SACK with offsets from the first TSN."""
        body = chunks.encode_sack(chunks.Sack((TSN + cumulative) & 0xFFFFFFFF, window, list(gaps), list(duplicates)))
        chunk = chunks.encode_chunk(chunks.SACK, 0, body)
        self.sender.handle_sack(chunk, 0, len(chunk), now)

    def check(self) -> None:
        """The accounts agree with the chunks."""
        sender = self.sender
        assert sender.flight == sum([len(chunk.data) for chunk in sender.outstanding if chunk.state == FLIGHT])
        assert sender.abandoned == sum([chunk.state == ABANDONED for chunk in sender.outstanding])
        assert [chunk.tsn for chunk in sender.outstanding] == list(range(sender.cum + 1, sender.next_tsn))
        for stream in sender.active:
            assert stream.queue
            assert stream.buffered == sum([len(chunk.data) for chunk in stream.queue])


# ------------------------------------------------------------------ packets


def test_small_messages_share_a_packet():
    peer = Peer()
    for _ in range(12):
        peer.queue(bytes(100))
    first, second = peer.emit()
    assert len(chunks.decode_packet(first).chunks) == 9
    assert len(chunks.decode_packet(second).chunks) == 3
    peer.give(first, second)
    assert peer.got == [bytes(100)] * 12
    peer.sack(0.1)
    assert peer.sender.idle()
    assert peer.sender.t3_due == INF


@pytest.mark.parametrize(
    "size", [1, 2, 3, 4, FRAGMENT - 1, FRAGMENT, FRAGMENT + 1, 2 * FRAGMENT, 2 * FRAGMENT + 1, 9000]
)
def test_messages_of_every_length(size):
    peer = Peer()
    message = Entropy(b"message").bytes(size)
    peer.queue(message)
    packets = peer.emit()
    assert len(peer.data(packets)) == -(-size // FRAGMENT)
    peer.give(*packets)
    assert peer.got == [message]


def test_the_last_chunk_for_now_asks_for_a_sack():
    peer = Peer()
    for _ in range(3):
        peer.queue(bytes(1000))
    flags = [flags for _, flags in peer.data(peer.emit())]
    assert flags == [BEGIN | END, BEGIN | END, BEGIN | END | IMMEDIATE]
    for _ in range(20):
        peer.queue(bytes(1000))
    flags = [flags & IMMEDIATE for _, flags in peer.data(peer.emit())]
    assert flags[-1]
    assert not any(flags[:-1])
    assert peer.sender.active


def test_the_last_chunk_sent_again_asks_for_a_sack():
    peer = Peer()
    for _ in range(3):
        peer.queue(bytes(1000))
    peer.emit(0.0)
    peer.sender.handle_timeout(1.0)
    peer.sender.cwnd = 64 * MTU
    flags = [flags & IMMEDIATE for _, flags in peer.data(peer.emit(1.0))]
    assert flags == [0, 0, IMMEDIATE]
    peer.sender.handle_timeout(2.0)
    peer.sender.cwnd = 2 * MTU
    flags = [flags & IMMEDIATE for _, flags in peer.data(peer.emit(2.0))]
    assert flags[-1] == IMMEDIATE  # the window is full, although more is to be sent again
    assert not any(flags[:-1])


def test_checksums_where_zero_was_not_agreed():
    peer = Peer()
    peer.sender.zero_checksum = False
    for _ in range(4):
        peer.queue(bytes(800))
    for packet in peer.emit():
        assert chunks.decode_packet(packet).checksum == chunks.checksum(packet) != 0


def test_streams_take_turns_message_by_message():
    peer = Peer()
    streams = [OutStream(sid, 0, 0) for sid in range(3)]
    for number in range(3):
        for stream in streams:
            peer.queue(bytes([number]) * (2000 if stream.sid == 1 else 300), stream)
    for stream in streams[:1] * 3:
        peer.queue(b"more", stream)
    peer.sender.cwnd = 1 << 20
    order = []
    for packet in peer.emit():
        for chunk in chunks.decode_packet(packet).chunks:
            order.append(chunk.body[5])
    assert order == [0, 1, 1, 2, 0, 1, 1, 2, 0, 1, 1, 2, 0, 0, 0]
    peer.check()


def test_nothing_more_without_room_in_the_first_packet_when_single():
    peer = Peer()
    peer.queue(bytes(600))
    peer.queue(bytes(600))
    peer.sender.emit(peer.out, [bytes(12), b"\x0a\0\0\x04"], MTU - 16, 0.0, single=True)
    assert [len(packet) for packet in peer.out] == [12 + 4 + 616]
    for chunk in peer.sender.outstanding:
        chunk.state = LOST
    peer.sender.lost += peer.sender.outstanding
    peer.sender.flight = 0
    peer.out.clear()
    peer.sender.emit(peer.out, [bytes(12), bytes(1000)], 100, 0.0, single=True)
    assert [len(packet) for packet in peer.out] == [1012]


def test_control_chunks_that_leave_no_room_go_alone():
    for lost in (False, True):
        peer = Peer()
        peer.queue(bytes(1000))
        if lost:
            peer.emit()
            peer.sender.handle_timeout(1.0)
        peer.sender.emit(peer.out, [bytes(12), bytes(1000)], MTU - 1012, 1.0)
        assert [len(packet) for packet in peer.out] == [1012, 1028]


def test_chunk_sent_again_before_the_association_is_up_is_not_timed():
    peer = Peer()
    peer.queue(bytes(1000))
    peer.sender.emit(peer.out, [bytes(12)], MTU - 12, 0.0, single=True)
    (chunk,) = peer.sender.outstanding
    chunk.state = LOST
    peer.sender.lost.append(chunk)
    peer.sender.flight = 0
    peer.sender.emit(peer.out, [bytes(12)], MTU - 12, 1.0, single=True)
    peer.raw_sack(0, now=1.1)
    assert peer.sender.srtt == 0.0


# ------------------------------------------------------------------ buffers


def test_low_water_is_told_once_after_high_water():
    peer = Peer()
    peer.queue(bytes(4000))
    peer.emit()
    assert peer.sender.lows == []
    peer.queue(bytes(6000))
    peer.queue(bytes(6000))
    assert peer.stream.above
    assert peer.stream.buffered == peer.sender.buffered() == 12_000
    peer.raw_sack(-1, window=1 << 20)
    peer.sender.cwnd = 9500
    peer.emit()
    assert peer.stream.above
    peer.sender.cwnd = 1 << 20
    peer.emit()
    assert peer.sender.lows == [peer.stream]
    assert not peer.stream.above
    assert peer.sender.buffered() == 0


# ------------------------------------------------------------------ windows


def test_congestion_window_bounds_what_is_in_flight():
    peer = Peer()
    for _ in range(100):
        peer.queue(bytes(1000))
    packets = peer.emit()
    assert peer.sender.cwnd <= peer.sender.flight < peer.sender.cwnd + 1000
    assert peer.emit() == []
    peer.give(*packets[:4])
    peer.sack(0.05)
    # Slow start: what was acknowledged may be sent again, and as much on top.
    assert len(peer.emit(0.05)) == 8
    peer.check()


def test_congestion_avoidance_adds_one_packet_a_window():
    peer = Peer()
    peer.sender.ssthresh = peer.sender.cwnd = 20_000
    peer.sender.cwnd += 1
    for _ in range(1000):
        peer.queue(bytes(1000))
    before = peer.sender.cwnd
    packets = deque(peer.emit())
    acked = 0
    while acked < before:
        peer.give(packets.popleft(), packets.popleft())
        peer.sack(0.1)
        acked += 2000
        packets += peer.emit(0.1)
    assert peer.sender.cwnd == before + MTU


def test_window_does_not_grow_when_it_is_not_used():
    peer = Peer()
    before = peer.sender.cwnd
    for turn in range(50):
        peer.queue(bytes(1000))
        peer.give(*peer.emit(turn))
        peer.sack(turn + 0.1)
    assert peer.sender.cwnd == before


def test_peer_window_bounds_what_is_in_flight():
    peer = Peer(window=4500)
    for _ in range(10):
        peer.queue(bytes(1000))
    assert len(peer.emit()) == 4
    assert not peer.sender.eager(0.0)
    assert peer.emit() == []


def test_shut_window_is_probed_for_ever_with_one_chunk():
    peer = Peer(window=0)
    for _ in range(10):
        peer.queue(bytes(1000))
    cwnd = peer.sender.cwnd
    now = 0.0
    assert peer.tsns(peer.emit(now)) == [0]
    for _ in range(30):
        assert peer.emit(now) == []
        peer.raw_sack(-1, window=0, now=now)
        now = peer.sender.t3_due
        peer.sender.handle_timeout(now)
        assert peer.tsns(peer.emit(now)) == [0]
        assert peer.sender.errors == 1
    assert peer.sender.cwnd == cwnd
    peer.raw_sack(0, window=1 << 20, now=now)
    assert len(peer.emit(now)) == 9


def test_eager_tells_what_emit_would_do():
    peer = Peer()
    assert not peer.sender.eager(0.0)
    peer.queue(bytes(1000))
    assert peer.sender.eager(0.0)
    peer.emit()
    assert not peer.sender.eager(0.0)
    peer.sender.urgent = True
    assert peer.sender.eager(0.0)
    peer.sender.pace_due = 1.0
    assert not peer.sender.eager(0.0)


# ------------------------------------------------------------------ pacing


def test_bursts_are_bounded_and_paced():
    peer = Peer(burst=16, rtt=0.1)
    peer.sender.cwnd = 100 * MTU
    for _ in range(200):
        peer.queue(bytes(1000))
    now = 0.0
    sent = []
    while peer.sender.flight < peer.sender.cwnd:
        packets = peer.emit(now)
        sent.append((now, len(packets)))
        assert len(packets) <= 16
        assert peer.emit(now) == []
        if peer.sender.pace_due <= now:
            break
        middle = (now + peer.sender.pace_due) / 2
        assert peer.emit(middle) == []
        now = peer.sender.pace_due
    # Twice the window in a round trip.
    assert sent[0] == (0.0, 16)
    assert 0.03 < sent[-1][0] < 0.06
    assert sum([count for _, count in sent]) > 100


def test_burst_that_ends_exactly_is_paced_too():
    peer = Peer(burst=4, rtt=0.1)
    for _ in range(4):
        peer.queue(bytes(1000))
    assert len(peer.emit(1.0)) == 4
    for _ in range(4):
        peer.queue(bytes(1000))
    peer.sender.emit(peer.out, [bytes(12), b"\x0b\0\0\4"], MTU - 16, 1.0)
    assert [len(packet) for packet in peer.out] == [16]
    peer.out.clear()
    assert 1.0 < peer.sender.pace_due < 1.01
    assert peer.emit(peer.sender.pace_due)


def test_control_chunks_do_not_wait_for_the_pace():
    peer = Peer(burst=4, rtt=0.1)
    for _ in range(10):
        peer.queue(bytes(1000))
    assert len(peer.emit()) == 4
    peer.sender.emit(peer.out, [bytes(12), b"\x0b\0\0\4"], MTU - 16, 0.001)
    assert [len(packet) for packet in peer.out] == [16]


def test_acknowledged_packets_may_be_followed_at_once():
    peer = Peer(burst=8, rtt=0.1)
    peer.sender.cwnd = 100 * MTU
    for _ in range(100):
        peer.queue(bytes(1000))
    packets = peer.emit()
    assert len(packets) == 8
    peer.give(*packets[:6])
    peer.sack(0.001)
    assert len(peer.emit(0.001)) >= 6


def test_lost_chunks_are_paced_too():
    peer = Peer(burst=64, rtt=0.1)
    peer.sender.cwnd = 64 * MTU
    for _ in range(40):
        peer.queue(bytes(1000))
    peer.emit()
    peer.sender.handle_timeout(1.0)
    peer.sender.cwnd = 64 * MTU
    peer.sender.burst = 4
    peer.sender.tokens = 4.0
    assert peer.tsns(peer.emit(1.0)) == [0, 1, 2, 3]
    assert peer.sender.pace_due > 1.0
    assert peer.emit(1.0) == []


# ------------------------------------------------------------------ loss


def lose(peer: Peer, count: int, lost: set[int], size: int = 1000) -> list[bytes]:
    for _ in range(count):
        peer.queue(bytes(size))
    peer.sender.cwnd = 1 << 18
    packets = peer.emit(0.0)
    peer.give(*[packet for number, packet in enumerate(packets) if number not in lost])
    peer.sack(0.1)
    peer.check()
    return packets


def test_one_sack_of_a_burst_tells_what_is_lost():
    peer = Peer()
    packets = lose(peer, 20, {3, 4, 11})
    assert peer.counters["loss_detected"] == 3
    again = peer.emit(0.1)
    assert peer.tsns(again) == [3, 4, 11]
    peer.give(*again)
    peer.sack(0.2)
    assert peer.sender.idle()
    assert peer.got == [bytes(1000)] * 20
    assert peer.counters["timeouts"] == 0
    assert len(packets) == 20


def test_late_packets_within_the_distance_are_not_lost():
    peer = Peer()
    lose(peer, 20, {18})
    assert peer.counters["loss_detected"] == 0
    peer = Peer()
    lose(peer, 20, {16})
    assert peer.counters["loss_detected"] == 1


def test_distance_is_counted_in_packets_not_chunks():
    peer = Peer()
    for _ in range(36):
        peer.queue(bytes(100))
    packets = peer.emit()
    assert len(packets) == 4
    peer.give(*packets[1:3])
    peer.sack(0.1)
    assert peer.counters["loss_detected"] == 0
    peer.give(packets[3])
    peer.sack(0.1)
    assert peer.counters["loss_detected"] == 9


def test_lost_retransmission_is_found_without_a_timeout():
    peer = Peer()
    lose(peer, 20, {2})
    assert peer.tsns(peer.emit(0.1)) == [2]
    for _ in range(6):
        peer.queue(bytes(1000))
    peer.give(*peer.emit(0.15))
    peer.sack(0.2)
    assert peer.counters["loss_detected"] == 2
    again = peer.emit(0.2)
    assert peer.tsns(again) == [2]
    peer.give(*again)
    peer.sack(0.3)
    assert peer.sender.idle()


def test_one_loss_halves_the_window_once():
    peer = Peer()
    peer.sender.measured(0.1)
    lose(peer, 60, {3, 10, 20})
    assert peer.sender.cwnd == 1 << 17
    assert peer.sender.ssthresh == 1 << 17
    assert peer.sender.recover == peer.sender.next_tsn - 1
    again = peer.emit(0.1)
    peer.give(*again[:1])
    peer.sack(0.2)
    assert peer.sender.cwnd == 1 << 17


def test_first_retransmission_goes_beyond_the_window():
    peer = Peer()
    for _ in range(200):
        peer.queue(bytes(1000))
    peer.sender.cwnd = 60 * 1000
    packets = peer.emit()
    assert len(packets) == 60
    peer.give(*packets[1:5])
    peer.sack(0.1)
    assert peer.sender.flight > peer.sender.cwnd
    assert peer.tsns(peer.emit(0.1)) == [0]
    assert peer.emit(0.1) == []


def test_reported_duplicates_widen_the_distance_until_a_timeout():
    peer = Peer()
    for turn in range(40):
        lost = peer.sender.next_tsn - TSN
        for _ in range(40):
            peer.queue(bytes(1000))
        packets = peer.emit(turn)
        peer.give(*packets[1:9])
        peer.sack(turn + 0.1)
        again = peer.emit(turn + 0.1)
        if lost in peer.tsns(again):
            peer.give(packets[0], *again)
        peer.give(*packets)
        peer.sack(turn + 0.2)
        peer.check()
    assert 3 < peer.sender.reordering <= 24
    peer.queue(bytes(1000))
    peer.emit(100.0)
    peer.sender.handle_timeout(101.0)
    assert peer.sender.reordering == 3


def test_each_gap_acknowledged_chunk_is_visited_once():
    peer = Peer()
    for _ in range(30):
        peer.queue(bytes(1000))
    peer.sender.cwnd = 1 << 20
    peer.emit()
    before = peer.sender.flight
    for gaps, acked in (
        ([(3, 4)], 2),
        ([(3, 5)], 1),
        ([(3, 5), (8, 9)], 2),
        ([(2, 9)], 3),
        ([(2, 9), (11, 11), (13, 20)], 9),
        ([(2, 20)], 2),
        ([(4, 5), (8, 9)], 0),
        ([(5, 6)], 0),
        ([(2, 3), (21, 21)], 1),
        ([(4, 5)], 0),
        ([(2, 20)], 0),
    ):
        peer.raw_sack(-1, gaps)
        before -= acked * 1000
        lost = sum([1000 for chunk in peer.sender.outstanding if chunk.state == LOST])
        assert peer.sender.flight == before - lost
    peer.raw_sack(29)
    assert peer.sender.idle()
    assert peer.sender.sacked == []


def test_malformed_sacks_are_counted_and_harmless():
    peer = Peer()
    for _ in range(10):
        peer.queue(bytes(1000))
    peer.emit()
    flight = peer.sender.flight
    for gaps in ([(0, 2)], [(3, 2)], [(2, 11)], [(5, 5), (5, 6)], [(5, 6), (2, 3)]):
        peer.raw_sack(-1, gaps)
    assert peer.counters["sack_malformed"] == 5
    peer.raw_sack(10)
    peer.raw_sack(1000)
    assert peer.counters["sack_beyond_sent"] == 2
    peer.raw_sack(-2)
    assert peer.counters["sack_old"] == 1
    good = chunks.encode_chunk(chunks.SACK, 0, chunks.encode_sack(chunks.Sack(0, 0, [], [1])))
    peer.sender.handle_sack(good, 0, 12, 1.0)
    peer.sender.handle_sack(good, 0, 16, 1.0)
    assert peer.counters["sack_malformed"] == 7
    # The first of (5, 5), (5, 6) and of (5, 6), (2, 3) are good blocks.
    lost = [chunk for chunk in peer.sender.outstanding if chunk.state == LOST]
    assert peer.sender.flight == flight - 2000 - 1000 * len(lost)
    peer.check()


def test_random_loss_delivers_everything_in_order():
    for seed in range(20):
        entropy = Entropy(b"loss %d" % seed)
        peer = Peer(rtt=0.05)
        expected = []
        now = 0.0
        waiting: deque[tuple[float, bytes]] = deque()
        for turn in range(4000):
            if turn < 400 and entropy.below(2):
                expected.append(entropy.bytes(1 + entropy.below(3000)))
                peer.queue(expected[-1])
            now += 0.01
            if peer.sender.t3_due <= now:
                peer.sender.handle_timeout(now)
            elif peer.sender.probe_due <= now:
                peer.sender.handle_probe_timer(now)
            for packet in peer.emit(now):
                if entropy.below(10):
                    waiting.append((now + 0.05, packet))
            took = False
            while waiting and waiting[0][0] <= now:
                peer.give(waiting.popleft()[1])
                took = True
            if took and entropy.below(10):
                peer.sack(now)
            peer.check()
            if turn >= 400 and peer.sender.idle():
                break
        assert peer.got == expected


# ------------------------------------------------------------------ timeouts


def test_timeout_sends_one_packet_and_backs_off():
    peer = Peer()
    for _ in range(8):
        peer.queue(bytes(1000))
    peer.emit(0.0)
    assert peer.sender.t3_due == 0.5
    now = 0.0
    for rto in (0.5, 1.0, 2.0, 4.0, 8.0, 10.0, 10.0):
        assert peer.sender.t3_due == now + rto
        now = peer.sender.t3_due
        peer.sender.handle_timeout(now)
        peer.check()
        assert peer.tsns(peer.emit(now)) == [0, 1]
        assert peer.emit(now) == []
        assert peer.sender.cwnd == MTU
    assert peer.sender.ssthresh == 4 * MTU
    assert peer.sender.errors == 7
    peer.raw_sack(3, now=now)
    assert peer.sender.errors == 0
    assert peer.tsns(peer.emit(now))[0] == 4


def test_progress_ends_the_back_off():
    peer = Peer(rtt=0.05)
    peer.queue(bytes(1000))
    peer.queue(bytes(1000))
    peer.emit(0.0)
    for _ in range(4):
        peer.sender.handle_timeout(1.0)
    assert peer.sender.rto > 5.0
    peer.emit(1.0)
    peer.raw_sack(0, now=1.1)
    assert peer.sender.rto == 0.4


def test_gap_acknowledged_chunks_are_kept_at_the_first_timeout():
    peer = Peer()
    for _ in range(8):
        peer.queue(bytes(1000))
    peer.emit()
    peer.raw_sack(-1, [(6, 7)])
    peer.sender.lost.clear()
    peer.sender.handle_timeout(1.0)
    peer.check()
    assert [chunk.state for chunk in peer.sender.outstanding] == [LOST] * 5 + [ACKED] * 2 + [LOST]
    peer.emit(1.0)
    peer.sender.handle_timeout(2.0)
    assert [chunk.state for chunk in peer.sender.outstanding] == [LOST] * 8
    peer.check()


def test_renegade_peer_gets_everything_again():
    peer = Peer()
    for _ in range(4):
        peer.queue(bytes(1000))
    packets = peer.emit()
    peer.raw_sack(-1, [(2, 4)])
    peer.give(packets[0])
    peer.sack(0.5)
    assert [chunk.state for chunk in peer.sender.outstanding] == [ACKED] * 3
    now = peer.sender.t3_due
    peer.sender.handle_timeout(now)
    while not peer.sender.idle():
        peer.give(*peer.emit(now))
        peer.sack(now)
    assert peer.got == [bytes(1000)] * 4


def test_round_trip_time_of_retransmitted_chunks_is_not_taken():
    peer = Peer()
    peer.queue(bytes(1000))
    peer.emit(0.0)
    peer.sender.handle_timeout(0.5)
    peer.emit(0.5)
    peer.raw_sack(0, now=0.6)
    assert peer.sender.srtt == 0.0
    peer.queue(bytes(1000))
    peer.emit(1.0)
    peer.raw_sack(1, now=1.2)
    assert peer.sender.srtt == pytest.approx(0.2)
    assert peer.sender.rto == pytest.approx(0.6)
    peer.queue(bytes(1000))
    peer.queue(bytes(1000))
    peer.emit(2.0)
    peer.raw_sack(1, [(2, 2)], now=2.4)
    assert peer.sender.srtt == pytest.approx(0.225)


# ------------------------------------------------------------------ probes


def test_lost_tail_is_found_by_a_probe():
    peer = Peer(rtt=0.05)
    for _ in range(6):
        peer.queue(bytes(1000))
    packets = peer.emit(0.0)
    assert peer.sender.probe_due == pytest.approx(0.15)
    peer.give(*packets[:2])
    peer.sack(0.05)
    peer.sender.handle_probe_timer(peer.sender.probe_due)
    probe = peer.emit(0.2)
    assert peer.tsns(probe) == [5]
    peer.give(*probe)
    peer.sack(0.25)
    # Everything sent before the probe is lost, however near.
    assert peer.tsns(peer.emit(0.25)) == [2, 3, 4]
    assert peer.counters["timeouts"] == 0


def test_unneeded_probe_changes_nothing_else():
    peer = Peer(rtt=0.05)
    for _ in range(6):
        peer.queue(bytes(1000))
    packets = peer.emit(0.0)
    peer.give(*packets)
    peer.sender.handle_probe_timer(0.2)
    probe = peer.emit(0.2)
    peer.sack(0.2)
    peer.give(*probe)
    peer.sack(0.25)
    assert peer.sender.idle()
    assert peer.sender.reordering == 3
    assert peer.sender.cwnd == 10 * MTU


def test_probes_in_vain_wait_longer_until_one_is_not():
    peer = Peer(rtt=0.05)
    now = 0.0
    for turn in range(6):
        peer.queue(bytes(1000))
        now += 1.0
        packets = peer.emit(now)
        assert peer.sender.probe_due - now == pytest.approx(0.15 if turn < 3 else 0.35, abs=0.05)
        peer.sender.handle_probe_timer(peer.sender.probe_due)
        peer.give(*packets, *peer.emit(now + 0.2))
        peer.sack(now + 0.25)
    for _ in range(3):
        peer.queue(bytes(1000))
    packets = peer.emit(20.0)
    peer.sender.handle_probe_timer(20.4)
    peer.give(*peer.emit(20.4))
    peer.sack(20.5)
    assert peer.tsns(peer.emit(20.5)) == [6, 7]
    assert peer.sender.vain_probes == 0


def test_answer_that_comes_too_soon_is_not_the_probe_s():
    peer = Peer(rtt=0.05)
    for _ in range(6):
        peer.queue(bytes(1000))
    packets = peer.emit(0.0)
    peer.sender.handle_probe_timer(0.2)
    peer.emit(0.2)
    peer.give(packets[5])
    peer.sack(0.21)
    assert peer.counters["loss_detected"] == 0


def test_probe_of_messages_that_must_not_be_repeated_is_new_data():
    peer = Peer(rtt=0.05)
    for _ in range(20):
        peer.queue(bytes(1000), flags=UNORDERED, limit=1)
    assert len(peer.emit(0.0)) == 12
    peer.sender.handle_probe_timer(0.2)
    assert peer.tsns(peer.emit(0.2)) == [12]
    assert peer.emit(0.2) == []
    peer = Peer(rtt=0.05)
    peer.queue(bytes(1000), flags=UNORDERED, limit=1)
    peer.emit(0.0)
    peer.sender.handle_probe_timer(0.2)
    assert peer.emit(0.2) == []
    assert peer.counters["probes"] == 0


def test_no_probe_without_need():
    peer = Peer(rtt=0.05)
    peer.sender.handle_probe_timer(0.2)
    for _ in range(6):
        peer.queue(bytes(1000))
    packets = peer.emit(0.0)
    peer.sender.handle_timeout(0.5)
    peer.sender.handle_probe_timer(0.6)
    assert peer.counters["probes"] == 0
    assert peer.sender.probe_due == INF
    peer.give(*packets)
    peer.sack(0.7)
    assert peer.sender.probe_due == INF


# ------------------------------------------------------------------ giving up


def test_message_without_retransmissions_is_given_up_when_lost():
    peer = Peer()
    for number in range(10):
        peer.queue(b"%d" % number * 1000, flags=UNORDERED, limit=1)
    packets = peer.emit()
    peer.give(*packets[:2], *packets[3:])
    peer.sack(0.1)
    peer.check()
    again = peer.emit(0.1)
    assert peer.data(again) == []
    assert peer.sender.forward == TSN + 2
    peer.give(*again)
    peer.sack(0.2)
    assert peer.sender.idle()
    assert len(peer.got) == 9
    assert peer.counters["send_abandoned"] == 1


def test_retransmissions_are_counted():
    peer = Peer()
    peer.queue(b"x" * 1000, limit=3)
    now = 0.0
    sent = 0
    for _ in range(5):
        sent += len(peer.data(peer.emit(now)))
        now = peer.sender.t3_due
        peer.sender.handle_timeout(now)
    assert sent == 3
    assert peer.sender.forward_owed
    peer.give(*peer.emit(now))
    peer.sack(now)
    assert peer.sender.idle()
    assert peer.receiver.streams[0].next_ssn == 1


def test_peer_without_forward_tsn_gets_everything():
    peer = Peer(partial=False)
    peer.queue(b"x" * 1000, limit=1, expires=0.1)
    peer.emit(0.0)
    peer.sender.handle_timeout(0.5)
    packets = peer.emit(0.5)
    assert peer.tsns(packets) == [0]


def test_forward_tsn_passes_what_gap_blocks_acknowledged_in_between():
    peer = Peer()
    for number in range(12):
        peer.queue(b"%x" % number * 500, limit=1)
    packets = peer.emit()
    assert len(packets) == 6
    peer.give(packets[1], packets[3], packets[5])
    peer.sack(0.1)
    peer.sender.handle_timeout(1.0)
    # Packets 0, 2 and 4 are given up, 1 and 3 lie between, 5 behind.
    assert peer.sender.forward == TSN + 9
    (forward,) = peer.emit(1.0)
    body = chunks.decode_packet(forward).chunks[0].body
    assert chunks.decode_forward_tsn(body) == chunks.ForwardTsn((TSN + 9) & 0xFFFFFFFF, [(0, 9)])
    peer.give(forward)
    peer.sack(1.1)
    assert peer.sender.idle()
    assert len(peer.got) == 6


def test_forward_tsn_lists_as_many_streams_as_fit():
    peer = Peer()
    for sid in range(40):
        peer.queue(b"x", OutStream(sid, 0, 0), limit=1)
    peer.emit()
    peer.sender.handle_timeout(1.0)
    chunk = peer.sender.take_forward(100, 1.0)
    forward = chunks.decode_forward_tsn(chunk[4:])
    assert len(chunk) <= 100
    assert len(forward.streams) == 23
    assert forward.cumulative == (TSN + 22) & 0xFFFFFFFF


def test_forward_tsn_is_repeated_by_sack_and_timeout():
    peer = Peer(rtt=0.05)
    for _ in range(5):
        peer.queue(bytes(1000), limit=1)
    peer.emit(0.0)
    peer.sender.handle_timeout(0.5)
    assert len(peer.emit(0.5)) == 1
    peer.raw_sack(-1, now=0.51)
    assert peer.emit(0.51) == []
    peer.raw_sack(-1, now=0.6)
    assert len(peer.emit(0.6)) == 1
    assert peer.sender.t3_due < INF
    peer.sender.t3_due = INF
    peer.sender.handle_timeout(1.5)
    assert len(peer.emit(1.5)) == 1
    peer.raw_sack(2, now=1.6)
    assert peer.sender.forward_owed
    peer.raw_sack(4, now=1.7)
    assert not peer.sender.forward_owed
    assert peer.sender.idle()


def test_lost_fragment_gives_up_the_whole_message():
    for mode in (0, UNORDERED):
        peer = Peer()
        peer.queue(b"a" * 5000, flags=mode, limit=1)
        for _ in range(5):
            peer.queue(b"b" * 1000, flags=mode, limit=1)
        peer.sender.cwnd = 1 << 20
        packets = peer.emit()
        assert len(packets) == 10
        peer.give(packets[0], *packets[2:])
        peer.sack(0.1)
        peer.check()
        # Up to the last fragment, although the peer has that one.
        assert peer.sender.forward == TSN + 4
        peer.give(*peer.emit(0.1))
        peer.sack(0.2)
        assert peer.sender.idle()
        assert peer.got == [b"b" * 1000] * 5
        assert peer.receiver.held == 0
        assert not peer.receiver.by_first


def test_message_given_up_before_it_was_sent_whole():
    for mode in (0, UNORDERED):
        peer = Peer()
        peer.queue(b"a" * 5000, flags=mode, expires=1.0)
        peer.queue(b"b" * 1000, flags=mode)
        peer.sender.cwnd = 2000
        packets = peer.emit(0.0)
        assert len(packets) == 2
        peer.give(*packets)
        peer.sack(0.1)
        peer.sender.cwnd = 1 << 20
        # Both fragments have arrived, the rest never will: a TSN that was given up tells the peer.
        packets = peer.emit(2.0)
        assert peer.tsns(packets) == [3]
        assert peer.counters["send_expired"] == 1
        peer.check()
        peer.give(*packets, *peer.emit(2.0))
        peer.sack(2.1)
        assert peer.sender.idle()
        assert peer.got == [b"b" * 1000]
        assert peer.receiver.held == 0


def test_message_given_up_as_the_last_of_its_stream():
    peer = Peer()
    peer.queue(b"a" * 5000, expires=1.0)
    peer.sender.cwnd = 2000
    peer.give(*peer.emit(0.0))
    peer.sack(0.1)
    assert peer.emit(2.0) == []
    assert not peer.sender.active
    assert not peer.sender.drained(peer.stream)
    peer.give(*peer.emit(2.0))
    peer.sack(2.1)
    assert peer.sender.drained(peer.stream)


def test_messages_whose_time_ran_out_in_the_queue_are_not_sent():
    peer = Peer()
    peer.queue(b"old" * 1000, expires=1.0)
    peer.queue(b"old", expires=1.0)
    peer.queue(b"new")
    packets = peer.emit(1.0)
    assert peer.tsns(packets) == [0]
    peer.give(*packets)
    assert peer.got == [b"new"]
    assert peer.counters["send_expired"] == 2
    peer.queue(bytes(6000), expires=3.0)
    assert peer.stream.above
    assert peer.emit(3.0) == []
    assert peer.sender.lows == [peer.stream]
    assert peer.sender.buffered() == 0


def test_lost_message_whose_time_ran_out_is_given_up():
    peer = Peer()
    peer.queue(bytes(1000), expires=0.2)
    peer.queue(bytes(1000), expires=5.0)
    peer.emit(0.0)
    peer.sender.handle_timeout(0.1)
    assert [chunk.state for chunk in peer.sender.outstanding] == [LOST, LOST]
    # Time runs out between the timeout and the sending.
    packets = peer.emit(0.3)
    assert peer.tsns(packets) == [1]
    assert peer.sender.forward == TSN
    peer.check()
    peer.sender.handle_timeout(6.0)
    assert peer.sender.forward == TSN + 1


def test_giving_up_what_was_not_sent_whole_after_a_loss():
    peer = Peer()
    peer.queue(b"a" * 6000, limit=1)
    peer.sender.cwnd = 2500
    packets = peer.emit(0.0)
    assert len(packets) == 3
    peer.give(packets[0])
    peer.sack(0.1)
    peer.sender.handle_timeout(1.0)
    peer.check()
    assert not peer.sender.active
    assert peer.stream.buffered == 0
    assert peer.stream.ssn == 1
    peer.give(*peer.emit(1.0))
    peer.sack(1.1)
    assert peer.sender.idle()
    assert peer.receiver.held == 0
