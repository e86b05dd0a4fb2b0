"""Pictures both ways. The other end is the core's own RTP session.

In real time, since virtual time would run on while the worker thread is at work.
"""

from __future__ import annotations

from random import Random

import av
import pytest
import trio
import trio.testing

from sansio.rtp.format import Format
from trio_client import DisconnectedError, EncodedFrame, LocalProtocolError, VideoLayer
from trio_client._tracks import make_remote_track
from trio_client.media import RawVideoTrack, decode_video
from trio_client.media._video import VideoDecoder, VideoEncoder

from .running import run
from .test_tracks import Stage, publish

CODECS = pytest.mark.parametrize("codec", ["vp8", "h264"])
FORMATS = {"vp8": Format(96, "vp8", 90000, nack=True, pli=True), "h264": Format(98, "h264", 90000, nack=True, pli=True)}


def on_stage(scenario):
    def test():
        async def staged():
            await scenario(Stage())

        run(staged)

    test.__name__ = scenario.__name__
    return test


def plain(y, u, v, width=160, height=120):
    """A picture of one colour."""
    frame = av.VideoFrame(width, height, "yuv420p")
    for plane, value in zip(frame.planes, (y, u, v), strict=True):
        plane.update(bytes([value]) * plane.buffer_size)
    return frame


