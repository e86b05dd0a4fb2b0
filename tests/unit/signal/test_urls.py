"""URLs and join requests."""

from __future__ import annotations

import base64
import gzip
import json
import tomllib
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from sansio import proto
from sansio.base.errors import LocalProtocolError
from sansio.signal.urls import (
    PROTOCOL,
    VERSION,
    JoinSettings,
    UrlError,
    explain_url,
    fits_request_line,
    is_cloud,
    is_loopback,
    join_url,
    regions_url,
    request_headers,
    resume_url,
    validate_url,
    wrap_join_request,
)


def query(url: str) -> dict[str, str]:
    return {name: value for name, (value,) in parse_qs(urlsplit(url).query, strict_parsing=True).items()}


def unwrap(url: str) -> Any:
    wrapped = proto.rtc.WrappedJoinRequest.FromString(base64.urlsafe_b64decode(query(url)["join_request"]))
    data = wrapped.join_request
    if wrapped.compression == proto.rtc.WrappedJoinRequest.GZIP:
        data = gzip.decompress(data)
    return proto.rtc.JoinRequest.FromString(data)


def test_the_version_is_that_of_the_project() -> None:
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"]
    assert project["version"] == VERSION


# ------------------------------------------------------------------ addresses


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("ws://host", "ws://host/rtc"),
        ("wss://host/", "wss://host/rtc"),
        ("http://host:7880", "ws://host:7880/rtc"),
        ("https://host:443//", "wss://host:443/rtc"),
        ("HTTPS://Host/a/b/", "wss://Host/a/b/rtc"),
        ("ws://[::1]:7880", "ws://[::1]:7880/rtc"),
        ("ws://[2001:db8::1]/x", "ws://[2001:db8::1]/x/rtc"),
        ("ws://host/a b".replace(" ", "%20"), "ws://host/a%20b/rtc"),
        ("ws://host/pfad/ü", "ws://host/pfad/%C3%BC/rtc"),
        ("ws://bücher.example:80/", "ws://xn--bcher-kva.example:80/rtc"),
        ("ws://bücher.example", "ws://xn--bcher-kva.example/rtc"),
        ("ws://host/#part", "ws://host/rtc"),
    ],
)
def test_the_path_is_appended_to_the_prefix(given: str, expected: str) -> None:
    validate_url(given)
    for single in (False, True):
        url = join_url(given, JoinSettings(), single=single)
        assert url.split("?")[0] == expected + ("/v1" if single else "")
        assert url.isascii()


@pytest.mark.parametrize(
    "given",
    [
        "",
        "host",
        "host:7880",
        "ftp://host",
        "//host",
        "ws://",
        "ws:///rtc",
        "ws://:7880",
        "ws://host:99999",
        "ws://host:port",
        "ws://[::1",
        "ws://ho st",
        "ws://host\n",
        "ws://user:pw@host",
        "ws://host?access_token=abc",
        "ws://" + "ü" * 80,
    ],
)
def test_unusable_addresses_are_refused(given: str) -> None:
    with pytest.raises(UrlError) as caught:
        validate_url(given)
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, LocalProtocolError)
    assert "abc" not in str(caught.value)
    assert "pw" not in str(caught.value)


def test_a_query_of_the_address_is_kept() -> None:
    found = query(join_url("ws://host?tenant=a%20b&protocol=1&empty=", JoinSettings(), single=False))
    assert found["tenant"] == "a b"
    assert found["protocol"] == str(PROTOCOL)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("ws://localhost:7880", True),
        ("ws://LOCALHOST.", True),
        ("ws://a.localhost", True),
        ("ws://127.0.0.1", True),
        ("ws://127.9.9.9", True),
        ("ws://[::1]:1", True),
        ("ws://[::ffff:127.0.0.1]", True),
        ("ws://[::ffff:192.0.2.1]", False),
        ("ws://[fe80::1]", False),
        ("ws://10.0.0.1", False),
        ("ws://notlocalhost", False),
        ("wss://example.org", False),
    ],
)
def test_loopback_hosts(given: str, expected: bool) -> None:
    assert is_loopback(given) is expected


def test_cloud_hosts_have_regions() -> None:
    assert is_cloud("wss://a.livekit.cloud")
    assert is_cloud("wss://a.b.livekit.run:443/")
    assert not is_cloud("wss://livekit.cloud.example.org")
    assert not is_cloud("wss://livekit.cloud")
    assert regions_url("wss://a.livekit.cloud/x?y=z") == "https://a.livekit.cloud/settings/regions"


def test_the_url_that_explains_a_refusal_has_the_same_query() -> None:
    url = join_url("wss://host/p", JoinSettings())
    explain = explain_url(url)
    assert explain.startswith("https://host/p/rtc/v1/validate?join_request=")
    assert query(explain) == query(url)


def test_headers_carry_the_token_and_urls_never_do() -> None:
    headers = dict(request_headers("abc.def"))
    assert headers["Authorization"] == "Bearer abc.def"
    assert headers["User-Agent"] == f"trio-livekit/{VERSION}"


@pytest.mark.parametrize("token", ["", "a b", "a\nb", "ü", "a\r\nX: y"])
def test_tokens_that_cannot_be_headers_are_refused(token: str) -> None:
    with pytest.raises(LocalProtocolError) as caught:
        request_headers(token)
    assert len(token) < 2 or token not in str(caught.value)


