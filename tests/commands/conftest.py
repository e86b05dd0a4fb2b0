"""A development server that is a process of its own, and an environment that says nothing of another one."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from trio_client.cli import Exit

from .processes import line_with, start, stop


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("URL", "TOKEN", "API_KEY", "API_SECRET"):
        monkeypatch.delenv(f"LIVEKIT_{name}", raising=False)


@pytest.fixture(scope="package")
def url() -> Iterator[str]:
    """A development server, and its address."""
    process = start("devserver", "--port", "0")
    found = re.search(r"URL +(\S+)", line_with(process, "URL"))
    assert found
    yield found.group(1)
    assert stop(process) == Exit.OK
