"""Negotiation and the end of a session, with the small server in virtual time."""

from __future__ import annotations

import pytest

from sansio import proto
from sansio.base.errors import LocalProtocolError
from sansio.base.limits import SECTION_REQUESTS, SECTIONS
from sansio.events import Connected
from sansio.lifecycle.policy import ReconnectPolicy
from sansio.room.outputs import Ended
from sansio.sdp.media import parse_sdp
from sansio.types import DisconnectReason
from tests.unit.room.party import Party

rtc = proto.rtc
MODES = pytest.mark.parametrize("single", [True, False], ids=["single", "dual"])


# ------------------------------------------------------------------ negotiation


def test_asked_for_sections_are_added_exactly_and_offered():
    with Party("alice", receive_sections=(0, 0)) as party:
        party.require("alice", 2, 1)
        party.wait(1.0)
        party.require("alice", 0, 0)
        party.wait(1.0)
        party.require("alice", 1, 0)
        party.wait(1.0)
        made = party.requests("alice", "offer")
        kinds = [[media.kind for media in parse_sdp(offer.sdp).media] for offer in made]
        first = ["application", "audio", "audio", "video"]
        assert kinds == [first, first, [*first, "audio"]]
        assert [offer.id for offer in made] == [2, 3, 4]
        assert party.engines["alice"].diagnostics()["transports"]["peers"][0]["negotiation"] == {}


def test_one_offer_is_outstanding_and_one_more_is_owed():
    with Party("alice", receive_sections=(0, 0)) as party:
        for _ in range(5):
            party.require("alice", 1, 0)
        party.run(lambda: party.requests("alice", "offer"), limit=0.1)
        party.wait(0.005)
        assert len(party.requests("alice", "offer")) == 1
        party.wait(1.0)
        last = party.requests("alice", "offer")
        assert [offer.id for offer in last] == [2, 3]
        assert len(parse_sdp(last[-1].sdp).media) == 6


def test_a_requirement_that_no_offer_meets_is_followed_a_few_times_only():
    """LiveKit's server repeats it at once, thousands of times a second."""
    with Party("alice") as party:
        there = party.there("alice")
        answer = there.handle_offer

        def insist(offer, now):
            answer(offer, now)
            party.require("alice", 1, 0)

        there.handle_offer = insist
        party.require("alice", 1, 0)
        party.wait(10.0)
        assert len(party.requests("alice", "offer")) == 1 + SECTION_REQUESTS
        assert party.engines["alice"].diagnostics()["transports"]["requirement_ignored"] == 1
        # another requirement begins anew
        there.handle_offer = answer
        party.require("alice", 0, 1)
        party.wait(1.0)
        party.require("alice", 1, 0)
        party.wait(1.0)
        assert len(party.requests("alice", "offer")) == 3 + SECTION_REQUESTS


def test_a_requirement_that_is_met_may_come_again_and_again():
    """One more person publishes audio, and one more, and one more."""
    with Party("alice") as party:

        def used(response):
            """The server uses each receive section that was offered."""
            if response.WhichOneof("message") == "answer":
                head, *parts = response.answer.sdp.split("m=audio")
                parts = [part.replace("a=inactive", "a=sendonly") + "a=msid:PA TR\r\n" for part in parts]
                response.answer.sdp = "m=audio".join([head, *parts])

        party.tamper("alice", used)
        for count in range(1, 10):
            party.require("alice", 1, 0)
            party.wait(0.5)
            assert len(party.requests("alice", "offer")) == count
        party.require("alice", 0, 0)
        party.require("alice", 0, 0)
        party.wait(0.5)
        assert party.engines["alice"]._parts.transports.counters.snapshot() == {}


def test_sections_have_a_limit():
    with Party("alice") as party:
        party.require("alice", 2**32 - 1, 2**32 - 1)
        party.wait(1.0)
        (offer,) = party.requests("alice", "offer")
        assert len(parse_sdp(offer.sdp).media) == SECTIONS
        party.wait(20.0)
        assert not party.found("alice", Ended)


def test_what_belongs_to_the_other_mode_is_counted():
    with Party("alice", single_peer_connection=False) as party:
        party.require("alice", 1, 0)
        party.wait(1.0)
        assert party.engines["alice"].diagnostics()["transports"]["unexpected_requirement"] == 1
        assert len(party.requests("alice", "offer")) == 1
    with Party("alice", single_peer_connection=True) as party:
        party.say("alice", offer=rtc.SessionDescription(type="offer", sdp="nonsense", id=1))
        party.wait(1.0)
        assert party.engines["alice"].diagnostics()["transports"]["unexpected_offer"] == 1
        assert not party.found("alice", Ended)


@MODES
def test_trickled_candidates_reach_their_peer_connection(single):
    with Party("alice", single_peer_connection=single) as party:
        for target, port in ((rtc.PUBLISHER, 1001), (rtc.SUBSCRIBER, 1002)):
            line = f"candidate:7 1 udp 5 10.9.9.9 {port} typ host"
            party.say("alice", trickle=rtc.TrickleRequest(candidateInit=f'{{"candidate":"{line}"}}', target=target))
        party.say("alice", trickle=rtc.TrickleRequest(candidateInit='{"candidate":""}', final=True))
        party.say("alice", trickle=rtc.TrickleRequest(candidateInit="no json"))
        party.wait(0.5)
        known = [
            [pair.remote.port for pair in party.transport("alice", which).pairs_report() if pair.remote.port < 2000]
            for which in range(1 if single else 2)
        ]
        assert known == ([[1001, 1002]] if single else [[1001], [1002]])
        assert party.engines["alice"].diagnostics()["transports"]["bad_trickle"] == 1


