"""Round trips of remote procedure calls through a LiveKit server: LiveKit's own client and ours, in turns, in one run.

Every pair of caller and callee takes its turn in every round: native-native, ours-native, native-ours, ours-ours.

    python tests/bench/bench_rpc.py [--calls N] [--rounds N] [--size BYTES] [--rate CALLS_A_SECOND]

Needs a running server: LIVEKIT_URL, LIVEKIT_API_KEY, LIVEKIT_API_SECRET (default: one for development on loopback), and
the ``livekit`` wheel for the comparison. Caller and callee are a process each; the method gives its payload back. Calls
follow each other, ``--rate`` a second at most. Prints a JSON line a pair and round, and one with
the medians over the rounds and their ratios to native-native.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import time
import uuid
from collections.abc import Awaitable, Callable

from _shared import URL, token

PAIRS = ("native-native", "ours-native", "native-ours", "ours-ours")
"""Caller and callee."""
WARM_UP = 30
SETTLED = 4.0
"""Seconds after joining: until then the others may not know us."""


async def measure(
    call: Callable[[str], Awaitable[str]], sleep: Callable[[float], Awaitable[None]], args: argparse.Namespace
) -> None:
    """Call again and again; print the milliseconds of each call."""
    payload = "x" * args.size
    times = []
    for number in range(WARM_UP + args.calls):
        begin = time.perf_counter()
        answer = await call(payload)
        took = time.perf_counter() - begin
        assert answer == payload
        if number >= WARM_UP:
            times.append(took * 1000)
        if args.rate:
            await sleep(max(0.0, 1 / args.rate - took))
    print(json.dumps(times), flush=True)


# ------------------------------------------------------------------ one process: ours


def ours(role: str, room_name: str, args: argparse.Namespace) -> None:
    import trio

    import trio_client

    async def main() -> None:
        async with trio_client.connect(URL, token(room_name, role)) as room:

            async def echo(data: trio_client.RpcInvocationData[str]) -> str:
                return data.payload

            me = room.local_participant
            me.register_rpc_method("echo", echo)
            print("ready", flush=True)
            if role == "callee":
                await trio.to_thread.run_sync(sys.stdin.read)
                return
            await trio.sleep(SETTLED)
            await measure(lambda payload: me.perform_rpc("callee", "echo", payload), trio.sleep, args)

    trio.run(main)


# ------------------------------------------------------------------ one process: LiveKit's


def native(role: str, room_name: str, args: argparse.Namespace) -> None:
    from livekit import rtc

    async def main() -> None:
        room = rtc.Room()
        await room.connect(URL, token(room_name, role))
        me = room.local_participant

        async def echo(data: rtc.RpcInvocationData) -> str:
            return data.payload

        me.register_rpc_method("echo", echo)
        print("ready", flush=True)
        if role == "callee":
            await asyncio.to_thread(sys.stdin.read)
        else:
            await asyncio.sleep(SETTLED)

            async def call(payload: str) -> str:
                return await me.perform_rpc(destination_identity="callee", method="echo", payload=payload)

            await measure(call, asyncio.sleep, args)
        await room.disconnect()

    asyncio.run(main())


# ------------------------------------------------------------------ all of them


def run(caller: str, callee: str, args: argparse.Namespace) -> list[float]:
    room = f"bench-{uuid.uuid4().hex[:8]}"
    common = [sys.executable, __file__, "--room", room, "--calls", str(args.calls)]
    common += ["--size", str(args.size), "--rate", str(args.rate)]
    answering = subprocess.Popen(
        [*common, "--stack", callee, "--role", "callee"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert answering.stdout
    answering.stdout.readline()
    done = subprocess.run(
        [*common, "--stack", caller, "--role", "caller"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        timeout=300,
        check=True,
    )
    answering.communicate()
    times: list[float] = json.loads(done.stdout.splitlines()[1])
    return times


def figures(times: list[float]) -> dict[str, float]:
    ordered = sorted(times)
    return {"median_ms": round(statistics.median(ordered), 3), "p99_ms": round(ordered[len(ordered) * 99 // 100], 3)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--size", type=int, default=100)
    parser.add_argument("--rate", type=float, default=0.0)
    parser.add_argument("--stack", choices=("native", "ours"), help=argparse.SUPPRESS)
    parser.add_argument("--role", help=argparse.SUPPRESS)
    parser.add_argument("--room", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.role:
        {"native": native, "ours": ours}[args.stack](args.role, args.room, args)
        return
    found: dict[str, list[dict[str, float]]] = {pair: [] for pair in PAIRS}
    for number in range(args.rounds):
        for pair, rounds in found.items():
            rounds.append(figures(run(*pair.split("-"), args)))
            print(json.dumps({"round": number + 1, "pair": pair, **rounds[-1]}), flush=True)
    medians = {
        pair: {name: round(statistics.median([one[name] for one in rounds]), 3) for name in rounds[0]}
        for pair, rounds in found.items()
    }
    base = medians["native-native"]["median_ms"]
    ratios = {pair: round(values["median_ms"] / base, 3) for pair, values in medians.items()}
    print(json.dumps({"calls": args.calls, "size": args.size, **medians, "ratios": ratios}))


if __name__ == "__main__":
    main()
