"""The engine with a scripted server, up to the point where media would come up."""

from __future__ import annotations

import json
from urllib.parse import parse_qs, urlsplit

import pytest

from sansio import events, proto
from sansio.base.contract import INF, ClosePort, CloseSignal, Interface, OpenSignal, OpenUdp, Resolve, SendSignal
from sansio.base.errors import LocalProtocolError
from sansio.base.limits import PENDING_REQUESTS, SIGNAL_TOKEN
from sansio.events import Connected, Disconnected, TokenRefreshed
from sansio.ice import stun
from sansio.room.data_lanes import RELIABLE_BUDGET
from sansio.room.outputs import Ended, JoinFailed, MediaFailure
from sansio.room.requests import RequestDone, RequestFailed
from sansio.sdp.media import parse_sdp
from sansio.signal.refusal import Refusal, RefusalKind
from sansio.types import ConnectionState, DisconnectReason, RequestReason
from tests.unit.room.build import info, join, speakers, track, update
from tests.unit.room.desk import ETH, HOST, TOKEN, Desk, join_request

rtc, models = proto.rtc, proto.models
LO = Interface("lo", "127.0.0.1", loopback=True)
WLAN = Interface("wlan0", "10.3.0.1")
SIX = Interface("eth0", "2001:db8::1")


# ------------------------------------------------------------------ the request to join


def test_sockets_come_first_and_their_candidates_travel_in_the_request():
    desk = Desk(ports=False)
    desk.start(ETH, WLAN)
    assert desk.outputs == [OpenUdp(1, HOST), OpenUdp(2, "10.3.0.1")]
    desk.engine.port_opened(1, (HOST, 5001), desk.now)
    assert desk.turn() == []
    desk.engine.port_opened(2, ("10.3.0.1", 5002), desk.now)
    (request,) = desk.turn()
    assert isinstance(request, OpenSignal)
    assert urlsplit(request.url).path == "/rtc/v1"
    assert dict(request.headers)["Authorization"] == f"Bearer {TOKEN}"
    offer = join_request(request.url).publisher_offer
    assert (offer.type, offer.id) == ("offer", 1)
    lines = parse_sdp(offer.sdp).candidates
    assert [line.split(" ")[4:6] for line in lines] == [[HOST, "5001"], ["10.3.0.1", "5002"]]


def test_a_port_that_cannot_be_opened_does_not_hold_the_join_up():
    desk = Desk(ports=False)
    desk.start(ETH, WLAN)
    desk.engine.port_opened(2, ("10.3.0.1", 5002), desk.now)
    desk.engine.port_failed(1, "in use", desk.now)
    (request,) = desk.turn()
    (line,) = parse_sdp(join_request(request.url).publisher_offer.sdp).candidates
    assert "10.3.0.1" in line
    desk.engine.stop(desk.now)
    desk.turn()
    assert desk.found(ClosePort) == [ClosePort(2)]


def test_without_any_network_the_join_is_tried_all_the_same():
    desk = Desk()
    desk.engine.start([], desk.now)
    (request,) = desk.turn()
    assert parse_sdp(join_request(request.url).publisher_offer.sdp).candidates == ()


@pytest.mark.parametrize("url", ["ws://localhost:7880", "ws://127.0.0.1", "ws://[::1]:7880"])
def test_a_server_on_this_machine_gets_loopback_candidates(url):
    desk = Desk(url)
    desk.start(LO, ETH)
    assert [request.host for request in desk.found(OpenUdp)] == ["127.0.0.1"]


def test_any_other_server_gets_the_other_interfaces():
    desk = Desk()
    desk.start(LO, ETH, SIX)
    assert [request.host for request in desk.found(OpenUdp)] == [HOST, "2001:db8::1"]


def test_interfaces_and_ports_can_be_restricted():
    desk = Desk(interfaces=("wlan0",), port_range=(6000, 6010))
    desk.start(ETH, WLAN)
    assert desk.found(OpenUdp) == [OpenUdp(1, "10.3.0.1", 6000, 6010)]


