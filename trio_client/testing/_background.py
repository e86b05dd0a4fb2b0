"""The development server in a thread, for tests that are not of Trio, and clients that are not ours."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import trio

from ..devserver import DevServer, serve

TIMEOUT = 30.0
"""Seconds for the server to start, and for it to answer."""


class BackgroundServer:
    """A context manager: a development server runs in a thread for as long as the block does.

    ``options`` are those of ``trio_client.devserver.serve``. Every method can be called from any thread, that of an
    event loop included: what it does takes no time to speak of.
    """

    def __init__(self, **options: Any) -> None:
        self._options = options
        self._started: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="trio-livekit development server", daemon=True)
        self._scope: trio.CancelScope
        self._server: DevServer
        self._trio: trio.lowlevel.TrioToken

    def __repr__(self) -> str:
        return f"<BackgroundServer {self.url}>"

    @property
    def url(self) -> str:
        """Where clients connect to."""
        return self._server.url

    @property
    def keys(self) -> dict[str, str]:
        """API key to secret."""
        return self._server.keys

    def token(self, identity: str, *, room: str = "demo", ttl: float = 3600.0, **grants: Any) -> str:
        """An access token; see ``DevServer.token``."""
        return self._server.token(identity, room=room, ttl=ttl, **grants)

    def identities(self, room: str = "demo") -> list[str]:
        """Who is in a room, in the order of joining."""
        found: list[str] = self._call(lambda: self._server.identities(room))
        return found

    def cut(self, identity: str, room: str = "demo") -> bool:
        """End somebody's signalling connection without a word; False if there is none."""
        return bool(self._call(lambda: self._server.cut(identity, room)))

    def remove(self, identity: str, room: str = "demo") -> bool:
        """Remove somebody from a room; False if there is nobody."""
        return bool(self._call(lambda: self._server.remove(identity, room)))

    # ------------------------------------------------------------------ the thread

    def __enter__(self) -> Self:
        self._thread.start()
        failure = self._started.get(timeout=TIMEOUT)
        if failure is not None:
            self._thread.join()
            raise failure
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        with contextlib.suppress(trio.RunFinishedError):
            self._trio.run_sync_soon(self._scope.cancel)
        self._thread.join()
        if self._failure is not None and error is None:
            raise self._failure

    def _run(self) -> None:
        try:
            trio.run(self._main)
        except BaseException as error:
            self._failure = error
            self._started.put(error)

    async def _main(self) -> None:
        self._trio = trio.lowlevel.current_trio_token()
        with trio.CancelScope() as self._scope:
            async with serve(**self._options) as self._server:
                self._started.put(None)
                await trio.sleep_forever()

    def _call(self, function: Callable[[], Any]) -> Any:
        # trio.from_thread would refuse to be called from another loop's thread.
        answer: queue.SimpleQueue[tuple[Any, BaseException | None]] = queue.SimpleQueue()

        def work() -> None:
            try:
                answer.put((function(), None))
            except BaseException as error:
                answer.put((None, error))

        self._trio.run_sync_soon(work)
        value, error = answer.get(timeout=TIMEOUT)
        if error is not None:
            raise error
        return value
