"""How a session begins, and how one ends that never began. What comes between is in ``test_reconnect``."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest

from sansio import proto
from sansio.base.contract import INF, ClosePort, CloseSignal, Interface, OpenSignal, OpenUdp, SendSignal
from sansio.base.errors import LocalProtocolError
from sansio.events import Connected, Disconnected
from sansio.room.outputs import Ended, JoinFailed, MediaFailure
from sansio.sdp.media import parse_sdp
from sansio.signal.refusal import Refusal, RefusalKind
from sansio.types import ConnectionState, DisconnectReason
from tests.unit.room.build import join
from tests.unit.room.desk import ETH, HOST, Desk

rtc, models = proto.rtc, proto.models
LO = Interface("lo", "127.0.0.1", loopback=True)
WLAN = Interface("wlan0", "10.3.0.1")
SIX = Interface("eth0", "2001:db8::1")


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
