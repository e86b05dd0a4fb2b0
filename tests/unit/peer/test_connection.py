from __future__ import annotations

import json

import pytest

from sansio.base.entropy import Entropy
from sansio.base.errors import LocalProtocolError
from sansio.base.limits import SECTIONS
from sansio.dtls.engine import default_engine
from sansio.dtls.identity import DtlsIdentity
from sansio.ice.agent import PairSelected
from sansio.ice.candidate import Candidate
from sansio.peer.connection import ANSWER_TIMEOUT, NegotiationFailed
from sansio.peer.transport import TransportConnected
from sansio.sdp.media import parse_sdp
from sansio.testing.netem import Link
from sansio.testing.pairs import A, B, host_candidate
from sansio.testing.world import World
from tests.unit.peer.ends import IDENTITIES, Connections

LINK = Link(latency=0.02)
REAL = {name: DtlsIdentity.generate(1.8e9, Entropy(name.encode())) for name in "ab"}


@pytest.fixture
def pair():
    return Connections(World(1, link=LINK))


@pytest.fixture
def connected(pair):
    pair.negotiate()
    pair.run(pair.up)
    return pair


def exchange(pair, change=lambda sdp: sdp):
    """An offer of "a", and the answer of "b", changed."""
    offer, number = pair.ends["a"].create_offer(pair.world.now)
    answer = pair.ends["b"].handle_offer(offer, pair.world.now)
    pair.ends["a"].handle_answer(change(answer), number, pair.world.now)
    pair.touch("a")
    pair.touch("b")
    pair.world.run_for(0.001)


def failures(pair, name):
    return [failed.detail for failed in pair.outputs(name, NegotiationFailed)]


# ------------------------------------------------------------------ both sides


@pytest.mark.parametrize("real", [False, True], ids=["plain", "openssl"])
def test_negotiates_and_connects(real):
    kinds = {"engine": default_engine, "identities": REAL} if real else {}
    with World(1, link=LINK) as world:
        pair = Connections(world, **kinds)
        offer, answer = pair.negotiate()
        pair.run(pair.up)
        for name in "ab":
            assert len(pair.outputs(name, TransportConnected)) == 1
            assert pair.ends[name].max_message_size == 65535
        assert (parse_sdp(offer).transport.setup, parse_sdp(answer).transport.setup) == ("actpass", "active")
        # the answerer is the DTLS client
        assert pair.transport("b").channels.open("x", now=world.now) % 2 == 0
        assert pair.transport("a").channels.open("x", now=world.now) % 2 == 1


def test_host_candidates_and_fingerprint_stand_in_the_descriptions(pair):
    offer, answer = pair.negotiate()
    for text, name, address in ((offer, "a", A), (answer, "b", B)):
        session = parse_sdp(text)
        (line,) = session.candidates
        assert f" {address[0]} {address[1]} typ host" in line
        assert str(session.transport.fingerprints[0]).split() == list(IDENTITIES[name].fingerprint)
        assert session.transport.ice_ufrag == pair.transport(name).ice.local_ufrag
        assert pair.ends[name].described


def test_every_description_has_a_version_and_every_offer_a_number(pair):
    a = pair.ends["a"]
    assert not a.described
    first, number = a.create_offer(0.0)
    assert (number, a.negotiating, a.described, a.answers) == (1, True, True, 0)
    with pytest.raises(LocalProtocolError, match="outstanding"):
        a.create_offer(0.0)
    assert a.last_offer == first
    answer = pair.ends["b"].handle_offer(first, 0.0)
    a.handle_answer(answer, 1, 0.0)
    assert (a.negotiating, a.answers, a.last_answer) == (False, 1, answer)
    second, number = a.create_offer(0.0)
    assert number == 2
    origins = [parse_sdp(text).origin.split() for text in (first, second)]
    assert origins[0][1] == origins[1][1]
    assert [origin[2] for origin in origins] == ["1", "2"]


