"""Tracks of ours and of others, in an engine whose media is connected."""

from __future__ import annotations

import json

import pytest
from attrs import evolve

from sansio import events, proto
from sansio.base.contract import OpenSignal, OpenUdp, SendSignal
from sansio.base.errors import LocalProtocolError
from sansio.base.limits import LOCAL_TRACKS, PENDING_REQUESTS, SIGNAL_QUEUE
from sansio.peer.media import SendingStarted
from sansio.room.outputs import TrackKeyframeWanted, TrackReadable, TrackStarted
from sansio.room.permissions import ParticipantTrackPermission
from sansio.room.publish import MOST_PENDING, PUBLISH_TIMEOUT
from sansio.room.requests import RequestDone, RequestFailed
from sansio.room.track import RemoteTrack, TrackDescription, VideoLayer
from sansio.rtp.rtcp import PictureLoss, Remb, encode_rtcp
from sansio.rtp.session import KeyframeWanted
from sansio.sdp.media import parse_sdp
from sansio.types import RequestReason, SubscriptionStatus, TrackKind, TrackSource, VideoQuality
from tests.unit.room.build import info, join, track, update
from tests.unit.room.desk import join_request
from tests.unit.room.studio import OPUS_FRAME, Studio

rtc, models = proto.rtc, proto.models
VOICE = TrackDescription(codec="opus", name="voice", source=TrackSource.MICROPHONE)
CAM = TrackDescription(codec="vp8", name="cam", source=TrackSource.CAMERA, width=640, height=360)
VP8_KEY = b"\x10\x00\x00\x9d\x01\x2a\x08\x00\x08\x00" + bytes(3000)
BOB = info(tracks=[track("TR_b", "mic", type=0), track("TR_v", "cam", type=1)])
TRACKS = {"1": ("PA_bob|TR_b", "TR_b", 77)}


def accept(studio, sid="TR_own", **fields):
    """The server takes the newest track that was asked for."""
    request = studio.sent("add_track")[-1]
    fields.setdefault("type", request.type)
    studio.say(
        track_published=rtc.TrackPublishedResponse(
            cid=request.cid, track=models.TrackInfo(sid=sid, name=request.name, source=request.source, **fields)
        )
    )


def published(studio, description=VOICE, sid="TR_own"):
    _, own = studio.engine.publish_track(description, studio.now)
    studio.turn()
    accept(studio, sid)
    studio.negotiate()
    assert own.publication.sid == sid
    return own


def done(studio, token):
    return [output.result for output in studio.events(RequestDone) if output.token == token]


def failed(studio, token):
    return [output.error.reason for output in studio.events(RequestFailed) if output.token == token]


# ------------------------------------------------------------------ publishing


def test_a_track_is_requested_and_offered_at_once_then_sent():
    studio = Studio()
    engine = studio.engine
    token, own = engine.publish_track(VOICE, studio.now)
    assert not engine.write_frame(own, OPUS_FRAME, studio.now)
    studio.turn()
    (request,) = studio.sent("add_track")
    assert (request.name, request.type, request.source, request.muted) == ("voice", 0, 2, False)
    assert [(codec.codec, codec.cid) for codec in request.simulcast_codecs] == [("red", request.cid)]
    offer = parse_sdp(studio.sent("offer")[-1].sdp)
    assert (offer.media[-1].direction, offer.media[-1].msid.track) == ("sendonly", request.cid)
    assert own.stats() is None
    studio.negotiate()
    (started,) = studio.events(TrackStarted)
    assert started.track is own
    accept(studio)
    (publication,) = done(studio, token)
    assert engine.state.local_participant.track_publications == {"TR_own": publication}
    assert (publication.track, own.publication) == (own, publication)
    assert [e.publication for e in studio.events(events.LocalTrackPublished)] == [publication]
    assert engine.write_frame(own, OPUS_FRAME, studio.now)
    studio.turn()
    assert own.stats().packets == 1
    assert studio.peers[0].transport.srtp_receiver.counters.snapshot() == {}
    assert repr(own) == f"<LocalTrack 'voice' {request.cid}>"
    assert own.description.kind is TrackKind.AUDIO


def test_what_a_request_says():
    studio = Studio()
    studio.engine.publish_track(
        TrackDescription(codec="opus", red=False, dtx=False, stereo=True, stream="s", owner="x"), studio.now
    )
    studio.turn()
    request = studio.sent("add_track")[-1]
    assert (request.disable_red, request.disable_dtx, request.stereo, request.stream) == (True, True, True, "s")
    assert list(request.audio_features) == [models.TF_STEREO, models.TF_NO_DTX]
    assert [c.name for c in parse_sdp(studio.sent("offer")[-1].sdp).media[-1].codecs] == ["opus"]
    accept(studio)
    assert studio.engine.state.local_participant.track_publications["TR_own"].track == "x"
    studio.negotiate()
    studio.engine.publish_track(CAM, studio.now)
    studio.turn()
    request = studio.sent("add_track")[-1]
    assert (request.type, request.width, request.height) == (1, 640, 360)
    assert [(layer.quality, layer.width, layer.height) for layer in request.layers] == [(models.HIGH, 640, 360)]


def test_a_refused_track_gives_its_section_back():
    studio = Studio()
    token, own = studio.engine.publish_track(VOICE, studio.now)
    studio.turn()
    refusal = rtc.RequestResponse(reason=rtc.RequestResponse.NOT_ALLOWED, add_track=studio.sent("add_track")[-1])
    studio.say(request_response=refusal)
    assert failed(studio, token) == [RequestReason.NOT_ALLOWED]
    studio.negotiate()
    assert parse_sdp(studio.sent("offer")[-1].sdp).media[-1].direction == "inactive"
    assert not studio.events(TrackStarted)
    accept(studio)  # too late
    assert not studio.engine.state.local_participant.track_publications
    other = published(studio)
    assert other.sending.mid == own.sending.mid  # its section again


def test_a_request_without_an_answer_fails():
    studio = Studio()
    token, _ = studio.engine.publish_track(VOICE, studio.now)
    studio.turn()
    studio.negotiate()
    studio.wait(PUBLISH_TIMEOUT + 0.1)
    assert failed(studio, token) == [RequestReason.TIMED_OUT]
    assert parse_sdp(studio.sent("offer")[-1].sdp).media[-1].direction == "inactive"


