"""A whole peer connection of aiortc on 127.0.0.1, driven by lines on standard input and output. A program, not a test.

Argument: "offer" or "answer". Prints its description and reads ours, or the other way round. It publishes a tone of
523 Hz and a green picture, and echoes what comes over data channels; one of its own it calls "theirs". Prints the
frequency of the sound and the middle of the picture that it gets, a second after the first. Ends with its input.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import math
import sys
from array import array

import aioice.ice
import av
from aiortc import (
    AudioStreamTrack,
    RTCBundlePolicy,
    RTCConfiguration,
    RTCPeerConnection,
    RTCSessionDescription,
    VideoStreamTrack,
)

HZ = 523


class Tone(AudioStreamTrack):
    """In place of its silence."""

    async def recv(self) -> av.AudioFrame:
        frame = await super().recv()
        numbers = range(frame.pts, frame.pts + frame.samples)
        wave = array("h", [round(9000 * math.sin(math.tau * HZ * n / frame.sample_rate)) for n in numbers])
        frame.planes[0].update(wave.tobytes())
        return frame


def say(**found: object) -> None:
    print(json.dumps(found), flush=True)


async def measure(track) -> None:
    """What comes by a track of ours."""
    if track.kind == "audio":
        for _ in range(50):
            await track.recv()
        samples, rate = array("h"), 0
        for _ in range(25):
            frame = await track.recv()
            rate = frame.sample_rate
            samples.extend(array("h", bytes(frame.planes[0])[: frame.samples * 4])[:: len(frame.layout.channels)])
        crossings = sum([(a < 0) != (b < 0) for a, b in itertools.pairwise(samples)])
        say(hz=crossings / 2 / (len(samples) / rate))
    else:
        for _ in range(15):
            frame = await track.recv()
        say(luma=bytes(frame.planes[0])[frame.height // 2 * frame.planes[0].line_size + frame.width // 2])


async def main(role: str) -> None:
    aioice.ice.get_host_addresses = lambda use_ipv4, use_ipv6: ["127.0.0.1"]
    # by default, it loses its transport where the first section is for data and a kind of media has two
    connection = RTCPeerConnection(RTCConfiguration(iceServers=[], bundlePolicy=RTCBundlePolicy.MAX_BUNDLE))
    tasks = []

    @connection.on("track")
    def _(track) -> None:
        tasks.append(asyncio.ensure_future(measure(track)))

    @connection.on("datachannel")
    def _(channel) -> None:
        channel.on("message", lambda message: channel.send(b"echo " + message))

    async def read() -> dict:
        return json.loads(await asyncio.to_thread(sys.stdin.readline))

    if role == "answer":
        await connection.setRemoteDescription(RTCSessionDescription((await read())["sdp"], "offer"))
    for track in (Tone(), VideoStreamTrack()):
        connection.addTrack(track)
    theirs = None
    if role == "answer":
        await connection.setLocalDescription(await connection.createAnswer())
        say(sdp=connection.localDescription.sdp)
    else:
        theirs = connection.createDataChannel("theirs")
        theirs.on("open", lambda: theirs.send("opened by them"))
        await connection.setLocalDescription(await connection.createOffer())
        say(sdp=connection.localDescription.sdp)
        await connection.setRemoteDescription(RTCSessionDescription((await read())["sdp"], "answer"))
    await asyncio.to_thread(sys.stdin.readline)
    await connection.close()
    say(state=connection.connectionState)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
