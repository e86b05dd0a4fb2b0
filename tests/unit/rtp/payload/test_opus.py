"""What the first byte of an Opus packet tells (RFC 6716 section 3.1, table 2)."""

from __future__ import annotations

import pytest

from sansio.rtp.payload import opus


@pytest.mark.parametrize(
    ("packet", "samples"),
    [
        ("", 0),
        ("f8fffe", 960),  # the silence that servers send: CELT, 20 ms, one frame
        ("00", 480),  # SILK, 10 ms
        ("18", 2880),  # SILK, 60 ms
        ("48", 960),  # SILK wideband, 20 ms
        ("60", 480),  # hybrid, 10 ms
        ("78", 960),  # hybrid, 20 ms
        ("80", 120),  # CELT, 2.5 ms
        ("e1", 240),  # CELT fullband, twice 2.5 ms
        ("fa", 1920),  # twice 20 ms
        ("ff06", 5760),  # six times 20 ms
        ("ff07", 0),  # more than 120 ms
        ("ff00", 0),
        ("ff", 0),
        ("1b82", 5760),  # twice 60 ms, the flags in the second byte aside
    ],
)
def test_duration(packet, samples):
    assert opus.duration(bytes.fromhex(packet)) == samples


def test_channels():
    assert opus.stereo(b"\xfc")
    assert not opus.stereo(b"\xf8\xff\xfe")
