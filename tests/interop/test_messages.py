"""Chat, transcriptions and telephone keys between our client and LiveKit's own."""

from __future__ import annotations

from attrs import asdict

from trio_client import (
    ChatMessage,
    LocalAudioTrack,
    SipDtmf,
    SipDtmfReceived,
    Transcription,
    TranscriptionReceived,
    TranscriptionSegment,
)

from .ours import MODES, joined, run

SEGMENT = TranscriptionSegment("s1", "guten Tag", 100, 900, "de", True)


@MODES
def test_chat_both_ways(server, room, browser, single):
    page = browser("them")

    async def scenario() -> None:
        async with joined(server, room, single=single) as ours:
            me = ours.local_participant
            await page.await_("participant_connected")
            first = await me.send_chat_message("hello")
            told = await page.await_("chat")
            assert told["identity"] == "ours"
            assert (told["message"]["id"], told["message"]["message"]) == (first.id, "hello")
            assert told["message"]["timestamp"] == first.timestamp
            edited = await me.edit_chat_message(first, "hello there")
            told = (await page.await_("chat"))["message"]
            assert (told["id"], told["message"]) == (first.id, "hello there")
            assert told["editTimestamp"] == edited.edit_timestamp

            with ours.events(ChatMessage) as messages:
                theirs = await page.acall("chat", text="hi")
                await page.acall("edit", entry=theirs, text="hi you")
                said, changed = await anext(messages), await anext(messages)
            assert (said.identity, said.participant) == ("them", ours.remote_participants["them"])
            assert (said.entry.id, said.entry.message, said.entry.timestamp) == (
                theirs["id"],
                "hi",
                theirs["timestamp"],
            )
            assert (changed.entry.id, changed.entry.message) == (theirs["id"], "hi you")
            assert changed.entry.edit_timestamp >= theirs["timestamp"]

    run(scenario)


def test_keys_both_ways(server, room, other):
    peer = other("them")

    async def scenario() -> None:
        async with joined(server, room) as ours:
            await peer.await_("participant_connected")
            await ours.local_participant.publish_dtmf(digit="#")
            key = await peer.await_("key")
            assert (key["code"], key["digit"], key["identity"]) == (11, "#", "ours")
            with ours.events(SipDtmfReceived) as keys:
                await peer.acall("press", code=5, digit="5")
                pressed = await anext(keys)
            assert (pressed.dtmf, pressed.identity) == (SipDtmf(5, "5"), "them")

    run(scenario)


def test_an_agent_of_ours_transcribes(server, room, other):
    peer = other("them")
    sid = peer.call("publish_audio")["sid"]

    async def scenario() -> None:
        async with joined(server, room, kind="agent") as ours:
            await peer.await_("participant_connected")
            await ours.local_participant.publish_transcription(Transcription("them", sid, (SEGMENT,)))
            told = await peer.await_("transcription")
            assert (told["identity"], told["track"]) == ("them", sid)
            (segment,) = told["segments"]
            assert (segment["id"], segment["text"], segment["language"]) == ("s1", "guten Tag", "de")
            assert segment["final"] is True

    run(scenario)


def test_a_native_agent_transcribes(server, room, native):
    agent = native("them", kind="agent")

    async def scenario() -> None:
        async with joined(server, room) as ours:
            publication = await ours.local_participant.publish_track(LocalAudioTrack("voice"))
            await agent.await_("participant_connected")
            with ours.events(TranscriptionReceived) as events:
                await agent.acall("transcribe", identity="ours", track=publication.sid, segment=asdict(SEGMENT))
                said = await anext(events)
            assert (said.segments, said.identity) == ((SEGMENT,), "them")
            assert said.participant is ours.local_participant
            assert said.publication is publication

    run(scenario)
