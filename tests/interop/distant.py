"""A server that is far away: its signalling link is cut, and media goes on.

``unshare -n python -m tests.interop.distant SERVER SECONDS TIMES``: see ``namespaces``. A round trip takes so many
seconds; the link is cut so many times. Tells of each the seconds until Reconnected, and what became of the sound that
LiveKit's own client sends all the while: frames lost, and the longest time without one.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import trio

from trio_client import Reconnected, RemoteTrack, TrackSubscribed

from .namespaces import HERE, THERE, far_end, main
from .ours import joined
from .peers import NATIVE, Peer
from .proxy import proxied
from .servers import OwnServer


async def cuts(server: OwnServer, peer: Peer, times: int) -> list[dict[str, Any]]:
    heard: list[tuple[float, int]] = []
    found = []

    async def hear(track: RemoteTrack) -> None:
        async for frame in track.frames():
            heard.append((trio.current_time(), frame.lost))

    async with (
        proxied(server, HERE) as proxy,
        joined(server, "distant", url=proxy.url, single=True) as room,
        room.events(TrackSubscribed) as subscribed,
        room.events(Reconnected) as reconnected,
    ):
        await peer.acall("publish_tone", hz=440, peak=8000)
        room.start_soon(hear, (await anext(subscribed)).track)
        await trio.sleep(2)
        for _ in range(times):
            start = trio.current_time()
            await proxy.cut()
            event = await anext(reconnected)
            seconds = trio.current_time() - start
            await trio.sleep(1)
            since = [at for at, _ in heard if at > start]
            silence = max([later - earlier for earlier, later in pairwise([start, *since, trio.current_time()])])
            lost = sum([lost for at, lost in heard if at > start])
            found.append({"seconds": seconds, "resumed": event.resumed, "silence": silence, "lost": lost})
    return found


def distant(program: str, round_trip: str, times: str) -> list[dict[str, Any]]:
    with (
        far_end(delay=float(round_trip) / 2) as far,
        OwnServer(program, host=THERE, prefix=far.prefix) as server,
        Peer([*far.prefix, *NATIVE], "native") as peer,
    ):
        peer.join(server.url, server.token("distant", "them"))
        return trio.run(cuts, server, peer, int(times))


if __name__ == "__main__":
    main(distant)
