"""What an attempt to join shows the server, and to which link what the driver says belongs."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import pytest

from sansio import proto
from sansio.base.contract import Interface, OpenSignal, OpenUdp
from sansio.base.errors import LocalProtocolError
from sansio.base.limits import SIGNAL_TOKEN
from sansio.events import TokenRefreshed
from sansio.sdp.media import parse_sdp
from tests.unit.room.build import info, join
from tests.unit.room.desk import HOST, Desk, join_request

rtc, models = proto.rtc, proto.models
LO = Interface("lo", "127.0.0.1", loopback=True)
WLAN = Interface("wlan0", "10.3.0.1")
SIX = Interface("eth0", "2001:db8::1")

ALICE = info("alice", "PA_alice", 0, 1)


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


def test_news_of_other_links_are_ignored():
    desk = Desk()
    desk.start()
    desk.engine.signal_opened(7, desk.now)
    desk.engine.signal_received(7, b"\xff", desk.now)
    desk.engine.signal_failed(0, None, desk.now)
    desk.engine.signal_closed(7, "gone", desk.now)
    assert desk.turn() == []
    assert desk.opened() == []


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
