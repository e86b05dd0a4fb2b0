from __future__ import annotations

import pytest

from sansio.base.errors import ParseError
from sansio.ice.servers import ServerUrl, parse_server_url


@pytest.mark.parametrize(
    ("url", "server"),
    [
        ("stun:example.org", ServerUrl("stun", "example.org", 3478, "udp")),
        ("STUN:example.org:19302", ServerUrl("stun", "example.org", 19302, "udp")),
        ("stuns:example.org", ServerUrl("stuns", "example.org", 5349, "tcp")),
        ("stun:192.0.2.1:99", ServerUrl("stun", "192.0.2.1", 99, "udp")),
        ("stun:[2001:DB8::1]", ServerUrl("stun", "2001:db8::1", 3478, "udp")),
        ("stun:[2001:db8::1]:99", ServerUrl("stun", "2001:db8::1", 99, "udp")),
        ("turn:example.org", ServerUrl("turn", "example.org", 3478, "udp")),
        ("turn:example.org:1?transport=tcp", ServerUrl("turn", "example.org", 1, "tcp")),
        ("turn:example.org?Transport=UDP", ServerUrl("turn", "example.org", 3478, "udp")),
        ("turns:example.org:443?transport=tcp", ServerUrl("turns", "example.org", 443, "tcp")),
        ("turns:example.org", ServerUrl("turns", "example.org", 5349, "tcp")),
    ],
)
def test_urls(url, server):
    assert parse_server_url(url) == server


@pytest.mark.parametrize(
    "url",
    [
        "",
        "stun",
        "stun:",
        "http:example.org",
        "stun://example.org",
        "stun:example.org:",
        "stun:example.org:0",
        "stun:example.org:65536",
        "stun:example.org:123456",
        "stun:example.org:x",
        "stun:user@example.org",
        "stun:[2001:db8::1",
        "stun:[example.org]",
        "stun:[2001:db8::1]99",
        "stun:2001:db8::1",
        "stun:example.org?transport=udp",
        "turn:example.org?transport=sctp",
        "turn:example.org?x=tcp",
        "turn:exa mple.org",
        "turn:exämple.org",
        "turn:" + "x" * 600,
    ],
)
def test_malformed(url):
    with pytest.raises(ParseError):
        parse_server_url(url)


def test_kinds():
    assert not parse_server_url("stun:x").relays
    assert parse_server_url("turn:x").relays
    assert parse_server_url("turns:x").relays
    assert parse_server_url("turns:x").secure
    assert not parse_server_url("turn:x").secure
