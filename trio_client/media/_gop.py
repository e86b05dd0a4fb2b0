"""Key frames where they are asked for, in video that is passed on as it is."""

from __future__ import annotations

from ._av import av
from ._video import VideoDecoder, VideoEncoder

MOST_BYTES = 64 << 20
"""Of the pictures since the last key frame; when there are more, nothing can be decoded until the next."""


class Gop:
    """The pictures since the last key frame, so that one of them can be made a key frame.

    From such a picture on everything is decoded and encoded anew, since what follows builds on the picture as it was;
    with the next key frame of its own the video is passed on again. ``frame`` belongs into a worker thread.
    """

    def __init__(self, encoder: VideoEncoder) -> None:
        self.encoder = encoder
        self.encoding = False
        self._known = False  # whether all pictures since the key frame are here, or went through the decoder
        self._pictures: list[tuple[bytes, int]] = []
        self._size = 0
        self._decoder: VideoDecoder | None = None

    def passes(self, data: bytes, timestamp: int, keyframe: bool, wanted: bool) -> bool:
        """Take the next picture; whether it is sent as it is. Else ``frame`` has what is to be sent in its place."""
        if keyframe:
            self._pictures.clear()
            self._size = 0
            self._decoder, self.encoding, self._known = None, False, True
        if not self._known:
            return True
        self._pictures.append((data, timestamp))
        self._size += len(data)
        if self._size > MOST_BYTES and not self.encoding:
            self._pictures.clear()
            self._known = False
        elif wanted and not keyframe:
            self.encoding = True
        return not self.encoding

    def frame(self, wanted: bool) -> bytes:
        """The last picture, encoded anew; empty if it cannot be decoded."""
        if self._decoder is None:
            self._decoder, wanted = VideoDecoder(self.encoder.codec), True
        found: list[av.VideoFrame] = []
        timestamp = 0
        for data, timestamp in self._pictures:
            found = self._decoder.decode(data, timestamp)
        self._pictures.clear()
        return self.encoder.encode(found[-1], timestamp, wanted) if found else b""
