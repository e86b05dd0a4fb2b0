"""What users' own tests stand on: rooms in virtual time, and the development server in a thread."""

from __future__ import annotations

import contextlib
import threading

import pytest
import trio

import trio_client
from trio_client import (
    ConnectOptions,
    DataReceived,
    DisconnectedError,
    IceOptions,
    LocalAudioTrack,
    LocalVideoTrack,
    MediaFailed,
    ParticipantConnected,
    Reconnected,
    RoomNotFound,
    ServerUnreachable,
    TokenRejected,
    TrackSubscribed,
    TurnServer,
)
from trio_client.media import RawVideoTrack, decode_video
from trio_client.testing import BackgroundServer, Simulation, _background

from .test_media_video import plain

SILENCE = b"\xf8\xff\xfe"
KEY_FRAME = bytes([0x10, 0, 0, 0x9D, 0x01, 0x2A, 0x40, 0x01, 0xF0, 0x00]) + bytes(50)
"""The head of a VP8 key frame, which is as far as anybody looks who does not decode."""
MODES = pytest.mark.parametrize("single", [True, False], ids=["single", "dual"])


# ------------------------------------------------------------------ virtual time


@MODES
def test_rooms_in_virtual_time(single):
    sim = Simulation(latency=0.05)
    options = ConnectOptions(single_peer_connection=single)

    async def scenario(answer):
        await trio.sleep(2 * 24 * 3600)  # tokens are made for the time that it is
        begun = trio.current_time()
        async with sim.connect("ann", options=options) as ann:
            assert 0.2 < trio.current_time() - begun < 1
            with ann.events(ParticipantConnected, DataReceived) as events:
                async with sim.connect("bob", options=options) as bob:
                    assert sim.identities() == ["ann", "bob"]
                    assert isinstance(await anext(events), ParticipantConnected)
                    await bob.local_participant.publish_data(b"hello")
                    assert (await anext(events)).payload == b"hello"
            await ann.wait_until(lambda: not ann.remote_participants)
        return answer

    assert sim.run(scenario, 42) == 42


def test_reliable_data_over_a_lossy_network():
    sim = Simulation(seed=1)

    async def scenario():
        async with sim.connect("ann") as ann, sim.connect("bob") as bob:
            sim.loss = 0.3
            with bob.events(DataReceived) as got:
                for number in range(50):
                    await ann.local_participant.publish_data(bytes([number]))
                for number in range(50):
                    assert (await anext(got)).payload == bytes([number])
        return ann.stats()

    assert sim.run(scenario).datagrams_sent > 50


@MODES
def test_frames_in_virtual_time(single):
    """Twenty seconds of sound and pictures, encoded."""
    sim = Simulation()
    options = ConnectOptions(single_peer_connection=single)

    async def scenario():
        async with sim.connect("ann", options=options) as ann, sim.connect("bob", options=options) as bob:
            voice, cam = LocalAudioTrack("voice"), LocalVideoTrack("cam", width=320, height=240)
            with bob.events(TrackSubscribed) as events:
                await ann.local_participant.publish_track(voice)
                await ann.local_participant.publish_track(cam)
                tracks = {event.track.name: event.track for event in [await anext(events), await anext(events)]}
            got = []

            async def read(track):
                async for frame in track.frames():
                    got.append((track.name, frame.data))

            for track in tracks.values():
                bob.start_soon(read, track)
            for number in range(1000):
                await voice.write(SILENCE)
                if number % 4 == 0:
                    await cam.write(KEY_FRAME)
                await trio.sleep(0.02)
            sounds = [data for name, data in got if name == "voice"]
            assert len(sounds) > 980
            assert set(sounds) == {SILENCE}
            pictures = [data for name, data in got if name == "cam"]
            assert len(pictures) > 230
            assert set(pictures) == {KEY_FRAME}

    sim.run(scenario)


def test_pictures_take_no_virtual_time():
    """What worker threads do takes as long as it takes; meanwhile the clock stands."""
    sim = Simulation()

    async def scenario():
        async with sim.connect("ann") as ann, sim.connect("bob") as bob:
            cam = RawVideoTrack("cam", 1280, 720)
            with bob.events(TrackSubscribed) as events:
                await ann.local_participant.publish_track(cam)
                track = (await anext(events)).track
            pictures = decode_video(track)
            for number in range(5):
                before = trio.current_time()
                assert await cam.write(plain(40 * number, 128, 128, 1280, 720))
                assert trio.current_time() == before
                shown = await anext(pictures)
                assert trio.current_time() - before < 0.05  # latency and pacing alone
                assert (shown.width, shown.height) == (1280, 720)
                await trio.sleep(0.05)

    sim.run(scenario)


def test_signalling_stays_in_order_when_the_network_gets_faster():
    simulation = Simulation(latency=1.0)

    async def scenario():
        async with simulation.connect("ann") as ann, simulation.connect("bob") as bob:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(ann.local_participant.set_name, "first")
                await trio.testing.wait_all_tasks_blocked()
                simulation.latency = 0.01
                nursery.start_soon(ann.local_participant.set_name, "second")
            await trio.sleep(5.0)
            assert bob.remote_participants["ann"].name == "second"

    simulation.run(scenario)


