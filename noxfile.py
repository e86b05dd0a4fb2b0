"""The checks: ``nox`` runs all that decide, ``nox -s lint`` runs one, ``nox --no-venv`` uses the Python it runs on."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import nox

nox.options.sessions = ["lint", "types", "docs", "package", "interop", "sim", "commands", "oldest", "coverage"]
nox.options.reuse_existing_virtualenvs = True
nox.needs_version = ">=2024.4"

CODE = ("sansio", "trio_client", "tests", "fuzz", "docs", "noxfile.py")
UNIT = ("tests/unit", "tests/driver")


def python(session: nox.Session, *args: str, extras: str = "") -> None:
    """Run Python with the project and ``extras`` installed: in the session's own environment, if it has one."""
    if session.virtualenv.is_sandboxed:
        if extras:
            session.install("-q", "-e", f".[{extras}]")
        session.run("python", *args)
    else:
        session.run(sys.executable, *args, external=True)


def present(*folders: str) -> list[str]:
    """Those of the folders that hold tests."""
    return [folder for folder in folders if any(Path(folder).rglob("test_*.py"))]


@nox.session
def unit(session: nox.Session) -> None:
    """Unit and driver tests, for while you work; ``coverage`` is the same with every line counted."""
    some_wait = ["-n", "3"]  # one more than cores: tests on sockets and in threads wait for them
    python(session, "-m", "pytest", *(session.posargs or [*some_wait, *present(*UNIT)]), extras="test,media")


@nox.session
def coverage(session: nox.Session) -> None:
    """Unit and driver tests; every line and branch of the core must be run by them."""
    session.env["COVERAGE_FILE"] = str(Path(session.create_tmp()).resolve() / "coverage")
    whole = ["-n", "2", "--cov", "--cov-report=term-missing:skip-covered", *present(*UNIT)]
    python(session, "-m", "pytest", *whole, *session.posargs, extras="test,media")


@nox.session
def oldest(session: nox.Session) -> None:
    """The unit and driver tests with the oldest dependencies that are allowed, in an environment of their own."""
    folder = Path(session.create_tmp()).resolve() / "oldest"
    python(session, "-m", "venv", "--clear", str(folder))
    old = str(folder / "bin" / "python")
    session.run(old, "-m", "pip", "install", "-q", "-c", "tests/oldest.txt", "-e", ".[test,media]", external=True)
    session.run(old, "-m", "pytest", "-n", "2", "-q", *present(*UNIT), *session.posargs, external=True)


@nox.session
def lint(session: nox.Session) -> None:
    """Style and the usual mistakes."""
    python(session, "-m", "ruff", "check", *CODE, extras="dev")
    python(session, "-m", "ruff", "format", "--check", *CODE)


@nox.session
def types(session: nox.Session) -> None:
    """Strict types of both packages."""
    python(session, "-m", "mypy", extras="dev,test,media")


@nox.session
def sim(session: nox.Session) -> None:
    """Whole sessions in virtual time, and the same trace from every run of one seed."""
    python(session, "-m", "pytest", "tests/sim", *session.posargs, extras="test,media")


@nox.session
def commands(session: nox.Session) -> None:
    """The command line, and whole programs of the documentation, each in processes of its own."""
    python(session, "-m", "pytest", "-n", "2", "tests/commands", *session.posargs, extras="test,media")


@nox.session
def interop(session: nox.Session) -> None:
    """Against other implementations: libraries, and a real server with LiveKit's own clients.

    Says so when there is no server; see tests/interop/README.md.
    """
    python(
        session, "-m", "pytest", "tests/differential", "tests/interop", *session.posargs, extras="test,interop,media"
    )


@nox.session
def bench(session: nox.Session) -> None:
    """What a packet costs; names after ``--`` choose among tests/bench/bench_*.py. Those with a server need one."""
    names = session.posargs or [path.stem[6:] for path in sorted(Path("tests/bench").glob("bench_*.py"))]
    for name in names:
        if name in ("rpc", "streams", "through_server", "videos") and "LIVEKIT_URL" not in os.environ:
            session.log(f"bench_{name} needs LIVEKIT_URL")
            continue
        python(session, f"tests/bench/bench_{name}.py", extras="interop,media")


@nox.session
def fuzz(session: nox.Session) -> None:
    """Each fuzz target for some seconds (10 unless given after ``--``)."""
    python(session, "-m", "fuzz", "--all", "--seconds", *(session.posargs or ["10"]), extras="test,media")


@nox.session
def docs(session: nox.Session) -> None:
    """The documentation builds without a warning."""
    out = Path(session.create_tmp()).resolve() / "docs"
    python(
        session, "-m", "sphinx", "-W", "-q", "--keep-going", "-E", "-b", "html", "docs", str(out), extras="docs,media"
    )


@nox.session
def package(session: nox.Session) -> None:
    """The wheel holds the two packages and nothing else, and works where only it is installed."""
    with tempfile.TemporaryDirectory() as folder:
        python(session, "-m", "pip", "wheel", "-q", "--no-deps", "-w", folder, ".")
        (wheel,) = Path(folder).glob("*.whl")
        python(session, "tests/package.py", "contents", str(wheel))
        python(session, "-m", "venv", f"{folder}/venv")
        fresh = f"{folder}/venv/bin/python"
        session.run(fresh, "-m", "pip", "install", "-q", str(wheel), external=True)
        session.run(fresh, "-m", "pip", "check", external=True)
        script = Path("tests/package.py").resolve()
        with session.chdir(folder):
            session.run(fresh, "-I", str(script), "imports", external=True)
