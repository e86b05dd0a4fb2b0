"""What every failed join has to be: a typed error that speaks, holds no secret, is in time, leaves nothing."""

from __future__ import annotations

import base64
import json
import pickle
import re
import traceback
from collections.abc import Awaitable, Callable, Iterable

import pytest
import trio

import trio_client
from trio_client import ConnectError, ConnectOptions

from . import running
from .sweep import sockets, tasks

BOUND = 21.0
"""Seconds that a join can take to fail: 15 to open the link, 5 for the first message, or 15 for media."""


def _part(content: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(content).encode()).rstrip(b"=").decode()


TOKEN = f"{_part({'alg': 'HS256', 'typ': 'JWT'})}.{_part({'sub': 'ours', 'video': {'room': 'room'}})}.c2lnbmF0dXJlIQ"
"""What looks like a token."""


async def join_error(
    url: str, token: str = TOKEN, options: ConnectOptions | None = None, secrets: Iterable[str] = ()
) -> ConnectError:
    """Join, which must fail: the error, checked for what holds of all of them."""
    alone = not ours()
    start = trio.current_time()
    with pytest.raises(ConnectError) as caught:
        async with trio_client.connect(url, token, options=options):
            raise AssertionError("joined")
    assert trio.current_time() - start < BOUND
    assert not (alone and ours()), "tasks are left"
    check_error(caught.value, [*token.split("."), *secrets])
    assert caught.value.report.server == "/".join(url.split("/")[:3])
    assert caught.value.report.server in str(caught.value)
    return caught.value


def ours() -> list[trio.lowlevel.Task]:
    """The tasks that run code of the client, or of the WebSocket library for it."""
    codes = [(task, task.coro.cr_code.co_filename) for task in tasks() if hasattr(task.coro, "cr_code")]
    return [task for task, file in codes if "trio_client" in file or "trio_websocket" in file]


def check_error(error: ConnectError, secrets: Iterable[str]) -> None:
    """It speaks, and holds no secret."""
    report = error.report
    assert type(error) is not ConnectError
    for sentence in (report.what, report.why, report.advice):
        assert sentence == "" or re.fullmatch(r"[\"A-Z].*[.!?…]", sentence, re.DOTALL), sentence
    assert report.what
    assert report.advice
    assert report.kind
    assert str(error) == str(report)
    assert str(error).startswith(report.what)
    copied = pickle.loads(pickle.dumps(error))
    assert type(copied) is type(error)
    assert copied.report == report
    texts = [str(error), repr(error), str(report), repr(report), "".join(traceback.format_exception(error))]
    for secret in secrets:
        for text in texts:
            assert secret not in text


def run(main: Callable[[], Awaitable[object]], *, virtual: bool = False) -> None:
    """Run a test and see that no socket is left. ``virtual``: jump over the time in which nothing happens."""
    before = sockets()
    if virtual:
        running.run(main, threshold=0.01)
    else:
        running.run_real(main)
    assert sockets() == before, "sockets are left"
