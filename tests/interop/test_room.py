"""Our client in a room of the real server, beside LiveKit's own clients, over one peer connection and over two."""

from __future__ import annotations

from typing import Any

import pytest
import trio

import trio_client
from trio_client import (
    ConnectionState,
    DataReceived,
    Disconnected,
    DisconnectedError,
    DisconnectReason,
    ParticipantAttributesChanged,
    ParticipantConnected,
    ParticipantDisconnected,
    ParticipantMetadataChanged,
    ParticipantNameChanged,
    ParticipantPermissionsChanged,
    RequestReason,
    RequestRejected,
    RoomMetadataChanged,
    TrackKind,
    TrackMuted,
    TrackPublished,
    TrackSource,
)

from .ours import MODES, gone, joined, run


@MODES
def test_data_both_ways(server, room, other, single):
    peer = other("them")

    async def scenario() -> None:
        async with joined(server, room, single=single) as ours:
            assert list(ours.remote_participants) == ["them"]
            me = ours.local_participant
            await peer.await_("participant_connected")  # the server tells of a listener up to 3 s late
            await me.publish_data(b"\x00reliable", topic="chat")
            got = await peer.await_data(b"\x00reliable")
            assert (got["identity"], got["topic"], got["reliable"]) == ("ours", "chat", True)
            await me.publish_data(b"lossy", reliable=False, destination_identities=["them"])
            got = await peer.await_data(b"lossy")
            assert (got["identity"], got["reliable"]) == ("ours", False)

            with ours.events(DataReceived) as events:
                await peer.asend(b"back", topic="t", to=["ours"])
                await peer.asend(b"and forth", reliable=False)
                found = [await anext(events) for _ in range(2)]
            assert {(e.payload, e.reliable, e.topic) for e in found} == {
                (b"back", True, "t"),
                (b"and forth", False, ""),
            }
            assert {e.participant for e in found} == {ours.remote_participants["them"]}

    run(scenario)


@MODES
def test_the_largest_packet_is_echoed_and_a_larger_one_refused(server, room, native, single):
    peer = native("them")
    peer.call("echo")

    async def scenario() -> None:
        async with joined(server, room, single=single) as ours:
            me = ours.local_participant
            await peer.await_("participant_connected")
            payload = bytes(range(256)) * 249
            async with ours.events(DataReceived) as events:
                await me.publish_data(payload)
                assert (await anext(events)).payload == payload
            with pytest.raises(trio_client.DataTooLarge, match="64000"):
                await me.publish_data(bytes(64_001))

    run(scenario)


@MODES
def test_a_flood_arrives_once_and_in_order(server, room, native, single):
    peer = native("them")

    async def scenario() -> None:
        async with joined(server, room, single=single) as ours:
            numbers: list[int] = []
            done = trio.Event()

            def on_data(payload: bytes, *_: object) -> None:
                numbers.append(int.from_bytes(payload[:4], "big"))
                if len(numbers) == 2000:
                    done.set()

            ours.on("data_received", on_data)
            await peer.acall("send_many", count=2000, size=2000, timeout=30)
            await done.wait()
            assert numbers == list(range(2000))

    run(scenario)


@MODES
def test_messages_of_several_tasks_all_arrive_each_in_its_order(server, room, native, single):
    peer = native("them")

    async def scenario() -> None:
        async with joined(server, room, single=single) as ours:

            async def send(task: int) -> None:
                for number in range(50):
                    await ours.local_participant.publish_data(bytes([task, number]))

            async with trio.open_nursery() as nursery:
                for task in range(4):
                    nursery.start_soon(send, task)
            got = [(await peer.await_data())["data"] for _ in range(200)]
            for task in range(4):
                assert [data[1] for data in got if data[0] == task] == list(range(50))

    run(scenario)


@MODES
def test_participants_are_seen_with_all_they_say_of_themselves(server, room, native, single):
    peer = native("them", name="Them", metadata="m", attributes={"k": "v"}, canUpdateOwnMetadata=True)

    async def scenario() -> None:
        async with joined(server, room, single=single, name="Us", metadata="ours", attributes={"a": "1"}) as ours:
            assert ours.name == room
            assert ours.sid.startswith("RM_")
            assert ours.server_info.version
            assert ours.state is ConnectionState.CONNECTED
            me = ours.local_participant
            assert (me.identity, me.name, me.metadata, dict(me.attributes)) == ("ours", "Us", "ours", {"a": "1"})
            them = ours.remote_participants["them"]
            assert (them.name, them.metadata, dict(them.attributes)) == ("Them", "m", {"k": "v"})
            assert them.joined_at is not None
            async with ours.events() as events:
                await peer.acall("set_name", name="Other")
                event = await _next(events, ParticipantNameChanged)
                assert (event.participant, event.previous, them.name) == (them, "Them", "Other")
                await peer.acall("set_metadata", metadata="m2")
                event = await _next(events, ParticipantMetadataChanged)
                assert (event.participant, event.previous, them.metadata) == (them, "m", "m2")
                await peer.acall("set_attributes", attributes={"k": "", "l": "w"})
                event = await _next(events, ParticipantAttributesChanged)
                assert (event.participant, dict(event.changed)) == (them, {"k": "", "l": "w"})
                assert dict(them.attributes) == {"l": "w"}

    run(scenario)


async def _next(events: Any, kind: type[Any]) -> Any:
    async for event in events:
        if isinstance(event, kind):
            return event
    raise AssertionError(f"the events ended before {kind.__name__}")


