"""Rooms in virtual time: real engine, real driver, simulated network and server."""

from __future__ import annotations

import gc
import json
import weakref

import pytest
import trio

from trio_client import (
    ConnectionState,
    ConnectOptions,
    DataReceived,
    Disconnected,
    DisconnectedError,
    DisconnectReason,
    JoinRefused,
    MediaFailed,
    ParticipantConnected,
    ParticipantDisconnected,
    ParticipantNameChanged,
    RequestReason,
    RequestRejected,
    RoomEvent,
    RoomNotFound,
    TokenRejected,
)
from trio_client._core import Ended, RequestError, RequestFailed

from .running import run
from .simnet import sim_net


def test_join_and_leave():
    async def main():
        async with sim_net() as net:
            async with net.connect("alice") as room:
                assert room.state is ConnectionState.CONNECTED
                assert room.name == "room"
                assert room.local_participant.identity == "alice"
                assert net.identities() == ["alice"]
            assert room.state is ConnectionState.DISCONNECTED
            assert net.identities() == []

    run(main)


def test_two_talk():
    async def main():
        async with sim_net() as net, net.connect("alice") as alice, net.connect("bob") as bob:
            await alice.wait_until(lambda: "bob" in alice.remote_participants)
            with bob.events(DataReceived) as stream:
                await alice.local_participant.publish_data(b"hello", topic="t")
                event = await anext(stream)
            assert (event.payload, event.topic, event.reliable) == (b"hello", "t", True)
            assert event.participant is bob.remote_participants["alice"]

    run(main)


def test_requests():
    async def main():
        async with sim_net() as net, net.connect("alice") as alice, net.connect("bob") as bob:
            with bob.events(ParticipantNameChanged) as stream:
                await alice.local_participant.set_name("Alice")
                assert (await anext(stream)).new_name == "Alice"
            await alice.local_participant.set_metadata("m")
            await alice.local_participant.set_attributes({"a": "1"})
            await bob.wait_until(lambda room: room.remote_participants["alice"].attributes == {"a": "1"})
            assert bob.remote_participants["alice"].metadata == "m"

    run(main)


def test_handlers_given_to_connect_miss_nothing():
    async def main():
        got = []
        async with sim_net() as net:
            on = {
                RoomEvent.Connected: lambda: got.append("connected"),
                "connection_state_changed": [got.append, lambda state: got.append("second")],
                Disconnected: lambda event: got.append(event.reason),
            }
            async with net.connect("alice", on=on):
                pass
        assert got == [
            ConnectionState.CONNECTED,
            "second",
            "connected",
            ConnectionState.DISCONNECTED,
            "second",
            DisconnectReason.CLIENT_INITIATED,
        ]

    run(main)


def test_decorators_and_removal():
    async def main():
        async with sim_net() as net, net.connect("alice") as alice:
            got = []

            @alice.on(RoomEvent.ParticipantConnected)
            def came(participant):
                got.append(participant.identity)

            @alice.once("participant_connected")
            async def first(participant):
                await trio.sleep(0.01)
                got.append("first " + participant.identity)

            async with net.connect("bob"):
                await alice.wait_until(lambda: len(got) == 2)
            alice.off(RoomEvent.ParticipantConnected, came)
            async with net.connect("carol"):
                await trio.sleep(1)
            assert got == ["bob", "first bob"]

    run(main)


