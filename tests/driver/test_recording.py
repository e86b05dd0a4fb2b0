"""Sessions of programs are recorded and play back: in virtual time, and with real sockets and cryptography."""

from __future__ import annotations

import json

import pytest
import trio

import trio_client
from trio_client.testing import BackgroundServer, Simulation, record_session, replay_session


async def talk(connect, lines):
    with record_session(lines.append):
        async with connect("ann") as ann, connect("bob") as bob:
            await trio.sleep(0.3)
            await ann.local_participant.publish_data(b"hello", wait_acked=True)
            await bob.local_participant.publish_data(b"hello back", wait_acked=True)
            await ann.local_participant.set_metadata("about ann")
            await ann.simulate(trio_client.Scenario.FULL_RECONNECT)
            await ann.wait_for(trio_client.Reconnected)
            await ann.local_participant.publish_data(b"again", wait_acked=True)


def check(lines):
    played = replay_session(lines)
    assert played.engine.closed
    assert played.engine.state.local_participant.metadata == "about ann"
    assert played.left_out == 0
    kinds = {json.loads(line)[0] for line in lines}
    assert kinds >= {"head", "call", "packet", "advance"}
    assert "bob" not in lines[0], "the first session is recorded, and no other"
    at = next(number for number, line in enumerate(lines) if "signal_received" in line)
    with pytest.raises(AssertionError, match="recorded"):
        replay_session(lines[:at] + lines[at + 1 :])
    assert replay_session(lines[:at] + lines[at + 1 :], check=False).calls == played.calls - 1


def test_in_virtual_time():
    lines: list[str] = []
    simulation = Simulation()
    simulation.run(talk, simulation.connect, lines)
    check(lines)


def test_on_real_sockets():
    lines: list[str] = []
    tokens: list[str] = []
    with BackgroundServer() as server:

        def connect(name):
            tokens.append(server.token(name, can_update_own_metadata=True))
            return trio_client.connect(server.url, tokens[-1])

        trio.run(talk, connect, lines)
    check(lines)
    text = "\n".join(lines)
    assert '["dtls",' in text
    assert not [token for token in tokens if token.rpartition(".")[2] in text]
