"""Finds fuzz targets and runs them: under Atheris where it is installed, else in a seeded mutation loop."""

from __future__ import annotations

import hashlib
import importlib
import random
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

HERE = Path(__file__).parent
CORPUS = HERE / "corpus"
LONGEST = 4096
"""Bytes of the longest input that mutation makes."""
INTERESTING = (0, 1, 2, 3, 4, 7, 8, 15, 16, 31, 32, 63, 64, 127, 128, 191, 192, 253, 254, 255)

Target = Callable[[bytes], None]


def names() -> list[str]:
    """The names of all targets."""
    return sorted(path.stem.removeprefix("fuzz_") for path in HERE.glob("fuzz_*.py"))


def load(name: str) -> Target:
    """The function of a target."""
    if name not in names():
        raise SystemExit(f"there is no target {name!r}; there are: {', '.join(names())}")
    function: Target = importlib.import_module(f"fuzz.fuzz_{name}").one
    return function


def corpus(name: str) -> list[tuple[str, bytes]]:
    """The committed inputs of a target, by file name."""
    folder = CORPUS / name
    return [(path.name, path.read_bytes()) for path in sorted(folder.iterdir())] if folder.is_dir() else []


# ------------------------------------------------------------------ mutation


def mutations(seeds: list[bytes], seed: object) -> Iterator[bytes]:
    """An endless row of inputs made from ``seeds``; the same row for the same ``seed``."""
    draw = random.Random(f"{seed}")
    pool = [item for item in seeds if item] or [b"\0" * 16]
    while True:
        data = bytearray(draw.choice(pool))
        for _ in range(1 + min(draw.getrandbits(3), draw.getrandbits(3))):
            _mutate(data, pool, draw)
        yield bytes(data[:LONGEST])


def _mutate(data: bytearray, pool: list[bytes], draw: random.Random) -> None:
    kind = draw.randrange(10)
    at = draw.randrange(len(data) + 1)
    length = 1 + min(draw.getrandbits(5), draw.getrandbits(5))
    if kind == 0:
        del data[at:]
    elif kind == 1:
        del data[at : at + length]
    elif kind == 2:
        data[at:at] = draw.randbytes(length)
    elif kind == 3:
        data[at:at] = data[at : at + length]
    elif kind == 4:
        other = draw.choice(pool)
        begin = draw.randrange(len(other))
        data[at : at + length] = other[begin : begin + length]
    elif kind == 5:
        other = draw.choice(pool)
        data[at:] = other[draw.randrange(len(other)) :]
    elif at < len(data):
        if kind == 6:
            data[at] ^= 1 << draw.randrange(8)
        elif kind == 7:
            data[at] = draw.choice(INTERESTING)
        elif kind == 8:
            data[at] = (data[at] + draw.choice((-1, 1))) & 255
        else:
            width = draw.choice((2, 4))
            data[at : at + width] = draw.choice((0, 1, 2**15, 2**16 - 1, 2**31, 2**32 - 1)).to_bytes(4, "big")[-width:]


# ------------------------------------------------------------------ running


class Crash(Exception):
    """A target let an exception out; its input has been written to the file ``path``."""

    def __init__(self, name: str, data: bytes, path: Path) -> None:
        super().__init__(f"{name} crashed; its input of {len(data)} bytes is in {path}")
        self.path = path


def keep(name: str, data: bytes) -> Path:
    """Write a crashing input into the corpus."""
    folder = CORPUS / name
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"crash-{hashlib.sha256(data).hexdigest()[:16]}"
    path.write_bytes(data)
    return path


def run(name: str, seconds: float, seed: object = 0) -> int:
    """Run a target on its corpus and on mutations of it for some seconds; how many inputs that were.

    Raises Crash for the first input that lets an exception out.
    """
    one = load(name)
    known = [data for _, data in corpus(name)]
    end = time.monotonic() + seconds
    count = 0
    for data in known:
        _try(name, one, data)
        count += 1
    for data in mutations(known, seed):
        if time.monotonic() >= end:
            break
        _try(name, one, data)
        count += 1
    return count


def _try(name: str, one: Target, data: bytes) -> None:
    try:
        one(data)
    except Exception as error:
        raise Crash(name, data, keep(name, data)) from error


def run_atheris(name: str, seconds: float, seed: int) -> None:
    """Run a target guided by coverage. Does not return: Atheris ends the process, with an error for a crash."""
    import atheris  # type: ignore[import-not-found,unused-ignore]

    with atheris.instrument_imports(include=["sansio"]):
        one = load(name)
    folder = CORPUS / name
    folder.mkdir(parents=True, exist_ok=True)
    options = [f"-max_total_time={max(1, int(seconds))}", f"-artifact_prefix={folder}/", f"-max_len={LONGEST}"]
    grown = HERE / "grown" / name
    grown.mkdir(parents=True, exist_ok=True)
    atheris.Setup(["fuzz", *options, f"-seed={seed + 1}", str(grown), str(folder)], lambda data: one(bytes(data)))
    atheris.Fuzz()


def report(crash: Crash) -> str:
    """What to print of a crash."""
    return "".join(traceback.format_exception(crash.__cause__)) + f"\n{crash}\n"