def test_what_the_user_says_of_himself_is_in_the_request():
    desk = Desk(metadata="about me", attributes=(("k", "v"),), auto_subscribe=False, open_timeout=3.0)
    desk.start()
    (request,) = desk.found(OpenSignal)
    assert request.timeout == 3.0
    said = join_request(request.url)
    assert said.metadata == "about me"
    assert dict(said.participant_attributes) == {"k": "v"}
    assert not said.connection_settings.auto_subscribe


def test_two_peer_connections_can_be_forced():
    desk = Desk(single_peer_connection=False, attributes=(("k", "v"),), metadata="about me")
    desk.start()
    assert [request.host for request in desk.found(OpenUdp)] == [HOST, HOST]
    (request,) = desk.found(OpenSignal)
    parts = urlsplit(request.url)
    assert parts.path == "/rtc"
    assert "attributes" in parse_qs(parts.query)
    assert "about" not in request.url
    desk.opened()
    desk.say(join=join(subscriber_primary=True))
    # the metadata, for which /rtc has no parameter, and the publisher's offer
    assert desk.sent() == ["update_metadata", "offer"]
    assert desk.sent("update_metadata")[0].metadata == "about me"
    (offer,) = desk.sent("offer")
    assert (offer.type, offer.id) == ("offer", 1)


def test_an_offer_too_long_for_the_request_goes_over_the_link(monkeypatch):
    monkeypatch.setattr("sansio.signal.urls.REQUEST_LINE", 500)
    monkeypatch.setattr("sansio.signal.urls.fits_request_line", lambda url: len(url) < 500)
    desk = Desk()
    desk.start()
    (request,) = desk.found(OpenSignal)
    assert not join_request(request.url).HasField("publisher_offer")
    desk.opened()
    desk.say(join=join())
    (offer,) = desk.sent("offer")
    assert "m=application" in offer.sdp
    assert parse_sdp(offer.sdp).candidates


def test_a_bad_address_or_token_is_refused_at_once():
    with pytest.raises(LocalProtocolError, match="scheme"):
        Desk("ftp://server")
    with pytest.raises(LocalProtocolError, match="token"):
        Desk(token="two words")


# ------------------------------------------------------------------ refusals


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (401, "invalid authorization token: signature is invalid", RefusalKind.TOKEN_REJECTED),
        (404, "requested room does not exist", RefusalKind.ROOM_NOT_FOUND),
        (503, "node limits reached", RefusalKind.SERVER_ERROR),
        (500, "", RefusalKind.SERVER_ERROR),
    ],
)
def test_the_servers_refusal_is_the_reason(status, body, kind):
    desk = Desk()
    desk.start()
    desk.failed("http", status, body)
    assert (desk.failure.kind, desk.failure.status, desk.failure.body) == (kind, status, body)
    assert desk.ended is DisconnectReason.JOIN_FAILURE
    assert desk.found(ClosePort) == [ClosePort(1)]
    assert not desk.found(CloseSignal)
    assert not desk.found(Disconnected)


@pytest.mark.parametrize("kind", ["dns", "tcp", "tls", "timeout"])
def test_a_server_out_of_reach(kind):
    desk = Desk()
    desk.start()
    desk.failed(kind)
    assert desk.failure.kind is RefusalKind.UNREACHABLE
    assert desk.ended is DisconnectReason.JOIN_FAILURE


def test_silence_after_the_link_is_open():
    desk = Desk(first_message_timeout=5.0)
    desk.start()
    desk.opened()
    desk.wait(4.9)
    assert desk.ended is None
    desk.wait(0.2)
    assert desk.failure.kind is RefusalKind.UNREACHABLE
    assert desk.ended is DisconnectReason.JOIN_FAILURE
    assert desk.found(CloseSignal) == [CloseSignal(1)]


def test_silence_of_a_driver_that_never_answers():
    desk = Desk(open_timeout=15.0, first_message_timeout=5.0)
    desk.start()
    desk.wait(21.0)
    assert desk.failure.kind is RefusalKind.UNREACHABLE
    assert desk.found(CloseSignal) == [CloseSignal(1)]


