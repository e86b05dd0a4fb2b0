"""Lost links, lost paths and lost servers, in virtual time."""

from __future__ import annotations

from itertools import pairwise

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
from sansio.room.outputs import Ended
from sansio.room.requests import RequestDone, RequestFailed
from sansio.room.track import TrackDescription
from sansio.sfu.server import AcceptSignal, RefuseSignal
from sansio.sfu.token import Claims
from sansio.testing.netem import Link
from sansio.types import ConnectionState, DisconnectReason, RequestReason, Scenario
from tests.unit.room.party import GOOD, Party

rtc = proto.rtc
BAD = Link(latency=0.05, jitter=0.03, loss=0.05, duplication=0.05, reorder=0.1)
MODES = pytest.mark.parametrize("single", [True, False], ids=["single", "dual"])
STORY = (Connected, SignalReconnecting, Reconnecting, Reconnected, Disconnected, Ended)


class Talk(Party):
    """Alice, of whom the tests tell, and Bob in a room, and all that Bob has got from her."""

    def __init__(self, *, single=True, seed=1, link=GOOD, signal_latency=0.01, token_ttl=3600.0, **options):
        # with a source of tokens of their own, clients see the given ones end
        server = {"refresh_tokens": "renew_token" not in options}
        super().__init__(seed=seed, link=link, signal_latency=signal_latency, server=server)
        token = self.rooms.token("alice", ttl=token_ttl)
        self.alice = self.join("alice", token=token, single_peer_connection=single, **options)
        self.bob = self.join("bob", single_peer_connection=single)
        self.run(lambda: self.told(ParticipantConnected))
        self.node = self.world.node("alice")
        self.sent = 0
        self.got = []

    @property
    def ice(self):
        return self.transport("alice").ice

    # ------------------------------------------------------------------ what Bob hears

    def send(self, count=1):
        for _ in range(count):
            assert self.publish("alice", b"%d" % self.sent)
            self.sent += 1

    def heard(self):
        self.got += [packet.payload for packet in self.read("bob")]
        return len(self.got) >= self.sent

    def hear_all(self):
        self.run(self.heard)
        assert self.got == [b"%d" % number for number in range(self.sent)]

    # ------------------------------------------------------------------ what Alice is told

    def told(self, kind):
        return self.found("alice", kind)

    def story(self):
        return [type(output).__name__ for output in self.node.outputs if isinstance(output, STORY)]

    def mended(self, times=1):
        return len(self.told(Reconnected)) >= times

    def mend(self, times=1, limit=30.0):
        """Run until she has reconnected so often; the last of these events."""
        self.run(lambda: self.mended(times), limit)
        return self.told(Reconnected)[times - 1]

    def end(self, limit=60.0):
        """Run until the session is over; how that was told."""
        self.run(lambda: self.alice.closed, limit)
        (disconnected,) = self.told(Disconnected)
        return disconnected

    # ------------------------------------------------------------------ what happens to her

    def poke(self, name="alice"):
        self.world.poke(name)

    def cut(self):
        """Her link of signalling breaks."""
        self.world.cut_signals("alice")

    def unplug(self):
        """Nothing gets through any more."""
        self.world.partition("alice", "server")

    def plug(self):
        self.world.partition("alice", "server", down=False)

    def hide_server(self):
        """New links lead nowhere, while media flows."""
        self._hidden, self.world._signals.servers = self.world._signals.servers, {}

    def show_server(self):
        self.world._signals.servers = self._hidden

    def change_server(self, **options):
        server = self.rooms.server
        server._options = evolve(server._options, **options)

    def drill(self, scenario):
        self.alice.simulate(scenario, self.now)
        self.poke()

    def move(self, *hosts):
        """Her host has these addresses from now on."""
        self.alice.networks_changed([Interface(f"eth{place}", host) for place, host in enumerate(hosts)], self.now)
        self.poke()


