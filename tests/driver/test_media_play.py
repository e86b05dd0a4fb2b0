"""Playing files: what is sent of them, and when by its timestamps. The other end only notes it."""

from __future__ import annotations

from types import SimpleNamespace

import av
import pytest
import trio
import trio.testing

from sansio.rtp.format import Format
from trio_client import DisconnectedError, LocalProtocolError, TrackSource
from trio_client.media import _gop as gop
from trio_client.media import play_file
from trio_client.media._gop import Gop
from trio_client.media._opus import OpusDecoder
from trio_client.media._video import VideoDecoder, VideoEncoder

from .mediafiles import FPS, RATE, make, picture
from .sweep import sweep
from .test_tracks import Stage

FORMATS = {"opus": Format(111, "opus", RATE), "vp8": Format(96, "vp8", 90000), "h264": Format(98, "h264", 90000)}


class Theatre:
    """A room whose server accepts every track at once, and the frames that were sent, by codec."""

    def __init__(self):
        self.stage = Stage()
        self.room = SimpleNamespace(local_participant=self.stage.me, _session=self.stage.session)
        self.sent: dict[str, list[tuple[bytes, dict]]] = {"opus": [], "vp8": [], "h264": []}
        self.described = []
        self.senders = {}
        self.wants = lambda codec, count: False
        engine = self.stage.engine
        publish = engine.publish_track

        def publish_at_once(description, now):
            token, core = publish(description, now)
            self.described.append(description)
            self.stage.session.driver.pump = lambda: self.accept(token, core)
            return token, core

        engine.publish_track = publish_at_once
        engine.write_frame = self.write

    def accept(self, token, core):
        if core.publication is None:
            self.stage.accept(token, f"TR_{token}")
            core = self.stage.start(token)
            codec = core.description.codec
            sender = self.senders[codec] = self.stage.engine.rtp.add_sender(FORMATS[codec])
            core.sending.senders = (sender,)

    def write(self, core, data, now, **options):
        codec = core.description.codec
        sender, sent = self.senders[codec], self.sent[codec]
        sent.append((data, options))
        del options["layer"]
        done = sender.write(data, now, **options)
        if self.wants(codec, len(sent)):
            sender.keyframe_wanted = True
        return done

    @property
    def unpublished(self):
        return [call[1] for call in self.stage.engine.calls if call[0] == "unpublish_track"]


def in_theatre(scenario):
    """Run with a clock that goes several times faster than the one on the wall."""

    async def main():
        with trio.fail_after(200):
            theatre = Theatre()
            async with trio.open_nursery() as theatre.stage.session.tasks:
                await scenario(theatre)
                theatre.stage.session.tasks.cancel_scope.cancel()

    trio.run(main, clock=trio.testing.MockClock(rate=8))


def packets(path, kind):
    with av.open(str(path)) as container:
        stream = container.streams.audio[0] if kind == "audio" else container.streams.video[0]
        return [bytes(packet) for packet in container.demux(stream) if packet.size]


def bright(found):
    return [bytes(frame.reformat(format="yuv420p").planes[0])[0] > 128 for frame in found]


def test_opus_and_vp8_pass_as_they_are(tmp_path):
    path = make(tmp_path / "film.webm", 1)

    async def scenario(theatre):
        await play_file(theatre.room, path, audio_source=TrackSource.SCREEN_SHARE_AUDIO)
        assert [(d.codec, d.name, d.source, d.stream) for d in theatre.described] == [
            ("opus", "film.webm", TrackSource.SCREEN_SHARE_AUDIO, "film.webm"),
            ("vp8", "film.webm", TrackSource.CAMERA, "film.webm"),
        ]
        sound, video = theatre.sent["opus"], theatre.sent["vp8"]
        assert [data for data, _ in sound] == packets(path, "audio")
        assert [data for data, _ in video] == packets(path, "video")
        stamps = [options["timestamp"] for _, options in sound]
        assert [stamp - stamps[0] for stamp in stamps] == [960 * number for number in range(len(sound))]
        assert [options["timestamp"] for _, options in video] == [4500 * number for number in range(20)]
        levels = [options["level"] for _, options in sound]
        assert min(levels[5:20]) == max(levels[5:20]) == 12  # the tone, and then none
        assert max(levels) > 60
        assert [options["voice"] for _, options in sound[5:20]] == [True] * 15
        assert theatre.unpublished == ["TR_1", "TR_2"]

    in_theatre(scenario)


@pytest.mark.parametrize("name", ["film.mp4", "film.h264"])
def test_h264_passes_in_the_form_of_rtp(tmp_path, name):
    path = make(tmp_path / name, 1, gop=10)

    async def scenario(theatre):
        await play_file(theatre.room, path, name="other")
        sent = theatre.sent["h264"]
        assert len(sent) == 20
        assert all(data.startswith(b"\0\0\0\1") for data, _ in sent)
        decoder = VideoDecoder("h264")
        found = [frame for data, options in sent for frame in decoder.decode(data, options["timestamp"])]
        assert bright(found) == [True] * 10 + [False] * 10
        assert theatre.described[-1].name == "other"
        if name == "film.mp4":  # whose AAC is encoded anew
            decoder = OpusDecoder(1)
            loud = [max(map(abs, decoder.decode(data))) > 3000 for data, _ in theatre.sent["opus"]]
            assert 30 <= len(loud) <= 40  # of 50: silence is not sent for long
            assert loud[5:20] == [True] * 15
            assert not any(loud[30:])

    in_theatre(scenario)


