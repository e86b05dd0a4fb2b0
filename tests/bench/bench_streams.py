"""A byte stream from one of our clients to another through a LiveKit server, each in a process of its own.

    python tests/bench/bench_streams.py [--size BYTES] [--runs N] [--from native] [--to native]

Needs a running server: LIVEKIT_URL, LIVEKIT_API_KEY, LIVEKIT_API_SECRET (default: one for development on loopback).
Each run sends the same bytes, once as a stream and once as plain reliable packets of 15 000 bytes, in turn, over the
same connections. Prints one JSON line: Mbit/s of both (median and best), their ratio, and CPU seconds a MB. ``native``
puts LiveKit's own client (the ``livekit`` wheel) on that side.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import statistics
import subprocess
import sys
import time
import uuid
from typing import Any

import trio
from _shared import URL, cpu, token

import trio_client
from trio_client import RoomEvent

CHUNK = 15_000


async def receive(room_name: str, size: int) -> None:
    """Take either form; say when it is all there."""
    left, before, digest = size, cpu(), hashlib.sha256()

    def done(kind: str) -> None:
        nonlocal left, before, digest
        used = cpu() - before
        print(json.dumps({"kind": kind, "at": time.monotonic(), "cpu": used, "sha": digest.hexdigest()}), flush=True)
        left, before, digest = size, cpu(), hashlib.sha256()

    def on_data(payload: bytes, *_: object) -> None:
        nonlocal left
        left -= len(payload)
        digest.update(payload)
        if left <= 0:
            done("packets")

    async def on_stream(reader: trio_client.ByteStreamReader, _: str) -> None:
        async for piece in reader:
            digest.update(piece)
        done("stream")

    async with trio_client.connect(URL, token(room_name, "sink"), on={RoomEvent.DataReceived: on_data}) as room:
        room.register_byte_stream_handler("bench", on_stream)
        print("ready", flush=True)
        await trio.sleep_forever()


async def send(room_name: str, size: int, runs: int, sink: subprocess.Popen[str]) -> None:
    assert sink.stdout
    data, figures = os.urandom(size), Figures(size)
    async with trio_client.connect(URL, token(room_name, "source")) as room:
        me = room.local_participant
        await room.wait_until(lambda: "sink" in room.remote_participants)
        await trio.sleep(1)
        for run in range(runs + 1):
            for kind in ("stream", "packets"):
                start, before = time.monotonic(), cpu()
                if kind == "stream":
                    async with me.stream_bytes("bench", topic="bench", total_size=size) as writer:
                        await writer.write(data)
                else:
                    for offset in range(0, size, CHUNK):
                        await me.publish_data(data[offset : offset + CHUNK])
                told = json.loads(await trio.to_thread.run_sync(sink.stdout.readline))
                figures.add(run, kind, told, data, start, cpu() - before)
    figures.print()


async def native_receive(room_name: str, size: int) -> None:
    """The same with LiveKit's own client."""
    from livekit import rtc

    room, tasks = rtc.Room(), set()
    left, before, digest = size, cpu(), hashlib.sha256()

    def done(kind: str) -> None:
        nonlocal left, before, digest
        used = cpu() - before
        print(json.dumps({"kind": kind, "at": time.monotonic(), "cpu": used, "sha": digest.hexdigest()}), flush=True)
        left, before, digest = size, cpu(), hashlib.sha256()

    def on_data(packet: rtc.DataPacket) -> None:
        nonlocal left
        left -= len(packet.data)
        digest.update(packet.data)
        if left <= 0:
            done("packets")

    async def read(reader: rtc.ByteStreamReader) -> None:
        async for piece in reader:
            digest.update(piece)
        done("stream")

    def on_stream(reader: rtc.ByteStreamReader, _: str) -> None:
        tasks.add(asyncio.ensure_future(read(reader)))

    room.on("data_received", on_data)
    room.register_byte_stream_handler("bench", on_stream)
    await room.connect(URL, token(room_name, "sink"))
    print("ready", flush=True)
    await asyncio.sleep(3600)


async def native_send(room_name: str, size: int, runs: int, sink: subprocess.Popen[str]) -> None:
    from livekit import rtc

    assert sink.stdout
    data, figures = os.urandom(size), Figures(size)
    room = rtc.Room()
    await room.connect(URL, token(room_name, "source"))
    me = room.local_participant
    await asyncio.sleep(4)
    for run in range(runs + 1):
        for kind in ("stream", "packets"):
            start, before = time.monotonic(), cpu()
            if kind == "stream":
                writer = await me.stream_bytes("bench", topic="bench", total_size=size)
                await writer.write(data)
                await writer.aclose()
            else:
                for offset in range(0, size, CHUNK):
                    await me.publish_data(data[offset : offset + CHUNK])
            told = json.loads(await asyncio.to_thread(sink.stdout.readline))
            figures.add(run, kind, told, data, start, cpu() - before)
    await room.disconnect()
    figures.print()


class Figures:
    """What was measured. The first run warms up, and does not count."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.found: dict[str, list[float]] = {"stream": [], "packets": []}
        self.cpus: dict[str, list[float]] = {"stream": [], "packets": [], "stream sent": [], "packets sent": []}

    def add(self, run: int, kind: str, told: dict[str, Any], data: bytes, start: float, used: float) -> None:
        assert (told["kind"], told["sha"]) == (kind, hashlib.sha256(data).hexdigest())
        if run:
            self.found[kind].append(self.size * 8 / (told["at"] - start) / 1e6)
            self.cpus[kind].append(told["cpu"] / self.size * 1e6)
            self.cpus[f"{kind} sent"].append(used / self.size * 1e6)

    def print(self) -> None:
        median = {kind: statistics.median(figures) for kind, figures in self.found.items()}
        print(
            json.dumps(
                {
                    "bytes": self.size,
                    "stream_mbit_s": round(median["stream"], 1),
                    "packets_mbit_s": round(median["packets"], 1),
                    "stream_best": round(max(self.found["stream"]), 1),
                    "packets_best": round(max(self.found["packets"]), 1),
                    "ratio": round(median["stream"] / median["packets"], 3),
                    "cpu_s_per_mb": {kind: round(statistics.median(used), 4) for kind, used in self.cpus.items()},
                }
            )
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--size", type=int, default=5_000_000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--from", dest="source", choices=["ours", "native"], default="ours")
    parser.add_argument("--to", choices=["ours", "native"], default="ours")
    parser.add_argument("--sink", default="")
    options = parser.parse_args()
    if options.sink:
        if options.to == "native":
            asyncio.run(native_receive(options.sink, options.size))
        else:
            trio.run(receive, options.sink, options.size)
        return
    room = f"bench-{uuid.uuid4().hex[:8]}"
    command = [sys.executable, __file__, "--size", str(options.size), "--sink", room, "--to", options.to]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as sink:
        assert sink.stdout
        assert sink.stdout.readline().strip() == "ready"
        try:
            if options.source == "native":
                asyncio.run(native_send(room, options.size, options.runs, sink))
            else:
                trio.run(send, room, options.size, options.runs, sink)
        finally:
            sink.kill()


if __name__ == "__main__":
    main()
