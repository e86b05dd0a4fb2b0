"""The server's half of a session, with a client that is no more than a peer connection."""

from __future__ import annotations

from collections import deque
from functools import partial

import pytest

from sansio import proto
from sansio.base.contract import SendSignal
from sansio.base.counters import Counters
from sansio.base.entropy import Entropy
from sansio.base.limits import SFU_HELD_DATA, SFU_SEND_BUFFER
from sansio.base.wallclock import WallClock
from sansio.dtls.plain import PlainEngine, plain_identity
from sansio.ice.candidate import parse_init, to_init
from sansio.peer.connection import PeerConnection
from sansio.sctp.channel import ChannelOpened
from sansio.sfu.participant import DATA_TRACK, JOIN_TIMEOUT, LOSSY, RELIABLE, ServerParticipant, Setting
from sansio.sfu.room import Room
from sansio.sfu.token import Claims
from sansio.testing.netem import Link
from sansio.testing.pairs import A, B, host_candidate
from sansio.testing.world import World

rtc = proto.rtc
UNRELIABLE = {"ordered": False, "max_retransmits": 0}
OPEN = {RELIABLE: {}, LOSSY: UNRELIABLE, DATA_TRACK: UNRELIABLE}
SIGNAL = 7


class Halves:
    """A participant "server" at A and a bare client "client" at B, which negotiate without delay."""

    def __init__(self, *, single=True, opens=(RELIABLE, LOSSY), engine=PlainEngine):
        self.world = World(1, link=Link(latency=0.02))
        self.told = deque()
        self.participant = ServerParticipant(
            "PA_1",
            Claims("alice", "room", attributes={"k": "v"}, name="Alice", metadata="meta"),
            SIGNAL,
            Entropy(b"participant"),
            Setting(
                outbox=self.told,
                ready={},
                identity=plain_identity(Entropy(b"server")),
                engine=engine,
                wall=WallClock(),
            ),
            rtc.JoinRequest(),
            single=single,
            now=0.0,
        )
        self.participant.add_candidates([(host_candidate(A), 1)], 0.0)
        Room(proto.models.Room(), b"", Counters(), deque(), 0.0).enter(self.participant, 0.0)
        self.opens = opens
        self.clients = []
        self.world.add("server", self, {1: A}, deliver=self._deliver)
        for target in range(len(self.participant.peers)):
            client = PeerConnection(
                Entropy(b"client %d" % target),
                plain_identity(Entropy(b"client")),
                deque(),
                offerer=target == 0,
                dtls_engine=engine,
            )
            address = (B[0], B[1] + target)
            self.world.add(
                f"client{target}",
                client,
                {1: address},
                deliver=client.transport.receive_datagram,
                transmits=client.transport.transmits,
            )
            client.add_local_candidate(host_candidate(address), 1, 0.0)
            self.clients.append(client)

    # the participant as a machine of the world

    @property
    def outbox(self):
        return deque()

    @property
    def transmits(self):
        """Asked for once, when the node is made: filled in ``advance``."""
        self._transmits = getattr(self, "_transmits", deque())
        return self._transmits

    def advance(self, now):
        due = self.participant.advance(now)
        for peer in self.participant.peers:
            self.transmits.extend(peer.transmits)
            peer.transmits.clear()
        return due

    def _deliver(self, port, data, src, now):
        self.participant.receive_datagram(src[1] - B[1], port, data, src, now)

    # what happens

    def messages(self, kind):
        responses = [rtc.SignalResponse.FromString(item.data) for item in self.told if isinstance(item, SendSignal)]
        return [getattr(found, kind) for found in responses if found.WhichOneof("message") == kind]

    def offer(self):
        """The client's offer, and our answer to it; the client opens its channels."""
        client = self.clients[0]
        sdp, number = client.create_offer(self.world.now)
        self.participant.handle_offer(rtc.SessionDescription(type="offer", sdp=sdp, id=number), self.world.now)
        answer = self.messages("answer")[-1]
        assert (answer.type, answer.id) == ("answer", number)
        client.handle_answer(answer.sdp, answer.id, self.world.now)
        self.trickle()
        for label in self.opens:
            client.transport.channels.open(label, now=self.world.now, **OPEN[label])
        self.poke()

    def answer(self):
        """Our offer, and the client's answer."""
        self.participant.offer_subscriber()
        offer = self.messages("offer")[-1]
        sdp = self.clients[1].handle_offer(offer.sdp, self.world.now)
        self.trickle()
        self.participant.handle_answer(rtc.SessionDescription(type="answer", sdp=sdp, id=offer.id), self.world.now)
        self.poke()

    def trickle(self):
        for trickle in self.messages("trickle"):
            candidate = parse_init(trickle.candidateInit).candidate
            self.clients[trickle.target].add_remote_candidate(candidate, self.world.now)

    def poke(self):
        for name in ["server", *[f"client{target}" for target in range(len(self.clients))]]:
            self.world.poke(name)

    def send(self, data, reliable=True):
        self.participant.send_data(data, reliable, self.world.now)
        self.poke()

    def read(self, target=0):
        channels = self.clients[target].transport.channels
        found = []
        for number in range(8):
            while (data := channels.read(number)) is not None:
                found.append(bytes(data))
        return found


