"""Files played into a room through the real server, and recorded again at the other end of it."""

from __future__ import annotations

import pytest
import trio

from tests.driver.mediafiles import HZ, KINDS, Measured, make
from trio_client import LocalProtocolError, TrackKind, TrackSubscribed
from trio_client.media import play_file, record

from .ours import MODES, joined, run

SECONDS = 3
JOURNEYS = [
    ("ogg", "ogg", ["opus"]),
    ("wav", "mp4", ["opus"]),
    ("webm", "webm", ["opus", "vp8"]),
    ("mp4", "mp4", ["opus", "h264"]),
    ("mkv", "webm", ["opus", "vp8"]),
    ("ivf", "webm", ["vp8"]),
    ("h264", "mp4", ["h264"]),
]


async def collect(room, count):
    tracks = []
    async with room.events(TrackSubscribed) as events:
        async for event in events:
            tracks.append(event.track)
            if len(tracks) == count:
                return sorted(tracks, key=lambda track: track.kind.value)
    raise AssertionError


@pytest.mark.parametrize(("kind", "other", "codecs"), JOURNEYS, ids=[f"{a}-{b}" for a, b, _ in JOURNEYS])
def test_a_file_is_played_and_recorded(server, room, tmp_path, kind, other, codecs):
    source = make(tmp_path / f"source.{kind}", SECONDS)
    target = tmp_path / f"target.{other}"
    recorded = []

    async def scenario() -> None:
        async with joined(server, room, "player") as player, joined(server, room, "recorder") as recorder:

            async def take() -> None:
                recorded.extend(await record(await collect(recorder, len(codecs)), target))

            async with trio.open_nursery() as nursery:
                nursery.start_soon(take)
                began = trio.current_time()
                await play_file(player, source)
                took = trio.current_time() - began
            length = SECONDS * (0.8 if kind == "h264" else 1)  # a bare stream is played with 25 pictures a second
            assert length <= took < length + 3
            assert not player.local_participant.track_publications

    run(scenario)
    print(recorded)
    found = Measured(target)
    print(vars(found))
    assert sorted(found.codecs) == sorted(codecs)
    assert len(recorded) == len(codecs)
    for part in recorded:
        assert part.frames > 30
        assert part.lost < 10
        assert 0.5 * SECONDS < part.ended < SECONDS + 2
    if "opus" in codecs:
        # Some of the beginning is gone before the recorder has subscribed; from then on a second is a second.
        assert found.hz == pytest.approx(HZ, rel=0.05)
        assert [b - a for a, b in zip(found.loud[1:], found.loud[2:], strict=False)] == pytest.approx([1.0], abs=0.06)
    if len(codecs) == 2:
        assert abs(found.apart()) < 0.1
    if codecs != ["opus"]:
        assert found.pictures > 30


@MODES
@pytest.mark.parametrize("other", ["native", "browser"])
@pytest.mark.parametrize("kind", ["webm", "mp4"])
def test_another_client_hears_and_sees_a_file(server, room, tmp_path, single, other, kind, request):
    source = make(tmp_path / f"source.{kind}", SECONDS * 3)
    peer = request.getfixturevalue(other)("them")

    async def scenario() -> None:
        async with joined(server, room, "player", single=single) as player:
            player.start_soon(play_file, player, source)
            tracks = {}
            for _ in range(2):
                event = await peer.await_("track_subscribed")
                sid = event["args"][1]["sid"]
                tracks[player.local_participant.track_publications[sid].kind] = sid
            # It sounds for half of each second, and is white meanwhile.
            peak = 0
            with trio.move_on_after(6):
                while peak < 6000:
                    peak = (await peer.acall("measure_sound", sid=tracks[TrackKind.AUDIO]))["peak"]
            assert peak == pytest.approx(12000, rel=0.3)
            red, green, blue = (await peer.acall("measure_colour", sid=tracks[TrackKind.VIDEO]))["rgb"]
            assert red == pytest.approx(green, abs=16)
            assert green == pytest.approx(blue, abs=16)
            assert red > 200 or red < 50

    run(scenario, seconds=60)


