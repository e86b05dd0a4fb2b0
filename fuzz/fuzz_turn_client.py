"""A TURN allocation against a server that answers rightly, wrongly and madly, as the bytes say.

First byte: datagrams or stream, and the families. Then operations: send, permit, wait, and answers to requests under
way, with the right key or another.
"""

from __future__ import annotations

from fuzz._turn import settle
from sansio.base import limits
from sansio.base.contract import INF
from sansio.base.entropy import Entropy
from sansio.ice import stun
from sansio.ice.turn import AllocationLost, AllocationRedirected, TurnAllocation

MOST_STEPS = 200
KEY = stun.long_term_key("user", "realm", "pass")
CODES = (300, 400, 401, 403, 420, 437, 438, 440, 441, 486, 500, 508)


class Bytes:
    """The input, byte by byte; zeros behind its end."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def __bool__(self) -> bool:
        return self.at < len(self.data)

    def byte(self) -> int:
        self.at += 1
        return self.data[self.at - 1] if self.at <= len(self.data) else 0

    def take(self, n: int) -> bytes:
        self.at += n
        return self.data[self.at - n : self.at].ljust(n, b"\0")


def peer(number: int) -> tuple[str, int]:
    return (f"2001:db8::{number & 7:x}" if number & 8 else f"198.51.100.{number & 63}"), 1000 + number


def answer(source: Bytes, request: stun.Message) -> bytes:
    kind = source.byte()
    id = request.transaction_id
    attributes: list[tuple[int, bytes]] = []
    message_class = stun.SUCCESS
    if kind & 1:
        message_class = stun.ERROR
        attributes.append((stun.ERROR_CODE, stun.error_value(CODES[source.byte() % len(CODES)])))
    if kind & 2:
        attributes += [(stun.REALM, b"realm"), (stun.NONCE, bytes([source.byte()]))]
    if kind & 4:
        attributes.append((stun.XOR_RELAYED_ADDRESS, stun.xor_address_value(("203.0.113.1", 7000), id)))
    if kind & 8:
        attributes.append((stun.LIFETIME, stun.u32_value(source.byte() << (source.byte() & 15))))
    if kind & 16:
        wild = (stun.ALTERNATE_SERVER, stun.UNKNOWN_ATTRIBUTES, stun.LIFETIME, stun.XOR_RELAYED_ADDRESS, 0x7777)
        attributes.append((wild[source.byte() % 5], source.take(source.byte() % 24)))
    key = stun.Key(b"other") if kind & 32 else KEY
    return stun.build(stun.message_type(request.method, message_class), id, attributes, None if kind & 64 else key)


def one(data: bytes) -> None:
    source = Bytes(data)
    mode = source.byte()
    turn = TurnAllocation(
        Entropy(b"fuzz"), "user", "pass", stream=bool(mode & 1), families=((4,), (6,), (4, 6))[mode // 2 % 3]
    )
    now = 100.0
    turn.start(now)
    requests: list[stun.Message] = []
    due = _settle(turn, now, requests)
    for _ in range(MOST_STEPS):
        if not source:
            break
        step = source.byte()
        operation, argument = step & 7, source.byte()
        if operation <= 2 and requests:
            request = requests.pop(argument % len(requests))
            _receive(turn, answer(source, request), now)
        elif operation == 3:
            wrapped = turn.wrap(peer(argument), source.take(argument & 15), now)
            assert bool(wrapped) <= turn.allocated
        elif operation == 4:
            turn.permit(peer(argument), now)
        elif operation == 5:
            _receive(turn, source.take(argument % 48), now)
        elif operation == 6:
            id = source.take(12)
            attributes = [
                (stun.XOR_PEER_ADDRESS, stun.xor_address_value(peer(argument), id)),
                (stun.DATA, source.take(argument & 15)),
            ]
            _receive(turn, stun.build(0x0017, id, attributes), now)
        else:
            now = max(now, min(due if argument & 1 else now + argument, now + 1000.0))
        due = _settle(turn, now, requests)
    turn.close(now)
    assert turn.advance(now) == INF


def _receive(turn: TurnAllocation, data: bytes, now: float) -> None:
    inner = turn.unwrap(data)
    if inner is None:
        turn.handle_packet(data, now)
    else:
        assert inner[0] in turn._peers or inner[0][0] in turn._permissions


def _settle(turn: TurnAllocation, now: float, requests: list[stun.Message]) -> float:
    due = settle(turn, now)
    requests += [stun.decode(data) for data in turn.transmits]
    del requests[:-64]
    turn.transmits.clear()
    ends = [output for output in turn.outbox if isinstance(output, AllocationLost | AllocationRedirected)]
    assert len(ends) <= 1
    if ends:
        assert turn.closed
        assert turn.outbox[-1] is ends[0]
    turn.outbox.clear()
    assert len(turn._peers) <= limits.MAX_TURN_PEERS
    assert len(turn._permissions) <= limits.MAX_TURN_PEERS
    assert len(turn._channels) <= len(turn._peers)
    assert not turn.closed or due == INF
    return due
