"""The encoded frames that receivers give."""

from __future__ import annotations


class Frame:
    """One encoded frame: an audio packet, or a whole picture.

    ``timestamp``: RTP timestamp in units of the clock, unwrapped. ``time``: seconds on the same clock since the
    stream's first frame. ``ntp_time``: the sender's wall clock as Unix time, None before its first report.
    ``arrival``: when the last packet came, in our time. ``lost``: frames missing between the one read before and this;
    of pictures, those known to be incomplete, undecodable or dropped, and at least one where packets are missing.
    """

    __slots__ = ("data", "timestamp", "time", "ntp_time", "arrival", "keyframe", "lost", "payload_type")

    def __init__(
        self,
        data: bytes,
        timestamp: int,
        time: float,
        ntp_time: float | None,
        arrival: float,
        keyframe: bool,
        lost: int,
        payload_type: int,
    ) -> None:
        self.data = data
        self.timestamp = timestamp
        self.time = time
        self.ntp_time = ntp_time
        self.arrival = arrival
        self.keyframe = keyframe
        self.lost = lost
        self.payload_type = payload_type

    def after(self, lost: int) -> Frame:
        """The same frame with so many more missing before it."""
        return Frame(
            self.data,
            self.timestamp,
            self.time,
            self.ntp_time,
            self.arrival,
            self.keyframe,
            self.lost + lost,
            self.payload_type,
        )

    def __repr__(self) -> str:
        kind = "key frame, " if self.keyframe else ""
        return (
            f"Frame({kind}{len(self.data)} bytes, timestamp={self.timestamp}, time={self.time:.3f}, lost={self.lost})"
        )
