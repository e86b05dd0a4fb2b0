"""The lower bounds that are tested are those that are promised."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]


def numbers(version: str) -> tuple[int, ...]:
    found = [int(part) for part in version.split(".")]
    while found and not found[-1]:
        found.pop()
    return tuple(found)


def test_the_oldest_versions_tested_are_the_lower_bounds() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    texts = project["dependencies"] + project["optional-dependencies"]["media"]
    promised = dict(re.fullmatch(r"([\w-]+)>=([\d.]+)", text).groups() for text in texts)
    lines = (ROOT / "tests" / "oldest.txt").read_text(encoding="utf-8").splitlines()
    tested = dict(line.split("==") for line in lines if not line.startswith("#"))
    del promised["cryptography"]  # pyOpenSSL pins it from both sides
    assert {name: numbers(version) for name, version in tested.items()} == {
        name: numbers(version) for name, version in promised.items()
    }
