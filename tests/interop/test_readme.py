"""The program in the README does what it says, as it is printed there; and so do the drivers in the documentation."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def first_program() -> str:
    text = (ROOT / "README.md").read_text(encoding="utf-8").partition("## A first program")[2]
    found = re.search(r"```python\n(.*?)```", text, re.DOTALL)
    assert found
    return found.group(1)


def test_the_first_program(server, room, native, tmp_path):
    program = tmp_path / "first.py"
    program.write_text(first_program(), encoding="utf-8")
    status, errors = check(program, b"hello from Trio", server, room, native)
    assert status != 0
    assert "KeyboardInterrupt" in errors


@pytest.mark.parametrize("runtime", ["asyncio", "threaded"])
def test_the_same_program_on_another_driver(runtime, server, room, native):
    program = ROOT / "docs" / "examples" / f"{runtime}_driver.py"
    status, errors = check(program, f"hello from {runtime}".encode(), server, room, native)
    assert (status, errors) == (0, "")


def check(program, greeting, server, room, native):
    """Run the program with a native client in the room, interrupt it; its exit status and what it complained of."""
    bob = native("bob")
    env = {**os.environ, "LIVEKIT_URL": server.url, "LIVEKIT_TOKEN": server.token(room, "me"), "PYTHONUNBUFFERED": "1"}
    run = subprocess.Popen(
        [sys.executable, str(program)], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    lines: list[str] = []

    def read() -> None:
        assert run.stdout
        lines.extend(line.rstrip("\n") for line in run.stdout)

    def wait(line: str) -> None:
        end = time.monotonic() + 15
        while line not in lines:
            assert run.poll() is None, (line, lines)
            assert time.monotonic() < end, (line, lines)
            time.sleep(0.02)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        got = bob.wait_data(greeting, timeout=20)
        # of whom, bob learns later: the server announces in batches those who publish no track
        assert (got["topic"], got["reliable"]) == ("chat", True)
        wait("already here: ['bob']")
        assert lines[0] == f"joined {room} as me"
        bob.send(b"hello back")
        wait("bob says b'hello back'")
        native("carol")
        wait("carol came")
        bob.call("leave")
        wait("bob left")
        run.send_signal(signal.SIGINT)
        status = run.wait(10)
        assert server.identities(room) == ["carol"]
    finally:
        run.kill()
        run.wait()
        reader.join()
        errors = run.stderr.read() if run.stderr else ""
        for stream in (run.stdout, run.stderr):
            assert stream
            stream.close()
    return status, errors
