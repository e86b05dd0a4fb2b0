"""What clients ask for over signalling, one function a request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .. import proto
from ..base.limits import (
    SFU_ATTRIBUTES,
    SFU_CHOICES,
    SFU_METADATA,
    SFU_NAME,
    SFU_PENDING_TRACKS,
    SFU_QUEUED_TRACKS,
    SFU_TRACK_REQUEST,
    SFU_TRACKS,
    SHORT_LIST,
)
from .participant import Choice, ServerParticipant
from .permissions import may_publish
from .track import UpTrack, track_prefix

if TYPE_CHECKING:
    from ..proto import rtc
    from .server import SfuServer

ARMED = 5.0
"""Seconds in which an armed resume misbehaves."""


def handle_request(server: SfuServer, participant: ServerParticipant, request: rtc.SignalRequest, now: float) -> None:
    """Do what a message asks for."""
    match request.WhichOneof("message"):
        case "offer":
            participant.handle_offer(request.offer, now)
        case "answer":
            participant.handle_answer(request.answer, now)
        case "trickle":
            if not participant.handle_trickle(request.trickle, now):
                refuse(participant, "UNCLASSIFIED_ERROR", "cannot read the candidate", trickle=request.trickle)
        case "ping":
            participant.send("pong", int(server.unix(now) * 1000))
        case "ping_req":
            pong = proto.rtc.Pong(last_ping_timestamp=request.ping_req.timestamp)
            pong.timestamp = int(server.unix(now) * 1000)
            participant.send("pong_resp", pong)
        case "add_track":
            add_track(server, participant, request.add_track, now)
        case "mute":
            mute(participant, request.mute, now)
        case "subscription":
            subscription(participant, request.subscription, now)
        case "track_setting":
            track_setting(participant, request.track_setting, now)
        case "subscription_permission":
            subscription_permission(participant, request.subscription_permission, now)
        case "sync_state":
            sync_state(participant, request.sync_state, now)
        case "update_metadata":
            update_metadata(server, participant, request.update_metadata, now)
        case "update_audio_track":
            update_audio_track(participant, request.update_audio_track)
        case "update_video_track":
            update_video_track(participant, request.update_video_track)
        case "simulate":
            simulate(server, participant, request.simulate, now)
        case "leave":
            reasons = proto.models
            told = (reasons.USER_UNAVAILABLE, reasons.USER_REJECTED, reasons.AGENT_ERROR)
            reason = request.leave.reason
            server.dismiss(participant, reason if reason in told else reasons.CLIENT_INITIATED, now)
        case "publish_data_track_request":
            sid = server.make_track_sid("DTR_")
            if participant.room.data_tracks.publish(participant, request.publish_data_track_request, sid):
                participant.room.announce(participant)
        case "unpublish_data_track_request":
            info = participant.room.data_tracks.unpublish(participant, request.unpublish_data_track_request)
            if info is not None:
                participant.room.announce(participant)
                participant.send("unpublish_data_track_response", proto.rtc.UnpublishDataTrackResponse(info=info))
        case "update_data_subscription":
            participant.room.data_tracks.subscribe(participant, request.update_data_subscription)
        case _:
            server.counters.add("request_ignored")
    if participant.queued:
        revive_queued(server, participant, now)


def refuse(participant: ServerParticipant, reason: str, text: str, **echo: Any) -> None:
    """Say no, and to what."""
    response = proto.rtc.RequestResponse(message=text)
    number: Any = proto.rtc.RequestResponse.Reason.Value(reason)
    response.reason = number
    for name, message in echo.items():
        getattr(response, name).CopyFrom(message)
    participant.send("request_response", response)


# ------------------------------------------------------------------ publishing


def add_track(server: SfuServer, participant: ServerParticipant, request: rtc.AddTrackRequest, now: float) -> None:
    """A track is announced. One whose name is in use waits for that one's end."""
    if not may_publish(participant.claims, request.source):
        refuse(participant, "NOT_ALLOWED", "does not have permission to publish track", add_track=request)
    elif request.type not in (proto.models.AUDIO, proto.models.VIDEO):
        refuse(participant, "UNSUPPORTED_TYPE", "unsupported track type", add_track=request)
    elif request.sid:
        # A second codec for a track that there is: we publish one.
        reason = "UNSUPPORTED_TYPE" if request.sid in participant.tracks else "NOT_FOUND"
        refuse(participant, reason, "no further codec of a track is taken", add_track=request)
    elif request.ByteSize() > SFU_TRACK_REQUEST:
        refuse(participant, "LIMIT_EXCEEDED", "too much to say of a track", add_track=request)
    elif len(participant.pending) >= SFU_PENDING_TRACKS or len(participant.tracks) >= SFU_TRACKS:
        refuse(participant, "LIMIT_EXCEEDED", "too many pending tracks", add_track=request)
    elif _name_in_use(participant, request.cid):
        waiting = participant.queued.setdefault(request.cid, [])
        if len(waiting) >= SFU_QUEUED_TRACKS:
            refuse(participant, "LIMIT_EXCEEDED", "too many tracks wait for that name", add_track=request)
        else:
            waiting.append(request)
            refuse(participant, "QUEUED", "a track of that name exists", add_track=request)
    else:
        _announce(server, participant, request, now)


