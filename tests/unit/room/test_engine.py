"""The engine with a scripted server: sockets, messages, and what it tells of itself."""

from __future__ import annotations

import json
from urllib.parse import urlsplit

import pytest

from sansio import events, proto
from sansio.base.contract import INF, ClosePort, Interface, OpenSignal, OpenUdp, Resolve
from sansio.base.errors import LocalProtocolError
from sansio.events import TokenRefreshed
from sansio.ice import stun
from sansio.sdp.media import parse_sdp
from sansio.types import DisconnectReason
from tests.unit.room.build import info, join, speakers, track, update
from tests.unit.room.desk import ETH, HOST, TOKEN, Desk, join_request

rtc, models = proto.rtc, proto.models
LO = Interface("lo", "127.0.0.1", loopback=True)
WLAN = Interface("wlan0", "10.3.0.1")
SIX = Interface("eth0", "2001:db8::1")


# ------------------------------------------------------------------ sockets


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


# ------------------------------------------------------------------ after the end


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


# ------------------------------------------------------------------ what is owed


def test_an_engine_that_owes_something_says_so():
    desk = Desk().joined()
    assert not desk.engine.owing
    desk.engine.publish_data(b"x", now=desk.now)
    assert desk.engine.owing
    desk.turn()
    assert not desk.engine.owing


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
