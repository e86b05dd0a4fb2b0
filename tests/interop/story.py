"""Scenarios that say what must happen on any server, and the record of what a participant sees in them.

Each runs twice: on the development server and on the real one. What Bob sees of it, events and state, has to agree.
Sids, times and what depends on them are left out: two servers may be faster or slower than each other.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any

import trio

import trio_client
from trio_client import (
    DataReceived,
    Disconnected,
    Event,
    LocalAudioTrack,
    LocalVideoTrack,
    Room,
    TrackSubscribed,
)

from .ours import joined
from .servers import Server

LEFT_OUT = (
    *("token_refreshed", "connection_quality_changed", "participant_active", "room_updated", "active_speakers_changed"),
    *("is_speaking_changed", "track_subscription_permission_changed", "track_subscription_status_changed"),
    *("track_stream_state_changed", "local_track_layers_changed", "connection_state_changed"),
)
"""Events whose number or moment is a matter of timing, or of the network."""
PATIENCE = 20.0


class Story:
    """Two participants in a room of a server. ``seen`` is what Bob has seen so far, one line an event."""

    def __init__(self, server: Server, room: str, single: bool) -> None:
        self.server = server
        self.name = room
        self.single = single
        self.seen: list[str] = []
        self.nursery: trio.Nursery
        self.bob: Room
        self._waiting: list[tuple[str, trio.Event]] = []

    async def enter(self, identity: str, **grants: Any) -> Room:
        """Somebody joins, and stays until the story ends."""
        return await self.nursery.start(partial(self._stay, identity, **grants))

    async def _stay(self, identity: str, *, task_status: trio.TaskStatus[Room], **grants: Any) -> None:
        async with joined(self.server, self.name, identity, single=self.single, **grants) as room:
            task_status.started(room)
            await trio.sleep_forever()

    async def watch(self, room: Room, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Write down what a room tells, until it ends."""
        with room.events() as events:
            task_status.started()
            async for event in events:
                if event.name not in LEFT_OUT:
                    self.seen.append(describe(event))
                    for name, happened in self._waiting:
                        if self.seen[-1].startswith(name):
                            happened.set()

    async def see(self, start: str, count: int = 1) -> None:
        """Wait until Bob has seen so many events whose line begins like this."""
        while len([line for line in self.seen if line.startswith(start)]) < count:
            happened = trio.Event()
            self._waiting.append((start, happened))
            with trio.fail_after(PATIENCE):
                await happened.wait()
            self._waiting.remove((start, happened))

    async def api(self, method: str, **fields: Any) -> Any:
        """Call the server's API."""
        return await self.server.aapi(method, self.name, **fields)


DETAILS = ("new_name", "metadata", "changed", "previous", "payload", "topic", "reliable", "reason", "resumed")
"""Fields of events that say the same on every server."""


def describe(event: Event) -> str:
    """An event in one line, by names only."""
    words = [event.name]
    if hasattr(event, "participant"):
        words.append(event.participant.identity if event.participant is not None else "-")
    if publication := getattr(event, "publication", None):
        words.append(f"{publication.name} {publication.kind.name}")
    for name in DETAILS:
        value = getattr(event, name, None)
        if isinstance(value, Mapping):
            words.append(f"{name}={sorted(value.items())}")
        elif value is not None:
            words.append(f"{name}={getattr(value, 'name', value)}")
    return " ".join(words)


def state_of(room: Room) -> dict[str, Any]:
    """What a room shows at last."""
    return {
        "metadata": room.metadata,
        "me": facts(room.local_participant),
        "others": {identity: facts(other) for identity, other in sorted(room.remote_participants.items())},
    }


def facts(participant: Any) -> dict[str, Any]:
    permission = participant.permissions
    return {
        "name": participant.name,
        "metadata": participant.metadata,
        "attributes": dict(sorted(participant.attributes.items())),
        "kind": participant.kind.name,
        "may": [permission.can_publish, permission.can_subscribe, permission.can_publish_data] if permission else None,
        "tracks": sorted(
            [
                (track.name, track.kind.name, track.source.name, track.muted, track.mime_type.lower())
                for track in participant.track_publications.values()
            ]
        ),
    }


# ------------------------------------------------------------------ the scenarios


