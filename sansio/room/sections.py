"""How often the server's requests for media sections are followed.

The server repeats a requirement at once when an offer did not meet it, thousands of times a second. So the same one is
followed a few times only while nothing comes of it; one that was met may come again any number of times.
"""

from __future__ import annotations

from attrs import frozen

from ..base.limits import SECTION_REQUESTS


@frozen
class _Requirement:
    """Media sections that the server asked for, and how things stood then."""

    audios: int
    videos: int
    answers: int
    in_use: int


_NOTHING = _Requirement(0, 0, 0, 0)


class SectionRequests:
    """The requests of one link to the server."""

    __slots__ = ("_last", "_unmet")

    def __init__(self) -> None:
        self._last = _NOTHING
        self._unmet = 0

    def follow(self, audios: int, videos: int, *, answers: int, in_use: int) -> bool:
        """Whether to offer so many sections more.

        ``answers``: how often an offer of ours was answered; ``in_use``: sections in which the server sends.
        """
        last = self._last
        if (audios, videos) != (last.audios, last.videos) or in_use > last.in_use:
            self._unmet = 0
        elif (audios or videos) and answers > last.answers:
            self._unmet += 1
            if self._unmet > SECTION_REQUESTS:
                return False
        self._last = _Requirement(audios, videos, answers, in_use)
        return True
