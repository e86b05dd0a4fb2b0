"""Ten videos of 2.5 Mbit/s through a LiveKit server from one of our clients to another, as encoded frames.

    python tests/bench/bench_videos.py [--videos N] [--seconds S] [--kbit K]

Needs a running server: LIVEKIT_URL, LIVEKIT_API_KEY, LIVEKIT_API_SECRET (default: one for development on loopback).
Prints one JSON line: what arrived, and the CPU of either process in per cent of one core.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
import uuid

import trio
from _shared import URL, cpu, token

import trio_client
from trio_client import LocalVideoTrack, TrackSubscribed

FPS = 30
# The head of a VP8 key frame of 1280 x 720: servers look at it.
KEYFRAME = b"\x10\x00\x00\x9d\x01\x2a\x00\x05\xd0\x02"


async def publish(room_name: str, videos: int, size: int) -> None:
    """Frames of equal size on every track, until killed."""
    async with trio_client.connect(URL, token(room_name, "source")) as room:
        tracks = [LocalVideoTrack(f"video{number}", width=1280, height=720) for number in range(videos)]
        for track in tracks:
            await room.local_participant.publish_track(track)
        print("ready", flush=True)
        body, due, told = bytes(range(256)) * (size // 256 + 1), trio.current_time(), 0.0
        while True:
            for track in tracks:
                head = KEYFRAME if track.keyframe_wanted else b"\x11\x00\x00"
                await track.write(head + body[: size - len(head)])
                due += 1 / FPS / videos
                await trio.sleep_until(due)
            if due > told + 1:
                told = due
                print(json.dumps({"cpu_s": cpu(), "at": time.monotonic()}), flush=True)


async def receive(room_name: str, videos: int, seconds: float) -> dict[str, float]:
    frames = size = lost = 0
    begun: set[str] = set()

    async def read(track: trio_client.RemoteTrack) -> None:
        nonlocal frames, size, lost
        async for frame in track.frames():
            frames += 1
            size += len(frame.data)
            lost += frame.lost
            begun.add(track.sid)

    async with trio_client.connect(URL, token(room_name, "sink")) as room:
        room.on(TrackSubscribed, lambda event: room.start_soon(read, event.track))
        with trio.fail_after(30):
            while len(begun) < videos:
                await trio.sleep(0.1)
        await trio.sleep(2)
        frames = size = lost = 0
        packets, began, before = room.stats().datagrams_received, time.monotonic(), cpu()
        await trio.sleep(seconds)
        used, elapsed = cpu() - before, time.monotonic() - began
        return {
            "cpu_percent": round(100 * used / elapsed, 1),
            "mbit_per_second": round(size * 8 / elapsed / 1e6, 2),
            "packets_per_second": round((room.stats().datagrams_received - packets) / elapsed),
            "frames_per_second": round(frames / elapsed, 1),
            "frames_lost": lost,
        }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--videos", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--kbit", type=int, default=2500)
    parser.add_argument("--publish", default="")
    args = parser.parse_args()
    if args.publish:
        trio.run(publish, args.publish, args.videos, args.kbit * 125 // FPS)
        return
    room = f"bench-{uuid.uuid4().hex[:8]}"
    command = [sys.executable, __file__, "--publish", room, "--videos", str(args.videos), "--kbit", str(args.kbit)]
    source = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert source.stdout
    try:
        source.stdout.readline()
        found = trio.run(receive, room, args.videos, args.seconds)
    finally:
        source.kill()
    told = [json.loads(line) for line in source.stdout if line.startswith("{")]
    if len(told) > 3:
        (first, last) = told[1], told[-1]
        used = (last["cpu_s"] - first["cpu_s"]) / (last["at"] - first["at"])
        found["publisher_cpu_percent"] = round(100 * used, 1)
    print(json.dumps({"videos": args.videos, "kbit": args.kbit, **found}))


if __name__ == "__main__":
    main()