def test_many_cancelled_tracks_and_then_one():
    studio = Studio()
    for _ in range(25):
        token, own = studio.engine.publish_track(VOICE, studio.now)
        studio.engine.cancel(token, studio.now)
        studio.engine.cancel(token, studio.now)
        studio.turn()
        studio.negotiate()
    assert not studio.events(TrackStarted)
    own = published(studio)
    assert studio.engine.write_frame(own, OPUS_FRAME, studio.now)
    assert int(own.sending.mid) < 10  # sections are used again


def confirm(studio, request, sid):
    """The server takes a track, and lists it a little later."""
    info = models.TrackInfo(sid=sid, type=request.type)
    studio.say(track_published=rtc.TrackPublishedResponse(cid=request.cid, track=info))
    studio.negotiate()
    own = studio.engine.state.local_participant
    listed = [models.TrackInfo(sid=other) for other in [*own.track_publications, "TR_other"]]
    studio.say(update=update(models.ParticipantInfo(identity="alice", sid="PA_alice", version=1, tracks=listed), BOB))


def test_more_tracks_than_the_server_takes_at_a_time_wait_for_each_other():
    studio = Studio()
    studio.answering = False
    made = [studio.engine.publish_track(VOICE, studio.now) for _ in range(2 * MOST_PENDING + 3)]
    studio.engine.cancel(made[-1][0], studio.now)  # it was not even asked for
    studio.turn()
    assert len(studio.sent("add_track")) == MOST_PENDING
    studio.answering = True
    for number in range(2 * MOST_PENDING + 2):
        confirm(studio, studio.sent("add_track")[number], f"TR_{number}")
        studio.negotiate()
        waiting = [track for _, track in made[:-1] if not track.confirmed]
        assert len(studio.sent("add_track")) - number - 1 <= MOST_PENDING
    assert waiting == []
    assert len(studio.sent("add_track")) == 2 * MOST_PENDING + 2
    assert all(done(studio, token) for token, _ in made[:-1])


def test_tracks_that_wait_are_asked_for_later_when_there_is_no_room_now():
    studio = Studio()
    made = [studio.engine.publish_track(VOICE, studio.now) for _ in range(MOST_PENDING + 1)]
    studio.turn()
    studio.negotiate()
    asked = studio.sent("add_track")
    session = studio.engine._link.session
    send, session.send = session.send, lambda *args: refuse()
    confirm(studio, asked[0], "TR_0")
    assert len(studio.sent("add_track")) == MOST_PENDING
    session.send = send
    confirm(studio, asked[1], "TR_1")
    assert len(studio.sent("add_track")) == MOST_PENDING + 1
    assert made[-1][1].sending is not None


def refuse():
    raise LocalProtocolError("too many requests wait for the signalling link")


@pytest.mark.parametrize("single", [True, False], ids=["single", "dual"])
def test_a_session_begins_with_as_many_tracks_as_the_server_takes_at_a_time(single):
    studio, made = begun(*[VOICE] * (MOST_PENDING + 5), single=single)
    studio.join()
    studio.answering = True
    studio.negotiate()
    asked = [*(join_request(studio.found(OpenSignal)[0].url).add_track_requests if single else ())]
    assert len(asked) + len(studio.sent("add_track")) == MOST_PENDING
    for number in range(MOST_PENDING + 5):
        confirm(studio, [*asked, *studio.sent("add_track")][number], f"TR_{number}")
        studio.negotiate()
    studio.connect()
    assert all(track.started for _, track in made)
    assert all(done(studio, token) for token, _ in made)


def test_misuse_is_refused_before_anything_happens():
    with pytest.raises(LocalProtocolError, match="not as theora"):
        TrackDescription(codec="theora")
    with pytest.raises(LocalProtocolError, match="pixels"):
        TrackDescription(codec="vp8", width=-1)
    early = Studio(connect=False)
    early.start()
    for do in (
        lambda: early.engine.publish_track(VOICE, early.now),
        lambda: early.engine.unpublish_track("TR", early.now),
        lambda: early.engine.set_track_muted("TR", True, early.now),
    ):
        with pytest.raises(LocalProtocolError, match="not connected"):
            do()
    studio = Studio()
    assert studio.engine.state.counters["unknown_track"] == 0
    for do in (
        lambda: studio.engine.unpublish_track("TR", studio.now),
        lambda: studio.engine.set_track_muted("TR", True, studio.now),
    ):
        with pytest.raises(LocalProtocolError, match="no track TR"):
            do()


def test_too_many_tracks_or_requests_are_refused():
    studio = Studio(receive_sections=(0, 0))
    studio.answering = False
    own = [studio.engine.publish_track(VOICE, studio.now)[1] for _ in range(min(PENDING_REQUESTS, LOCAL_TRACKS))]
    with pytest.raises(LocalProtocolError, match="tracks are published"):
        studio.engine.publish_track(VOICE, studio.now)
    assert len(own) == LOCAL_TRACKS


def test_a_full_signal_queue_leaves_no_trace():
    studio = Studio()
    studio.closed()  # the link is away: what is asked for waits
    sections = len(studio.engine._parts.transports.publisher.connection.media.sections)
    for _ in range(SIGNAL_QUEUE):
        studio.engine._link.session.send("mute", rtc.MuteTrackRequest(sid="x"), studio.now)
    with pytest.raises(LocalProtocolError):
        studio.engine.publish_track(VOICE, studio.now)
    media = studio.engine._parts.transports.publisher.connection.media
    assert media.sending == ()
    assert len(media.sections) == sections


def test_too_many_sections_are_refused():
    studio = Studio(receive_sections=(1023, 0))
    with pytest.raises(LocalProtocolError, match="sections"):
        studio.engine.publish_track(VOICE, studio.now)
    assert not studio.sent("add_track")


# ------------------------------------------------------------------ several encodings

LAYERS = (
    VideoLayer(width=160, height=90, bitrate=90_000),
    VideoLayer(width=320, height=180),
    VideoLayer(width=640, height=360, bitrate=500_000),
)
SIMULCAST = TrackDescription(codec="vp8", name="cam", layers=LAYERS)


def mirrored(sdp):
    """An answer that takes every encoding."""
    rids = "".join([f"a=rid:{rid} recv\r\n" for rid in "qhf"])
    return sdp.replace("a=recvonly\r\n", f"a=recvonly\r\n{rids}a=simulcast:recv q;h;f\r\n")


def simulcast(description=SIMULCAST, take=mirrored):
    studio = Studio()
    studio.change = take
    own = published(studio, description, "TR_own")
    return studio, own


