"""The receiving half of SCTP: chunks in any order and of any content, reads, skips, resets; its books must balance."""

from __future__ import annotations

from collections.abc import Iterator

from sansio.base.counters import Counters
from sansio.base.limits import SCTP_CHUNK_COST, SCTP_GAPS, SCTP_OVERRUN, SCTP_STREAMS
from sansio.sctp import chunks
from sansio.sctp.receiver import Receiver

WINDOW = 20_000
BASE = 0xFFFFFFF0
LONGEST = 2000
MOST_STEPS = 400


def one(data: bytes) -> None:
    """Two or more bytes an operation: what, and where or how much."""
    source = iter(data)
    receiver = Receiver(Counters(), WINDOW)
    receiver.cum = BASE
    detached = []
    for _, op in zip(range(MOST_STEPS), source, strict=False):
        what = op >> 5
        if what < 5:
            _data(receiver, op, source)
        elif what == 5:
            for stream in [*receiver.streams.values(), *detached]:
                for _ in range(op & 7):
                    receiver.read(stream)
        elif what == 6:
            skipped = [(next(source, 0) & 7, next(source, 0) & 15) for _ in range(op & 3)]
            receiver.handle_forward((receiver.cum + (op >> 2 & 7) - 1) & 0xFFFFFFFF, skipped)
        else:
            stream = receiver.streams.get(op & 7)
            receiver.detach(op & 7)
            if stream is not None:
                if op & 8:
                    receiver.release(stream)
                else:
                    detached.append(stream)
        _check(receiver, detached)
        if op & 1:
            _sack(receiver)


def _data(receiver: Receiver, op: int, source: Iterator[int]) -> None:
    """Mostly near the cumulative TSN, seldom far from it."""
    where = next(source, 0)
    offset = (where & 15) - 2 if where < 240 else (1 << (where & 15) * 2 + 1)
    shape = next(source, 0)
    ppid = (53, 53, 50, 51, 56, 57, 53, 0)[shape >> 5]
    size = 1 + (next(source, 0) << 4 if op & 16 else op & 7) % LONGEST
    tsn = (receiver.cum + offset) & 0xFFFFFFFF
    before = receiver.cum
    receiver.handle_data(op & 7, tsn, shape & 3, shape >> 2 & 7, ppid, bytes(size))
    assert receiver.cum >= before
    receiver.control.clear()


def _check(receiver: Receiver, detached: list) -> None:
    held = 0
    for stream in [*receiver.streams.values(), *detached]:
        held += sum([len(data) + SCTP_CHUNK_COST for data in stream.ready])
        held += sum([cost for _, _, cost in stream.waiting.values()])
        assert len(stream.ready) <= stream.ring
    runs = list(receiver.by_first.values())
    held += sum([run.cost for run in runs])
    assert receiver.held == held
    assert {run.last for run in runs} == set(receiver.by_last)
    for run in runs:
        assert run.last - run.first + 1 == len(run.parts)
    assert receiver.held <= WINDOW + SCTP_OVERRUN + LONGEST + SCTP_CHUNK_COST
    assert len(receiver.streams) <= SCTP_STREAMS
    last = receiver.cum
    for first, end in receiver.gaps:
        assert last + 1 < first <= end
        last = end
    assert len(receiver.gaps) <= SCTP_GAPS


def _sack(receiver: Receiver) -> None:
    gaps = [tuple(gap) for gap in receiver.gaps]
    chunk = receiver.take_sack(1151)
    assert 16 <= len(chunk) <= 1151
    sack = chunks.decode_sack(chunk[4:])
    assert sack.cumulative == receiver.cum & 0xFFFFFFFF
    assert [(receiver.cum + first, receiver.cum + last) for first, last in sack.gaps] == gaps
    assert not receiver.sack_now
    assert receiver.unacked == 0
