"""Server programs that a test starts beside itself."""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Self


class Program:
    """A program that serves on a TCP port, its folder and its log. As a context manager it is removed at the end."""

    name: str

    def __init__(self, host: str, port: int) -> None:
        """``host`` and ``port``: where it answers once it is up."""
        self._address = host, port
        self.folder = Path(tempfile.mkdtemp(prefix=f"{self.name}-"))
        self.command: Sequence[str] = ()
        self.process: subprocess.Popen[bytes] | None = None

    def answers(self) -> bool:
        """Whether it serves already."""
        try:
            socket.create_connection(self._address, 1).close()
        except OSError:
            return False
        return True

    def start(self) -> None:
        """Start, and return once it answers."""
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(self.command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        end = time.monotonic() + 20
        while time.monotonic() < end and self.process.poll() is None:
            if self.answers():
                return
            time.sleep(0.05)
        self.stop(kill=True)
        raise RuntimeError(f"{self.name} did not start:\n{self.log()[-3000:]}")

    def stop(self, kill: bool = False) -> None:
        """End it, gracefully unless it is to be killed or takes its time."""
        if self.process is None:
            return
        if not kill:
            self.process.terminate()
            try:
                self.process.wait(2)
            except subprocess.TimeoutExpired:
                kill = True
        if kill:
            self.process.kill()
            self.process.wait()
        self.process = None

    def log(self) -> str:
        """What it has printed so far."""
        return (self.folder / "log").read_text(errors="replace")

    def remove(self) -> None:
        """Kill it and delete its folder."""
        self.stop(kill=True)
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.remove()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self.remove()


def free_port(kind: int = socket.SOCK_STREAM) -> int:
    """A port of the loopback address that nobody uses at the moment."""
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