@MODES
@pytest.mark.parametrize("link", [GOOD, BAD], ids=["good", "bad"])
def test_a_lost_signalling_link_is_resumed_and_no_data_suffers(single, link):
    with Talk(seed=7, link=link, single=single) as talk:
        sid, objects = talk.alice.state.local_participant.sid, dict(talk.alice.state.remote_participants)
        start = talk.now
        talk.cut()
        talk.send(50)
        talk.mend()
        assert talk.now - start < 0.5
        talk.send(50)
        talk.hear_all()
        assert talk.story() == ["Connected", "SignalReconnecting", "Reconnected"]
        assert talk.alice.state.connection is ConnectionState.CONNECTED
        assert talk.alice.state.local_participant.sid == sid
        assert dict(talk.alice.state.remote_participants) == objects
        (reconnected,) = talk.told(Reconnected)
        assert reconnected.resumed
        assert not talk.found("bob", ParticipantDisconnected)


def test_a_new_link_may_go_where_media_goes():
    with Talk() as talk:
        talk.cut()
        talk.mend()
        talk.unplug()
        talk.wait(4)
        talk.cut()
        talk.wait(1)
        first, second, third = talk.told(OpenSignal)
        host = talk.node.hosts[0]
        assert (first.local, second.local, third.local) == ("", host, "")
        assert host not in repr(second)


def test_ice_is_not_restarted_on_a_healthy_path():
    with Talk() as talk:
        ice = talk.ice
        ufrag, addr = ice.local_ufrag, ice.selected_addr
        talk.cut()
        talk.mend()
        assert (ice.local_ufrag, ice.selected_addr) == (ufrag, addr)


@MODES
def test_requests_made_meanwhile_are_answered_after(single):
    with Talk(signal_latency=0.05, single=single) as talk:
        talk.cut()
        talk.run(lambda: talk.told(SignalReconnecting), limit=5)
        token = talk.alice.set_metadata("later", talk.now)
        talk.poke()
        talk.run(lambda: talk.told(RequestDone), limit=5)
        assert talk.told(RequestDone)[0].token == token
        assert talk.mended()
        assert talk.alice.state.local_participant.metadata == "later"


@MODES
def test_who_left_during_the_outage_is_told_after_it(single):
    with Talk(signal_latency=0.5, single=single) as talk:
        talk.cut()
        talk.wait(0.05)
        talk.stop("bob")
        talk.run(lambda: talk.told(ParticipantDisconnected), limit=10)
        assert not talk.alice.state.remote_participants
        assert talk.story() == ["Connected", "SignalReconnecting", "Reconnected"]


@MODES
def test_a_dead_path_is_mended_by_ice_when_the_network_is_back(single):
    with Talk(seed=3, single=single) as talk:
        talk.unplug()
        talk.wait(4)
        talk.cut()
        talk.wait(0.2)
        talk.plug()
        talk.mend()
        talk.send(5)
        talk.hear_all()
        assert talk.story() == ["Connected", "Reconnecting", "Reconnected"]


@MODES
def test_a_server_that_does_not_know_us_any_more_is_joined_anew_with_the_same_objects(single):
    with Talk(single=single) as talk:
        me, sid = talk.alice.state.local_participant, talk.alice.state.local_participant.sid
        bob = talk.alice.state.remote_participants["bob"]
        talk.send(3)
        talk.hear_all()
        talk.change_server(resume=False)
        talk.cut()
        talk.mend()
        assert talk.story() == ["Connected", "SignalReconnecting", "Reconnecting", "Reconnected"]
        assert talk.alice.state.local_participant is me
        assert me.sid != sid
        assert talk.alice.state.remote_participants["bob"] is bob
        assert not talk.told(ParticipantDisconnected)
        (reconnected,) = talk.told(Reconnected)
        assert not reconnected.resumed
        talk.send(3)
        talk.hear_all()
        assert len(talk.node.ports) == (1 if single else 2)


def test_data_published_during_a_restart_waits_for_the_new_session():
    with Talk() as talk:
        talk.change_server(resume=False)
        talk.cut()
        talk.run(lambda: talk.told(Reconnecting), limit=5)
        talk.send(10)
        talk.mend()
        talk.hear_all()


def test_attempts_go_on_until_the_server_can_be_reached_again():
    with Talk() as talk:
        talk.hide_server()
        talk.cut()
        talk.wait(5)
        assert talk.alice.state.connection is ConnectionState.SIGNAL_RECONNECTING
        assert len(talk.told(OpenSignal)) >= 4
        talk.show_server()
        talk.mend()
        talk.send()
        talk.hear_all()
        assert talk.story() == ["Connected", "SignalReconnecting", "Reconnected"]


