"""``trio-livekit devserver``."""

from __future__ import annotations

from argparse import Namespace

import trio

from ._exits import Exit
from ._stop import stop_after, until_stopped
from ._transcript import Transcript


async def run(arguments: Namespace) -> int:
    """Serve until stopped."""
    from ..devserver import serve

    transcript = Transcript()
    async with (
        serve(
            port=arguments.port,
            udp_port=arguments.udp_port,
            tcp_port=arguments.tcp_port,
            bind=arguments.bind,
            node_ip=arguments.node_ip or "",
            keys=arguments.keys,
            log=lambda what, room, identity: transcript.say(f"{identity} {what} {room}"),
        ) as server,
        until_stopped() as scope,  # inside, so that the server ends in peace and tells everybody
    ):
        key, secret = next(iter(server.keys.items()))
        known = f": {secret}" if arguments.keys is None else ""  # to everybody, and so no secret
        token = server.token("guest", room="demo", ttl=24 * 3600, can_update_own_metadata=True)
        print(
            f"""trio-livekit development server. For development only: never use it in production.
  URL    {server.url}    (media: UDP port {server.udp_port}, TCP port {server.tcp_port})
  key    {key}{known}
  token  {token}
         (room demo, identity guest, for a day; "trio-livekit token" makes others)
  join   trio-livekit join {server.url} {token}""",
            flush=True,
        )
        stop_after(scope, arguments.seconds)
        await trio.sleep_forever()
    return Exit.OK
