"""Negotiation, sockets and data channels of a session, with the small server in virtual time."""

from __future__ import annotations

import pytest

from sansio import proto
from sansio.base.contract import ClosePort, Interface, SendSignal
from sansio.base.errors import LocalProtocolError
from sansio.base.limits import SECTION_REQUESTS, SECTIONS
from sansio.events import Connected, Reconnected
from sansio.lifecycle.policy import ReconnectPolicy
from sansio.room.engine import Ended
from sansio.room.transports import RELIABLE_BUDGET, DataReadable, DataWritable
from sansio.sctp.association import SctpOptions
from sansio.sdp.media import parse_sdp
from sansio.testing.netem import Link
from sansio.testing.pairs import SERVER_ADDRESS
from sansio.types import DisconnectReason, Scenario
from tests.unit.room.party import Party

rtc, models = proto.rtc, proto.models
MODES = pytest.mark.parametrize("single", [True, False], ids=["single", "dual"])


def offers(party, name):
    """The offers that somebody has sent over the link."""
    requests = [rtc.SignalRequest.FromString(output.data) for output in party.found(name, SendSignal)]
    return [request.offer for request in requests if request.WhichOneof("message") == "offer"]


# ------------------------------------------------------------------ data


@MODES
def test_packets_carry_everything_that_was_said_of_them(single):
    with Party("alice", "bob", single_peer_connection=single) as party:
        party.wait(1.0)
        party.publish("alice", b"one", topic="chat", destination_identities=["bob"])
        party.publish("alice", b"two", reliable=False)
        party.publish("alice", b"", topic="empty")
        got = []
        party.run(lambda: got.extend(party.read("bob")) or len(got) == 3)
        by_payload = {packet.payload: packet for packet in got}
        bob, alice = party.engines["bob"].state, party.engines["alice"].state.local_participant
        for payload, topic, reliable in ((b"one", "chat", True), (b"two", "", False), (b"", "empty", True)):
            packet = by_payload[payload]
            assert (packet.topic, packet.reliable) == (topic, reliable)
            assert packet.participant is bob.remote_participants["alice"]
            assert (packet.identity, packet.sid) == ("alice", alice.sid)
        assert party.read("alice") == []


def test_packets_for_others_do_not_arrive():
    with Party("alice", "bob", "carol") as party:
        party.publish("alice", b"for carol", destination_identities=["carol"])
        party.publish("alice", b"for all")
        assert party.hear("carol", 2) == [b"for carol", b"for all"]
        assert party.hear("bob", 1) == [b"for all"]


def test_readable_is_told_once_until_all_is_read():
    with Party("alice", "bob") as party:
        party.wait(1.0)
        for payload in (b"1", b"2", b"3"):
            party.publish("alice", payload)
        party.publish("alice", b"4", reliable=False)
        party.wait(1.0)
        assert len(party.found("bob", DataReadable)) == 1
        assert party.engines["bob"].read_data().payload
        party.publish("alice", b"5")
        party.wait(1.0)
        assert len(party.found("bob", DataReadable)) == 1
        assert sorted(packet.payload for packet in party.read("bob")) == [b"2", b"3", b"4", b"5"]
        party.publish("alice", b"6")
        party.wait(1.0)
        assert len(party.found("bob", DataReadable)) == 2
        assert [packet.payload for packet in party.read("bob")] == [b"6"]


def test_packets_that_are_not_for_the_user_are_passed_over():
    with Party("alice") as party:
        party.wait(1.0)
        there = party.there("alice")
        user = models.UserPacket(payload=b"x")
        packets = [
            models.DataPacket(user=user, participant_sid="PA_1", participant_identity="x", sequence=5),
            models.DataPacket(user=user, participant_sid="PA_1", participant_identity="x", sequence=5),
            models.DataPacket(user=user, participant_identity="alice"),
            models.DataPacket(participant_sid="PA_1"),
            models.DataPacket(user=models.UserPacket(payload=b"y")),
        ]
        for packet in packets:
            there.send_data(packet.SerializeToString(), True, party.now)
        there.send_data(b"\xff\xff", True, party.now)
        party.rooms.server._dues[there] = float("-inf")
        party.world.poke("server")
        assert party.hear("alice", 2) == [b"x", b"y"]
        counted = party.engines["alice"].diagnostics()["transports"]["data"]
        assert counted == {
            "data_duplicate": 1,
            "data_from_ourselves": 1,
            "data_undecodable": 1,
            "data_unknown_payload": 1,
        }