def test_the_request_line_is_measured() -> None:
    url = "ws://host:1/a?b=c"
    length = len("GET /a?b=c HTTP/1.1\r\n")
    assert fits_request_line(url, length)
    assert not fits_request_line(url, length - 1)
    assert fits_request_line("ws://host/a", len("GET /a HTTP/1.1\r\n"))
    assert fits_request_line(url)
    assert not fits_request_line(url + "d" * 9000)


# ------------------------------------------------------------------ /rtc/v1


def test_the_join_request_says_everything_explicitly() -> None:
    settings = JoinSettings(
        auto_subscribe=False,
        auto_subscribe_data_track=True,
        adaptive_stream=True,
        subscriber_allow_pause=True,
        disable_ice_lite=True,
        metadata="m",
        attributes={"b": "2", "a": "1"},
        client_protocol=2,
        capabilities=(2,),
        os="linux",
        os_version="6",
    )
    request = unwrap(join_url("ws://host", settings))
    client = request.client_info
    assert client.sdk == proto.models.ClientInfo.PYTHON
    assert (client.protocol, client.client_protocol, client.version) == (17, 2, VERSION)
    assert (client.os, client.os_version) == ("linux", "6")
    assert client.other_sdks == f"trio-livekit:{VERSION}"
    assert list(client.capabilities) == [2]
    wishes = request.connection_settings
    assert not wishes.auto_subscribe
    assert wishes.auto_subscribe_data_track
    assert wishes.adaptive_stream
    assert wishes.subscriber_allow_pause
    assert wishes.disable_ice_lite
    assert request.metadata == "m"
    assert dict(request.participant_attributes) == {"a": "1", "b": "2"}
    assert not request.HasField("publisher_offer")
    assert not request.reconnect
    assert "'1'" not in repr(settings)


def test_the_defaults_are_sent_too() -> None:
    request = unwrap(join_url("ws://host", JoinSettings()))
    assert request.connection_settings.auto_subscribe
    assert request.connection_settings.HasField("subscriber_allow_pause")
    assert not request.connection_settings.subscriber_allow_pause
    assert request.connection_settings.HasField("auto_subscribe_data_track")
    assert request.client_info.client_protocol == 0


def test_offer_and_tracks_travel_in_the_join_request() -> None:
    offer = proto.rtc.SessionDescription(type="offer", sdp="v=0\r\n" + "a=x\r\n" * 200, id=1)
    tracks = [proto.rtc.AddTrackRequest(cid="c1"), proto.rtc.AddTrackRequest(cid="c2")]
    url = join_url("ws://host", JoinSettings(), offer=offer, add_tracks=tracks)
    request = unwrap(url)
    assert request.publisher_offer == offer
    assert [track.cid for track in request.add_track_requests] == ["c1", "c2"]
    assert fits_request_line(url)
    with pytest.raises(LocalProtocolError):
        join_url("ws://host", JoinSettings(), single=False, offer=offer)
    with pytest.raises(LocalProtocolError):
        join_url("ws://host", JoinSettings(), single=False, add_tracks=tracks)


def test_gzip_is_used_only_where_it_helps() -> None:
    small = proto.rtc.JoinRequest(participant_sid="PA_x")
    large = proto.rtc.JoinRequest(metadata="x" * 1000)
    for request, expected in ((small, proto.rtc.WrappedJoinRequest.NONE), (large, proto.rtc.WrappedJoinRequest.GZIP)):
        text = wrap_join_request(request)
        assert len(text) % 4 == 0
        assert not set(text) & set("+/")
        wrapped = proto.rtc.WrappedJoinRequest.FromString(base64.urlsafe_b64decode(text))
        assert wrapped.compression == expected
        assert text == wrap_join_request(request)


def test_a_resume_names_the_participant() -> None:
    request = unwrap(
        resume_url("wss://host/p", JoinSettings(metadata="m", attributes={"a": "1"}), sid="PA_x", reason=2)
    )
    assert request.reconnect
    assert request.participant_sid == "PA_x"
    assert request.reconnect_reason == proto.models.ReconnectReason.RR_PUBLISHER_FAILED
    assert request.connection_settings.auto_subscribe
    assert request.metadata == ""
    assert not request.participant_attributes


# ------------------------------------------------------------------ /rtc


def test_the_plain_query_says_the_same() -> None:
    settings = JoinSettings(
        auto_subscribe=False,
        attributes={"ä": "1&2"},
        capabilities=(1, 2),
        os="linux",
        os_version="6 x",
        adaptive_stream=True,
    )
    found = query(join_url("ws://host", settings, single=False))
    assert json.loads(base64.urlsafe_b64decode(found.pop("attributes"))) == {"ä": "1&2"}
    assert found == {
        "protocol": "17",
        "client_protocol": "0",
        "sdk": "python",
        "version": VERSION,
        "other_sdks": f"trio-livekit:{VERSION}",
        "auto_subscribe": "0",
        "auto_subscribe_data_track": "0",
        "adaptive_stream": "1",
        "subscriber_allow_pause": "0",
        "disable_ice_lite": "0",
        "os": "linux",
        "os_version": "6 x",
        "capabilities": "CAP_PACKET_TRAILER,CAP_COMPRESSION_DEFLATE_RAW",
    }


def test_a_plain_resume_names_the_participant() -> None:
    found = query(resume_url("ws://host", JoinSettings(attributes={"a": "1"}), sid="PA_x", reason=1, single=False))
    assert (found["reconnect"], found["sid"], found["reconnect_reason"]) == ("1", "PA_x", "1")
    assert "attributes" not in found
    assert found["auto_subscribe"] == "1"
