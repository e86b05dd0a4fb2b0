"""Microseconds per DATA packet for both ends of an association in one process, no DTLS, no network.

    python tests/bench/bench_sctp.py [packets per case]

A packet's figure holds everything: queueing, sending, receiving, reading the message, and the SACKs at both ends.
Packets cross in bursts of 32, so the receiver acknowledges once a burst, as behind a socket that is drained. Time is
virtual (a round trip of 1 ms), the processor's time is measured; the last column is the ratio to a calibration loop of
plain Python, which makes figures of different machines comparable.
"""

from __future__ import annotations

import sys
import time
from collections import deque
from typing import Any

from sansio.base.entropy import Entropy
from sansio.sctp import DataChannels, SctpAssociation, SctpOptions

BURST = 32


def calibrate() -> float:
    """Nanoseconds per turn of a loop of attribute and container operations; the best of five."""

    class Thing:
        __slots__ = ("value", "items")

        def __init__(self) -> None:
            self.value = 0
            self.items: deque[int] = deque()

    def once() -> float:
        thing = Thing()
        begin = time.process_time()
        for i in range(200_000):
            thing.value += i & 3
            thing.items.append(i)
            thing.items.popleft()
        return (time.process_time() - begin) / 200_000 * 1e9

    return min([once() for _ in range(5)])


def run(name: str, size: int, packets: int, *, loss: int = 0, lossy: bool = False, **options: Any) -> float:
    """Print and return the microseconds per packet; ``loss`` drops one packet in that many, both ways."""
    left = DataChannels(SctpAssociation(Entropy(b"left"), options=SctpOptions(**options)), role="client")
    right = DataChannels(SctpAssociation(Entropy(b"right"), options=SctpOptions(**options)), role="server")
    left.start(0.0)
    right.start(0.0)
    limits: dict[str, Any] = {"ordered": False, "max_retransmits": 0} if lossy else {}
    channel = left.open("bench", now=0.0, **limits)
    now = 0.0
    for _ in range(6):
        for one, other in ((left, right), (right, left)):
            one.advance(now)
            while one.packets:
                other.handle_packet(one.packets.popleft(), now)
        now += 0.001
    message = bytes(size)
    batch = max(1, 65536 // max(size, 256))
    crossed = received = sacks = dropped = 0
    network: deque[bytes] = deque()
    counter = 1
    send, read = left.send, right.read
    begin = time.process_time()
    while crossed < packets:
        while left.buffered(channel) < 131072:
            for _ in range(batch):
                send(channel, message, now)
        due = left.advance(now)
        network += left.packets
        left.packets.clear()
        count = min(BURST, len(network))
        crossed += count
        for _ in range(count):
            packet = network.popleft()
            if loss:
                counter = (counter * 1103515245 + 12345) & 0x7FFFFFFF
                if (counter >> 8) % loss == 0:
                    dropped += 1
                    continue
            right.handle_packet(packet, now)
        while read(channel) is not None:
            received += 1
        due = min(due, right.advance(now))
        sacks += len(right.packets)
        now += 0.001 if count else max(due - now, 0.001)
        while right.packets:
            packet = right.packets.popleft()
            if loss:
                counter = (counter * 1103515245 + 12345) & 0x7FFFFFFF
                if (counter >> 8) % loss == 0:
                    continue
            left.handle_packet(packet, now)
        left.outbox.clear()
        right.outbox.clear()
    elapsed = time.process_time() - begin
    each = elapsed / crossed * 1e6
    rate = received * size * 8 / elapsed / 1e6
    print(
        f"{name:31} {each:6.2f} us/packet {each * 1e3 / CALIBRATION:6.1f} turns {rate:6.0f} Mbit/s"
        f" {received / elapsed / 1e3:6.1f} k msg/s {crossed / max(sacks, 1):5.1f} packets/SACK"
        f" lost {dropped} resent {left.counters['data_resent']} timeouts {left.counters['timeouts']}"
    )
    return each


def main(packets: int) -> None:
    """Every case."""
    run("1 kB", 1024, packets)
    run("1 kB, CRC32c", 1024, packets, zero_checksum=False)
    run("64 kB", 65535, packets)
    run("100 B bundled", 100, packets // 4)
    run("1 kB, 2 % loss", 1024, packets, loss=50)
    run("64 kB, 2 % loss", 65535, packets, loss=50)
    run("1 kB unordered lossy, 2 % loss", 1024, packets, loss=50, lossy=True)


CALIBRATION = calibrate()

if __name__ == "__main__":
    print(f"calibration: {CALIBRATION:.0f} ns a turn")
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)
