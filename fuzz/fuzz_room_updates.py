"""The state of a room under any messages of the server.

The bytes are frames: two bytes of length, then a SignalResponse; an empty frame begins or ends a resync.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from sansio import events, proto
from sansio.base import limits
from sansio.room.requests import Requests
from sansio.room.state import RoomState


def one(data: bytes) -> None:
    outbox: deque[Any] = deque()
    state = RoomState(outbox)
    requests = Requests(outbox)
    for name in ("a", "b", "c"):
        requests.update_metadata(0.0, name=name)
    resyncing = False
    offset = now = 0
    while offset + 2 <= len(data):
        end = offset + 2 + int.from_bytes(data[offset : offset + 2], "big")
        frame, offset = data[offset + 2 : end], end
        now += 1
        if frame:
            try:
                response = proto.rtc.SignalResponse.FromString(frame)
            except proto.DecodeError:
                continue
            feed(state, requests, response)
        else:
            resyncing = not resyncing
            (state.begin_resync if resyncing else state.end_resync)()
        deadline = requests.advance(now)
        assert deadline > now
        assert requests.advance(now) == deadline
        check(state)
        for output in outbox:
            if isinstance(output, events.Event):
                assert len(output.args()) == len(output.arguments)
                assert len(output.participant_args()) == len(output.participant_arguments)
        outbox.clear()


def feed(state: RoomState, requests: Requests, response: Any) -> None:
    kind = response.WhichOneof("message")
    message = getattr(response, kind) if kind else None
    match kind:
        case "join":
            state.apply_join(message)
        case "update":
            state.apply_update(message)
        case "room_update":
            state.apply_room_update(message)
        case "room_moved":
            state.apply_room_moved(message)
        case "speakers_changed":
            state.apply_speakers(message)
        case "connection_quality":
            state.apply_quality(message)
        case "mute":
            state.apply_mute(message.sid, message.muted)
        case "track_published":
            state.add_local_publication(message.track)
        case "track_unpublished":
            state.apply_track_unpublished(message)
        case "track_subscribed":
            state.apply_track_subscribed(message)
        case "stream_state_update":
            state.apply_stream_state(message)
        case "subscription_permission_update":
            state.apply_subscription_permission(message)
        case "subscription_response":
            state.apply_subscription_response(message)
        case "request_response":
            requests.handle_response(message, 0.0)


def check(state: RoomState) -> None:
    """What holds of every state."""
    remote = state.remote_participants
    assert len(remote) <= limits.PARTICIPANTS
    assert {participant.identity: participant for participant in remote.values()} == dict(remote)
    assert {participant.sid: participant for participant in remote.values()} == state._by_sid
    assert sum(participant._size for participant in remote.values()) == state._bytes <= limits.ROOM_STATE_BYTES
    assert state._mentioned is None or state._mentioned <= set(remote)
    everybody = [state.local_participant, *remote.values()]
    for participant in everybody:
        assert len(participant.attributes) <= limits.ATTRIBUTES_PER_PARTICIPANT
        assert 0.0 <= participant.audio_level <= 1.0
        for sid, publication in participant.track_publications.items():
            assert publication.sid == sid
            assert publication.participant is participant
    for participant in remote.values():
        assert participant._size <= limits.PARTICIPANT_INFO_BYTES
        assert len(participant.track_publications) <= limits.TRACKS_PER_PARTICIPANT
    speaking = [participant for participant in everybody if participant.is_speaking]
    assert sorted(map(id, speaking)) == sorted(map(id, state.active_speakers))
