"""What the tests against the real thing share. Without a server they are skipped, and the run says so at its end.

Fixtures: ``server`` (one for the whole run), ``own_server`` (a function that starts another one, to be stopped and
started again), ``room`` (a name nobody else uses), ``native`` (a function that starts a client of LiveKit's own),
``browser`` (a function that starts a page with LiveKit's JavaScript client).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import uuid
from collections.abc import Callable, Iterator

import pytest

from . import browsers, servers
from .peers import NATIVE, Peer

missing: dict[str, int] = {}
"""What was not there, and how many tests had to be skipped for it."""


def absent(what: str) -> None:
    missing[what] = missing.get(what, 0) + 1
    pytest.skip(what)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for what, count in missing.items():
        terminalreporter.section(f"INTEROP SKIPPED: {count} tests did not run", sep="!", red=True, bold=True)
        terminalreporter.write_line(what, red=True, bold=True)


@pytest.fixture(scope="session")
def _server() -> Iterator[servers.Server | None]:
    url, program = os.environ.get("LIVEKIT_URL"), servers.program()
    if url and not os.environ.get("LIVEKIT_SERVER"):
        yield servers.Server(url)
    elif program:
        own = servers.OwnServer(program)
        own.start()
        yield own
        own.remove()
    else:
        yield None


@pytest.fixture
def server(_server: servers.Server | None) -> servers.Server:
    """The real server."""
    if _server is None:
        absent("No LiveKit server: set LIVEKIT_SERVER (a livekit-server program) or LIVEKIT_URL (a running one).")
    assert _server
    return _server


@pytest.fixture
def own_server() -> Iterator[Callable[..., servers.OwnServer]]:
    """A function that starts a server of the test's own: ``own_server(more="lines of YAML", rtc="  likewise")``."""
    program = servers.program()
    if program is None:
        absent("No server program to start and stop: set LIVEKIT_SERVER.")
    assert program
    started: list[servers.OwnServer] = []

    def start(more: str = "", rtc: str = "") -> servers.OwnServer:
        started.append(servers.OwnServer(program, more, rtc))
        started[-1].start()
        return started[-1]

    yield start
    for own in started:
        own.remove()


@pytest.fixture
def namespaces() -> None:
    """Skip unless this process may make network namespaces with a cable between them."""
    probe = "ip link add near type veth peer name far"
    able = os.geteuid() == 0 and all(shutil.which(name) for name in ("unshare", "nsenter", "ip"))
    if able:
        able = subprocess.run(["unshare", "-n", *probe.split()], capture_output=True, check=False).returncode == 0
    if not able:
        absent("No network namespaces (root, unshare, nsenter and ip are needed).")


@pytest.fixture
def room() -> str:
    """The name of a room that nobody else is in."""
    return f"test-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def native(server: servers.Server, room: str) -> Iterator[Callable[..., Peer]]:
    """A function that starts LiveKit's Python client; with an identity it joins the test's room at once."""
    started: list[Peer] = []

    def start(identity: str = "", **options: object) -> Peer:
        started.append(Peer(NATIVE, f"native {identity}"))
        if identity:
            started[-1].join(server.url, server.token(room, identity, **options))
        return started[-1]

    yield start
    for peer in started:
        peer.close()


@pytest.fixture(scope="session")
def _page(_server: servers.Server | None) -> Iterator[browsers.Setup | str]:
    setup = browsers.find() if _server else "No browser without a server."
    yield setup
    if isinstance(setup, browsers.Setup):
        setup.close()


@pytest.fixture
def browser(server: servers.Server, room: str, _page: browsers.Setup | str) -> Iterator[Callable[..., Peer]]:
    """A function that starts LiveKit's JavaScript client in Chromium; with an identity it joins the test's room."""
    if isinstance(_page, str):
        absent(_page)
    assert isinstance(_page, browsers.Setup)
    started: list[Peer] = []

    def start(identity: str = "", *, join: dict[str, object] | None = None, **options: object) -> Peer:
        started.append(_page.start(f"browser {identity}"))
        if identity:
            started[-1].join(server.url, server.token(room, identity, **options), **(join or {}))
        return started[-1]

    yield start
    for peer in started:
        peer.close()
