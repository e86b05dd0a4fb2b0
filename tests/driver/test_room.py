"""Rooms in virtual time: real engine, real driver, simulated network and server."""

from __future__ import annotations

from trio_client import (
    ConnectionState,
    DataReceived,
    ParticipantNameChanged,
)

from .simnet import run, sim_net


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
