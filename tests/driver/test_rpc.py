"""Remote procedure calls, as users make and answer them."""

from __future__ import annotations

import json
import logging

import pytest
import trio
import trio.testing

from sansio.room.rpc import RpcInvocation
from trio_client import (
    DisconnectedError,
    LocalProtocolError,
    ParticipantConnected,
    Reconnected,
    RpcError,
    RpcErrorCode,
    RpcInvocationData,
    Scenario,
)

from .running import run
from .simnet import sim_net
from .sweep import Cut, sweep


class Json:
    encode = staticmethod(json.dumps)
    decode = staticmethod(json.loads)


async def refused(room, identity, method, payload="x", **how):
    """The error of a call that fails."""
    with pytest.raises(RpcError) as caught:
        await room.local_participant.perform_rpc(identity, method, payload, **how)
    return caught.value


def test_calls_and_answers():
    async def main():
        async with sim_net() as net, net.connect("alice") as alice, net.connect("bob") as bob:
            seen = []

            @bob.local_participant.register_rpc_method("greet")
            async def greet(data: RpcInvocationData[str]) -> str:
                seen.append(data)
                await trio.sleep(0.5)
                return f"hello {data.caller_identity}, {data.payload} to you too"

            def reverse(data):
                return data.payload[::-1]

            assert bob.local_participant.register_rpc_method("reverse", reverse) is reverse
            start = trio.current_time()
            answer = await alice.local_participant.perform_rpc("bob", "greet", "good morning", response_timeout=20.0)
            assert answer == "hello alice, good morning to you too"
            assert 0.5 < trio.current_time() - start < 0.7
            (data,) = seen
            assert (data.caller_identity, data.response_timeout) == ("alice", 20.0)
            assert data.request_id
            assert await alice.local_participant.perform_rpc("bob", "reverse", "abc") == "cba"
            assert await alice.local_participant.perform_rpc("bob", "reverse") == ""

    run(main)


def test_methods_that_are_there_before_the_join():
    """Somebody calls at the first sight of a newcomer."""

    async def main():
        async with sim_net() as net, net.connect("alice") as alice:
            answers = []

            @alice.on(ParticipantConnected)
            async def call(event):
                answers.append(await alice.local_participant.perform_rpc(event.participant.identity, "m", "x"))

            async with net.connect("bob", rpc_methods={"m": lambda data: data.payload + "!"}):
                await trio.sleep(5)
            assert answers == ["x!"]

    run(main)


def test_many_calls_at_once_both_ways():
    async def main():
        async with sim_net() as net, net.connect("alice") as alice, net.connect("bob") as bob:
            answers = {}

            async def double(data):
                await trio.sleep(float(data.payload) / 100)
                return str(2 * int(data.payload))

            async def ask(caller, callee, number):
                answers[caller, number] = await caller.local_participant.perform_rpc(callee, "double", str(number))

            for room in (alice, bob):
                room.local_participant.register_rpc_method("double", double)
            async with trio.open_nursery() as nursery:
                for number in range(100):
                    nursery.start_soon(ask, alice, "bob", number)
                    nursery.start_soon(ask, bob, "alice", number)
            assert answers == {(room, n): str(2 * n) for room in (alice, bob) for n in range(100)}

    run(main)


def test_objects_through_a_codec():
    async def main():
        async with sim_net() as net, net.connect("alice") as alice, net.connect("bob") as bob:

            @bob.local_participant.register_rpc_method("sum", codec=Json)
            def total(data):
                return {"sum": sum(data.payload)}

            @bob.local_participant.register_rpc_method("later", codec=Json)
            async def later(data):
                await trio.sleep(0)
                return data.payload

            alice_self = alice.local_participant
            assert await alice_self.perform_rpc("bob", "sum", [1, 2, 3], codec=Json) == {"sum": 6}
            assert await alice_self.perform_rpc("bob", "later", None, codec=Json) is None
            assert (await refused(alice, "bob", "sum", "no json")).code == RpcErrorCode.APPLICATION_ERROR
            with pytest.raises(TypeError):
                await alice_self.perform_rpc("bob", "sum", {1, 2}, codec=Json)
            bob.local_participant.register_rpc_method("plain", lambda data: "no json")
            with pytest.raises(json.JSONDecodeError):
                await alice_self.perform_rpc("bob", "plain", 1, codec=Json)

    run(main)