def test_stale_answers_are_dropped():
    with Party("alice") as party:
        party.say("alice", answer=rtc.SessionDescription(type="answer", sdp="nonsense", id=1))
        party.wait(1.0)
        assert party.engines["alice"].diagnostics()["transports"]["peers"][0]["negotiation"] == {"stale_answer": 1}
        assert not party.found("alice", Ended)


def test_an_unusable_offer_ends_a_dual_join():
    with Party(seed=2) as party:
        alice = party.enter("alice", single_peer_connection=False)

        def spoil(response):
            if response.WhichOneof("message") == "offer":
                response.offer.sdp = "nonsense"

        party.tamper("alice", spoil)
        party.run(lambda: alice.closed)
        assert [end.reason for end in party.found("alice", Ended)] == [DisconnectReason.MEDIA_FAILURE]


def test_the_publisher_is_primary_where_the_server_says_so():
    """A client that may not subscribe."""
    with Party(seed=2) as party:
        alice = party.enter("alice", single_peer_connection=False)

        def publisher_first(response):
            if response.WhichOneof("message") == "join":
                response.join.subscriber_primary = False
            if response.WhichOneof("message") == "offer":
                response.Clear()

        party.tamper("alice", publisher_first)
        party.run(lambda: party.found("alice", Connected))
        assert alice._parts.transports._peers[0].up
        assert not alice._parts.transports._peers[1].up


# ------------------------------------------------------------------ the end


@MODES
def test_stopping_flushes_reliable_data_before_the_leave(single):
    with Party("alice", "bob", single_peer_connection=single) as party:
        party.wait(1.0)
        sent = [b"%d" % n * 3000 for n in range(20)]
        for payload in sent:
            assert party.publish("alice", payload)
        party.stop("alice")
        with pytest.raises(LocalProtocolError, match="not connected"):
            party.publish("alice", b"too late")
        party.run(lambda: party.engines["alice"].closed)
        assert party.hear("bob", len(sent)) == sent
        assert [end.reason for end in party.found("alice", Ended)] == [DisconnectReason.CLIENT_INITIATED]


def test_stopping_does_not_wait_for_ever():
    with Party("alice", "bob", flush_timeout=0.7) as party:
        party.wait(1.0)
        party.world.partition("alice", "server")
        party.publish("alice", b"lost")
        start = party.now
        party.stop("alice")
        party.run(lambda: party.engines["alice"].closed)
        assert party.now - start == pytest.approx(0.7)
        assert party.there("alice") is not None  # the leave is under way
        party.wait(0.1)
        assert party.there("alice") is None


@pytest.mark.parametrize("waited", [0.0, 0.3])
def test_stopping_can_be_hurried(waited):
    with Party("alice", "bob", flush_timeout=0.7) as party:
        party.wait(1.0)
        party.world.partition("alice", "server")
        party.publish("alice", b"lost")
        if waited:
            party.stop("alice")
            party.wait(waited)
            assert not party.engines["alice"].closed
        start = party.now
        for _ in range(2):
            party.stop("alice", flush=False)
        party.run(lambda: party.engines["alice"].closed)
        assert party.now == start
        assert len(party.found("alice", Ended)) == 1


def test_stopping_with_data_for_channels_that_never_came():
    """Dual mode: connected by the subscriber, while the publisher is not there yet."""
    with Party(seed=3) as party:
        alice = party.enter("alice", single_peer_connection=False, flush_timeout=0.5)

        def no_answer(response):
            if response.WhichOneof("message") == "answer":
                response.Clear()

        party.tamper("alice", no_answer)
        party.run(lambda: party.found("alice", Connected))
        party.publish("alice", b"waits")
        start = party.now
        party.stop("alice")
        party.run(lambda: alice.closed)
        assert party.now - start == pytest.approx(0.5)


def test_media_that_fails_without_reconnecting_ends_the_session():
    with Party("alice", reconnect=ReconnectPolicy(attempts=0)) as party:
        party.world.link("server", "alice").down = True
        party.run(lambda: party.engines["alice"].closed)
        assert [end.reason for end in party.found("alice", Ended)] == [DisconnectReason.MEDIA_FAILURE]


def test_the_servers_reason_counts_even_if_its_packets_are_first():
    """It aborts SCTP and says leave at once; here signalling takes half a second longer."""
    with Party("alice", signal_latency=0.5) as party:
        party.wait(1.0)
        party.rooms.server.remove("room", "alice", party.now)
        party.world.poke("server")
        party.run(lambda: party.engines["alice"].closed)
        assert [end.reason for end in party.found("alice", Ended)] == [DisconnectReason.PARTICIPANT_REMOVED]
        assert party.engines["alice"].counters["media_failed"] == 1