def test_lost_ports_leave_the_descriptions(pair):
    a = pair.ends["a"]
    a.add_local_candidate(host_candidate(("10.0.0.9", 9)), 2, 0.0)
    a.remove_local_port(1, 0.0)
    (line,) = parse_sdp(a.create_offer(0.0)[0]).candidates
    assert "10.0.0.9" in line


def test_trickled_candidates_come_before_and_after_the_description():
    for early in (True, False):
        with World(1, link=LINK) as world:
            pair = Connections(world)
            a, b = pair.ends["a"], pair.ends["b"]
            offer, number = a.create_offer(world.now)
            bare = "\r\n".join([line for line in offer.split("\r\n") if "candidate" not in line])
            if early:
                b.add_remote_candidate(host_candidate(A), world.now)
            answer = b.handle_offer(bare, world.now)
            bare = "\r\n".join([line for line in answer.split("\r\n") if "candidate" not in line])
            if early:
                a.add_remote_candidate(host_candidate(B), world.now)
            a.handle_answer(bare, number, world.now)
            if not early:
                world.run_for(0.5)
                assert not pair.outputs("a", PairSelected)
                a.add_remote_candidate(host_candidate(B), world.now)
                b.add_remote_candidate(host_candidate(A), world.now)
            pair.touch("a")
            pair.touch("b")
            pair.run(pair.connected, limit=1)


def test_candidates_that_cannot_be_read_or_used_do_no_harm(pair):
    exchange(
        pair,
        lambda sdp: sdp.replace(
            "a=candidate",
            "a=candidate:1 1 udp\r\na=candidate:1 1 udp 1 host.local 5 typ host\r\n"
            "a=candidate:1 2 udp 1 10.0.0.2 5000 typ host\r\na=candidate",
            1,
        ),
    )
    a = pair.ends["a"]
    assert a.counters.snapshot() == {"bad_candidate": 1}
    assert a.transport.ice.counters.snapshot() == {"candidate_unusable": 1}
    pair.run(pair.connected)


def test_the_end_of_candidates_reaches_ice():
    with World(1, link=Link(down=True)) as world:
        pair = Connections(world)
        exchange(pair, lambda sdp: sdp.replace("a=candidate", "a=end-of-candidates\r\na=candidate", 1))
        assert pair.transport("a").ice._remote_ended


def test_an_ice_lite_peer_is_known_as_such(pair):
    exchange(pair, lambda sdp: sdp.replace("t=0 0", "t=0 0\r\na=ice-lite"))
    assert pair.transport("a").ice.remote_lite


@pytest.mark.parametrize(
    ("line", "size"),
    [("a=max-message-size:1000", 1000), ("a=max-message-size:0", 65535), ("a=unknown", 65535)],
)
def test_the_peers_largest_message(pair, line, size):
    exchange(pair, lambda sdp: sdp.replace("a=max-message-size:65535", line))
    assert pair.ends["a"].max_message_size == size


def test_without_data_channels_there_is_no_largest_message(pair):
    a = pair.ends["a"]
    a.media.add_receive_sections(1, 0)
    exchange(pair, lambda sdp: sdp.replace("m=application 9", "m=application 0").replace("BUNDLE 0 1", "BUNDLE 1"))
    assert a.remote.application is None
    assert a.max_message_size == 0
    pair.run(pair.connected)


def test_a_passive_answer_makes_us_the_dtls_client(pair):
    exchange(pair, lambda sdp: sdp.replace("setup:active", "setup:passive"))
    assert pair.transport("a").channels.open("x", now=0.0) % 2 == 0


# ------------------------------------------------------------------ what cannot be used

