"""The whole receive path without a server: socket, DTLS, SCTP, channel message, under the Trio driver.

    python tests/bench/bench_receive_path.py [--size BYTES] [--seconds S]

Two processes hold a peer connection over loopback. The sender is a plain blocking loop, the receiver is the driver of
trio_client around a peer connection. Prints CPU microseconds of the receiver a packet: saturated, and at 50, 500 and
1500 packets a second, where waking up costs more than the packet.
"""

from __future__ import annotations

import argparse
import json
import os
import select
import subprocess
import sys
import time
from collections import deque
from typing import Any

import trio
from _shared import cpu

from sansio.base.contract import INF, NOW, Address, OpenUdp, Transmit
from sansio.base.entropy import Entropy
from sansio.dtls.identity import DtlsIdentity
from sansio.ice.candidate import Candidate
from sansio.peer.connection import PeerConnection
from sansio.peer.transport import TransportConnected
from sansio.sctp.channel import ChannelReadable
from trio_client._driver import Driver
from trio_client._ports import open_udp


def host(address: Address) -> Candidate:
    return Candidate("1", 1, "udp", 2130706431, *address, "host")


class Receiver:
    """As much of an engine as the driver needs: one port, one peer connection, messages counted."""

    def __init__(self) -> None:
        self.transmits: deque[Transmit] = deque()
        self.outbox: deque[Any] = deque([OpenUdp(1, "127.0.0.1")])
        self.peer = PeerConnection(
            Entropy(os.urandom(32)), DtlsIdentity.generate(time.time()), self.transmits, offerer=False
        )
        self.due = NOW
        self.opened = trio.Event()
        self.messages = 0
        self.packets = 0

    def port_handler(self, port: int) -> Any:
        receive = self.peer.transport.receive_datagram

        def handle(port: int, data: bytes, addr: Address, now: float) -> None:
            self.packets += 1
            receive(port, data, addr, now)
            self.due = NOW

        return handle

    def port_opened(self, port: int, address: Address, now: float) -> None:
        self.peer.add_local_candidate(host(address), port, now)
        self.opened.set()

    def advance(self, now: float) -> float:
        while self.due <= now:
            self.due = self.peer.advance(now)
            transport = self.peer.transport
            while self.peer.outbox:
                event = self.peer.outbox.popleft()
                if isinstance(event, ChannelReadable):
                    assert transport.channels is not None
                    while transport.channels.read(event.channel) is not None:
                        self.messages += 1
                    transport.touch_data()
                    self.due = NOW
        return self.due


class Nobody:
    def deliver(self, output: Any) -> None:
        raise AssertionError(output)

    def settled(self) -> None:
        pass


async def receive() -> None:
    engine = Receiver()
    driver = Driver(engine, Nobody())  # type: ignore[arg-type]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(driver.run)
        await driver.running.wait()
        driver.pump()
        await engine.opened.wait()
        offer = await trio.to_thread.run_sync(sys.stdin.readline)
        print(json.dumps(engine.peer.handle_offer(json.loads(offer), trio.current_time())), flush=True)
        engine.due = NOW
        driver.pump()
        while line := await trio.to_thread.run_sync(sys.stdin.readline):
            before = cpu(), engine.packets, engine.messages
            await trio.sleep(float(line))
            used, packets = cpu() - before[0], engine.packets - before[1]
            print(json.dumps([used, packets, engine.messages - before[2]]), flush=True)
        driver.shut()


class Sender:
    """A blocking driver: one socket, one peer connection that offers."""

    def __init__(self) -> None:
        self.transmits: deque[Transmit] = deque()
        self.port = open_udp("127.0.0.1")
        self.peer = PeerConnection(
            Entropy(os.urandom(32)), DtlsIdentity.generate(time.time()), self.transmits, offerer=True
        )
        self.peer.add_local_candidate(host(self.port.address), 1, time.monotonic())
        self.connected = False

    def turn(self, until: float) -> None:
        """Wait for datagrams or for the deadline, and do what is owed."""
        now = time.monotonic()
        due = self.peer.advance(now)
        while self.peer.outbox:
            self.connected |= isinstance(self.peer.outbox.popleft(), TransportConnected)
        while self.transmits:
            transmit = self.transmits.popleft()
            try:
                self.port.sendto(transmit.data, transmit.addr)
            except BlockingIOError:
                select.select([], [self.port._sock], [])
        select.select([self.port._sock], [], [], max(0.0, min(due, until, now + 1) - now))
        now = time.monotonic()
        for _ in range(64):
            try:
                data, addr = self.port.recvfrom(2048)
            except BlockingIOError:
                break
            self.peer.transport.receive_datagram(1, data, addr, now)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--receiver", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.receiver:
        trio.run(receive)
        return
    other = subprocess.Popen(
        [sys.executable, __file__, "--receiver"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert other.stdin is not None
    assert other.stdout is not None
    sender = Sender()
    offer, number = sender.peer.create_offer(time.monotonic())
    other.stdin.write(json.dumps(offer) + "\n")
    other.stdin.flush()
    sender.peer.handle_answer(json.loads(other.stdout.readline()), number, time.monotonic())
    channels = sender.peer.transport.channels
    assert channels is not None
    channel = channels.open("bench", now=time.monotonic())
    while not sender.connected:
        sender.turn(INF)
    body = bytes(args.size)
    for rate in (0, 1500, 500, 50):
        end = time.monotonic() + args.seconds + 0.5
        other.stdin.write(f"{args.seconds}\n")
        other.stdin.flush()
        due = time.monotonic()
        while (now := time.monotonic()) < end:
            if rate:
                if now >= due:
                    channels.send(channel, body, now)
                    due += 1 / rate
            else:
                while channels.writable(channel):
                    channels.send(channel, body, now)
            sender.peer.transport.touch_data()
            sender.turn(due if rate else INF)
        used, packets, messages = json.loads(other.stdout.readline())
        print(
            json.dumps(
                {
                    "rate": rate or "saturated",
                    "messages_s": round(messages / args.seconds),
                    "mbit_s": round(messages * args.size * 8 / args.seconds / 1e6, 1),
                    "cpu_us_per_packet": round(used / max(packets, 1) * 1e6, 1),
                    "cpu_us_per_message": round(used / max(messages, 1) * 1e6, 1),
                    "cpu_percent": round(100 * used / args.seconds, 2),
                }
            ),
            flush=True,
        )
    other.stdin.close()
    other.wait(10)


if __name__ == "__main__":
    main()