@MODES
def test_a_full_budget_says_no_and_then_tells_when_there_is_room(single):
    slow = Link(latency=0.02, rate=1_000_000)
    with Party("alice", "bob", single_peer_connection=single) as party:
        party.wait(1.0)
        party.world.set_link("alice", "server", slow)
        sent = 0
        while party.publish("alice", b"%d " % sent + bytes(30_000)):
            sent += 1
        assert sent * 30_000 >= RELIABLE_BUDGET
        assert not party.found("alice", DataWritable)
        assert not party.publish("alice", b"still no")
        got = []

        def writable():
            got.extend(party.read("bob"))
            return party.found("alice", DataWritable)

        party.run(writable)
        assert party.found("alice", DataWritable) == [DataWritable(True)]
        assert party.publish("alice", b"last ")
        party.run(lambda: got.extend(party.read("bob")) or len(got) == sent + 1)
        numbers = [packet.payload.partition(b" ")[0] for packet in got]
        assert numbers == [b"%d" % n for n in range(sent)] + [b"last"]


def test_a_full_lossy_budget_is_its_own():
    with Party("alice", "bob") as party:
        party.wait(1.0)
        party.world.set_link("alice", "server", Link(latency=0.02, rate=100_000))
        while party.publish("alice", bytes(10_000), reliable=False):
            pass
        assert party.publish("alice", b"reliable")
        party.run(lambda: party.found("alice", DataWritable))
        assert party.found("alice", DataWritable) == [DataWritable(False)]


@MODES
def test_data_queued_before_the_channels_exist_is_sent_and_room_is_told(single):
    with Party("bob", single_peer_connection=single) as party:
        alice = party.engines["alice"] = party.rooms.enter("alice", single_peer_connection=single)
        party.run(lambda: alice.state.joined)
        sent = 0
        while party.publish("alice", b"%d " % sent + bytes(50_000)):
            sent += 1
        party.publish("alice", b"lossy", reliable=False)
        assert not party.found("alice", Connected)
        got = []
        party.run(lambda: got.extend(party.read("bob")) or len(got) == sent + 1)
        reliable = [packet.payload.partition(b" ")[0] for packet in got if packet.reliable]
        assert reliable == [b"%d" % n for n in range(sent)]
        assert party.found("alice", DataWritable) == [DataWritable(True)]


def test_unread_data_closes_the_window_and_reading_opens_it_again(monkeypatch):
    """What Bob does not read stays at the server; how long it keeps it is its own affair."""
    with Party("alice") as party:
        monkeypatch.setattr("sansio.peer.transport.SctpOptions", lambda: SctpOptions(window=300_000))
        party.join("bob")
        sent = 0
        while sent < 20:
            if party.publish("alice", b"%d " % sent + bytes(60_000)):
                sent += 1
            party.wait(0.1)
        channels = party.there("bob").peers[-1].connection.transport.channels
        party.wait(1.0)
        held = channels.total_buffered()
        assert 600_000 < held < 1_000_000
        party.wait(10.0)
        assert channels.total_buffered() == held
        numbers = [payload.partition(b" ")[0] for payload in party.hear("bob", sent)]
        assert numbers == [b"%d" % n for n in range(sent)]
        assert channels.total_buffered() == 0


