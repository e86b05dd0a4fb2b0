"""The shortest join, pinned round trip by round trip, and what each deviation from it costs.

Times are in round trips of both signalling and media, from the moment the request for the signalling link leaves (TCP
and TLS come before that). The floor: 1 for the request and its answer, 1 for ICE up to the server's ClientHello, 1 for
DTLS: connected at 3. Then 1 for INIT and INIT-ACK, 1 for the message and its echo: 5.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from sansio import proto
from sansio.base.contract import Interface
from sansio.base.entropy import Entropy
from sansio.dtls.plain import PlainEngine, plain_identity
from sansio.events import Connected
from sansio.room.data_lanes import DataReadable
from sansio.room.engine import RoomEngine
from sansio.room.options import EngineOptions
from sansio.room.outputs import TrackStarted
from sansio.room.requests import RequestDone
from sansio.room.track import TrackDescription
from sansio.testing.netem import Link
from sansio.testing.pairs import Rooms
from sansio.testing.world import World

from .wire import what

RTT = 0.1
HOST = "10.9.0.1"


class Join:
    """Alice joins a room in which Bob echoes, next door to the server; ``marks`` holds when what happened."""

    def __init__(
        self,
        *,
        rtt: float = RTT,
        signal_latency: float = RTT / 2,
        prepare: Callable[[Join], None] = lambda join: None,
        **options: object,
    ) -> None:
        self.rtt = rtt
        self.world = World(1, link=Link(latency=rtt / 2), signal_latency=signal_latency, kind=what)
        self.rooms = Rooms(self.world)
        self.bob = self.rooms.enter("bob")
        self.world.set_link("bob", "server", Link(latency=0.0))
        self.world.run_for(4.0)
        self.world.node("bob").perform = self._echo
        self.marks: dict[str, float] = {}
        self.begin = self.world.now
        self.first = len(self.world.trace)
        self.interfaces = [Interface("eth0", HOST)]
        self.alice = RoomEngine(
            "ws://server.test",
            self.rooms.token("alice"),
            EngineOptions(dtls_engine=PlainEngine, **options),
            entropy=Entropy(b"alice"),
            wall=self.rooms.wall,
            identity=plain_identity(Entropy(b"alice")),
        )
        self.world.add("alice", self.alice, hosts=[HOST], perform=self._alice)
        prepare(self)
        self.alice.start(self.interfaces, self.world.now)

    def _echo(self, output: object, now: float) -> None:
        if isinstance(output, DataReadable):
            while (packet := self.bob.read_data()) is not None:
                self.bob.publish_data(packet.payload, now=now)

    def _alice(self, output: object, now: float) -> None:
        if isinstance(output, Connected):
            self.marks["connected"] = (now - self.begin) / self.rtt
            assert self.alice.publish_data(b"hello", now=now)
        elif isinstance(output, DataReadable):
            while (packet := self.alice.read_data()) is not None:
                assert packet.payload == b"hello"
                self.marks["echo"] = (now - self.begin) / self.rtt

    def run(self, mark: str = "echo") -> dict[str, float]:
        with self.world:
            self.world.run(lambda: mark in self.marks, limit=20)
        return self.marks

    def story(self) -> list[tuple[float, str, str]]:
        """(round trips, sender, what) of all that passed between Alice and the server, signalling included."""
        return [
            (round((line.time - self.begin) / self.rtt, 3), line.source, line.kind)
            for line in self.world.trace[self.first :]
            if "alice" in (line.source, line.target) and line.verdict == "ok"
        ]


def test_the_whole_join_message_by_message():
    join = Join()
    assert join.run() == {"connected": pytest.approx(3.0), "echo": pytest.approx(5.0)}
    assert join.story() == [
        # the request, with the offer and our candidates inside
        (0.0, "alice", "signal-open"),
        # the server's check needs nothing of us but what the offer says; with it go join, token, answer, candidate
        (0.5, "server", "check"),
        (0.5, "server", "signal"),
        (0.5, "server", "signal"),
        (0.5, "server", "signal"),
        (0.5, "server", "signal"),
        # its check is answered, and our first check nominates; the signal is the first ping
        (1.0, "alice", "answer"),
        (1.0, "alice", "nomination"),
        (1.0, "alice", "signal"),
        # so the server has its pair, and as DTLS client it begins
        (1.5, "server", "answer"),
        (1.5, "server", "client-hello"),
        (1.5, "server", "signal"),
        # no cookie exchange
        (2.0, "alice", "server-hello+certificate+server-key+request+done"),
        (2.5, "server", "certificate+client-key+verify+finished"),
        # INIT right behind our Finished
        (3.0, "alice", "finished"),
        (3.0, "alice", "init"),
        # the INITs collide
        (3.5, "server", "init-ack"),
        (3.5, "server", "init"),
        (3.5, "server", "signal"),
        (4.0, "alice", "init-ack"),
        # two OPENs and the user's message, bundled with the cookie
        (4.0, "alice", "cookie-echo+data+data+data"),
        (4.5, "server", "cookie-ack+sack+data+data"),
        (4.5, "server", "data"),
        (5.0, "alice", "sack"),
    ]


def test_a_message_published_before_media_is_up_does_not_need_to_wait_for_it():
    """Published in the very moment of the join response, it takes the same bundle."""
    join = Join()
    with join.world:
        join.world.run(lambda: join.alice.state.joined, limit=5)
        assert join.alice.publish_data(b"hello", now=join.world.now)
        join.world.poke("alice")
    assert join.run() == {"connected": pytest.approx(3.0), "echo": pytest.approx(5.0)}
    assert (4.0, "alice", "cookie-echo+data+data+data+data") in join.story()


def test_tracks_published_with_the_join_cost_no_round_trip():
    """The server has accepted them with the first answer, they are negotiated with the second message, and a frame
    leaves in the moment in which media can flow; the join itself takes no longer."""
    frames = []

    def prepare(join):
        _, join.voice = join.alice.publish_track(TrackDescription(codec="opus", name="voice"), join.begin)
        connected = join.world.node("alice").perform

        def perform(output, now):
            if isinstance(output, RequestDone):
                join.marks["published"] = (now - join.begin) / join.rtt
            elif isinstance(output, TrackStarted):
                join.marks["started"] = (now - join.begin) / join.rtt
            connected(output, now)
            if isinstance(output, Connected):
                assert join.alice.write_frame(join.voice, b"\xf8\xff\xfe", now)
                frames.append((now - join.begin) / join.rtt)

        join.world.node("alice").perform = perform

    join = Join(prepare=prepare)
    marks = join.run()
    assert marks == {
        "published": pytest.approx(1.0),
        "started": pytest.approx(1.0),
        "connected": pytest.approx(3.0),
        "echo": pytest.approx(5.0),
    }
    assert frames == [pytest.approx(3.0)]
    assert join.voice.stats().packets == 1
    signals = [(when, kind) for when, source, kind in join.story() if source == "alice" and kind.startswith("signal")]
    assert [kind for when, kind in signals if when < 1.0] == ["signal-open"]
    (bob,) = join.bob.state.remote_participants["alice"].track_publications.values()
    assert bob.name == "voice"


@pytest.mark.parametrize("rtt", [0.01, 0.2, 0.4])
def test_the_floor_holds_on_short_and_long_ways(rtt):
    """Beyond 0.1 s the first checks and flights are repeated, as no round trip is known yet; that delays nothing."""
    join = Join(rtt=rtt, signal_latency=rtt / 2)
    assert join.run() == {"connected": pytest.approx(3.0), "echo": pytest.approx(5.0)}
    kinds = [kind for _, _, kind in join.story()]
    once = ["cookie-echo+data+data+data"]
    if rtt < 0.1:
        once += ["check", "nomination", "client-hello", "finished"]
    assert [kinds.count(kind) for kind in once] == [1] * len(once)


def test_the_servers_checks_are_answered_before_its_answer_is_here():
    """Signalling takes 0.14 s, the server's check arrives after 0.1 s: it is answered with our own password."""
    rtt = 0.06
    join = Join(rtt=rtt, signal_latency=0.07)
    join.run("connected")
    # from the answer: nomination, ClientHello, ServerHello, Finished
    assert join.marks["connected"] == pytest.approx(0.14 / rtt + 2)
    assert next((at, who) for at, who, kind in join.story() if kind == "answer") == (round(0.1 / rtt, 3), "alice")