def test_a_changed_network_hurries_the_next_attempt():
    with Talk() as talk:
        talk.hide_server()
        talk.cut()
        talk.wait(8)
        talk.show_server()
        talk.move(*talk.node.hosts)
        start = talk.now
        talk.mend()
        assert talk.now - start < 0.5


def test_it_gives_up_when_the_policy_does():
    with Talk(reconnect=ReconnectPolicy(attempts=3)) as talk:
        talk.hide_server()
        talk.cut()
        end = talk.end()
        assert talk.story() == ["Connected", "SignalReconnecting", "Disconnected", "Ended"]
        assert end.reason is DisconnectReason.SIGNAL_CLOSE
        assert not talk.node.ports
        assert len(talk.told(OpenSignal)) == 1 + 3


def test_no_attempt_is_made_when_reconnecting_is_switched_off():
    with Talk(reconnect=ReconnectPolicy(attempts=0)) as talk:
        talk.cut()
        talk.end(5)
        assert len(talk.told(OpenSignal)) == 1


def test_leaving_during_an_outage_ends_cleanly():
    with Talk() as talk:
        talk.hide_server()
        talk.cut()
        talk.wait(1)
        talk.stop("alice")
        talk.end(5)
        assert talk.told(Ended) == [Ended(DisconnectReason.CLIENT_INITIATED)]


@pytest.mark.parametrize(
    ("scenario", "story"),
    [
        (Scenario.SIGNAL_RECONNECT, ["Connected", "SignalReconnecting", "Reconnected"]),
        (Scenario.FULL_RECONNECT, ["Connected", "Reconnecting", "Reconnected"]),
    ],
)
def test_drills_are_staged_here(scenario, story):
    with Talk() as talk:
        talk.drill(scenario)
        talk.mend()
        assert talk.story() == story
        talk.send()
        talk.hear_all()


def test_drills_of_the_server_are_asked_for():
    with Talk() as talk:
        for scenario in (Scenario.SPEAKER_UPDATE, Scenario.SUBSCRIBER_BANDWIDTH, Scenario.NODE_FAILURE):
            talk.drill(scenario)
        talk.wait(0.1)
        asked = talk.requests("alice", "simulate")
        assert [drill.WhichOneof("scenario") for drill in asked] == [
            "speaker_update",
            "subscriber_bandwidth",
            "node_failure",
        ]
        assert (asked[0].speaker_update, asked[1].subscriber_bandwidth) == (3, 100_000)
        talk.alice.stop(talk.now)
        with pytest.raises(LocalProtocolError):
            talk.alice.simulate(Scenario.SERVER_LEAVE, talk.now)


def test_drills_may_take_a_number():
    with Talk() as talk:
        talk.alice.simulate(Scenario.SUBSCRIBER_BANDWIDTH, talk.now, value=0)
        for scenario, value in [(Scenario.NODE_FAILURE, 1), (Scenario.SPEAKER_UPDATE, -1)]:
            with pytest.raises(LocalProtocolError, match="takes no such value"):
                talk.alice.simulate(scenario, talk.now, value=value)
        talk.poke()
        talk.wait(0.1)
        (asked,) = talk.requests("alice", "simulate")
        assert asked.HasField("subscriber_bandwidth")
        assert asked.subscriber_bandwidth == 0


def test_a_forced_way_is_asked_for_by_its_number():
    with Talk() as talk:
        for scenario in (Scenario.FORCE_TCP, Scenario.FORCE_TLS):
            talk.drill(scenario)
        talk.wait(0.1)
        assert [asked.switch_candidate_protocol for asked in talk.requests("alice", "simulate")] == [1, 2]
        assert talk.story() == ["Connected"]


@pytest.mark.parametrize("seed", range(6))
@MODES
def test_reliable_data_is_exact_through_many_cuts(single, seed):
    with Talk(seed=seed, link=BAD, single=single) as talk:
        for cut in range(1, 6):
            talk.send(20)
            talk.wait(0.3)
            talk.cut()
            talk.send(20)
            talk.run(lambda cut=cut: talk.heard() and talk.mended(cut), limit=60)
        talk.hear_all()
        assert talk.alice.state.connection is ConnectionState.CONNECTED


