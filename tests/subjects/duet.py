"""Scripts for machines that need somebody to talk to: another of the kind at the end of a bad line."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sansio.base.entropy import Entropy
from sansio.testing.conformance import Input, Script


def mutated(data: bytes, entropy: Entropy) -> bytes:
    """A datagram with a byte changed, cut short, or made longer."""
    kind = entropy.below(3)
    at = entropy.below(len(data) + 1)
    if kind == 0:
        return data[:at]
    if kind == 1:
        return data + entropy.bytes(1 + entropy.below(8))
    return data[:at] + entropy.bytes(1) + data[at + 1 :]


def duet(
    entropy: Entropy,
    partner: Any,
    *,
    begin: Sequence[Input],
    give: Callable[[Any, Any, float], None],
    take: Callable[[Any], Sequence[bytes]],
    datagram: Callable[[bytes], Input],
    operations: Sequence[Callable[[Entropy], Input]],
    partner_acts: Callable[[Any, Entropy, float], object] = lambda partner, entropy, now: None,
    chatter: int = 12,
) -> Script:
    """Talks with ``partner`` over a line that loses, doubles, reorders and mutilates.

    ``begin``: the first inputs. ``give``: hands an output of the machine to the partner. ``take``: what the partner
    sends. ``datagram``: the input that carries such bytes. ``operations``: draw an operation of the machine, one in
    ``chatter`` turns. ``partner_acts``: lets the partner do something of its own, as often.
    """
    waiting: list[bytes] = []
    pending = list(begin)
    turn = yield None
    while True:
        for output in turn.outputs:
            for _ in range((0, 1, 1, 1, 1, 1, 1, 2)[entropy.below(8)]):
                give(partner, output, turn.now)
        if entropy.below(chatter) == 0:
            partner_acts(partner, entropy, turn.now)
        partner.advance(turn.now)
        waiting += take(partner)
        del waiting[:-64]
        kind = entropy.below(chatter)
        item = None
        if pending:
            item = pending.pop(0)
        elif kind == 0:
            item = entropy.choice(operations)(entropy)
        elif kind == 1 and waiting:
            item = datagram(mutated(entropy.choice(waiting), entropy))
        elif kind == 2:
            item = datagram(entropy.bytes(entropy.below(40)))
        elif waiting and kind < chatter - 2:
            at = entropy.below(len(waiting)) if entropy.below(4) == 0 else 0
            item = datagram(waiting[at])
            if entropy.below(10):
                del waiting[at]
        turn = yield item
