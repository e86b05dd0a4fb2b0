"""The development server in a thread, for tests that are not of Trio, and clients that are not ours."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Self, TypeVar

import trio

from ..devserver import DevServer, serve

T = TypeVar("T")

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
        self._stopped = False
        self._scope = trio.CancelScope()
        self._server: DevServer | None = None
        self._trio: trio.lowlevel.TrioToken | None = None

    def __repr__(self) -> str:
        return f"<BackgroundServer {self.url}>" if self._server is not None else "<BackgroundServer, not started>"

    @property
    def _running(self) -> DevServer:
        if self._server is None:
            raise RuntimeError("the development server has not started")
        return self._server

    @property
    def url(self) -> str:
        """Where clients connect to."""
        return self._running.url

    @property
    def keys(self) -> dict[str, str]:
        """API key to secret."""
        return self._running.keys

    def token(self, identity: str, *, room: str = "demo", ttl: float = 3600.0, **grants: Any) -> str:
        """An access token; see ``DevServer.token``."""
        return self._running.token(identity, room=room, ttl=ttl, **grants)

    def identities(self, room: str = "demo") -> list[str]:
        """Who is in a room, in the order of joining."""
        return self._call(lambda server: server.identities(room))

    def cut(self, identity: str, room: str = "demo") -> bool:
        """End somebody's signalling connection without a word; False if there is none."""
        return self._call(lambda server: server.cut(identity, room))

    def remove(self, identity: str, room: str = "demo") -> bool:
        """Remove somebody from a room; False if there is nobody."""
        return self._call(lambda server: server.remove(identity, room))

    # ------------------------------------------------------------------ the thread

    def __enter__(self) -> Self:
        self._thread.start()
        try:
            failure = self._started.get(timeout=TIMEOUT)
        except queue.Empty:
            self._stop()
            raise TimeoutError(f"the development server did not start within {TIMEOUT:g} s") from None
        if failure is not None:
            self._thread.join()
            raise failure
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._stop()
        self._thread.join()
        if self._failure is not None and error is None:
            raise self._failure

    def _stop(self) -> None:
        """End the run of the thread, also one that is yet to begin."""
        self._stopped = True
        if self._trio is not None:
            with contextlib.suppress(trio.RunFinishedError):
                self._trio.run_sync_soon(self._scope.cancel)

    def _run(self) -> None:
        try:
            trio.run(self._main)
        except BaseException as error:
            self._failure = error
            self._started.put(error)

    async def _main(self) -> None:
        self._trio = trio.lowlevel.current_trio_token()
        if self._stopped:
            return
        with self._scope:
            async with serve(**self._options) as self._server:
                self._started.put(None)
                await trio.sleep_forever()

    def _call(self, function: Callable[[DevServer], T]) -> T:
        """Call this in the thread: what it returns, or raises."""
        # trio.from_thread would refuse to be called from another loop's thread.
        server, answer = self._running, Future[T]()

        def work() -> None:
            try:
                answer.set_result(function(server))
            except BaseException as error:
                answer.set_exception(error)

        assert self._trio is not None
        self._trio.run_sync_soon(work)
        try:
            return answer.result(TIMEOUT)
        except TimeoutError:
            if answer.done():
                raise
            raise TimeoutError(f"the development server does not answer within {TIMEOUT:g} s") from None
