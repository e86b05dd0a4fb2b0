"""The commands as processes of their own."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import threading
from pathlib import Path

ROOT = Path(__file__).parents[2]
COMMAND = (sys.executable, "-W", "error", "-m", "trio_client")


def start(*arguments: str, cwd: Path | None = None) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*COMMAND, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
        cwd=cwd,
    )


def on_terminal(*arguments: str, cwd: Path | None = None) -> tuple[int, str]:
    """Run a command to its end with a terminal before it; its exit code, and all that it has written there."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen([*COMMAND, *arguments], stdout=theirs, stderr=theirs, env=environment(), cwd=cwd)
    os.close(theirs)
    watchdog = threading.Timer(60, process.kill)
    watchdog.start()
    shown = b""
    try:
        while data := os.read(ours, 4096):
            shown += data
    except OSError:  # the other end is closed
        pass
    finally:
        watchdog.cancel()
        os.close(ours)
    return process.wait(), shown.decode()


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", "PYTHONUTF8": "1"}


def line_with(process: subprocess.Popen[str], *texts: str) -> str:
    """Read its output until each text has been in a line; a process that does not print them in time is ended."""
    assert process.stdout is not None
    assert process.stderr is not None
    lines = []
    watchdog = threading.Timer(20, process.kill)
    watchdog.start()
    try:
        for line in process.stdout:
            lines.append(line)
            if all(any(text in line for line in lines) for text in texts):
                return line
    finally:
        watchdog.cancel()
    raise AssertionError(f"not all of {texts} in {lines}: {process.stderr.read()}")


def stop(process: subprocess.Popen[str]) -> int:
    """Interrupt it; its exit code."""
    process.send_signal(signal.SIGINT)
    try:
        return process.wait(10)
    finally:
        process.kill()
        process.wait()
        for stream in (process.stdout, process.stderr):
            assert stream is not None
            stream.close()
