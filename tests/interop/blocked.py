"""Joins a real server across a network that passes signalling and nothing else.

``unshare -n python -m tests.interop.blocked SERVER``: see ``namespaces``. Rules at the server's end drop every UDP
datagram and every TCP packet for media. Tells what ``connect`` raised, and its report.
"""

from __future__ import annotations

from typing import Any

import attrs
import trio

import trio_client
from tests.driver.failing import check_error

from .namespaces import THERE, far_end, main
from .servers import OwnServer

NO_UDP = "pref 5 iif far ipproto udp blackhole"
NO_MEDIA_TCP = "pref 6 iif far ipproto tcp dport 7881 blackhole"


async def join(server: OwnServer) -> dict[str, Any]:
    token = server.token("room", "ours")
    start = trio.current_time()
    try:
        async with trio_client.connect(server.url, token):
            return {"error": None}
    except trio_client.ConnectError as error:
        check_error(error, token.split("."))
        seconds = trio.current_time() - start
        return {"error": type(error).__name__, "text": str(error), "seconds": seconds, **attrs.asdict(error.report)}


def blocked(program: str) -> dict[str, Any]:
    with (
        far_end() as far,
        OwnServer(program, host=THERE, prefix=far.prefix) as server,
        far.ruled(NO_UDP, NO_MEDIA_TCP),
    ):
        return trio.run(join, server)


if __name__ == "__main__":
    main(blocked)
