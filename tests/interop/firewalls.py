"""Joins a real server through firewalls, with a TURN server beside it; and the small server, which has TCP only.

``unshare -n python -m tests.interop.firewalls SERVER COTURN``: see ``namespaces``. For each join rules drop what
the firewall does not pass: silently, at the far end, or at this one, where the kernel refuses to send it. Tells for
each firewall the seconds to connect, the way that the server says media goes, and ours.
"""

from __future__ import annotations

import json
from typing import Any

import trio

import trio_client

from .blocked import NO_MEDIA_TCP, NO_UDP
from .coturn import PASSWORD, USER, Coturn
from .namespaces import THERE, far_end, main, ruled
from .servers import OwnServer, SmallServer

TURN_SERVERS = "  turn_servers:\n" + "".join(
    [
        f"    - {{host: {THERE}, port: 443, protocol: {protocol}, username: {USER}, credential: {PASSWORD}}}\n"
        for protocol in ("udp", "tls")
    ]
)
UDP_443 = "pref 4 iif far ipproto udp dport 443 lookup local"
UDP_443_OUT = f"pref 4 to {THERE} ipproto udp dport 443 lookup main"
NO_UDP_OUT = f"pref 5 to {THERE} ipproto udp prohibit"
NO_MEDIA_TCP_OUT = f"pref 6 to {THERE} ipproto tcp dport 7881 prohibit"
FIREWALLS = {
    "open": [],
    "udp 443 only": [UDP_443, NO_UDP, NO_MEDIA_TCP],
    "no udp": [NO_UDP],
    "tcp 443 only": [NO_UDP, NO_MEDIA_TCP],
}
OWN_FIREWALLS = {
    "udp 443 only, refused": [UDP_443_OUT, NO_UDP_OUT, NO_MEDIA_TCP_OUT],
    "no udp, refused": [NO_UDP_OUT],
    "tcp 443 only, refused": [NO_UDP_OUT, NO_MEDIA_TCP_OUT],
}


async def join(server: OwnServer | SmallServer, relay: Coturn) -> dict[str, Any]:
    options = trio_client.ConnectOptions(ssl_context=relay.trusting(), single_peer_connection=True)
    token = server.token("room", "ours")
    before = len(server.log())
    start = trio.current_time()
    try:
        async with trio_client.connect(server.url, token, options=options) as room:
            seconds = trio.current_time() - start
            await room.local_participant.publish_data(b"hello")
            await trio.sleep(
                1.5
            )  # for the ways that have not won to open as well, and for the server to have said its word
            (peer,) = json.loads(room.diagnostics())["core"]["transports"]["peers"]
            ways = {way["kind"]: way["state"] for way in peer["paths"]}
    except trio_client.ConnectError as error:
        return {"error": str(error), "pairs": error.report.pairs, "ways": error.report.ways}
    said = server.log()[before:].partition('"connectionType": "')[2].partition('"')[0]
    return {"seconds": round(seconds, 3), "server": said, "selected": peer["ice"]["selected"], "ways": ways}


def firewalls(program: str, turn_program: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    with far_end() as far, Coturn(turn_program, host=THERE, port=443, prefix=far.prefix) as relay:
        with OwnServer(program, rtc=TURN_SERVERS, host=THERE, stun=f"{THERE}:443", prefix=far.prefix) as server:
            trio.run(join, server, relay)  # so that no firewall is charged with the imports
            for name, rules in FIREWALLS.items():
                with far.ruled(*rules):
                    found[name] = trio.run(join, server, relay)
            for name, rules in OWN_FIREWALLS.items():
                with ruled(*rules):
                    found[name] = trio.run(join, server, relay)
        with SmallServer(THERE, far.prefix) as small:
            trio.run(join, small, relay)  # likewise
            found["small server"] = trio.run(join, small, relay)
            with far.ruled(NO_UDP):
                found["small server, no udp"] = trio.run(join, small, relay)
            with ruled(NO_UDP_OUT):
                found["small server, no udp, refused"] = trio.run(join, small, relay)
    return found


if __name__ == "__main__":
    main(firewalls)