UNUSABLE = [
    ("", "v="),
    ("v=0", ""),
    ("nonsense\r\n", ""),
    (lambda sdp: sdp.replace("m=application 9", "m=application 0"), "every section is rejected"),
    (lambda sdp: sdp.replace("sha-256", "sha-1"), "no fingerprint of a known kind"),
    (lambda sdp: sdp.replace("fingerprint:sha-256 ", "fingerprint:sha-256 AA:"), "no fingerprint of a known kind"),
    (lambda sdp: sdp.replace("a=ice-ufrag", "a=x"), "credentials"),
    (lambda sdp: sdp.replace("a=fingerprint", "a=x"), "fingerprint"),
    (lambda sdp: sdp.replace("a=setup", "a=x"), "setup"),
    (lambda sdp: sdp.replace("a=mid:0", "a=mid:1"), "BUNDLE"),
]


@pytest.mark.parametrize(("change", "why"), UNUSABLE)
def test_an_unusable_answer_is_told_once(pair, change, why):
    exchange(pair, change if callable(change) else lambda sdp: change)
    (detail,) = failures(pair, "a")
    assert detail.startswith("the answer cannot be used: ")
    assert why in detail
    a = pair.ends["a"]
    assert a.counters.snapshot() == {"negotiation_failed": 1}
    assert not a.negotiating
    assert a.remote is None
    assert a.transport.ice.remote_ufrag == ""


@pytest.mark.parametrize(("change", "why"), UNUSABLE)
def test_an_unusable_offer_is_not_answered(pair, change, why):
    offer, _ = pair.ends["a"].create_offer(0.0)
    b = pair.ends["b"]
    assert b.handle_offer(change(offer) if callable(change) else change, 0.0) is None
    pair.touch("b")
    pair.world.run_for(0.001)
    (detail,) = failures(pair, "b")
    assert detail.startswith("the offer cannot be used: ")
    assert why in detail
    assert not b.described


def test_the_first_fingerprint_that_we_know_is_taken(pair):
    exchange(pair, lambda sdp: sdp.replace("a=fingerprint", "a=fingerprint:sha-1 AA:BB\r\na=fingerprint", 1))
    pair.run(pair.connected)


def test_a_description_cut_off_anywhere_is_harmless(pair):
    offer, _ = pair.ends["a"].create_offer(0.0)
    for end in range(0, len(offer), 7):
        pair.ends["b"].handle_offer(offer[:end], 0.0)
    assert pair.ends["b"].counters["negotiation_failed"] > 10


def test_stale_answers_are_dropped(pair):
    a, b = pair.ends["a"], pair.ends["b"]
    a.handle_answer("nonsense", 0, 0.0)
    offer, number = a.create_offer(0.0)
    answer = b.handle_offer(offer, 0.0)
    a.handle_answer("nonsense", number + 1, 0.0)
    assert a.negotiating
    a.handle_answer(answer, 0, 0.0)
    a.handle_answer("nonsense", number, 0.0)
    assert a.counters.snapshot() == {"stale_answer": 3}
    pair.run(pair.connected)
    assert not failures(pair, "a")


def test_an_offer_without_answer_is_given_up(pair):
    a, world = pair.ends["a"], pair.world
    a.create_offer(world.now)
    pair.touch("a")
    world.run_for(ANSWER_TIMEOUT - 0.001)
    assert a.negotiating
    assert not failures(pair, "a")
    world.run_for(0.002)
    assert failures(pair, "a") == ["the server did not answer an offer within 15 s"]
    assert not a.negotiating
    world.run_for(60.0)
    assert len(failures(pair, "a")) == 1


def test_an_offer_that_travels_with_the_join_has_longer(pair):
    a, world = pair.ends["a"], pair.world
    a.create_offer(world.now, delay=20.0)
    pair.touch("a")
    world.run_for(ANSWER_TIMEOUT + 19.999)
    assert a.negotiating
    world.run_for(0.002)
    assert len(failures(pair, "a")) == 1


# ------------------------------------------------------------------ sections


