"""A connection of the development server: whatever comes in, it ends in time, and who was let in is told to be gone.

The first byte says whether a WebSocket is opened properly before, and how long the pieces are that the rest comes in.
"""

from __future__ import annotations

import trio
import trio.testing

from sansio.base.limits import SFU_HTTP_BODY, SFU_MESSAGE
from sansio.sfu.options import HttpResponse
from trio_client.devserver._http import READ_BYTES, HttpRequest, SignalLink, serve_connection

UPGRADE = (
    b"GET /rtc HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)
LONGEST = 30.0
"""Seconds that a connection may take whose client says nothing more, the time for a request included."""


class Site:
    """Answers everything, and lets in who asks for /rtc. A message is sent back; "close" and "cut" end the link."""

    def __init__(self) -> None:
        self.open: list[SignalLink] = []
        self.closed = 0

    async def answer(self, request: HttpRequest) -> HttpResponse:
        assert len(request.body) <= SFU_HTTP_BODY + READ_BYTES
        return HttpResponse(200, (), request.body or b"nothing")

    def open_signal(self, request: HttpRequest, link: SignalLink) -> HttpResponse | None:
        if not request.target.startswith("/rtc"):
            return HttpResponse.plain(404, "no")
        self.open.append(link)
        link.send(b"welcome")
        return None

    def signal_received(self, link: SignalLink, data: bytes) -> None:
        assert link in self.open
        assert len(data) <= SFU_MESSAGE + READ_BYTES
        if data.startswith(b"close"):
            link.close(1000)
        elif data.startswith(b"cut"):
            link.cut()
        else:
            link.send(data)

    def signal_closed(self, link: SignalLink) -> None:
        self.open.remove(link)
        self.closed += 1


def one(data: bytes) -> None:
    trio.run(_connect, data, clock=trio.testing.MockClock(autojump_threshold=0))


async def _connect(data: bytes) -> None:
    first, rest = data[:1] or b"\0", data[1:]
    site = Site()
    ours, theirs = trio.testing.memory_stream_pair()

    async def client() -> None:
        if first[0] & 1:
            await ours.send_all(UPGRADE)
        size = max(1, first[0] >> 1)
        for at in range(0, len(rest), size):
            try:
                await ours.send_all(rest[at : at + size])
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return
            await trio.sleep(0)
        if first[0] & 2:
            await ours.send_eof()
        else:
            await trio.sleep(LONGEST / 2)
            await ours.aclose()

    with trio.fail_after(LONGEST):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client)
            await serve_connection(site, theirs)  # type: ignore[arg-type]  # a stream with an end is enough
            await theirs.aclose()
    assert not site.open