def test_a_leave_in_place_of_the_join():
    desk = Desk()
    desk.start()
    desk.opened()
    desk.say(leave=rtc.LeaveRequest(reason=models.DUPLICATE_IDENTITY))
    assert desk.failure.leave.reason == models.DUPLICATE_IDENTITY
    assert desk.ended is DisconnectReason.DUPLICATE_IDENTITY
    assert desk.found(CloseSignal) == [CloseSignal(1)]


def test_a_leave_before_media_is_up():
    desk = Desk().joined()
    desk.say(leave=rtc.LeaveRequest(reason=models.ROOM_DELETED, action=rtc.LeaveRequest.RESUME))
    assert desk.failure.kind is RefusalKind.REFUSED
    assert desk.ended is DisconnectReason.ROOM_DELETED
    assert desk.found(CloseSignal) == [CloseSignal(1)]
    assert not desk.found(Disconnected)


def test_a_leave_with_a_reason_from_the_future():
    desk = Desk().joined()
    data = rtc.SignalResponse(leave=rtc.LeaveRequest(reason=99)).SerializeToString()
    desk.engine.signal_received(desk.link, data, desk.now)
    desk.turn()
    assert desk.ended is DisconnectReason.UNKNOWN_REASON


@pytest.mark.parametrize("before", [True, False])
def test_a_link_that_breaks_before_media_is_up(before):
    desk = Desk()
    desk.start()
    desk.opened()
    if not before:
        desk.say(join=join())
    desk.closed("reset by peer")
    assert desk.failure.kind is RefusalKind.UNREACHABLE
    assert "Reset by peer." in str(desk.failure)
    assert desk.ended is (DisconnectReason.JOIN_FAILURE if before else DisconnectReason.SIGNAL_CLOSE)
    assert not desk.found(CloseSignal)


# ------------------------------------------------------------------ falling back


def test_a_server_without_the_new_path_is_asked_the_old_way():
    desk = Desk()
    desk.start()
    desk.failed("http", 404, "404 page not found")
    assert not desk.found(JoinFailed)
    # other sockets, for two peer connections
    assert desk.found(ClosePort) == [ClosePort(1)]
    assert [request.port for request in desk.found(OpenUdp)] == [1, 2, 3]
    first, second = desk.found(OpenSignal)
    assert (first.signal, second.signal) == (1, 2)
    assert urlsplit(second.url).path == "/rtc"
    assert desk.engine.diagnostics()["mode"] == "dual"
    desk.engine.signal_closed(1, "late news of the first link", desk.now)
    desk.opened()
    desk.say(join=join(subscriber_primary=True))
    # an offer of the new publisher, with its own candidate
    (offer,) = desk.sent("offer")
    (line,) = parse_sdp(offer.sdp).candidates
    assert line.split(" ")[5] == "40002"
    assert desk.ended is None


def test_the_fall_back_waits_for_its_sockets():
    desk = Desk(ports=False)
    desk.start()
    desk.engine.port_opened(1, (HOST, 5001), desk.now)
    desk.turn()
    desk.failed("http", 404)
    assert len(desk.found(OpenSignal)) == 1
    desk.engine.port_opened(1, (HOST, 5001), desk.now)  # nobody's any more
    desk.engine.port_opened(2, (HOST, 5002), desk.now)
    desk.turn()
    assert len(desk.found(OpenSignal)) == 1
    desk.engine.port_failed(3, "in use", desk.now)
    desk.turn()
    assert len(desk.found(OpenSignal)) == 2


def test_falling_back_happens_once():
    desk = Desk()
    desk.start()
    desk.failed("http", 404)
    desk.failed("http", 404)
    assert desk.failure.kind is RefusalKind.SERVICE_NOT_FOUND
    assert desk.ended is DisconnectReason.JOIN_FAILURE


@pytest.mark.parametrize("single", [True, False])
def test_a_forced_mode_does_not_fall_back(single):
    desk = Desk(single_peer_connection=single)
    desk.start()
    desk.failed("http", 404)
    assert desk.failure.kind is RefusalKind.SERVICE_NOT_FOUND
    assert len(desk.found(OpenSignal)) == 1