def quality(studio, *enabled, codec="vp8", sid="TR_own", **fields):
    """The server tells which qualities are wanted."""
    qualities = [rtc.SubscribedQuality(quality=value, enabled=value in enabled) for value in (0, 1, 2)]
    subscribed = rtc.SubscribedCodec(codec=codec, qualities=qualities)
    studio.say(
        subscribed_quality_update=rtc.SubscribedQualityUpdate(track_sid=sid, subscribed_codecs=[subscribed], **fields)
    )


def test_layers_are_announced_and_sent_one_by_one():
    studio, own = simulcast()
    (request,) = studio.sent("add_track")
    assert (request.width, request.height) == (640, 360)
    assert [(layer.quality, layer.width, layer.height, layer.bitrate, layer.rid) for layer in request.layers] == [
        (models.LOW, 160, 90, 90_000, "q"),
        (models.MEDIUM, 320, 180, 0, "h"),
        (models.HIGH, 640, 360, 500_000, "f"),
    ]
    assert [layer.spatial_layer for layer in request.layers] == [0, 1, 2]
    for layer in (0, 2, 2):
        assert studio.engine.write_frame(own, VP8_KEY, studio.now, layer=layer)
    studio.wait(0.5)
    assert [own.stats(layer).frames for layer in (0, 1, 2)] == [1, 0, 2]
    assert own.stats().frames == 3
    assert own.stats().bytes == sum([own.stats(layer).bytes for layer in (0, 1, 2)])
    assert len(own.senders) == 3


def test_layers_that_nobody_wants_are_paused():
    studio, own = simulcast()
    assert [own.paused(layer) for layer in (0, 1, 2)] == [False] * 3
    quality(studio, 0)
    (event,) = studio.events(events.LocalTrackLayersChanged)
    assert (event.publication, event.wanted) == (own.publication, (True, False, False))
    assert own.publication.layers_wanted == (True, False, False)
    assert [own.paused(layer) for layer in (0, 1, 2)] == [False, True, True]
    assert not studio.engine.write_frame(own, VP8_KEY, studio.now, layer=1)
    assert studio.engine.write_frame(own, VP8_KEY, studio.now)
    quality(studio, 0)
    quality(studio, 0, 1, 2)
    assert [e.wanted for e in studio.events(events.LocalTrackLayersChanged)] == [(True, False, False), (True,) * 3]
    assert own.sender(2).keyframe_wanted
    assert not studio.engine.write_frame(own, VP8_KEY.replace(b"\x10", b"\x11", 1), studio.now, layer=2)
    assert studio.engine.write_frame(own, VP8_KEY, studio.now, layer=2)
    studio.engine.set_track_muted("TR_own", True, studio.now)
    assert [own.paused(layer) for layer in (0, 1, 2)] == [True] * 3
    quality(studio)
    studio.engine.set_track_muted("TR_own", False, studio.now)
    assert [own.paused(layer) for layer in (0, 1, 2)] == [True] * 3


def test_a_new_session_wants_every_layer_until_its_server_says_otherwise():
    studio, own = simulcast()
    quality(studio, 0)
    studio.say(leave=rtc.LeaveRequest(action=rtc.LeaveRequest.RECONNECT, reason=models.STATE_MISMATCH))
    studio.wait(1)
    studio.begin()
    studio.join()
    studio.connect()
    info = models.TrackInfo(sid="TR_new", type=1)
    studio.say(track_published=rtc.TrackPublishedResponse(cid=own.cid, track=info))
    assert own.publication.layers_wanted == ()
    assert [own.paused(layer) for layer in (0, 1, 2)] == [False] * 3
    quality(studio, 0, sid="TR_new")
    assert len(studio.events(events.LocalTrackLayersChanged)) == 2
    assert [own.paused(layer) for layer in (0, 1, 2)] == [False, True, True]


def test_what_is_said_of_other_codecs_and_tracks_is_passed_over():
    studio, own = simulcast()
    voice = published(studio, VOICE, "TR_voice")
    quality(studio, codec="av1")
    quality(studio, sid="TR_none")
    quality(studio, sid="TR_voice")
    assert not studio.events(events.LocalTrackLayersChanged)
    assert studio.engine.state.counters["unknown_track"] == 2
    old = [rtc.SubscribedQuality(quality=0, enabled=True), rtc.SubscribedQuality(quality=2)]
    studio.say(subscribed_quality_update=rtc.SubscribedQualityUpdate(track_sid="TR_own", subscribed_qualities=old))
    assert own.wanted == (True, False, False)
    assert voice.wanted == (True,)


@pytest.mark.parametrize(
    ("layers", "enabled", "wanted"),
    [(2, [0], (True, False)), (2, [0, 1], (True, True)), (2, [2], (False, True)), (0, [0], (True,)), (1, [], (False,))],
)
def test_fewer_layers_than_qualities(layers, enabled, wanted):
    studio, own = simulcast(TrackDescription(codec="vp8", width=9, height=9, layers=LAYERS[:layers]))
    (request,) = studio.sent("add_track")
    assert [layer.quality for layer in request.layers] == ([0, 1] if layers == 2 else [2])
    assert [layer.rid for layer in request.layers] == (["q", "h"] if layers == 2 else [""])
    assert (request.width, request.height) == (9, 9)
    quality(studio, *enabled)
    assert own.wanted == wanted


def test_without_dynacast_nothing_is_paused():
    studio, own = simulcast(TrackDescription(codec="vp8", layers=LAYERS, dynacast=False))
    quality(studio)
    assert own.publication.layers_wanted == (False,) * 3
    assert studio.engine.write_frame(own, VP8_KEY, studio.now, layer=2)


def test_a_server_without_simulcast_gets_the_largest_layer():
    studio, own = simulcast(take=str)
    assert [own.paused(layer) for layer in (0, 1, 2)] == [True, True, False]
    assert not studio.engine.write_frame(own, VP8_KEY, studio.now, layer=0)
    assert studio.engine.write_frame(own, VP8_KEY, studio.now, layer=2)
    assert own.stats(0) is None
    studio.wait(0.5)
    assert own.stats().frames == own.stats(2).frames == 1


def test_a_key_frame_is_wanted_of_one_layer():
    studio, own = simulcast()
    packet = encode_rtcp([PictureLoss(1, own.sender(1).ssrc)])
    studio.engine._parts.transports.publisher.connection.transport.rtp.receive_rtcp(packet, studio.now)
    studio.engine._parts.transports.touch_media()
    studio.turn()
    assert [(e.track, e.layer) for e in studio.events(TrackKeyframeWanted)] == [(own, 1)]


