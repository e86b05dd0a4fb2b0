"""``python -m fuzz TARGET --seconds N [--seed S]``, ``python -m fuzz --all --seconds N``, ``python -m fuzz --list``."""

from __future__ import annotations

import argparse
import importlib.util
import sys

from fuzz import _run


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m fuzz", description="Run fuzz targets.")
    parser.add_argument("target", nargs="?", help="name of a target")
    parser.add_argument("--list", action="store_true", help="list the targets and the sizes of their corpora")
    parser.add_argument("--all", action="store_true", help="run every target, by mutation")
    parser.add_argument("--seconds", type=float, default=10.0, help="how long to run each target (default: 10)")
    parser.add_argument("--seed", type=int, default=0, help="of the mutations (default: 0)")
    parser.add_argument("--plain", action="store_true", help="mutate, even where Atheris is installed")
    options = parser.parse_args()
    if options.list:
        for name in _run.names():
            print(f"{name:20} {len(_run.corpus(name)):4} inputs")
        return 0
    if options.all == bool(options.target):
        parser.error("name one target, or say --all")
    if options.target and not options.plain and importlib.util.find_spec("atheris"):
        _run.run_atheris(options.target, options.seconds, options.seed)
    failed = False
    for name in _run.names() if options.all else [options.target]:
        try:
            count = _run.run(name, options.seconds, options.seed)
        except _run.Crash as crash:
            print(_run.report(crash), file=sys.stderr, flush=True)
            failed = True
        else:
            print(f"{name:20} {count:9} inputs, no crash", flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
