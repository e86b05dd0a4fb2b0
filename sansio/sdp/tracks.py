"""Which track of which participant a section of the server carries."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import frozen

from .media import SdpMedia


@frozen
class TrackRef:
    """The sids of a track and of the participant who publishes it."""

    participant_sid: str
    track_sid: str


def track_of(media: SdpMedia, mid_to_track_id: Mapping[str, str]) -> TrackRef | None:
    """The track in a section of the server, or None for a section that waits for one.

    The direction says nothing: unused sections are answered ``sendonly``. What counts is the msid, whose stream part is
    ``PA_…|X``, X being the sid of the track or the name of a stream; its track part is the sid of the track. Where
    neither is a sid, ``mid_to_track_id`` of the message with the description tells. Evaluate every section anew
    after each description, since the server reuses sections for other tracks.
    """
    if media.rejected or media.msid is None:
        return None
    participant, _, stream = media.msid.stream.partition("|")
    if not participant.startswith("PA_"):
        return None
    for sid in (media.msid.track, stream, mid_to_track_id.get(media.mid, "")):
        if sid.startswith("TR_"):
            return TrackRef(participant, sid)
    return None
