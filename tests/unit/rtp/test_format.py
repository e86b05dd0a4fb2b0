"""Formats refuse what has no payload format here, before anything else can happen with it."""

from __future__ import annotations

import pytest

from sansio.base.errors import LocalProtocolError
from sansio.rtp.format import CODECS, ExtensionIds, Format


def test_kinds():
    assert {codec: Format(96, codec, 90000).kind for codec in CODECS} == CODECS
    assert Format(111, "opus", 48000).kind == "audio"
    assert Format(96, "vp8", 90000).kind == "video"


@pytest.mark.parametrize(
    "arguments",
    [
        (96, "vp9", 90000),
        (96, "VP8", 90000),
        (128, "vp8", 90000),
        (-1, "vp8", 90000),
        (96, "vp8", 0),
        (96, "vp8", 1, 128),
    ],
)
def test_refusals(arguments):
    with pytest.raises(LocalProtocolError):
        Format(*arguments)


def test_no_extension_by_default():
    assert ExtensionIds() == ExtensionIds(0, 0, 0, 0, 0, 0)