def test_layers_that_cannot_be():
    for make in (
        lambda: VideoLayer(width=0, height=1),
        lambda: VideoLayer(width=1, height=65536),
        lambda: VideoLayer(width=1, height=1, bitrate=-1),
        lambda: TrackDescription(codec="vp8", layers=LAYERS + LAYERS[:1]),
        lambda: TrackDescription(codec="opus", layers=LAYERS),
    ):
        with pytest.raises(LocalProtocolError):
            make()


# ------------------------------------------------------------------ as a session begins


def begun(*descriptions, **options):
    """A studio whose engine has been given tracks before it was started, and has sent its join request."""
    studio = Studio(connect=False, **options)
    studio.answering = False
    made = [studio.engine.publish_track(description, studio.now) for description in descriptions]
    studio.start()
    return studio, made


@pytest.mark.parametrize("single", [True, False], ids=["single", "dual"])
def test_tracks_given_before_the_start_are_part_of_the_join(single):
    studio, ((first, voice), (second, cam)) = begun(VOICE, CAM, single=single)
    if single:
        request = join_request(studio.found(OpenSignal)[0].url)
        asked, offer = list(request.add_track_requests), request.publisher_offer
        studio.join()
        assert studio.sent("add_track") == []
    else:
        studio.join()
        asked, (offer,) = studio.sent("add_track"), studio.sent("offer")
        order = [kind for kind in studio.sent() if kind in ("add_track", "offer")]
        assert order == ["add_track", "add_track", "offer"]
    assert [(request.cid, request.name) for request in asked] == [(voice.cid, "voice"), (cam.cid, "cam")]
    sending = [media for media in parse_sdp(offer.sdp).media if media.direction == "sendonly"]
    assert [(media.kind, media.msid.track) for media in sending] == [("audio", voice.cid), ("video", cam.cid)]
    for request, sid in zip(asked, ("TR_1", "TR_2"), strict=True):
        info = models.TrackInfo(sid=sid, type=request.type)
        studio.say(track_published=rtc.TrackPublishedResponse(cid=request.cid, track=info))
    studio.answering = True
    studio.negotiate()
    studio.connect()
    assert done(studio, first) == [voice.publication]
    assert done(studio, second) == [cam.publication]
    assert [started.track for started in studio.events(TrackStarted)] == [voice, cam]
    assert studio.engine.write_frame(voice, OPUS_FRAME, studio.now)
    assert len(studio.sent("offer")) == (0 if single else 1)


def test_tracks_that_make_the_request_too_long_follow_the_join():
    long = TrackDescription(codec="opus", name="".join([chr(0x4E00 + n * 37 % 20000) for n in range(3000)]))
    studio, ((_, own),) = begun(long)
    request = join_request(studio.found(OpenSignal)[0].url)
    assert not request.HasField("publisher_offer")
    assert not request.add_track_requests
    studio.join()
    assert [kind for kind in studio.sent() if kind in ("add_track", "offer")] == ["add_track", "offer"]
    assert parse_sdp(studio.sent("offer")[0].sdp).media[1].msid.track == own.cid


@pytest.mark.parametrize(("tracks", "receiving"), [(0, 6), (1, 4), (2, 2), (5, 2)])
def test_the_first_offer_is_kept_short(tracks, receiving):
    studio, _ = begun(*[VOICE] * tracks)
    offer = parse_sdp(join_request(studio.found(OpenSignal)[0].url).publisher_offer.sdp)
    assert [media.direction for media in offer.media[1:]].count("recvonly") == receiving
    assert [media.direction for media in offer.media[1:]].count("sendonly") == tracks


def test_a_track_given_before_the_start_may_be_refused_or_given_up():
    studio, ((first, own), (second, _)) = begun(VOICE, VOICE)
    asked = join_request(studio.found(OpenSignal)[0].url).add_track_requests
    studio.engine.cancel(second, studio.now)
    studio.join()
    refusal = rtc.RequestResponse(reason=rtc.RequestResponse.NOT_ALLOWED, add_track=asked[0])
    studio.say(request_response=refusal)
    assert failed(studio, first) == [RequestReason.NOT_ALLOWED]
    studio.answering = True
    studio.negotiate()
    last = parse_sdp(studio.sent("offer")[-1].sdp)
    assert [media.direction for media in last.media[1:3]] == ["inactive", "inactive"]
    assert [started.track for started in studio.events(TrackStarted)] == [own]
    assert not studio.engine.write_frame(own, OPUS_FRAME, studio.now)
    unborn = Studio(connect=False)
    token, _ = unborn.engine.publish_track(VOICE, unborn.now)
    unborn.engine.cancel(token, unborn.now)
    unborn.start()
    assert not join_request(unborn.found(OpenSignal)[0].url).add_track_requests
    greedy = Studio(connect=False)
    for _ in range(LOCAL_TRACKS):
        greedy.engine.publish_track(VOICE, greedy.now)
    with pytest.raises(LocalProtocolError, match="tracks are published"):
        greedy.engine.publish_track(VOICE, greedy.now)
    stopped = Studio(connect=False)
    stopped.engine.stop(stopped.now)
    with pytest.raises(LocalProtocolError, match="not connected"):
        stopped.engine.publish_track(VOICE, stopped.now)


def test_the_server_may_be_older_than_single_connections():
    studio, ((_, own),) = begun(VOICE)
    parts = studio.engine._parts
    parts.options = evolve(parts.options, single_peer_connection=None)
    studio.failed("http", 404, "404 page not found")
    studio.single = False
    studio.begin()
    studio.join()
    (request,) = studio.sent("add_track")
    assert request.cid == own.cid
    assert parse_sdp(studio.sent("offer")[0].sdp).media[-1].msid.track == own.cid


def test_a_track_asked_for_while_a_session_begins_anew_is_part_of_it():
    studio = Studio()
    studio.ports = False
    studio.say(leave=rtc.LeaveRequest(action=rtc.LeaveRequest.RECONNECT, reason=models.STATE_MISMATCH))
    studio.wait(1)
    _, own = studio.engine.publish_track(VOICE, studio.now)
    for opening in [output for output in studio.found(OpenUdp) if output.port > 1]:
        studio.engine.port_opened(opening.port, (opening.host, 40000 + opening.port), studio.now)
    studio.turn()
    (request,) = join_request(studio.found(OpenSignal)[-1].url).add_track_requests
    assert request.cid == own.cid


# ------------------------------------------------------------------ muting and ending


