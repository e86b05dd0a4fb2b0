"""An aiortc SCTP transport with data channels over a bare UDP socket. A program, not a test.

Arguments: role ("client" or "server"), and one packet in how many it loses in each direction (0: none).
Prints its port; reads ours. Every message comes back on the channel it came on; texts come back as texts. The message
"close" closes the channel. It opens a channel "theirs" with messages of several sizes, and tells by lines what happens.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys

from aiortc import RTCDataChannel, RTCDataChannelParameters, RTCSctpCapabilities, RTCSctpTransport

SIZES = (1, 100, 1200, 5000, 60_000)


class Wire(asyncio.DatagramProtocol):
    """Stands for the DTLS transport."""

    def __init__(self, role: str, lose: int) -> None:
        self._role = role
        self.state = "connected"
        self.lose = lose
        self.random = random.Random(1)
        self.receiver = None
        self.queue: asyncio.Queue[bytes] = asyncio.Queue()

    def connection_made(self, transport) -> None:
        self.udp = transport

    def lost(self) -> bool:
        return bool(self.lose) and self.random.randrange(self.lose) == 0

    def datagram_received(self, data, addr) -> None:
        if not self.lost():
            self.queue.put_nowait(data)

    async def run(self) -> None:
        while True:
            data = await self.queue.get()
            await self.receiver._handle_data(data)

    def _register_data_receiver(self, receiver) -> None:
        self.receiver = receiver

    def _unregister_data_receiver(self, receiver) -> None:
        pass

    async def _send_data(self, data: bytes) -> None:
        if not self.lost():
            self.udp.sendto(data, self.peer)


def tell(**what: object) -> None:
    print(json.dumps(what), flush=True)


async def main(role: str, lose: int) -> None:
    loop = asyncio.get_running_loop()
    _, wire = await loop.create_datagram_endpoint(lambda: Wire(role, lose), local_addr=("127.0.0.1", 0))
    tell(port=wire.udp.get_extra_info("sockname")[1])
    wire.peer = ("127.0.0.1", json.loads(await asyncio.to_thread(sys.stdin.readline)))
    sctp = RTCSctpTransport(wire)

    @sctp.on("datachannel")
    def opened(channel: RTCDataChannel) -> None:
        tell(
            opened=channel.label,
            id=channel.id,
            ordered=channel.ordered,
            retransmits=channel.maxRetransmits,
            lifetime=channel.maxPacketLifeTime,
            protocol=channel.protocol,
        )

        @channel.on("message")
        def message(data) -> None:
            if data == b"close":
                channel.close()
            else:
                channel.send(data)

        @channel.on("close")
        def closed() -> None:
            tell(closed=channel.label)

    await sctp.start(RTCSctpCapabilities(maxMessageSize=65535), 5000)
    task = asyncio.create_task(wire.run())
    theirs = RTCDataChannel(sctp, RTCDataChannelParameters(label="theirs", protocol="p"))

    @theirs.on("open")
    def confirmed() -> None:
        tell(confirmed=theirs.id)
        for size in SIZES:
            theirs.send(bytes([size & 255]) * size)
        theirs.send("a text")

    @theirs.on("close")
    def closed() -> None:
        tell(closed="theirs")

    line = await asyncio.to_thread(sys.stdin.readline)
    if line:
        await sctp.stop()
    task.cancel()


asyncio.run(main(sys.argv[1], int(sys.argv[2])))
