"""Lost links, lost paths and lost servers, in virtual time."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import evolve

from sansio import proto
from sansio.base.contract import INF, CloseSignal, Interface, NeedToken, OpenSignal, SendSignal
from sansio.base.errors import LocalProtocolError
from sansio.events import (
    Connected,
    DataUnacknowledged,
    Disconnected,
    ParticipantConnected,
    ParticipantDisconnected,
    Reconnected,
    Reconnecting,
    SignalReconnecting,
    TrackSubscribed,
    UnacknowledgedPacket,
)
from sansio.lifecycle.policy import ReconnectPolicy
from sansio.lifecycle.table import State, Trigger
from sansio.room.engine import Ended
from sansio.room.requests import RequestDone, RequestFailed
from sansio.room.track import TrackDescription
from sansio.sfu.server import AcceptSignal, RefuseSignal
from sansio.sfu.token import Claims
from sansio.testing.netem import Link
from sansio.testing.pairs import Rooms
from sansio.testing.world import World
from sansio.types import ConnectionState, DisconnectReason, RequestReason, Scenario

GOOD = Link(latency=0.02)
BAD = Link(latency=0.05, jitter=0.03, loss=0.05, duplication=0.05, reorder=0.1)
MODES = pytest.mark.parametrize("single", [True, False], ids=["single", "dual"])
STORY = (Connected, SignalReconnecting, Reconnecting, Reconnected, Disconnected, Ended)


class Talk:
    """Alice and Bob in a room, and all that Bob has got from Alice."""

    def __init__(self, world: World, *, single: bool, token_ttl: float = 3600.0, **options: Any) -> None:
        self.world = world
        # with a source of tokens of their own, clients see the given ones end
        self.rooms = Rooms(world, refresh_tokens="renew_token" not in options)
        token = self.rooms.token("alice", ttl=token_ttl)
        self.alice = self.rooms.enter("alice", token=token, single_peer_connection=single, **options)
        world.run(lambda: self.rooms.outputs("alice", Connected), limit=30)
        self.bob = self.rooms.enter("bob", single_peer_connection=single)
        world.run(lambda: self.rooms.outputs("bob", Connected), limit=30)
        world.run(lambda: self.rooms.outputs("alice", ParticipantConnected), limit=30)
        self.sent = 0
        self.got: list[bytes] = []

    def say(self, count: int = 1) -> None:
        for _ in range(count):
            assert self.alice.publish_data(b"%d" % self.sent, now=self.world.now)
            self.sent += 1
        self.world.poke("alice")

    def heard(self) -> bool:
        while (packet := self.bob.read_data()) is not None:
            self.got.append(packet.payload)
            self.world.poke("bob")
        return len(self.got) >= self.sent

    def hear_all(self, limit: float = 60.0) -> None:
        self.world.run(self.heard, limit=limit)
        assert self.got == [b"%d" % number for number in range(self.sent)]

    def story(self, name: str = "alice") -> list[str]:
        return [type(output).__name__ for output in self.world.node(name).outputs if isinstance(output, STORY)]

    def mended(self, times: int = 1) -> bool:
        return len(self.rooms.outputs("alice", Reconnected)) >= times


@MODES
@pytest.mark.parametrize("link", [GOOD, BAD], ids=["good", "bad"])
def test_a_lost_signalling_link_is_resumed_and_no_data_suffers(single, link):
    with World(7, link=link) as world:
        talk = Talk(world, single=single)
        sid, objects = talk.alice.state.local_participant.sid, dict(talk.alice.state.remote_participants)
        start = world.now
        world.cut_signals("alice")
        talk.say(50)
        world.run(talk.mended, limit=30)
        assert world.now - start < 0.5
        talk.say(50)
        talk.hear_all()
        assert talk.story() == ["Connected", "SignalReconnecting", "Reconnected"]
        assert talk.alice.state.connection is ConnectionState.CONNECTED
        assert talk.alice.state.local_participant.sid == sid
        assert dict(talk.alice.state.remote_participants) == objects
        (reconnected,) = talk.rooms.outputs("alice", Reconnected)
        assert reconnected.resumed
        assert not talk.rooms.outputs("bob", ParticipantDisconnected)


def test_a_new_link_may_go_where_media_goes():
    with World(1, link=GOOD) as world:
        talk = Talk(world, single=True)
        world.cut_signals("alice")
        world.run(talk.mended, limit=30)
        world.partition("alice", "server")
        world.run_for(4)
        world.cut_signals("alice")
        world.run_for(1)
        first, second, third = talk.rooms.outputs("alice", OpenSignal)
        host = world.node("alice").hosts[0]
        assert (first.local, second.local, third.local) == ("", host, "")
        assert host not in repr(second)


def test_ice_is_not_restarted_on_a_healthy_path():
    with World(1, link=GOOD) as world:
        talk = Talk(world, single=True)
        ice = talk.alice._transports._peers[0].connection.transport.ice
        ufrag, addr = ice.local_ufrag, ice.selected_addr
        world.cut_signals("alice")
        world.run(talk.mended, limit=30)
        assert (ice.local_ufrag, ice.selected_addr) == (ufrag, addr)


@MODES
def test_requests_made_meanwhile_are_answered_after(single):
    with World(1, link=GOOD, signal_latency=0.05) as world:
        talk = Talk(world, single=single)
        world.cut_signals("alice")
        world.run(lambda: talk.rooms.outputs("alice", SignalReconnecting), limit=5)
        token = talk.alice.set_metadata("later", world.now)
        world.poke("alice")
        world.run(lambda: talk.rooms.outputs("alice", RequestDone), limit=5)
        assert talk.rooms.outputs("alice", RequestDone)[0].token == token
        assert talk.mended()
        assert talk.alice.state.local_participant.metadata == "later"


@MODES
def test_who_left_during_the_outage_is_told_after_it(single):
    with World(1, link=GOOD, signal_latency=0.5) as world:
        talk = Talk(world, single=single)
        world.cut_signals("alice")
        world.run_for(0.05)
        talk.bob.stop(world.now)
        world.poke("bob")
        world.run(lambda: talk.rooms.outputs("alice", ParticipantDisconnected), limit=10)
        assert not talk.alice.state.remote_participants
        assert talk.story() == ["Connected", "SignalReconnecting", "Reconnected"]


@MODES
def test_a_dead_path_is_mended_by_ice_when_the_network_is_back(single):
    with World(3, link=GOOD) as world:
        talk = Talk(world, single=single)
        world.partition("alice", "server")
        world.run_for(4)
        world.cut_signals("alice")
        world.run_for(0.2)
        world.partition("alice", "server", down=False)
        world.run(talk.mended, limit=30)
        talk.say(5)
        talk.hear_all()
        assert talk.story() == ["Connected", "Reconnecting", "Reconnected"]


@MODES
def test_a_server_that_does_not_know_us_any_more_is_joined_anew_with_the_same_objects(single):
    with World(1, link=GOOD) as world:
        talk = Talk(world, single=single)
        me, sid = talk.alice.state.local_participant, talk.alice.state.local_participant.sid
        bob = talk.alice.state.remote_participants["bob"]
        talk.say(3)
        talk.hear_all()
        server = world.node("server").machine
        server._options = type(server._options)(
            keys=server._options.keys, resume=False, dtls_engine=server._options.dtls_engine
        )
        world.cut_signals("alice")
        world.run(talk.mended, limit=30)
        assert talk.story() == ["Connected", "SignalReconnecting", "Reconnecting", "Reconnected"]
        assert talk.alice.state.local_participant is me
        assert me.sid != sid
        assert talk.alice.state.remote_participants["bob"] is bob
        assert not talk.rooms.outputs("alice", ParticipantDisconnected)
        (reconnected,) = talk.rooms.outputs("alice", Reconnected)
        assert not reconnected.resumed
        talk.say(3)
        talk.hear_all()
        assert len(world.node("alice").ports) == (1 if single else 2)


def test_data_published_during_a_restart_waits_for_the_new_session():
    with World(1, link=GOOD) as world:
        talk = Talk(world, single=True)
        server = world.node("server").machine
        server._options = type(server._options)(
            keys=server._options.keys, resume=False, dtls_engine=server._options.dtls_engine
        )
        world.cut_signals("alice")
        world.run(lambda: talk.rooms.outputs("alice", Reconnecting), limit=5)
        talk.say(10)
        world.run(talk.mended, limit=30)
        talk.hear_all()


def test_attempts_go_on_until_the_server_can_be_reached_again():
    with World(1, link=GOOD) as world:
        talk = Talk(world, single=True)
        servers, world._signals.servers = world._signals.servers, {}
        world.cut_signals("alice")
        world.run_for(5)
        assert talk.alice.state.connection is ConnectionState.SIGNAL_RECONNECTING
        assert len(talk.rooms.outputs("alice", OpenSignal)) >= 4
        world._signals.servers = servers
        world.run(talk.mended, limit=30)
        talk.say()
        talk.hear_all()
        assert talk.story() == ["Connected", "SignalReconnecting", "Reconnected"]


def test_a_changed_network_hurries_the_next_attempt():
    with World(1, link=GOOD) as world:
        talk = Talk(world, single=True)
        servers, world._signals.servers = world._signals.servers, {}
        world.cut_signals("alice")
        world.run_for(8)
        world._signals.servers = servers
        interfaces = [Interface("eth0", host) for host in world.node("alice").hosts]
        talk.alice.networks_changed(interfaces, world.now)
        world.poke("alice")
        start = world.now
        world.run(talk.mended, limit=30)
        assert world.now - start < 0.5


def test_it_gives_up_when_the_policy_does():
    with World(1, link=GOOD) as world:
        talk = Talk(world, single=True, reconnect=ReconnectPolicy(attempts=3))
        world._signals.servers = {}
        world.cut_signals("alice")
        world.run(lambda: talk.alice.closed, limit=60)
        assert talk.story() == ["Connected", "SignalReconnecting", "Disconnected", "Ended"]
        assert talk.rooms.outputs("alice", Disconnected)[0].reason is DisconnectReason.SIGNAL_CLOSE
        assert not world.node("alice").ports
        assert len(talk.rooms.outputs("alice", OpenSignal)) == 1 + 3


def test_no_attempt_is_made_when_reconnecting_is_switched_off():
    with World(1, link=GOOD) as world:
        talk = Talk(world, single=True, reconnect=ReconnectPolicy(attempts=0))
        world.cut_signals("alice")
        world.run(lambda: talk.alice.closed, limit=5)
        assert len(talk.rooms.outputs("alice", OpenSignal)) == 1


def test_leaving_during_an_outage_ends_cleanly():
    with World(1, link=GOOD) as world:
        talk = Talk(world, single=True)
        world._signals.servers = {}
        world.cut_signals("alice")
        world.run_for(1)
        talk.alice.stop(world.now)
        world.poke("alice")
        world.run(lambda: talk.alice.closed, limit=5)
        assert talk.rooms.outputs("alice", Ended) == [Ended(DisconnectReason.CLIENT_INITIATED)]


@pytest.mark.parametrize(
    ("scenario", "story"),
    [
        (Scenario.SIGNAL_RECONNECT, ["Connected", "SignalReconnecting", "Reconnected"]),
        (Scenario.FULL_RECONNECT, ["Connected", "Reconnecting", "Reconnected"]),
    ],
)
def test_drills_are_staged_here(scenario, story):
    with World(1, link=GOOD) as world:
        talk = Talk(world, single=True)
        talk.alice.simulate(scenario, world.now)
        world.poke("alice")
        world.run(talk.mended, limit=30)
        assert talk.story() == story
        talk.say()
        talk.hear_all()


def test_drills_of_the_server_are_asked_for():
    with World(1, link=GOOD) as world:
        talk = Talk(world, single=True)
        before = len(talk.rooms.outputs("alice", SendSignal))
        for scenario in (Scenario.SPEAKER_UPDATE, Scenario.NODE_FAILURE):
            talk.alice.simulate(scenario, world.now)
        world.poke("alice")
        world.run_for(0.1)
        asked = [
            proto.rtc.SignalRequest.FromString(output.data).simulate
            for output in talk.rooms.outputs("alice", SendSignal)[before:]
            if proto.rtc.SignalRequest.FromString(output.data).HasField("simulate")
        ]
        assert [drill.WhichOneof("scenario") for drill in asked] == ["speaker_update", "node_failure"]
        talk.alice.stop(world.now)
        with pytest.raises(LocalProtocolError):
            talk.alice.simulate(Scenario.SERVER_LEAVE, world.now)


@pytest.mark.parametrize("seed", range(6))
@MODES
def test_reliable_data_is_exact_through_many_cuts(single, seed):
    with World(seed, link=BAD) as world:
        talk = Talk(world, single=single)
        for cut in range(1, 6):
            talk.say(20)
            world.run_for(0.3)
            world.cut_signals("alice")
            talk.say(20)
            world.run(lambda cut=cut: talk.heard() and talk.mended(cut), limit=60)
        talk.hear_all()
        assert talk.alice.state.connection is ConnectionState.CONNECTED


@MODES
def test_media_that_is_lost_while_signalling_lives_is_mended_too(single):
    """Fifteen seconds of silence fail the path; the session is resumed with new ICE credentials."""
    with World(4, link=GOOD) as world:
        talk = Talk(world, single=single)
        world.partition("alice", "server")
        world.run_for(17.5)
        assert talk.story() == ["Connected", "Reconnecting"]
        world.partition("alice", "server", down=False)
        world.run(talk.mended, limit=60)
        talk.say()
        talk.hear_all()


def test_a_path_that_dies_during_a_resume_is_mended_when_its_proof_is_late():
    with World(5, link=GOOD) as world:
        talk = Talk(world, single=True)
        ice = talk.alice._transports._peers[0].connection.transport.ice
        ufrag = ice.local_ufrag
        world.partition("alice", "server")
        world.cut_signals("alice")
        world.run_for(2.0)
        assert not talk.mended()
        world.run_for(1.5)
        assert ice.local_ufrag != ufrag
        world.partition("alice", "server", down=False)
        world.run(talk.mended, limit=30)
        assert talk.rooms.outputs("alice", Reconnected)[0].resumed


@MODES
def test_a_resume_before_the_data_channels_are_up_is_proven_by_them(single):
    """A path that was in use has to answer, also one that could not be asked yet."""
    with World(5, link=GOOD) as world:
        rooms = Rooms(world)
        alice = rooms.enter("alice", single_peer_connection=single)
        world.run(lambda: (there := rooms.server.participant("room", "alice")) and there.active, limit=30)
        world.run(lambda: rooms.outputs("alice", Connected), limit=30)
        peer = alice._transports._publisher
        world.partition("alice", "server")
        world.cut_signals("alice")
        world.run_for(1.0)
        assert not peer.connection.transport.association.up
        assert not rooms.outputs("alice", Reconnected)
        world.partition("alice", "server", down=False)
        world.run(lambda: rooms.outputs("alice", Reconnected), limit=30)
        assert peer.connection.transport.association.up
        assert rooms.outputs("alice", Reconnected)[0].resumed


def test_a_proof_is_worth_nothing_once_its_path_is_gone():
    with World(5, link=GOOD) as world:
        talk = Talk(world, single=False)
        publisher, subscriber = talk.alice._transports._peers
        world.cut_signals("alice")
        world.run_for(0.05)
        publisher.proving, subscriber.proving = True, False
        for port in list(world.node("alice").ports):
            talk.alice.port_failed(port, "gone", world.now)
        world.poke("alice")
        talk.alice._transports._proving = True
        publisher.proving = False
        world.run_for(0.01)
        assert not talk.mended()
        assert subscriber.connection.transport.ice.selected_addr is None


@MODES
def test_a_track_that_came_while_the_link_led_nowhere_is_heard_after_it(single):
    """What the server asked for then is lost, and it does not ask again."""
    with World(5, link=GOOD) as world:
        talk = Talk(world, single=single)
        world.readdress("alice", world.node("alice").hosts)
        for _ in range(5):
            talk.bob.publish_track(TrackDescription(codec="opus"), world.now)
        world.poke("bob")
        world.run(talk.mended, limit=40)
        world.run(lambda: len(talk.rooms.outputs("alice", TrackSubscribed)) == 5, limit=10)


def test_attempts_are_short_while_media_flows_and_grow():
    with World(1, link=GOOD) as world:
        talk = Talk(world, single=True)
        talk.world.silence_signals("alice")
        world.run_for(90.0)
        talk.world.silence_signals("alice", down=False)
        world.run(talk.mended, limit=10)
        times = [request.timeout for request in talk.rooms.outputs("alice", OpenSignal)]
        assert times[:2] == [15.0, 2.5]
        assert times == [15.0, *sorted(times[1:])]
        assert times[-1] > 4.9
        world.partition("alice", "server")
        world.run_for(6.0)
        world.cut_signals("alice")
        world.run_for(0.1)
        assert talk.rooms.outputs("alice", OpenSignal)[-1].timeout == 15.0, "now it is urgent, but may take long"


def offers(talk, since):
    """The offers of Alice from some output on."""
    sent = [out for out in talk.world.node("alice").outputs[since:] if isinstance(out, SendSignal)]
    requests = [proto.rtc.SignalRequest.FromString(out.data) for out in sent]
    return [request.offer for request in requests if request.HasField("offer")]


@pytest.mark.parametrize(("single", "silence", "count"), [(True, 0.0, 1), (True, 4.0, 1), (False, 0.0, 0)])
def test_a_resume_is_followed_by_one_offer(single, silence, count):
    """A request for one may have been lost; where the path is suspect, the offer that mends it will do."""
    with World(3, link=GOOD) as world:
        talk = Talk(world, single=single)
        before = len(world.node("alice").outputs)
        world.partition("alice", "server", down=bool(silence))
        world.run_for(silence)
        world.cut_signals("alice")
        world.run_for(0.5)
        world.partition("alice", "server", down=False)
        world.run(talk.mended, limit=30)
        world.run_for(5.0)
        assert len(offers(talk, before)) == count


def test_a_server_that_gave_no_reason_and_is_never_found_again():
    with World(1, link=GOOD) as world:
        talk = Talk(world, single=True, reconnect=ReconnectPolicy(budget=5.0))
        leave = proto.rtc.LeaveRequest(action=proto.rtc.LeaveRequest.RECONNECT)
        talk.rooms.server.participant("room", "alice").send("leave", leave)
        world.poke("server")
        world.run_for(0.01)
        talk.rooms.stop_server()
        world.run(lambda: talk.alice.closed, limit=30)
        (end,) = talk.rooms.outputs("alice", Disconnected)
        assert end.reason is not DisconnectReason.UNKNOWN_REASON


def test_a_resume_whose_path_never_answers_becomes_a_new_join():
    with World(6, link=GOOD) as world:
        talk = Talk(world, single=True)
        world.partition("alice", "server")
        world.cut_signals("alice")
        world.run_for(18)
        world.partition("alice", "server", down=False)
        world.run(talk.mended, limit=120)
        assert not talk.rooms.outputs("alice", Reconnected)[0].resumed
        talk.say()
        talk.hear_all()


def test_a_token_that_has_become_invalid_ends_the_session():
    with World(1, link=GOOD) as world:
        talk = Talk(world, single=True)
        server = world.node("server").machine
        server._options = type(server._options)(keys={"key": "another"}, dtls_engine=server._options.dtls_engine)
        world.cut_signals("alice")
        world.run(lambda: talk.alice.closed, limit=10)
        assert talk.story() == ["Connected", "SignalReconnecting", "Disconnected", "Ended"]
        assert talk.rooms.outputs("alice", Disconnected)[0].reason is DisconnectReason.JOIN_FAILURE


def test_waiting_for_the_acknowledgement_of_data():
    with World(1, link=GOOD) as world:
        talk = Talk(world, single=True)
        nothing = talk.alice.wait_acknowledged(world.now)
        talk.say(3)
        token = talk.alice.wait_acknowledged(world.now)
        talk.say()
        forgotten = talk.alice.wait_acknowledged(world.now)
        talk.alice.cancel(forgotten, world.now)
        world.poke("alice")
        world.run_for(0.01)
        assert talk.rooms.outputs("alice", RequestDone) == [RequestDone(nothing)]
        world.run_for(1)
        assert talk.rooms.outputs("alice", RequestDone) == [RequestDone(nothing), RequestDone(token)]
        world.cut_signals("alice")
        world.run(lambda: talk.rooms.outputs("alice", SignalReconnecting), limit=5)
        talk.say()
        token = talk.alice.wait_acknowledged(world.now)
        world.run_for(3)
        assert talk.rooms.outputs("alice", RequestDone)[-1] == RequestDone(token)
        assert not talk.rooms.outputs("alice", DataUnacknowledged)
        talk.say()
        token = talk.alice.wait_acknowledged(world.now)
        talk.alice._life.outbox.clear()
        talk.alice._end(DisconnectReason.ROOM_DELETED, None, world.now)
        (failed,) = [output for output in talk.alice.outbox if isinstance(output, RequestFailed)]
        assert (failed.token, failed.error.reason) == (token, RequestReason.ROOM_ENDED)


@MODES
def test_data_that_a_restart_has_cut_off_is_told_packet_by_packet(single):
    with World(1, link=GOOD) as world:
        talk = Talk(world, single=single)
        talk.say(5)
        done = talk.alice.wait_acknowledged(world.now)
        talk.hear_all()
        world.run_for(1)
        world.partition("alice", "server")
        talk.say(100)
        assert talk.alice.publish_data(bytes(60_000), topic="t", destination_identities=["bob"], now=world.now)
        lost = talk.alice.wait_acknowledged(world.now)
        talk.alice.simulate(Scenario.FULL_RECONNECT, world.now)
        world.poke("alice")
        world.run(lambda: talk.rooms.outputs("alice", Reconnecting), limit=5)
        talk.sent = 5
        assert talk.alice.publish_data(b"5", now=world.now)  # waits for the new session, through further restarts
        kept = talk.alice.wait_acknowledged(world.now)
        world.run_for(40)
        assert len(talk.rooms.outputs("alice", OpenSignal)) > 2
        world.partition("alice", "server", down=False)
        world.run(talk.mended, limit=60)
        (told,) = talk.rooms.outputs("alice", DataUnacknowledged)
        assert [packet.payload for packet in told.packets] == [*(b"%d" % n for n in range(5, 105)), bytes(60_000)]
        assert told.packets[-1] == UnacknowledgedPacket(bytes(60_000), "t", ("bob",))
        talk.sent = 6
        talk.hear_all()
        world.run_for(1)
        assert [output.token for output in talk.rooms.outputs("alice", RequestDone)] == [done, kept]
        (failed,) = talk.rooms.outputs("alice", RequestFailed)
        assert (failed.token, failed.error.reason) == (lost, RequestReason.UNACKNOWLEDGED)


class Source:
    """A token source that is asked by hand."""

    def __init__(self, talk: Talk) -> None:
        self.talk = talk

    def asked(self) -> list[NeedToken]:
        return self.talk.rooms.outputs("alice", NeedToken)

    def wait(self, times: int = 1) -> int:
        self.talk.world.run(lambda: len(self.asked()) == times, limit=30)
        return self.asked()[-1].request

    def give(self, request: int, token: str = "") -> None:
        world = self.talk.world
        self.talk.alice.token_renewed(request, token or self.talk.rooms.token("alice"), world.now)
        world.poke("alice")

    def fail(self, request: int, why: str) -> None:
        self.talk.alice.token_failed(request, why, self.talk.world.now)
        self.talk.world.poke("alice")


@MODES
@pytest.mark.parametrize("resume", [True, False], ids=["resume", "restart"])
def test_a_source_is_asked_when_the_token_has_ended(single, resume):
    with World(1, link=GOOD) as world:
        talk = Talk(world, single=single, renew_token=True, token_ttl=30.0)
        source = Source(talk)
        world.run_for(10)
        world.cut_signals("alice")
        world.run(talk.mended, limit=30)
        assert not source.asked()
        world.run_for(60)
        if resume:
            world.cut_signals("alice")
        else:
            talk.alice.simulate(Scenario.FULL_RECONNECT, world.now)
            world.poke("alice")
        request = source.wait()
        world.run_for(5)
        assert len(source.asked()) == 1
        assert not talk.mended(2)
        source.give(request - 1, "of an older question")
        source.give(request)
        world.run(lambda: talk.mended(2), limit=30)
        assert talk.rooms.outputs("alice", Reconnected)[1].resumed is resume
        source.fail(request, "late")
        assert not talk.alice.counters["token_failed"]
        talk.say(3)
        talk.hear_all()


def test_a_source_that_fails_is_asked_again():
    with World(1, link=GOOD) as world:
        talk = Talk(world, single=True, renew_token=True, token_ttl=5.0, reconnect=ReconnectPolicy(attempts=4))
        source = Source(talk)
        world.run_for(10)
        world.cut_signals("alice")
        for times in (1, 2):
            source.fail(source.wait(times), "no connection")
        with pytest.raises(LocalProtocolError):
            source.give(source.wait(3), "not a token")
        source.give(source.asked()[-1].request, talk.rooms.token("alice", ttl=30.0))
        world.run(talk.mended, limit=30)
        assert talk.story() == ["Connected", "SignalReconnecting", "Reconnected"]
        world.run_for(30)
        world.cut_signals("alice")
        for times in range(4, 8):
            source.fail(source.wait(times), "The token source failed: OSError: no route")
        world.run(lambda: talk.alice.closed, limit=1)
        (end,) = talk.rooms.outputs("alice", Disconnected)
        assert end.detail == "The token source failed: OSError: no route"


def test_a_rejected_token_is_replaced_once():
    with World(1, link=GOOD) as world:
        talk = Talk(world, single=True, renew_token=True)
        source = Source(talk)
        server = world.node("server").machine
        keys, server._options = server._options.keys, evolve(server._options, keys={"key": "another"})
        world.cut_signals("alice")
        request = source.wait()
        server._options = evolve(server._options, keys=keys)
        source.give(request)
        world.run(talk.mended, limit=30)
        server._options = evolve(server._options, keys={"key": "another"})
        world.cut_signals("alice")
        source.give(source.wait(2))
        world.run(lambda: talk.alice.closed, limit=30)
        (end,) = talk.rooms.outputs("alice", Disconnected)
        assert end.reason is DisconnectReason.JOIN_FAILURE
        assert "token" in end.detail


def test_leaving_while_the_source_is_asked():
    with World(1, link=GOOD) as world:
        talk = Talk(world, single=True, renew_token=True, token_ttl=5.0)
        source = Source(talk)
        world.run_for(10)
        world.cut_signals("alice")
        request = source.wait()
        talk.alice.stop(world.now)
        world.poke("alice")
        world.run(lambda: talk.alice.closed, limit=5)
        source.give(request)
        source.fail(request, "late")
        assert talk.rooms.outputs("alice", Disconnected)[0].detail == ""


def test_a_session_that_ends_during_an_answer_to_nobody():
    """What a source says after the attempt that wanted it has been given up is kept for the next one."""
    with World(1, link=GOOD) as world:
        talk = Talk(world, single=True, renew_token=True, token_ttl=5.0)
        source = Source(talk)
        world.run_for(10)
        world.cut_signals("alice")
        request = source.wait()
        world.partition("alice", "server")
        world.run_for(20)  # media is lost, which ends the attempt
        assert len(source.asked()) == 1
        world.partition("alice", "server", down=False)
        source.give(request)
        world.run(talk.mended, limit=30)
        assert len(source.asked()) == 1


def test_a_source_that_fails_between_two_attempts_costs_none():
    with World(1, link=GOOD) as world:
        talk = Talk(world, single=True, renew_token=True, token_ttl=5.0)
        source = Source(talk)
        world.run_for(10)
        world.cut_signals("alice")
        request = source.wait()
        talk.alice._trigger(Trigger.UNREACHABLE, world.now)
        talk.alice.advance(world.now)
        assert talk.alice._life.state is State.WAITING
        attempts = talk.alice._life.attempt
        source.fail(request, "no")
        assert talk.alice._life.attempt == attempts
        source.give(source.wait(2))
        world.run(talk.mended, limit=30)


def test_media_that_dies_during_the_outage_of_signalling_is_told():
    with World(1, link=GOOD) as world:
        talk = Talk(world, single=True)
        servers, world._signals.servers = world._signals.servers, {}
        world.cut_signals("alice")
        world.run_for(200)
        assert talk.story() == ["Connected", "SignalReconnecting"]
        attempts = len(talk.rooms.outputs("alice", OpenSignal))
        assert attempts > 150
        world.partition("alice", "server")
        start = world.now
        world.run(lambda: talk.alice.closed, limit=400)
        assert 120 < world.now - start < 130
        assert talk.story() == ["Connected", "SignalReconnecting", "Reconnecting", "Disconnected", "Ended"]
        assert len(talk.rooms.outputs("alice", OpenSignal)) - attempts < 60
        world._signals.servers = servers


def test_a_server_that_answers_a_resume_with_a_join_is_joined_anew(monkeypatch):
    def join_instead(signal: int, claims: Claims, sid: str, now: float) -> None:
        server._join(signal, claims, proto.rtc.JoinRequest(), True, now)

    with World(1, link=GOOD) as world:
        talk = Talk(world, single=True)
        server = world.node("server").machine
        monkeypatch.setattr(server, "_resume", join_instead)
        world.cut_signals("alice")
        world.run(talk.mended, limit=30)
        assert talk.story() == ["Connected", "SignalReconnecting", "Reconnecting", "Reconnected"]


def test_a_server_that_answers_a_resume_with_nonsense_is_joined_anew(monkeypatch):
    """The link does open, so that the address is right; a resume is what this server cannot do."""

    def nonsense(signal: int, claims: Claims, sid: str, now: float) -> None:
        pong = proto.rtc.SignalResponse(pong=1)
        server.outbox.extend([AcceptSignal(signal), SendSignal(signal, pong.SerializeToString())])

    with World(1, link=GOOD) as world:
        talk = Talk(world, single=True)
        server = world.node("server").machine
        monkeypatch.setattr(server, "_resume", nonsense)
        world.cut_signals("alice")
        world.run(talk.mended, limit=30)
        assert talk.story() == ["Connected", "SignalReconnecting", "Reconnecting", "Reconnected"]
        assert len(talk.rooms.outputs("alice", OpenSignal)) == 3, "resumed once, then joined"


def test_a_server_in_trouble_is_asked_again():
    with World(1, link=GOOD) as world:
        talk = Talk(world, single=True)
        server, refused = world.node("server").machine, []
        accept = server.signal_accepted

        def refuse_twice(signal, url, headers, now):
            if len(refused) < 2:
                refused.append(signal)
                server.outbox.append(RefuseSignal(signal, 500, "connection closed by media"))
            else:
                accept(signal, url, headers, now)

        server.signal_accepted = refuse_twice
        world.cut_signals("alice")
        world.run(talk.mended, limit=30)
        assert len(refused) == 2
        assert talk.rooms.outputs("alice", Reconnected)[0].resumed


@pytest.mark.parametrize("action", ["RESUME", "RECONNECT"])
def test_the_server_can_ask_for_it(action):
    with World(1, link=GOOD) as world:
        talk = Talk(world, single=True)
        there = world.node("server").machine._find("room", "alice")
        leave = proto.rtc.LeaveRequest(action=proto.rtc.LeaveRequest.Action.Value(action))
        there.send("leave", leave)
        world.poke("server")
        world.run(talk.mended, limit=30)
        assert talk.rooms.outputs("alice", Reconnected)[0].resumed == (action == "RESUME")


def test_a_second_cut_before_the_server_has_told_who_is_there_loses_nobody(monkeypatch):
    with World(1, link=GOOD) as world:
        talk = Talk(world, single=True)
        server = world.node("server").machine
        there = server._find("room", "alice")
        send = there.send
        monkeypatch.setattr(there, "send", lambda kind, message: None if kind == "update" else send(kind, message))
        world.cut_signals("alice")
        world.run_for(5)
        assert talk.mended()
        world.cut_signals("alice")
        monkeypatch.undo()
        world.run(lambda: talk.mended(2), limit=10)
        world.run_for(3)
        assert list(talk.alice.state.remote_participants) == ["bob"]
        assert not talk.rooms.outputs("alice", ParticipantDisconnected)


def test_the_old_link_is_closed_before_a_new_one_is_opened():
    """Media is lost while signalling lives: the link is given up for one that resumes."""
    with World(1, link=GOOD) as world:
        talk = Talk(world, single=True)
        world.link("server", "alice").down = True
        links = [OpenSignal, CloseSignal]
        world.run(lambda: len(talk.rooms.outputs("alice", OpenSignal)) == 2, limit=60)
        kinds = [type(output) for output in world.node("alice").outputs if type(output) in links]
        assert kinds == [OpenSignal, CloseSignal, OpenSignal]


def test_a_resume_before_the_first_data_needs_no_proof_of_it():
    """DTLS is up and SCTP is not: there is nothing yet that could be asked over the path."""
    with World(1, link=Link(latency=0.2), signal_latency=0.001) as world:
        rooms = Rooms(world)
        alice = rooms.enter("alice")
        world.run(lambda: rooms.outputs("alice", Connected), limit=10)
        world.run_for(0.3)  # until the server knows that the client is up
        world.cut_signals("alice")
        world.run(lambda: rooms.outputs("alice", Reconnected), limit=10)
        assert rooms.outputs("alice", Reconnected)[0].resumed
        assert not alice.closed


def test_only_the_path_whose_proof_is_late_is_mended():
    """Dual mode: the server's restart of the subscriber connection takes long; the publisher is left alone."""
    with World(1, link=GOOD) as world:
        talk = Talk(world, single=False)
        publisher, subscriber = talk.alice._transports._peers
        ufrag = publisher.connection.transport.ice.local_ufrag
        node = world.node("alice")
        deliver, port = node.deliver, subscriber.connection.transport.ice.selected_port

        def deaf(number, data, addr, now):
            if number != port:
                deliver(number, data, addr, now)

        node.deliver = deaf
        world.cut_signals("alice")
        world.run_for(4.0)
        assert not talk.mended()
        node.deliver = deliver
        world.run(talk.mended, limit=30)
        assert publisher.connection.transport.ice.local_ufrag == ufrag


