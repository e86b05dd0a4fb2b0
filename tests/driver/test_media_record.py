"""Recording: what is in the file, and when. The senders are encoders here, and time is what their packets say."""

from __future__ import annotations

import array

import av
import pytest
import trio
import trio.testing

from sansio.base.wallclock import NTP_EPOCH
from sansio.rtp.format import Format
from sansio.rtp.packet import RtpPacket, build_rtp
from sansio.rtp.payload import h264, vp8
from trio_client import LocalProtocolError
from trio_client._participant import RemoteParticipant
from trio_client._publication import RemoteTrackPublication
from trio_client._tracks import make_remote_track
from trio_client.media import decode_audio, record
from trio_client.media._opus import OpusEncoder
from trio_client.media._video import CLOCK, VideoEncoder

from .sweep import sweep
from .test_media_audio import tone
from .test_media_video import FORMATS, on_stage, plain
from .test_tracks import Stage

RATE = 48000
UNIX = 1_700_000_000.0


class Source:
    """A remote track and its sender, whose clock shows UNIX at the moment 0."""

    def __init__(self, stage, ssrc, kind="audio", codec="opus"):
        rtp = stage.engine.rtp
        rtp.set_formats([Format(111, "opus", RATE), *FORMATS.values()])
        self.codec = codec
        self.type = 111 if kind == "audio" else FORMATS[codec].payload_type
        self.rate = RATE if kind == "audio" else CLOCK
        self.ssrc = ssrc
        self.stage = stage
        self.receiver = rtp.add_receiver(kind, 0.0, ssrc=ssrc)
        rtp.set_enabled(self.receiver, False, 0.0)
        self.track = make_remote_track(stage.session, stage.bob_voice, self.receiver)
        self.sequence = 100
        self.began = trio.current_time()
        self.opus = OpusEncoder(1, 48000) if kind == "audio" else None
        self.video = VideoEncoder(codec, 160, 120, 20, None) if kind == "video" else None
        self.key = True

    def report(self, at, late=0.0):
        """A sender report of the moment ``at``."""
        ntp = int((UNIX + at + NTP_EPOCH) * (1 << 32))
        self.receiver.handle_report(ntp, round(at * self.rate) & 0xFFFFFFFF, self.began + at + late)

    async def deliver(self, payloads, at, late):
        for number, payload in enumerate(payloads):
            data = build_rtp(
                self.type | (0x80 if number == len(payloads) - 1 else 0),
                self.sequence & 0xFFFF,
                round(at * self.rate) & 0xFFFFFFFF,
                self.ssrc,
                b"",
                payload,
            )
            self.sequence += 1
            self.receiver.receive(RtpPacket(data), self.began + at + late)
        self.track._wake()
        await trio.testing.wait_all_tasks_blocked()

    async def sound(self, begin, count, late=0.0):
        """Frames of the tone, which is loud in the first half of each second."""
        for number in range(round(begin * 50), round(begin * 50) + count):
            loud = tone(960, start=number * 960, peak=12000 if number % 50 < 25 else 0)
            await self.deliver([self.opus.encode(loud)], number / 50, late)

    async def pictures(self, begin, count, late=0.0):
        """Pictures that are bright in the first half of each second."""
        for number in range(round(begin * 20), round(begin * 20) + count):
            data = self.video.encode(plain(220 if number % 20 < 10 else 30, 128, 128), number * CLOCK // 20, self.key)
            self.key = False
            if self.codec == "vp8":
                payloads = vp8.packetize(data, 1100, number & 0x7FFF)
            else:
                payloads = h264.packetize(h264.split(data), 1100, 1)
            await self.deliver(payloads, number / 20, late)

    async def sound_soon(self):
        await trio.sleep(0.02)
        await self.sound(0, 10)
        await trio.sleep(0.1)
        self.end()

    async def soon(self):
        await trio.sleep(0.05)
        await self.pictures(0, 5)

    def end(self):
        self.track.ended = "unpublished"
        self.track._wake()


class Found:
    """What is in a file: the moments when it gets loud or bright, and how long it is."""

    def __init__(self, path):
        self.loud, self.bright = [], []
        with av.open(str(path)) as container:
            self.codecs = {stream.codec_context.codec.canonical_name for stream in container.streams}
            if container.streams.audio:
                self.begin, samples = None, array.array("h")
                resampler = av.AudioResampler("s16", "mono", RATE)
                for frame in container.decode(audio=0):
                    self.begin = frame.time if self.begin is None else self.begin
                    for out in resampler.resample(frame):
                        samples.frombytes(bytes(out.planes[0])[: out.samples * 2])
                self.sound = self.begin + len(samples) / RATE
                before = False
                for at in range(0, len(samples) - 240, 240):
                    now = max(map(abs, samples[at : at + 240])) > 3000
                    if now and not before and (not self.loud or at / RATE + self.begin > self.loud[-1] + 0.6):
                        self.loud.append(self.begin + at / RATE)
                    before = now
        with av.open(str(path)) as container:
            if container.streams.video:
                before = False
                for frame in container.decode(video=0):
                    now = bytes(frame.reformat(format="yuv420p").planes[0])[0] > 128
                    if now and not before:
                        self.bright.append(frame.time)
                    before, self.video = now, frame.time


async def recording(path, tracks, feed, **options):
    """Record while ``feed`` runs; what ``record`` returned."""
    found = []

    async def run():
        found.extend(await record(tracks, path, **options))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        await trio.testing.wait_all_tasks_blocked()
        await trio.sleep(0.05)
        await feed()
    return found


def assert_in_step(path, moments, codec="vp8"):
    """Sound and pictures of the file get loud and bright at the same moments."""
    found = Found(path)
    assert found.codecs == {"opus", codec}
    assert found.loud == pytest.approx(moments, abs=0.04)
    assert found.bright == pytest.approx(moments, abs=0.04)


@pytest.fixture(autouse=True)
def hurry(monkeypatch):
    monkeypatch.setattr("trio_client.media._record.FLUSH", 0.05)
    monkeypatch.setattr("trio_client.media._record.LATE", 1000)  # packets carry times of their own


@pytest.mark.parametrize("ending", ["ogg", "webm", "mp4"])
def test_sound_with_holes_has_silence_there(tmp_path, ending):
    path = tmp_path / f"sound.{ending}"

    @on_stage
    async def scenario(stage):
        source = Source(stage, 7)

        async def feed():
            await source.sound(0, 45)
            await source.sound(2, 25)  # more than a second was muted
            source.sequence += 2
            await source.sound(3.04, 50)  # and two frames are lost
            stage.engine.rtp.advance(source.began + 1000.0)
            source.track._wake()
            await trio.sleep(0.2)
            source.end()

        (found,) = await recording(path, source.track, feed)
        assert (found.track, found.frames, found.lost) == (source.track, 120, 2)
        assert found.ended == pytest.approx(4.04, abs=0.011)

    scenario()
    found = Found(path)
    assert found.codecs == {"opus"}
    assert found.sound == pytest.approx(4.04, abs=0.04)
    assert found.loud == pytest.approx([0, 2, 3.04, 4.0], abs=0.06)  # a decoder needs some frames to get going


@pytest.mark.parametrize(("codec", "ending"), [("vp8", "webm"), ("h264", "mp4")])
def test_tracks_are_in_step_by_their_senders_clocks(tmp_path, codec, ending):
    """Sound came 0.4 s later than the pictures that were taken with it."""
    path = tmp_path / f"both.{ending}"

    @on_stage
    async def scenario(stage):
        voice, cam = Source(stage, 7), Source(stage, 8, "video", codec)

        async def feed():
            await cam.pictures(0, 10, late=0.1)
            await voice.sound(0, 25, late=0.5)
            for source, late in ((voice, 0.5), (cam, 0.1)):
                source.report(0.5, late)
            await trio.sleep(0.1)
            for second in (0.5, 1.5, 2.5):
                await cam.pictures(second, 20, late=0.1)
                await voice.sound(second, 50, late=0.5)
            await trio.sleep(0.2)
            voice.end()
            cam.end()

        found = await recording(path, [voice.track, cam.track], feed)
        assert [part.frames for part in found] == [175, 70]

    scenario()
    assert_in_step(path, [0, 1, 2, 3], codec)


def test_a_clock_that_runs_away_is_followed(tmp_path):
    """The sound's clock goes slower than the pictures' by a hundredth, which reports tell."""
    path = tmp_path / "drift.webm"

    @on_stage
    async def scenario(stage):
        voice, cam = Source(stage, 7), Source(stage, 8, "video", "vp8")

        async def feed():
            for second in range(5):
                cam.report(second)
                # By the sender's wall clock its samples take longer than they say.
                voice.receiver.handle_report(int((UNIX + second * 1.03 + NTP_EPOCH) * (1 << 32)), second * RATE, second)
                await cam.pictures(second, 20)
                await voice.sound(second, 50)
                await trio.sleep(0.05)
            await trio.sleep(0.2)
            voice.end()
            cam.end()

        await recording(path, [voice.track, cam.track], feed)

    scenario()
    found = Found(path)
    assert found.bright == pytest.approx(range(5), abs=0.06)
    assert found.loud == pytest.approx([1.03 * second for second in range(5)], abs=0.07)


def test_without_reports_what_came_together_is_together(tmp_path, monkeypatch):
    monkeypatch.setattr("trio_client.media._record.SYNC_PATIENCE", 0.1)
    path = tmp_path / "both.webm"

    @on_stage
    async def scenario(stage):
        voice, cam = Source(stage, 7), Source(stage, 8, "video", "vp8")

        async def feed():
            await voice.sound(0, 50, late=0.3)
            await cam.pictures(0, 20, late=0.3)
            await trio.sleep(0.6)
            for source in (voice, cam):
                source.report(1 if source is voice else 500)  # a clock that is hours off is not believed
            await voice.sound(1, 50, late=0.3)
            await cam.pictures(1, 20, late=0.3)
            await trio.sleep(0.2)
            voice.end()
            cam.end()

        await recording(path, [voice.track, cam.track], feed)

    scenario()
    assert_in_step(path, [0, 1])


def test_clocks_of_two_participants_differ(tmp_path):
    """What came at the same time is together, whatever their clocks say."""
    path = tmp_path / "both.webm"

    @on_stage
    async def scenario(stage):
        voice, cam = Source(stage, 7), Source(stage, 8, "video", "vp8")
        carol = RemoteParticipant(stage.session, "carol", "PA_carol")
        cam.track.publication = RemoteTrackPublication(stage.session, carol, "TR_carol")

        async def feed():
            for second in (0, 1):
                voice.report(second + 0.7)
                cam.report(second)
                await voice.sound(second, 50)
                await cam.pictures(second, 20)
                await trio.sleep(0.1)
            voice.end()
            cam.end()

        await recording(path, [voice.track, cam.track], feed)

    scenario()
    assert_in_step(path, [0, 1])


def test_a_track_that_does_not_come_is_left_out(tmp_path):
    path = tmp_path / "one.ogg"

    @on_stage
    async def scenario(stage):
        voice, never = Source(stage, 7), Source(stage, 8)

        async def feed():
            await voice.sound(0, 50)
            await trio.sleep(0.6)
            await never.sound(0, 50)
            await trio.sleep(0.2)
            voice.end()
            never.end()

        found = await recording(path, [voice.track, never.track], feed, wait=0.2)
        assert [part.frames for part in found] == [50, 0]

    scenario()
    with av.open(str(path)) as container:
        assert len(container.streams) == 1


@pytest.mark.parametrize(("codec", "ending", "count"), [("vp8", "webm", 1), ("h264", "mp4", 1), ("vp8", "webm", 5)])
def test_a_first_picture_that_is_nonsense(tmp_path, monkeypatch, codec, ending, count):
    """It waits for a better one, but not for ever."""
    monkeypatch.setattr("trio_client.media._record.SYNC_PATIENCE", 0.05)
    path = tmp_path / f"both.{ending}"
    nonsense = b"\x10nonsense" if codec == "vp8" else b"\x65nonsense"

    @on_stage
    async def scenario(stage):
        voice, cam = Source(stage, 7), Source(stage, 8, "video", codec)

        async def feed():
            await voice.sound(0, 40)
            for number in range(count):
                await cam.deliver([b"\x10" * (codec == "vp8") + nonsense], number / 20, 0)
                await trio.sleep(0.15)
            await cam.pictures(0.5, 10)
            await cam.deliver([b"\x10" * (codec == "vp8") + nonsense], 1, 0)
            await voice.sound(0.8, 20)
            await trio.sleep(0.2)
            voice.end()
            cam.end()

        sound, _ = await recording(path, [voice.track, cam.track], feed, wait=2)
        assert sound.frames == 60

    scenario()
    with av.open(str(path)) as container:
        codecs = {stream.codec_context.codec.canonical_name for stream in container.streams}
    assert codecs == ({"opus", codec} if count == 1 else {"opus"})


def test_silence_goes_on_while_nothing_comes(tmp_path, monkeypatch):
    monkeypatch.setattr("trio_client.media._record.LATE", 0.2)
    path = tmp_path / "silence.ogg"

    @on_stage
    async def scenario(stage):
        voice = Source(stage, 7)

        async def feed():
            await voice.sound(0, 10)
            await trio.sleep(0.7)
            voice.began += 0.7 - 1000
            await voice.sound(1000, 10)  # by its timestamps; that cannot be
            await trio.sleep(0.2)
            voice.end()

        (found,) = await recording(path, voice.track, feed)
        assert found.frames == 20
        assert 0.6 < found.ended < 5

    scenario()


def test_nothing_comes(tmp_path):
    path = tmp_path / "nothing.ogg"

    @on_stage
    async def scenario(stage):
        voice = Source(stage, 7)

        async def feed():
            voice.end()

        (found,) = await recording(path, voice.track, feed)
        assert (found.frames, found.ended) == (0, 0)
        with trio.move_on_after(0.1):
            await record(Source(stage, 9).track, path)

    scenario()
    assert not path.exists()


def test_cancelled_the_file_is_finished(tmp_path):
    path = tmp_path / "cut.mp4"

    @on_stage
    async def scenario(stage):
        voice = Source(stage, 7)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(record, voice.track, path)
            await trio.testing.wait_all_tasks_blocked()
            await trio.sleep(0.05)
            await voice.sound(0, 45)
            nursery.cancel_scope.cancel()
        assert not voice.receiver.enabled
        async with decode_audio(voice.track) as decoded:
            await voice.sound(1, 5)
            await anext(decoded)

    scenario()
    assert Found(path).sound == pytest.approx(0.9, abs=0.03)


def test_cancelled_anywhere_it_leaves_nothing_behind(tmp_path):
    path = tmp_path / "cut.webm"

    async def scenario(cut):
        path.unlink(missing_ok=True)
        voice = Source(Stage(), 7)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(voice.sound_soon)
            await cut(record, voice.track, path)
        assert not cut.cancelled or voice.track.ended or not voice.receiver.enabled
        assert not path.exists() or Found(path).codecs == {"opus"}

    assert sweep(scenario, virtual=False, step=3, limit=90) > 5


def test_what_cannot_be_recorded(tmp_path):
    @on_stage
    async def scenario(stage):
        voice, cam = Source(stage, 7), Source(stage, 8, "video", "vp8")
        for tracks in ([], [voice.track, voice.track]):
            with pytest.raises(LocalProtocolError, match="once"):
                await record(tracks, tmp_path / "x.ogg")
        with pytest.raises(LocalProtocolError, match="kind of file"):
            await record(voice.track, tmp_path / "x.unknown")

        for name, error in (("x.mp4", "does not hold vp8"), ("no/folder.webm", "No such file")):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(cam.soon)
                with pytest.raises((LocalProtocolError, OSError), match=error):
                    await record(cam.track, tmp_path / name)
            cam.key = True
            assert not cam.receiver.enabled

    scenario()
