"""The program in the README does what it says, as it is printed there."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

README = Path(__file__).parents[2] / "README.md"


def first_program() -> str:
    text = README.read_text(encoding="utf-8").partition("## A first program")[2]
    found = re.search(r"```python\n(.*?)```", text, re.DOTALL)
    assert found
    return found.group(1)


def test_the_first_program(server, room, native, tmp_path):
    program = tmp_path / "first.py"
    program.write_text(first_program(), encoding="utf-8")
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
        got = bob.wait_data(b"hello from Trio", timeout=20)
        # of whom, bob learns later: the server announces in batches those who publish no track
        assert (got["topic"], got["reliable"]) == ("chat", True)
        assert lines[:2] == [f"joined {room} as me", "already here: ['bob']"]
        bob.send(b"hello back")
        wait("bob says b'hello back'")
        native("carol")
        wait("carol came")
        bob.call("leave")
        wait("bob left")
        run.send_signal(signal.SIGINT)
        assert run.wait(10) != 0
        assert server.identities(room) == ["carol"]
    finally:
        run.kill()
        reader.join()
        errors = run.stderr.read() if run.stderr else ""
        for stream in (run.stdout, run.stderr):
            assert stream
            stream.close()
    assert "KeyboardInterrupt" in errors
