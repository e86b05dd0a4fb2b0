"""LiveKit's own package for servers, ``livekit-api``, against the development server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
import trio
from livekit import api

import trio_client
from trio_client import DataReceived, Disconnected, LocalAudioTrack, ParticipantMetadataChanged, TrackMuted

from ..ours import run


async def call(server: Any, use: Callable[[api.LiveKitAPI], Any], secret: str = "") -> Any:
    """Use the API in a thread, with an event loop of its own."""

    async def work() -> Any:
        async with api.LiveKitAPI(server.http, server.key, secret or server.secret) as client:
            return await use(client)

    return await trio.to_thread.run_sync(asyncio.run, work())


def token(server: Any, room: str, identity: str) -> str:
    """Made by their package, for our client."""
    grants = api.VideoGrants(room_join=True, room=room)
    return api.AccessToken(server.key, server.secret).with_identity(identity).with_grants(grants).to_jwt()


def test_rooms(server, room):
    async def scenario() -> None:
        made = await call(server, lambda c: c.room.create_room(api.CreateRoomRequest(name=room, metadata="m")))
        assert (made.name, made.metadata) == (room, "m")
        async with trio_client.connect(server.url, token(server, room, "ours")) as ours:
            assert ours.metadata == "m"
            listed = await call(server, lambda c: c.room.list_rooms(api.ListRoomsRequest(names=[room])))
            assert [(found.name, found.num_participants) for found in listed.rooms] == [(room, 1)]
            with ours.events(Disconnected) as ends:
                await call(server, lambda c: c.room.delete_room(api.DeleteRoomRequest(room=room)))
                assert (await anext(ends)).reason.name == "ROOM_DELETED"
        listed = await call(server, lambda c: c.room.list_rooms(api.ListRoomsRequest(names=[room])))
        assert not listed.rooms

    run(scenario)


def test_participants(server, room):
    async def scenario() -> None:
        async with trio_client.connect(server.url, token(server, room, "ours")) as ours:
            listed = await call(server, lambda c: c.room.list_participants(api.ListParticipantsRequest(room=room)))
            assert [found.identity for found in listed.participants] == ["ours"]
            me = api.RoomParticipantIdentity(room=room, identity="ours")
            assert (await call(server, lambda c: c.room.get_participant(me))).sid == ours.local_participant.sid

            with ours.events(ParticipantMetadataChanged) as changes:
                update = api.UpdateParticipantRequest(room=room, identity="ours", metadata="changed")
                await call(server, lambda c: c.room.update_participant(update))
                assert (await anext(changes)).metadata == "changed"

            publication = await ours.local_participant.publish_track(LocalAudioTrack("voice"))
            with ours.events(TrackMuted) as mutes:
                mute = api.MuteRoomTrackRequest(room=room, identity="ours", track_sid=publication.sid, muted=True)
                assert (await call(server, lambda c: c.room.mute_published_track(mute))).track.muted
                assert (await anext(mutes)).publication is publication

            with ours.events(DataReceived) as got:
                data = api.SendDataRequest(room=room, data=b"from the server", topic="t")
                await call(server, lambda c: c.room.send_data(data))
                event = await anext(got)
                assert (event.payload, event.topic, event.participant) == (b"from the server", "t", None)

            with ours.events(Disconnected) as ends:
                await call(server, lambda c: c.room.remove_participant(me))
                assert (await anext(ends)).reason.name == "PARTICIPANT_REMOVED"
            with pytest.raises(api.TwirpError) as caught:
                await call(server, lambda c: c.room.get_participant(me))
            assert caught.value.code == "not_found"

    run(scenario)


def test_without_the_right_key(server):
    async def scenario() -> None:
        with pytest.raises(api.TwirpError) as caught:
            await call(server, lambda c: c.room.list_rooms(api.ListRoomsRequest()), "another secret" * 3)
        assert caught.value.status == 401

    run(scenario)