def test_errors_of_handlers(caplog):
    async def main():
        async with sim_net() as net, net.connect("alice") as alice, net.connect("bob") as bob:
            register = bob.local_participant.register_rpc_method

            @register("picky")
            async def picky(data):
                raise RpcError(4711, "not today", "{}")

            @register("broken")
            async def broken(data):
                raise ZeroDivisionError("the secret of the house")

            @register("nursery")
            async def nursery(data):
                async with trio.open_nursery():
                    raise RpcError(4712, "from within")

            assert (await refused(alice, "bob", "nursery")).code == 4712
            register("broken at once", lambda data: 1 / 0)
            register("number", lambda data: 5)
            error = await refused(alice, "bob", "picky")
            assert (error.code, error.message, error.data) == (4711, "not today", "{}")
            assert caplog.records == []
            for method in ("broken", "broken at once", "number"):
                error = await refused(alice, "bob", method)
                assert (error.code, error.data) == (RpcErrorCode.APPLICATION_ERROR, "")
                assert "secret" not in error.message
            assert [record.exc_info[0] for record in caplog.records] == [
                ZeroDivisionError,
                ZeroDivisionError,
                LocalProtocolError,
            ]
            assert "'broken'" in caplog.messages[0]
            assert (await refused(alice, "bob", "unheard of")).code == RpcErrorCode.UNSUPPORTED_METHOD
            bob.local_participant.unregister_rpc_method("picky")
            bob.local_participant.unregister_rpc_method("picky")
            assert (await refused(alice, "bob", "picky")).code == RpcErrorCode.UNSUPPORTED_METHOD

    with caplog.at_level(logging.ERROR, "trio_client"):
        run(main)


def test_what_is_no_error_of_a_method_ends_the_room():
    async def main():
        async with sim_net() as net, net.connect("alice") as alice:

            def leave(data):
                raise SystemExit

            async def bob():
                async with net.connect("bob", rpc_methods={"leave": leave}):
                    error = await refused(alice, "bob", "leave")
                    assert error.code == RpcErrorCode.RECIPIENT_DISCONNECTED

            with pytest.raises(SystemExit):
                await bob()

    run(main)


def test_nobody_there_and_nobody_answering():
    async def main():
        async with sim_net() as net, net.connect("alice") as alice, net.connect("bob") as bob:
            start = trio.current_time()
            assert (await refused(alice, "ghost", "m")).code == RpcErrorCode.CONNECTION_TIMEOUT
            assert trio.current_time() - start == pytest.approx(7.0, abs=0.1)
            bob.local_participant.register_rpc_method("sleep", lambda data: trio.sleep_forever())
            start = trio.current_time()
            assert (await refused(alice, "bob", "sleep", response_timeout=3.0)).code == RpcErrorCode.RESPONSE_TIMEOUT
            assert trio.current_time() - start == pytest.approx(3.0, abs=0.1)
            assert (await refused(alice, "alice", "m")).code == RpcErrorCode.RECIPIENT_NOT_FOUND
            with pytest.raises(LocalProtocolError):
                await alice.local_participant.perform_rpc("bob", "m", b"bytes")

    run(main)


def test_the_handler_is_cancelled_at_its_deadline_and_when_the_caller_leaves():
    async def main():
        async with sim_net() as net, net.connect("bob") as bob:
            ends = []

            @bob.local_participant.register_rpc_method("sleep")
            async def sleep(data):
                try:
                    await trio.sleep_forever()
                finally:
                    ends.append((data.payload, trio.current_time()))

            async with net.connect("alice") as alice:
                start = trio.current_time()
                await refused(alice, "bob", "sleep", "deadline", response_timeout=9.0)
                await trio.sleep(1)
                ((_, when),) = ends
                assert when - start == pytest.approx(9.0, abs=0.1)
                alice.start_soon(alice.local_participant.perform_rpc, "bob", "sleep", "left")
                await trio.sleep(1)
                assert len(ends) == 1
            await trio.sleep(1)
            assert [payload for payload, _ in ends] == ["deadline", "left"]

    run(main)


def test_the_other_side_leaves_and_we_leave():
    async def main():
        async with sim_net() as net, net.connect("alice") as alice:
            ended = []

            async def sleep(data):
                try:
                    await trio.sleep_forever()
                finally:
                    ended.append(trio.current_time())

            async with net.connect("bob") as bob:
                bob.local_participant.register_rpc_method("sleep", sleep)

                async def call():
                    start = trio.current_time()
                    error = await refused(alice, "bob", "sleep")
                    assert error.code == RpcErrorCode.RECIPIENT_DISCONNECTED
                    assert trio.current_time() - start < 2

                alice.start_soon(call)
                await trio.sleep(1)
            await trio.sleep(1)
            assert len(ended) == 1

            async def cut_off():
                with pytest.raises(DisconnectedError):
                    await alice.local_participant.perform_rpc("bob", "sleep")

            async with trio.open_nursery() as nursery:
                nursery.start_soon(cut_off)
                await trio.sleep(0.1)
                await alice.disconnect()
            with pytest.raises(DisconnectedError):
                await alice.local_participant.perform_rpc("bob", "sleep")

    run(main)


