"""The sync state: what a resumed client tells the server it has (livekit.SyncState).

On the same node the server checks the published tracks, and applies subscriptions and disabled tracks; the rest lets
another node rebuild the participant.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from .. import proto

if TYPE_CHECKING:
    from ..proto import rtc


def sync_state(
    *,
    offer: str,
    answer: str,
    channels: Iterable[tuple[str, int, int]],
    received: Iterable[tuple[str, int]],
    auto_subscribe: bool,
) -> rtc.SyncState:
    """``offer`` and ``answer``: the last pair of descriptions, of the subscriber connection where there are two.

    ``channels``: label, id and target of each data channel. ``received``: participant sid and last reliable number.
    """
    state = proto.rtc.SyncState()
    if offer:
        state.offer.type, state.offer.sdp = "offer", offer
    if answer:
        state.answer.type, state.answer.sdp = "answer", answer
    state.subscription.subscribe = not auto_subscribe
    for label, number, target in channels:
        info = state.data_channels.add(label=label, id=number)
        info.target = target  # type: ignore[assignment]  # any int: enums are open
    for sid, sequence in received:
        state.datachannel_receive_states.add(publisher_sid=sid, last_seq=sequence)
    return state