def test_stopped_at_the_moment_of_the_refusal_there_is_no_fall_back():
    desk = Desk()
    desk.start()
    desk.engine.stop(desk.now)
    desk.failed("http", 404)
    assert len(desk.found(OpenSignal)) == 1
    assert desk.ended is DisconnectReason.CLIENT_INITIATED


# ------------------------------------------------------------------ starting and stopping


def test_an_engine_starts_once():
    desk = Desk()
    desk.engine.start([ETH], desk.now)
    with pytest.raises(LocalProtocolError, match="before"):
        desk.engine.start([ETH], desk.now)
    desk.turn()
    with pytest.raises(LocalProtocolError, match="before"):
        desk.engine.start([ETH], desk.now)
    assert desk.turn() == []
    assert len(desk.found(OpenUdp)) == 1


def test_stop_before_the_start():
    desk = Desk()
    desk.engine.stop(desk.now)
    with pytest.raises(LocalProtocolError, match="before"):
        desk.engine.start([ETH], desk.now)
    desk.turn()
    assert desk.outputs == [Ended(DisconnectReason.CLIENT_INITIATED)]
    assert desk.ended is DisconnectReason.CLIENT_INITIATED


def test_a_fresh_engine_has_nothing_to_do():
    desk = Desk()
    assert desk.turn() == []
    assert desk.due == INF
    assert repr(desk.engine) == "<RoomEngine '' DISCONNECTED>"


def test_stop_in_the_same_breath_as_start():
    desk = Desk(ports=False)
    desk.engine.start([ETH, WLAN], desk.now)
    desk.engine.stop(desk.now)
    desk.turn()
    assert desk.ended is DisconnectReason.CLIENT_INITIATED
    opened = [request.port for request in desk.found(OpenUdp)]
    assert [request.port for request in desk.found(ClosePort)] == opened


def test_stop_while_ports_are_being_opened():
    desk = Desk(ports=False)
    desk.start(ETH, WLAN)
    desk.engine.port_opened(1, (HOST, 5001), desk.now)
    desk.turn()
    desk.engine.stop(desk.now)
    desk.turn()
    assert desk.found(ClosePort) == [ClosePort(1), ClosePort(2)]
    assert desk.ended is DisconnectReason.CLIENT_INITIATED
    desk.engine.port_opened(2, ("10.3.0.1", 5002), desk.now)
    desk.engine.port_failed(2, "too late", desk.now)
    assert desk.turn(60.0) == []


@pytest.mark.parametrize("how_far", ["opening", "opened", "joined"])
def test_stop_says_goodbye(how_far):
    """The server has a participant before it answers the handshake, so it is told whatever has come of it."""
    desk = Desk()
    desk.start()
    if how_far != "opening":
        desk.opened()
    if how_far == "joined":
        desk.say(join=join())
    desk.engine.stop(desk.now)
    desk.engine.stop(desk.now)
    desk.turn()
    (leave,) = desk.sent("leave")
    assert (leave.action, leave.reason) == (rtc.LeaveRequest.DISCONNECT, models.CLIENT_INITIATED)
    wire = [type(output) for output in desk.outputs if isinstance(output, SendSignal | CloseSignal | ClosePort)]
    assert wire[-3:] == [SendSignal, CloseSignal, ClosePort]
    assert desk.ended is DisconnectReason.CLIENT_INITIATED
    assert not desk.found(JoinFailed)
    assert not desk.found(Connected)
    desk.engine.stop(desk.now)
    assert desk.turn(60.0) == []


def test_what_comes_after_the_end_is_ignored():
    desk = Desk().joined()
    handler = desk.engine.port_handler(1)
    desk.engine.stop(desk.now)
    desk.turn()
    before = len(desk.outputs)
    engine, now = desk.engine, desk.now
    for _ in range(2):
        engine.networks_changed([ETH, WLAN], now)
        engine.port_opened(1, (HOST, 1), now)
        engine.port_failed(1, "gone", now)
        engine.handle_datagram(1, b"\0\1" + bytes(30), (HOST, 9), now)
        handler(1, b"\0\1" + bytes(30), (HOST, 9), now)
        engine.port_send_failed(1, (HOST, 9), "no route", now)
        engine.port_blocked(1, now)
        engine.port_writable(1, now)
        engine.signal_opened(1, now)
        engine.signal_failed(1, None, now)
        engine.signal_received(1, b"garbage", now)
        engine.signal_closed(1, "gone", now)
        engine.resolved(1, [HOST], now)
        engine.cancel(1, now)
        engine.stop(now)
        assert engine.read_data() is None
        for misuse in (
            lambda: engine.publish_data(b"x", now=now),
            lambda: engine.set_name("x", now),
            lambda: engine.start([ETH], now),
        ):
            with pytest.raises(LocalProtocolError):
                misuse()
        assert engine.advance(now) == INF
        now += 100.0
    assert len(desk.outputs) == before
    assert not engine.outbox
    assert not engine.transmits
    assert desk.ended is DisconnectReason.CLIENT_INITIATED


