"""Data packets between clients of the small server, in virtual time."""

from __future__ import annotations

import pytest

from sansio import proto
from sansio.base.errors import LocalProtocolError
from sansio.events import Connected, Reconnected
from sansio.room.data_lanes import RELIABLE_BUDGET, DataReadable, DataWritable
from sansio.sctp.association import SctpOptions
from sansio.testing.netem import Link
from sansio.types import Scenario
from tests.unit.room.party import Party

models = proto.models
MODES = pytest.mark.parametrize("single", [True, False], ids=["single", "dual"])


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
        party.touch("alice")
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
        alice = party.enter("alice", single_peer_connection=single)
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
        party.engines["bob"]._parts.receiver.handlers["rpc_ack"] = lambda packet, now: arrived.append(packet)
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
        alice._parts.transports.data._lanes[True].full = True
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
        handlers = party.engines["bob"]._parts.receiver.handlers
        handlers["rpc_ack"] = lambda packet, now: names.append(packet.rpc_ack.request_id)
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
            held.append(bob._parts.transports.hold(len(packet.stream_chunk.content)))

        bob._parts.receiver.handlers["stream_chunk"] = hold
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
        party.touch("alice")
        party.wait(1.0)
        assert [packet.payload for packet in party.read("alice")] == [b"last"]
        assert party.engines["alice"]._parts.transports._peers[1].lossy == set()
        assert party.read("alice") == []


def test_nothing_can_be_queued_on_an_association_that_is_over():
    with Party("alice", signal_latency=0.5) as party:
        party.wait(1.0)
        there = party.there("alice")
        there.peers[0].connection.transport.association.abort(party.now)
        there.peers[0].connection.transport.touch_data()
        party.touch("alice")
        party.run(lambda: party.engines["alice"].counters["media_failed"])
        assert not party.publish("alice", b"x")
        party.run(lambda: party.found("alice", Reconnected))
        assert party.publish("alice", b"x")
