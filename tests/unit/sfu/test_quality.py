"""How good the lines are."""

from __future__ import annotations

from sansio import proto
from tests.unit.sfu.door import active, pair

rtc, models = proto.rtc, proto.models


def test_the_quality_of_connections_is_told_when_it_changes():
    door, alice, bob = pair()
    sid = door.publish(alice, "mic", "1")
    active(door, "alice", "bob")
    stream = door.there("alice").tracks[sid].streams[0]
    stream._base = stream._highest = 0

    def qualities(loss, lost=0.0):
        stream.loss = loss
        door.there("bob").downs[sid].loss = lost
        door.server.room("room").quality.due = door.now  # sooner than ICE gives up for want of a client
        door.turn()
        told = door.messages("connection_quality", bob)
        names = {door.there(name).sid: name for name in ("alice", "bob")}
        return [(names[each.participant_sid], each.quality) for each in told[-1].updates], len(told)

    assert qualities(0.0) == ([("alice", models.EXCELLENT), ("bob", models.EXCELLENT)], 1)
    assert qualities(0.01) == ([("alice", models.EXCELLENT), ("bob", models.EXCELLENT)], 1)
    assert qualities(0.05) == ([("alice", models.GOOD)], 2)
    assert qualities(0.5, 0.05) == ([("alice", models.POOR), ("bob", models.GOOD)], 3)
    door.there("alice").peers[0].connection.transport.ice.selected_addr = None
    assert qualities(0.0) == ([("alice", models.LOST), ("bob", models.EXCELLENT)], 4)
    told = door.there("bob").told_qualities
    assert len(told) == 2
    door.request(alice, leave=rtc.LeaveRequest())
    assert list(told) == [door.there("bob").sid]