@MODES
def test_media_that_is_lost_while_signalling_lives_is_mended_too(single):
    """Fifteen seconds of silence fail the path; the session is resumed with new ICE credentials."""
    with Talk(seed=4, single=single) as talk:
        talk.unplug()
        talk.wait(17.5)
        assert talk.story() == ["Connected", "Reconnecting"]
        talk.plug()
        talk.mend(limit=60)
        talk.send()
        talk.hear_all()


def test_a_path_that_dies_during_a_resume_is_mended_when_its_proof_is_late():
    with Talk(seed=5) as talk:
        ice = talk.ice
        ufrag = ice.local_ufrag
        talk.unplug()
        talk.cut()
        talk.wait(2.0)
        assert not talk.mended()
        talk.wait(1.5)
        assert ice.local_ufrag != ufrag
        talk.plug()
        assert talk.mend().resumed


@MODES
def test_a_resume_before_the_data_channels_are_up_is_proven_by_them(single):
    """A path that was in use has to answer, also one that could not be asked yet."""
    with Party(seed=5) as party:
        alice = party.enter("alice", single_peer_connection=single)
        party.run(lambda: (there := party.there("alice")) and there.active, limit=30)
        party.run(lambda: party.found("alice", Connected), limit=30)
        peer = alice._parts.transports.publisher
        party.world.partition("alice", "server")
        party.world.cut_signals("alice")
        party.wait(1.0)
        assert not peer.connection.transport.association.up
        assert not party.found("alice", Reconnected)
        party.world.partition("alice", "server", down=False)
        party.run(lambda: party.found("alice", Reconnected), limit=30)
        assert peer.connection.transport.association.up
        assert party.found("alice", Reconnected)[0].resumed


def test_a_proof_is_worth_nothing_once_its_path_is_gone():
    with Talk(seed=5, single=False) as talk:
        publisher, subscriber = talk.alice._parts.transports._peers
        talk.cut()
        talk.wait(0.05)
        publisher.proving, subscriber.proving = True, False
        for port in list(talk.node.ports):
            talk.alice.port_failed(port, "gone", talk.now)
        talk.poke()
        talk.alice._parts.transports._proving = True
        publisher.proving = False
        talk.wait(0.01)
        assert not talk.mended()
        assert subscriber.connection.transport.ice.selected_addr is None


def test_a_proof_is_worth_nothing_once_its_link_is_gone():
    """The server took us back, and the link broke again before the path had shown that it works."""
    with Talk() as talk:
        talk.unplug()
        talk.cut()
        talk.run(lambda: talk.alice._course._prove_deadline < INF)
        talk.world.silence_signals("alice")
        talk.cut()
        talk.plug()
        talk.wait(2.0)
        assert not talk.told(Reconnected)
        talk.world.silence_signals("alice", down=False)
        assert talk.mend().resumed
        talk.send(3)
        talk.hear_all()


@MODES
def test_a_track_that_came_while_the_link_led_nowhere_is_heard_after_it(single):
    """What the server asked for then is lost, and it does not ask again."""
    with Talk(seed=5, single=single) as talk:
        talk.world.readdress("alice", talk.node.hosts)
        for _ in range(5):
            talk.bob.publish_track(TrackDescription(codec="opus"), talk.now)
        talk.poke("bob")
        talk.mend(limit=40)
        talk.run(lambda: len(talk.told(TrackSubscribed)) == 5, limit=10)


def test_attempts_are_short_while_media_flows_and_grow():
    with Talk() as talk:
        talk.world.silence_signals("alice")
        talk.wait(90.0)
        talk.world.silence_signals("alice", down=False)
        talk.mend(limit=10)
        times = [request.timeout for request in talk.told(OpenSignal)]
        assert times[:2] == [15.0, 2.5]
        assert times == [15.0, *sorted(times[1:])]
        assert times[-1] > 4.9
        talk.unplug()
        talk.wait(6.0)
        talk.cut()
        talk.wait(0.1)
        assert talk.told(OpenSignal)[-1].timeout == 15.0, "now it is urgent, but may take long"


