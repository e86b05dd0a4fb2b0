"""``trio-livekit demo``: sound, pictures, data, a broken link, in about ten seconds."""

from __future__ import annotations

import os
from argparse import Namespace
from contextlib import AsyncExitStack
from pathlib import Path

from .._connect import preload
from .._core import DEVELOPMENT_KEY
from ._duet import Duet
from ._exits import Exit, Failure
from ._places import embed_server, find_key, key_for, make_token
from ._solo import Solo
from ._testcard import need_media

SPEAKER, LISTENER = "alice", "bob"


async def run(arguments: Namespace) -> int:
    """The demonstration, here or elsewhere: of two participants if there are tokens for two."""
    media = need_media()
    tokens = _tokens(arguments)
    preload()
    out = Path(arguments.out)
    out.mkdir(parents=True, exist_ok=True)
    show = Solo(out, media) if len(tokens) == 1 else Duet(out, media)
    stage = show.stage
    try:
        async with AsyncExitStack() as stack:
            await show.run(arguments.url or await embed_server(stack), tokens)
    finally:
        stage.transcript.close()
    print("\nSeen:")
    for good, text in stage.seen:
        print(f"  {'yes' if good else 'NO '}  {text}")
    for path in show.left_behind:
        print(f"  {path}  {path.stat().st_size} bytes")
    if missed := [text for good, text in stage.seen if not good]:
        raise Failure(Exit.CHECK, f"Not as it ought to be: {'; '.join(missed)}.")
    if len(tokens) == 1:
        print("\nA second token of the same room (--token again) shows what the others get, and records it.")
    return Exit.OK


def _tokens(arguments: Namespace) -> list[str]:
    """For each participant one: given, made, or one that the environment has."""
    given: list[str] = arguments.token or []
    if not arguments.url and (given or arguments.key):
        raise Failure(Exit.USAGE, "Tokens and keys are for a server of yours: say which with --url.")
    if len(given) > 2:
        raise Failure(Exit.USAGE, "The demonstration has two participants: give --token once or twice.")
    if not given and arguments.url and find_key(arguments) is None:
        found = os.environ.get("LIVEKIT_TOKEN")
        given = [found] if found else []
    if given:
        return given
    key = key_for(arguments, arguments.url) if arguments.url else DEVELOPMENT_KEY
    return [make_token(key, identity, arguments.room) for identity in (SPEAKER, LISTENER)]