def test_participants_have_events_of_their_own():
    async def main():
        async with sim_net() as net, net.connect("alice") as alice:
            async with net.connect("bob") as bob:
                await alice.wait_until(lambda: "bob" in alice.remote_participants)
                remote = alice.remote_participants["bob"]
                got = []
                remote.on("participant_name_changed", got.append)
                remote.once(ParticipantNameChanged, got.append)

                @remote.on(DataReceived)
                def _(event):
                    got.append(event.payload)

                @remote.once(DataReceived)
                def _(event):
                    got.append("once")

                stream = remote.events()
                await bob.local_participant.set_name("B")
                await bob.local_participant.publish_data(b"1")
                await bob.local_participant.publish_data(b"2")
                await remote.wait_for(DataReceived, where=lambda e: e.payload == b"2")
                assert got[0] == "B"
                assert got[1].new_name == "B"
                assert got[2:] == [b"1", "once", b"2"]
                handler = remote.on(DataReceived, print)
                remote.off(DataReceived, handler)
            names = [event.name async for event in stream]
            assert names == ["participant_name_changed", "data_received", "data_received", "participant_disconnected"]
            with pytest.raises(DisconnectedError):
                await remote.wait_for(DataReceived)
            late = alice.local_participant.events()
            waiting = alice.local_participant.events(Disconnected)
        assert [event async for event in waiting] == []
        assert [event async for event in late] == []
        with pytest.raises(DisconnectedError):
            await alice.local_participant.wait_for(DataReceived)
        with pytest.raises(DisconnectedError):
            await remote.wait_for(DataReceived)

    run(main)


def test_listeners_made_after_the_end():
    async def main():
        async with sim_net() as net, net.connect("alice") as alice, net.connect("bob"):
            await alice.wait_until(lambda: "bob" in alice.remote_participants)
            bob = alice.remote_participants["bob"]
        assert [event async for event in alice.local_participant.events()] == []
        assert [event async for event in bob.events()] == []
        assert [event async for event in alice.events()] == []
        for wait in (alice.wait_for(Disconnected), alice.wait_until(lambda: False)):
            with pytest.raises(DisconnectedError):
                await wait
        await alice.wait_until(lambda: True)
        with pytest.raises(RuntimeError, match="ended"):
            alice.start_soon(trio.sleep, 1)

    run(main)


def test_states_that_cannot_be_told():
    """An exception of a predicate reaches who waits, whenever it comes."""

    async def main():
        async with sim_net() as net, net.connect("alice") as alice:

            def predicate():
                return 1 / len(alice.remote_participants) > 5 if alice.remote_participants else None

            def worse(room):
                return room.remote_participants["bob"].no_such_attribute if room.remote_participants else None

            with pytest.raises(ZeroDivisionError):
                await alice.wait_until(lambda: 1 / 0)

            async def bob():
                async with net.connect("bob"):
                    await trio.sleep(1)

            alice.start_soon(bob)
            with pytest.raises(AttributeError, match="no_such"):
                await alice.wait_until(worse)
            with trio.move_on_after(1):
                await alice.wait_until(predicate)

    run(main)


def test_everything_raises_when_the_room_has_ended():
    async def main():
        async with sim_net() as net, net.connect("alice") as alice:
            net.server.remove("room", "alice", trio.current_time())
            net.at(0, lambda now: None)
            event = await alice.wait_for(Disconnected)
            assert event.reason is DisconnectReason.PARTICIPANT_REMOVED
            await trio.sleep(1)
            local = alice.local_participant
            for call in (local.publish_data(b"x"), local.set_name("x"), alice.wait_for(Disconnected)):
                with pytest.raises(DisconnectedError) as caught:
                    await call
                assert caught.value.reason is DisconnectReason.PARTICIPANT_REMOVED
            await alice.disconnect()

    run(main)


def test_waiting_calls_fail_when_the_room_ends():
    async def main():
        async with sim_net() as net, net.connect("alice") as alice:
            errors = []

            async def expect(call):
                try:
                    await call
                except DisconnectedError as error:
                    errors.append(error.reason)

            async def flood():
                while True:
                    await alice.local_participant.publish_data(bytes(60_000))

            net.loss = lambda data: True
            async with trio.open_nursery() as nursery:
                for call in (
                    flood(),
                    flood(),
                    flood(),
                    alice.wait_for(ParticipantConnected),
                    alice.wait_until(lambda: "bob" in alice.remote_participants),
                    alice.local_participant.set_name("x"),
                ):
                    nursery.start_soon(expect, call)
                await trio.sleep(0.005)
                net.server.remove("room", "alice", trio.current_time())
                net.at(0, lambda now: None)
            assert errors == [DisconnectReason.PARTICIPANT_REMOVED] * 6

    run(main)


