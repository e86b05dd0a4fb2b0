"""What several benchmarks share: the server that some of them need, tokens for it, and the time a process has used."""

from __future__ import annotations

import os
import resource
import time

URL = os.environ.get("LIVEKIT_URL", "ws://127.0.0.1:7880")
KEY = os.environ.get("LIVEKIT_API_KEY", "devkey")
SECRET = os.environ.get("LIVEKIT_API_SECRET", "secret" * 6)


def token(room: str, identity: str) -> str:
    """A token to join a room of the server."""
    from sansio.sfu.token import Claims, mint  # not in processes that measure another client

    return mint(Claims(identity, room, key=KEY), SECRET, time.time())


def cpu() -> float:
    """Seconds of processor time that this process has used."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime
