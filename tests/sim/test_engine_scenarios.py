"""Sessions in virtual time over good, bad and awful networks, in both modes, for several seeds each."""

from __future__ import annotations

import pytest

from sansio.base.contract import ClosePort, CloseSignal, Interface, OpenSignal, OpenUdp
from sansio.base.entropy import Entropy
from sansio.base.wallclock import WallClock
from sansio.dtls.engine import default_engine
from sansio.dtls.identity import DtlsIdentity
from sansio.events import (
    Connected,
    ConnectionStateChanged,
    Disconnected,
    ParticipantConnected,
    ParticipantDisconnected,
    ParticipantNameChanged,
)
from sansio.lifecycle.policy import ReconnectPolicy
from sansio.room.data_lanes import DataWritable
from sansio.room.engine import RoomEngine
from sansio.room.options import EngineOptions
from sansio.room.outputs import Ended, JoinFailed, MediaFailure
from sansio.room.requests import RequestDone, RequestFailed
from sansio.sfu.server import PORT, ServerOptions, SfuServer
from sansio.sfu.token import Claims, mint
from sansio.signal.refusal import RefusalKind
from sansio.testing.netem import Link
from sansio.testing.pairs import SERVER_ADDRESS
from sansio.testing.world import World
from sansio.types import DisconnectReason, RequestReason
from tests.unit.room.party import Party

UNIX = 1_800_000_000.0
LINKS = {
    "good": Link(latency=0.02),
    "bad": Link(latency=0.05, jitter=0.03, loss=0.08, duplication=0.05, reorder=0.1),
    "awful": Link(latency=0.15, jitter=0.1, loss=0.2, burst=3, duplication=0.1, reorder=0.2),
}
MODES = pytest.mark.parametrize("single", [True, False], ids=["single", "dual"])
NETWORKS = pytest.mark.parametrize("network", LINKS)
SEEDS = pytest.mark.parametrize("seed", range(3))


def clean_end(party: Party, name: str) -> DisconnectReason:
    """The reason of the end: told once, last, with everything closed that was opened."""
    outputs = party.world.node(name).outputs
    (ended,) = [output for output in outputs if isinstance(output, Ended)]
    assert outputs[-1] is ended
    opened = [request.port for request in party.found(name, OpenUdp)]
    assert sorted(request.port for request in party.found(name, ClosePort)) == opened
    links = [request.signal for request in party.found(name, OpenSignal)]
    closed = [request.signal for request in party.found(name, CloseSignal)]
    assert len(set(closed)) == len(closed)
    assert set(closed) <= set(links)
    assert not party.world.node(name).ports
    return ended.reason


# ------------------------------------------------------------------ data


@MODES
@NETWORKS
@SEEDS
def test_data_both_ways(single, network, seed):
    """Reliable packets once each and in order, lossy ones at most once each, of all sizes, from both at once."""
    with Party("alice", "bob", seed=seed, link=LINKS[network], single_peer_connection=single) as party:
        party.wait(2.0)  # until the channels are open: the server drops lossy data before
        draw = party.world.entropy.fork("sizes")
        got = {"alice": [], "bob": []}

        def read():
            for name, packets in got.items():
                packets.extend(party.read(name))
            return all(sum(packet.reliable for packet in packets) == 30 for packets in got.values())

        for number in range(30):
            for name in got:
                body = bytes(draw.below(draw.choice([1, 1000, 20_000])))
                assert party.publish(name, b"%d " % number + body)
                party.publish(name, b"lossy %d" % number, reliable=False)
            party.wait(0.05)
            read()
        party.run(read, limit=300)
        for packets in got.values():
            numbers = [int(packet.payload.partition(b" ")[0]) for packet in packets if packet.reliable]
            assert numbers == list(range(30))
            lossy = [packet.payload for packet in packets if not packet.reliable]
            assert len(set(lossy)) == len(lossy)
            assert set(lossy) <= {b"lossy %d" % number for number in range(30)}
            assert len(lossy) > (29 if network == "good" else 5)


