"""``trio-livekit doctor``."""

from __future__ import annotations

from argparse import Namespace

from .._diagnose import diagnose
from ._exits import Exit, explain
from ._places import find_token, find_url


async def run(arguments: Namespace) -> int:
    """Join once, and print what was found."""
    url = find_url(arguments)
    found = await diagnose(url, find_token(arguments, url))
    print(found)
    if found.ok:
        return Exit.OK
    assert found.error is not None
    failure = explain(found.error)
    assert failure is not None
    return failure.code
