"""The whole way of media without a server: a frame, RTP, SRTP, a socket, and back to a frame.

    python tests/bench/bench_rtp_path.py [ROUNDS]

Two peer connections in one process exchange video over real sockets on loopback, in bursts of 10 packets of 1100 B;
what each side does is timed by itself. Prints microseconds of CPU a packet, the best and the median of the rounds, and
beside them what the system calls alone take, and a calibration loop of plain Python to compare machines by.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections import deque

from sansio.base.contract import Transmit
from sansio.base.entropy import Entropy
from sansio.dtls.identity import DtlsIdentity
from sansio.ice.candidate import Candidate
from sansio.peer.connection import PeerConnection
from sansio.peer.media import SendingStarted, TrackMapped
from sansio.rtp.receiver import RtpReceiver
from sansio.rtp.sender import RtpSender
from trio_client._ports import open_udp, take_run

FRAME = b"\x00" + bytes(10_800)  # a "key frame" of 10 packets
FRAMES = 40
PACKETS = 10


class End:
    """A peer connection with a socket, and as much of a driver as it needs."""

    def __init__(self, name: str, offerer: bool) -> None:
        self.transmits: deque[Transmit] = deque()
        identity = DtlsIdentity.generate(time.time())
        self.peer = PeerConnection(Entropy(name.encode()), identity, self.transmits, offerer=offerer)
        self.port = open_udp("127.0.0.1")
        candidate = Candidate("1", 1, "udp", 2130706431, *self.port.address, "host")
        self.peer.add_local_candidate(candidate, 1, 0.0)

    def send(self, now: float) -> int:
        """What the driver does after each turn."""
        self.peer.advance(now)
        transmits, port = self.transmits, self.port
        count = 0
        while transmits:
            transmit = transmits.popleft()
            if transmits and port.send_run is not None and len(transmits[0].data) == len(transmit.data):
                run = take_run(transmit, transmits)
                port.send_run([transmit.data for transmit in run], len(transmit.data), transmit.addr)
                count += len(run)
            else:
                port.sendto(transmit.data, transmit.addr)
                count += 1
        return count

    def receive(self, now: float) -> int:
        handle, recvfrom = self.peer.transport.receive_datagram, self.port.recvfrom
        count = 0
        try:
            for _ in range(64):
                data, addr = recvfrom(2048)
                handle(1, data, addr, now)
                count += 1
        except BlockingIOError:
            pass
        return count


class Pair:
    def __init__(self) -> None:
        self.now = 0.0
        self.a, self.b = End("a", True), End("b", False)
        self.a.peer.media.add_sending("vp8", "TR_v", "PA_a|TR_v")
        offer, number = self.a.peer.create_offer(0.0)
        answer = self.b.peer.handle_offer(offer, 0.0)
        assert answer is not None
        self.a.peer.handle_answer(answer, number, 0.0)
        for _ in range(2000):
            self.turn(0.01)
            if self.a.peer.transport.connected and self.b.peer.transport.connected:
                break
        self.turn(0.01)  # the keys
        started = [event for event in self.a.peer.outbox if isinstance(event, SendingStarted)]
        mapped = [event for event in self.b.peer.outbox if isinstance(event, TrackMapped)]
        sender = started[0].sending.senders[0]
        assert sender is not None
        self.sender: RtpSender = sender
        self.receiver: RtpReceiver = mapped[0].receiver
        self.b.peer.transport.rtp.set_enabled(self.receiver, True, self.now)

    def turn(self, seconds: float) -> None:
        self.now += seconds
        for end in (self.a, self.b):
            end.send(self.now)
        for end in (self.a, self.b):
            end.receive(self.now)

    def run(self) -> tuple[float, float]:
        """Some frames from one to the other: microseconds a packet of either side."""
        a, b, sender, receiver = self.a, self.b, self.sender, self.receiver
        clock = time.thread_time
        sending = receiving = 0.0
        packets = frames = 0
        for _ in range(FRAMES):
            now = self.now = self.now + 0.05
            began = clock()
            sender.write(FRAME, now)
            a.peer.transport.touch_media()
            sent = a.send(now)
            sending += clock() - began
            while a.peer.transport.rtp.pacer.size:  # what the pacer has kept back
                now = self.now = self.now + 0.005
                began = clock()
                a.peer.transport.touch_media()
                sent += a.send(now)
                sending += clock() - began
            packets += sent
            began = clock()
            b.receive(now)
            b.peer.advance(now)
            while receiver.read() is not None:
                frames += 1
            receiving += clock() - began
            b.peer.outbox.clear()
            a.peer.outbox.clear()
            self.turn(0.0)
        assert frames == FRAMES, frames
        return sending / packets * 1e6, receiving / packets * 1e6

    def system(self) -> tuple[float, float]:
        """The system calls alone."""
        a, b = self.a.port, self.b.port
        target, data = b.address, bytes(1120)
        clock = time.thread_time
        sending = receiving = 0.0
        for _ in range(FRAMES):
            began = clock()
            for _ in range(PACKETS):
                a.sendto(data, target)
            middle = clock()
            for _ in range(PACKETS):
                b.recvfrom(2048)
            sending += middle - began
            receiving += clock() - middle
        return sending / FRAMES / PACKETS * 1e6, receiving / FRAMES / PACKETS * 1e6


def calibration() -> float:
    began = time.thread_time()
    table: dict[int, int] = {}
    for number in range(20_000):
        table[number & 1023] = (number * 7 + 3) & 0xFFFF
    return (time.thread_time() - began) / 20_000 * 1e6


def main(rounds: int) -> None:
    pair = Pair()
    pair.run()
    rows: dict[str, list[float]] = {name: [] for name in ("send", "receive", "sendto", "recvfrom", "calibration")}
    for _ in range(rounds):
        for name, value in zip(rows, (*pair.run(), *pair.system(), calibration()), strict=True):
            rows[name].append(value)
    for name, values in rows.items():
        print(f"{name:12} {min(values):6.2f} best {statistics.median(values):6.2f} median")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 40)