def test_urgent_packets_overtake_what_waits_and_share_its_numbers():
    slow = Link(latency=0.02, rate=1_000_000)
    with Party("alice", "bob") as party:
        party.wait(1.0)
        arrived = []
        party.engines["bob"]._receiver.handlers["rpc_ack"] = lambda packet, now: arrived.append(packet)
        party.world.set_link("alice", "server", slow)
        for number in range(20):
            assert party.publish("alice", b"%d " % number + bytes(30_000))
        for name in ("x", "y"):
            ack = models.DataPacket(rpc_ack=models.RpcAck(request_id=name), destination_identities=["bob"])
            assert party.engines["alice"].send_packet(ack, urgent=True, now=party.now)
        got = []
        party.run(lambda: got.extend(party.read("bob")) or len(arrived) == 2)
        assert len(got) < 6
        assert [packet.rpc_ack.request_id for packet in arrived] == ["x", "y"]
        assert [packet.participant_identity for packet in arrived] == ["alice", "alice"]
        party.run(lambda: got.extend(party.read("bob")) or len(got) == 20)
        assert [packet.payload.partition(b" ")[0] for packet in got] == [b"%d" % n for n in range(20)]
        assert arrived[1].sequence == arrived[0].sequence + 1 < 10


def test_packets_of_any_payload_are_refused_when_the_budget_is_full_or_nothing_is_connected():
    with Party("alice", "bob") as party:
        alice = party.engines["alice"]
        packet = models.DataPacket(chat_message=models.ChatMessage(message="x" * 30_000))
        alice._transports._lanes[True].full = True
        assert not alice.send_packet(packet, now=party.now)
        assert alice.send_packet(packet, reliable=False, now=party.now)
        packet.chat_message.message = "x" * 64_000
        with pytest.raises(LocalProtocolError, match="in all, more than"):
            alice.send_packet(packet, reliable=False, now=party.now)
        party.stop("alice")
        with pytest.raises(LocalProtocolError, match="not connected"):
            alice.send_packet(packet, now=party.now)


def test_lossy_packets_of_other_payloads_are_handled_when_data_is_read():
    with Party("alice", "bob") as party:
        party.wait(1.0)
        names = []
        party.engines["bob"]._receiver.handlers["rpc_ack"] = lambda packet, now: names.append(packet.rpc_ack.request_id)
        for name in "12":
            packet = models.DataPacket(rpc_ack=models.RpcAck(request_id=name))
            assert party.engines["alice"].send_packet(packet, reliable=False, now=party.now)
        party.world.poke("alice")
        party.wait(1.0)
        assert len(party.found("bob", DataReadable)) == 1
        assert party.read("bob") == []
        assert names == ["1", "2"]


def test_what_a_handler_holds_keeps_the_window_shut_until_it_is_released(monkeypatch):
    with Party("alice") as party:
        monkeypatch.setattr("sansio.peer.transport.SctpOptions", lambda: SctpOptions(window=300_000))
        bob = party.join("bob")
        held = []

        def hold(packet, now):
            held.append(bob._transports.hold(len(packet.stream_chunk.content)))

        bob._receiver.handlers["stream_chunk"] = hold
        for _ in range(20):
            chunk = models.DataPacket(stream_chunk=models.DataStream.Chunk(content=bytes(60_000)))
            assert party.engines["alice"].send_packet(chunk, now=party.now)
            party.world.poke("alice")
            party.wait(0.1)
        party.wait(10.0)
        assert 4 <= len(held) <= 6
        window = party.transport("bob").association.receiver
        assert window.held >= 240_000
        released = 0
        while released < 20:
            assert len(held) > released
            held[released].release()
            released += 1
            party.world.poke("bob")
            party.wait(2.0)
        assert window.held == 0


def test_unread_data_outlives_a_restart():
    with Party("alice", "bob") as party:
        party.wait(1.0)
        party.publish("alice", b"before")
        party.run(lambda: party.found("bob", DataReadable))
        bob = party.engines["bob"]
        bob.simulate(Scenario.FULL_RECONNECT, party.now)
        party.world.poke("bob")
        party.run(lambda: party.found("bob", Reconnected))
        party.publish("alice", b"after")
        assert party.hear("bob", 2) == [b"before", b"after"]


def test_a_closed_channel_can_still_be_read():
    with Party("alice", single_peer_connection=False) as party:
        party.wait(1.0)
        there = party.there("alice")
        transport = there.peers[1].connection.transport
        packet = models.DataPacket(user=models.UserPacket(payload=b"last"))
        there.send_data(packet.SerializeToString(), False, party.now)
        for number in there.peers[1].channels.values():
            transport.channels.close(number, party.now)
        transport.touch_data()
        there.peers[1].due = party.rooms.server._dues[there] = float("-inf")
        party.world.poke("server")
        party.wait(1.0)
        assert [packet.payload for packet in party.read("alice")] == [b"last"]
        assert party.engines["alice"]._transports._peers[1].lossy == {}
        assert party.read("alice") == []


