"""Calls between our client and LiveKit's own, and from the server's API."""

from __future__ import annotations

import json
import urllib.error
from functools import partial
from typing import Any

import pytest
import trio

from trio_client import Room, RpcError, RpcErrorCode

from .ours import MODES, joined, run

LONG = "".join([f"{number:05} ä " for number in range(3000)])
"""27 000 bytes, more than version 1 takes."""


def serve(room: Room) -> None:
    """The methods that the peers have as well."""
    register = room.local_participant.register_rpc_method

    @register("echo")
    async def echo(data: Any) -> str:
        return str(data.payload)

    register("count", lambda data: str(len(data.payload)))
    register("caller", lambda data: f"{data.caller_identity} {data.response_timeout:g}")

    @register("refuse")
    async def refuse(data: Any) -> str:
        raise RpcError(4711, "no tea", data.payload)

    @register("break")
    async def out_of_order(data: Any) -> str:
        raise ValueError("out of order")

    @register("sleep")
    async def sleep(data: Any) -> None:
        await trio.sleep_forever()


async def both_know(ours: Room, peer: Any) -> None:
    """Whoever is not known yet is called in version 1."""
    await peer.await_("participant_connected")
    await ours.wait_until(lambda: "them" in ours.remote_participants)


async def failure(room: Room, method: str, payload: str = "", **how: Any) -> RpcError:
    with pytest.raises(RpcError) as caught:
        await room.local_participant.perform_rpc("them", method, payload, **how)
    return caught.value


@MODES
def test_we_call(server, room, other, single):
    peer = other("them")
    peer.call("serve")

    async def scenario() -> None:
        async with joined(server, room, single=single) as ours:
            me = ours.local_participant
            assert await me.perform_rpc("them", "echo", "at once") == "at once"
            await both_know(ours, peer)
            assert ours.remote_participants["them"].client_protocol >= 1
            assert await me.perform_rpc("them", "echo", "später") == "später"
            assert await me.perform_rpc("them", "echo", "") == ""
            assert await me.perform_rpc("them", "echo", LONG) == LONG
            assert await me.perform_rpc("them", "count", LONG) == str(len(LONG))  # the answer in the other version
            assert await me.perform_rpc("them", "caller", "", response_timeout=20.0) == "ours 20"

            answers = {}

            async def ask(number: int) -> None:
                answers[number] = await me.perform_rpc("them", "echo", str(number))

            async with trio.open_nursery() as nursery:
                for number in range(50):
                    nursery.start_soon(ask, number)
            assert answers == {number: str(number) for number in range(50)}

    run(scenario)


def test_we_call_and_it_fails(server, room, other):
    peer = other("them")
    peer.call("serve")

    async def scenario() -> None:
        async with joined(server, room) as ours:
            await both_know(ours, peer)
            error = await failure(ours, "refuse", "{}")
            assert (error.code, error.message, error.data) == (4711, "no tea", "{}")
            assert (await failure(ours, "break")).code == RpcErrorCode.APPLICATION_ERROR
            assert (await failure(ours, "nonsense")).code == RpcErrorCode.UNSUPPORTED_METHOD
            assert (await failure(ours, "sleep", response_timeout=2.0)).code == RpcErrorCode.RESPONSE_TIMEOUT

            async def leave() -> None:
                await trio.sleep(0.5)
                await peer.acall("leave")

            async with trio.open_nursery() as nursery:
                nursery.start_soon(leave)
                assert (await failure(ours, "sleep")).code == RpcErrorCode.RECIPIENT_DISCONNECTED

    run(scenario)


@MODES
def test_we_are_called(server, room, other, single):
    peer = other("them")

    async def scenario() -> None:
        async with joined(server, room, single=single) as ours:
            serve(ours)
            call = partial(peer.acall, "call", to="ours")
            assert await call(method="echo", payload="at once") == {"answer": "at once"}
            await both_know(ours, peer)
            assert await call(method="echo", payload="später") == {"answer": "später"}
            assert await call(method="echo", payload="") == {"answer": ""}
            assert await call(method="echo", payload=LONG) == {"answer": LONG}
            assert await call(method="count", payload=LONG) == {"answer": str(len(LONG))}
            who, seconds = (await call(method="caller", payload="", response_timeout=20))["answer"].split()
            left = 20.0 if peer.name.startswith("browser") else 13.0  # less 7 s for the way
            assert (who, float(seconds)) == ("them", left)
            assert await call(method="refuse", payload="{}") == {"code": 4711, "message": "no tea", "data": "{}"}
            assert (await call(method="break", payload=""))["code"] == RpcErrorCode.APPLICATION_ERROR
            assert (await call(method="nonsense", payload=""))["code"] == RpcErrorCode.UNSUPPORTED_METHOD
            assert (await call(method="sleep", payload="", response_timeout=2))["code"] == RpcErrorCode.RESPONSE_TIMEOUT

    run(scenario)


def test_the_caller_learns_that_we_leave(server, room, other):
    peer = other("them")

    async def scenario() -> None:
        results = []
        async with trio.open_nursery() as nursery, joined(server, room) as ours:
            serve(ours)
            await both_know(ours, peer)

            async def call() -> None:
                results.append(await peer.acall("call", to="ours", method="sleep", payload=""))

            nursery.start_soon(call)
            await trio.sleep(0.5)
        assert results[0]["code"] == RpcErrorCode.RECIPIENT_DISCONNECTED

    run(scenario)


def test_the_server_calls(server, room):
    def call(method: str, payload: str = "") -> str:
        found = server.api(
            "PerformRpc",
            room,
            destination_identity="ours",
            method=method,
            payload=payload,
            response_timeout_ms=3000,
        )
        return str(found.get("payload", ""))

    def refused(method: str) -> str:
        with pytest.raises(urllib.error.HTTPError) as caught:
            call(method)
        with caught.value:
            return str(json.load(caught.value)["msg"])

    async def scenario() -> None:
        async with joined(server, room) as ours:
            serve(ours)
            ask, refusal = partial(trio.to_thread.run_sync, call), partial(trio.to_thread.run_sync, refused)
            assert await ask("echo", "from the server") == "from the server"
            caller = (await ask("caller")).split()[0]
            assert caller not in (*ours.remote_participants, "", "ours")
            assert "4711: no tea" in await refusal("refuse")
            assert "1400" in await refusal("nonsense")
            assert "1500" in await refusal("break")

    run(scenario)


def test_ours_call_each_other(server, room):
    async def scenario() -> None:
        async with joined(server, room) as ours, joined(server, room, "them") as theirs:
            serve(theirs)
            await ours.wait_until(lambda: "them" in ours.remote_participants)
            peer = ours.remote_participants["them"]
            assert (peer.client_protocol, 2 in peer.capabilities) == (2, True)
            assert await ours.local_participant.perform_rpc("them", "echo", LONG) == LONG
            longer = LONG * 30
            assert await ours.local_participant.perform_rpc("them", "echo", longer) == longer

    run(scenario)
