from __future__ import annotations

import itertools

import pytest

from sansio.ice import preference
from sansio.ice.preference import (
    can_pair,
    candidate_priority,
    is_link_local,
    is_loopback,
    local_preference,
    nomination_wait,
    pair_priority,
    path_kind,
    peer_reflexive_priority,
    type_preference,
    usable_address,
)

SERVER_UDP, SERVER_TCP = 2130706431, 1671430143


def test_priority_formula_of_rfc_8445():
    assert candidate_priority(126, 65535) == (126 << 24) + (65535 << 8) + 255
    assert candidate_priority(0, 0, 256) == 0


def test_pair_priority_formula_of_rfc_8445():
    assert pair_priority(5, 3) == (3 << 32) + 10 + 1
    assert pair_priority(3, 5) == (3 << 32) + 10
    assert pair_priority(4, 4) == (4 << 32) + 8


@pytest.mark.parametrize("address", ["192.0.2.1", "2001:db8::1"])
def test_our_order_of_paths_shows_in_the_pair_priorities(candidate, address):
    """Also on the peer's side, which knows nothing but the priorities, and for candidates that it discovers."""
    stream = candidate(address, 9, protocol="tcp", tcptype="active")
    locals_ = [
        [candidate(address, 5), candidate("203.0.113.5", 5, "srflx")],
        [candidate(address, 6, "relay", relay_protocol="udp")],
        [stream],
        [candidate(address, 7, "relay", relay_protocol="tcp")],
        [candidate(address, 7, "relay", relay_protocol="tls")],
    ]

    def theirs(local):
        return SERVER_TCP if local.protocol == "tcp" else SERVER_UDP

    for better, worse in itertools.pairwise(locals_):
        for first, second in itertools.product(better, worse):
            for of in (lambda local: local.priority, peer_reflexive_priority):
                assert pair_priority(of(first), theirs(first)) > pair_priority(of(second), theirs(second))
                assert pair_priority(theirs(first), of(first)) > pair_priority(theirs(second), of(second))


def test_type_preferences():
    assert type_preference("host", "udp") > type_preference("prflx", "udp") > type_preference("srflx", "udp")
    assert type_preference("host", "tcp") > type_preference("prflx", "tcp") > type_preference("srflx", "tcp")
    assert type_preference("relay", "udp") == type_preference("relay", "udp", "udp")
    # RFC 8445 section 5.1.2.2 recommends these
    assert [type_preference(kind, "udp") for kind in ("host", "prflx", "srflx")] == [126, 110, 100]


def test_local_preference():
    order = [
        local_preference(0, "2001:db8::1"),
        local_preference(0, "192.0.2.1"),
        local_preference(1, "2001:db8::2"),
        local_preference(1, "192.0.2.2"),
        local_preference(99, "192.0.2.2"),
        local_preference(0, "169.254.1.1"),
        local_preference(0, "::1"),
        local_preference(0, "127.0.0.1"),
        local_preference(500, "127.0.0.1"),
    ]
    assert order == sorted(order, reverse=True)
    assert len(set(order)) == len(order)
    assert all(0 <= value <= 65535 for value in order)


def test_path_kinds(candidate):
    udp, tcp = candidate(), candidate(protocol="tcp")
    relay = candidate(type="relay")
    assert path_kind(udp, udp) == preference.DIRECT_UDP
    assert path_kind(tcp, tcp) == preference.DIRECT_TCP
    assert path_kind(relay, udp) == preference.RELAYED_UDP
    assert path_kind(udp, relay) == preference.RELAYED_UDP
    assert path_kind(tcp, candidate(type="relay", protocol="tcp")) == preference.RELAYED_TCP
    assert path_kind(candidate(type="relay", relay_protocol="udp"), udp) == preference.RELAYED_UDP
    assert path_kind(candidate(type="relay", relay_protocol="tcp"), udp) == preference.RELAYED_TCP
    assert path_kind(candidate(type="relay", relay_protocol="tls"), udp) == preference.RELAYED_TLS
    assert len(preference.PATH_NAMES) == preference.RELAYED_TLS + 1


@pytest.mark.parametrize(
    ("one", "other", "pairs"),
    [
        ("192.0.2.1", "198.51.100.1", True),
        ("10.0.0.1", "198.51.100.1", True),
        ("2001:db8::1", "fd00::1", True),
        ("192.0.2.1", "2001:db8::1", False),
        ("127.0.0.1", "127.0.0.1", True),
        ("127.0.0.1", "192.0.2.1", False),
        ("::1", "::1", True),
        ("::1", "127.0.0.1", False),
        ("fe80::1", "fe80::2", True),
        ("fe80::1", "2001:db8::1", False),
        ("169.254.0.1", "169.254.0.2", True),
    ],
)
def test_pairing(one, other, pairs):
    assert can_pair(one, other) is pairs
    assert can_pair(other, one) is pairs


def test_scopes():
    assert is_loopback("127.3.2.1")
    assert not is_loopback("::2")
    assert is_link_local("fe80::1%eth0")
    assert not is_link_local("192.0.2.1")
    for address in ("0.0.0.0", "::", "224.0.0.1", "ff02::1"):
        assert not usable_address(address)
    assert usable_address("192.0.2.1")


def test_nomination_waits():
    assert nomination_wait(preference.DIRECT_TCP, preference.DIRECT_TCP, True, 1.0) == 0
    assert nomination_wait(preference.DIRECT_UDP, preference.DIRECT_UDP, False, 0.0) == 0.02
    assert nomination_wait(preference.DIRECT_UDP, preference.DIRECT_UDP, False, 0.2) == pytest.approx(0.1)
    assert nomination_wait(preference.RELAYED_UDP, preference.DIRECT_UDP, False, 0.001) == 0.05
    assert nomination_wait(preference.RELAYED_UDP, preference.DIRECT_UDP, False, 0.1) == pytest.approx(0.3)
