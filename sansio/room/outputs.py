"""What the engine itself puts out, beside requests to the driver, the user's events, and the outputs of its parts."""

from __future__ import annotations

from attrs import frozen

from ..ice.agent import PairReport
from ..ice.paths import PathReport
from ..ice.verdict import path_verdict
from ..signal.refusal import Refusal
from ..types import DisconnectReason
from .track import LocalTrack, RemoteTrack


@frozen
class MediaFailure:
    """Signalling worked, but no peer connection came up.

    ``pairs`` tells how each candidate pair ended, ``ways`` how each relay and TCP connection did.
    """

    detail: str
    pairs: tuple[PairReport, ...] = ()
    ways: tuple[PathReport, ...] = ()

    @property
    def verdict(self) -> str:
        """One sentence about what was tried and how each kind of path ended; empty when nothing was tried."""
        return path_verdict(self.pairs, self.ways) if self.pairs or self.ways else ""


@frozen
class JoinFailed:
    """The session never began: the server refused it or ended it again, or media could not be connected."""

    error: Refusal | MediaFailure


@frozen
class Ended:
    """Everything is closed and nothing is owed. Appears exactly once, last."""

    reason: DisconnectReason


@frozen(eq=False)
class TrackReadable:
    """``track.read()`` has something to give. Not repeated until it gave None."""

    track: RemoteTrack


@frozen(eq=False)
class TrackStarted:
    """A track of ours is negotiated: frames written from now on are sent."""

    track: LocalTrack


@frozen(eq=False)
class TrackKeyframeWanted:
    """A subscriber of a video track of ours needs a key frame of a layer."""

    track: LocalTrack
    layer: int = 0
