"""An aiortc DTLS endpoint over a UDP socket, driven by lines on standard input and output. A program, not a test.

Arguments: role ("client" or "server"), and how many of its first datagrams with a ChangeCipherSpec it loses.
Prints its port and fingerprint; reads our port and fingerprint; then echoes data, and SRTP with every byte of the
payload inverted, until its input ends.
"""

from __future__ import annotations

import asyncio
import json
import sys

from aiortc.rtcdtlstransport import RTCCertificate, RTCDtlsFingerprint, RTCDtlsParameters, RTCDtlsTransport


class Wire(asyncio.DatagramProtocol):
    """Stands for the ICE transport."""

    def __init__(self, role: str, lose: int) -> None:
        self.role = "controlling" if role == "server" else "controlled"
        self.state = "completed"
        self.lose = lose
        self.queue: asyncio.Queue[bytes] = asyncio.Queue()
        self.peer = ("127.0.0.1", 0)

    def connection_made(self, transport) -> None:
        self.transport = transport

    def datagram_received(self, data, addr) -> None:
        self.queue.put_nowait(data)

    async def _recv(self) -> bytes:
        return await self.queue.get()

    async def _send(self, data: bytes) -> None:
        if self.lose and b"\x14\xfe\xfd\x00\x00" in data:
            self.lose -= 1
            return
        self.transport.sendto(data, self.peer)


class Echo:
    """Receives what comes over the association."""

    def __init__(self, dtls: RTCDtlsTransport) -> None:
        self.dtls = dtls

    async def _handle_data(self, data: bytes) -> None:
        if data != b"early":  # that may come before it can answer
            await self.dtls._send_data(b"echo " + data)


async def main(role: str, lose: int) -> None:
    loop = asyncio.get_running_loop()
    _, wire = await loop.create_datagram_endpoint(lambda: Wire(role, lose), local_addr=("127.0.0.1", 0))
    dtls = RTCDtlsTransport(wire, [RTCCertificate.generateCertificate()])
    (fingerprint, *_) = dtls.getLocalParameters().fingerprints
    port = wire.transport.get_extra_info("sockname")[1]
    print(json.dumps({"port": port, "fingerprint": [fingerprint.algorithm, fingerprint.value]}), flush=True)
    theirs = json.loads(await asyncio.to_thread(sys.stdin.readline))
    wire.peer = ("127.0.0.1", theirs["port"])
    dtls._register_data_receiver(Echo(dtls))

    async def echo_rtp(data: bytes, arrival_time_ms: int) -> None:
        await dtls._send_rtp(data[:12] + bytes(255 - byte for byte in data[12:]))

    async def echo_rtcp(data: bytes) -> None:
        await dtls._send_rtp(data[:8] + bytes(255 - byte for byte in data[8:]))

    dtls._handle_rtp_data = echo_rtp
    dtls._handle_rtcp_data = echo_rtcp
    await dtls.start(RTCDtlsParameters(fingerprints=[RTCDtlsFingerprint(*theirs["fingerprint"])]))
    print(json.dumps({"state": dtls.state, "profile": dtls._ssl.get_selected_srtp_profile().decode()}), flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    await dtls.stop()
    await asyncio.sleep(0.05)
    print(json.dumps({"state": dtls.state}), flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