@pytest.fixture
def halves():
    return Halves()


def test_what_it_says_of_itself(halves):
    found = halves.participant.info
    assert (found.sid, found.identity, found.name, found.metadata) == ("PA_1", "alice", "Alice", "meta")
    assert (found.state, found.version, dict(found.attributes)) == (1, 1, {"k": "v"})
    assert found.permission.can_publish
    assert found.permission.can_publish_data
    assert not found.permission.can_update_metadata
    assert halves.participant.join_due == JOIN_TIMEOUT


def test_a_single_peer_connection_carries_both_directions(halves):
    halves.offer()
    halves.world.run(lambda: halves.participant.active, limit=5)
    halves.world.run_for(0.5)
    halves.send(b"down")
    halves.send(b"lossy down", reliable=False)
    channels = halves.clients[0].transport.channels
    opened = {
        event.label: event.channel for event in halves.world.node("client0").outputs if isinstance(event, ChannelOpened)
    }
    channels.send(opened[RELIABLE], b"up", halves.world.now)
    channels.send(opened[LOSSY], b"lossy up", halves.world.now)
    halves.clients[0].transport.touch_data()
    halves.poke()
    halves.world.run_for(0.1)
    assert sorted(halves.read()) == [b"down", b"lossy down"]
    assert sorted(halves.participant.received) == [(LOSSY, False, b"lossy up"), (RELIABLE, True, b"up")]


def test_two_peer_connections_carry_a_direction_each():
    halves = Halves(single=False)
    halves.offer()
    halves.answer()
    assert not halves.participant.active
    halves.world.run(lambda: halves.participant.active, limit=5)
    assert halves.participant.peers[1].up
    halves.world.run_for(0.5)
    halves.send(b"down")
    halves.send(b"lossy", reliable=False)
    halves.world.run_for(0.1)
    assert halves.read(0) == []
    assert sorted(halves.read(1)) == [b"down", b"lossy"]


def test_active_means_that_the_primary_connection_is_up():
    halves = Halves(single=False)
    halves.offer()
    halves.world.run_for(2.0)
    assert halves.participant.peers[0].up
    assert not halves.participant.active


def test_the_subscriber_restarts_with_new_credentials():
    halves = Halves(single=False)
    halves.answer()
    halves.world.run(lambda: halves.participant.active, limit=5)
    before = halves.participant.peers[1].connection.transport.ice.local_ufrag
    halves.participant.restart_subscriber(halves.world.now)
    assert halves.participant.peers[1].connection.transport.ice.local_ufrag != before
    assert len(halves.messages("offer")) == 2
    assert halves.messages("offer")[1].id == halves.messages("offer")[0].id + 1


# ------------------------------------------------------------------ held data


def test_reliable_data_is_held_until_both_channels_are_open(halves):
    """As LiveKit's server does it; lossy data is of no use later."""
    halves.send(b"early")
    halves.send(b"early lossy", reliable=False)
    halves.offer()
    halves.world.run_for(1.0)
    halves.send(b"late")
    halves.world.run_for(0.1)
    assert halves.read() == [b"early", b"late"]
    assert halves.participant.counters.snapshot() == {"data_undeliverable": 1}


