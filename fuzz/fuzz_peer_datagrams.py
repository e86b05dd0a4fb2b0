"""Two peer transports with the plain DTLS engine, which lets broken datagrams through to SCTP and the data channels.

The bytes say what becomes of the datagrams under way, and what the two ends do meanwhile. A peer may also be malicious:
it seals whatever the bytes say and sends it as SCTP.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any

from fuzz._held import held
from fuzz._turn import settle
from sansio.base.contract import INF, Address
from sansio.base.entropy import Entropy
from sansio.base.errors import LocalProtocolError
from sansio.dtls.plain import PlainEngine, plain_identity
from sansio.ice.agent import IceStateChanged, PairSelected, RoleChanged
from sansio.ice.candidate import Candidate
from sansio.peer.transport import PeerTransport, TransportConnected, TransportFailed
from sansio.sctp.association import HeartbeatAcked, SctpUp
from sansio.sctp.channel import BufferedLow, ChannelClosed, ChannelOpened, ChannelReadable

MOST_STEPS = 60
MOST_QUEUED = 20_000
"""Bytes of data that the user of one end keeps under way."""
MOST_HELD = 100_000
"""Bytes and items that one end may hold."""
EVENTS = (
    TransportConnected,
    TransportFailed,
    IceStateChanged,
    PairSelected,
    RoleChanged,
    HeartbeatAcked,
    SctpUp,
    ChannelOpened,
    ChannelClosed,
    ChannelReadable,
    BufferedLow,
)
ADDRESSES: dict[str, Address] = {"a": ("10.0.0.1", 5000), "b": ("10.0.0.2", 5000)}
STRANGER: Address = ("203.0.113.5", 6000)
IDENTITIES = {name: plain_identity(Entropy(name.encode())) for name in "ab"}


class Side:
    """One end, what it has sent, and what came of it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.address = ADDRESSES[name]
        self.end = PeerTransport(
            Entropy(b"fuzz").fork(name),
            IDENTITIES[name],
            deque(),
            controlling=name == "a",
            dtls_engine=PlainEngine,
        )
        self.end.add_local(candidate(self.address), 1, 0.0)
        self.sent: list[bytes] = []
        self.under_way: list[bytes] = []
        self.connected = 0
        self.channels: list[int] = []
        self.received = 0

    def introduce(self, other: Side, now: float) -> None:
        self.end.set_remote(
            ufrag=other.end.ice.local_ufrag,
            pwd=other.end.ice.local_pwd,
            lite=False,
            fingerprint=IDENTITIES[other.name].fingerprint,
            role="server" if self.name == "a" else "client",
            now=now,
        )
        self.end.add_remote(candidate(other.address), now)

    def settle(self, now: float) -> float:
        """The contract, after each input."""
        end = self.end
        due = settle(end, now)
        assert len(end.transmits) <= 150, "too much in answer to one input"
        for transmit in end.transmits:
            assert transmit.data
            self.sent.append(transmit.data)
            self.under_way.append(transmit.data)
        end.transmits.clear()
        del self.under_way[:-200]
        while end.outbox:
            self._take(end.outbox.popleft())
        return due

    def _take(self, event: Any) -> None:
        assert isinstance(event, EVENTS), event
        assert not self.end.closed or self.connected
        if isinstance(event, TransportConnected):
            self.connected += 1
            assert self.connected == 1
        elif isinstance(event, ChannelOpened | ChannelReadable):
            assert self.connected, "data before the peer has proven who it is"
            if event.channel not in self.channels:
                self.channels.append(event.channel)
        if isinstance(event, ChannelReadable):
            self.read(event.channel)

    def read(self, channel: int) -> None:
        assert self.end.channels is not None
        while self.end.channels.read(channel) is not None:
            self.received += 1
        self.end.touch_data()


def candidate(address: Address) -> Candidate:
    return Candidate("1", 1, "udp", 2130706431, address[0], address[1], "host")


def one(data: bytes) -> None:
    """The first byte says how far the two have come when it begins, then come operations."""
    source = iter(data)
    first = next(source, 0)
    a, b = Side("a"), Side("b")
    now = 0.0
    if first & 3:
        b.introduce(a, now)
    if first & 2:
        a.introduce(b, now)
    if first & 1 and first & 2:
        now = _connect(a, b, now)
    for _, op in zip(range(MOST_STEPS), source, strict=False):
        side, other = (a, b) if op & 8 else (b, a)
        now += (op >> 6) * 0.01
        _act(op, source, side, other, now)
        a.settle(now)
        b.settle(now)
    for side in (a, b):
        assert held(side.end) <= MOST_HELD, f"{side.name} holds {held(side.end)}"
    _finish(a, b, now)


def _deliver(side: Side, data: bytes, now: float, source: Address) -> None:
    side.end.receive_datagram(1, data, source, now)