def test_muting_tells_the_server_and_stops_the_frames():
    studio = Studio()
    own = published(studio)
    studio.engine.set_track_muted("TR_own", True, studio.now)
    studio.engine.set_track_muted("TR_own", True, studio.now)
    studio.turn()
    assert [(m.sid, m.muted) for m in studio.sent("mute")] == [("TR_own", True)] * 2
    assert (own.muted, own.publication.muted) == (True, True)
    assert len(studio.events(events.TrackMuted)) == 1
    assert not studio.engine.write_frame(own, OPUS_FRAME, studio.now)
    studio.engine.set_track_muted("TR_own", False, studio.now)
    assert studio.engine.write_frame(own, OPUS_FRAME, studio.now)
    # the server mutes it
    studio.say(mute=rtc.MuteTrackRequest(sid="TR_own", muted=True))
    assert not studio.engine.write_frame(own, OPUS_FRAME, studio.now)
    studio.say(mute=rtc.MuteTrackRequest(sid="TR_unknown", muted=True))


def test_a_track_that_is_published_muted_or_muted_before_it_is_sent():
    studio = Studio()
    _, own = studio.engine.publish_track(TrackDescription(codec="opus", muted=True), studio.now)
    assert own.muted
    studio.turn()
    accept(studio, muted=True)
    studio.engine.set_track_muted("TR_own", True, studio.now)  # not negotiated yet
    studio.negotiate()
    assert own.sender().paused
    assert not studio.engine.write_frame(own, OPUS_FRAME, studio.now)


def test_unpublishing_ends_it():
    studio = Studio()
    own = published(studio)
    sender = own.sender()
    studio.engine.unpublish_track("TR_own", studio.now)
    assert not studio.engine.state.local_participant.track_publications
    assert [e.publication.sid for e in studio.events(events.LocalTrackUnpublished)] == []
    studio.turn()
    assert [e.publication.sid for e in studio.events(events.LocalTrackUnpublished)] == ["TR_own"]
    assert sender.closed
    studio.negotiate()
    assert parse_sdp(studio.sent("offer")[-1].sdp).media[-1].direction == "inactive"


def test_the_server_unpublishes():
    studio = Studio()
    own = published(studio)
    sender = own.sender()
    studio.say(track_unpublished=rtc.TrackUnpublishedResponse(track_sid="TR_own"))
    assert sender.closed
    assert len(studio.events(events.LocalTrackUnpublished)) == 1
    studio.say(track_unpublished=rtc.TrackUnpublishedResponse(track_sid="TR_own"))
    assert len(studio.events(events.LocalTrackUnpublished)) == 1


def test_a_key_frame_is_asked_for():
    studio = Studio()
    own = published(studio, CAM)
    assert studio.engine.write_frame(own, VP8_KEY, studio.now)
    studio.turn(0.5)
    for ssrc in (own.sender().ssrc, own.sender().ssrc):
        studio.peers[0].transport.rtp.rtcp.append(encode_rtcp([PictureLoss(1, ssrc)]))
        studio.peers[0].transport.touch_media()
        studio.turn()
    (wanted,) = studio.events(TrackKeyframeWanted)
    assert wanted.track is own
    assert studio.engine._publisher.sending(object()) is None


# ------------------------------------------------------------------ subscribing


def subscribed(single=True, **options):
    """A studio in which TR_b of bob comes."""
    studio = Studio(connect=False, single=single, **options)
    if single:
        studio.tracks = TRACKS
    studio.join(BOB)
    if not single:
        studio.peers[1].media.add_sending("opus", "TR_b", "PA_bob|TR_b")
        studio.offer_subscriber()
    studio.connect()
    kinds = [type(event) for event in studio.events(events.Connected, events.TrackSubscribed)]
    assert kinds == [events.Connected, events.TrackSubscribed]
    (event,) = studio.events(events.TrackSubscribed)
    return studio, event.track


@pytest.mark.parametrize("single", [True, False], ids=["single", "dual"])
def test_a_track_comes_and_is_read(single):
    studio, got = subscribed(single)
    assert isinstance(got, RemoteTrack)
    bob = studio.engine.state.remote_participants["bob"]
    publication = bob.track_publications["TR_b"]
    assert (publication.track, publication.subscribed) == (got, True)
    assert (got.sid, got.name, got.kind, got.muted) == ("TR_b", "mic", TrackKind.AUDIO, False)
    assert repr(got) == "<RemoteTrack 'mic' TR_b>"
    (event,) = studio.events(events.TrackSubscribed)
    assert (event.publication, event.participant) == (publication, bob)
    index = 0 if single else 1
    source = 77 if single else studio.peers[1].media.sending[0].streams[0][0]
    studio.send(source, peer=index)
    assert got.read() is None  # nobody reads
    studio.engine.enable_track(got, True, studio.now)
    studio.turn()
    studio.send(source, b"\xf8\xff\xfd", peer=index)
    assert [e.track for e in studio.events(TrackReadable)] == [got]
    assert got.read().data == b"\xf8\xff\xfd"
    assert got.stats().packets
    studio.engine.enable_track(got, False, studio.now)


def test_a_released_section_ends_the_track_and_the_next_begins_another():
    studio, got = subscribed()
    studio.tracks = {}
    studio.say(media_sections_requirement=rtc.MediaSectionsRequirement())
    studio.negotiate()
    (gone,) = studio.events(events.TrackUnsubscribed)
    assert (gone.track, got.ended, got.receiver.ended) == (got, "unsubscribed", "unsubscribed")
    assert (gone.publication.track, gone.publication.subscribed) == (None, False)
    studio.tracks = {"1": ("PA_bob|TR_b", "TR_b", 78)}
    studio.say(media_sections_requirement=rtc.MediaSectionsRequirement())
    studio.negotiate()
    again = studio.events(events.TrackSubscribed)[-1].track
    assert again is not got
    assert again.receiver.ssrc == 78
    studio.engine.stop(studio.now)
    studio.wait(2)
    assert again.ended == "disconnected"


