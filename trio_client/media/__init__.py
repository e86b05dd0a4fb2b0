"""Sound and pictures in place of encoded frames, and files. Needs the extra: ``trio-livekit[media]``.

Publishing: ``PcmAudioTrack``, ``RawVideoTrack``, ``play_file``. Receiving: ``decode_audio``, ``decode_video``,
``record``.
"""

from __future__ import annotations

from ._decode import DecodedAudio, DecodedVideo, PcmFrame, decode_audio, decode_video
from ._pcm import PcmAudioTrack
from ._play import play_file
from ._raw import RawVideoTrack
from ._record import Recorded, record

__all__ = [
    "DecodedAudio",
    "DecodedVideo",
    "PcmAudioTrack",
    "PcmFrame",
    "RawVideoTrack",
    "Recorded",
    "decode_audio",
    "decode_video",
    "play_file",
    "record",
]