@pytest.mark.parametrize("opens", [(RELIABLE,), (LOSSY,)])
def test_with_one_channel_only_reliable_data_never_comes(opens):
    halves = Halves(opens=opens)
    halves.send(b"held for ever")
    halves.offer()
    halves.world.run(lambda: halves.participant.active, limit=5)
    halves.send(b"this too")
    halves.world.run_for(60.0)
    assert halves.read() == []


def test_not_more_is_held_than_the_limit_says(halves):
    halves.send(bytes(SFU_HELD_DATA // 2))
    halves.send(bytes(SFU_HELD_DATA // 2))
    halves.send(b"x")
    assert halves.participant.counters.snapshot() == {"data_undeliverable": 1}
    halves.offer()
    halves.world.run_for(5.0)
    assert [len(data) for data in halves.read()] == [SFU_HELD_DATA // 2] * 2


def test_not_more_packets_are_held_than_the_limit_says(halves, monkeypatch):
    """Also such as take no bytes."""
    monkeypatch.setattr("sansio.sfu.participant.SFU_HELD_PACKETS", 3)
    for _ in range(5):
        halves.send(b"")
    assert halves.participant.counters.snapshot() == {"data_undeliverable": 2}
    halves.offer()
    halves.world.run_for(5.0)
    assert halves.read() == [b""] * 3


def test_what_is_longer_than_a_message_is_dropped(halves):
    halves.send(bytes(65536))
    halves.send(bytes(65535))
    assert halves.participant.counters.snapshot() == {"data_too_long": 1}
    halves.offer()
    halves.world.run_for(5.0)
    assert [len(data) for data in halves.read()] == [65535]


def test_not_more_waits_for_a_slow_client_than_the_limit_says(halves, monkeypatch):
    monkeypatch.setattr("sansio.sfu.participant.SFU_SEND_BUFFER", 100_000)
    assert SFU_SEND_BUFFER > 100_000
    halves.offer()
    halves.world.run_for(1.0)
    halves.world.partition("server", "client0")
    for _ in range(10):
        halves.send(bytes(30_000))
    transport = halves.participant.peers[0].connection.transport
    assert transport.channels.total_buffered() <= 100_000
    assert halves.participant.counters["data_undeliverable"] >= 4


def test_nothing_is_queued_on_an_association_that_is_over(halves):
    halves.offer()
    halves.world.run_for(1.0)
    halves.participant.peers[0].connection.transport.association.abort(halves.world.now)
    halves.send(b"x")
    assert halves.participant.counters.snapshot() == {"data_undeliverable": 1}


def test_a_channel_that_the_client_closes_is_forgotten(halves):
    halves.offer()
    halves.world.run_for(1.0)
    channels = halves.clients[0].transport.channels
    peer = halves.participant.peers[0]
    channels.close(peer.channels[LOSSY], halves.world.now)
    halves.clients[0].transport.touch_data()
    halves.poke()
    halves.world.run_for(1.0)
    assert list(peer.channels) == [RELIABLE]
    assert peer.lossy == {}
    halves.send(b"x", reliable=False)
    assert halves.participant.counters.snapshot() == {"data_undeliverable": 1}


@pytest.mark.parametrize("label", [RELIABLE, DATA_TRACK])
def test_nothing_is_sent_on_a_channel_that_the_client_is_closing(label):
    """It takes a round trip until the channel is closed on both sides, and others go on sending."""
    halves = Halves(opens=(RELIABLE, LOSSY, DATA_TRACK))
    halves.offer()
    halves.world.run_for(1.0)
    halves.clients[0].transport.channels.close(halves.participant.peers[0].channels[label], halves.world.now)
    halves.clients[0].transport.touch_data()
    participant = halves.participant
    send = participant.send_frame if label == DATA_TRACK else partial(participant.send_data, reliable=True)
    for _ in range(20):
        send(b"x", now=halves.world.now)
        halves.poke()
        halves.world.run_for(0.01)
    refused = participant.counters
    assert refused["data_undeliverable"] + refused["frame_undeliverable"] > 0


def test_a_channel_that_is_opened_again_gets_what_was_held_meanwhile(halves):
    for _ in range(2):
        halves.send(bytes(SFU_HELD_DATA // 2))
    halves.offer()
    halves.world.run_for(3.0)
    assert len(halves.read()) == 2
    channels = halves.clients[0].transport.channels
    channels.close(halves.participant.peers[0].channels[RELIABLE], halves.world.now)
    halves.clients[0].transport.touch_data()
    halves.poke()
    halves.world.run_for(1.0)
    for _ in range(2):
        halves.send(bytes(SFU_HELD_DATA // 2))
    channels.open(RELIABLE, now=halves.world.now)
    halves.clients[0].transport.touch_data()
    halves.poke()
    halves.world.run_for(3.0)
    assert len(halves.read()) == 2
    assert halves.participant.counters.snapshot() == {}


@pytest.mark.parametrize("ends", [False, True], ids=["closed", "aborted"])
def test_our_channels_are_opened_once(ends):
    """A client that closes them does without; it may have ended the whole association."""
    halves = Halves(single=False)
    halves.offer()
    halves.answer()
    halves.world.run_for(1.0)
    peer, transport = halves.participant.peers[1], halves.clients[1].transport
    assert len(peer.channels) == 3
    for number in peer.channels.values():
        transport.channels.close(number, halves.world.now)
    transport.touch_data()
    halves.poke()
    halves.world.run_for(1.0)
    if ends:
        transport.association.abort(halves.world.now)
        transport.touch_data()
        halves.poke()
        halves.world.run_for(1.0)
    assert peer.channels == {}
    halves.answer()
    assert peer.channels == {}


# ------------------------------------------------------------------ what clients may get wrong


def test_an_unusable_offer_is_not_answered(halves):
    halves.participant.handle_offer(rtc.SessionDescription(type="offer", sdp="nonsense", id=1), 0.0)
    assert not halves.told
    halves.poke()
    halves.world.run_for(0.1)
    assert not halves.participant.failed


def test_an_answer_out_of_place_is_counted(halves):
    halves.participant.handle_answer(rtc.SessionDescription(type="answer", sdp="nonsense"), 0.0)
    assert halves.participant.counters.snapshot() == {"unexpected_answer": 1}


def test_an_unusable_answer_opens_nothing():
    halves = Halves(single=False)
    halves.participant.offer_subscriber()
    (offer,) = halves.messages("offer")
    halves.participant.handle_answer(rtc.SessionDescription(type="answer", sdp="nonsense", id=offer.id), 0.0)
    assert halves.participant.peers[1].channels == {}


def test_trickled_candidates(halves):
    trickle = rtc.TrickleRequest(candidateInit=to_init(host_candidate(("10.0.0.9", 9))))
    empty = rtc.TrickleRequest(candidateInit='{"candidate":""}')
    broken = rtc.TrickleRequest(candidateInit="{")
    for message in (trickle, empty, broken):
        halves.participant.handle_trickle(message, 0.0)
    assert halves.participant.counters.snapshot() == {"bad_trickle": 1}
    ice = halves.participant.peers[0].connection.transport.ice
    assert [pair.remote.address for pair in ice.pairs_report()] == ["10.0.0.9"]
    dual = Halves(single=False).participant
    dual.handle_trickle(rtc.TrickleRequest(candidateInit=trickle.candidateInit, target=rtc.SUBSCRIBER), 0.0)
    assert [len(peer.connection.transport.ice.pairs_report()) for peer in dual.peers] == [0, 1]


def test_messages_are_dropped_while_the_link_is_down(halves):
    halves.participant.signal = 0
    halves.participant.send("refresh_token", "x")
    assert not halves.told
    halves.participant.signal = SIGNAL
    halves.participant.send("refresh_token", "x")
    assert halves.messages("refresh_token") == ["x"]


def test_a_client_that_goes_silent_has_failed(halves):
    halves.offer()
    halves.world.run(lambda: halves.participant.active, limit=5)
    halves.world.partition("server", "client0")
    halves.world.run(lambda: halves.participant.failed, limit=30)


def test_close_ends_every_connection():
    halves = Halves(single=False)
    halves.participant.close(0.0)
    assert halves.participant.advance(0.0) == float("inf")


def test_only_sources_that_ice_has_proven_are_valid(halves):
    assert not halves.participant.is_valid_source(0, 1, B)
    halves.offer()
    halves.world.run_for(0.5)
    assert halves.participant.is_valid_source(0, 1, B)