def test_the_end_can_be_waited_for_as_a_state():
    async def main():
        async with sim_net() as net, net.connect("alice") as alice:
            net.server.remove("room", "alice", trio.current_time())
            net.at(0, lambda now: None)
            await alice.wait_until(lambda: alice.state is ConnectionState.DISCONNECTED)

    run(main)


def test_the_body_goes_on_when_the_room_ends():
    async def main():
        async with sim_net() as net:
            async with net.connect("alice") as alice:
                stream = alice.events()
                async with net.connect("alice"):
                    assert [event.name async for event in stream] == ["connection_state_changed", "disconnected"]
                    assert alice._session.reason is DisconnectReason.DUPLICATE_IDENTITY
                    await trio.sleep(10)
            await trio.sleep(1)
            assert net.identities() == []

    run(main)


def test_cancel_on_disconnect():
    async def main():
        options = ConnectOptions(cancel_on_disconnect=True)
        async with sim_net() as net:
            with pytest.raises(DisconnectedError) as caught:  # noqa: PT012
                async with net.connect("alice", options=options):
                    net.server.remove("room", "alice", trio.current_time())
                    net.at(0, lambda now: None)
                    await trio.sleep_forever()
            assert caught.value.reason is DisconnectReason.PARTICIPANT_REMOVED
            async with net.connect("alice", options=options) as alice:
                await alice.disconnect()
                await trio.sleep(1)

    run(main)


def test_disconnect_in_the_body():
    async def main():
        async with sim_net() as net, net.connect("alice") as alice:
            stream = alice.events()
            await alice.disconnect()
            assert alice.state is ConnectionState.DISCONNECTED
            assert [event.name async for event in stream] == ["connection_state_changed", "disconnected"]
            await alice.disconnect()
            await trio.sleep(1)
            assert net.identities() == []

    run(main)


@pytest.mark.parametrize(
    ("reason", "told"),
    [
        (DisconnectReason.CLIENT_INITIATED, DisconnectReason.CLIENT_INITIATED),
        (DisconnectReason.USER_REJECTED, DisconnectReason.USER_REJECTED),
        (DisconnectReason.ROOM_DELETED, DisconnectReason.CLIENT_INITIATED),
    ],
)
def test_a_reason_for_leaving(reason, told):
    async def main():
        async with sim_net() as net, net.connect("alice") as alice, net.connect("bob") as bob:
            await bob.wait_until(lambda: "alice" in bob.remote_participants)
            with bob.events(ParticipantDisconnected) as left, alice.events(Disconnected) as ended:
                await alice.disconnect(reason=reason)
                assert (await anext(ended)).reason is reason
                assert (await anext(left)).reason is told

    run(main)


# ------------------------------------------------------------------ exceptions


@pytest.mark.parametrize("error", [ValueError("x"), KeyboardInterrupt(), ExceptionGroup("mine", [KeyError(1)])])
def test_an_exception_of_the_body_comes_out_as_it_is(error):
    async def main():
        async with sim_net() as net:
            with pytest.raises(type(error)) as caught:  # noqa: PT012
                async with net.connect("alice") as alice:
                    alice.start_soon(trio.sleep_forever)
                    raise error
            assert caught.value is error
            assert error.__context__ is None
            assert net.identities() == []

    run(main)


@pytest.mark.parametrize("is_async", [False, True])
def test_an_exception_of_a_handler_comes_out_as_it_is(is_async):
    async def main():
        error = ValueError("handler")

        def handler(participant):
            raise error

        async def async_handler(participant):
            raise error

        async with sim_net() as net:
            with pytest.raises(ValueError, match="handler") as caught:  # noqa: PT012
                async with net.connect("alice") as alice:
                    alice.on("participant_connected", async_handler if is_async else handler)
                    async with net.connect("bob"):
                        await trio.sleep_forever()
            assert caught.value is error
            assert error.__context__ is None
            await trio.sleep(1)
            assert net.identities() == []

    run(main)


