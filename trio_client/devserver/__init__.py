"""A small LiveKit-compatible server for development, tests and demonstrations. It is not made for production::

    async with trio_client.devserver.serve() as server:
        async with trio_client.connect(server.url, server.token("alice", room="demo")) as room:
            ...

Rooms, signalling and media are those of ``sansio.sfu``; here are the sockets.
"""

from __future__ import annotations

from ._server import DevServer, serve

__all__ = ["DevServer", "serve"]