@MODES
@SEEDS
def test_flow_control_keeps_order_and_bounds(single, seed):
    """A sender who is faster than the network waits for room again and again."""
    link = Link(latency=0.03, loss=0.01, rate=400_000, queue=100_000)
    with Party("alice", seed=seed, single_peer_connection=single) as party:
        party.join("bob", single_peer_connection=single)
        party.wait(1.0)
        party.world.set_link("alice", "server", link)
        sent = refusals = 0
        got: list[bytes] = []
        while sent < 80:
            if party.publish("alice", b"%d " % sent + bytes(30_000)):
                sent += 1
                continue
            refusals += 1
            party.run(lambda: len(party.found("alice", DataWritable)) == refusals, limit=60)
            got += [packet.payload for packet in party.read("bob")]
        got += party.hear("bob", sent - len(got), limit=120)
        assert [payload.partition(b" ")[0] for payload in got] == [b"%d" % number for number in range(sent)]
        assert refusals >= 1


@MODES
@pytest.mark.parametrize("network", ["good", "bad"])
@SEEDS
def test_what_was_published_before_leaving_arrives(single, network, seed):
    with Party("alice", "bob", seed=seed, link=LINKS[network], single_peer_connection=single) as party:
        party.wait(2.0)
        sent = [b"%d" % number * 500 for number in range(10)]
        for payload in sent:
            assert party.publish("alice", payload)
        party.stop("alice")
        got = party.hear("bob", len(sent))
        assert got == sent
        party.run(lambda: party.engines["alice"].closed)
        assert clean_end(party, "alice") is DisconnectReason.CLIENT_INITIATED
        party.run(lambda: party.found("bob", ParticipantDisconnected))


@MODES
@pytest.mark.parametrize("network", ["good", "bad"])
def test_real_cryptography_at_both_ends(single, network):
    """The same facts with OpenSSL in place of the plain engine."""
    wall, identity = WallClock(UNIX), DtlsIdentity.generate(UNIX, Entropy(b"real"))
    with World(1, link=LINKS[network]) as world:
        options = ServerOptions(keys={"key": "secret"}, dtls_engine=default_engine)
        server = SfuServer(SERVER_ADDRESS, options, entropy=Entropy(b"server"), wall=wall, identity=identity)
        world.add("server", server, {PORT: SERVER_ADDRESS})
        world.listen("server.test", "server")
        engines, got = {}, {"alice": [], "bob": []}
        for number, name in enumerate(got):
            host = f"10.2.0.{number}"
            engines[name] = engine = RoomEngine(
                "ws://server.test",
                mint(Claims(name, "room", "key"), "secret", UNIX),
                EngineOptions(single_peer_connection=single),
                entropy=Entropy(name.encode()),
                wall=wall,
                identity=identity,
            )
            world.add(name, engine, hosts=[host])
            engine.start([Interface("eth0", host)], world.now)
        world.run(lambda: [output for output in world.node("bob").outputs if isinstance(output, Connected)], limit=30)
        world.run(lambda: all(engine.state.remote_participants for engine in engines.values()), limit=30)
        for number in range(20):
            for name, engine in engines.items():
                assert engine.publish_data(b"%d" % number * 100, now=world.now)
                world.poke(name)

        def read():
            for name, engine in engines.items():
                while (packet := engine.read_data()) is not None:
                    got[name].append(packet.payload)
                    world.poke(name)
            return all(len(packets) == 20 for packets in got.values())

        world.run(read, limit=60)
        assert got["alice"] == got["bob"] == [b"%d" % number * 100 for number in range(20)]
        for name, engine in engines.items():
            engine.stop(world.now)
            world.poke(name)
        world.run_until_quiet(limit=120)
        assert all(engine.closed for engine in engines.values())


# ------------------------------------------------------------------ own state


@MODES
@NETWORKS
def test_own_name_is_changed_and_seen_by_others(single, network):
    with Party("alice", "bob", link=LINKS[network], single_peer_connection=single) as party:
        token = party.engines["alice"].set_name("Alice", party.now)
        party.world.poke("alice")
        party.run(lambda: party.found("alice", RequestDone))
        assert party.found("alice", RequestDone) == [RequestDone(token)]
        assert party.engines["alice"].state.local_participant.name == "Alice"
        party.run(lambda: party.found("bob", ParticipantNameChanged))
        assert party.engines["bob"].state.remote_participants["alice"].name == "Alice"


@MODES
def test_own_name_is_refused_without_the_grant(single):
    with Party() as party:
        token = party.rooms.token("alice", can_update_own_metadata=False)
        party.join("alice", token=token, single_peer_connection=single)
        party.engines["alice"].set_name("Alice", party.now)
        party.world.poke("alice")
        party.run(lambda: party.found("alice", RequestFailed))
        (failed,) = party.found("alice", RequestFailed)
        assert failed.error.reason is RequestReason.NOT_ALLOWED
        assert party.engines["alice"].state.local_participant.name == ""