def test_media_may_come_before_the_news_of_it_and_go_after():
    studio = Studio()
    studio.tracks = {"1": ("PA_new|TR_n", "TR_n", 5), "2": ("PA_none|TR_x", "TR_x", 6)}
    studio.say(media_sections_requirement=rtc.MediaSectionsRequirement())
    studio.negotiate()
    assert not studio.events(events.TrackSubscribed)
    studio.say(update=update(info("new", "PA_new", tracks=[track("TR_n")])))
    (event,) = studio.events(events.TrackSubscribed)
    studio.say(update=update(info("new", "PA_new", version=2)))
    assert event.track.ended == "unpublished"
    names = [type(o).__name__ for o in studio.events(events.TrackUnsubscribed, events.TrackUnpublished)]
    assert names == ["TrackUnsubscribed", "TrackUnpublished"]
    studio.tracks = {}
    studio.say(media_sections_requirement=rtc.MediaSectionsRequirement())
    studio.negotiate()
    assert len(studio.events(events.TrackUnsubscribed)) == 1
    studio.say(update=update(info("none", "PA_none", tracks=[track("TR_x")])))
    assert len(studio.events(events.TrackSubscribed)) == 1
    studio.say(room_moved=rtc.RoomMovedResponse(room=models.Room(name="hall")))


def test_a_track_in_two_sections_is_one_track():
    studio, got = subscribed()
    studio.tracks = {**TRACKS, "2": ("PA_bob|TR_b", "TR_b", 78)}
    studio.say(media_sections_requirement=rtc.MediaSectionsRequirement())
    studio.negotiate()
    assert len(studio.events(events.TrackSubscribed)) == 1
    studio.tracks = {"2": ("PA_bob|TR_b", "TR_b", 78)}
    studio.say(media_sections_requirement=rtc.MediaSectionsRequirement())
    studio.negotiate()
    assert got.ended == "unsubscribed"
    studio.say(update=update(info(version=3, tracks=[track("TR_b", type=0)])))
    assert studio.events(events.TrackSubscribed)[-1].track.receiver.ssrc == 78


@pytest.mark.parametrize(
    ("sections", "tracks", "auto", "offers"),
    [
        ((3, 3), {"1": ("PA_bob|TR_b", "TR_b", 7), "4": ("PA_bob|TR_v", "TR_v", 8)}, True, []),
        ((3, 3), {}, True, [7]),  # the answer was too early: once more, at once
        ((0, 0), {}, True, [3]),  # with the sections that are needed
        ((1, 0), {"1": ("PA_bob|TR_b", "TR_b", 7)}, True, [3]),
        ((3, 3), {}, False, []),
    ],
)
def test_tracks_that_the_first_answer_does_not_tell_are_asked_for_at_once(sections, tracks, auto, offers):
    studio = Studio(connect=False, receive_sections=sections, auto_subscribe=auto)
    studio.tracks, studio.answering = tracks, False
    studio.join(BOB)
    assert [len(parse_sdp(offer.sdp).media) for offer in studio.sent("offer")] == offers


def test_the_first_offer_has_room_for_tracks():
    studio = Studio(connect=False)
    studio.start()
    offer = parse_sdp(join_request(studio.found(OpenSignal)[0].url).publisher_offer.sdp)
    assert [media.kind for media in offer.media] == ["application", *["audio"] * 3, *["video"] * 3]


def test_what_the_user_wants_goes_to_the_server():
    studio, got = subscribed()
    publication = got.publication
    studio.engine.set_subscribed(publication, False, studio.now)
    studio.engine.set_track_settings(publication, studio.now, enabled=False, width=320, height=180, fps=10)
    studio.engine.set_track_settings(publication, studio.now, quality=VideoQuality.LOW)
    studio.turn()
    (request,) = studio.sent("subscription")
    assert (list(request.track_sids), request.subscribe) == (["TR_b"], False)
    assert [(p.participant_sid, list(p.track_sids)) for p in request.participant_tracks] == [("PA_bob", ["TR_b"])]
    first, second = studio.sent("track_setting")
    assert (first.disabled, first.quality, first.width, first.height, first.fps) == (True, 2, 320, 180, 10)
    assert (second.disabled, second.quality, second.width) == (False, 0, 0)
    with pytest.raises(LocalProtocolError, match="65535"):
        studio.engine.set_track_settings(publication, studio.now, fps=-1)


def test_where_a_subscription_stands_is_told():
    studio = Studio(auto_subscribe=False)
    studio.say(update=update(BOB))
    publication = studio.engine.state.remote_publication("PA_bob", "TR_b")
    assert publication.subscription_status is SubscriptionStatus.UNSUBSCRIBED
    studio.engine.set_subscribed(publication, True, studio.now)
    studio.engine.set_subscribed(publication, True, studio.now)
    studio.tracks = TRACKS
    studio.say(media_sections_requirement=rtc.MediaSectionsRequirement())
    studio.negotiate()
    assert publication.subscription_status is SubscriptionStatus.SUBSCRIBED
    studio.engine.set_subscribed(publication, False, studio.now)
    studio.tracks = {}
    studio.say(media_sections_requirement=rtc.MediaSectionsRequirement())
    studio.negotiate()
    told = studio.events(events.TrackSubscriptionStatusChanged)
    assert [event.status.value for event in told] == ["desired", "subscribed", "unsubscribed"]
    assert {event.publication for event in told} == {publication}
    other, _ = subscribed()
    other.tracks = {}
    other.say(media_sections_requirement=rtc.MediaSectionsRequirement())
    other.negotiate()
    assert other.events(events.TrackSubscriptionStatusChanged)[-1].status is SubscriptionStatus.DESIRED


def test_what_the_user_has_chosen_is_said_again():
    studio, _ = subscribed()
    mic, cam = [studio.engine.state.remote_publication("PA_bob", sid) for sid in ("TR_b", "TR_v")]
    studio.engine.set_subscribed(mic, False, studio.now)
    studio.engine.set_track_settings(cam, studio.now, quality=VideoQuality.LOW, fps=5)
    studio.turn()

    def chosen(since=0):
        asked, settings = [], []
        for kind, request in all_sent(studio)[since:]:
            if kind == "subscription":
                said = request.subscription
                asked.append((list(said.track_sids), said.subscribe, said.participant_tracks[0].participant_sid))
            elif kind == "track_setting":
                settings.append((list(request.track_setting.track_sids), request.track_setting.quality))
        return asked, settings

    assert chosen() == ([(["TR_b"], False, "PA_bob")], [(["TR_v"], 0)])
    before = len(studio.sent())
    studio.closed()
    studio.wait(1)
    studio.opened()
    studio.say(reconnect=rtc.ReconnectResponse())
    studio.say(update=update(BOB))
    studio.wait(1)
    assert chosen(before) == ([], [(["TR_v"], 0)])  # the rest is in what the server is told of our state
    before = len(studio.sent())
    studio.say(leave=rtc.LeaveRequest(action=rtc.LeaveRequest.RECONNECT, reason=models.STATE_MISMATCH))
    studio.wait(1)
    studio.begin()
    studio.tracks = {}
    studio.join(BOB)
    studio.connect()
    assert chosen(before) == ([(["TR_b"], False, "PA_bob")], [(["TR_v"], 0)])
    studio.say(update=update(info(version=9)))
    before = len(studio.sent())
    studio.say(leave=rtc.LeaveRequest(action=rtc.LeaveRequest.RECONNECT, reason=models.STATE_MISMATCH))
    studio.wait(1)
    studio.begin()
    studio.join(BOB)
    studio.connect()
    assert chosen(before) == ([], [])  # other tracks, even if they had the same sids