def test_receive_sections_are_added_behind_the_others(pair):
    a = pair.ends["a"]
    a.media.add_receive_sections(2, 1)
    exchange(pair)
    a.media.add_receive_sections(1, 0)
    session = parse_sdp(a.create_offer(0.0)[0])
    assert [(media.kind, media.mid) for media in session.media] == [
        ("application", "0"),
        ("audio", "1"),
        ("audio", "2"),
        ("video", "3"),
        ("audio", "4"),
    ]
    assert {media.direction for media in session.media[1:]} == {"recvonly"}
    pair.run(pair.connected)


def test_not_more_sections_than_the_limit_says(pair):
    a = pair.ends["a"]
    a.media.add_receive_sections(2**31, 2**31)
    a.media.add_receive_sections(0, 1)
    offer, _ = a.create_offer(0.0)
    assert len(parse_sdp(offer).media) == SECTIONS
    assert a.counters.snapshot() == {"section_limit": 3}
    # what has been offered can also be answered
    answer = pair.ends["b"].handle_offer(offer, 0.0)
    assert len(parse_sdp(answer).media) == SECTIONS


def test_sections_in_use_are_those_with_a_stream(pair):
    a = pair.ends["a"]
    assert a.sections_in_use == 0
    a.media.add_receive_sections(3, 0)

    def answer(sdp):
        parts = sdp.replace("a=inactive", "a=sendonly").split("m=")
        parts[2] += "a=msid:PA_1|TR_1 TR_1\r\n"
        parts[3] = parts[3].replace("a=sendonly", "a=inactive") + "a=msid:PA_1|TR_2 TR_2\r\n"
        return "m=".join(parts)

    exchange(pair, answer)
    assert a.sections_in_use == 1


# ------------------------------------------------------------------ restarts and the end


def test_a_restart_of_the_offerer_keeps_the_connection(connected):
    pair = connected
    a, b = pair.ends["a"], pair.ends["b"]
    before = [pair.transport(name).ice.local_ufrag for name in "ab"]
    a.create_offer(pair.world.now)
    a.restart(pair.world.now, ice=True)
    assert not a.negotiating
    pair.negotiate()
    after = [pair.transport(name).ice.local_ufrag for name in "ab"]
    assert not [old for old, new in zip(before, after, strict=True) if old == new]
    pair.run(lambda: len(pair.outputs("a", PairSelected)) == len(pair.outputs("b", PairSelected)) == 2)
    assert len(pair.outputs("a", TransportConnected)) == 1
    assert b.transport.connected


def test_without_ice_only_the_outstanding_offer_is_forgotten(connected):
    pair = connected
    a = pair.ends["a"]
    ufrag = a.transport.ice.local_ufrag
    _, number = a.create_offer(pair.world.now)
    a.restart(pair.world.now, ice=False)
    a.handle_answer("nonsense", number, pair.world.now)
    assert a.counters.snapshot() == {"stale_answer": 1}
    assert a.transport.ice.local_ufrag == ufrag


def test_close_is_final(connected):
    pair = connected
    a = pair.ends["a"]
    a.create_offer(pair.world.now)
    a.close(pair.world.now)
    assert not a.negotiating
    pair.touch("a")
    pair.world.run_for(60.0)
    assert a.advance(pair.world.now) == float("inf")
    a.add_remote_candidate(Candidate("1", 1, "udp", 1, "10.0.0.3", 1, "host"), pair.world.now)
    assert not failures(pair, "a")


def test_diagnostics_are_json_without_secrets(connected):
    pair = connected
    for name in "ab":
        text = json.dumps(pair.ends[name].diagnostics())
        found = json.loads(text)
        assert found["ice"]["state"] == "CONNECTED"
        assert found["dtls"]["profile"] == "AEAD_AES_128_GCM"
        assert sorted(found) == ["dtls", "ice", "negotiation", "rtp", "sctp", "srtp", "transport"]
        assert pair.transport(name).ice.local_pwd not in text
