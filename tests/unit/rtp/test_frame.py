"""Frames show what they are without their data."""

from __future__ import annotations

from sansio.rtp.frame import Frame


def test_repr():
    frame = Frame(b"secret", 960, 0.02, None, 1.0, False, 3, 111)
    assert repr(frame) == "Frame(6 bytes, timestamp=960, time=0.020, lost=3)"
    frame.keyframe = True
    assert repr(frame) == "Frame(key frame, 6 bytes, timestamp=960, time=0.020, lost=3)"


def test_more_may_be_missing_before_it():
    frame = Frame(b"data", 960, 0.02, 5.0, 1.0, True, 3, 111)
    other = frame.after(4)
    assert [getattr(other, name) for name in Frame.__slots__] == [b"data", 960, 0.02, 5.0, 1.0, True, 7, 111]
    assert frame.lost == 3
