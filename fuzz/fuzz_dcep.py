"""DCEP messages: what is accepted is the same after being encoded anew."""

from __future__ import annotations

from sansio.base.errors import ParseError
from sansio.sctp import dcep


def one(data: bytes) -> None:
    try:
        message = dcep.decode_message(data)
    except ParseError:
        return
    if message is None:
        return
    again = dcep.decode_message(dcep.encode_open(message))
    assert again == message
