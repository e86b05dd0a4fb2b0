"""``trio-livekit token``."""

from __future__ import annotations

import time
from argparse import Namespace

from ._exits import Exit
from ._places import find_key


async def run(arguments: Namespace) -> int:
    """Print a token."""
    from .._core import DEVELOPMENT_KEY, Claims, mint

    key, secret = find_key(arguments) or DEVELOPMENT_KEY
    claims = Claims(
        arguments.identity,
        arguments.room,
        key,
        name=arguments.name,
        metadata=arguments.metadata,
        attributes=dict(arguments.attribute),
        can_publish=not arguments.no_publish,
        can_publish_data=not arguments.no_data,
        can_subscribe=not arguments.no_subscribe,
        can_update_own_metadata=not arguments.no_update,
        hidden=arguments.hidden,
    )
    print(mint(claims, secret, time.time(), arguments.ttl))
    return Exit.OK