def _name_in_use(participant: ServerParticipant, cid: str) -> bool:
    return cid in participant.pending or any(cid in track.cids for track in participant.tracks.values())


def _announce(server: SfuServer, participant: ServerParticipant, request: rtc.AddTrackRequest, now: float) -> None:
    sid = server.make_track_sid(track_prefix(request.type, request.source))
    track = UpTrack(sid, participant.sid, request)
    participant.pending[track.cid] = track
    participant.send("track_published", proto.rtc.TrackPublishedResponse(cid=request.cid, track=track.info))
    for fresh in participant.room.match_sections(participant):  # a section may have been there first
        participant.room.published(participant, fresh, now)


def revive_queued(server: SfuServer, participant: ServerParticipant, now: float) -> None:
    """Announcements whose name has become free."""
    for cid, waiting in list(participant.queued.items()):
        if not _name_in_use(participant, cid):
            add_track(server, participant, waiting.pop(0), now)  # what it may may have changed
        if not waiting:
            del participant.queued[cid]


def mute(participant: ServerParticipant, request: rtc.MuteTrackRequest, now: float) -> None:
    """The publisher mutes or unmutes a track of its own."""
    for pending in participant.pending.values():
        if pending.sid == request.sid:
            pending.info.muted = request.muted
            return
    track = participant.tracks.get(request.sid)
    if track is None:
        refuse(participant, "NOT_FOUND", "track not found", mute=request)
        return
    set_muted(participant, track, request.muted, now)


def set_muted(participant: ServerParticipant, track: UpTrack, muted: bool, now: float) -> None:
    """Mute a track, and tell everybody."""
    if track.info.muted != muted:
        track.set_muted(muted, now)
        participant.room.refresh_tracks(participant)


def update_audio_track(participant: ServerParticipant, request: rtc.UpdateLocalAudioTrack) -> None:
    """The features of an audio track have changed."""
    track = participant.tracks.get(request.track_sid)
    if track is None:
        refuse(participant, "NOT_FOUND", "track not found", update_audio_track=request)
        return
    track.info.ClearField("audio_features")
    track.info.audio_features.extend(request.features[:SHORT_LIST])
    participant.room.refresh_tracks(participant)


def update_video_track(participant: ServerParticipant, request: rtc.UpdateLocalVideoTrack) -> None:
    """The size of a video track has changed."""
    track = participant.tracks.get(request.track_sid)
    if track is None:
        refuse(participant, "NOT_FOUND", "track not found", update_video_track=request)
        return
    track.info.width, track.info.height = request.width, request.height
    participant.room.refresh_tracks(participant)


# ------------------------------------------------------------------ subscribing


def _choice(participant: ServerParticipant, sid: str) -> Choice | None:
    choice = participant.choices.get(sid)
    if choice is None:
        if len(participant.choices) >= SFU_CHOICES or len(sid) > SFU_NAME:
            participant.counters.add("choice_limit")
            return None
        choice = participant.choices[sid] = Choice()
    return choice


def subscription(participant: ServerParticipant, request: rtc.UpdateSubscription, now: float) -> None:
    """Tracks are wanted, or not any more. They need not exist yet."""
    sids = list(request.track_sids)
    for group in request.participant_tracks:
        sids += group.track_sids
    for sid in dict.fromkeys(sids):
        choice = _choice(participant, sid)
        if choice is not None:
            choice.wanted = request.subscribe
            participant.room.choose(participant, sid, choice, now)


