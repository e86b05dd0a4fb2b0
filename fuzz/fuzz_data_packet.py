"""Data packets: whatever a data channel may bring."""

from __future__ import annotations

from collections import deque

from sansio import proto
from sansio.base import limits
from sansio.base.errors import ParseError
from sansio.events import DataReceived, TranscriptionReceived
from sansio.room.data import DataReceiver, decode_data_packet
from sansio.room.state import RoomState


def one(data: bytes) -> None:
    try:
        packet = decode_data_packet(data)
    except ParseError:
        packet = None
    else:
        encoded = packet.SerializeToString(deterministic=True)
        assert decode_data_packet(encoded).SerializeToString(deterministic=True) == encoded
    state = RoomState(deque())
    state.apply_join(
        proto.rtc.JoinResponse(
            participant={"identity": "alice", "sid": "PA_alice"},
            other_participants=[{"identity": "bob", "sid": "PA_bob"}],
        )
    )
    receiver = DataReceiver(state)
    counted = 0
    for reliable in (True, False, True):
        event = receiver.receive(data, reliable, 1.0)
        dropped = sum(receiver.counters.snapshot().values()) - counted
        counted += dropped
        assert dropped == (event is None)
        if event is not None:
            assert packet is not None
            assert 0 <= event.size <= 60 * len(data)
            if isinstance(event, DataReceived):
                assert (event.payload, event.identity) == (packet.user.payload, packet.participant_identity)
            if not isinstance(event, TranscriptionReceived):
                assert event.participant is state.remote_participants.get(event.identity)
    assert len(receiver.last_sequences()) <= 1 <= limits.DATA_SENDERS