def test_a_request_that_nobody_answers_fails_in_time(monkeypatch):
    with Party("alice", request_timeout=2.0) as party:
        monkeypatch.setattr("sansio.sfu.requests.update_metadata", lambda *args: None)
        start = party.now
        party.engines["alice"].set_name("Alice", party.now)
        party.world.poke("alice")
        party.run(lambda: party.found("alice", RequestFailed))
        assert party.found("alice", RequestFailed)[0].error.reason is RequestReason.TIMED_OUT
        assert party.now - start == pytest.approx(2.0)


# ------------------------------------------------------------------ ends that others decide


@MODES
@NETWORKS
@SEEDS
def test_removed_by_the_server(single, network, seed):
    with Party("alice", "bob", seed=seed, link=LINKS[network], single_peer_connection=single) as party:
        party.wait(2.0)
        party.rooms.server.remove("room", "alice", party.now)
        party.world.poke("server")
        party.run(lambda: party.engines["alice"].closed)
        assert clean_end(party, "alice") is DisconnectReason.PARTICIPANT_REMOVED
        (told,) = party.found("alice", Disconnected)
        assert told.reason is DisconnectReason.PARTICIPANT_REMOVED
        party.run(lambda: party.found("bob", ParticipantDisconnected))
        assert party.found("bob", ParticipantDisconnected)[0].participant.identity == "alice"


@MODES
@NETWORKS
def test_a_second_session_of_an_identity_ends_the_first(single, network):
    with Party("alice", "bob", link=LINKS[network], single_peer_connection=single) as party:
        first = party.engines["alice"]
        second = party.rooms.enter("alice", node="again", single_peer_connection=single)
        party.run(lambda: first.closed and party.found("again", Connected))
        assert clean_end(party, "alice") is DisconnectReason.DUPLICATE_IDENTITY
        party.wait(1.0)
        sids = [event.participant.sid for event in party.found("bob", ParticipantConnected)]
        assert sids[-1] == second.state.local_participant.sid
        assert list(party.engines["bob"].state.remote_participants) == ["alice"]


@MODES
def test_a_lost_link_ends_a_session_that_does_not_reconnect(single):
    with Party("alice", single_peer_connection=single, reconnect=ReconnectPolicy(attempts=0)) as party:
        party.world.cut_signals("alice")
        party.run(lambda: party.engines["alice"].closed)
        assert clean_end(party, "alice") is DisconnectReason.SIGNAL_CLOSE


@MODES
def test_a_link_lost_while_joining_fails_the_join(single):
    with Party() as party:
        alice = party.engines["alice"] = party.rooms.enter("alice", single_peer_connection=single)
        party.run(lambda: alice.state.joined)
        party.world.cut_signals("alice")
        party.run(lambda: alice.closed)
        assert clean_end(party, "alice") is DisconnectReason.SIGNAL_CLOSE
        assert party.found("alice", JoinFailed)[0].error.kind is RefusalKind.UNREACHABLE
        assert not party.found("alice", Connected)


# ------------------------------------------------------------------ joins


@NETWORKS
@SEEDS
def test_falling_back_to_a_server_of_before(network, seed):
    with Party("alice", "bob", seed=seed, link=LINKS[network], server={"path_v1": False}) as party:
        for name in ("alice", "bob"):
            assert [("/rtc/v1" in request.url) for request in party.found(name, OpenSignal)] == [True, False]
            assert party.engines[name].diagnostics()["mode"] == "dual"
        party.publish("alice", b"hello")
        assert party.hear("bob", 1) == [b"hello"]
        party.stop("alice")
        party.run(lambda: party.engines["alice"].closed)
        assert clean_end(party, "alice") is DisconnectReason.CLIENT_INITIATED


@MODES
def test_a_forced_mode_is_kept(single):
    with Party("alice", single_peer_connection=single) as party:
        (request,) = party.found("alice", OpenSignal)
        assert ("/rtc/v1" in request.url) is single
        assert party.engines["alice"].diagnostics()["mode"] == ("single" if single else "dual")


