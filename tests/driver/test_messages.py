"""Chat, transcriptions and telephone keys, as users send and get them."""

from __future__ import annotations

import pytest
import trio

from trio_client import (
    ChatMessage,
    DataTooLarge,
    DisconnectedError,
    LocalProtocolError,
    PacketReceived,
    ParticipantEvent,
    RoomEvent,
    SipDtmf,
    SipDtmfReceived,
    Transcription,
    TranscriptionReceived,
    TranscriptionSegment,
)

from .running import run
from .simnet import sim_net
from .sweep import Cut, sweep

SEGMENT = TranscriptionSegment("s", "hello", 0, 100, "en", True)


def test_a_chat():
    async def main():
        async with sim_net() as net, net.connect("alice") as alice, net.connect("bob") as bob:
            me = alice.local_participant
            await bob.wait_until(lambda: "alice" in bob.remote_participants)
            told = []
            bob.on(RoomEvent.ChatMessage, lambda entry, participant: told.append((entry, participant.identity)))
            bob.remote_participants["alice"].on(ParticipantEvent.ChatMessage, told.append)
            with bob.events(ChatMessage) as stream:
                first = await me.send_chat_message("hello")
                changed = await me.edit_chat_message(first, "hello, Bob")
                only_for_bob = await me.send_chat_message("psst", destination_identities=["bob"])
                nobody = await me.send_chat_message("secret", destination_identities=["carol"])
                entries = [(await stream.__anext__()).entry for _ in range(3)]
            assert entries == [first, changed, only_for_bob]
            assert (changed.id, changed.message, changed.timestamp) == (first.id, "hello, Bob", first.timestamp)
            assert changed.edit_timestamp is not None
            assert first.edit_timestamp is None
            assert told == [one for entry in entries for one in (entry, (entry, "alice"))]
            assert nobody.id not in {entry.id for entry in entries}

    run(main)


def test_transcriptions_and_keys():
    async def main():
        async with sim_net() as net, net.connect("alice") as alice, net.connect("bob") as bob:
            await bob.wait_until(lambda: "alice" in bob.remote_participants)
            with bob.events(TranscriptionReceived, SipDtmfReceived) as stream:
                await alice.local_participant.publish_transcription(Transcription("bob", "TR_1", (SEGMENT,)))
                await alice.local_participant.publish_dtmf(digit="#")
                await alice.local_participant.publish_dtmf(code=1, digit="1")
                said = await stream.__anext__()
                assert isinstance(said, TranscriptionReceived)
                assert (said.segments, said.participant, said.identity) == ((SEGMENT,), bob.local_participant, "alice")
                keys = [await stream.__anext__(), await stream.__anext__()]
            assert [key.dtmf for key in keys] == [SipDtmf(11, "#"), SipDtmf(1, "1")]
            assert {key.participant.identity for key in keys} == {"alice"}

    run(main)


def test_unread_messages_make_their_sender_wait():
    """Nobody can end the event streams of others by flooding them."""

    async def main():
        async with sim_net() as net, net.connect("alice") as alice, net.connect("bob") as bob:
            with bob.events(capacity=10) as stream:

                async def flood():
                    for _ in range(300):
                        await alice.local_participant.send_chat_message("x" * 20_000)

                alice.start_soon(flood)
                await trio.sleep(20)
                assert bob._session.hub.paused
                count = 0
                async for event in stream:
                    count += isinstance(event, PacketReceived)
                    if count == 300:
                        break

    run(main)


def test_what_cannot_be_sent():
    async def main():
        async with sim_net() as net, net.connect("alice") as alice:
            me = alice.local_participant
            with pytest.raises(DataTooLarge):
                await me.send_chat_message("x" * 64_000)
            with pytest.raises(LocalProtocolError):
                await me.send_chat_message(5)
            with pytest.raises(LocalProtocolError):
                await me.publish_dtmf(digit="E")
            net.loss = lambda data: True
            await me.publish_data(b"never acknowledged")
            alice.start_soon(alice.disconnect)
            await trio.sleep(0.1)
            with pytest.raises(DisconnectedError, match="we are leaving"):
                await me.send_chat_message("x")
            await trio.sleep(5)
            with pytest.raises(DisconnectedError):
                await me.send_chat_message("x")

    run(main)


def test_cancelled():
    async def scenario(cut: Cut) -> None:
        async with sim_net() as net, net.connect("alice") as alice, net.connect("bob") as bob:
            got = []
            bob.on(ChatMessage, lambda event: got.append(event.entry.message))
            await cut(alice.local_participant.send_chat_message, "one")
            await alice.local_participant.send_chat_message("two")
            await trio.sleep(1)
            assert got in (["one", "two"], ["two"] if cut.cancelled else [])

    sweep(scenario, everybody=True)
