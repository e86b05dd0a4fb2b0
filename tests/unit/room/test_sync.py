"""What a resumed client says it has."""

from __future__ import annotations

from sansio.room.sync import sync_state


def test_everything_is_in_its_place() -> None:
    state = sync_state(
        offer="o",
        answer="a",
        channels=[("_reliable", 1, 0), ("_lossy", 3, 1)],
        received=[("PA_x", 7)],
        auto_subscribe=True,
    )
    assert (state.offer.type, state.offer.sdp) == ("offer", "o")
    assert (state.answer.type, state.answer.sdp) == ("answer", "a")
    assert [(info.label, info.id, info.target) for info in state.data_channels] == [
        ("_reliable", 1, 0),
        ("_lossy", 3, 1),
    ]
    assert [(seen.publisher_sid, seen.last_seq) for seen in state.datachannel_receive_states] == [("PA_x", 7)]
    assert not state.subscription.subscribe
    assert not state.subscription.track_sids


def test_what_does_not_exist_yet_is_left_out() -> None:
    state = sync_state(offer="", answer="", channels=[], received=[], auto_subscribe=False)
    assert not state.HasField("offer")
    assert not state.HasField("answer")
    assert state.subscription.subscribe
