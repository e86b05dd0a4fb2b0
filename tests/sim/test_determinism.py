"""The same seed gives the same run in any process: no hash order, no clock, no randomness from elsewhere."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.sim.scenarios import SCENARIOS

ROOT = Path(__file__).parents[2]


def start(name: str, seed: int, hash_seed: str) -> subprocess.Popen[str]:
    env = {**os.environ, "PYTHONHASHSEED": hash_seed}
    command = [sys.executable, "-m", "tests.sim.scenarios", name, str(seed)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env, cwd=ROOT)


@pytest.mark.parametrize("name", SCENARIOS)
def test_two_processes_with_different_hash_seeds_run_the_same(name):
    runs = [start(name, 1, "1"), start(name, 1, "2")]
    first, second = [run.communicate(timeout=120)[0] for run in runs]
    assert [run.returncode for run in runs] == [0, 0]
    assert len(first.splitlines()) > 20
    assert first == second


@pytest.mark.parametrize("name", SCENARIOS)
@pytest.mark.parametrize("seed", range(2, 7))
def test_scenario_with_other_seeds(name, seed):
    world = SCENARIOS[name](seed)
    assert len(world.trace) > 20