@pytest.mark.parametrize("gone", [True, False], ids=["old address gone", "old address dead"])
def test_another_address_takes_over_when_the_network_changes(gone):
    with World(1, link=GOOD) as world:
        talk = Talk(world, single=True)
        node = world.node("alice")
        old, new = Interface("eth0", node.hosts[0]), Interface("wlan0", "10.8.0.1")
        node.hosts = (*node.hosts, new.address)
        talk.alice.networks_changed([old, new], world.now)
        world.poke("alice")
        world.run_for(5)
        ice = talk.alice._transports._peers[0].connection.transport.ice
        port, ufrag = ice.selected_port, ice.local_ufrag
        assert node.ports[port][0] == old.address
        talk.say(5)
        if gone:
            talk.alice.networks_changed([new], world.now)
        else:
            deliver = node.deliver
            node.deliver = lambda number, *rest: None if number == port else deliver(number, *rest)
            talk.alice.networks_changed([old, new], world.now)
        world.poke("alice")
        start = world.now
        world.run(lambda: ice.selected_port not in (port, -1), limit=10)
        assert world.now - start < 0.8
        talk.say(5)
        talk.hear_all()
        assert world.now - start < 2
        assert ice.local_ufrag == ufrag
        assert talk.story() == ["Connected"]


def test_a_link_that_does_not_survive_a_change_of_the_network_is_replaced_soon():
    with World(1, link=GOOD) as world:
        talk = Talk(world, single=True)
        world.run_for(2)
        link = talk.rooms.outputs("alice", OpenSignal)[-1].signal
        received = talk.alice.signal_received
        talk.alice.signal_received = lambda signal, *rest: None if signal == link else received(signal, *rest)
        talk.alice.networks_changed([Interface("eth0", world.node("alice").hosts[0])], world.now)
        world.poke("alice")
        start = world.now
        world.run(talk.mended, limit=10)
        assert world.now - start < 2
        assert talk.rooms.outputs("alice", Reconnected)[0].resumed


