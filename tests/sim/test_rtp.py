"""A sender and a receiver over links that lose, reorder and duplicate, for some seeds."""

from __future__ import annotations

import itertools

import pytest

from sansio.rtp.session import KeyframeWanted
from sansio.testing.netem import Link
from tests.unit.rtp.wire import (
    H264,
    OPUS,
    OPUS_PLAIN,
    RED,
    VP8,
    VP8_PLAIN,
    Pair,
    h264_frame,
    opus_frame,
    vp8_frame,
)

SEEDS = range(3)


def bad_link(loss=0.05, **options):
    return Link(latency=0.05, jitter=0.004, loss=loss, duplication=0.02, reorder=0.03, hold_back=0.03, **options)


def talk(pair, sender, count, since=0.0):
    """One Opus frame each 20 ms, whose number it carries."""
    for number in range(count):
        pair.at(since + number * 0.02, write, pair, sender, opus_frame(number))


def write(pair, sender, frame, **options):
    sender.write(frame, pair.now, **options)
    pair.poke()


class Camera:
    """25 pictures a second, the first a key frame, then one whenever it is wanted."""

    def __init__(self, pair, sender, frame, count):
        self.pair, self.sender, self.frame = pair, sender, frame
        self.number = 0
        self.keyframes = []
        for number in range(count):
            pair.at(number * 0.04, self.shoot)

    def shoot(self):
        wanted = self.number == 0 or self.sender.keyframe_wanted
        if wanted:
            self.keyframes.append(self.number)
        write(self.pair, self.sender, self.frame(self.number, wanted, 9000 if wanted else 2500))
        self.number += 1


def numbers(frames, offset=1):
    return [int.from_bytes(frame.data[offset : offset + 4], "big") for frame in frames]


def check_counts(frames, sent):
    """What was lost is counted in the frame behind it."""
    assert sum(frame.lost for frame in frames) == sent - len(frames)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("loss", [0.0, 0.05, 0.2])
def test_audio_with_retransmission_is_continuous(seed, loss):
    pair = Pair(seed, there=bad_link(loss), back=bad_link(loss))
    sender = pair.a.add_sender(OPUS, mid="0")
    receiver = pair.b.add_receiver("audio", 0.0, mid="0")
    talk(pair, sender, 500)
    pair.run(12.0)
    frames = pair.frames[receiver]
    got = numbers(frames)
    assert got == sorted(set(got))
    first = got[0]
    assert first < 3
    for frame, number in zip(frames, got, strict=True):
        assert frame.data == opus_frame(number)
        assert frame.timestamp - frames[0].timestamp == (number - first) * 960
        assert frame.time == pytest.approx((number - first) * 0.02)
    if loss <= 0.05:
        assert len(got) >= 498  # what two retransmissions do not save is one in 8000
    check_counts(frames, got[-1] - first + 1)
    if loss:
        assert sender.resent_packets > 10


@pytest.mark.parametrize("seed", SEEDS)
def test_red_brings_single_losses_back_without_waiting(seed):
    pair = Pair(seed, there=Link(latency=0.05, loss=0.1))
    sender = pair.a.add_sender(RED, redundancy=2)
    receiver = pair.b.add_receiver("audio", 0.0, ssrc=sender.ssrc)
    talk(pair, sender, 500)
    pair.run(12.0)
    frames = pair.frames[receiver]
    got = numbers(frames)
    assert len(got) >= 495  # three in a row are lost once in a thousand
    assert receiver.counters["red_recovered"] > 20
    assert max(frame.arrival - frame.time for frame in frames) < 0.05 + 3 * 0.02 + 0.051  # and a reordering wait
    assert all(frame.data == opus_frame(number) for frame, number in zip(frames, got, strict=True))
    check_counts(frames, got[-1] - got[0] + 1)