def test_a_track_that_comes_unasked_is_refused_again():
    studio, got = subscribed()
    studio.engine.set_subscribed(got.publication, False, studio.now)
    studio.tracks = {}
    studio.say(media_sections_requirement=rtc.MediaSectionsRequirement())
    studio.negotiate()
    assert len(studio.sent("subscription")) == 1
    studio.tracks = TRACKS
    studio.say(media_sections_requirement=rtc.MediaSectionsRequirement())
    studio.negotiate()
    studio.turn()
    assert [request.subscribe for request in studio.sent("subscription")] == [False, False]


def all_sent(studio):
    requests = [rtc.SignalRequest.FromString(output.data) for output in studio.found(SendSignal)]
    return [(request.WhichOneof("message"), request) for request in requests]


def test_a_key_frame_can_be_asked_for():
    studio = Studio()
    studio.say(update=update(BOB))
    studio.tracks = {"1": ("PA_bob|TR_b", "TR_b", 77), "4": ("PA_bob|TR_v", "TR_v", 88)}
    studio.say(media_sections_requirement=rtc.MediaSectionsRequirement())
    studio.negotiate()
    sound, picture = [event.track for event in studio.events(events.TrackSubscribed)]
    studio.engine.enable_track(picture, True, studio.now)
    studio.engine.request_keyframe(sound, studio.now)
    studio.engine.request_keyframe(picture, studio.now)
    studio.turn()
    assert picture.stats().keyframe_requests == 1


def test_what_flowed_is_counted():
    studio, got = subscribed()
    own = published(studio, CAM)
    studio.engine.enable_track(got, True, studio.now)
    studio.engine.write_frame(own, VP8_KEY, studio.now)
    studio.send(77)
    studio.engine._parts.transports.publisher.connection.transport.rtp.receive_rtcp(
        encode_rtcp([Remb(1, 250_000, (own.senders[0].ssrc,))]), studio.now
    )
    (layers,) = studio.engine.sent_stats().values()
    assert [layer.codec for layer in layers] == ["vp8"]
    received = studio.engine.received_stats()
    assert (list(received), received["TR_b"].codec, received["TR_b"].frames) == (["TR_b"], "opus", 1)
    (link,) = studio.engine.link_stats()
    assert (link.target, link.estimate, link.missing) == ("publisher", 250_000, 0)
    told = json.loads(json.dumps(studio.engine.diagnostics()))
    assert told["sent"]["TR_own"][0]["frames"] == 1
    assert told["received"]["TR_b"]["packets"] == 1
    assert told["transports"]["peers"][0]["estimate"] == 250_000
    assert told["transports"]["peers"][0]["srtp"] == {}
    studio.engine.unpublish_track("TR_own", studio.now)
    assert studio.engine.sent_stats() == {}
    dual = Studio(single=False)
    assert [link.target for link in dual.engine.link_stats()] == ["publisher", "subscriber"]


# ------------------------------------------------------------------ who may have our tracks


def permissions(studio):
    return [
        (
            said.all_participants,
            [(p.participant_identity, p.all_tracks, list(p.track_sids)) for p in said.track_permissions],
        )
        for said in studio.sent("subscription_permission")
    ]


def test_who_may_subscribe_is_told_again_to_a_server_that_has_forgotten():
    studio = Studio()
    own = published(studio)
    rules = [ParticipantTrackPermission("bob", allowed_track_sids=["TR_own"]), ParticipantTrackPermission("eve", True)]
    studio.engine.set_track_permissions(False, rules, studio.now)
    studio.turn()
    said = (False, [("bob", False, ["TR_own"]), ("eve", True, [])])
    assert permissions(studio) == [said]
    studio.closed()
    studio.wait(1)
    studio.opened()
    studio.say(reconnect=rtc.ReconnectResponse())
    studio.say(update=update(BOB))
    studio.wait(1)
    assert permissions(studio) == [said] * 2
    studio.say(leave=rtc.LeaveRequest(action=rtc.LeaveRequest.RECONNECT, reason=models.STATE_MISMATCH))
    studio.wait(1)
    studio.begin()
    request = join_request(studio.found(OpenSignal)[-1].url)
    assert not request.HasField("publisher_offer")  # the server has to know who may have the tracks before the tracks
    assert not request.add_track_requests
    before = len(studio.sent())
    studio.join()
    order = [kind for kind in studio.sent()[before:] if kind in ("subscription_permission", "add_track", "offer")]
    assert order == ["subscription_permission", "add_track", "offer"]
    studio.connect()
    accept(studio, "TR_new")
    assert permissions(studio)[2:] == [said, (False, [("bob", False, ["TR_new"]), ("eve", True, [])])]
    (event,) = studio.events(events.LocalTrackRepublished)
    assert (event.publication, event.previous_sid, event.publication.sid) == (own.publication, "TR_own", "TR_new")


def test_what_everybody_may_have_need_not_be_told():
    studio = Studio()
    studio.engine.set_track_permissions(True, [ParticipantTrackPermission("bob", True)], studio.now)
    studio.turn()
    studio.closed()
    studio.wait(1)
    studio.opened()
    studio.say(reconnect=rtc.ReconnectResponse())
    studio.wait(1)
    assert permissions(studio) == [(True, [("bob", True, [])])]


def test_permissions_that_cannot_be():
    studio = Studio()
    for permission in (ParticipantTrackPermission(""), ParticipantTrackPermission("bob", allowed_track_sids=[5])):
        with pytest.raises(LocalProtocolError):
            studio.engine.set_track_permissions(False, [permission], studio.now)
    studio.turn()
    assert permissions(studio) == []
    early = Studio(connect=False)
    with pytest.raises(LocalProtocolError, match="not connected"):
        early.engine.set_track_permissions(True, [], early.now)


def test_the_server_may_be_let_pause_videos():
    for allow in (False, True):
        studio = Studio(connect=False, allow_pause=allow)
        studio.start()
        settings = join_request(studio.found(OpenSignal)[0].url).connection_settings
        assert settings.subscriber_allow_pause is allow
        assert settings.HasField("subscriber_allow_pause")