def test_in_silence_the_server_is_asked_every_second():
    """So the return of the network is found within a second, and mended within the two of ``flowing_ceiling``."""
    with Talk(signal_latency=0.05) as talk:
        talk.world.silence_signals("alice")
        talk.cut()
        talk.wait(100.0)
        asked = [line.time for line in talk.world.trace if line.kind == "signal-open"]
        gaps = [later - sooner for sooner, later in pairwise(asked[-90:])]
        assert max(gaps) <= 1.0 + 1e-6
        talk.wait(0.01 + asked[-1] + 1.0 - talk.world.now)  # just after a request was swallowed
        talk.world.silence_signals("alice", down=False)
        back = talk.world.now
        talk.mend(limit=10)
        assert 0.9 < talk.world.now - back <= 2.0
        assert "Reconnecting" not in talk.story()


@pytest.mark.parametrize(("single", "silence", "count"), [(True, 0.0, 1), (True, 4.0, 1), (False, 0.0, 0)])
def test_a_resume_is_followed_by_one_offer(single, silence, count):
    """A request for one may have been lost; where the path is suspect, the offer that mends it will do."""
    with Talk(seed=3, single=single) as talk:
        before = len(talk.requests("alice", "offer"))
        if silence:
            talk.unplug()
            talk.wait(silence)
        talk.cut()
        talk.wait(0.5)
        talk.plug()
        talk.mend()
        talk.wait(5.0)
        assert len(talk.requests("alice", "offer")) == before + count


def test_a_server_that_gave_no_reason_and_is_never_found_again():
    with Talk(reconnect=ReconnectPolicy(budget=5.0)) as talk:
        talk.say("alice", leave=rtc.LeaveRequest(action=rtc.LeaveRequest.RECONNECT))
        talk.wait(0.01)
        talk.rooms.stop_server()
        end = talk.end(30)
        assert end.reason is not DisconnectReason.UNKNOWN_REASON


def test_a_resume_whose_path_never_answers_becomes_a_new_join():
    with Talk(seed=6) as talk:
        talk.unplug()
        talk.cut()
        talk.wait(18)
        talk.plug()
        assert not talk.mend(limit=120).resumed
        talk.send()
        talk.hear_all()


def test_a_token_that_has_become_invalid_ends_the_session():
    with Talk() as talk:
        talk.change_server(keys={"key": "another"})
        talk.cut()
        end = talk.end(10)
        assert talk.story() == ["Connected", "SignalReconnecting", "Disconnected", "Ended"]
        assert end.reason is DisconnectReason.JOIN_FAILURE


def test_waiting_for_the_acknowledgement_of_data():
    with Talk() as talk:
        nothing = talk.alice.wait_acknowledged(talk.now)
        talk.send(3)
        token = talk.alice.wait_acknowledged(talk.now)
        talk.send()
        forgotten = talk.alice.wait_acknowledged(talk.now)
        talk.alice.cancel(forgotten, talk.now)
        talk.poke()
        talk.wait(0.01)
        assert talk.told(RequestDone) == [RequestDone(nothing)]
        talk.wait(1)
        assert talk.told(RequestDone) == [RequestDone(nothing), RequestDone(token)]
        talk.cut()
        talk.run(lambda: talk.told(SignalReconnecting), limit=5)
        talk.send()
        token = talk.alice.wait_acknowledged(talk.now)
        talk.wait(3)
        assert talk.told(RequestDone)[-1] == RequestDone(token)
        assert not talk.told(DataUnacknowledged)
        talk.send()
        token = talk.alice.wait_acknowledged(talk.now)
        talk.alice._course.life.outbox.clear()
        talk.alice._course.end(DisconnectReason.ROOM_DELETED, None, talk.now)
        (failed,) = [output for output in talk.alice.outbox if isinstance(output, RequestFailed)]
        assert (failed.token, failed.error.reason) == (token, RequestReason.ROOM_ENDED)