# ------------------------------------------------------------------ deviations


def tampered(join: Join, change: Callable[[str], str]) -> None:
    """Let Alice see answers of the server changed."""
    receive = join.alice.signal_received

    def received(signal: int, data: bytes, now: float) -> None:
        response = proto.rtc.SignalResponse.FromString(data)
        if response.WhichOneof("message") == "answer":
            response.answer.sdp = change(response.answer.sdp)
        receive(signal, response.SerializeToString(), now)

    join.alice.signal_received = received  # type: ignore[method-assign]


def without_candidates(join: Join) -> None:
    """The host candidates are known only after the request has left, so they are trickled after the join."""
    interfaces, join.interfaces = join.interfaces, []

    def later() -> None:
        join.alice.networks_changed(interfaces, join.world.now)
        join.world.poke("alice")

    join.world.at(join.world.now + 0.001, later)


def regular_nomination(join: Join) -> None:
    """The first check is a plain one, and the nomination waits for its answer: what a lite peer gets."""
    tampered(join, lambda sdp: sdp.replace("t=0 0\r\n", "t=0 0\r\na=ice-lite\r\n"))


def dtls_client(join: Join) -> None:
    """The server answers passive, so that the first flight is ours; it would cost one more with a cookie exchange."""
    tampered(join, lambda sdp: sdp.replace("a=setup:active", "a=setup:passive"))
    accepted = join.rooms.server.signal_accepted

    def accept(signal: int, url: str, headers: tuple[tuple[str, str], ...], now: float) -> None:
        accepted(signal, url, headers, now)
        # the server has become DTLS client by answering the offer: undo that
        transport = join.rooms.server._signals[signal].peers[0].connection.transport
        transport._role = None
        transport.dtls = type(transport.dtls)(
            plain_identity(join.world.entropy.fork("server identity")),
            entropy=join.world.entropy.fork("again"),
            engine=PlainEngine,
        )
        transport.channels = None
        fingerprint = plain_identity(Entropy(b"alice")).fingerprint
        ice = join.alice._parts.transports._peers[0].connection.transport.ice
        transport.set_remote(
            ufrag=ice.local_ufrag, pwd=ice.local_pwd, lite=False, fingerprint=fingerprint, role="server", now=now
        )

    join.rooms.server.signal_accepted = accept  # type: ignore[method-assign]


