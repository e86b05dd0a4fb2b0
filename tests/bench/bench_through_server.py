"""Reliable data from one of our clients to another through a LiveKit server, each in a process of its own.

    python tests/bench/bench_through_server.py [--size BYTES] [--count N] [--rate MESSAGES_A_SECOND]

Needs a running server: LIVEKIT_URL, LIVEKIT_API_KEY, LIVEKIT_API_SECRET (default: one for development on loopback).
Prints one JSON line: throughput, CPU seconds a MB on both sides, and whether every message came once and in order.
"""

from __future__ import annotations

import argparse
import json
import struct
import subprocess
import sys
import time
import uuid

import trio
from _shared import URL, cpu, token

import trio_client
from trio_client import RoomEvent


async def receive(room_name: str, count: int) -> None:
    """Count messages; say when all are here, or what is missing after five seconds of silence."""
    numbers: list[int] = []
    done = trio.Event()
    size = 0

    def on_data(payload: bytes, *_: object) -> None:
        nonlocal size
        numbers.append(struct.unpack_from("<I", payload)[0])
        size += len(payload)
        if len(numbers) == count:
            done.set()

    async with trio_client.connect(URL, token(room_name, "sink"), on={RoomEvent.DataReceived: on_data}) as room:
        print("ready", flush=True)
        before = cpu()
        seen = -1
        while not done.is_set():
            with trio.move_on_after(5):
                await done.wait()
            if seen == len(numbers) and seen > 0:
                break
            seen = len(numbers)
        last, used = time.monotonic(), cpu() - before
        print(
            json.dumps(
                {
                    "last": last,
                    "bytes": size,
                    "received": len(numbers),
                    "exactly_once_in_order": numbers == list(range(count)),
                    "cpu_s_per_mb": round(used / max(size, 1) * 1e6, 4),
                    "core": room.diagnostics() if len(numbers) != count else "",
                }
            ),
            flush=True,
        )


async def send(room_name: str, count: int, size: int, rate: float) -> None:
    async with trio_client.connect(URL, token(room_name, "flood")) as room:
        sink = subprocess.Popen(
            [sys.executable, __file__, "--sink", room_name, "--count", str(count)], stdout=subprocess.PIPE, text=True
        )
        assert sink.stdout is not None
        assert (await trio.to_thread.run_sync(sink.stdout.readline)) == "ready\n"
        await trio.sleep(1)
        body = bytes(size - 4)
        publish = room.local_participant.publish_data
        start, before = time.monotonic(), cpu()
        for number in range(count):
            await publish(struct.pack("<I", number) + body)
            if rate:
                await trio.sleep(max(0.0, start + (number + 1) / rate - time.monotonic()))
        sent = time.monotonic()
        found = json.loads(await trio.to_thread.run_sync(sink.stdout.readline))
        used = cpu() - before
        sink.wait(20)
    seconds = found.pop("last") - start
    total = found.pop("bytes")
    result = {
        "size": size,
        "count": count,
        "seconds": round(seconds, 3),
        "publishing_seconds": round(sent - start, 3),
        "mbit_s": round(total * 8 / seconds / 1e6, 1),
        "sender_cpu_s_per_mb": round(used / max(total, 1) * 1e6, 4),
        "receiver_cpu_s_per_mb": found.pop("cpu_s_per_mb"),
        **found,
    }
    print(json.dumps({key: value for key, value in result.items() if value != ""}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=1000)
    parser.add_argument("--count", type=int, default=20000)
    parser.add_argument("--rate", type=float, default=0.0)
    parser.add_argument("--sink", metavar="ROOM", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.sink:
        trio.run(receive, args.sink, args.count)
    else:
        trio.run(send, uuid.uuid4().hex, args.count, args.size, args.rate)


if __name__ == "__main__":
    main()