def test_ways_that_a_short_silence_has_opened_are_closed_again():
    with World(1, link=GOOD) as world:
        talk = Talk(world, single=True)
        paths = talk.alice._transports._peers[0].paths
        world.run_for(15)
        assert paths._settled
        world.partition("alice", "server")
        world.run_for(4)
        assert not paths._settled
        node = world.node("alice")
        node.hosts = (*node.hosts, "10.8.0.1")
        talk.alice.networks_changed([Interface("eth0", host) for host in node.hosts], world.now)
        world.poke("alice")
        world.run_for(0.1)
        assert paths._settle_at == INF
        world.partition("alice", "server", down=False)
        world.run_for(13)
        assert paths._settled


def test_candidates_found_during_an_outage_are_not_told_and_do_no_harm():
    with World(1, link=GOOD, signal_latency=0.2) as world:
        talk = Talk(world, single=True)
        node = world.node("alice")
        node.hosts = (*node.hosts, "10.8.0.1")
        world.cut_signals("alice")
        world.run(lambda: talk.rooms.outputs("alice", SignalReconnecting), limit=5)
        both = [Interface("eth0", node.hosts[0]), Interface("wlan0", "10.8.0.1")]
        before = len(talk.rooms.outputs("alice", SendSignal))
        talk.alice.networks_changed(both, world.now)
        world.poke("alice")
        world.run_for(0.05)
        assert len(talk.rooms.outputs("alice", SendSignal)) == before
        world.run(talk.mended, limit=30)
        talk.say()
        talk.hear_all()