def checks_unanswered(join: Join) -> None:
    """What the server sends before its answer is here is lost, as if we could not answer it."""
    link = join.world.link("server", "alice")
    link.down = True

    def up() -> None:
        link.down = False

    join.world.at(join.begin + 0.1399, up)


@pytest.mark.parametrize("deviate", [without_candidates, regular_nomination, dtls_client])
def test_each_deviation_costs_a_round_trip(deviate):
    assert Join(prepare=deviate).run() == {"connected": pytest.approx(4.0), "echo": pytest.approx(6.0)}


def test_unanswered_checks_cost_a_round_trip():
    rtt = 0.06
    marks = Join(rtt=rtt, signal_latency=0.07, prepare=checks_unanswered).run("connected")
    assert marks["connected"] == pytest.approx(0.14 / rtt + 3)


def test_two_peer_connections_cost_more():
    """In dual mode the server's offer is answered, which is what it waits for: half a round trip more each way."""
    marks = Join(single_peer_connection=False).run()
    assert marks["connected"] > 3.5
    assert marks["echo"] > 5.5


def test_an_offer_too_long_for_the_request_costs_a_round_trip(monkeypatch):
    monkeypatch.setattr("sansio.signal.urls.fits_request_line", lambda url: False)
    assert Join().run() == {"connected": pytest.approx(4.0), "echo": pytest.approx(6.0)}