def colour(frame):
    """The colour in the middle of a picture, as YUV."""
    found = []
    for plane in frame.reformat(format="yuv420p").planes:
        found.append(bytes(plane)[plane.height // 2 * plane.line_size + plane.width // 2])
    return tuple(found)


class Sent:
    """A published track whose packets go to a receiver in the same session."""

    def __init__(self, stage: Stage, track: RawVideoTrack, codec: str) -> None:
        self.stage, self.track = stage, track
        rtp = stage.engine.rtp
        rtp.set_formats(FORMATS.values())
        self.sender = rtp.add_sender(FORMATS[codec], ssrc=9)
        self.receiver = rtp.add_receiver("video", 0.0, ssrc=9)
        self.remote = make_remote_track(stage.session, stage.bob_voice, self.receiver)
        rtp.set_enabled(self.receiver, False, 0.0)
        self.sizes: list[int] = []
        stage.engine.write_frame = self.write

    def write(self, core, data, now, **options):
        self.sizes.append(len(data))
        del options["layer"]
        return self.sender.write(data, now, **options)

    def start(self):
        self.core = self.stage.start(1)
        self.core.sending.senders = [self.sender]

    async def carry(self, seconds=0.06):
        """Let the packets through."""
        rtp = self.stage.engine.rtp
        end = trio.current_time() + seconds
        while trio.current_time() < end:
            rtp.advance(trio.current_time())
            while rtp.rtp:
                rtp.receive_rtp(rtp.rtp.popleft(), trio.current_time())
            if rtp.outbox:
                rtp.outbox.clear()
                self.remote._wake()
            await trio.sleep(0.005)


async def published(stage, track, codec):
    sent = Sent(stage, track, codec)
    await publish(stage, track)
    sent.start()
    return sent


@CODECS
def test_pictures_go_through(codec):
    @on_stage
    async def scenario(stage):
        track = RawVideoTrack("cam", 160, 120, codec, fps=15)
        description = track._describe(None, "", "")
        assert (description.codec, description.width, description.height) == (codec, 160, 120)
        sent = await published(stage, track, codec)
        decoded = decode_video(sent.remote)
        colours = [(60, 90, 200), (120, 128, 128), (200, 180, 60)]
        pictures = []
        for number, yuv in enumerate(colours):
            assert await track.write(plain(*yuv), time=number / 15)
            await sent.carry()
            pictures.append(await anext(decoded))
        for number, (picture, yuv) in enumerate(zip(pictures, colours, strict=True)):
            assert (picture.width, picture.height) == (160, 120)
            assert colour(picture) == pytest.approx(yuv, abs=6)
            assert picture.time == pytest.approx(number / 15, abs=1e-4)
            assert picture.opaque.keyframe is (number == 0)
        stage.end(sent.remote)
        with pytest.raises(StopAsyncIteration):
            await anext(decoded)
        assert decoded.ended == "unpublished"

    scenario()


@CODECS
def test_a_key_frame_is_made_when_it_is_wanted(codec):
    @on_stage
    async def scenario(stage):
        sent = await published(stage, track := RawVideoTrack("cam", 160, 120, codec), codec)
        decoded = decode_video(sent.remote)
        keys = []
        for number in range(10):
            if number in (4, 7):
                sent.sender.keyframe_wanted = True
            await track.write(plain(number * 20, 100, 100))
            await sent.carry(0.04)
            assert not sent.sender.keyframe_wanted
            keys.append((await anext(decoded)).opaque.keyframe)
        assert [number for number, key in enumerate(keys) if key] == [0, 4, 7]

    scenario()


@on_stage
async def test_pictures_of_any_form(stage):
    numpy = pytest.importorskip("numpy")
    track = RawVideoTrack("cam", 160, 120, bitrate=2_000_000)
    sent = await published(stage, track, "vp8")
    decoded = decode_video(sent.remote)
    red = numpy.zeros((120, 160, 3), dtype=numpy.uint8)
    red[:, :, 0] = 255
    yuv = numpy.concatenate([numpy.full((120, 160), 81), numpy.full((30, 160), 90), numpy.full((30, 160), 240)])
    own = plain(81, 90, 240, 320, 240)
    own.pts = 77
    small = plain(81, 90, 240)
    small.pts, small.pict_type = 78, 2
    television = plain(63, 102, 240)
    television.colorspace = 1  # BT.709
    for frame, format in [
        (red, "rgb24"),
        (red[:, :, ::-1].copy(), "bgr24"),
        (yuv.astype(numpy.uint8), "yuv420p"),
        (own, ""),
        (small, ""),
        (television, ""),
    ]:
        await track.write(frame, format=format)
        await sent.carry()
        assert colour(await anext(decoded)) == pytest.approx((81, 90, 240), abs=8)
    assert (own.pts, small.pts, small.pict_type) == (77, 78, 2)
    for wrong, format in [(b"x", "rgb24"), (red.astype(numpy.float64), "rgb24"), (red, "yuv420p"), (red, "nothing")]:
        with pytest.raises(LocalProtocolError, match="no picture"):
            await track.write(wrong, format=format)
    with pytest.raises(LocalProtocolError, match="encoded"):
        await track.write(EncodedFrame(data=b"x"))


@on_stage
async def test_a_decoder_is_told_which_colours_are_meant(stage):
    """Chromium takes those of H.264 for BT.709 otherwise."""
    track = RawVideoTrack("cam", 160, 120, "h264")
    sent = await published(stage, track, "h264")
    decoded = decode_video(sent.remote)
    await track.write(plain(81, 90, 240))
    await sent.carry()
    picture = await anext(decoded)
    assert int(picture.colorspace) == 6  # SMPTE 170M, which are those of BT.601


@on_stage
async def test_every_layer_that_is_wanted_is_encoded(stage):
    layers = [VideoLayer(width=80, height=60), VideoLayer(width=160, height=120, bitrate=300_000)]
    track = RawVideoTrack("cam", 160, 120, layers=layers)
    assert [encoder.bitrate for encoder in track._encoders] == [14_400, 300_000]
    written = []
    await publish(stage, track)
    core = stage.start(1)
    core.sending.senders = tuple([stage.engine.rtp.add_sender(FORMATS["vp8"]) for _ in layers])

    def write(core, data, now, *, layer, **options):
        written.append((layer, data))
        return core.sending.senders[layer].write(data, now, **options)

    stage.engine.write_frame = write
    assert await track.write(plain(60, 90, 200, 320, 240))
    core.wanted = (False, True)
    assert await track.write(plain(60, 90, 200, 320, 240))
    core.wanted = (False, False)
    assert not await track.write(plain(60, 90, 200, 320, 240))
    assert [layer for layer, _ in written] == [0, 1, 1]
    sizes = [VideoDecoder("vp8").decode(data, 0)[0] for _, data in written[:2]]
    assert [(picture.width, picture.height) for picture in sizes] == [(80, 60), (160, 120)]


@on_stage
async def test_a_muted_track_encodes_nothing(stage):
    track = RawVideoTrack("cam", 160, 120)
    sent = await published(stage, track, "vp8")
    sent.core.publication.muted = True
    assert not await track.write(plain(1, 2, 3))
    assert not sent.sizes
    sent.core.publication.muted = False
    assert await track.write(plain(1, 2, 3))


@on_stage
async def test_a_track_that_ends_while_it_is_encoded(stage):
    track = RawVideoTrack("cam", 160, 120)
    with pytest.raises(LocalProtocolError, match="not published"):
        await track.write(plain(1, 2, 3))
    await published(stage, track, "vp8")
    encode = track._encode

    def slowly(*args):
        trio.from_thread.run_sync(track._detach)
        return encode(*args)

    track._encode = slowly
    assert not await track.write(plain(1, 2, 3))


@on_stage
async def test_a_room_that_ends_while_it_is_encoded(stage):
    track = RawVideoTrack("cam", 160, 120)
    await published(stage, track, "vp8")
    encode = track._encode

    def slowly(*args):
        trio.from_thread.run_sync(stage.session.ended.set)
        return encode(*args)

    track._encode = slowly
    with pytest.raises(DisconnectedError):
        await track.write(plain(1, 2, 3))


@on_stage
async def test_a_cancelled_writer_has_written(stage):
    track = RawVideoTrack("cam", 160, 120)
    sent = await published(stage, track, "vp8")
    encode = track._encode
    with trio.CancelScope() as scope:

        def slowly(*args):
            trio.from_thread.run_sync(scope.cancel)
            return encode(*args)

        track._encode = slowly
        await track.write(plain(1, 2, 3))
    assert sent.sender.frames == 1
    assert await track.write(plain(1, 2, 3))


def test_impossible_tracks():
    for options in (
        {"width": 0, "height": 2},
        {"width": 3, "height": 2},
        {"width": 2, "height": 1 << 15},
        {"width": 2, "height": 2, "fps": 0},
        {"width": 2, "height": 2, "codec": "h263"},
        {"width": 2, "height": 2, "layers": [VideoLayer(width=1, height=1)]},
    ):
        with pytest.raises(LocalProtocolError):
            RawVideoTrack("cam", **options)


@on_stage
async def test_a_cancelled_reader_loses_nothing(stage):
    """Cancelled when it has taken a frame, at every other one."""
    track = RawVideoTrack("cam", 160, 120)
    sent = await published(stage, track, "vp8")
    decoded = decode_video(sent.remote)
    read, taken, seen = sent.remote._read, 0, []
    scope = trio.CancelScope()

    def reading(frames):
        nonlocal taken
        if (frame := read(frames)) is not None:
            taken += 1
            if taken % 2:
                scope.cancel()
        return frame

    type(sent.remote)._read = lambda self, frames: reading(frames) if self is sent.remote else None
    try:
        for number in range(12):
            await track.write(plain(number * 20, 100, 100))
            await sent.carry(0.03)
            with trio.CancelScope() as scope:
                seen.append((await anext(decoded)).opaque.time)
        while len(seen) < 12:
            seen.append((await anext(decoded)).opaque.time)
    finally:
        del type(sent.remote)._read
    assert len(set(seen)) == 12
    assert seen == sorted(seen)


@on_stage
async def test_what_cannot_be_decoded(stage):
    with pytest.raises(LocalProtocolError, match="no video"):
        decode_video(stage.subscribe())


@on_stage
async def test_broken_pictures_are_passed_over(stage):
    track = RawVideoTrack("cam", 160, 120, "h264")
    sent = await published(stage, track, "h264")
    decoded = decode_video(sent.remote)
    await track.write(plain(100, 100, 100))
    await sent.carry()
    await anext(decoded)
    sent.sender.write(b"\0\0\0\1\x41" + b"\xff" * 50, trio.current_time())
    await sent.carry()
    with trio.move_on_after(0.2):
        await anext(decoded)
    assert ("request_keyframe", sent.remote) in stage.engine.calls
    sent.sender.keyframe_wanted = True
    await track.write(plain(200, 100, 100))
    await sent.carry()
    with trio.fail_after(5):
        async for picture in decoded:
            if colour(picture)[0] > 190:
                break
    decoded.close()
    with pytest.raises(StopAsyncIteration):
        await anext(decoded)


@CODECS
def test_noise_is_no_picture_and_does_no_harm(codec):
    random = Random(7)
    encoder, decoder = VideoEncoder(codec, 160, 120, 20, None), VideoDecoder(codec)
    good = [encoder.encode(plain(number * 9, 90, 90), number * 4500, number == 0) for number in range(20)]
    for round_ in range(10):
        for number, data in enumerate(good):
            packet = bytearray(data)
            for _ in range(random.randrange(3)):
                packet[random.randrange(len(packet))] ^= 1 << random.randrange(8)
            decoder.decode(bytes(packet[: random.randrange(1, len(packet) + 1)]), (round_ * 20 + number) * 4500)
        decoder.decode(b"", 0)
    assert [len(VideoDecoder(codec).decode(good[0], 0)), len(decoder.decode(good[0], 10**6))] == [1, 1]
