"""SCTP over DTLS (RFC 9260, 8261) with data channels (RFC 8831, 8832).

``DataChannels`` is what a parent embeds; it owns one ``SctpAssociation``.
"""

from __future__ import annotations

from .association import HeartbeatAcked, SctpAssociation, SctpLost, SctpOptions, SctpUp
from .channel import BufferedLow, ChannelClosed, ChannelOpened, ChannelReadable, DataChannels
from .receiver import TextMessage

__all__ = [
    "BufferedLow",
    "ChannelClosed",
    "ChannelOpened",
    "ChannelReadable",
    "DataChannels",
    "HeartbeatAcked",
    "SctpAssociation",
    "SctpLost",
    "SctpOptions",
    "SctpUp",
    "TextMessage",
]