@MODES
def test_data_that_a_restart_has_cut_off_is_told_packet_by_packet(single):
    with Talk(single=single) as talk:
        talk.send(5)
        done = talk.alice.wait_acknowledged(talk.now)
        talk.hear_all()
        talk.wait(1)
        talk.unplug()
        talk.send(100)
        assert talk.alice.publish_data(bytes(60_000), topic="t", destination_identities=["bob"], now=talk.now)
        lost = talk.alice.wait_acknowledged(talk.now)
        talk.drill(Scenario.FULL_RECONNECT)
        talk.run(lambda: talk.told(Reconnecting), limit=5)
        talk.sent = 5
        assert talk.alice.publish_data(b"5", now=talk.now)  # waits for the new session, through further restarts
        kept = talk.alice.wait_acknowledged(talk.now)
        talk.wait(40)
        assert len(talk.told(OpenSignal)) > 2
        talk.plug()
        talk.mend(limit=60)
        (told,) = talk.told(DataUnacknowledged)
        assert [packet.payload for packet in told.packets] == [*(b"%d" % n for n in range(5, 105)), bytes(60_000)]
        assert told.packets[-1] == UnacknowledgedPacket(bytes(60_000), "t", ("bob",))
        talk.sent = 6
        talk.hear_all()
        talk.wait(1)
        assert [output.token for output in talk.told(RequestDone)] == [done, kept]
        (failed,) = talk.told(RequestFailed)
        assert (failed.token, failed.error.reason) == (lost, RequestReason.UNACKNOWLEDGED)


class Source:
    """Alice's source of tokens, which is asked by hand."""

    def __init__(self, talk):
        self.talk = talk

    def asked(self):
        return self.talk.told(NeedToken)

    def wait(self, times=1):
        self.talk.run(lambda: len(self.asked()) == times, limit=30)
        return self.asked()[-1].request

    def give(self, request, token=""):
        self.talk.alice.token_renewed(request, token or self.talk.rooms.token("alice"), self.talk.now)
        self.talk.poke()

    def fail(self, request, why):
        self.talk.alice.token_failed(request, why, self.talk.now)
        self.talk.poke()


@MODES
@pytest.mark.parametrize("resume", [True, False], ids=["resume", "restart"])
def test_a_source_is_asked_when_the_token_has_ended(single, resume):
    with Talk(single=single, renew_token=True, token_ttl=30.0) as talk:
        source = Source(talk)
        talk.wait(10)
        talk.cut()
        talk.mend()
        assert not source.asked()
        talk.wait(60)
        if resume:
            talk.cut()
        else:
            talk.drill(Scenario.FULL_RECONNECT)
        request = source.wait()
        talk.wait(5)
        assert len(source.asked()) == 1
        assert not talk.mended(2)
        source.give(request - 1, "of an older question")
        source.give(request)
        assert talk.mend(2).resumed is resume
        source.fail(request, "late")
        assert not talk.alice.counters["token_failed"]
        talk.send(3)
        talk.hear_all()


def test_a_source_that_fails_is_asked_again():
    with Talk(renew_token=True, token_ttl=5.0, reconnect=ReconnectPolicy(attempts=4)) as talk:
        source = Source(talk)
        talk.wait(10)
        talk.cut()
        for times in (1, 2):
            source.fail(source.wait(times), "no connection")
        with pytest.raises(LocalProtocolError):
            source.give(source.wait(3), "not a token")
        source.give(source.asked()[-1].request, talk.rooms.token("alice", ttl=30.0))
        talk.mend()
        assert talk.story() == ["Connected", "SignalReconnecting", "Reconnected"]
        talk.wait(30)
        talk.cut()
        for times in range(4, 8):
            source.fail(source.wait(times), "The token source failed: OSError: no route")
        end = talk.end(1)
        assert end.detail == "The token source failed: OSError: no route"


def test_a_rejected_token_is_replaced_once():
    with Talk(renew_token=True) as talk:
        source = Source(talk)
        keys = talk.rooms.server._options.keys
        talk.change_server(keys={"key": "another"})
        talk.cut()
        request = source.wait()
        talk.change_server(keys=keys)
        source.give(request)
        talk.mend()
        talk.change_server(keys={"key": "another"})
        talk.cut()
        source.give(source.wait(2))
        end = talk.end(30)
        assert end.reason is DisconnectReason.JOIN_FAILURE
        assert "token" in end.detail


def test_leaving_while_the_source_is_asked():
    with Talk(renew_token=True, token_ttl=5.0) as talk:
        source = Source(talk)
        talk.wait(10)
        talk.cut()
        request = source.wait()
        talk.stop("alice")
        end = talk.end(5)
        source.give(request)
        source.fail(request, "late")
        assert end.detail == ""


