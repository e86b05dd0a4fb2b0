"""Sound as samples, both ways, in virtual time. The other end is the core's own RTP session."""

from __future__ import annotations

import array
import itertools
import math
import subprocess
import sys
from random import Random

import av
import pytest
import trio
import trio.testing

from sansio.rtp.format import Format
from sansio.rtp.packet import RtpPacket, build_rtp
from trio_client import DisconnectedError, EncodedFrame, LocalProtocolError
from trio_client._tracks import make_remote_track
from trio_client.media import PcmAudioTrack, decode_audio
from trio_client.media._decode import PATIENCE
from trio_client.media._opus import OpusDecoder, OpusEncoder, loudness

from .sweep import sweep
from .test_tracks import Stage, on_stage, publish

RATE = 48000


def tone(samples, *, rate=RATE, channels=1, hz=400, peak=16000, start=0):
    """A sine as signed 16-bit samples, the same in each channel."""
    values = [round(peak * math.sin(math.tau * hz * n / rate)) for n in range(start, start + samples)]
    return array.array("h", [value for value in values for _ in range(channels)])


def measure(samples, *, rate=RATE, channels=1, channel=0):
    """Frequency in Hz by zero crossings, and the peak."""
    one = list(samples[channel::channels])
    crossings = sum((a < 0) != (b < 0) for a, b in itertools.pairwise(one))
    return crossings / 2 / (len(one) / rate), max(map(abs, one))


class Sent:
    """A published track whose packets go out of a real sender."""

    def __init__(self, stage: Stage, track: PcmAudioTrack) -> None:
        self.stage, self.track = stage, track
        self.sender = stage.engine.rtp.add_sender(Format(111, "opus", RATE))
        self.packets: list[tuple[float, RtpPacket]] = []
        self.levels: list[int] = []
        stage.engine.write_frame = self.write

    def write(self, core, data, now, **options):
        self.levels.append(options["level"])
        del options["layer"]
        sent = self.sender.write(data, now, **options)
        rtp = self.stage.engine.rtp.rtp
        while rtp:
            self.packets.append((round(now, 6), RtpPacket(rtp.popleft())))
        return sent

    def start(self):
        self.core = self.stage.start(1)
        self.core.sending.senders = (self.sender,)

    def mute(self, muted):
        self.core.publication.muted = muted
        self.sender.set_paused(muted)

    def golden(self):
        """Time in ms, sequence number, marker and timestamp of each packet, counted from the first."""
        began, first = self.packets[0]
        return [
            (
                round((time - began) * 1000),
                (packet.sequence - first.sequence) & 0xFFFF,
                packet.marker,
                (packet.timestamp - first.timestamp) & 0xFFFFFFFF,
            )
            for time, packet in self.packets
        ]


async def published(stage, track):
    stage.session.tasks = stage.nursery
    sent = Sent(stage, track)
    await publish(stage, track)
    sent.start()
    return sent


def on_air(scenario):
    """A stage with a nursery for the tracks' tasks."""

    async def test(stage):
        async with trio.open_nursery() as stage.nursery:
            await scenario(stage)
            stage.nursery.cancel_scope.cancel()

    test.__name__ = scenario.__name__
    return on_stage(test)


# ------------------------------------------------------------------ sending


@on_air
async def test_the_packets_of_a_burst_a_pause_and_a_mute(stage):
    track = PcmAudioTrack("voice", red=False, dtx=False, queue=0.04)
    sent = await published(stage, track)
    began = trio.current_time()
    await track.write(tone(5 * 960))  # a burst: one frame ahead of time, then each when it is due
    assert trio.current_time() - began == pytest.approx(0.02)  # two frames may wait
    await track.drain()
    await trio.sleep(0.07)  # a little late: the sound goes on without a hole
    await track.write(tone(960))
    await trio.sleep(1.013)  # a pause is as long for the listener, in whole frames
    await track.write(tone(960))
    await trio.sleep(0.02)
    sent.mute(True)
    for _ in range(10):
        assert not await track.write(tone(960))
        await trio.sleep(0.02)
    sent.mute(False)
    assert await track.write(tone(960))
    assert await track.write(tone(480))  # half a frame waits for the other half
    assert await track.write(tone(480))
    assert sent.golden() == [
        (0, 0, True, 0),
        (0, 1, False, 960),
        (20, 2, False, 1920),
        (40, 3, False, 2880),
        (60, 4, False, 3840),
        (130, 5, False, 4800),
        (1143, 6, True, 5760 + 50 * 960),
        (1363, 7, True, 6720 + 60 * 960),
        (1363, 8, False, 7680 + 60 * 960),
    ]
    assert set(sent.levels) == {9}


