"""What a room costs: ``python tests/bench/bench_room.py [ROUNDS]``. Microseconds a packet or participant, best round.

Data packets carry 1000 bytes and a topic; the channel and everything below it are not in the figures.
"""

from __future__ import annotations

import sys
import time
from collections import deque

from sansio import proto
from sansio.room.data import DataReceiver, DataSender
from sansio.room.state import RoomState

COUNT = 5000
PAYLOAD = bytes(1000)


def person(identity, version=1):
    track = proto.models.TrackInfo(sid=f"TR_{identity}", name="mic", source=2)
    return proto.models.ParticipantInfo(
        identity=identity, sid=f"PA_{identity}", state=2, version=version, name=identity, tracks=[track]
    )


def room():
    state = RoomState(deque())
    state.apply_join(
        proto.rtc.JoinResponse(participant=person("alice"), other_participants=[person("bob")], room={"name": "bench"})
    )
    return state


def packet(number):
    user = proto.models.UserPacket(payload=PAYLOAD, topic="bench")
    sent = proto.models.DataPacket(user=user, participant_identity="bob", participant_sid="PA_bob", sequence=number)
    return sent.SerializeToString()


PACKETS = [packet(number + 1) for number in range(COUNT)]
NEWCOMERS = proto.rtc.ParticipantUpdate(participants=[person(f"p{number}") for number in range(COUNT)])


def encode():
    sender = DataSender()
    begin = time.perf_counter()
    for _ in range(COUNT):
        sender.number(sender.encode(PAYLOAD, reliable=True, topic="bench"))
    return time.perf_counter() - begin


def receive():
    receive = DataReceiver(room()).receive
    begin = time.perf_counter()
    for data in PACKETS:
        receive(data, True, 0.0)
    return time.perf_counter() - begin


def newcomer():
    state = room()
    begin = time.perf_counter()
    state.apply_update(NEWCOMERS)
    return time.perf_counter() - begin


def repeated():
    state = room()
    state.apply_update(NEWCOMERS)
    begin = time.perf_counter()
    state.apply_update(NEWCOMERS)
    return time.perf_counter() - begin


if __name__ == "__main__":
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    for measure in (encode, receive, newcomer, repeated):
        best = min(measure() for _ in range(rounds))
        print(f"{measure.__name__:12} {best / COUNT * 1e6:8.2f} us")
