"""A token source that is asked again when a reconnect needs a token."""

from __future__ import annotations

import json

import pytest
import trio

from sansio.sfu.token import Claims, mint
from trio_client import Disconnected, Reconnected, ReconnectPolicy, TokenSource

from .running import run
from .simnet import UNIX, SimNet, sim_net
from .sweep import Cut, sweep


def token(ttl: float) -> str:
    return mint(Claims("alice", "room", "key"), "secret", UNIX + trio.current_time(), ttl)


async def cut_link(net: SimNet) -> None:
    net.all_links[-1].end("cut")
    await trio.testing.wait_all_tasks_blocked()


def scripted(*answers: object) -> tuple[TokenSource, list[float]]:
    """A source that gives these one after the other: tokens by their seconds, anything else as it is; and when."""
    script, asked = list(answers), []

    async def source() -> str:
        asked.append(trio.current_time())
        answer = script.pop(0)
        await trio.sleep(0.2)
        if isinstance(answer, Exception):
            raise answer
        return token(answer) if isinstance(answer, float) else answer  # type: ignore[return-value]

    return source, asked


def test_the_source_is_asked_again_when_its_token_has_ended():
    async def main():
        source, asked = scripted(60.0, OSError("no route"), 5, "two words", 60.0)
        async with sim_net(refresh_tokens=False) as net, net.connect("alice", token=source) as alice:
            await trio.sleep(100)
            async with alice.events(Reconnected) as events:
                await cut_link(net)
                assert (await anext(aiter(events))).resumed
            assert len(asked) == 5
            assert "token" not in json.loads(alice.diagnostics())["core"]["transports"]

    run(main)


def test_a_source_that_does_not_answer():
    async def main():
        first = True

        async def source() -> str:
            nonlocal first
            if not first:
                await trio.sleep_forever()
            first = False
            return token(60.0)

        policy = ReconnectPolicy(attempts=2)
        async with sim_net(refresh_tokens=False) as net, net.connect("alice", token=source, reconnect=policy) as alice:
            await trio.sleep(100)
            async with alice.events(Disconnected) as events:
                await cut_link(net)
                event = await anext(aiter(events))
        assert event.detail == "The token source failed: no answer within 15 s"

    run(main)


def test_an_exception_of_the_first_call_leaves_connect():
    async def main():
        source, _ = scripted(ZeroDivisionError("none"))
        async with sim_net(refresh_tokens=False) as net:
            with pytest.raises(ZeroDivisionError):
                async with net.connect("alice", token=source):
                    raise AssertionError("cannot have joined")

    run(main)


@pytest.mark.parametrize(
    ("answer", "why"),
    [(ValueError("signed out"), "ValueError: signed out"), (5, "TypeError: it returned int, not str")],
)
def test_the_reason_of_a_failed_source_reaches_the_user(answer, why):
    async def main():
        source, _ = scripted(60.0, answer)
        policy = ReconnectPolicy(attempts=1)
        async with sim_net(refresh_tokens=False) as net, net.connect("alice", token=source, reconnect=policy) as alice:
            await trio.sleep(100)
            async with alice.events(Disconnected) as events:
                await cut_link(net)
                event = await anext(aiter(events))
        assert event.detail == f"The token source failed: {why}"

    run(main)


def test_cancelled_while_the_source_is_asked():
    async def scenario(cut: Cut) -> None:
        script, asked = scripted(20.0, 60.0)

        async def source() -> str:
            answer = await script()
            cut.counting = len(asked) > 1  # joining and staying are swept elsewhere
            return answer

        async def stay() -> None:
            async with net.connect("alice", token=source) as alice:
                await trio.sleep(16)
                cut.counting = True
                async with alice.events(Reconnected) as events:
                    await cut_link(net)
                    await anext(aiter(events))

        async with sim_net(refresh_tokens=False) as net:
            await cut(stay)

    assert sweep(scenario, everybody=True, step=3, fine=1) > 40
