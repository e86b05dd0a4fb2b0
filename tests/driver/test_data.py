"""Data packets: back-pressure in both directions, order, limits."""

from __future__ import annotations

import pytest
import trio

from trio_client import (
    DataReceived,
    DataTooLarge,
    DataUnacknowledged,
    DisconnectedError,
    LocalProtocolError,
    NotAcknowledged,
    Scenario,
)
from trio_client._subscription import DATA_BYTES

from .running import Bystander, run
from .simnet import sim_net
from .sweep import Cut, sweep


def test_unread_data_stays_in_the_core_and_is_not_lost():
    async def main():
        async with sim_net() as net, net.connect("alice") as alice, net.connect("bob") as bob:
            count, size = 200, 30_000
            with bob.events() as stream:

                async def flood():
                    for i in range(count):
                        await alice.local_participant.publish_data(b"%d " % i + bytes(size))

                alice.start_soon(flood)
                await trio.sleep(20)
                held = stream._bytes
                assert DATA_BYTES <= held < DATA_BYTES + size + 1000
                assert bob._session.hub.paused
                numbers = []
                async for event in stream:
                    if isinstance(event, DataReceived):
                        numbers.append(int(event.payload.split()[0]))
                        if len(numbers) == count:
                            break
            assert numbers == list(range(count))

    run(main)


def test_async_handlers_that_do_not_keep_up_stop_the_sender():
    async def main():
        async with sim_net() as net, net.connect("alice") as alice, net.connect("bob") as bob:
            count, size = 100, 50_000
            got = []

            async def slow(event):
                await trio.sleep(5)
                got.append(event)

            bob.on(DataReceived, slow)

            async def flood():
                for _ in range(count):
                    await alice.local_participant.publish_data(bytes(size))

            alice.start_soon(flood)
            for _ in range(40):
                await trio.sleep(1)
                assert bob._session.hub.in_flight < DATA_BYTES + size + 1000
            await bob.wait_until(lambda: True)
            while len(got) < count:
                await trio.sleep(1)

    run(main)


def test_giving_up_a_full_stream_goes_on_for_others():
    async def main():
        async with sim_net() as net, net.connect("alice") as alice, net.connect("bob") as bob:
            got = []
            bob.on(DataReceived, lambda event: got.append(event.payload))
            stream = bob.events(DataReceived)

            async def flood():
                for _ in range(100):
                    await alice.local_participant.publish_data(bytes(50_000))

            alice.start_soon(flood)
            await trio.sleep(10)
            assert len(got) < 100
            stream.close()
            await trio.sleep(10)
            assert len(got) == 100

    run(main)


def test_senders_are_served_in_order():
    async def main():
        async with sim_net() as net, net.connect("alice") as alice, net.connect("bob") as bob:
            got, sent = [], []
            bob.on(DataReceived, lambda event: got.append(event.payload[:8]))
            async with trio.open_nursery() as nursery:

                async def sender(name):
                    for i in range(30):
                        payload = b"%s %04d " % (name, i)
                        await alice.local_participant.publish_data(payload + bytes(50_000))
                        sent.append(payload[:8])

                for name in (b"aa", b"bb", b"cc"):
                    nursery.start_soon(sender, name)
            while len(got) < 90:
                await trio.sleep(0.1)
            assert got == sent
            for name in (b"aa", b"bb", b"cc"):
                assert [int(p[3:7]) for p in got if p.startswith(name)] == list(range(30))
            # Nobody is starved: once the budget is full they take turns.
            assert {payload[:2] for payload in sent[25:31]} == {b"aa", b"bb", b"cc"}

    run(main)


