"""The sync state: what a resumed client tells the server it has (livekit.SyncState).

On the same node the server checks the published tracks, and applies subscriptions and disabled tracks; the rest lets
another node rebuild the participant.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from .. import proto

if TYPE_CHECKING:
    from ..proto import models, rtc


def sync_state(
    *,
    offer: str,
    answer: str,
    channels: Iterable[tuple[str, int, int]],
    received: Iterable[tuple[str, int]],
    auto_subscribe: bool,
    differing: Iterable[str] = (),
    published: Iterable[tuple[str, models.TrackInfo]] = (),
) -> rtc.SyncState:
    """``offer`` and ``answer``: the last pair of descriptions, of the subscriber connection where there are two.

    ``channels``: label, id and target of each data channel. ``received``: participant sid and last reliable number.
    ``differing``: tracks that the user has chosen otherwise than ``auto_subscribe`` says. ``published``: cid and
    description of every track of ours.
    """
    state = proto.rtc.SyncState()
    if offer:
        state.offer.type, state.offer.sdp = "offer", offer
    if answer:
        state.answer.type, state.answer.sdp = "answer", answer
    state.subscription.subscribe = not auto_subscribe
    state.subscription.track_sids.extend(differing)
    for cid, track in published:
        state.publish_tracks.add(cid=cid, track=track)
    for label, number, target in channels:
        info = state.data_channels.add(label=label, id=number)
        info.target = target  # type: ignore[assignment]  # any int: enums are open
    for sid, sequence in received:
        state.datachannel_receive_states.add(publisher_sid=sid, last_seq=sequence)
    return state
