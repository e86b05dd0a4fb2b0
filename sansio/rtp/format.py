"""What payload types and header extension ids mean on one transport, as negotiated."""

from __future__ import annotations

from attrs import frozen

from ..base.errors import LocalProtocolError

CODECS = {"opus": "audio", "red": "audio", "pcmu": "audio", "pcma": "audio", "vp8": "video", "h264": "video"}
"""The codecs whose payload formats are known here, and their kinds."""


@frozen
class Format:
    """One payload type. ``codec`` is a key of CODECS.

    ``rtx``: the payload type of its retransmissions (RFC 4588), 0 without. ``nack``, ``pli``, ``fir``: feedback that
    was negotiated. ``mode``: packetization mode of H.264. ``primary``: of redundant audio, the payload type inside.
    """

    payload_type: int
    codec: str
    clock_rate: int
    rtx: int = 0
    nack: bool = False
    pli: bool = False
    fir: bool = False
    mode: int = 1
    primary: int = 0

    def __attrs_post_init__(self) -> None:
        if self.codec not in CODECS:
            raise LocalProtocolError(f"no payload format for {self.codec}")
        if not (0 <= self.payload_type < 128 and 0 <= self.rtx < 128 and self.clock_rate > 0):
            raise LocalProtocolError("payload types have 7 bits, and clock rates are positive")

    @property
    def kind(self) -> str:
        """ "audio" or "video"."""
        return CODECS[self.codec]


@frozen
class ExtensionIds:
    """The ids of the header extensions that we use, 0 for those not negotiated. One id has one meaning a transport."""

    mid: int = 0
    rid: int = 0
    repaired_rid: int = 0
    audio_level: int = 0
    abs_send_time: int = 0
    transport_cc: int = 0
