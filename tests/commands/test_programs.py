"""The code blocks of the guide that are whole programs run as they are printed, and so does the example project."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.driver.test_docs import PROGRAMS, blocks

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "docs" / "guide"
ALL = [
    pytest.param(code, id=f"{name}-{number}")
    for name in sorted(PROGRAMS)
    for number, code in enumerate(blocks(GUIDE / f"{name}.md"))
]


def test_the_pages_have_programs() -> None:
    assert all(blocks(GUIDE / f"{name}.md") for name in PROGRAMS)


@pytest.mark.parametrize("code", ALL)
def test_program(code: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    assert done.stdout


def test_the_example_project(tmp_path):
    """As users run it, with the fixtures from the plugin."""
    project = ROOT / "docs" / "examples" / "tested_program"
    arguments = ["-p", "trio_client.testing.plugin", "-p", "no:cacheprovider", "-c", os.devnull, "--rootdir", tmp_path]
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "pytest", "-W", "error", *map(str, arguments), str(project)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "5 passed" in done.stdout