async def coming_and_going(story: Story) -> None:
    alice = await story.enter("alice", name="Alice", metadata="m", attributes={"k": "v"})
    await story.see("participant_connected alice")
    await alice.disconnect()
    await story.see("participant_disconnected alice")


async def already_there(story: Story) -> None:
    carol = await story.enter("carol")
    await story.see("participant_connected carol")
    alice = await story.enter("alice")
    await alice.local_participant.publish_track(LocalAudioTrack("voice"))
    await carol.wait_for(TrackSubscribed)
    await story.see("track_subscribed alice")


async def about_oneself(story: Story) -> None:
    alice = await story.enter("alice", attributes={"old": "1", "gone": "1"})
    await story.see("participant_connected alice")
    await alice.local_participant.set_name("New")
    await alice.local_participant.set_metadata("about me")
    await alice.local_participant.set_attributes({"new": "2", "gone": ""})
    await story.see("participant_attributes_changed alice")


async def what_is_not_allowed(story: Story) -> None:
    mute = await story.enter("mute", canPublish=False, canUpdateOwnMetadata=False)
    await story.see("participant_connected mute")
    for attempt in (
        partial(mute.local_participant.set_name, "x"),
        partial(mute.local_participant.publish_track, LocalAudioTrack("voice")),
    ):
        try:
            await attempt()
        except trio_client.RequestRejected as error:
            story.seen.append(f"refused {error.reason.name}")
    # data is not allowed either, but nobody says so


async def unseen(story: Story) -> None:
    hidden = await story.enter("hidden", hidden=True)
    alice = await story.enter("alice")
    await story.see("participant_connected alice")
    await hidden.wait_until(lambda: "alice" in hidden.remote_participants)
    await hidden.disconnect()
    await alice.disconnect()
    await story.see("participant_disconnected alice")


async def messages(story: Story) -> None:
    alice = await story.enter("alice")
    carol = await story.enter("carol")
    await story.see("participant_connected", 2)
    await alice.local_participant.publish_data(b"to all", topic="t")
    await story.see("data_received alice")
    with carol.events(DataReceived) as heard:
        await alice.local_participant.publish_data(b"carol only", destination_identities=["carol"])
        await alice.local_participant.publish_data(b"both", destination_identities=["carol", "bob"])
        story.seen += [f"carol heard {(await anext(heard)).payload!r}" for _ in range(2)]
    await story.see("data_received alice", 2)
    await alice.local_participant.publish_data(b"lossy", reliable=False)
    await story.see("data_received alice", 3)


async def a_voice(story: Story) -> None:
    alice = await story.enter("alice")
    await story.see("participant_connected alice")
    track = LocalAudioTrack("voice")
    publication = await alice.local_participant.publish_track(track)
    await story.see("track_subscribed alice")
    await publication.mute()
    await story.see("track_muted alice")
    await publication.unmute()
    await story.see("track_unmuted alice")
    await alice.local_participant.unpublish_track(publication)
    await story.see("track_unpublished alice")


async def a_picture_and_a_voice(story: Story) -> None:
    alice = await story.enter("alice")
    await story.see("participant_connected alice")
    await alice.local_participant.publish_track(LocalVideoTrack("camera", width=320, height=240))
    await story.see("track_subscribed alice camera")
    await alice.local_participant.publish_track(LocalAudioTrack("voice"))
    await story.see("track_subscribed alice voice")
    await alice.disconnect()
    await story.see("participant_disconnected alice")


async def choosing(story: Story) -> None:
    alice = await story.enter("alice")
    publication = await alice.local_participant.publish_track(LocalAudioTrack("voice"))
    await story.see("track_subscribed alice")
    theirs = story.bob.remote_participants["alice"].track_publications[publication.sid]
    theirs.set_subscribed(False)
    await story.see("track_unsubscribed alice")
    theirs.set_subscribed(True)
    await story.see("track_subscribed alice", 2)


async def the_publisher_chooses(story: Story) -> None:
    alice = await story.enter("alice")
    alice.local_participant.set_track_subscription_permissions(allow_all_participants=False)
    await alice.local_participant.publish_track(LocalAudioTrack("voice"))
    await story.see("track_published alice")
    await trio.sleep(0.5)
    alice.local_participant.set_track_subscription_permissions(allow_all_participants=True)
    await story.see("track_subscribed alice")


