"""The contents of INIT, INIT-ACK and the state cookie."""

from __future__ import annotations

import pytest

from sansio.base.errors import ParseError
from sansio.sctp import chunks
from sansio.sctp.handshake import (
    FORWARD,
    ZERO,
    Cookie,
    open_cookie,
    our_parameters,
    read_hello,
    seal_cookie,
)

KEY = bytes(32)
COOKIE = Cookie(12.5, 1, 2, 3, 0xFFFFFFFF, 5, 6, 65535, FORWARD | ZERO, 9, 10)


def hello(*parameters):
    return read_hello(chunks.encode_init(chunks.Init(1, 2, 3, 4, 5, list(parameters))))


def test_what_we_say_of_ourselves_is_understood():
    assert hello(*our_parameters(zero_checksum=True)).extensions == FORWARD | ZERO
    assert hello(*our_parameters(zero_checksum=False)).extensions == FORWARD
    assert our_parameters(zero_checksum=True)[-1][1], "the last parameter is not an empty one"


@pytest.mark.parametrize(
    ("parameter", "extensions"),
    [
        ((chunks.FORWARD_TSN_SUPPORTED, b""), FORWARD),
        ((chunks.SUPPORTED_EXTENSIONS, bytes([chunks.RE_CONFIG, chunks.FORWARD_TSN])), FORWARD),
        ((chunks.SUPPORTED_EXTENSIONS, bytes([chunks.RE_CONFIG])), 0),
        ((chunks.ZERO_CHECKSUM, b"\0\0\0\1"), ZERO),
        ((chunks.ZERO_CHECKSUM, b"\0\0\0\2"), 0),
        ((chunks.ZERO_CHECKSUM, b""), 0),
        ((5, b"\x0a\0\0\1"), 0),
    ],
)
def test_extensions_of_the_peer(parameter, extensions):
    found = hello(parameter)
    assert (found.extensions, found.cookie, found.unknown) == (extensions, b"", [])


def test_unknown_parameters_are_treated_as_their_highest_bits_say():
    last = (chunks.STATE_COOKIE, b"last")
    assert hello((0x0100, b"stop"), last)[2:] == (b"", [])
    assert hello((0x4100, b"stop and report"), last)[2:] == (b"", [(0x4100, b"stop and report")])
    assert hello((0x8100, b"skip"), last)[2:] == (b"last", [])
    assert hello((0xC100, b"skip and report"), last)[2:] == (b"last", [(0xC100, b"skip and report")])


def test_what_is_reported_is_bounded():
    found = hello(*[(0xC100, bytes(100))] * 20)
    assert found.unknown == [(0xC100, bytes(32))] * 8


def test_what_cannot_be_read():
    with pytest.raises(ParseError):
        read_hello(bytes(15))


def test_a_cookie_comes_back_as_it_was():
    assert open_cookie(seal_cookie(COOKIE, KEY), KEY) == COOKIE


def test_a_cookie_that_was_changed_is_none_of_ours():
    sealed = seal_cookie(COOKIE, KEY)
    for place in range(len(sealed)):
        assert open_cookie(sealed[:place] + bytes([sealed[place] ^ 1]) + sealed[place + 1 :], KEY) is None
        assert open_cookie(sealed[:place], KEY) is None
    assert open_cookie(sealed + b"\0", KEY) is None
    assert open_cookie(sealed, b"\1" * 32) is None
