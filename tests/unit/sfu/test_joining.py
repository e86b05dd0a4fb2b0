"""What somebody who wants in says, and what is made of it. Refusals are in test_server.py."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json

import pytest

from sansio.sfu.joining import Refused, read_knock, split_target
from sansio.sfu.options import ServerOptions
from sansio.sfu.token import Claims, mint

OPTIONS = ServerOptions(keys={"key": "secret"})
NOW = 1_800_000_000.0
TOKEN = mint(Claims("alice", "room", "key"), "secret", NOW)
HEADERS = (("Authorization", f"Bearer {TOKEN}"),)


def test_the_old_path_says_everything_in_the_query():
    knock = read_knock("/rtc?auto_subscribe=0&adaptive_stream=1&protocol=16&client_protocol=2", HEADERS, OPTIONS, NOW)
    assert not knock.single
    assert (knock.claims.identity, knock.claims.room) == ("alice", "room")
    settings = knock.join.connection_settings
    assert (settings.auto_subscribe, settings.adaptive_stream) == (False, True)
    assert (knock.join.client_info.protocol, knock.join.client_info.client_protocol) == (16, 2)
    assert not knock.join.reconnect


def test_what_is_left_out_or_nonsense_has_a_default():
    knock = read_knock("/rtc?protocol=x&client_protocol=99999999&auto_subscribe=", HEADERS, OPTIONS, NOW)
    assert knock.join.connection_settings.auto_subscribe
    assert (knock.join.client_info.protocol, knock.join.client_info.client_protocol) == (0, 0)
    knock = read_knock("/rtc?reconnect=1&sid=PA_1", HEADERS, OPTIONS, NOW)
    assert (knock.join.reconnect, knock.join.participant_sid) == (True, "PA_1")


def test_a_join_request_on_the_old_path_means_one_connection():
    assert read_knock("/rtc?join_request=", HEADERS, OPTIONS, NOW).single


def test_a_token_without_any_grant():
    parts = [
        base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()
        for part in ({"alg": "HS256"}, {"iss": "key", "sub": "alice", "exp": NOW + 60})
    ]
    signature = hmac.digest(b"secret", ".".join(parts).encode(), hashlib.sha256)
    token = ".".join([*parts, base64.urlsafe_b64encode(signature).rstrip(b"=").decode()])
    with pytest.raises(Refused) as caught:
        read_knock(f"/rtc?access_token={token}", (), OPTIONS, NOW)
    assert (caught.value.status, caught.value.body) == (401, "no permissions to access the room")


@pytest.mark.parametrize(
    ("target", "parts"),
    [
        ("/rtc?a=b", ("/rtc", "a=b")),
        ("//rtc?a=b", ("/rtc", "a=b")),
        ("ws://host:1/rtc/v1?a", ("/rtc/v1", "a")),
        ("ws://host//rtc", ("/rtc", "")),
        ("", ("/", "")),
    ],
)
def test_targets(target, parts):
    assert split_target(target) == parts


def test_a_target_that_is_none():
    with pytest.raises(Refused):
        split_target("ws://[x/rtc")
