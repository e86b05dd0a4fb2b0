"""The command ``trio-livekit``: a module a subcommand, each with ``async def run(arguments) -> int``."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module

from ._exits import Exit, Failure, explain
from ._transcript import printable


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; its exit code, as in ``Exit``."""
    import trio

    from ._arguments import parse

    arguments = parse(sys.argv[1:] if argv is None else argv)
    command = import_module(f"._{arguments.command}", __package__)
    try:
        return int(trio.run(command.run, arguments))
    except BaseException as error:
        failure = explain(error)
        if failure is None:
            raise
        if failure.code is Exit.PIPE:  # what is still buffered cannot be written either
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if failure.text:
            text = "\n".join([printable(line) for line in failure.text.splitlines()])  # in part the server's
            print(f"trio-livekit {arguments.command}: {text}", file=sys.stderr)
        return failure.code


__all__ = ["Exit", "Failure", "main"]
