"""The code blocks of the guide that are whole programs run as they are printed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from .test_docs import PROGRAMS, blocks

GUIDE = Path(__file__).parents[2] / "docs" / "guide"
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