@MODES
@pytest.mark.parametrize("other", ["native", "browser"])
def test_another_client_is_recorded(server, room, tmp_path, single, other, request):
    target = tmp_path / "target.webm"
    peer = request.getfixturevalue(other)("them")
    peer.call("publish_tone", hz=HZ, peak=8000)
    peer.call("publish_colour", rgb=[200, 200, 200])

    async def scenario() -> None:
        async with joined(server, room, "recorder", single=single) as recorder:
            tracks = await collect(recorder, 2)
            with trio.move_on_after(4):
                await record(tracks, target)

    run(scenario, seconds=60)
    found = Measured(target)
    print(vars(found))
    assert sorted(found.codecs) == ["opus", "vp8"]
    assert found.hz == pytest.approx(HZ, rel=0.05)
    assert 2 < found.sound < 5
    assert found.pictures > 20
    assert 2 < found.video < 5


def test_what_cannot_pass_is_encoded(server, room, tmp_path):
    """Pictures out of order (B-frames)."""
    source = make(tmp_path / "source.mp4", SECONDS, b_frames=True)
    target = tmp_path / "target.webm"

    async def scenario() -> None:
        async with joined(server, room, "player") as player, joined(server, room, "recorder") as recorder:

            async def take() -> None:
                await record(await collect(recorder, 2), target)

            async with trio.open_nursery() as nursery:
                nursery.start_soon(take)
                await play_file(player, source)

    run(scenario)
    found = Measured(target)
    assert sorted(found.codecs) == ["opus", "vp8"]
    assert abs(found.apart()) < 0.1


def test_one_who_comes_later_gets_a_key_frame(server, room, tmp_path):
    """The file has none but the first."""
    source = make(tmp_path / "source.webm", 4, gop=1000)

    async def scenario() -> None:
        async with joined(server, room, "player") as player:
            player.start_soon(play_file, player, source)
            await trio.sleep(1)
            async with joined(server, room, "watcher") as watcher:
                _, video = await collect(watcher, 2)
                with trio.fail_after(2.5):
                    frame = await anext(video.frames())
                assert frame.keyframe

    run(scenario)


def test_cancelled_both_leave_nothing_behind(server, room, tmp_path):
    source = make(tmp_path / "source.webm", SECONDS)
    target = tmp_path / "target.webm"

    async def scenario() -> None:
        async with joined(server, room, "player") as player, joined(server, room, "recorder") as recorder:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(play_file, player, source)
                tracks = await collect(recorder, 2)
                with trio.move_on_after(1.5):
                    await record(tracks, target)
                for track in tracks:
                    with track.frames() as frames:  # it may be read again
                        await anext(frames)
                nursery.cancel_scope.cancel()
            assert not player.local_participant.track_publications
            await recorder.wait_until(lambda: not recorder.remote_participants["player"].track_publications)

    run(scenario)
    found = Measured(target)
    assert sorted(found.codecs) == ["opus", "vp8"]
    assert 0.5 < found.sound < 2.5


def test_a_kind_of_file_that_does_not_hold_a_track(server, room, tmp_path):
    source = make(tmp_path / "source.ivf", SECONDS)
    target = tmp_path / "target.mp4"

    async def scenario() -> None:
        async with joined(server, room, "player") as player, joined(server, room, "recorder") as recorder:
            player.start_soon(play_file, player, source)
            tracks = await collect(recorder, 1)
            with pytest.raises(LocalProtocolError, match="does not hold vp8"):
                await record(tracks, target)

    run(scenario)
    assert not target.exists()


def test_the_kinds_are_all_tried():
    assert {kind for kind, _, _ in JOURNEYS} == set(KINDS)