@MODES
def test_own_state_changes_when_the_server_has_acknowledged(server, room, native, single):
    peer = native("them")

    async def scenario() -> None:
        async with joined(server, room, single=single, canUpdateOwnMetadata=True) as ours:
            me = ours.local_participant
            await me.set_name("New")
            await me.set_metadata("data")
            await me.set_attributes({"x": "y"})
            assert (me.name, me.metadata, dict(me.attributes)) == ("New", "data", {"x": "y"})
            await me.set_attributes({"x": ""})
            assert dict(me.attributes) == {}
            changed = await peer.await_("participant_metadata_changed")
            assert changed["args"][0]["identity"] == "ours"
            with pytest.raises(RequestRejected) as refused:
                await me.set_name("n" * 300)
            assert refused.value.reason is RequestReason.LIMIT_EXCEEDED

    run(scenario)


@MODES
def test_own_state_is_refused_without_the_grant(server, room, single):
    async def scenario() -> None:
        async with joined(server, room, single=single, canUpdateOwnMetadata=False) as ours:
            with pytest.raises(RequestRejected) as refused:
                await ours.local_participant.set_metadata("no")
            assert refused.value.reason is RequestReason.NOT_ALLOWED
            assert ours.local_participant.metadata == ""

    run(scenario)


@MODES
def test_others_come_publish_mute_and_go(server, room, native, single):
    async def scenario() -> None:
        async with joined(server, room, single=single) as ours, ours.events() as events:
            peer = await trio.to_thread.run_sync(native, "them")
            came = await _next(events, ParticipantConnected)
            assert came.participant is ours.remote_participants["them"]
            published = await peer.acall("publish_audio", name="voice")
            event = await _next(events, TrackPublished)
            publication = event.publication
            assert (publication.sid, publication.name, publication.kind, publication.source) == (
                published["sid"],
                "voice",
                TrackKind.AUDIO,
                TrackSource.MICROPHONE,
            )
            assert came.participant.track_publications[publication.sid] is publication
            await server.aapi("MutePublishedTrack", room, identity="them", track_sid=publication.sid, muted=True)
            assert (await _next(events, TrackMuted)).publication is publication
            assert publication.muted
            await peer.acall("leave")
            gone = await _next(events, ParticipantDisconnected)
            assert gone.participant is came.participant
            assert "them" not in ours.remote_participants

    run(scenario)


@MODES
def test_the_server_changes_permissions_and_room_metadata(server, room, single):
    async def scenario() -> None:
        async with joined(server, room, single=single) as ours, ours.events() as events:
            permission = {"can_subscribe": True, "can_publish": False, "can_publish_data": False}
            await server.aapi("UpdateParticipant", room, identity="ours", permission=permission)
            event = await _next(events, ParticipantPermissionsChanged)
            assert event.participant is ours.local_participant
            assert not ours.local_participant.permissions.can_publish_data
            await server.aapi("UpdateRoomMetadata", room, metadata="about")
            await _next(events, RoomMetadataChanged)
            assert ours.metadata == "about"

    run(scenario)


@MODES
@pytest.mark.parametrize(
    ("method", "fields", "reason"),
    [
        ("RemoveParticipant", {"identity": "ours"}, DisconnectReason.PARTICIPANT_REMOVED),
        ("DeleteRoom", {}, DisconnectReason.ROOM_DELETED),
    ],
)
def test_the_server_ends_the_session_with_its_reason(server, room, single, method, fields, reason):
    async def scenario() -> None:
        async with joined(server, room, single=single) as ours, ours.events() as events:
            await server.aapi(method, room, **fields)
            found = [event async for event in events]
            assert found[-1] == Disconnected(reason)
            assert ours.state is ConnectionState.DISCONNECTED
            with pytest.raises(DisconnectedError):
                await ours.local_participant.publish_data(b"late")

    run(scenario)


def test_a_second_session_of_the_same_identity_ends_the_first(server, room):
    async def scenario() -> None:
        async with joined(server, room) as first, first.events() as events, joined(server, room) as second:
            found = [event async for event in events]
            assert found[-1] == Disconnected(DisconnectReason.DUPLICATE_IDENTITY)
            assert second.state is ConnectionState.CONNECTED

    run(scenario)


@MODES
def test_data_of_the_server_api_comes_from_nobody(server, room, single):
    async def scenario() -> None:
        async with joined(server, room, single=single) as ours, ours.events(DataReceived) as events:
            await server.aapi("SendData", room, data="aGk=", kind="RELIABLE", topic="a")
            event = await anext(events)
            assert (event.payload, event.participant, event.topic) == (b"hi", None, "a")

    run(scenario)


@MODES
def test_the_server_is_told_at_once_of_our_leaving(server, room, single):
    async def scenario() -> None:
        async with joined(server, room, single=single):
            assert await server.aidentities(room) == ["ours"]
        await gone(server, room)

    run(scenario)


@MODES
def test_what_was_published_right_before_leaving_arrives(server, room, native, single):
    peer = native("them")

    async def scenario() -> None:
        async with joined(server, room, single=single) as ours:
            for number in range(20):
                await ours.local_participant.publish_data(bytes([number]) * 10_000)
        for number in range(20):
            assert (await peer.await_data())["data"] == bytes([number]) * 10_000

    run(scenario)


@MODES
def test_tracks_of_others_are_negotiated_while_data_flows(server, room, native, single):
    """The server asks for media sections; nobody reads the media, and the session is not disturbed by it."""
    peer = native("them")
    peer.call("publish_audio")
    peer.call("echo")

    async def scenario() -> None:
        async with joined(server, room, single=single) as ours, ours.events(DataReceived) as events:
            await peer.await_("participant_connected")
            for number in range(30):
                await ours.local_participant.publish_data(bytes([number]))
                assert (await anext(events)).payload == bytes([number])
                await trio.sleep(0.05)
            assert ours.state is ConnectionState.CONNECTED

    run(scenario)
