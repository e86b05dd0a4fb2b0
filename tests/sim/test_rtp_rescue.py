"""At 5 % loss either way and 100 ms round trip, every frame that a retransmission can still save arrives.

What could be saved is found out on the wire, without asking the receiver: a frame all of whose packets came, by
themselves or as retransmissions, before the receiver's patience with the first missing one was over.
"""

from __future__ import annotations

import pytest

from sansio.rtp.packet import RtpPacket
from sansio.testing.netem import Link
from tests.sim.test_rtp import Camera, talk
from tests.unit.rtp.wire import H264, OPUS, RED, VP8, VP8_PLAIN, Pair, h264_frame, vp8_frame

LOSSY = {"latency": 0.05, "loss": 0.05}


class Watched(Pair):
    """Notes of each packet when it came, in whatever form, and when it was first missed."""

    def __init__(self, seed, format, **links):
        super().__init__(seed, there=Link(**links), back=Link(**links))
        self.format = format
        self.sender = self.a.add_sender(format)
        kind = format.kind
        self.receiver = self.b.add_receiver(kind, 0.0, ssrc=self.sender.ssrc, rtx_ssrc=self.sender.rtx_ssrc)
        self.parts = {}  # timestamp on the wire: the numbers of its packets
        self.came = {}
        self.missed = {}
        self.first = self.highest = None

    def _carry(self, name, session):
        for data in session.rtp if name == "a" else ():
            packet = RtpPacket(data)
            if packet.ssrc == self.sender.ssrc:
                self.parts.setdefault(packet.timestamp, set()).add(packet.sequence)
        super()._carry(name, session)

    def _arrive(self, name, kind, data):
        if (name, kind) == ("b", "rtp"):
            packet = RtpPacket(data)
            sequence = packet.sequence
            if packet.ssrc == self.sender.rtx_ssrc:
                sequence = int.from_bytes(packet.payload[:2], "big")
            elif self.first is None:
                self.first = self.highest = sequence
            self.came.setdefault(sequence, self.now)
            ahead = (sequence - self.highest) & 0xFFFF
            if 0 < ahead < 0x8000:
                for missing in range(1, ahead):
                    self.missed[(self.highest + missing) & 0xFFFF] = self.now
                self.highest = sequence
        super()._arrive(name, kind, data)

    def saved(self, timestamp, patience):
        """Whether all packets of a frame came in time."""
        for sequence in self.parts[timestamp]:
            came = self.came.get(sequence)
            if came is None or came > self.missed.get(sequence, came) + patience:
                return False
        return True

    def known(self):
        """The timestamps of the frames whose fate is decided: from the first packet that came to the last."""
        stamps = list(self.parts)
        begin = next(place for place, stamp in enumerate(stamps) if self.first in self.parts[stamp])
        last = next(place for place, stamp in enumerate(stamps) if self.highest in self.parts[stamp])
        return stamps[begin:last]

    def got(self):
        return {frame.timestamp & 0xFFFFFFFF for frame in self.frames[self.receiver]}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("format", [OPUS, RED], ids=["opus", "red"])
def test_sound(seed, format):
    pair = Watched(seed, format, **LOSSY)
    talk(pair, pair.sender, 3000)
    pair.run(62.0)
    got, stamps = pair.got(), pair.known()
    patience = pair.receiver._patience() if format is OPUS else 0.05
    worth = [stamp for stamp in stamps if pair.saved(stamp, 0.95 * patience)]
    assert [stamp for stamp in worth if stamp not in got] == []
    if format is OPUS:
        assert len(stamps) - len(worth) <= 2  # three tries: one frame in some 20 000
        assert pair.receiver.repaired == 0  # Opus has no RTX: the packets themselves come again
        assert pair.sender.resent_packets > 100
        lost = len(stamps) - len(set(stamps) & got)
        assert lost <= len(stamps) - len(worth)
    else:
        assert len(set(stamps) & got) > 0.99 * len(stamps)  # copies behind, where nothing can be asked for again


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize(
    ("format", "frame"), [(VP8, vp8_frame), (VP8_PLAIN, vp8_frame), (H264, h264_frame)], ids=["vp8", "plain", "h264"]
)
def test_pictures(seed, format, frame):
    pair = Watched(seed, format, **LOSSY)
    camera = Camera(pair, pair.sender, frame, 1000)
    pair.run(42.0)
    got, stamps = pair.got(), pair.known()
    keys = {list(pair.parts)[number] for number in camera.keyframes}
    # A picture can be shown that is whole, as are all those before it back to a key frame.
    chain, due = False, []
    for stamp in stamps:
        chain = pair.saved(stamp, 0.95 * pair.receiver._patience()) and (chain or stamp in keys)
        if chain:
            due.append(stamp)
    assert [stamp for stamp in due if stamp not in got] == []
    assert len(due) > 0.98 * len(stamps)
    assert pair.sender.resent_packets > 100
    assert pair.receiver.repaired > 100 or not format.rtx