def test_handlers_end_with_the_session():
    async def main():
        async with sim_net() as net, net.connect("alice") as alice, net.connect("bob") as bob:
            ended = trio.Event()

            @bob.local_participant.register_rpc_method("sleep")
            async def sleep(data):
                try:
                    await trio.sleep_forever()
                finally:
                    ended.set()

            async def call():
                with pytest.raises(RpcError):
                    await alice.local_participant.perform_rpc("bob", "sleep")

            alice.start_soon(call)
            await trio.sleep(1)
            await bob.disconnect()
            with trio.fail_after(1):
                await ended.wait()

    run(main)


def test_calls_while_the_room_closes_are_left_to_our_leaving():
    async def main():
        async with sim_net() as net:
            called = []

            async def method(data):
                called.append(data)

            async with net.connect("bob") as bob:
                bob.local_participant.register_rpc_method("m", method)
                desk = bob._session.rpc
                (handler,) = bob._session.engine._rpc.methods.values()
                invocation = RpcInvocation("id", "alice", "m", "", 15.0, handler, 0.0)
                tasks = bob._session.tasks
                bob._session.tasks = _Closed()
                desk.serve(invocation)
                bob._session.tasks = tasks
            desk.serve(invocation)
            assert called == []

    run(main)


class _Closed:
    def start_soon(self, *args, **kwargs):
        raise RuntimeError("Nursery is closed to new arrivals")


def test_registering_nonsense():
    async def main():
        async with sim_net() as net, net.connect("alice") as alice:
            with pytest.raises(LocalProtocolError, match="has a name"):
                alice.local_participant.register_rpc_method("", print)
            with pytest.raises(LocalProtocolError, match="is a function"):
                alice.local_participant.register_rpc_method("m", 5)

    run(main)


def test_a_call_over_a_resume():
    """The link breaks while a call is under way: it is answered all the same, once."""

    async def main():
        async with sim_net() as net, net.connect("alice") as alice, net.connect("bob") as bob:
            times = []

            @bob.local_participant.register_rpc_method("slow")
            async def slow(data):
                times.append(data.payload)
                await trio.sleep(3)
                return "done"

            async def call():
                assert await alice.local_participant.perform_rpc("bob", "slow", "x") == "done"
                times.append("answered")

            async with trio.open_nursery() as nursery:
                nursery.start_soon(call)
                await trio.sleep(1)
                net.loss = lambda data: True
                for link in list(net.links.values()):
                    link.end("cut")
                await trio.sleep(0.5)
                net.loss = lambda data: False
            assert times == ["x", "answered"]

    run(main)


def test_a_new_join_fails_calls_under_way():
    async def main():
        async with sim_net() as net, net.connect("alice") as alice, net.connect("bob") as bob:
            cancelled = trio.Event()

            @bob.local_participant.register_rpc_method("slow")
            async def slow(data):
                try:
                    await trio.sleep(10)
                finally:
                    cancelled.set()

            async def call():
                assert (await refused(alice, "bob", "slow")).code == RpcErrorCode.SEND_FAILED

            async with trio.open_nursery() as nursery:
                nursery.start_soon(call)
                await trio.sleep(1)
                await alice.simulate(Scenario.FULL_RECONNECT)
            await alice.wait_for(Reconnected)
            with trio.fail_after(5):
                await cancelled.wait()
            bob.local_participant.register_rpc_method("slow", lambda data: "quick")
            assert await alice.local_participant.perform_rpc("bob", "slow") == "quick"

    run(main)


def test_cancelling_a_call():
    async def scenario(cut: Cut) -> None:
        async with sim_net() as net, net.connect("alice") as alice, net.connect("bob") as bob:
            answers = []

            @bob.local_participant.register_rpc_method("slow")
            async def slow(data):
                await trio.sleep(0.1)
                return data.payload

            async def call():
                answers.append(await alice.local_participant.perform_rpc("bob", "slow", "x"))

            await cut(call)
            assert cut.cancelled or answers == ["x"]
            await trio.sleep(1)
            assert not alice._session._operations
            for room in (alice, bob):
                books = room._session.engine.diagnostics()["rpc"]
                assert (books["calls"], books["invocations"]) == (0, 0)
            assert await alice.local_participant.perform_rpc("bob", "slow", "again") == "again"

    assert sweep(scenario, everybody=True, step=5, fine=1) >= 4