# ------------------------------------------------------------------ negotiation


def test_asked_for_sections_are_added_exactly_and_offered():
    with Party("alice", receive_sections=(0, 0)) as party:
        party.require("alice", 2, 1)
        party.wait(1.0)
        party.require("alice", 0, 0)
        party.wait(1.0)
        party.require("alice", 1, 0)
        party.wait(1.0)
        made = offers(party, "alice")
        kinds = [[media.kind for media in parse_sdp(offer.sdp).media] for offer in made]
        first = ["application", "audio", "audio", "video"]
        assert kinds == [first, first, [*first, "audio"]]
        assert [offer.id for offer in made] == [2, 3, 4]
        assert party.engines["alice"].diagnostics()["transports"]["peers"][0]["negotiation"] == {}


def test_one_offer_is_outstanding_and_one_more_is_owed():
    with Party("alice", receive_sections=(0, 0)) as party:
        for _ in range(5):
            party.require("alice", 1, 0)
        party.run(lambda: offers(party, "alice"), limit=0.1)
        party.wait(0.005)
        assert len(offers(party, "alice")) == 1
        party.wait(1.0)
        last = offers(party, "alice")
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
        assert len(offers(party, "alice")) == 1 + SECTION_REQUESTS
        assert party.engines["alice"].diagnostics()["transports"]["requirement_ignored"] == 1
        # another requirement begins anew
        there.handle_offer = answer
        party.require("alice", 0, 1)
        party.wait(1.0)
        party.require("alice", 1, 0)
        party.wait(1.0)
        assert len(offers(party, "alice")) == 3 + SECTION_REQUESTS


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
            assert len(offers(party, "alice")) == count
        party.require("alice", 0, 0)
        party.require("alice", 0, 0)
        party.wait(0.5)
        assert party.engines["alice"]._transports.counters.snapshot() == {}


def test_sections_have_a_limit():
    with Party("alice") as party:
        party.require("alice", 2**32 - 1, 2**32 - 1)
        party.wait(1.0)
        (offer,) = offers(party, "alice")
        assert len(parse_sdp(offer.sdp).media) == SECTIONS
        party.wait(20.0)
        assert not party.found("alice", Ended)


def test_what_belongs_to_the_other_mode_is_counted():
    with Party("alice", single_peer_connection=False) as party:
        party.require("alice", 1, 0)
        party.wait(1.0)
        assert party.engines["alice"].diagnostics()["transports"]["unexpected_requirement"] == 1
        assert len(offers(party, "alice")) == 1
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
        alice = party.engines["alice"] = party.rooms.enter("alice", single_peer_connection=False)

        def spoil(response):
            if response.WhichOneof("message") == "offer":
                response.offer.sdp = "nonsense"

        party.tamper("alice", spoil)
        party.run(lambda: alice.closed)
        assert [end.reason for end in party.found("alice", Ended)] == [DisconnectReason.MEDIA_FAILURE]


def test_the_publisher_is_primary_where_the_server_says_so():
    """A client that may not subscribe."""
    with Party(seed=2) as party:
        alice = party.engines["alice"] = party.rooms.enter("alice", single_peer_connection=False)

        def publisher_first(response):
            if response.WhichOneof("message") == "join":
                response.join.subscriber_primary = False
            if response.WhichOneof("message") == "offer":
                response.Clear()

        party.tamper("alice", publisher_first)
        party.run(lambda: party.found("alice", Connected))
        assert alice._transports._peers[0].up
        assert not alice._transports._peers[1].up


# ------------------------------------------------------------------ sockets


