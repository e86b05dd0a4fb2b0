"""Sessions are recorded without secrets, and play back to the byte with the plain engine, in kind with a real one."""

from __future__ import annotations

import base64
import json
from collections import deque

import pytest

from sansio import proto
from sansio.base.contract import Interface, SignalFailure
from sansio.base.entropy import Entropy
from sansio.base.errors import LocalProtocolError
from sansio.dtls.engine import DtlsFailure, EngineError, default_engine
from sansio.dtls.identity import DtlsIdentity
from sansio.dtls.plain import PlainEngine
from sansio.events import Connected, Reconnected, TrackSubscribed
from sansio.ice.paths import TurnServerConfig
from sansio.lifecycle.policy import ReconnectPolicy
from sansio.room.engine import RoomEngine
from sansio.room.options import EngineOptions
from sansio.room.outputs import Ended
from sansio.room.requests import RequestDone
from sansio.room.track import TrackDescription, VideoLayer
from sansio.sfu.server import PORT, ServerOptions, SfuServer
from sansio.testing.netem import Link
from sansio.testing.pairs import SERVER_ADDRESS, Rooms
from sansio.testing.record import (
    CALLS,
    LEFT_OUT,
    Diverged,
    Opaque,
    Recorder,
    _Answers,
    _Tap,
    from_json,
    redacted_message,
    redacted_token,
    redacted_url,
    replay,
    to_json,
)
from sansio.testing.world import World
from sansio.types import ConnectionState, Scenario, VideoQuality

rtc = proto.rtc
PASSWORD = "the-password-of-a-relay"
TURN = (TurnServerConfig("turn:203.0.113.1:3478?transport=tcp", "user", PASSWORD),)


class Stand:
    """Alice is recorded; Bob is not."""

    def __init__(self, dtls=PlainEngine, single=None, **options):
        self.world = World(3, link=Link(latency=0.02, jitter=0.01, loss=0.05))
        self.rooms = Rooms(self.world)
        if dtls is not PlainEngine:
            self.world.remove("server")
            server = SfuServer(
                SERVER_ADDRESS,
                ServerOptions(keys={"key": "secret"}, dtls_engine=dtls),
                entropy=Entropy(b"server"),
                wall=self.rooms.wall,
                identity=DtlsIdentity.generate(self.rooms.wall.unix, Entropy(b"server")),
            )
            self.world.add("server", server, {PORT: SERVER_ADDRESS}, perform=self.rooms._answer)
            self.world.listen("server.test", "server", judges=True)
            self.rooms.server = server
        self.lines = []
        self.token = self.rooms.token("alice")
        self.recorder = Recorder(self.lines.append)
        self.alice = self.join("alice", self.recorder, dtls, single, options)
        self.bob = self.join("bob", Recorder(lambda line: None), dtls, single, {})

    def join(self, name, recorder, dtls, single, options):
        number = 10 + len(name)
        seed = Entropy(name.encode())
        engine = recorder.engine(
            "ws://server.test",
            self.token if name == "alice" else self.rooms.token(name),
            EngineOptions(dtls_engine=dtls, single_peer_connection=single, **options),
            entropy=seed,
            wall=self.rooms.wall,
            identity=DtlsIdentity.generate(self.rooms.wall.unix, seed.fork("identity")),
        )
        self.world.add(name, engine, hosts=[f"10.3.0.{number}"])
        engine.start([Interface("eth0", f"10.3.0.{number}")], self.world.now)
        self.world.run(lambda: self.rooms.outputs(name, Connected), limit=30)
        return engine

    def __enter__(self):
        self.world.__enter__()
        return self

    def __exit__(self, *error):
        return self.world.__exit__(*error)

    def do(self, engine, name, *args, **kwargs):
        result = getattr(engine, name)(*args, self.world.now, **kwargs)
        self.world.poke("alice" if engine is self.alice else "bob")
        return result

    def live(self):
        """Something of everything."""
        world, alice, bob = self.world, self.alice, self.bob
        world.run_for(1.0)
        self.do(alice, "set_metadata", "about me")
        alice.publish_data(b"hello", topic="t", destination_identities=["bob"], now=world.now)
        with pytest.raises(LocalProtocolError):
            alice.publish_data(bytes(100_000), now=world.now)
        bob.publish_data(b"hello back", now=world.now)
        world.poke("bob")
        _, track = self.do(alice, "publish_track", TrackDescription(codec="opus", name="mic"))
        self.do(bob, "publish_track", TrackDescription(codec="opus", name="other"))
        world.run(lambda: self.rooms.outputs("alice", TrackSubscribed), limit=10)
        (event,) = self.rooms.outputs("alice", TrackSubscribed)
        self.do(alice, "enable_track", event.track, True)
        self.do(alice, "set_track_settings", event.publication, quality=VideoQuality.LOW)
        world.run_for(1.0)
        for number in range(5):
            alice.write_frame(track, bytes([number]) * 40, world.now, voice=True)
            world.poke("alice")
            world.run_for(0.02)
        while alice.read_data() is not None:
            world.poke("alice")
        alice.register_rpc_method("m", object())
        self.do(alice, "simulate", Scenario.SIGNAL_RECONNECT)
        world.run(lambda: self.rooms.outputs("alice", Reconnected), limit=30)
        self.do(alice, "simulate", Scenario.FULL_RECONNECT)
        world.run(lambda: len(self.rooms.outputs("alice", Reconnected)) == 2, limit=30)
        world.run_for(2.0)
        self.do(alice, "stop")
        world.run(lambda: self.rooms.outputs("alice", Ended), limit=30)
        assert [done.token for done in self.rooms.outputs("alice", RequestDone)]


