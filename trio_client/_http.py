"""One small HTTP request: what the server says when it is asked plainly why it refuses a WebSocket."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import urlsplit

import trio

MAX_BODY = 16 * 1024
"""Bytes of the answer's body that are read."""
MAX_HEAD = 16 * 1024
"""Bytes of the answer's status line and headers."""


async def get(stream: trio.abc.Stream, url: str, headers: Iterable[tuple[str, str]]) -> tuple[int, str]:
    """GET ``url`` over a stream that is connected to its host: status and body. Status 0: no whole HTTP answer.

    The caller bounds the time, and closes the stream.
    """
    import h11

    parts = urlsplit(url)
    http = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD)
    head = [("Host", parts.netloc), ("Connection", "close"), *headers]
    target = (parts.path or "/") + ("?" + parts.query if parts.query else "")
    status, body = 0, bytearray()
    try:
        await stream.send_all(http.send(h11.Request(method="GET", target=target, headers=head)) or b"")
        await stream.send_all(http.send(h11.EndOfMessage()) or b"")
        while len(body) < MAX_BODY:
            event = http.next_event()
            if event is h11.NEED_DATA:
                http.receive_data(bytes(await stream.receive_some(4096)))
            elif isinstance(event, h11.Response):
                status = event.status_code
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage | h11.ConnectionClosed):
                break
    except (trio.BrokenResourceError, h11.ProtocolError):
        return 0, ""
    return status, body[:MAX_BODY].decode(errors="replace")
