"""Where a command goes: the server's address and the token, from arguments, environment, or made here."""

from __future__ import annotations

import os
import time
from argparse import Namespace
from contextlib import AsyncExitStack

from .._core import DEVELOPMENT_KEY, is_loopback
from ._exits import Exit, Failure


def find_url(arguments: Namespace) -> str:
    """The server's address."""
    url = arguments.url or os.environ.get("LIVEKIT_URL", "")
    if not url:
        raise Failure(Exit.USAGE, "Where to? Give the server's URL, or set LIVEKIT_URL.")
    return str(url)


def find_key(arguments: Namespace) -> tuple[str, str] | None:
    """API key and secret, None when there are none."""
    key = arguments.key or os.environ.get("LIVEKIT_API_KEY", "")
    secret = arguments.secret or os.environ.get("LIVEKIT_API_SECRET", "")
    if bool(key) != bool(secret):
        raise Failure(Exit.USAGE, "Of --key and --secret (LIVEKIT_API_KEY and LIVEKIT_API_SECRET) only one is given.")
    return (key, secret) if key else None


def find_token(arguments: Namespace, url: str) -> str:
    """The token for this server; made here if none is given."""
    token = arguments.token or ("" if arguments.key else os.environ.get("LIVEKIT_TOKEN", ""))
    return token or make_token(key_for(arguments, url), arguments.identity, arguments.room)


def key_for(arguments: Namespace, url: str) -> tuple[str, str]:
    """The key to make tokens for this server with. Raises UrlError."""
    key = find_key(arguments)
    if key is None and not is_loopback(url):
        raise Failure(Exit.USAGE, "How to get in? Give a token, or an API key with --key and --secret.")
    return key or DEVELOPMENT_KEY


async def embed_server(stack: AsyncExitStack) -> str:
    """Run a development server until the stack unwinds; its address."""
    from ..devserver import serve

    return (await stack.enter_async_context(serve())).url


def make_token(key: tuple[str, str], identity: str, room: str) -> str:
    """A token with every right of a participant."""
    from .._core import Claims, mint

    return mint(Claims(identity, room, key[0], can_update_own_metadata=True), key[1], time.time())
