"""Cancelled at every checkpoint against the real server: nobody is left behind there, and the next join works."""

from __future__ import annotations

import threading
import time

import pytest
import trio

import trio_client
from tests.driver.failing import ours
from tests.driver.sweep import Cut, sweep
from trio_client import ConnectOptions, DataReceived, ParticipantConnected

from .ours import MODES, gone


@MODES
@pytest.mark.parametrize("everybody", [False, True], ids=["own-steps", "all-steps"])
def test_joining_staying_leaving(server, room, single, everybody):
    names = []

    async def scenario(cut: Cut) -> None:
        threads = threading.active_count()
        name = f"{room}-{cut.at}"
        names.append(name)
        options = ConnectOptions(single_peer_connection=single)

        async def session() -> None:
            async with trio_client.connect(server.url, server.token(name, "ours"), options=options) as ours:
                await ours.local_participant.publish_data(b"x")
                await ours.local_participant.set_name("Ours")

        start = trio.current_time()
        await cut(session)
        assert trio.current_time() - start < 2.5
        assert not ours()
        assert threading.active_count() == threads
        await gone(server, name)
        if cut.at % 4 == 1:
            async with trio_client.connect(server.url, server.token(name, "next"), options=options) as next_one:
                assert not next_one.remote_participants
            await gone(server, name)

    steps = sweep(scenario, everybody=everybody, virtual=False, step=2 if everybody else 1)
    assert steps >= (30 if everybody else 5)
    time.sleep(1)  # a request that was under way may have come in after it was looked for
    assert [found for name in names for found in server.identities(name)] == []


def test_in_a_room(server, room):
    """Every operation of a room, cut at each of its own checkpoints; the room goes on."""

    async def scenario(cut: Cut) -> None:
        name = f"{room}-{cut.at}"
        async with trio_client.connect(server.url, server.token(name, "alice")) as alice:
            me = alice.local_participant

            async def busy() -> None:
                with trio.move_on_after(0.02):
                    await alice.wait_for(ParticipantConnected)
                with trio.move_on_after(0.02):
                    await alice.wait_until(lambda: False)
                async with trio_client.connect(server.url, server.token(name, "bob")) as bob:
                    async with alice.events(DataReceived) as events:
                        await bob.local_participant.publish_data(b"1", destination_identities=["alice"])
                        async for event in events:
                            assert event.payload == b"1"
                            break
                    await me.set_metadata("m")
                    await me.set_attributes({"a": "b"})
                    for _ in range(20):
                        await me.publish_data(bytes(1000))
                    await bob.disconnect()

            await cut(busy)
            await gone(server, name, "alice")
            await me.set_name("still here")
            assert me.name == "still here"
            await alice.disconnect()
            await gone(server, name)

    assert sweep(scenario, virtual=False) > 10
