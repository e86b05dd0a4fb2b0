from __future__ import annotations

import json

import pytest

from sansio.base.errors import ParseError
from sansio.ice.candidate import (
    Candidate,
    TrickledCandidate,
    canonical_address,
    first_of_each_family,
    foundation,
    ip_version,
    parse_candidate,
    parse_init,
    to_init,
)

HOST = "candidate:2878742611 1 udp 2130706431 127.0.0.1 7882 typ host ufrag JsoesLuOJlIMRVsW"
LINES = [
    HOST,
    "candidate:3932658255 2 udp 2130706431 fd00::2 7882 typ host ufrag JsoesLuOJlIMRVsW",
    "candidate:375738803 1 tcp 1671430143 127.0.0.1 7881 typ host tcptype passive ufrag JsoesLuOJlIMRVsW",
    "candidate:232954651 1 udp 2122265343 fd00::2 49195 typ host generation 0 network-id 2",
    "candidate:842163049 1 udp 1677729535 203.0.113.7 40000 typ srflx raddr 192.168.1.5 rport 55555 generation 0",
    "candidate:3 1 udp 41885439 198.51.100.9 3000 typ relay raddr 203.0.113.7 rport 40000",
    "candidate:4 1 udp 2122260223 b5b8a7a1-0000-4000-8000-0123456789ab.local 50000 typ host",
]


@pytest.mark.parametrize("line", LINES)
def test_lines_come_back_as_they_were(line):
    assert parse_candidate(line).to_sdp() == line
    assert parse_candidate("a=" + line) == parse_candidate(line)
    assert parse_candidate(line.removeprefix("candidate:") + "\r\n") == parse_candidate(line)


def test_fields():
    candidate = parse_candidate(LINES[4] + " ufrag abcd network-cost 50")
    assert candidate == Candidate(
        foundation="842163049",
        component=1,
        protocol="udp",
        priority=1677729535,
        address="203.0.113.7",
        port=40000,
        type="srflx",
        related_address="192.168.1.5",
        related_port=55555,
        ufrag="abcd",
        extensions=(("generation", "0"), ("network-cost", "50")),
    )
    assert candidate.transport_address == ("203.0.113.7", 40000)


def test_spelling_is_normalised():
    candidate = parse_candidate("candidate:1 1 UDP 5 2001:DB8:0::1 9 typ HOST tcptype ACTIVE")
    assert (candidate.protocol, candidate.address, candidate.type, candidate.tcptype) == (
        "udp",
        "2001:db8::1",
        "host",
        "active",
    )


def test_a_last_name_without_value_is_tolerated():
    assert parse_candidate(HOST + " generation").extensions == ()


@pytest.mark.parametrize(
    "line",
    [
        "",
        "candidate:",
        "candidate:1 1 udp 5 1.2.3.4 9 typ",
        "candidate:1 1 udp 5 1.2.3.4 9 type host",
        "candidate:1 x udp 5 1.2.3.4 9 typ host",
        "candidate:1 257 udp 5 1.2.3.4 9 typ host",
        "candidate:1 1 udp 4294967296 1.2.3.4 9 typ host",
        "candidate:1 1 udp -5 1.2.3.4 9 typ host",
        "candidate:1 1 udp ٣ 1.2.3.4 9 typ host",
        "candidate:1 1 udp 00000000005 1.2.3.4 9 typ host",
        "candidate:1 1 udp 5 1.2.3.4 65536 typ host",
        "candidate:1 1 udp 5 1.2.3.4 9 typ srflx raddr 1.2.3.4 rport x",
        HOST + " x" * 600,
    ],
)
def test_malformed_lines(line):
    with pytest.raises(ParseError):
        parse_candidate(line)


@pytest.mark.parametrize(
    ("line", "usable"),
    [
        (LINES[0], True),
        (LINES[1], False),  # component 2
        (LINES[2], True),
        (LINES[6], False),  # a name
        ("1 1 sctp 5 192.0.2.1 9 typ host", False),
        ("1 1 udp 5 192.0.2.1 9 typ strange", False),
        ("1 1 udp 5 192.0.2.1 0 typ host", False),
    ],
)
def test_usable(line, usable):
    assert parse_candidate(line).usable is usable


def test_names():
    assert parse_candidate(LINES[0]).is_ip
    assert not parse_candidate(LINES[6]).is_ip


def test_addresses():
    assert [ip_version(text) for text in ("192.0.2.1", "::1", "fe80::1%eth0", "x", "a:b", "1.2.3", "")] == [
        *(4, 6, 6, 0, 0, 0, 0)
    ]
    assert canonical_address("2001:0DB8::0") == "2001:db8::"
    assert canonical_address("192.0.2.1") == "192.0.2.1"
    assert canonical_address("x.local") == "x.local"


class TestInit:
    def test_recorded_forms(self):
        text = '{"candidate":"' + HOST + '","sdpMid":"0","sdpMLineIndex":0,"usernameFragment":null}'
        init = parse_init(text)
        assert init == TrickledCandidate(parse_candidate(HOST), "0", 0, "JsoesLuOJlIMRVsW")
        assert parse_init('{"candidate":"' + HOST + '","usernameFragment":"2pd2"}').ufrag == "2pd2"

    @pytest.mark.parametrize("line", LINES)
    def test_round_trip(self, line):
        candidate = parse_candidate(line)
        assert parse_init(to_init(candidate, mid="x", index=3, ufrag="uf")) == TrickledCandidate(
            candidate, "x", 3, "uf"
        )

    def test_end_of_candidates(self):
        assert json.loads(to_init(None)) == {
            "candidate": "",
            "sdpMid": "0",
            "sdpMLineIndex": 0,
            "usernameFragment": None,
        }
        for text in ("{}", '{"candidate":""}', '{"candidate":null,"sdpMid":null}', '{"candidate":" "}'):
            assert parse_init(text) == TrickledCandidate(None)
        assert parse_init(to_init(None)) == TrickledCandidate(None, "0", 0)

    @pytest.mark.parametrize("text", ['{"sdpMid":7,"sdpMLineIndex":"x"}', '{"sdpMLineIndex":1.5}'])
    def test_strange_sections_are_ignored(self, text):
        assert parse_init(text) == TrickledCandidate(None)

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "[]",
            "7",
            "{",
            "[" * 4000,
            '{"candidate":7}',
            '{"candidate":"nonsense"}',
            '{"usernameFragment":["x"]}',
            "{" + " " * 5000 + "}",
        ],
    )
    def test_malformed(self, text):
        with pytest.raises(ParseError):
            parse_init(text)


def test_the_first_address_of_each_family_in_their_order():
    found = first_of_each_family(["name.local", "2001:DB8::1", "192.0.2.1", "2001:db8::2", "192.0.2.2", ""])
    assert found == ["2001:db8::1", "192.0.2.1"]
    assert first_of_each_family(["nothing"]) == []


def test_foundations_tell_types_addresses_and_ways_apart():
    one = foundation("host", "192.0.2.1", "")
    assert one == foundation("host", "192.0.2.1", "")
    others = [
        foundation("srflx", "192.0.2.1", ""),
        foundation("host", "192.0.2.2", ""),
        foundation("host", "192.0.2.1", "tcp"),
    ]
    assert len({one, *others}) == 4
    assert one.isdigit()
