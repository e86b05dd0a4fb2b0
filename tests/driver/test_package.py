"""The package as a whole: what importing it costs, what it exports, options and errors."""

from __future__ import annotations

import pickle
import re
import subprocess
import sys
from pathlib import Path

import pytest
import trio

import trio_client
from trio_client import (
    ConnectOptions,
    ConnectReport,
    DisconnectedError,
    DisconnectReason,
    IceOptions,
    JoinRefused,
    MediaFailed,
    NotAcknowledged,
    RequestReason,
    RequestRejected,
    RoomNotFound,
    ServerUnreachable,
    SlowConsumer,
    TokenRejected,
)
from trio_client._connect import connect_error
from trio_client._core import MediaFailure, Refusal, RefusalKind

HEAVY = (
    "asyncio",
    "aioice",
    "livekit",
    "google.protobuf",
    "OpenSSL",
    "cryptography",
    "trio_websocket",
    "ifaddr",
    "sansio.rtp",
)


def test_importing_is_cheap():
    """Nothing that only a session needs; ``preload`` brings it all."""
    script = (
        "import sys, trio_client\n"
        f"heavy = [name for name in {HEAVY!r} if name in sys.modules]\n"
        "assert not heavy, heavy\n"
        "trio_client.preload()\n"
        "missing = [name for name in ('OpenSSL', 'google.protobuf', 'trio_websocket') if name not in sys.modules]\n"
        "assert not missing, missing\n"
        "assert 'aioice' not in sys.modules and 'asyncio' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


def test_preloading_again():
    trio_client.preload()


def test_another_package_of_the_same_name(tmp_path):
    (tmp_path / "sansio").mkdir()
    (tmp_path / "sansio" / "__init__.py").write_text("")
    script = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import trio_client"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert "ImportError: the package 'sansio' that was found" in done.stderr


def test_exports():
    for name in trio_client.__all__:
        assert getattr(trio_client, name) is not None
    for event in trio_client._core.events.ALL:
        assert event.__name__ in trio_client.__all__
    with pytest.raises(AttributeError):
        trio_client._core.nonsense


def test_the_reference_has_every_public_name():
    """Events have a table of their own, made of the classes."""
    page = (Path(__file__).parents[2] / "docs" / "reference.md").read_text(encoding="utf-8")
    documented = set(re.findall(r"^\.\. auto\w+:: trio_client\.(\w+)$", page, re.MULTILINE))
    listed = {event.__name__ for event in trio_client._core.events.ALL}
    base = {"Event", "ParticipantEvent", "RoomEvent"}
    assert documented | listed | base == set(trio_client.__all__)


def test_parts_are_there_without_an_import_of_their_own():
    script = (
        "import sys, trio_client\n"
        "assert not {'trio_client.devserver', 'trio_client.media', 'trio_client.testing'} & set(sys.modules)\n"
        "assert trio_client.devserver.serve and trio_client.testing.Simulation\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
    with pytest.raises(AttributeError):
        trio_client.nonsense


# ------------------------------------------------------------------ options


def test_options_are_checked():
    assert IceOptions(servers=["stun:a"], interfaces=["eth0"]).servers == ("stun:a",)
    for wrong in (
        {"servers": "stun:a"},
        {"interfaces": "eth0"},
        {"interfaces": [1]},
    ):
        with pytest.raises(TypeError):
            IceOptions(**wrong)
    for range_ in ((5, 4), (0, 10), (1, 70000), (1,)):
        with pytest.raises(ValueError, match="port_range"):
            IceOptions(port_range=range_)
    assert IceOptions(port_range=(5000, 5000)).port_range == (5000, 5000)
    with pytest.raises(ValueError, match="close_timeout"):
        ConnectOptions(close_timeout=0)
    with pytest.raises(TypeError):
        ConnectOptions(no_such_option=True)
    assert "ssl_context" not in repr(ConnectOptions())


def test_unusable_tokens_are_not_shown():
    async def source():
        return "secret token"

    async def main():
        for token in ("", "secret token", "sécret", source):
            with pytest.raises(trio_client.LocalProtocolError, match="token") as caught:
                async with trio_client.connect("ws://127.0.0.1:9", token):
                    raise AssertionError
            assert "secret" not in str(caught.value)

    trio.run(main)


# ------------------------------------------------------------------ errors


@pytest.mark.parametrize(
    ("kind", "cls"),
    [
        (RefusalKind.TOKEN_REJECTED, TokenRejected),
        (RefusalKind.ROOM_NOT_FOUND, RoomNotFound),
        (RefusalKind.SERVICE_NOT_FOUND, ServerUnreachable),
        (RefusalKind.SERVER_ERROR, JoinRefused),
        (RefusalKind.UNREACHABLE, ServerUnreachable),
        (RefusalKind.REFUSED, JoinRefused),
        (RefusalKind.PROTOCOL, ServerUnreachable),
    ],
)
def test_refusals_become_exceptions(kind, cls):
    error = connect_error(Refusal(kind, "What.", "Why.", "Advice.", 418, "body"))
    assert type(error) is cls
    assert str(error) == "What. Why. Advice."
    assert error.report == ConnectReport(
        what="What.", why="Why.", advice="Advice.", kind=kind.value, status=418, body="body"
    )


def test_media_failure_becomes_an_exception():
    error = connect_error(MediaFailure("no pair worked"))
    assert type(error) is MediaFailed
    assert "No pair worked." in str(error)


@pytest.mark.parametrize(
    "error",
    [
        TokenRejected(ConnectReport(what="w")),
        JoinRefused(ConnectReport(what="w"), DisconnectReason.ROOM_CLOSED),
        DisconnectedError(DisconnectReason.MIGRATION),
        DisconnectedError(DisconnectReason.CLIENT_INITIATED, "we are leaving"),
        RequestRejected(RequestReason.NOT_ALLOWED, "no"),
        SlowConsumer(5),
        NotAcknowledged(),
    ],
)
def test_errors_can_be_pickled(error):
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert str(again) == str(error)
    assert vars(again) == vars(error)