def test_an_exception_of_a_task_and_one_of_the_body():
    async def main():
        async def task():
            raise KeyError("task")

        async with sim_net() as net:
            with pytest.raises(KeyError, match="task"):  # noqa: PT012
                async with net.connect("alice") as alice:
                    alice.start_soon(task)
                    await trio.sleep_forever()
            with pytest.raises(ExceptionGroup, match="several") as caught:  # noqa: PT012
                async with net.connect("alice") as alice:
                    alice.start_soon(task)
                    try:
                        await trio.sleep_forever()
                    finally:
                        raise ValueError("body")
            assert sorted(type(error).__name__ for error in caught.value.exceptions) == ["KeyError", "ValueError"]

    run(main)


def test_an_exception_of_a_handler_while_joining():
    async def main():
        def handler():
            raise ZeroDivisionError

        async with sim_net() as net:
            with pytest.raises(ZeroDivisionError):
                async with net.connect("alice", on={"connected": handler}):
                    await trio.sleep_forever()
            await trio.sleep(1)
            assert net.identities() == []

    run(main)


def test_handlers_of_the_end_may_finish():
    """An async handler of Disconnected runs while the room closes; an exception of it comes out."""

    async def main():
        done = []

        async def tidy(event):
            await trio.sleep(0.5)
            done.append(event.reason)

        async def endless(event):
            await trio.sleep_forever()

        async def bad(event):
            raise ValueError("late")

        async with sim_net() as net:
            async with net.connect("alice", on={Disconnected: tidy}):
                pass
            assert done == [DisconnectReason.CLIENT_INITIATED]
            start = trio.current_time()
            async with net.connect(
                "alice", on={Disconnected: [endless, tidy]}, options=ConnectOptions(close_timeout=1)
            ):
                start = trio.current_time()
            assert len(done) == 2
            assert trio.current_time() - start == pytest.approx(1)
            with pytest.raises(ValueError, match="late"):
                async with net.connect("alice", on={Disconnected: bad}):
                    pass

    run(main)


def test_a_keyboard_interrupt_in_a_handler_ends_the_room_in_order():
    async def main():
        def interrupt(participant):
            raise KeyboardInterrupt

        async with sim_net() as net:
            with pytest.raises(KeyboardInterrupt):
                async with net.connect("alice", on={"participant_connected": interrupt}), net.connect("bob"):
                    await trio.sleep_forever()
            await trio.sleep(1)
            assert net.identities() == []

    run(main)


def test_sync_handlers_can_be_interrupted():
    """The pump that calls them cannot; an endless loop in a handler must not be out of reach of Ctrl-C."""

    async def main():
        safe = []

        def handler(*args):
            safe.append(trio.lowlevel.currently_ki_protected())
            return ""

        async with (
            sim_net() as net,
            net.connect("alice", on={DataReceived: handler}) as alice,
            net.connect("bob") as bob,
        ):
            alice.register_text_stream_handler("t", handler)
            alice.local_participant.register_rpc_method("m", handler)
            await bob.local_participant.publish_data(b"x")
            await bob.local_participant.send_text("x", topic="t")
            await bob.local_participant.perform_rpc("alice", "m")
            await trio.sleep(1)
            assert safe == [False] * 3

    run(main)


def test_a_bug_of_the_core_comes_out_and_nothing_is_left():
    async def main():
        def bug(now):
            raise ZeroDivisionError

        async with sim_net() as net:
            with pytest.raises(ExceptionGroup) as caught:  # noqa: PT012
                async with net.connect("alice") as alice:
                    alice._session.engine.advance = bug
                    await trio.sleep_forever()
            assert caught.group_contains(ZeroDivisionError)
            assert all(port.closed for port in net.all_ports)

    run(main)