def test_a_session_that_ends_during_an_answer_to_nobody():
    """What a source says after the attempt that wanted it has been given up is kept for the next one."""
    with Talk(renew_token=True, token_ttl=5.0) as talk:
        source = Source(talk)
        talk.wait(10)
        talk.cut()
        request = source.wait()
        talk.unplug()
        talk.wait(20)  # media is lost, which ends the attempt
        assert len(source.asked()) == 1
        talk.plug()
        source.give(request)
        talk.mend()
        assert len(source.asked()) == 1


def test_a_source_that_fails_between_two_attempts_costs_none():
    with Talk(renew_token=True, token_ttl=5.0) as talk:
        source = Source(talk)
        talk.wait(10)
        talk.cut()
        request = source.wait()
        talk.alice._course.trigger(Trigger.UNREACHABLE, talk.now)
        talk.alice.advance(talk.now)
        assert talk.alice._course.life.state is State.WAITING
        attempts = talk.alice._course.life.attempt
        source.fail(request, "no")
        assert talk.alice._course.life.attempt == attempts
        source.give(source.wait(2))
        talk.mend()


def test_media_that_dies_during_the_outage_of_signalling_is_told():
    with Talk() as talk:
        talk.hide_server()
        talk.cut()
        talk.wait(200)
        assert talk.story() == ["Connected", "SignalReconnecting"]
        attempts = len(talk.told(OpenSignal))
        assert attempts > 150
        talk.unplug()
        start = talk.now
        talk.end(400)
        assert 120 < talk.now - start < 130
        assert talk.story() == ["Connected", "SignalReconnecting", "Reconnecting", "Disconnected", "Ended"]
        assert len(talk.told(OpenSignal)) - attempts < 60
        talk.show_server()


def test_a_server_that_answers_a_resume_with_a_join_is_joined_anew(monkeypatch):
    def join_instead(signal: int, claims: Claims, sid: str, now: float) -> None:
        server._join(signal, claims, rtc.JoinRequest(), True, now)

    with Talk() as talk:
        server = talk.rooms.server
        monkeypatch.setattr(server, "_resume", join_instead)
        talk.cut()
        talk.mend()
        assert talk.story() == ["Connected", "SignalReconnecting", "Reconnecting", "Reconnected"]


def test_a_server_that_answers_a_resume_with_nonsense_is_joined_anew(monkeypatch):
    """The link does open, so that the address is right; a resume is what this server cannot do."""

    def nonsense(signal: int, claims: Claims, sid: str, now: float) -> None:
        pong = rtc.SignalResponse(pong=1)
        server.outbox.extend([AcceptSignal(signal), SendSignal(signal, pong.SerializeToString())])

    with Talk() as talk:
        server = talk.rooms.server
        monkeypatch.setattr(server, "_resume", nonsense)
        talk.cut()
        talk.mend()
        assert talk.story() == ["Connected", "SignalReconnecting", "Reconnecting", "Reconnected"]
        assert len(talk.told(OpenSignal)) == 3, "resumed once, then joined"


def test_a_server_in_trouble_is_asked_again():
    with Talk() as talk:
        server, refused = talk.rooms.server, []
        accept = server.signal_accepted

        def refuse_twice(signal, url, headers, now):
            if len(refused) < 2:
                refused.append(signal)
                server.outbox.append(RefuseSignal(signal, 500, "connection closed by media"))
            else:
                accept(signal, url, headers, now)

        server.signal_accepted = refuse_twice
        talk.cut()
        assert talk.mend().resumed
        assert len(refused) == 2


@pytest.mark.parametrize("action", ["RESUME", "RECONNECT"])
def test_the_server_can_ask_for_it(action):
    with Talk() as talk:
        talk.say("alice", leave=rtc.LeaveRequest(action=rtc.LeaveRequest.Action.Value(action)))
        assert talk.mend().resumed == (action == "RESUME")


def test_a_second_cut_before_the_server_has_told_who_is_there_loses_nobody(monkeypatch):
    with Talk() as talk:
        there = talk.there("alice")
        send = there.send
        monkeypatch.setattr(there, "send", lambda kind, message: None if kind == "update" else send(kind, message))
        talk.cut()
        talk.wait(5)
        assert talk.mended()
        talk.cut()
        monkeypatch.undo()
        talk.mend(2, limit=10)
        talk.wait(3)
        assert list(talk.alice.state.remote_participants) == ["bob"]
        assert not talk.told(ParticipantDisconnected)


