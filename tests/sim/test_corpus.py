"""The fuzz targets that play whole sessions, on all of their corpus; the unit tests take a sample."""

from __future__ import annotations

import pytest

from fuzz import _run
from tests.unit.test_fuzz_corpus import WORLDS

INPUTS = {f"{name}/{file}": (name, data) for name in WORLDS for file, data in _run.corpus(name)}


@pytest.mark.parametrize("path", INPUTS)
def test_input(path):
    name, data = INPUTS[path]
    _run.load(name)(data)