def test_who_waits_in_a_task_of_its_own_learns_of_an_end_that_was_none():
    """A bug of the core: no event tells of the end, and nobody waits for ever."""

    async def main():
        def bug(now):
            raise ZeroDivisionError

        async with sim_net() as net, net.connect("bob") as bob, trio.open_nursery() as nursery:
            await bob.local_participant.publish_data_track("d")
            ends = []

            async def listen(room):
                ends.append([event async for event in room.events()])

            async def read(room):
                (track,) = room.remote_participants["bob"].data_tracks.values()
                ends.append([frame async for frame in track.subscribe()])

            async def expect(call):
                with pytest.raises(DisconnectedError):
                    await call
                ends.append(call)

            with pytest.raises(ExceptionGroup) as caught:  # noqa: PT012
                async with net.connect("alice") as alice:
                    await alice.wait_until(lambda: alice.remote_participants["bob"].data_tracks)
                    net.loss = lambda data: True
                    for task in (listen, read):
                        nursery.start_soon(task, alice)
                    calls = [
                        alice.wait_for(Disconnected),
                        alice.wait_until(lambda: False),
                        alice.local_participant.set_name("A"),
                        alice.local_participant.send_bytes(bytes(10_000_000), compress=False),
                    ]
                    for call in calls:
                        nursery.start_soon(expect, call)
                    await trio.sleep(0.001)
                    alice._session.engine.advance = bug
                    await trio.sleep_forever()
            assert caught.group_contains(ZeroDivisionError)
            await trio.sleep(0)
            await trio.sleep(0)
            assert len(ends) == 6
            with pytest.raises(DisconnectedError):
                await alice.local_participant.publish_data(b"x")
            await alice.disconnect()
            gc.collect()

    run(main)


def test_background_tasks_end_with_the_block():
    async def main():
        ended = []

        async def task():
            try:
                await trio.sleep_forever()
            finally:
                ended.append(True)

        async with sim_net() as net:
            async with net.connect("alice") as alice:
                alice.start_soon(task, name="mine")
            assert ended == [True]

    run(main)


# ------------------------------------------------------------------ joins that fail


def test_refusals():
    async def main():
        async with sim_net(auto_create=False) as net:
            with pytest.raises(RoomNotFound) as caught:
                async with net.connect("alice"):
                    raise AssertionError
            assert caught.value.report.status == 404
            assert str(caught.value) == str(caught.value.report)

            async def bad_token():
                await trio.sleep(0.1)
                return "eyJhbGciOiJIUzI1NiJ9.e30.c2lnbmF0dXJl"

            with pytest.raises(TokenRejected) as rejected:
                async with net.connect("alice", token=bad_token):
                    raise AssertionError
            assert rejected.value.report.status == 401
            assert not net.links

    run(main)


def test_media_that_does_not_come_up():
    async def main():
        async with sim_net() as net:
            net.loss = lambda data: True
            start = trio.current_time()
            with pytest.raises(MediaFailed) as caught:
                async with net.connect("alice", media_timeout=3.0):
                    raise AssertionError
            assert trio.current_time() - start < 6
            assert any("10.0.0.1:7882" in line and "checks sent" in line for line in caught.value.report.pairs)
            assert caught.value.report.verdict == "UDP is blocked; no TURN server was offered."
            assert "UDP is blocked" in str(caught.value)
            assert "last error" in caught.value.report.table
            await trio.sleep(1)
            assert net.identities() == []

    run(main)


def test_a_join_can_be_timed():
    """The server takes the WebSocket and never answers."""

    async def main():
        async with sim_net() as net:
            net.accepting = False
            start = trio.current_time()
            with trio.move_on_after(1) as scope:
                async with net.connect("alice"):
                    raise AssertionError
            assert scope.cancelled_caught
            assert trio.current_time() - start < 1.3
            await trio.sleep(1)
            net.accepting = True
            async with net.connect("alice") as room:
                await trio.sleep(60)
                assert room.state is ConnectionState.CONNECTED

    run(main)


