"""The names that embedders import from the core."""

from __future__ import annotations

import subprocess
import sys

import pytest

import sansio


@pytest.mark.parametrize("name", sansio.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(sansio, name) is not None


def test_every_lazy_name_is_public_and_none_other_exists() -> None:
    lazy = [name for _, names in sansio._HOMES for name in names.split()]
    assert sorted([*lazy, "PROJECT"]) == sorted(sansio.__all__)
    with pytest.raises(AttributeError, match="nothing"):
        _ = sansio.nothing


def test_nothing_is_imported_before_it_is_used() -> None:
    code = "import sansio, sys; print([name for name in sys.modules if name.startswith('sansio.')])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
