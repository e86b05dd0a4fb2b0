"""The peer's handshake messages: put together from fragments, once each, in order (RFC 6347 sections 4.2.2, 4.2.3).

Nothing protects these fragments, so engines do not get to see them: OpenSSL breaks off for good over two fragments that
contradict each other, and its replay window can be spoilt by one forged record number.
"""

from __future__ import annotations

from ..base.limits import DTLS_MESSAGE, DTLS_MESSAGES_AHEAD
from .flights import VERSION, Fragment, Message


class Reassembler:
    """Takes fragments in any order and gives whole messages."""

    __slots__ = ("next", "_whole", "_partial")

    def __init__(self) -> None:
        self.next = 0
        """Number of the first message that has not been given."""
        self._whole: dict[int, tuple[int, bytes]] = {}  # by number: kind, body
        self._partial: dict[
            int, tuple[int, bytearray, bytearray]
        ] = {}  # the same, and a mark for each byte that is there

    def add(self, piece: Fragment) -> bool:
        """Take a fragment; False when it is of no use: too long, too far ahead, or contradicting another one."""
        if piece.length > DTLS_MESSAGE or piece.seq > self.next + DTLS_MESSAGES_AHEAD:
            return False
        if piece.seq < self.next or piece.seq in self._whole:
            return True
        if len(piece.body) == piece.length:
            # a message in one piece goes before any fragments, which may be forged
            self._partial.pop(piece.seq, None)
            self._whole[piece.seq] = piece.kind, piece.body
            return True
        partial = self._partial.get(piece.seq)
        if partial is None:
            partial = self._partial[piece.seq] = piece.kind, bytearray(piece.length), bytearray(piece.length)
        kind, body, marks = partial
        if (kind, len(body)) != (piece.kind, piece.length):
            return False
        end = piece.offset + len(piece.body)
        body[piece.offset : end] = piece.body
        marks[piece.offset : end] = b"\1" * len(piece.body)
        if 0 not in marks:
            del self._partial[piece.seq]
            self._whole[piece.seq] = kind, bytes(body)
        return True

    def take(self) -> list[Message]:
        """The messages that are complete and next in order."""
        messages = []
        while self.next in self._whole:
            kind, body = self._whole.pop(self.next)
            messages.append(Message(VERSION, kind, self.next, body))
            self.next += 1
        return messages
