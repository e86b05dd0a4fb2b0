"""PyAV, or a word on how to get it."""

from __future__ import annotations

try:
    import av
    from av.codec.context import Flags
    from av.video.frame import PictureType
    from av.video.reformatter import Colorspace
except ImportError as error:
    raise ImportError(
        "trio_client.media needs PyAV, which the extra brings: pip install 'trio-livekit[media]'", name="av"
    ) from error

__all__ = ["Colorspace", "Flags", "PictureType", "av"]