def test_bad_days():
    sim = Simulation()

    async def scenario():
        async with sim.connect("ann") as ann:
            await trio.sleep(1)
            with ann.events(Reconnected) as back:
                assert sim.cut("ann")
                assert (await anext(back)).resumed
            assert not sim.cut("nobody")
            sim.loss = 1.0
            await trio.sleep(60)
            assert ann.state.name != "CONNECTED"
            sim.loss = 0.0
            await ann.wait_until(lambda: ann.state.name == "CONNECTED")
            assert sim.remove("ann")
            with pytest.raises(DisconnectedError):
                await ann.wait_until(lambda: False)
            assert not sim.remove("ann")

    sim.run(scenario)


def test_joins_that_fail():
    sim = Simulation(auto_create=False)

    async def scenario():
        for url, token, error in (
            (sim.url, "nonsense", TokenRejected),
            (sim.url, sim.token("ann"), RoomNotFound),
            ("ws://elsewhere", sim.token("ann"), ServerUnreachable),
        ):
            with pytest.raises(error):
                async with trio_client.connect(url, token):
                    pass
        with pytest.raises(trio.TooSlowError), trio.fail_after(0.03):
            async with trio_client.connect(sim.url, sim.token("ann")):
                pass

    sim.run(scenario)
    assert Simulation(auto_create=False).token("ann") == sim.token("ann")


def test_there_is_udp_only():
    """Relays, and names of servers, lead nowhere."""
    sim = Simulation()
    servers = [TurnServer("turn:turn.example:3478?transport=tcp", "u", "p"), "stun:stun.example"]
    literal = [TurnServer("turn:10.9.9.9:3478?transport=tcp", "u", "p")]

    async def scenario():
        async with sim.connect("ann", options=ConnectOptions(ice=IceOptions(servers=servers))):
            pass
        relayed = ConnectOptions(ice=IceOptions(servers=literal, policy="relay"))
        with pytest.raises(MediaFailed):
            async with sim.connect("ann", options=relayed):
                pass

    sim.run(scenario)


def test_what_leaves_a_simulation():
    sim = Simulation()

    async def scenario():
        async with sim.connect("ann"):
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        sim.run(scenario)
    with pytest.raises(RuntimeError, match="does not run"):
        sim.identities()

    async def outside():
        """The next run of Trio is the system's again."""
        with pytest.raises(ServerUnreachable):
            async with trio_client.connect("ws://127.0.0.1:9", sim.token("ann")):
                pass

    trio.run(outside)


# ------------------------------------------------------------------ in a thread


def test_a_server_in_a_thread():
    with BackgroundServer(keys={"k": "s" * 32}) as server:
        assert server.url in repr(server)
        assert server.keys == {"k": "s" * 32}

        async def scenario():
            with trio.fail_after(20):
                async with trio_client.connect(server.url, server.token("ann", room="r")) as room:
                    assert server.identities("r") == ["ann"]
                    with room.events(Reconnected) as back:
                        assert server.cut("ann", "r")
                        assert (await anext(back)).resumed
                    assert server.remove("ann", "r")
                    with pytest.raises(DisconnectedError):
                        await room.wait_until(lambda: False)
                assert not server.cut("ann", "r")

        trio.run(scenario)
        with pytest.raises(ZeroDivisionError):
            server._call(lambda server: 1 / 0)
    assert "trio-livekit development server" not in [thread.name for thread in threading.enumerate()]


def test_a_server_before_its_block():
    server = BackgroundServer()
    assert repr(server) == "<BackgroundServer, not started>"
    with pytest.raises(RuntimeError, match="not started"):
        server.token("ann")
    with pytest.raises(RuntimeError, match="not started"):
        server.identities()


def test_a_server_that_does_not_answer(monkeypatch):
    monkeypatch.setattr(_background, "TIMEOUT", 0.1)
    blocked = threading.Event()
    with BackgroundServer() as server:
        server._trio.run_sync_soon(blocked.wait)
        with pytest.raises(TimeoutError, match="does not answer"):
            server.identities()
        blocked.set()


def test_a_server_that_takes_too_long_to_start(monkeypatch):
    @contextlib.asynccontextmanager
    async def never(**options):
        await trio.sleep_forever()
        yield

    monkeypatch.setattr(_background, "TIMEOUT", 0.1)
    monkeypatch.setattr(_background, "serve", never)
    server = BackgroundServer()
    with pytest.raises(TimeoutError, match="did not start"), server:
        pass
    server._thread.join(20)
    assert not server._thread.is_alive()


def test_a_server_that_cannot_start():
    with BackgroundServer() as first:
        port = int(first.url.rpartition(":")[2])
        with pytest.raises(OSError, match="in use"), BackgroundServer(port=port):
            pass


def test_a_server_that_breaks():
    """What goes wrong in the thread is raised at the end of the block, unless that fails by itself."""

    def breaks(server):
        server._server._machine.advance = lambda now: 1 / 0
        with pytest.raises(ZeroDivisionError):
            server.remove("nobody")
        server._trio.run_sync_soon(server._server._sleep.cancel)
        server._thread.join(20)

    def scenario():
        with BackgroundServer() as server:
            breaks(server)

    with pytest.raises(ExceptionGroup) as caught:
        scenario()
    assert caught.group_contains(ZeroDivisionError)

    def fails():
        with BackgroundServer() as server:
            breaks(server)
            raise KeyError

    with pytest.raises(KeyError):
        fails()
