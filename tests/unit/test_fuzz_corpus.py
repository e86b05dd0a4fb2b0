"""Every fuzz target on its whole corpus and on some mutations, and the runner itself."""

from __future__ import annotations

import itertools
import random
import subprocess
import sys
import time
import types

import pytest

from fuzz import _run

TARGETS = _run.names()
MUTATIONS = 200
SECONDS = 0.25
LEAST = 2
MOST_BYTES = 64 * 1024
WORLDS = ("reconnect", "room_scenario")
"""Each input is a whole session or several: some here, all of them in tests/sim/test_corpus.py."""
SOME = 4


@pytest.mark.parametrize("name", TARGETS)
def test_target_on_its_corpus_and_on_mutations_of_it(name):
    one = _run.load(name)
    inputs = _run.corpus(name)
    assert inputs, f"fuzz/corpus/{name} holds no input"
    assert max(len(data) for _, data in inputs) <= MOST_BYTES
    for _, data in random.Random(name).sample(inputs, SOME) if name in WORLDS else inputs:
        one(data)
    end = time.monotonic() + SECONDS
    for number, data in enumerate(itertools.islice(_run.mutations([data for _, data in inputs], 0), MUTATIONS)):
        if number >= LEAST and time.monotonic() > end:
            break  # whole worlds take long; `nox -s fuzz` gives them their time
        try:
            one(data)
        except Exception as error:
            error.add_note(f"input: {data.hex()}")
            raise


def test_every_folder_of_the_corpus_has_a_target():
    assert [path.name for path in sorted(_run.CORPUS.glob("*")) if path.name not in TARGETS] == []


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """A target that crashes on inputs with a 0xFF byte, with a corpus of its own."""

    def one(data):
        if 0xFF in data:
            raise IndexError("0xFF")

    (tmp_path / "fuzz_toy.py").touch()
    (tmp_path / "corpus" / "toy").mkdir(parents=True)
    (tmp_path / "corpus" / "toy" / "plain").write_bytes(b"abcdefgh")
    monkeypatch.setattr(_run, "HERE", tmp_path)
    monkeypatch.setattr(_run, "CORPUS", tmp_path / "corpus")
    module = types.ModuleType("fuzz.fuzz_toy")
    module.one = one
    monkeypatch.setitem(sys.modules, "fuzz.fuzz_toy", module)
    return tmp_path / "corpus" / "toy"


def test_a_crash_is_found_and_its_input_kept(toy):
    with pytest.raises(_run.Crash) as caught:
        _run.run("toy", seconds=20, seed=1)
    assert caught.value.path.parent == toy
    assert caught.value.path.name.startswith("crash-")
    assert 0xFF in caught.value.path.read_bytes()
    assert "IndexError: 0xFF" in _run.report(caught.value)
    kept = _run.corpus("toy")
    assert len(kept) == 2
    with pytest.raises(_run.Crash):
        _run.run("toy", seconds=0, seed=1)
    assert _run.corpus("toy") == kept


def test_a_run_ends_in_time_and_tells_how_much_it_tried(toy, monkeypatch):
    monkeypatch.setattr(sys.modules["fuzz.fuzz_toy"], "one", lambda data: None)
    assert _run.run("toy", seconds=0.05) > 10
    assert _run.run("toy", seconds=0) == 1


def test_an_unknown_target(toy):
    with pytest.raises(SystemExit, match="no target 'other'; there are: toy"):
        _run.load("other")
    assert _run.corpus("other") == []


def test_mutations_repeat_for_a_seed_and_vary_otherwise():
    def take(seed, seeds=(b"some bytes", b"\x01\x02\x03\x04")):
        return list(itertools.islice(_run.mutations(list(seeds), seed), 500))

    assert take(1) == take(1)
    assert take(1) != take(2)
    assert len(set(take(1))) > 300
    assert all(len(data) <= _run.LONGEST for data in take(1, [bytes(_run.LONGEST)]))
    assert len(set(take(1, []))) > 200


def test_the_command_lists_targets():
    def command(*args):
        line = [sys.executable, "-m", "fuzz", *args]
        return subprocess.run(line, capture_output=True, text=True, timeout=60, cwd=_run.HERE.parent, check=False)

    listed = command("--list")
    assert listed.returncode == 0
    assert [line.split()[0] for line in listed.stdout.splitlines()] == TARGETS
    wrong = command()
    assert wrong.returncode == 2
    assert "name one target" in wrong.stderr