@pytest.mark.parametrize("single", [True, False], ids=["single", "dual"])
def test_a_session_plays_back_to_the_byte(single):
    with Stand(single=single) as stand:
        stand.live()
        played = replay(stand.lines)
        assert played.engine.closed
        assert played.calls > 70
        assert played.left_out == 1
        assert played.engine.state.local_participant.metadata == "about me"
        assert played.engine.diagnostics() == stand.alice.diagnostics()


def test_what_the_engine_calls_of_itself_is_no_input():
    with Stand() as stand:
        before = len(stand.lines)
        stand.recorder._inside = True
        stand.alice.publish_data(b"from within", now=stand.world.now)
        assert len(stand.lines) == before


@pytest.mark.parametrize("dtls", [PlainEngine, default_engine], ids=["plain", "real"])
def test_packets_by_the_fast_way_are_recorded_too(dtls):
    with Stand(dtls) as stand:
        node = stand.world.node("alice")
        (port,) = node.ports
        node.deliver = stand.alice.port_handler(port)
        node.deliver(port, b"\x80media that is none", SERVER_ADDRESS, stand.world.now)
        stand.world.run_for(5.0)
        kinds = [base64.b64decode(line[2])[0] for line in map(json.loads, stand.lines) if line[0] == "packet"]
        assert (128 in kinds) is (dtls is PlainEngine)
        assert len(kinds) > 3
        assert replay(stand.lines).engine.state.connection is ConnectionState.CONNECTED


@pytest.mark.parametrize("single", [True, False], ids=["single", "dual"])
def test_a_session_with_real_cryptography_plays_back_in_kind(single):
    with Stand(default_engine, single=single) as stand:
        stand.live()
        played = replay(stand.lines)
        assert played.engine.closed
        assert played.engine.state.local_participant.metadata == "about me"
        assert played.engine.state.connection is ConnectionState.DISCONNECTED
        calls = [line for line in map(json.loads, stand.lines) if line[0] == "call" and line[1] == "handle_datagram"]
        first = {from_json(line[2][1])[0] for line in calls}
        assert first
        assert all(byte < 64 for byte in first), "no media"


def test_a_recording_holds_no_secret():
    with Stand(default_engine, turn_servers=TURN, renew_token=True) as stand:
        renewed = stand.rooms.token("alice", ttl=7200.0)
        stand.alice.token_renewed(1, renewed, stand.world.now)
        stand.alice.token_renewed(2, token=renewed, now=stand.world.now)
        fresh = rtc.SignalResponse(refresh_token=stand.rooms.token("alice", ttl=9000.0))
        stand.alice.signal_received(1, fresh.SerializeToString(), stand.world.now)
        stand.alice.signal_received(1, data=fresh.SerializeToString(), now=stand.world.now)
        stand.world.poke("alice")
        stand.world.run_for(1.0)
        text = "\n".join(stand.lines)
        for secret in (stand.token, renewed, fresh.refresh_token):
            assert secret not in text
            assert secret.rpartition(".")[2] not in text
        assert PASSWORD not in text
        for peer in stand.alice._parts.transports._peers:
            for key in (peer.connection.transport.local_key, peer.connection.transport.remote_key):
                assert key
                assert key.hex() not in text
                assert json.dumps(to_json(key))[10:-2] not in text