@pytest.mark.parametrize("seed", SEEDS)
def test_without_feedback_losses_are_only_counted(seed):
    pair = Pair(seed, there=bad_link())
    sender = pair.a.add_sender(OPUS_PLAIN)
    receiver = pair.b.add_receiver("audio", 0.0, ssrc=sender.ssrc)
    talk(pair, sender, 500)
    pair.run(12.0)
    got = numbers(pair.frames[receiver])
    assert got == sorted(set(got))
    assert 450 < len(got) < 500
    check_counts(pair.frames[receiver], got[-1] - got[0] + 1)
    assert receiver.nacks == 0
    assert sender.resent_packets == 0


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("format", "frame"), [(VP8, vp8_frame), (VP8_PLAIN, vp8_frame), (H264, h264_frame)])
@pytest.mark.parametrize("loss", [0.0, 0.05, 0.25])
def test_every_picture_is_whole_and_follows_the_one_it_needs(seed, format, frame, loss):
    pair = Pair(seed, there=bad_link(loss), back=bad_link(loss))
    sender = pair.a.add_sender(format, mid="1")
    receiver = pair.b.add_receiver("video", 0.0, mid="1")
    camera = Camera(pair, sender, frame, 250)
    pair.run(14.0)
    frames = pair.frames[receiver]
    by_data = {frame(number, number in camera.keyframes, 9000 if number in camera.keyframes else 2500): number
               for number in range(250)}  # fmt: skip
    got = [by_data[item.data] for item in frames]
    assert got == sorted(set(got))
    before = None
    for item, number in zip(frames, got, strict=True):
        assert item.keyframe == (number in camera.keyframes)
        assert item.keyframe or number == before + 1
        assert item.ntp_time is None or item.ntp_time == pytest.approx(1_800_000_000.0 + number * 0.04, abs=0.002)
        before = number
    assert [item.lost for item in frames[1:]].count(0) == sum(b - a == 1 for a, b in itertools.pairwise(got))
    if loss <= 0.05:
        assert len(got) >= 240
    if loss:
        assert sender.resent_packets > 20
        assert receiver.repaired == 0 if not format.rtx else receiver.repaired > 20
    assert len(got) > 60


def test_pictures_that_cannot_be_repaired_need_a_key_frame():
    """A link that dies for longer than any patience: pictures go on with a key frame that was asked for."""
    pair = Pair(1)
    sender = pair.a.add_sender(VP8)
    receiver = pair.b.add_receiver("video", 0.0, ssrc=sender.ssrc)
    camera = Camera(pair, sender, vp8_frame, 200)
    pair.run(2.0)
    pair.links["a"].down = True
    pair.run(3.5)
    pair.links["a"].down = False
    pair.run(9.0)
    got = numbers(pair.frames[receiver])
    gap = max(range(1, len(got)), key=lambda place: got[place] - got[place - 1])
    assert got[gap] in camera.keyframes
    assert got[gap] - got[gap - 1] > 30
    assert got[-1] == 199
    assert any(isinstance(event, KeyframeWanted) for event in pair.seen)
    assert receiver.keyframe_requests <= 5


@pytest.mark.parametrize("seed", SEEDS)
def test_feedback_tells_of_every_packet(seed):
    pair = Pair(seed, there=Link(latency=0.03, loss=0.1))
    sender = pair.a.add_sender(VP8)
    pair.b.add_receiver("video", 0.0, ssrc=sender.ssrc)
    Camera(pair, sender, vp8_frame, 100)
    pair.run(6.0)
    sent = pair.a.sent
    assert sent.sent - 30 <= sent.acknowledged + sent.missing <= sent.sent
    assert sent.missing > 0
    for result in sent.results:
        if result.arrival is not None:
            assert result.arrival - result.sent == pytest.approx(0.03, abs=0.001)
    assert pair.a.rtt == pytest.approx(0.08, abs=0.01)
    assert pair.b.rtt == pytest.approx(0.08, abs=0.01)


def test_simulcast_is_told_apart_by_rid():
    pair = Pair(3, there=bad_link())
    senders = {rid: pair.a.add_sender(VP8, mid="1", rid=rid) for rid in "qhf"}
    receivers = {rid: pair.b.add_receiver("video", 0.0, mid="1", rid=rid) for rid in "qhf"}
    for sender in senders.values():
        Camera(pair, sender, vp8_frame, 100)
    pair.run(6.0)
    for rid, receiver in receivers.items():
        assert receiver.ssrc == senders[rid].ssrc
        assert receiver.rtx_ssrc == senders[rid].rtx_ssrc
        assert len(pair.frames[receiver]) > 90


def test_the_same_seed_gives_the_same_bytes():
    def run():
        pair = Pair(5, there=bad_link(), back=bad_link())
        sender = pair.a.add_sender(VP8)
        pair.b.add_receiver("video", 0.0, ssrc=sender.ssrc)
        Camera(pair, sender, vp8_frame, 50)
        pair.run(3.0)
        return pair.trace

    assert run() == run()
