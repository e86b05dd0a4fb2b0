"""RTP and RTCP (RFC 3550): packets, payload formats, receivers, senders, feedback, and the session that joins them."""

from ..types import ReceiverStats, SenderStats
from .audio import AudioReceiver
from .feedback import PacketResult
from .format import CODECS, ExtensionIds, Format
from .frame import Frame
from .packet import RtpPacket
from .receiver import FrameReadable, RtpReceiver
from .sender import RtpSender
from .session import KeyframeWanted, RtpSession, StreamEnded, TrackSeen
from .video import VideoReceiver

__all__ = [
    "CODECS",
    "AudioReceiver",
    "ExtensionIds",
    "Format",
    "Frame",
    "FrameReadable",
    "KeyframeWanted",
    "PacketResult",
    "ReceiverStats",
    "RtpPacket",
    "RtpReceiver",
    "RtpSender",
    "RtpSession",
    "SenderStats",
    "StreamEnded",
    "TrackSeen",
    "VideoReceiver",
]