def test_news_of_other_links_are_ignored():
    desk = Desk()
    desk.start()
    desk.engine.signal_opened(7, desk.now)
    desk.engine.signal_received(7, b"\xff", desk.now)
    desk.engine.signal_failed(0, None, desk.now)
    desk.engine.signal_closed(7, "gone", desk.now)
    assert desk.turn() == []
    assert desk.opened() == []


# ------------------------------------------------------------------ messages of the server

ALICE = info("alice", "PA_alice", 0, 1)


@pytest.mark.parametrize(
    ("message", "event"),
    [
        ({"update": update(info("carol", "PA_carol"))}, events.ParticipantConnected),
        ({"speakers_changed": speakers(("PA_bob", 0.5, True))}, events.ActiveSpeakersChanged),
        (
            {
                "connection_quality": rtc.ConnectionQualityUpdate(
                    updates=[rtc.ConnectionQualityInfo(participant_sid="PA_bob", quality=models.GOOD)]
                )
            },
            events.ConnectionQualityChanged,
        ),
        (
            {"room_update": rtc.RoomUpdate(room=models.Room(sid="RM_1", name="lobby", metadata="new"))},
            events.RoomMetadataChanged,
        ),
        (
            {"stream_state_update": rtc.StreamStateUpdate(
                stream_states=[rtc.StreamStateInfo(participant_sid="PA_bob", track_sid="TR_1", state=rtc.PAUSED)]
            )},
            events.TrackStreamStateChanged,
        ),
        (
            {"subscription_permission_update": rtc.SubscriptionPermissionUpdate(
                participant_sid="PA_bob", track_sid="TR_1", allowed=False
            )},
            events.TrackSubscriptionPermissionChanged,
        ),
        (
            {"subscription_response": rtc.SubscriptionResponse(
                track_sid="TR_1", err=models.SE_CODEC_UNSUPPORTED
            )},
            events.TrackSubscriptionFailed,
        ),
        (
            {"room_moved": rtc.RoomMovedResponse(
                room=models.Room(sid="RM_2", name="other"), token="moved", participant=ALICE
            )},
            events.Moved,
        ),
        ({"refresh_token": "new.token.x"}, TokenRefreshed),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)  # fmt: skip
def test_messages_about_the_room_become_events(message, event):
    desk = Desk().joined(info("bob", "PA_bob", tracks=[track("TR_1")]))
    assert [type(output) for output in desk.say(**message) if isinstance(output, event)] == [event]
    assert desk.engine.diagnostics()["engine"] == {}


def test_messages_about_our_own_tracks_reach_the_state(monkeypatch):
    """There are none yet, so that the state only counts these."""
    desk = Desk().joined()
    before = desk.engine.state.counters.snapshot()
    desk.say(mute=rtc.MuteTrackRequest(sid="TR_none", muted=True))
    desk.say(track_unpublished=rtc.TrackUnpublishedResponse(track_sid="TR_none"))
    desk.say(track_subscribed=rtc.TrackSubscribed(track_sid="TR_none"))
    after = desk.engine.state.counters.snapshot()
    assert sum(after.values()) == sum(before.values()) + 3
    assert desk.engine.diagnostics()["engine"] == {}


def test_messages_that_mean_nothing_to_us_are_counted():
    desk = Desk().joined()
    desk.say(subscribed_audio_codec_update=rtc.SubscribedAudioCodecUpdate())
    assert desk.engine.diagnostics()["engine"] == {"signal_ignored": 1}


def test_the_newest_token_is_kept_unless_it_is_absurdly_long():
    desk = Desk().joined()
    long = "t" * (SIGNAL_TOKEN + 1)
    for token in ("first", "t" * SIGNAL_TOKEN, long):
        desk.say(refresh_token=token)
    desk.say(room_moved=rtc.RoomMovedResponse(token=long, participant=ALICE))
    assert [event.token for event in desk.found(TokenRefreshed)] == ["first", "t" * SIGNAL_TOKEN]
    assert desk.engine._link.credentials.headers(desk.now)[0][1] == "Bearer " + "t" * SIGNAL_TOKEN
    desk.say(room_moved=rtc.RoomMovedResponse(participant=ALICE))
    assert desk.engine._link.credentials.headers(desk.now)[0][1] == "Bearer " + "t" * SIGNAL_TOKEN
    desk.say(room_moved=rtc.RoomMovedResponse(token="moved", participant=ALICE))
    assert desk.engine._link.credentials.headers(desk.now)[0][1] == "Bearer moved"


# ------------------------------------------------------------------ requests


def test_requests_are_sent_and_answered():
    desk = Desk().joined()
    engine = desk.engine
    tokens = [
        engine.set_name("Alice", desk.now),
        engine.set_metadata("about", desk.now),
        engine.set_attributes({"k": "v", "gone": ""}, desk.now),
    ]
    desk.turn()
    name, metadata, attributes = desk.sent("update_metadata")
    assert (name.name, metadata.metadata, dict(attributes.attributes)) == ("Alice", "about", {"k": "v", "gone": ""})
    assert [request.request_id for request in (name, metadata, attributes)] == tokens
    response = rtc.RequestResponse
    desk.say(request_response=response(request_id=tokens[1], reason=response.NOT_ALLOWED, message="no"))
    desk.say(request_response=response(request_id=tokens[0]))
    assert desk.found(RequestDone) == [RequestDone(tokens[0])]
    (failed,) = desk.found(RequestFailed)
    assert (failed.token, failed.error.reason) == (tokens[1], RequestReason.NOT_ALLOWED)
    assert "no" in str(failed.error)
    desk.wait(5.1)
    assert [(other.token, other.error.reason) for other in desk.found(RequestFailed)[1:]] == [
        (tokens[2], RequestReason.TIMED_OUT)
    ]


def test_a_cancelled_request_is_not_answered():
    desk = Desk().joined()
    token = desk.engine.set_name("Alice", desk.now)
    desk.engine.cancel(token, desk.now)
    desk.say(request_response=rtc.RequestResponse(request_id=token))
    desk.wait(6.0)
    assert not desk.found(RequestDone)
    assert not desk.found(RequestFailed)


def test_pending_requests_fail_when_the_session_ends():
    desk = Desk().joined()
    token = desk.engine.set_name("Alice", desk.now)
    desk.say(leave=rtc.LeaveRequest(reason=models.PARTICIPANT_REMOVED))
    (failed,) = desk.found(RequestFailed)
    assert (failed.token, failed.error.reason) == (token, RequestReason.ROOM_ENDED)
    assert "PARTICIPANT_REMOVED" in str(failed.error)


def test_requests_that_cannot_be_made_change_nothing():
    desk = Desk()
    desk.start()
    for misuse in (desk.engine.set_name, desk.engine.set_metadata):
        with pytest.raises(LocalProtocolError, match="not connected"):
            misuse("x", desk.now)
    desk.opened()
    desk.say(join=join())
    with pytest.raises(LocalProtocolError, match="empty"):
        desk.engine.set_name("", desk.now)
    with pytest.raises(LocalProtocolError, match="longer"):
        desk.engine.set_metadata("x" * (3 << 20), desk.now)
    with pytest.raises(LocalProtocolError, match="text"):
        desk.engine.set_attributes({"k": 5}, desk.now)
    assert desk.engine.set_name("first", desk.now) == 1
    for _ in range(PENDING_REQUESTS - 1):
        desk.engine.set_name("again", desk.now)
    with pytest.raises(LocalProtocolError, match=str(PENDING_REQUESTS)):
        desk.engine.set_name("too many", desk.now)
    desk.engine.stop(desk.now)
    with pytest.raises(LocalProtocolError, match="not connected"):
        desk.engine.set_name("x", desk.now)


# ------------------------------------------------------------------ data before media


def test_data_is_queued_between_the_join_and_the_channels_up_to_a_budget():
    desk = Desk()
    desk.start()
    with pytest.raises(LocalProtocolError, match="not connected"):
        desk.engine.publish_data(b"x", now=desk.now)
    desk.opened()
    desk.say(join=join())
    chunk = bytes(60_000)
    taken = 0
    while desk.engine.publish_data(chunk, now=desk.now):
        taken += len(chunk)
    assert RELIABLE_BUDGET <= taken < RELIABLE_BUDGET + len(chunk)
    assert desk.engine.publish_data(chunk, reliable=False, now=desk.now)
    assert desk.engine.publish_data(chunk, reliable=False, now=desk.now)
    assert not desk.engine.publish_data(b"", reliable=False, now=desk.now)
    desk.turn()
    assert desk.engine.read_data() is None


def test_an_engine_that_owes_something_says_so():
    desk = Desk().joined()
    assert not desk.engine.owing
    desk.engine.publish_data(b"x", now=desk.now)
    assert desk.engine.owing
    desk.turn()
    assert not desk.engine.owing


def test_what_is_too_large_is_refused_before_anything_changes():
    desk = Desk().joined()
    with pytest.raises(LocalProtocolError, match="64000"):
        desk.engine.publish_data(bytes(64_000), now=desk.now)
    with pytest.raises(LocalProtocolError, match="bytes"):
        desk.engine.publish_data("text", now=desk.now)
    assert desk.engine._parts.transports.accepted == 0


# ------------------------------------------------------------------ networks and names


def test_sockets_follow_the_networks():
    desk = Desk().joined()
    desk.engine.networks_changed([ETH, WLAN, LO], desk.now)
    desk.turn()
    assert desk.found(OpenUdp)[1:] == [OpenUdp(2, "10.3.0.1")]
    (trickle,) = desk.sent("trickle")
    candidate = json.loads(trickle.candidateInit)
    assert "10.3.0.1 40002 typ host" in candidate["candidate"]
    assert trickle.target == rtc.PUBLISHER
    desk.engine.networks_changed([WLAN], desk.now)
    desk.turn()
    assert desk.found(ClosePort) == [ClosePort(1)]
    desk.engine.networks_changed([WLAN], desk.now)
    assert desk.turn() == []


def test_candidates_found_between_request_and_join_are_told_after_it():
    desk = Desk()
    desk.start()
    desk.engine.networks_changed([ETH, WLAN], desk.now)
    desk.turn()
    assert desk.sent() == []
    desk.opened()
    desk.say(join=join())
    assert desk.sent() == ["trickle"]


def test_each_peer_connection_tells_of_its_own_candidates():
    desk = Desk(single_peer_connection=False)
    desk.joined(subscriber_primary=True)
    desk.engine.networks_changed([ETH, WLAN], desk.now)
    desk.turn()
    # the subscriber connection has not been described: its candidates will stand in the answer
    assert [trickle.target for trickle in desk.sent("trickle")] == [rtc.PUBLISHER]


def test_a_socket_that_breaks_is_done_without():
    desk = Desk()
    desk.start(ETH, WLAN)
    desk.opened()
    desk.say(join=join())
    desk.engine.port_failed(1, "the socket can no longer be read", desk.now)
    desk.turn()
    desk.engine.stop(desk.now)
    desk.turn()
    assert desk.found(ClosePort) == [ClosePort(2)]


def test_a_socket_that_is_asked_for_in_the_moment_of_the_end_is_never_opened():
    """The publisher's answer is unusable just when the subscriber wants a socket on a new network."""
    desk = Desk(single_peer_connection=False).joined(subscriber_primary=True)
    desk.engine.networks_changed([ETH, WLAN], desk.now)
    desk.say(answer=rtc.SessionDescription(type="answer", sdp="nonsense", id=1))
    assert desk.ended is DisconnectReason.MEDIA_FAILURE
    opened = [request.port for request in desk.found(OpenUdp)]
    assert sorted(request.port for request in desk.found(ClosePort)) == opened == [1, 2, 3]


def test_stun_servers_of_the_server_and_of_the_user_are_asked():
    desk = Desk(ice_servers=("stun:192.0.2.9:3478",))
    server = rtc.ICEServer(urls=["stun:stun.example.org:19302", "turn:192.0.2.8:3478", "nonsense"])
    desk.joined(ice_servers=[server])
    (lookup,) = desk.found(Resolve)
    assert lookup.host == "stun.example.org"
    desk.engine.resolved(lookup.token, ["192.0.2.7"], desk.now)
    desk.engine.resolved(99, ["192.0.2.6"], desk.now)
    desk.turn()
    turn, stun_server = ("192.0.2.8", 3478), ("192.0.2.9", 3478)
    assert [transmit.addr for transmit in desk.transmits] == [stun_server, turn, ("192.0.2.7", 19302)]
    question = desk.transmits[0]
    seen = stun.xor_address_value(("203.0.113.1", 777), question.data[8:20])
    answer = stun.build(stun.BINDING_SUCCESS, question.data[8:20], [(stun.XOR_MAPPED_ADDRESS, seen)])
    desk.engine.port_handler(1)(1, answer, question.addr, desk.now)
    desk.turn()
    (trickle,) = desk.sent("trickle")
    assert "203.0.113.1 777 typ srflx" in json.loads(trickle.candidateInit)["candidate"]
    desk.engine.handle_datagram(1, answer, question.addr, desk.now)  # once more, and now it is nobody's
    desk.engine.handle_datagram(50, answer, question.addr, desk.now)
    desk.turn()
    assert len(desk.sent("trickle")) == 1
    assert desk.engine.diagnostics()["transports"]["unknown_port"] == 1


# ------------------------------------------------------------------ telling


def test_why_due_names_what_is_waited_for():
    desk = Desk(first_message_timeout=5.0)
    desk.start()
    desk.opened()
    assert desk.engine.why_due() == "link"
    desk.say(join=join())
    assert desk.engine.why_due() == "course"
    desk.engine.networks_changed([ETH, WLAN], desk.now)
    assert desk.engine.why_due() == "transports"


def test_diagnostics_are_json_without_secrets():
    desk = Desk(metadata="private").joined()
    desk.engine.port_send_failed(1, (HOST, 1), "no route", desk.now)
    text = json.dumps(desk.engine.diagnostics())
    found = json.loads(text)
    assert found["mode"] == "single"
    assert found["engine"] == {"send_failed": 1}
    assert [peer["target"] for peer in found["transports"]["peers"]] == ["publisher"]
    assert TOKEN not in text
    assert "private" not in text
    assert desk.engine._parts.transports._peers[0].connection.transport.ice.local_pwd not in text
    assert TOKEN not in repr(desk.outputs)


def test_time_does_not_go_back():
    desk = Desk(first_message_timeout=5.0)
    desk.start()
    desk.opened()
    due = desk.engine.advance(desk.now - 100.0)
    assert due == desk.due > desk.now


def test_a_join_without_media_fails_after_its_time():
    desk = Desk(media_timeout=4.0)
    desk.joined()
    desk.wait(3.9)
    assert desk.ended is None
    desk.wait(0.2)
    assert desk.failure == MediaFailure("the server did not answer our offer within 4 s")
    assert desk.failure.verdict == ""
    assert desk.ended is DisconnectReason.MEDIA_FAILURE
    assert desk.sent() == ["leave"]
    assert desk.engine.state.connection is ConnectionState.DISCONNECTED


def test_an_unusable_answer_fails_the_join():
    desk = Desk().joined()
    desk.say(answer=rtc.SessionDescription(type="answer", sdp="nonsense", id=1))
    assert desk.failure.detail.startswith("negotiation: the answer cannot be used")
    assert desk.ended is DisconnectReason.MEDIA_FAILURE
    assert not isinstance(desk.failure, Refusal)