def test_lossy_and_reliable_lines_are_apart():
    async def main():
        async with sim_net() as net, net.connect("alice") as alice, net.connect("bob") as bob:
            got = []
            bob.on(DataReceived, lambda event: got.append(event.reliable))
            net.loss = lambda data: True
            with trio.move_on_after(0.1):
                while True:
                    await alice.local_participant.publish_data(bytes(60_000))
            with trio.move_on_after(0.1) as scope:
                await alice.local_participant.publish_data(b"lossy", reliable=False)
            assert not scope.cancelled_caught
            net.loss = lambda data: False
            await trio.sleep(30)
            assert True in got

    run(main)


def test_a_flood_lets_others_run():
    async def main():
        async with sim_net() as net, net.connect("alice") as alice:
            other = Bystander()
            alice.start_soon(other.run)
            for _ in range(320):
                await alice.local_participant.publish_data(b"x")
            assert other.turns >= 19

    run(main)


def test_kinds_of_payload_and_limits():
    async def main():
        async with sim_net() as net, net.connect("alice") as alice, net.connect("bob") as bob:
            local = alice.local_participant
            with bob.events(DataReceived) as stream:
                for payload in (b"x", bytearray(b"x"), memoryview(b"x")):
                    await local.publish_data(payload)
                    assert (await anext(stream)).payload == b"x"
                await local.publish_data(b"to bob", destination_identities=["bob"], topic="t")
                event = await anext(stream)
                assert (event.payload, event.topic) == (b"to bob", "t")
                await local.publish_data(bytes(63_000))
                assert len((await anext(stream)).payload) == 63_000
            for payload, topic in ((bytes(64_001), ""), (bytes(40_000), "t" * 40_000)):
                with pytest.raises(DataTooLarge, match="bytes"):
                    await local.publish_data(payload, topic=topic)
            with pytest.raises(TypeError):
                await local.publish_data("text")
            with pytest.raises(LocalProtocolError):
                await local.publish_data(b"x", destination_identities="bob")

    run(main)


def test_waiting_until_the_server_has_the_data():
    async def main():
        async with sim_net() as net, net.connect("alice") as alice:
            me = alice.local_participant
            await me.publish_data(b"x", wait_acked=True)
            assert not alice._session.engine._parts.transports.unacknowledged
            with pytest.raises(LocalProtocolError, match="reliable"):
                await me.publish_data(b"x", reliable=False, wait_acked=True)
            net.loss = lambda data: True
            with trio.move_on_after(1) as scope:
                await me.publish_data(b"forgotten", wait_acked=True)
            assert scope.cancelled_caught
            assert not alice._session._operations
            lost = []
            alice.on(DataUnacknowledged, lost.append)

            async def restart():
                await trio.sleep(1)
                await alice.simulate(Scenario.FULL_RECONNECT)
                net.loss = lambda data: False

            alice.start_soon(restart)
            with pytest.raises(NotAcknowledged, match="new join"):
                await me.publish_data(b"lost", topic="t", wait_acked=True)
            await me.publish_data(b"in the new session", wait_acked=True)
            (event,) = lost
            assert [packet.payload for packet in event.packets] == [b"forgotten", b"lost"]

            async def leave():
                await trio.sleep(1)
                await alice.disconnect()

            net.loss = lambda data: True
            alice.start_soon(leave)
            with pytest.raises(DisconnectedError):
                await me.publish_data(b"too late", wait_acked=True)

    run(main)


def test_cancelled_while_waiting_for_the_acknowledgement():
    async def scenario(cut: Cut) -> None:
        async with sim_net() as net, net.connect("alice") as alice, net.connect("bob") as bob:
            got: list[bytes] = []
            bob.on(DataReceived, lambda event: got.append(event.payload))

            async def publish() -> None:
                await alice.local_participant.publish_data(b"x", wait_acked=True)

            await cut(publish)
            assert not alice._session._operations
            assert not alice._session.engine._parts.acknowledgements.awaited
            await alice.local_participant.publish_data(b"y", wait_acked=True)
            await trio.sleep(0.1)
            assert got in ([b"x", b"y"], [b"y"])

    assert sweep(scenario, everybody=True) >= 3
