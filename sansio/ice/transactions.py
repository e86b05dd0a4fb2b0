"""STUN transactions: requests under way, their retransmission and what they tell about the round trip."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, TypeVar

from ..base.contract import INF, Address
from . import stun

T = TypeVar("T")


class Transaction(Generic[T]):
    """One request under way. ``owner`` is whatever its maker wants back with the answer, and ``key`` is
    what the answer must be signed with.

    Retransmission (RFC 8489 section 6.2.1): after ``rto``, then doubling each time, ``left`` more times; the last one
    is given as long as the interval would be. On reliable transports nothing is sent again (``left`` 0) and ``rto`` is
    all the time there is.
    """

    __slots__ = (
        "id",
        "data",
        "port",
        "addr",
        "owner",
        "key",
        "rto",
        "limit",
        "left",
        "first_sent",
        "last_sent",
        "due",
        "sends",
    )

    def __init__(
        self,
        id: bytes,
        data: bytes,
        port: int,
        addr: Address,
        owner: T,
        *,
        key: stun.Key,
        rto: float,
        retransmissions: int,
        now: float,
        limit: float = INF,
    ) -> None:
        self.id = id
        self.data = data
        self.port = port
        self.addr = addr
        self.owner = owner
        self.key = key
        self.rto = rto
        self.limit = limit
        self.left = retransmissions
        self.first_sent = now
        self.last_sent = now
        self.due = now + rto
        self.sends = 1

    def rtt(self, now: float) -> float:
        """The round trip that an answer now shows: from the last sending, so it is never too long (Karn's question)."""
        return now - self.last_sent


class Transactions(Generic[T]):
    """The requests under way of one machine, by transaction id."""

    __slots__ = ("_by_id", "_next")

    def __init__(self) -> None:
        self._by_id: dict[bytes, Transaction[T]] = {}
        self._next = INF

    def __len__(self) -> int:
        return len(self._by_id)

    def __iter__(self) -> Iterator[Transaction[T]]:
        return iter(list(self._by_id.values()))

    @property
    def next(self) -> float:
        """When ``due`` has work; may be early, never late."""
        return self._next

    def add(self, transaction: Transaction[T]) -> None:
        """Enter a request that was just sent."""
        self._by_id[transaction.id] = transaction
        if transaction.due < self._next:
            self._next = transaction.due

    def get(self, id: bytes) -> Transaction[T] | None:
        """The request with this id."""
        return self._by_id.get(id)

    def remove(self, transaction: Transaction[T]) -> None:
        """Forget a request, answered or not."""
        self._by_id.pop(transaction.id, None)
        if not self._by_id:
            self._next = INF

    def clear(self) -> None:
        """Forget every request."""
        self._by_id.clear()
        self._next = INF

    def sent_again(self, transaction: Transaction[T], now: float) -> None:
        """Note an extra sending, out of turn: neither the schedule nor the time left changes."""
        transaction.sends += 1
        transaction.last_sent = now

    def due(self, now: float) -> tuple[list[Transaction[T]], list[Transaction[T]]]:
        """The requests to send again now, and those that got no answer in all their time, which are forgotten."""
        again: list[Transaction[T]] = []
        lost: list[Transaction[T]] = []
        if self._next > now:
            return again, lost
        earliest = INF
        for transaction in self:
            if transaction.due <= now:
                if transaction.left == 0:
                    del self._by_id[transaction.id]
                    lost.append(transaction)
                    continue
                transaction.left -= 1
                transaction.sends += 1
                transaction.rto = min(2 * transaction.rto, transaction.limit)
                transaction.last_sent = now
                transaction.due = now + transaction.rto
                again.append(transaction)
            if transaction.due < earliest:
                earliest = transaction.due
        self._next = earliest
        return again, lost