def test_data_waits_while_the_socket_that_it_goes_by_is_full():
    with Party("alice", "bob") as party:
        party.wait(1.0)
        alice = party.engines["alice"]
        port = party.transport("alice").ice.selected_port
        alice.port_blocked(port, party.now)
        party.publish("alice", b"later")
        party.wait(1.0)
        assert party.read("bob") == []
        alice.port_writable(port, party.now)
        party.world.poke("alice")
        assert party.hear("bob", 1, limit=0.2) == [b"later"]


def test_a_full_socket_that_carries_no_data_does_not_matter():
    with Party("alice", "bob") as party:
        party.wait(1.0)
        alice = party.engines["alice"]
        party.world.node("alice").hosts = (*party.world.node("alice").hosts, "10.8.0.1")
        alice.networks_changed([Interface("eth0", "10.2.0.1"), Interface("wlan0", "10.8.0.1")], party.now)
        party.world.poke("alice")
        party.wait(1.0)
        selected = party.transport("alice").ice.selected_port
        (other,) = [port for port in party.world.node("alice").ports if port != selected]
        alice.port_blocked(other, party.now)
        alice.port_blocked(99, party.now)
        party.publish("alice", b"through")
        assert party.hear("bob", 1, limit=0.2) == [b"through"]
        alice.port_writable(other, party.now)
        alice.port_writable(99, party.now)


def test_a_full_socket_that_goes_away_does_not_hold_data_for_ever():
    with Party("alice", "bob") as party:
        party.wait(1.0)
        alice, node = party.engines["alice"], party.world.node("alice")
        node.hosts = (*node.hosts, "10.8.0.1")
        port = party.transport("alice").ice.selected_port
        alice.port_blocked(port, party.now)
        party.publish("alice", b"at last")
        party.wait(0.5)
        alice.networks_changed([Interface("wlan0", "10.8.0.1")], party.now)
        party.world.poke("alice")
        assert party.hear("bob", 1, limit=5.0) == [b"at last"]
        assert ClosePort(port) in party.found("alice", ClosePort)
        assert list(node.ports) == [party.transport("alice").ice.selected_port]


def test_a_socket_that_breaks_while_full_is_replaced_by_another():
    with Party("alice", "bob") as party:
        party.wait(1.0)
        alice, node = party.engines["alice"], party.world.node("alice")
        node.hosts = (*node.hosts, "10.8.0.1")
        alice.networks_changed([Interface("eth0", "10.2.0.1"), Interface("wlan0", "10.8.0.1")], party.now)
        party.world.poke("alice")
        party.wait(1.0)
        port = party.transport("alice").ice.selected_port
        alice.port_blocked(port, party.now)
        party.publish("alice", b"the other way")
        alice.port_failed(port, "the socket can no longer be read", party.now)
        party.world.poke("alice")
        assert party.hear("bob", 1, limit=5.0) == [b"the other way"]


def test_a_failed_send_is_known_to_the_pair():
    with Party("alice") as party:
        alice = party.engines["alice"]
        port = party.transport("alice").ice.selected_port
        alice.port_send_failed(port, SERVER_ADDRESS, "no route to host", party.now)
        alice.port_send_failed(99, SERVER_ADDRESS, "whoever", party.now)
        alice.advance(party.now)
        assert [pair.last_error for pair in alice._transports.pairs_report()] == ["no route to host"]
        assert alice.diagnostics()["engine"] == {"send_failed": 2}


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


def test_stopping_with_data_for_channels_that_never_came():
    """Dual mode: connected by the subscriber, while the publisher is not there yet."""
    with Party(seed=3) as party:
        alice = party.engines["alice"] = party.rooms.enter("alice", single_peer_connection=False, flush_timeout=0.5)

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


def test_nothing_can_be_queued_on_an_association_that_is_over():
    with Party("alice", signal_latency=0.5) as party:
        party.wait(1.0)
        there = party.there("alice")
        there.peers[0].connection.transport.association.abort(party.now)
        there.peers[0].connection.transport.touch_data()
        there.peers[0].due = party.rooms.server._dues[there] = float("-inf")
        party.world.poke("server")
        party.run(lambda: party.engines["alice"].counters["media_failed"])
        assert not party.publish("alice", b"x")
        party.run(lambda: party.found("alice", Reconnected))
        assert party.publish("alice", b"x")
