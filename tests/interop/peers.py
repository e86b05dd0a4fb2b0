"""Other clients in the room, each a process of its own that takes commands and tells events by lines of JSON."""

from __future__ import annotations

import base64
import contextlib
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Self

import trio

HERE = Path(__file__).parent
NATIVE = (sys.executable, str(HERE / "native_peer.py"))


class PeerFailed(AssertionError):
    """A peer answered with an error, ended, or did not do in time what was waited for."""


class Peer:
    """One process. Every method exists in two forms: blocking, and for Trio with ``a`` before its name.

    ``events`` holds all events so far, in order; ``wait`` looks only at those that no earlier ``wait`` went past.
    """

    def __init__(self, command: Sequence[str], name: str, env: Mapping[str, str] | None = None) -> None:
        self.name = name
        self.events: list[dict[str, Any]] = []
        self.identity = ""
        self._seen = 0
        self._replies: dict[int, dict[str, Any]] = {}
        self._commands = 0
        self._news = threading.Condition()
        self._ended = False
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env
        )
        self._errors: list[str] = []
        self._threads = [threading.Thread(target=target, daemon=True) for target in (self._read, self._read_errors)]
        for thread in self._threads:
            thread.start()

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            if not line.startswith("{"):
                continue
            message = json.loads(line)
            with self._news:
                if "reply" in message:
                    self._replies[message["reply"]] = message
                else:
                    message["at"] = time.monotonic()
                    self.events.append(message)
                self._news.notify_all()
        with self._news:
            self._ended = True
            self._news.notify_all()

    def _read_errors(self) -> None:
        assert self.process.stderr
        for line in self.process.stderr:
            self._errors = [*self._errors[-30:], line]

    def _wait_for(self, ready: Callable[[], Any], timeout: float, what: str) -> Any:
        found: Any = None

        def check() -> bool:
            nonlocal found
            found = ready()
            return found is not None or self._ended

        with self._news:
            done = self._news.wait_for(check, timeout)
            if found is None:
                how = "ended before" if done else f"had not within {timeout} s"
                tail = "".join(self._errors[-10:])
                raise PeerFailed(f"{self.name} {how}: {what}; its events: {self.events[-10:]}\n{tail}")
        return found

    # ---- blocking

    def call(self, do: str, *, timeout: float = 15.0, **args: Any) -> Any:
        """Send a command and return its result."""
        self._commands += 1
        number = self._commands
        assert self.process.stdin
        self.process.stdin.write(json.dumps({"id": number, "do": do, **args}) + "\n")
        self.process.stdin.flush()
        reply = self._wait_for(lambda: self._replies.get(number), timeout, f"answer to {do}")
        if "error" in reply:
            raise PeerFailed(f"{self.name} could not {do}: {reply['error']}")
        return reply["result"]

    def wait(self, event: str, *, where: Callable[[dict[str, Any]], Any] | None = None, timeout: float = 10.0) -> Any:
        """The next event of that name for which ``where`` holds; those before it are passed over for good."""

        def ready() -> dict[str, Any] | None:
            for index in range(self._seen, len(self.events)):
                found = self.events[index]
                if found["event"] == event and (where is None or where(found)):
                    self._seen = index + 1
                    return found
            return None

        return self._wait_for(ready, timeout, f"event {event}")

    def join(self, url: str, token: str, **options: Any) -> Any:
        """Join a room; who is in it."""
        result = self.call("join", url=url, token=token, timeout=30.0, **options)
        self.identity = result["local"]["identity"]
        return result

    def send(self, data: bytes, **options: Any) -> None:
        """Publish a data packet: ``reliable``, ``topic``, ``to``."""
        self.call("send", data=base64.b64encode(data).decode(), **options)

    def wait_data(self, data: bytes | None = None, *, timeout: float = 10.0) -> dict[str, Any]:
        """The next data packet (with these contents, if given), its ``data`` as bytes."""
        encoded = None if data is None else base64.b64encode(data).decode()
        found = self.wait("data_received", where=lambda e: encoded in (None, e["data"]), timeout=timeout)
        return {**found, "data": base64.b64decode(found["data"])}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Leave and end; killed when that takes longer than five seconds."""
        assert self.process.stdin
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        for thread in self._threads:
            thread.join(5)
        for stream in (self.process.stdout, self.process.stderr):
            assert stream
            stream.close()

    # ---- for Trio

    async def acall(self, do: str, **args: Any) -> Any:
        return await trio.to_thread.run_sync(partial(self.call, do, **args), abandon_on_cancel=True)

    async def await_(self, event: str, **args: Any) -> Any:
        return await trio.to_thread.run_sync(partial(self.wait, event, **args), abandon_on_cancel=True)

    async def ajoin(self, url: str, token: str, **options: Any) -> Any:
        return await trio.to_thread.run_sync(partial(self.join, url, token, **options), abandon_on_cancel=True)

    async def asend(self, data: bytes, **options: Any) -> None:
        await trio.to_thread.run_sync(partial(self.send, data, **options), abandon_on_cancel=True)

    async def await_data(self, data: bytes | None = None, **args: Any) -> dict[str, Any]:
        return await trio.to_thread.run_sync(partial(self.wait_data, data, **args), abandon_on_cancel=True)
