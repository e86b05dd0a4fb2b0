"""Cancel every public coroutine at each of its checkpoints: no task, socket, pending request or ghost may be left."""

from __future__ import annotations

from contextlib import suppress

import pytest
import trio

from trio_client import (
    ConnectionState,
    ConnectOptions,
    DataReceived,
    DisconnectedError,
    MediaFailed,
    ParticipantConnected,
)

from .running import run
from .simnet import SimNet, sim_net
from .sweep import Cut, sweep


async def settled(net: SimNet) -> None:
    """Give the last messages time to arrive."""
    await trio.sleep(4 * net.latency)


def test_joining_staying_leaving():
    async def scenario(cut: Cut) -> None:
        async with sim_net() as net:
            rooms = []

            async def session() -> None:
                async with net.connect("alice") as room:
                    rooms.append(room)
                    await room.local_participant.publish_data(b"x")
                    await trio.sleep(0.1)

            start = trio.current_time()
            await cut(session)
            assert trio.current_time() - start < 1
            assert all(port.closed for port in net.all_ports)
            assert not net.links
            if not cut.cancelled:
                assert rooms
            await settled(net)
            assert net.identities() == []

    assert sweep(scenario) > 5
    assert sweep(scenario, everybody=True) > 30


def test_leave_is_sent_once_the_link_is_open():
    async def scenario(cut: Cut) -> None:
        async with sim_net() as net:
            net.loss = lambda data: True  # no media: joining lasts until it is cancelled

            async def session() -> None:
                async with net.connect("alice", media_timeout=0.5):
                    raise AssertionError

            with suppress(MediaFailed):
                await cut(session)
            links = net.all_links
            if links and links[0].answer is not None:
                assert links[0].sent, "no leave"
            await settled(net)
            assert net.identities() == []

    assert sweep(scenario, everybody=True) > 20


def test_publishing_against_a_full_budget():
    """Cancelled, a packet was queued whole or not at all, and those behind it in line still go out."""

    async def scenario(cut: Cut) -> None:
        async with sim_net() as net, net.connect("alice") as alice, net.connect("bob") as bob:
            got: list[bytes] = []
            bob.on(DataReceived, lambda event: got.append(event.payload))
            net.loss = lambda data: True
            sent = []

            async def flood(name: bytes, count: int) -> None:
                for i in range(count):
                    payload = b"%s %04d " % (name, i) + bytes(60_000)
                    await alice.local_participant.publish_data(payload)
                    sent.append(payload)

            async with trio.open_nursery() as nursery:
                with trio.move_on_after(0.05):
                    await flood(b"filler", 1000)  # the budget is full now
                assert 5 < len(sent) < 1000
                nursery.start_soon(flood, b"before", 1)
                await trio.testing.wait_all_tasks_blocked()

                async def measured() -> None:
                    net.loss = lambda data: False
                    await flood(b"cut", 3)

                async def behind() -> None:
                    await trio.sleep(0.01)
                    await flood(b"behind", 2)

                nursery.start_soon(behind)
                await cut(measured)
                net.loss = lambda data: False
            with trio.fail_after(60):
                while len(got) < len(sent):
                    await trio.sleep(0.1)
            await trio.sleep(1)
            assert [payload[:11] for payload in got if payload not in sent] == []
            assert sorted(got) == sorted(sent)

    assert sweep(scenario) >= 3


def test_requests():
    async def scenario(cut: Cut) -> None:
        async with sim_net() as net, net.connect("alice") as alice:
            await cut(alice.local_participant.set_name, "Alice")
            assert not alice._session._operations
            await alice.local_participant.set_metadata("still works")
            assert alice.local_participant.metadata == "still works"

    assert sweep(scenario, everybody=True) >= 5


def test_waits():
    async def scenario(cut: Cut) -> None:
        async with sim_net() as net, net.connect("alice") as alice:
            found = []

            async def waits() -> None:
                found.append(
                    await alice.wait_for(ParticipantConnected, where=lambda e: e.participant.identity == "bob")
                )
                await alice.wait_until(lambda: "carol" in alice.remote_participants)
                found.append("carol")

            async def others() -> None:
                await trio.sleep(0.1)
                async with net.connect("bob"):
                    await trio.sleep(0.1)
                    async with net.connect("carol"):
                        await trio.sleep(0.1)

            async with trio.open_nursery() as nursery:
                nursery.start_soon(others)
                await cut(waits)
            assert cut.cancelled or len(found) == 2
            assert not alice._session._conditions
            assert not alice._session.listeners._waiters

    assert sweep(scenario, everybody=True, step=11, fine=2) >= 20


def test_reading_a_stream_loses_nothing():
    async def scenario(cut: Cut) -> None:
        async with sim_net() as net, net.connect("alice") as alice, net.connect("bob") as bob:
            got = []
            with bob.events(DataReceived) as stream:

                async def read() -> None:
                    async for event in stream:
                        got.append(event.payload)
                        if len(got) == 80:
                            return

                async def send() -> None:
                    for i in range(80):
                        await alice.local_participant.publish_data(b"%d" % i)
                        if i % 10 == 0:
                            await trio.sleep(0.05)

                async with trio.open_nursery() as nursery:
                    nursery.start_soon(send)
                    await cut(read)
                    if cut.cancelled:
                        await read()
            assert got == [b"%d" % i for i in range(80)]

    assert sweep(scenario) >= 8


def test_disconnecting():
    async def scenario(cut: Cut) -> None:
        async with sim_net() as net:
            async with net.connect("alice") as room:
                await cut(room.disconnect)
                await room.disconnect()
                await room.disconnect()
                assert room._session.ended.is_set()
            await settled(net)
            assert net.identities() == []

    assert sweep(scenario, everybody=True) >= 5


def test_cancelled_while_closing():
    """Cancelled when data cannot be flushed: a quarter of a second, not the whole close_timeout; the server is told."""

    async def main() -> None:
        async with sim_net() as net:
            with trio.move_on_after(2):
                async with net.connect("alice", options=ConnectOptions(close_timeout=5.0), flush_timeout=4.0) as room:
                    net.loss = lambda data: True
                    await room.local_participant.publish_data(b"never acknowledged")
                    await trio.sleep(1)
                    start = trio.current_time()
            assert 0.9 < trio.current_time() - start < 1.5
            assert room.state is ConnectionState.DISCONNECTED
            await settled(net)
            assert net.identities() == []
            with pytest.raises(DisconnectedError):
                await room.local_participant.publish_data(b"late")

    run(main)


def test_cancelled_with_data_in_flight():
    """There is time for it to be acknowledged, where the network lives."""

    async def main() -> None:
        async with sim_net() as net, net.connect("bob") as bob:
            got: list[bytes] = []
            bob.on(DataReceived, lambda event: got.append(event.payload))
            with trio.CancelScope() as scope:
                async with net.connect("alice") as room:
                    await room.local_participant.publish_data(b"last words")
                    scope.cancel()
            await settled(net)
            assert got == [b"last words"]

    run(main)


def test_leaving_a_dead_network():
    """Nobody cancels, nothing can be flushed, and the block is left within the close_timeout all the same."""

    async def main() -> None:
        async with sim_net() as net:
            async with net.connect("alice", options=ConnectOptions(close_timeout=1.0)) as room:
                net.loss = lambda data: True
                await room.local_participant.publish_data(b"never acknowledged")
                start = trio.current_time()
            assert trio.current_time() - start <= 1.0
            assert all(port.closed for port in net.all_ports)
            assert not net.links

    run(main)