def test_a_forced_new_path_fails_where_there_is_none():
    with Party(server={"path_v1": False}) as party:
        alice = party.engines["alice"] = party.rooms.enter("alice", single_peer_connection=True)
        party.run(lambda: alice.closed)
        assert party.found("alice", JoinFailed)[0].error.kind is RefusalKind.SERVICE_NOT_FOUND
        assert clean_end(party, "alice") is DisconnectReason.JOIN_FAILURE


@NETWORKS
@SEEDS
def test_an_offer_that_goes_over_the_link(monkeypatch, network, seed):
    monkeypatch.setattr("sansio.signal.urls.fits_request_line", lambda url: False)
    with Party("alice", "bob", seed=seed, link=LINKS[network], single_peer_connection=True) as party:
        party.publish("alice", b"hello")
        assert party.hear("bob", 1) == [b"hello"]


@pytest.mark.parametrize(
    ("claims", "kind"),
    [({"room_join": False}, RefusalKind.TOKEN_REJECTED), ({"identity": ""}, RefusalKind.TOKEN_REJECTED)],
)
@MODES
def test_a_token_that_does_not_let_in(single, claims, kind):
    with Party() as party:
        token = party.rooms.token(**{"identity": "alice", **claims})
        alice = party.engines["alice"] = party.rooms.enter("alice", token=token, single_peer_connection=single)
        party.run(lambda: alice.closed)
        assert party.found("alice", JoinFailed)[0].error.kind is kind
        assert clean_end(party, "alice") is DisconnectReason.JOIN_FAILURE


@MODES
def test_a_room_that_does_not_exist(single):
    with Party(server={"auto_create": False}) as party:
        alice = party.engines["alice"] = party.rooms.enter("alice", single_peer_connection=single)
        party.run(lambda: alice.closed)
        assert party.found("alice", JoinFailed)[0].error.kind is RefusalKind.ROOM_NOT_FOUND


@MODES
@SEEDS
def test_media_that_cannot_connect(single, seed):
    with Party(seed=seed) as party:
        alice = party.engines["alice"] = party.rooms.enter("alice", single_peer_connection=single)
        party.world.partition("alice", "server")
        party.run(lambda: alice.closed)
        error = party.found("alice", JoinFailed)[0].error
        assert isinstance(error, MediaFailure)
        assert len(error.pairs) == (1 if single else 2)
        assert {pair.state for pair in error.pairs} <= {"failed", "in progress"}
        assert all(pair.checks_sent > 5 for pair in error.pairs)
        assert clean_end(party, "alice") is DisconnectReason.MEDIA_FAILURE
        # the server was told, so nobody sees a ghost
        party.wait(1.0)
        assert party.there("alice") is None


@MODES
@pytest.mark.parametrize("after", [0.0, 0.005, 0.015, 0.025, 0.05, 0.09, 0.13, 0.2])
def test_stopping_at_any_moment_of_the_join_leaves_nothing(single, after):
    with Party(link=LINKS["good"]) as party:
        alice = party.engines["alice"] = party.rooms.enter("alice", single_peer_connection=single)
        party.wait(after)
        party.stop("alice")
        party.run(lambda: alice.closed, limit=5)
        assert clean_end(party, "alice") is DisconnectReason.CLIENT_INITIATED
        assert not party.found("alice", JoinFailed)
        states = [event.state.name for event in party.found("alice", ConnectionStateChanged)]
        assert states in ([], ["CONNECTED", "DISCONNECTED"])
        party.wait(2.0)
        assert party.there("alice") is None


@MODES
@SEEDS
def test_networks_that_come_and_go(single, seed):
    """The session moves to whatever address there is, and no reliable data is lost."""
    with Party("alice", "bob", seed=seed, single_peer_connection=single) as party:
        party.wait(1.0)
        node = party.world.node("alice")
        node.hosts = ("10.2.0.1", "10.8.0.1", "10.8.0.2")
        sent = 0
        for address in ("10.8.0.1", "10.8.0.2", "10.2.0.1"):
            for _ in range(5):
                assert party.publish("alice", b"%d" % sent)
                sent += 1
            party.engines["alice"].networks_changed([Interface("x", address)], party.now)
            party.world.poke("alice")
            party.wait(3.0)
            assert {host for host, _ in node.ports.values()} == {address}
        assert party.hear("bob", sent, limit=60) == [b"%d" % number for number in range(sent)]
        assert not party.found("alice", Ended)