def test_messages_lose_their_secrets_only():
    servers = [rtc.ICEServer(urls=["turn:x"], username="u", credential="c")]
    for message in (
        rtc.SignalResponse(join=rtc.JoinResponse(ice_servers=servers, sif_trailer=b"t", server_region="r")),
        rtc.SignalResponse(reconnect=rtc.ReconnectResponse(ice_servers=servers, last_message_seq=7)),
    ):
        clean = rtc.SignalResponse.FromString(redacted_message(message.SerializeToString()))
        body = getattr(clean, clean.WhichOneof("message"))
        assert [(server.username, server.credential) for server in body.ice_servers] == [("u", "x")]
        assert b"t" not in (body.sif_trailer if clean.HasField("join") else b"")
        assert body.server_region == "r" if clean.HasField("join") else body.last_message_seq == 7
    moved = rtc.SignalResponse(room_moved=rtc.RoomMovedResponse(token="a.b.c"))
    assert rtc.SignalResponse.FromString(redacted_message(moved.SerializeToString())).room_moved.token == "a.b.x"
    other = rtc.SignalResponse(pong=5).SerializeToString()
    assert redacted_message(other) == other
    with pytest.raises(proto.DecodeError):
        rtc.SignalResponse.FromString(redacted_message(b"\xff\xff\xff"))
    assert redacted_token("a.b.c") == "a.b.x"
    assert redacted_token("opaque") == redacted_token("a.b") == redacted_token("a.b.c.d") == "x"
    assert redacted_url("wss://u:p@host:7880/path?secret=1#x") == "wss://host:7880/path"


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        1.5,
        "text",
        b"bytes",
        [1, (2, "x")],
        {"k": b"v"},
        Scenario.NODE_FAILURE,
        Interface("eth0", "10.0.0.1"),
        SignalFailure("tcp", "why"),
        TrackDescription(codec="vp8", layers=(VideoLayer(width=320, height=180), VideoLayer(width=640, height=360))),
        TrackDescription(codec="opus", owner=object()),
        ReconnectPolicy(budget=5.0),
        proto.models.DataPacket(participant_sid="PA_x"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_values_survive(value):
    again = from_json(json.loads(json.dumps(to_json(value))))
    assert again == value
    assert type(again) is type(value)


ASKED = {"diagnostics", "impatient", "link_stats", "media_report", "received_stats", "sent_stats", "why_due"}
"""Methods of an engine that change nothing."""


def test_no_method_of_an_engine_is_forgotten():
    public = {name for name in dir(RoomEngine) if callable(getattr(RoomEngine, name)) and not name.startswith("_")}
    assert public - ASKED - {"advance", "port_handler"} == {*CALLS, *LEFT_OUT}


def test_what_is_the_callers_own_is_left_out():
    class Policy(ReconnectPolicy):
        pass

    for value in (object(), DtlsFailure.ALERT, Policy()):
        with pytest.raises(Opaque):
            to_json(value)
    with Stand(reconnect=Policy()) as stand:
        with pytest.raises(LocalProtocolError):
            stand.alice.publish_data(b"x", topic=object(), now=stand.world.now)
        stand.world.run_for(0.1)
        assert replay(stand.lines).left_out == 1
        assert bytearray(b"x") == from_json(to_json(bytearray(b"x")))


# ------------------------------------------------------------------ recordings that do not fit


def short():
    with Stand() as stand:
        stand.world.run_for(0.5)
    return stand.lines


def test_a_replay_that_differs_is_seen():
    lines = short()
    changed = [line.replace('"about', '"') for line in lines]
    assert replay(changed).calls
    at = next(number for number, line in enumerate(lines) if '"port_opened"' in line)
    with pytest.raises(Diverged, match=r"line \d+, at \d"):
        replay(lines[:at] + lines[at + 1 :])
    assert replay(lines[:at] + lines[at + 1 :], check=False).calls


def test_recordings_of_other_kinds_are_refused():
    lines = short()
    with pytest.raises(ValueError, match="format 99"):
        replay([lines[0].replace('"format":2', '"format":99')])
    with pytest.raises(ValueError, match="__init__"):
        replay([lines[0], '["call","__init__",[],{}]'])
    assert replay([lines[0], '["something else"]']).calls == 0


def test_a_dtls_engine_that_fails_fails_again():
    notes = []

    class Broken:
        def handshake(self, datagram):
            raise EngineError(DtlsFailure.ALERT, "alert 40")

        def records(self):
            return self

        def control(self, record):
            raise EngineError(DtlsFailure.ALERT, "alert 80")

        def open(self, record):
            raise EngineError(DtlsFailure.PROTOCOL, "odd")

        def srtp_profile(self):
            return None

        def seal(self, data):
            return data

        def close(self):
            return b"closing"

    tap = _Tap(Broken(), lambda *line: notes.append(list(line)))
    for call in (
        lambda engine: engine.handshake(b""),
        lambda engine: engine.records().open(b""),
        lambda engine: engine.control(b""),
    ):
        with pytest.raises(EngineError):
            call(tap)
    assert tap.srtp_profile() is None
    assert tap.records().close() == b"closing"
    answers = _Answers(deque(json.loads(json.dumps(notes))))
    with pytest.raises(EngineError, match="alert 40"):
        answers.handshake(b"")
    with pytest.raises(EngineError, match="odd"):
        answers.records().open(b"")
    with pytest.raises(EngineError, match="alert 80"):
        answers.control(b"")
    assert answers.srtp_profile() is None
    assert answers.records().close()
    with pytest.raises(Diverged):
        answers.take()
