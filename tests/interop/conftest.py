"""What the tests against the real thing share. Without a server they are skipped, and the run says so at its end.

Fixtures: ``server`` (one for the whole run), ``own_server`` (a function that starts another one, to be stopped and
started again), ``room`` (a name nobody else uses), ``native`` (a function that starts a client of LiveKit's own),
``browser`` (a function that starts a page with LiveKit's JavaScript client), ``other`` (each of these two in turn),
``namespaces`` (the test makes networks of its own), ``server_program`` and ``turn_program`` (to start there).
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import NoReturn

import pytest

from . import browsers, coturn, servers
from .namespaces import able
from .peers import NATIVE, Peer

missing: dict[str, int] = {}
"""What was not there, and how many tests had to be skipped for it."""


def absent(what: str) -> NoReturn:
    """Skip the test that runs; the end of the run says what was missing."""
    missing[what] = missing.get(what, 0) + 1
    pytest.skip(what)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for what, count in missing.items():
        terminalreporter.section(f"INTEROP SKIPPED: {count} tests did not run", sep="!", red=True, bold=True)
        terminalreporter.write_line(what, red=True, bold=True)


BOTH = ("data_tracks", "media", "media_files", "messages", "readme", "room", "rpc", "streams")
"""Modules whose tests run on the development server as well, whether there is a real one or not."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    named = metafunc.module.__name__.rpartition(".test_")[2] in BOTH
    if named and "_server" in metafunc.fixturenames and "own_server" not in metafunc.fixturenames:
        metafunc.parametrize("_server", ["real", "development"], indirect=True, scope="session")


@pytest.fixture(scope="session")
def _server(request: pytest.FixtureRequest) -> Iterator[servers.Server | None]:
    url, program = os.environ.get("LIVEKIT_URL"), servers.program()
    if getattr(request, "param", "real") == "development":
        with servers.development() as development:
            yield development
    elif url and not os.environ.get("LIVEKIT_SERVER"):
        yield servers.Server(url)
    elif program:
        with servers.OwnServer(program) as own:
            yield own
    else:
        yield None


@pytest.fixture
def server(_server: servers.Server | None) -> servers.Server:
    """The real server; for tests that run on both, the development server in its turn."""
    if _server is None:
        absent("No LiveKit server: set LIVEKIT_SERVER (a livekit-server program) or LIVEKIT_URL (a running one).")
    return _server


@pytest.fixture
def server_program() -> str:
    """The server program, for tests that start it themselves."""
    found = servers.program()
    if found is None:
        absent("No server program to start and stop: set LIVEKIT_SERVER.")
    return found


@pytest.fixture
def turn_program() -> str:
    """coturn's server program."""
    found = coturn.program()
    if found is None:
        absent("No coturn: install it, so that turnserver is on the path.")
    return found


@pytest.fixture
def own_server(server_program: str) -> Iterator[Callable[..., servers.OwnServer]]:
    """A function that starts a server of the test's own: ``own_server(more="lines of YAML", rtc="  likewise")``."""
    with ExitStack() as started:
        yield lambda more="", rtc="": started.enter_context(servers.OwnServer(server_program, more, rtc))


@pytest.fixture
def namespaces() -> None:
    """Skip unless this process may make network namespaces with a cable between them."""
    if not able():
        absent("No network namespaces (root, unshare, nsenter and ip are needed).")


@pytest.fixture
def room() -> str:
    """The name of a room that nobody else is in."""
    return f"test-{uuid.uuid4().hex[:12]}"


@contextmanager
def _starting(make: Callable[[str], Peer], server: servers.Server, room: str) -> Iterator[Callable[..., Peer]]:
    with ExitStack() as started:

        def start(identity: str = "", **options: object) -> Peer:
            peer = started.enter_context(make(identity))
            if identity:
                peer.join(server.url, server.token(room, identity, **options))
            return peer

        yield start


@pytest.fixture
def native(server: servers.Server, room: str) -> Iterator[Callable[..., Peer]]:
    """A function that starts LiveKit's Python client; with an identity it joins the test's room at once."""
    with _starting(lambda identity: Peer(NATIVE, f"native {identity}"), server, room) as start:
        yield start


@pytest.fixture(scope="session")
def _setup() -> Iterator[browsers.Setup | str]:
    with browsers.setup() as found:
        yield found


@pytest.fixture
def _page(server: servers.Server, request: pytest.FixtureRequest) -> browsers.Setup | str:
    # Asked for only now: without a server nothing is to be installed.
    found: browsers.Setup | str = request.getfixturevalue("_setup")
    return found


@pytest.fixture
def browser(server: servers.Server, room: str, _page: browsers.Setup | str) -> Iterator[Callable[..., Peer]]:
    """A function that starts LiveKit's JavaScript client in Chromium; with an identity it joins the test's room."""
    if isinstance(_page, str):
        absent(_page)
    with _starting(lambda identity: _page.start(f"browser {identity}"), server, room) as start:
        yield start


@pytest.fixture(params=["native", "browser"])
def other(request: pytest.FixtureRequest) -> Callable[..., Peer]:
    """``native`` and ``browser``, each in turn."""
    start: Callable[..., Peer] = request.getfixturevalue(request.param)
    return start