def test_the_old_link_is_closed_before_a_new_one_is_opened():
    """Media is lost while signalling lives: the link is given up for one that resumes."""
    with Talk() as talk:
        talk.world.link("server", "alice").down = True
        links = [OpenSignal, CloseSignal]
        talk.run(lambda: len(talk.told(OpenSignal)) == 2, limit=60)
        kinds = [type(output) for output in talk.node.outputs if type(output) in links]
        assert kinds == [OpenSignal, CloseSignal, OpenSignal]


def test_a_resume_before_the_first_data_needs_no_proof_of_it():
    """DTLS is up and SCTP is not: there is nothing yet that could be asked over the path."""
    with Party("alice", link=Link(latency=0.2), signal_latency=0.001) as party:
        party.wait(0.3)  # until the server knows that the client is up
        party.world.cut_signals("alice")
        party.run(lambda: party.found("alice", Reconnected), limit=10)
        assert party.found("alice", Reconnected)[0].resumed
        assert not party.engines["alice"].closed


def test_only_the_path_whose_proof_is_late_is_mended():
    """Dual mode: the server's restart of the subscriber connection takes long; the publisher is left alone."""
    with Talk(single=False) as talk:
        publisher, subscriber = talk.alice._parts.transports._peers
        ufrag = publisher.connection.transport.ice.local_ufrag
        node = talk.node
        deliver, port = node.deliver, subscriber.connection.transport.ice.selected_port

        def deaf(number, data, addr, now):
            if number != port:
                deliver(number, data, addr, now)

        node.deliver = deaf
        talk.cut()
        talk.wait(4.0)
        assert not talk.mended()
        node.deliver = deliver
        talk.mend()
        assert publisher.connection.transport.ice.local_ufrag == ufrag


@pytest.mark.parametrize("gone", [True, False], ids=["old address gone", "old address dead"])
def test_another_address_takes_over_when_the_network_changes(gone):
    with Talk() as talk:
        node = talk.node
        old, new = node.hosts[0], "10.8.0.1"
        node.hosts = (old, new)
        talk.move(old, new)
        talk.wait(5)
        ice = talk.ice
        port, ufrag = ice.selected_port, ice.local_ufrag
        assert node.ports[port][0] == old
        talk.send(5)
        if gone:
            talk.move(new)
        else:
            deliver = node.deliver
            node.deliver = lambda number, *rest: None if number == port else deliver(number, *rest)
            talk.move(old, new)
        start = talk.now
        talk.run(lambda: ice.selected_port not in (port, -1), limit=10)
        assert talk.now - start < 0.8
        talk.send(5)
        talk.hear_all()
        assert talk.now - start < 2
        assert ice.local_ufrag == ufrag
        assert talk.story() == ["Connected"]


def test_a_link_that_does_not_survive_a_change_of_the_network_is_replaced_soon():
    with Talk() as talk:
        talk.wait(2)
        link = talk.told(OpenSignal)[-1].signal
        received = talk.alice.signal_received
        talk.alice.signal_received = lambda signal, *rest: None if signal == link else received(signal, *rest)
        talk.move(talk.node.hosts[0])
        start = talk.now
        assert talk.mend(limit=10).resumed
        assert talk.now - start < 2


def test_ways_that_a_short_silence_has_opened_are_closed_again():
    with Talk() as talk:
        paths = talk.alice._parts.transports._peers[0].paths
        talk.wait(15)
        assert paths._settled
        talk.unplug()
        talk.wait(4)
        assert not paths._settled
        node = talk.node
        node.hosts = (*node.hosts, "10.8.0.1")
        talk.move(*node.hosts)
        talk.wait(0.1)
        assert paths._settle_at == INF
        talk.plug()
        talk.wait(13)
        assert paths._settled


def test_candidates_found_during_an_outage_are_not_told_and_do_no_harm():
    with Talk(signal_latency=0.2) as talk:
        node = talk.node
        node.hosts = (*node.hosts, "10.8.0.1")
        talk.cut()
        talk.run(lambda: talk.told(SignalReconnecting), limit=5)
        before = len(talk.told(SendSignal))
        talk.move(*node.hosts)
        talk.wait(0.05)
        assert len(talk.told(SendSignal)) == before
        talk.mend()
        talk.send()
        talk.hear_all()