def track_setting(participant: ServerParticipant, request: rtc.UpdateTrackSettings, now: float) -> None:
    """How tracks are wanted: at all for the moment, and how good."""
    off = request.quality == proto.models.OFF
    setting = proto.rtc.UpdateTrackSettings(quality=request.quality, width=request.width, height=request.height)
    for sid in dict.fromkeys(request.track_sids):
        choice = _choice(participant, sid)
        if choice is not None:
            choice.setting = setting
            choice.disabled = request.disabled or off
            participant.room.choose(participant, sid, choice, now)


def subscription_permission(participant: ServerParticipant, request: rtc.SubscriptionPermission, now: float) -> None:
    """The publisher says who may have its tracks; every message replaces the one before."""
    for permission in request.track_permissions:
        if not permission.participant_sid and not permission.participant_identity:
            return
    participant.permit_all = request.all_participants
    participant.permits = list(request.track_permissions)[:SFU_CHOICES]
    participant.room.restrict(participant, now)


def sync_state(participant: ServerParticipant, request: rtc.SyncState, now: float) -> None:
    """What a client that came back thinks: it has to be what we know."""
    known = [*participant.tracks, *[track.sid for track in participant.pending.values()]]
    for published in request.publish_tracks:
        if published.track.sid not in known:
            participant.failed_negotiation()
            return
    for sid in request.track_sids_disabled:
        choice = _choice(participant, sid)
        if choice is not None:
            choice.disabled = True
            participant.room.choose(participant, sid, choice, now)
    subscription(participant, request.subscription, now)


# ------------------------------------------------------------------ what a participant is


def within_limits(name: str, metadata: str, attributes: Mapping[str, str]) -> bool:
    """Whether these are short enough."""
    return (
        len(name) <= SFU_NAME
        and len(metadata) <= SFU_METADATA
        and sum([len(key) + len(value) for key, value in attributes.items()]) <= SFU_ATTRIBUTES
    )


def update_info(
    server: SfuServer,
    participant: ServerParticipant,
    name: str,
    metadata: str,
    attributes: Mapping[str, str],
    now: float,
) -> bool:
    """Change name, metadata and attributes; empty ones stay, attributes with an empty value go. False when too long."""
    info = participant.info
    merged = {key: value for key, value in {**info.attributes, **attributes}.items() if value}
    if not within_limits(name, metadata, merged):
        return False
    info.name = name or info.name
    info.metadata = metadata or info.metadata
    info.attributes.clear()
    info.attributes.update(merged)
    participant.room.announce(participant)
    server.refresh_token(participant, now)
    return True


def update_metadata(
    server: SfuServer, participant: ServerParticipant, update: rtc.UpdateParticipantMetadata, now: float
) -> None:
    """The participant changes itself."""
    response = proto.rtc.RequestResponse(request_id=update.request_id)
    if not participant.claims.can_update_own_metadata:
        response.reason = proto.rtc.RequestResponse.NOT_ALLOWED
        response.message = "does not have permission to update own metadata"
    elif not update_info(server, participant, update.name, update.metadata, update.attributes, now):
        response.reason = proto.rtc.RequestResponse.LIMIT_EXCEEDED
        response.message = "name, metadata or attributes too long"
    participant.send("request_response", response)


# ------------------------------------------------------------------ drills


def simulate(server: SfuServer, participant: ServerParticipant, request: rtc.SimulateScenario, now: float) -> None:
    """Misbehave as told. Scenarios that need a second server do nothing."""
    match request.WhichOneof("scenario"):
        case "speaker_update":
            participant.room.speakers.force(participant, now + request.speaker_update, now)
        case "node_failure" | "migration":
            server.vanish(participant, now)
        case "server_leave":
            server.dismiss(participant, proto.models.SERVER_SHUTDOWN, now)
        case "switch_candidate_protocol":
            server.prefer(participant, request.switch_candidate_protocol)
            if not participant.single:
                participant.restart_subscriber(now)
        case "disconnect_signal_on_resume":
            server.arm_resume(participant, "messages", now + ARMED)
        case "disconnect_signal_on_resume_no_messages":
            server.arm_resume(participant, "no messages", now + ARMED)
        case _:
            participant.counters.add("scenario_ignored")