def test_a_session_that_ends_while_it_is_joined():
    async def main():
        async with sim_net() as net:
            net.loss = lambda data: True

            async def remove():
                await trio.sleep(0.5)
                assert net.server.remove("room", "alice", trio.current_time())
                net.at(0, lambda now: None)

            async with trio.open_nursery() as nursery:
                nursery.start_soon(remove)
                with pytest.raises(JoinRefused) as caught:
                    async with net.connect("alice"):
                        raise AssertionError
            assert caught.value.reason is DisconnectReason.PARTICIPANT_REMOVED
            assert "PARTICIPANT_REMOVED" in str(caught.value)

    run(main)


def test_a_room_that_ends_as_soon_as_it_is_joined():
    async def main():
        def end():
            net.sessions[-1].driver.inject(Ended(DisconnectReason.ROOM_CLOSED))

        async with sim_net() as net:
            with pytest.raises(JoinRefused, match="ROOM_CLOSED") as caught:
                async with net.connect("alice", on={"connected": end}):
                    raise AssertionError
            assert caught.value.reason is DisconnectReason.ROOM_CLOSED

    run(main)


def test_a_request_that_a_new_session_has_replaced():
    async def main():
        async with sim_net() as net, net.connect("alice") as alice:
            session = net.sessions[-1]

            async def replace():
                await trio.sleep(0.001)
                for token in list(session._operations):
                    session.driver.inject(RequestFailed(token, RequestError(RequestReason.ROOM_ENDED)))

            alice.start_soon(replace)
            with pytest.raises(RequestRejected) as caught:
                await alice.local_participant.set_name("x")
            assert caught.value.reason is RequestReason.ROOM_ENDED
            with pytest.raises(AssertionError, match="unknown output"):
                session.deliver(5)

    run(main)


# ------------------------------------------------------------------ looking inside


def test_attributes_stats_and_diagnostics():
    async def main():
        async with sim_net() as net, net.connect("alice") as alice, net.connect("bob") as bob:
            await bob.local_participant.publish_data(b"unheard")
            await trio.sleep(1)
            stats = alice.stats()
            assert stats.data_unheard == 1
            assert stats.datagrams_sent > 5
            assert stats.datagrams_received > 5
            assert stats.bytes_received > stats.datagrams_received
            assert (stats.sent, stats.received) == ({}, {})
            assert [link.target for link in stats.links] == ["publisher"]
            report = json.loads(alice.diagnostics())
            assert report["room"] == {"name": "room", "sid": alice.sid, "state": "CONNECTED"}
            assert report["participant"]["identity"] == "alice"
            assert "eyJ" not in alice.diagnostics()
            assert "alice" not in repr(alice)
            assert alice.metadata == ""
            assert alice.num_participants >= 1
            assert alice.num_publishers == 0
            assert not alice.is_recording
            assert alice.creation_time.year == 2023
            assert alice.server_info.protocol == 17
            assert alice.active_speakers == ()
        assert json.loads(alice.diagnostics())["reason"] == "CLIENT_INITIATED"

    run(main)


def test_nothing_of_a_room_stays_in_memory():
    async def main():
        async with sim_net() as net:
            refs = []
            for i in range(3):
                async with net.connect(f"alice{i}") as room, net.connect("bob"):
                    room.on(ParticipantDisconnected, print)
                    await trio.sleep(1)
                    refs.append(weakref.ref(room))
                    refs.append(weakref.ref(room.local_participant))
                    refs.append(weakref.ref(room._session.engine))
                del room
            net.all_links.clear()
            net.all_ports.clear()
            net.sessions.clear()
            await trio.sleep(100)
            gc.collect()
            assert [ref() for ref in refs] == [None] * len(refs)

    run(main)