def _connect(a: Side, b: Side, now: float) -> float:
    """Begin with both connected and a channel of each kind open."""
    for _ in range(12):
        now += 0.01
        for side, other in ((a, b), (b, a)):
            side.settle(now)
            for data in side.under_way:
                _deliver(other, data, now, side.address)
            side.under_way.clear()
        if a.end.connected and b.end.connected and a.end.channels is not None and not a.channels:
            a.channels.append(a.end.channels.open("reliable", now=now))
            a.channels.append(a.end.channels.open("lossy", ordered=False, max_retransmits=0, now=now))
            a.end.touch_data()
    assert a.end.association.up
    assert b.end.association.up
    return now


def _act(op: int, source: Iterator[int], side: Side, other: Side, now: float) -> None:
    """One operation on one side, or upon what is under way to it."""
    what = op & 7
    choice = op >> 4
    if what == 0:
        for data in other.under_way[: 1 + choice]:
            _deliver(side, data, now, other.address)
        del other.under_way[: 1 + choice]
    elif what == 1 and other.sent:
        if choice & 1:
            del other.under_way[: 1 + (choice >> 1 & 3)]
        else:
            _deliver(side, other.sent[next(source, 0) % len(other.sent)], now, other.address)
    elif what == 2 and other.under_way:
        _deliver(side, _broken(other.under_way[0], choice, source), now, other.address)
    elif what == 3:
        invented = bytes([next(source, 0) for _ in range(next(source, 0) & 63)])
        _deliver(side, invented, now, STRANGER if choice & 1 else other.address)
    elif what == 4 and other.end.dtls.connected:
        _deliver(side, other.end.dtls.seal(_malicious(choice, source, other)), now, other.address)
    elif what == 5:
        _use(choice, source, side, now)
    elif what == 6:
        _disturb(choice, side, other, now)
    elif what == 7 and choice == 15:
        side.end.close(now)


def _broken(data: bytes, choice: int, source: Iterator[int]) -> bytes:
    broken = bytearray(data)
    if choice & 1:
        return data[: next(source, 0) * len(data) >> 8]
    for _ in range(1 + (choice >> 2)):
        broken[(next(source, 0) << 3 | choice & 7) % len(broken)] ^= next(source, 1)
    return bytes(broken)


def _malicious(choice: int, source: Iterator[int], sender: Side) -> bytes:
    """An SCTP packet that no honest peer would send: with the right tag for half of the values of ``choice``."""
    body = bytes([next(source, 0) for _ in range(4 + (next(source, 0) & 31))])
    tag = sender.end.association._peer_tag if choice & 1 else next(source, 0)
    return b"\x13\x88\x13\x88" + tag.to_bytes(4, "big") + bytes(4) + body


def _use(choice: int, source: Iterator[int], side: Side, now: float) -> None:
    channels = side.end.channels
    if channels is None:
        return
    argument = next(source, 0)
    try:
        if choice == 0 and len(side.channels) < 8:
            side.channels.append(channels.open("x", ordered=bool(argument & 1), now=now))
        elif side.channels:
            number = side.channels[argument % len(side.channels)]
            if choice == 1:
                channels.close(number, now)
            elif channels.association.sender.flight + channels.total_buffered() < MOST_QUEUED:
                channels.send(number, bytes(argument * choice), now)
    except LocalProtocolError:
        pass
    side.end.touch_data()


def _disturb(choice: int, side: Side, other: Side, now: float) -> None:
    end = side.end
    if choice < 4:
        end.set_blocked(choice == 0)
    elif choice < 6:
        end.send_failed(1, other.address, "no route", now)
    elif choice < 8:
        side.introduce(other, now)
    elif choice == 8:
        end.restart_ice(now)
        other.introduce(side, now)
    elif choice == 9:
        end.remove_local(1, now)
    elif choice == 10:
        end.add_local(candidate(side.address), 1, now)
    elif choice == 11:
        end.end_of_remote(now)
    elif choice == 12:
        end.probe(now)
    elif choice == 13:
        end.path_restored(now)
    else:
        end.add_remote(candidate(STRANGER), now)


def _finish(a: Side, b: Side, now: float) -> None:
    """From here on the network is faithful: time goes on without a livelock, and both can be closed."""
    a.end.set_blocked(False)
    b.end.set_blocked(False)
    for _ in range(60):
        due = min(a.settle(now), b.settle(now))
        for side, other in ((a, b), (b, a)):
            for data in side.under_way:
                _deliver(other, data, now, side.address)
            side.under_way.clear()
        if due == INF:
            break
        now = max(now + 0.01, min(due, now + 5.0))
    for side in (a, b):
        side.end.close(now)
        assert side.end.advance(now) == INF
        side.end.receive_datagram(1, b"\x17", ADDRESSES["a"], now)
        assert side.end.advance(now + 1.0) == INF