@on_air
async def test_a_writer_in_real_time_is_never_held_up(stage):
    track = PcmAudioTrack("voice", dtx=False)
    sent = await published(stage, track)
    began = trio.current_time()
    for number in range(200):
        await trio.sleep_until(began + 0.02 * number + (0.011 if number % 3 else 0))
        before = trio.current_time()
        await track.write(tone(960))
        assert trio.current_time() == before
    assert [at[3] for at in sent.golden()] == [960 * number for number in range(200)]
    assert track.queued == 0


@on_air
async def test_any_rate_and_any_channels(stage):
    """The number of samples decides how long it lasts, whatever the rate."""
    for number, (rate, channels, stereo) in enumerate(
        [(16000, 1, None), (44100, 2, None), (8000, 2, False), (96000, 6, None)]
    ):
        track = PcmAudioTrack("voice", rate, channels, stereo=stereo, dtx=False)
        stage.engine.tracks.clear()
        sent = await published(stage, track)
        assert track.stereo is (channels > 1 and stereo is None)
        for start in range(0, rate, rate // 10):
            await track.write(tone(rate // 10, rate=rate, channels=channels, start=start))
        await track.drain()
        decoder, heard = OpusDecoder(2), array.array("h")
        for _, packet in sent.packets:
            heard.extend(decoder.decode(packet.payload))
        assert len(heard) / 2 / RATE == pytest.approx(1.0, abs=0.03)
        for channel in (0, 1):
            hz, peak = measure(heard[RATE // 5 :], channels=2, channel=channel)
            assert hz == pytest.approx(400, rel=0.03), (rate, channel)
            assert 8000 < peak < 24000
        track._detach()


@on_air
async def test_frames_of_pyav_and_arrays(stage):
    numpy = pytest.importorskip("numpy")
    track = PcmAudioTrack("voice", channels=2, dtx=False)
    sent = await published(stage, track)
    stereo = numpy.frombuffer(tone(960, channels=2), dtype=numpy.int16).reshape(960, 2)
    await track.write(stereo)
    await track.write(stereo.tobytes())
    await track.write(bytearray(stereo.tobytes()))
    assert len(sent.packets) == 2
    assert track.queued == pytest.approx(0.02)
    await track.drain()
    floats = numpy.frombuffer(tone(2400, rate=24000), dtype=numpy.int16).astype(numpy.float32).reshape(1, -1) / 32768
    frame = av.AudioFrame.from_ndarray(floats, format="fltp", layout="mono")
    frame.sample_rate = 24000
    await track.write(frame)
    await track.write(av.AudioFrame("s16", "mono", 0))
    await track.drain()
    assert len(sent.packets) == 3 + 5
    for wrong, why in [
        (stereo.astype(numpy.float32), "16-bit"),
        (b"\0\0", "whole samples of 2"),
        (7, "no samples"),
        (EncodedFrame(data=b"\xf8\xff\xfe"), "encoded"),
    ]:
        with pytest.raises(LocalProtocolError, match=why):
            await track.write(wrong)


@on_air
async def test_silence_is_left_out_with_dtx(stage):
    track = PcmAudioTrack("voice", red=False)
    sent = await published(stage, track)
    for _ in range(50):
        await track.write(bytes(1920))
        await trio.sleep(0.02)
    await track.write(tone(960))
    frames = [at[3] // 960 for at in sent.golden()]
    assert frames == [*range(10), 19, 39, 50]
    assert sent.levels == [127] * 12 + [9]
    assert sent.golden()[-1][2]


@on_air
async def test_what_waits_can_be_forgotten(stage):
    track = PcmAudioTrack("voice", queue=10)
    sent = await published(stage, track)
    await track.write(tone(RATE))
    assert track.queued == pytest.approx(0.96)
    await trio.sleep(0.11)
    track.clear()
    assert track.queued == 0
    await trio.sleep(1)
    assert len(sent.packets) == 7
    await track.drain()
    await track.write(tone(960))
    assert len(sent.packets) == 8


@on_air
async def test_a_cancelled_writer_leaves_its_sound(stage):
    track = PcmAudioTrack("voice", queue=0.1)
    sent = await published(stage, track)
    with trio.move_on_after(0.05) as scope:
        await track.write(tone(RATE))
    assert scope.cancelled_caught
    with trio.move_on_after(0.05) as scope:
        await track.drain()
    assert scope.cancelled_caught
    await track.drain()
    assert len(sent.packets) == 50


@on_air
async def test_a_track_that_ends_lets_its_writers_go(stage):
    track = PcmAudioTrack("voice")
    with pytest.raises(LocalProtocolError, match="not published"):
        await track.write(tone(960))
    await published(stage, track)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(track.write, tone(RATE))
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(track.drain)
        await trio.testing.wait_all_tasks_blocked()
        track._detach()
    assert track.queued == 0
    await trio.sleep(0.05)
    assert not track._sending


@on_air
async def test_the_end_of_the_room_ends_writing(stage):
    track = PcmAudioTrack("voice")
    await published(stage, track)

    async def write():
        with pytest.raises(DisconnectedError):
            await track.write(tone(RATE))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(write)
        await trio.testing.wait_all_tasks_blocked()
        stage.session.ended.set()
    await trio.sleep(1)
    assert not track._sending


@on_air
async def test_sound_waits_while_the_connection_is_mended(stage):
    track = PcmAudioTrack("voice", queue=0.1)
    sent = await published(stage, track)
    await track.write(tone(6 * 960))
    sent.core.sending.senders = ()
    track._wake()
    await trio.sleep(5)
    assert len(sent.packets) == 2
    sent.core.sending.senders = (sent.sender,)
    track._wake()
    await track.drain()
    assert len(sent.packets) == 6
    assert sent.golden()[2][3] > 4.9 * RATE  # the break was as long for the listener


def test_impossible_tracks():
    for rate, channels in ((0, 1), (RATE, 0)):
        with pytest.raises(LocalProtocolError):
            PcmAudioTrack("voice", rate, channels)


def test_loudness():
    assert loudness(bytes(1920)) == 127
    assert loudness(array.array("h", [-32768] * 960)) == 0
    assert loudness(tone(960, peak=32767)) == 3  # a full sine has half the power of a square wave
    assert loudness(array.array("h", [1, -1] * 480)) == 90


# ------------------------------------------------------------------ receiving


class Received:
    """A remote track that is fed with Opus packets."""

    def __init__(self, stage: Stage, channels: int = 1) -> None:
        self.stage = stage
        self.track = stage.subscribe()
        self.encoder = OpusEncoder(channels, 64000)
        self.channels = channels
        self.at = self.sequence = 0

    def feed(self, frames=1, *, lost=0, hz=400):
        """Some frames of a tone, after some that are lost or left out."""
        for _ in range(lost):
            self.encoder.encode(tone(960, channels=self.channels, start=self.at * 960, hz=hz))
            self.at += 1
            self.sequence += 1
        for _ in range(frames):
            data = self.encoder.encode(tone(960, channels=self.channels, start=self.at * 960, hz=hz))
            self.send(data)

    def send(self, data):
        packet = build_rtp(111, self.sequence, self.at * 960, 7, b"", data)
        self.at += 1
        self.sequence += 1
        self.stage.engine.rtp.receive_rtp(packet, trio.current_time())

    def skip(self, seconds):
        """A pause of the sender: no packet is missing."""
        self.at += round(seconds * 50)

    async def all(self, decoded):
        """What comes out until the track ends, lost packets being given up."""
        await trio.sleep(1)
        self.stage.engine.rtp.advance(trio.current_time())
        self.stage.end(self.track)
        return [frame async for frame in decoded]


@on_stage
async def test_a_tone_is_heard_in_time(stage):
    received = Received(stage)
    decoded = decode_audio(received.track)
    received.feed(40)
    frames = await received.all(decoded)
    assert decoded.ended == "unpublished"
    assert [round(frame.time * 50) for frame in frames] == list(range(40))
    assert {(frame.samples, frame.sample_rate, frame.channels, frame.duration) for frame in frames} == {
        (960, RATE, 1, 0.02)
    }
    assert not any(frame.concealed or frame.gap for frame in frames)
    assert frames[0].ntp_time is None
    hz, peak = measure([sample for frame in frames[5:] for sample in frame.data])
    assert hz == pytest.approx(400, rel=0.02)
    assert 12000 < peak < 20000
    assert "960 samples" in repr(frames[0])
    assert "unpublished" in repr(decoded)


@on_stage
async def test_it_is_heard_in_any_form(stage):
    for sample_rate, channels, frame_ms in [(16000, 1, 10), (24000, 2, 30), (44100, 2, None), (RATE, 1, 100)]:
        received = Received(stage, channels=2)
        with decode_audio(received.track, sample_rate, channels, frame_ms=frame_ms, capacity=50) as decoded:
            received.feed(50)
            frames = await received.all(decoded)
        if frame_ms is not None:
            assert {frame.samples for frame in frames} == {sample_rate * frame_ms // 1000}
        assert sum(frame.duration for frame in frames) == pytest.approx(1.0, abs=0.05)
        at = 0.0
        for frame in frames:
            assert frame.time == pytest.approx(at, abs=1e-6)
            at += frame.duration
        samples = [sample for frame in frames[len(frames) // 5 :] for sample in frame.data]
        for channel in range(channels):
            hz, peak = measure(samples, rate=sample_rate, channels=channels, channel=channel)
            assert hz == pytest.approx(400, rel=0.05)
            assert 10000 < peak < 22000
        stage.engine.rtp.remove_receiver(received.track.receiver)


@on_stage
async def test_lost_and_left_out_frames_are_made_up(stage):
    received = Received(stage)
    decoded = decode_audio(received.track)
    received.feed(10)
    received.feed(5, lost=2)
    received.send(b"\xff\xff\xff")  # no Opus
    received.feed(4)
    frames = await received.all(decoded)
    assert [round(frame.time * 50) for frame in frames] == list(range(22))
    assert [number for number, frame in enumerate(frames) if frame.concealed] == [10, 11, 17]
    assert max(map(abs, frames[10].data)) > 4000


@on_stage
async def test_long_pauses_are_told(stage):
    received = Received(stage)
    decoded = decode_audio(received.track, frame_ms=30, fill=0.5)
    received.feed(5)
    received.skip(3)
    received.feed(5)
    frames = await received.all(decoded)
    assert [frame.gap for frame in frames] == [0, 0, 0, 0, pytest.approx(3), 0, 0, 0]
    assert [round(frame.time, 3) for frame in frames] == [0, 0.03, 0.06, 0.09, 3.1, 3.13, 3.16, 3.19]
    assert frames[3].data[-400:].tolist() == [0] * 400  # filled up


@on_stage
async def test_what_is_made_up_before_a_packet_that_is_no_opus_is_made_up_once(stage):
    received = Received(stage)
    decoded = decode_audio(received.track)
    received.feed(10)
    received.feed(0, lost=2)
    received.send(b"\xff\xff\xff")
    received.feed(4)
    frames = await received.all(decoded)
    stage.engine.rtp.remove_receiver(received.track.receiver)
    assert [round(frame.time * 50) for frame in frames] == list(range(17))
    assert [number for number, frame in enumerate(frames) if frame.concealed] == [10, 11, 12]
    received = Received(stage)
    decoded = decode_audio(received.track)
    received.feed(10)
    received.skip(0.04)
    received.send(b"\xff\xff\xff")
    received.at = 11  # a step back
    received.feed()
    assert [round((await anext(decoded)).time * 50) for _ in range(13)] == [*range(12), 11]


@on_stage
async def test_a_closed_decoder_gives_nothing(stage):
    received = Received(stage)
    async with decode_audio(received.track, frame_ms=50) as decoded:
        received.feed(9)
        await anext(decoded)
    assert decoded.ended == "closed"
    with pytest.raises(StopAsyncIteration):
        await anext(decoded)
    again = decode_audio(received.track)
    with trio.move_on_after(1) as scope:
        await anext(again)
    assert scope.cancelled_caught
    await again.aclose()
    assert again.ended == "closed"


@on_stage
async def test_what_cannot_be_decoded(stage):
    track = stage.subscribe()
    for options in ({"channels": 3}, {"sample_rate": 0}, {"frame_ms": 0}, {"bridge": -1.0}, {"bridge": math.inf}):
        with pytest.raises(LocalProtocolError):
            decode_audio(track, **options)
    picture = make_remote_track(stage.session, stage.bob_voice, stage.engine.rtp.add_receiver("video", 0.0, ssrc=8))
    with pytest.raises(LocalProtocolError, match="no audio"):
        decode_audio(picture)


# ------------------------------------------------------------------ bridging


class Listener:
    """Reads all the time, and notes when it got what."""

    def __init__(self, stage: Stage, bridge: float = 0.2, **options) -> None:
        self.stage = stage
        self.received = Received(stage)
        self.decoded = decode_audio(self.received.track, bridge=bridge, **options)
        self.frames = []
        self.times = []
        self.began = trio.current_time()
        stage.nursery.start_soon(self.listen)

    async def listen(self):
        async for frame in self.decoded:
            self.frames.append(frame)
            self.times.append(round(trio.current_time() - self.began, 3))
        self.ended = trio.current_time() - self.began

    def come(self, frames=1):
        """Some frames, at once."""
        self.received.feed(frames)
        self.tell()

    def tell(self):
        rtp = self.stage.engine.rtp
        rtp.outbox.clear()
        self.received.track._wake()

    async def hear(self, frames):
        """Some frames, each when it is due."""
        for _ in range(frames):
            self.come()
            await trio.sleep(0.02)

    @property
    def made_up(self):
        return [number for number, frame in enumerate(self.frames) if frame.concealed]

    def check(self):
        """The sound goes on without a hole or an overlap, but for gaps that are told."""
        at = 0.0
        for frame in self.frames:
            assert frame.time == pytest.approx(at + frame.gap, abs=1e-6)
            at = frame.time + frame.duration


@on_air
async def test_an_outage_is_bridged_as_it_lasts(stage):
    listener = Listener(stage, fill=0.5)
    await listener.hear(10)
    await trio.sleep(0.8)
    assert listener.made_up == list(range(10, 20))
    steps = [after - before for before, after in itertools.pairwise(listener.times)]
    assert steps[:9] == pytest.approx([0.02] * 9)  # what was sent
    assert steps[9] == pytest.approx(0.07, abs=0.001)  # PATIENCE
    assert steps[10:] == pytest.approx([0.02] * 9, abs=0.001)
    loudest = [max(map(abs, frame.data)) for frame in listener.frames]
    assert loudest[10] > 8000
    assert loudest[19] < loudest[10] / 3  # a fade
    listener.received.skip(0.8)
    await listener.hear(5)
    assert [frame.gap for frame in listener.frames if frame.gap] == [pytest.approx(0.6)]
    assert listener.frames[20].time == pytest.approx(1.0)
    await trio.sleep(1)  # the next outage has a bridge of its own
    assert listener.made_up == [*range(10, 20), *range(25, 35)]
    listener.check()


@on_air
async def test_what_is_missing_behind_a_bridge_is_made_up_as_ever(stage):
    listener = Listener(stage, bridge=0.05, sample_rate=16000, frame_ms=10)
    await listener.hear(10)
    await trio.sleep(0.3)
    count = len(listener.frames)
    listener.received.skip(0.3)
    await listener.hear(5)
    assert 0 <= 25 - count <= 1  # of 10 ms; the resampler holds some back
    assert sum(frame.concealed for frame in listener.frames) == pytest.approx(30, abs=1)
    assert not any(frame.gap for frame in listener.frames)
    listener.check()


@on_air
async def test_late_sound_that_was_bridged_is_not_given_again(stage):
    listener = Listener(stage, bridge=0.05)
    await listener.hear(10)
    await trio.sleep(0.12)
    assert listener.made_up == [10, 11, 12]  # 20 ms, 20 ms and the rest of 50 ms
    assert listener.frames[12].samples == 480
    listener.come(6)  # all of the outage, at once
    await listener.hear(5)
    assert listener.made_up == [10, 11, 12]
    late = listener.frames[13]  # two were dropped
    assert (late.samples, late.gap) == (480, 0)
    assert late.time == pytest.approx(0.25)
    assert round(listener.frames[14].time * 50) == 13
    assert len(listener.frames) == 22
    listener.check()
    hz, _ = measure([sample for frame in listener.frames[14:] for sample in frame.data])
    assert hz == pytest.approx(400, rel=0.03)


@on_air
async def test_sound_that_is_later_than_before_is_not_replaced_for_ever(stage):
    """The way became longer by 0.1 s: a frame that comes late ends the bridge, and tells when the next is due."""
    listener = Listener(stage)
    await listener.hear(10)
    await trio.sleep(0.1)
    await listener.hear(50)
    assert listener.made_up == [10, 11, 12]
    assert len(listener.frames) == 60
    listener.check()


@on_air
async def test_a_late_frame_tells_when_the_next_is_due(stage):
    listener = Listener(stage)
    await listener.hear(10)
    await trio.sleep(0.1)
    listener.come()  # 60 ms of sound have been made up from its beginning on
    await trio.sleep(0.5)
    assert listener.made_up == list(range(10, 20))  # the rest of the bridge
    assert listener.times[13] == pytest.approx(0.3 + 0.06 + PATIENCE)


@on_air
async def test_what_is_made_up_within_a_burst_lasts_too(stage):
    listener = Listener(stage)
    listener.come(5)
    listener.received.skip(0.2)
    listener.received.send(b"\xff\xff\xff")  # no Opus
    await trio.sleep(1)
    assert listener.made_up == list(range(5, 25))
    assert listener.times[15] == pytest.approx(0.3 + PATIENCE, abs=0.002)
    listener.check()


@on_air
async def test_a_decoder_that_makes_up_nothing_ends_the_bridge(stage):
    class Helpless(OpusDecoder):
        __slots__ = ()

        def conceal(self):
            return self.decode(b"")

    listener = Listener(stage)
    listener.decoded._decoder = Helpless(1)
    await listener.hear(5)
    stage.end(listener.received.track)
    await trio.sleep(1)
    assert len(listener.frames) == 5
    assert listener.decoded.ended == "unpublished"


@on_air
async def test_the_wall_clock_of_what_is_made_up(stage):
    listener = Listener(stage)
    await listener.hear(5)
    listener.received.track.receiver.handle_report((2208988800 + 1000) << 32, 0, trio.current_time())
    await listener.hear(5)
    await trio.sleep(1)
    assert len(listener.frames) == 20
    assert [frame.ntp_time for frame in listener.frames[5:]] == [
        pytest.approx(1000 + frame.time, abs=1e-6) for frame in listener.frames[5:]
    ]


@on_air
async def test_bursts_and_late_frames_are_no_outage(stage):
    listener = Listener(stage)
    for number in range(40):  # 100 ms at once, up to 40 ms late
        await trio.sleep_until(listener.began + number * 0.1 + 0.04 * (number % 3 == 1))
        listener.come(5)
    await trio.sleep(0.05)
    assert len(listener.frames) == 200
    assert not listener.made_up
    await trio.sleep(0.15)
    assert listener.made_up


@on_air
async def test_a_frame_that_comes_just_when_it_would_be_replaced(stage):
    """After a time in which the process had no turn everything is due at once, in any order."""
    listener = Listener(stage)
    for _ in range(20):
        await trio.testing.wait_all_tasks_blocked()
        await trio.sleep_until(listener.decoded._due + PATIENCE)
        listener.come(10)
    await trio.testing.wait_all_tasks_blocked()
    assert len(listener.frames) == 200
    assert not listener.made_up


@on_air
async def test_a_fast_clock_of_the_sender_does_not_put_bridging_off(stage):
    listener = Listener(stage)
    for _ in range(800):  # 80 ms of it
        listener.come()
        await trio.sleep(0.0199)
    await trio.sleep(0.2)
    assert listener.times[800] - listener.times[799] == pytest.approx(0.07, abs=0.005)


@on_air
async def test_silence_that_is_left_out_is_bridged_once_each(stage):
    listener = Listener(stage)
    await listener.hear(5)
    for _ in range(5):
        listener.come()
        await trio.sleep(0.4)
        listener.received.skip(0.38)
    await listener.hear(5)
    assert len(listener.frames) == 110
    assert len(listener.made_up) == 5 * 19
    listener.check()
    await trio.sleep(5)  # muted
    assert len(listener.frames) == 120


@on_air
async def test_the_end_of_a_track_is_bridged(stage):
    listener = Listener(stage, frame_ms=30)
    await listener.hear(10)
    stage.end(listener.received.track, "reconnecting")
    assert not listener.decoded.ended
    await trio.sleep(1)
    assert listener.decoded.ended == "reconnecting"
    assert listener.ended == pytest.approx(0.2 + 0.05 + 0.18, abs=0.005)
    assert len(listener.frames) == 14  # 0.4 s and filled up
    assert listener.made_up == list(range(6, 14))
    listener.check()
    stage.engine.rtp.remove_receiver(listener.received.track.receiver)
    again = Listener(stage)  # nothing came of it
    stage.end(again.received.track)
    await trio.testing.wait_all_tasks_blocked()
    assert again.decoded.ended == "unpublished"
    with pytest.raises(StopAsyncIteration):
        await anext(again.decoded)


@on_air
async def test_closing_ends_a_bridge_at_once(stage):
    for over in (False, True):
        listener = Listener(stage, frame_ms=50)
        await listener.hear(10)
        if over:
            stage.end(listener.received.track)
        await trio.sleep(0.1)
        assert not listener.decoded.ended
        await listener.decoded.aclose()
        await trio.testing.wait_all_tasks_blocked()
        assert listener.ended == pytest.approx(0.3)
        assert listener.decoded.ended == "closed"
        with pytest.raises(StopAsyncIteration):
            await anext(listener.decoded)
        stage.engine.rtp.remove_receiver(listener.received.track.receiver)


@on_air
async def test_a_step_back_is_no_lateness(stage):
    listener = Listener(stage)
    await listener.hear(10)
    await trio.sleep(0.5)
    listener.received.at = 5  # before what was bridged: another clock
    await listener.hear(10)
    assert len(listener.frames) == 30
    assert round(listener.frames[20].time * 50) == 5
    assert not any(frame.gap for frame in listener.frames)
    await trio.sleep(0.5)
    for _ in range(5):
        listener.received.at = 15  # in the midst of it, again and again: dropped once
        await listener.hear(1)
    assert len(listener.frames) == 44


@on_air
async def test_who_reads_slowly_gets_what_has_come(stage):
    received = Received(stage)
    decoded = decode_audio(received.track, bridge=0.2)
    for _ in range(5):
        received.feed(10)
        await trio.sleep(0.2)
        for _ in range(10):
            assert not (await anext(decoded)).concealed
    await trio.sleep(1)
    received.feed()
    with trio.CancelScope() as scope:
        scope.cancel()
        await anext(decoded)
    assert scope.cancelled_caught
    assert not (await anext(decoded)).concealed
    await trio.sleep(1)
    before = trio.current_time()
    for _ in range(10):  # overdue
        assert (await anext(decoded)).concealed
    assert trio.current_time() == before


def test_cancelled_reading_loses_nothing_and_gives_nothing_twice():
    async def scenario(cut):
        stage = Stage()
        received = Received(stage)
        decoded = decode_audio(received.track, bridge=0.05, frame_ms=30)
        frames = []

        async def feed():
            for number in range(20):
                if number == 12:
                    await trio.sleep(0.2)
                received.feed()
                stage.engine.rtp.outbox.clear()
                received.track._wake()
                await trio.sleep(0.02)
            stage.end(received.track)

        async def read():
            async for frame in decoded:
                frames.append(frame)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(feed)
            await cut(read)
            await read()
        assert decoded.ended == "unpublished"
        assert [round(frame.time * 1000) for frame in frames] == list(range(0, 450, 30))
        assert [number for number, frame in enumerate(frames) if frame.concealed] == [8, 9, 13, 14]

    assert sweep(scenario) > 20


def test_without_pyav_the_extra_is_named():
    code = "import sys; sys.modules['av'] = None\nimport trio_client, trio_client.media"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "pip install 'trio-livekit[media]'" in done.stderr
    code = "import sys, trio_client; assert not {'av', 'trio_client.media'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_noise_is_no_opus_and_does_no_harm():
    random = Random(7)
    decoder = OpusDecoder(1)
    good = OpusEncoder(1, 48000).encode(tone(960))
    for _ in range(1500):
        packet = bytearray(random.randbytes(random.randrange(0, 40)) if random.random() < 0.5 else good)
        if packet:
            packet[random.randrange(len(packet))] ^= 1 << random.randrange(8)
        decoder.decode(bytes(packet))
        assert len(decoder.conceal()) <= 5760
    for _ in range(20):
        samples = decoder.decode(good)
    assert len(samples) == 960