@pytest.mark.parametrize(("name", "b_frames"), [("film.mp4", True), ("film.mkv", False)])
def test_other_video_is_encoded_as_vp8(tmp_path, name, b_frames):
    path = make(tmp_path / name, 1, b_frames=b_frames)

    async def scenario(theatre):
        await play_file(theatre.room, path, audio=False, bitrate=500_000)
        (described,) = theatre.described
        assert (described.codec, described.width, described.height) == ("vp8", 160, 120)
        decoder = VideoDecoder("vp8")
        sent = theatre.sent["vp8"]
        found = [frame for data, options in sent for frame in decoder.decode(data, options["timestamp"])]
        assert bright(found) == [True] * 10 + [False] * 10
        assert [round(frame.time, 2) for frame in found] == [number / FPS for number in range(20)]

    in_theatre(scenario)


@pytest.mark.parametrize("name", ["film.webm", "film.mp4"])
def test_a_key_frame_is_made_where_it_is_wanted(tmp_path, name):
    path = make(tmp_path / name, 2, gop=20)
    codec = "vp8" if name == "film.webm" else "h264"

    async def scenario(theatre):
        theatre.wants = lambda codec, count: count in (5, 12)
        await play_file(theatre.room, path, audio=False)
        sent = [data for data, _ in theatre.sent[codec]]
        keys = [number for number, data in enumerate(sent) if is_key(codec, data)]
        assert keys == [0, 5, 12, 20]
        if codec == "vp8":
            own = packets(path, "video")
            assert sent[:5] == own[:5]
            assert sent[5:20] != own[5:20]
            assert sent[20:] == own[20:]
        decoder = VideoDecoder(codec)  # of one who came at the fifth
        found = [frame for data in sent[5:] for frame in decoder.decode(data, 0)]
        assert bright(found) == [True] * 5 + ([False] * 10 + [True] * 10) + [False] * 10

    in_theatre(scenario)


def is_key(codec, data):
    return not data[0] & 1 if codec == "vp8" else any(unit[:1] in (b"\x65", b"\x25") for unit in data.split(b"\0\0\1"))


def test_sound_alone(tmp_path):
    path = make(tmp_path / "speech.wav", 1)

    async def scenario(theatre):
        await play_file(theatre.room, path)
        (described,) = theatre.described
        assert (described.codec, described.stereo) == ("opus", False)
        decoder = OpusDecoder(1)
        loud = [max(map(abs, decoder.decode(data))) > 3000 for data, _ in theatre.sent["opus"]]
        assert loud[2:24] == [True] * 22
        assert not any(loud[27:])
        assert theatre.unpublished == ["TR_1"]

    in_theatre(scenario)


def test_what_cannot_be_played(tmp_path):
    path = make(tmp_path / "speech.wav", 0.2)
    (tmp_path / "noise.mp4").write_bytes(b"noise" * 1000)

    async def scenario(theatre):
        with pytest.raises(FileNotFoundError):
            await play_file(theatre.room, tmp_path / "nothing.wav")
        with pytest.raises(LocalProtocolError, match="nothing to play"):
            await play_file(theatre.room, path, audio=False)
        with pytest.raises(av.FFmpegError):
            await play_file(theatre.room, str(tmp_path / "noise.mp4"))
        assert not theatre.described

    in_theatre(scenario)


def test_the_end_of_the_room_ends_it(tmp_path):
    path = make(tmp_path / "film.webm", 1)

    async def scenario(theatre):
        theatre.wants = lambda codec, count: theatre.stage.session.ended.set() if count == 5 else None
        with pytest.raises(DisconnectedError):
            await play_file(theatre.room, path)

    in_theatre(scenario)


def test_cancelled_it_is_unpublished(tmp_path):
    path = make(tmp_path / "film.webm", 0.2)

    async def scenario(cut):
        theatre = Theatre()
        async with trio.open_nursery() as theatre.stage.session.tasks:
            await cut(play_file, theatre.room, path)
            theatre.stage.session.tasks.cancel_scope.cancel()
        accepted = [f"TR_{number}" for number in range(1, len(theatre.described) + 1)]
        assert sorted(theatre.unpublished) == accepted

    assert sweep(scenario, virtual=False, step=2, limit=60) > 3


def test_pictures_without_their_key_frame_pass():
    group = Gop(VideoEncoder("vp8", 160, 120, 20, None))
    assert group.passes(b"x", 0, False, True)  # what it builds on is unknown


def test_a_group_that_is_too_large_is_given_up(monkeypatch):
    monkeypatch.setattr(gop, "MOST_BYTES", 2000)
    encoder = VideoEncoder("vp8", 160, 120, 20, None)
    group = Gop(encoder)
    assert group.passes(encoder.encode(picture(0), 0, True), 0, True, False)
    assert group.passes(bytes(2000), 1, False, False)
    assert group.passes(b"x", 2, False, True)
    assert group.passes(encoder.encode(picture(3), 3, True), 3, True, False)
    assert not group.passes(b"not VP8", 4, False, True)
    assert group.frame(True) == b""
