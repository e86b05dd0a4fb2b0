"""Joining once to see how."""

from __future__ import annotations

import pytest
import trio

from trio_client import MediaFailed, TokenRejected, diagnose
from trio_client import _diagnose as module

from .running import run, run_real
from .sfuhost import sfu_host
from .simnet import sim_net
from .sweep import Cut, sweep


def test_a_join_that_works():
    async def main():
        async with sfu_host() as host:
            found = await diagnose(host.url, host.token("doctor"))
            assert host.identities() == []
        assert found.ok
        assert found.error is None
        assert found.verdict.startswith("Media goes by direct UDP")
        facts = dict(found.facts)
        assert facts["server"].startswith("LiveKit")
        assert facts["data"].startswith("acknowledged in")
        lines = str(found).splitlines()
        assert lines[-1] == found.verdict
        assert any(line.startswith("*  direct UDP") for line in lines)

    run_real(main)


def test_a_join_that_is_refused():
    async def main():
        async with sfu_host() as host:
            token = host.token("doctor")
            found = await diagnose(host.url, token[:-4])
        assert not found.ok
        assert isinstance(found.error, TokenRejected)
        assert found.verdict == f"{found.error.report.what} {found.error.report.why}"
        assert token[:-4] not in str(found)
        assert dict(found.facts)["HTTP"].startswith("401")
        assert not found.table

    run_real(main)


def test_media_that_does_not_come_up(monkeypatch):
    async def main():
        async with sim_net() as net:
            net.loss = lambda data: True
            monkeypatch.setattr(module, "connect", lambda url, token, **_: net.connect("doctor", media_timeout=3.0))
            found = await diagnose("ws://server", "token")
        assert not found.ok
        assert isinstance(found.error, MediaFailed)
        assert found.verdict == "UDP is blocked; no TURN server was offered."
        assert "no answer" in found.table or "in progress" in found.table
        assert found.table in str(found)

    run(main)


def test_data_that_is_not_acknowledged_in_time(monkeypatch):
    async def main():
        async with sim_net(latency=0.4) as net:
            monkeypatch.setattr(module, "connect", lambda url, token, **_: net.connect("doctor"))
            found = await diagnose("ws://server", "token")
        assert found.ok
        assert dict(found.facts)["data"] == "not acknowledged in time"

    run(main)


def test_an_unusable_address():
    async def main():
        with pytest.raises(ValueError, match="scheme"):
            await diagnose("ftp://server", "token")

    run_real(main)


def test_cancelled(monkeypatch):
    async def scenario(cut: Cut) -> None:
        async with sim_net() as net:
            monkeypatch.setattr(module, "connect", lambda url, token, **_: net.connect("doctor"))
            await cut(diagnose, "ws://server", "token")
            await trio.sleep(2)
            assert net.identities() == []

    assert sweep(scenario, everybody=True, step=5) > 20