# ------------------------------------------------------------------ reconnecting


def test_a_resume_tells_what_is_published_and_what_was_chosen():
    studio, got = subscribed()
    own = published(studio)
    studio.engine.set_subscribed(got.publication, False, studio.now)
    studio.turn()
    studio.closed()
    studio.wait(1)
    studio.opened()
    studio.say(reconnect=rtc.ReconnectResponse())
    studio.say(update=update(BOB))
    (state,) = studio.sent("sync_state")
    assert [(p.cid, p.track.sid) for p in state.publish_tracks] == [(own.cid, "TR_own")]
    assert (list(state.subscription.track_sids), state.subscription.subscribe) == (["TR_b"], False)
    studio.wait(1)
    assert got.ended == ""
    assert studio.engine.write_frame(own, OPUS_FRAME, studio.now)


@pytest.mark.parametrize("publishing", [True, False])
def test_a_restart_publishes_anew_and_begins_the_tracks_of_others_again(publishing):
    studio, got = subscribed()
    if publishing:
        own = published(studio)
        publication, old_cid = own.publication, own.cid
        token, _ = studio.engine.publish_track(CAM, studio.now)
        studio.turn()
        studio.negotiate()
    studio.say(leave=rtc.LeaveRequest(action=rtc.LeaveRequest.RECONNECT, reason=models.STATE_MISMATCH))
    studio.wait(1)
    assert got.ended == "reconnecting"
    studio.begin()
    if publishing:
        studio.tracks = {"2": TRACKS["1"]}  # the first section is for our own track
        assert failed(studio, token) == [RequestReason.ROOM_ENDED]
        assert not studio.engine.write_frame(own, OPUS_FRAME, studio.now)
    studio.join(BOB)
    studio.connect()
    assert studio.events(events.Reconnected)
    again = studio.events(events.TrackSubscribed)[-1].track
    assert again is not got
    if publishing:
        (again_asked,) = join_request(studio.found(OpenSignal)[-1].url).add_track_requests
        assert again_asked.cid == own.cid != old_cid
        info = models.TrackInfo(sid="TR_new", name="voice")
        studio.say(track_published=rtc.TrackPublishedResponse(cid=own.cid, track=info))
        assert own.publication is publication
        assert publication.sid == "TR_new"
        assert studio.engine.state.local_participant.track_publications == {"TR_new": publication}
        assert len(studio.events(events.LocalTrackPublished)) == 1
        assert studio.engine.write_frame(own, OPUS_FRAME, studio.now)


def test_a_track_that_the_new_session_refuses_is_ended():
    studio = Studio()
    own, other = published(studio), published(studio, sid="TR_2")
    studio.say(leave=rtc.LeaveRequest(action=rtc.LeaveRequest.RECONNECT, reason=models.STATE_MISMATCH))
    studio.wait(1)
    studio.begin()
    studio.join()
    studio.connect()
    first, second = join_request(studio.found(OpenSignal)[-1].url).add_track_requests
    queued = rtc.RequestResponse(reason=rtc.RequestResponse.QUEUED, add_track=second)
    studio.say(request_response=queued)
    for _ in range(2):
        refused = rtc.RequestResponse(reason=rtc.RequestResponse.NOT_ALLOWED, add_track=first)
        studio.say(request_response=refused)
    assert [e.publication for e in studio.events(events.LocalTrackUnpublished)] == [own.publication]
    assert studio.engine.write_frame(other, OPUS_FRAME, studio.now)
    assert not studio.engine.write_frame(own, OPUS_FRAME, studio.now)


@pytest.mark.parametrize("early", [True, False])
def test_a_track_may_be_ended_while_the_session_starts_anew(early):
    studio, _ = subscribed()
    own = published(studio)
    studio.ports = not early
    studio.say(leave=rtc.LeaveRequest(action=rtc.LeaveRequest.RECONNECT, reason=models.STATE_MISMATCH))
    studio.wait(1)
    studio.engine.unpublish_track("TR_own", studio.now)
    for opening in studio.found(OpenUdp)[1:] if early else ():
        studio.engine.port_opened(opening.port, (opening.host, 40000 + opening.port), studio.now)
    studio.turn()
    studio.begin()
    studio.join(BOB)
    studio.connect()
    asked = join_request(studio.found(OpenSignal)[-1].url).add_track_requests
    assert len(asked) == (0 if early else 1)
    studio.negotiate()
    if not early:  # it was asked for already: it is completed, and then ended
        assert parse_sdp(studio.sent("offer")[-1].sdp).media[1].direction == "inactive"
    assert not studio.engine.write_frame(own, OPUS_FRAME, studio.now)


def test_after_the_end_nothing_is_sent():
    studio = Studio()
    own = published(studio)
    token, _ = studio.engine.publish_track(CAM, studio.now)
    studio.engine.stop(studio.now)
    studio.wait(2)
    assert studio.ended is not None
    assert failed(studio, token) == [RequestReason.ROOM_ENDED]
    studio.engine.cancel(token, studio.now)
    assert not studio.engine.write_frame(own, OPUS_FRAME, studio.now)


def test_a_track_that_ends_as_it_is_negotiated_is_not_told_of():
    studio = Studio()
    own = published(studio)
    sending = own.sending
    studio.engine.unpublish_track("TR_own", studio.now)
    studio.engine._parts.transports.outbox.append(SendingStarted(sending))
    studio.engine._parts.transports.outbox.append(KeyframeWanted(own.sender()))
    studio.turn()
    assert len(studio.events(TrackStarted)) == 1
    assert not studio.events(TrackKeyframeWanted)


def test_a_track_published_before_the_answer_is_offered_after_it():
    studio = Studio(connect=False)
    studio.answering = False
    studio.start()
    studio.opened()
    offer = join_request(studio.found(OpenSignal)[0].url).publisher_offer
    studio.say(join=join())
    studio.engine.publish_track(VOICE, studio.now)
    studio.turn()
    assert (len(studio.sent("add_track")), len(studio.sent("offer"))) == (1, 0)
    studio.answer(offer)
    assert parse_sdp(studio.sent("offer")[0].sdp).media[-1].direction == "sendonly"


def test_nothing_is_offered_before_the_first_offer():
    studio = Studio(connect=False, ports=False)
    studio.start()
    studio.engine._parts.transports.negotiate(studio.now)
    assert studio.turn() == []