async def the_server_is_told(story: Story) -> None:
    alice = await story.enter("alice")
    publication = await alice.local_participant.publish_track(LocalAudioTrack("voice"))
    await story.see("track_subscribed alice")
    await story.api("MutePublishedTrack", identity="alice", track_sid=publication.sid, muted=True)
    await story.see("track_muted alice")
    await alice.wait_until(lambda: publication.muted)
    await story.api("UpdateParticipant", identity="alice", name="Named", metadata="told", attributes={"by": "api"})
    await story.see("participant_attributes_changed alice")
    await story.api("UpdateRoomMetadata", metadata="of the room")
    await story.see("room_metadata_changed")
    await story.api("SendData", data="aGk=", topic="from above")
    await story.see("data_received -")
    listed = (await story.api("ListParticipants"))["participants"]
    story.seen.append(f"listed {sorted([each['identity'] for each in listed])}")


async def rights_are_taken(story: Story) -> None:
    alice = await story.enter("alice")
    await alice.local_participant.publish_track(LocalAudioTrack("voice"))
    await story.see("track_subscribed alice")
    nothing = {"can_publish": False, "can_subscribe": True, "can_publish_data": True}
    await story.api("UpdateParticipant", identity="alice", permission=nothing)
    await story.see("track_unpublished alice")
    await alice.wait_until(lambda: not alice.local_participant.track_publications)


async def removed(story: Story) -> None:
    alice = await story.enter("alice")
    await story.see("participant_connected alice")
    with alice.events(Disconnected) as ends:
        await story.api("RemoveParticipant", identity="alice")
        story.seen.append(f"alice: {(await anext(ends)).reason.name}")
    await story.see("participant_disconnected alice")


async def replaced(story: Story) -> None:
    alice = await story.enter("alice")
    await alice.local_participant.publish_track(LocalAudioTrack("voice"))
    await story.see("track_subscribed alice")
    with alice.events(Disconnected) as ends:
        await story.enter("alice")
        story.seen.append(f"alice: {(await anext(ends)).reason.name}")
    await story.see("participant_connected alice", 2)


async def the_room_ends(story: Story) -> None:
    await story.enter("alice")
    await story.see("participant_connected alice")
    await story.api("DeleteRoom")
    await story.see("disconnected")


async def the_link_is_lost(story: Story) -> None:
    alice = await story.enter("alice")
    await alice.local_participant.publish_track(LocalAudioTrack("voice"))
    await story.see("track_subscribed alice")
    await alice.simulate(trio_client.Scenario.SIGNAL_RECONNECT)
    await alice.local_participant.publish_data(b"after")
    await story.see("data_received alice")
    await story.bob.simulate(trio_client.Scenario.SIGNAL_RECONNECT)
    await story.see("reconnected")
    await alice.local_participant.publish_data(b"later")
    await story.see("data_received alice", 2)


async def another_session(story: Story) -> None:
    alice = await story.enter("alice")
    await alice.local_participant.publish_track(LocalAudioTrack("voice"))
    await story.see("track_subscribed alice")
    await alice.simulate(trio_client.Scenario.FULL_RECONNECT)
    await story.see("track_subscribed alice", 2)
    await alice.local_participant.publish_data(b"after")
    await story.see("data_received alice")


Scenario = Callable[[Story], Awaitable[None]]
SCENARIOS: tuple[Scenario, ...] = (
    *(coming_and_going, already_there, about_oneself, what_is_not_allowed, unseen, messages, a_voice),
    *(a_picture_and_a_voice, choosing, the_publisher_chooses, the_server_is_told, rights_are_taken, removed, replaced),
    *(the_room_ends, the_link_is_lost, another_session),
)


async def play(scenario: Scenario, server: Server, room: str, single: bool) -> tuple[list[str], dict[str, Any]]:
    """Run a scenario on a server: what Bob has seen, and what his room shows in the end."""
    story = Story(server, room, single)
    async with trio.open_nursery() as story.nursery:
        story.bob = await story.enter("bob")
        await story.nursery.start(story.watch, story.bob)
        await scenario(story)
        await trio.sleep(0.3)  # what else may come
        seen, shown = list(story.seen), state_of(story.bob)
        story.nursery.cancel_scope.cancel()
    return seen, shown
