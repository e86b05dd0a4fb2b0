"""In place of the real server: the development server. These tests run wherever the clients do."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .. import servers


@pytest.fixture(scope="package")
def _server() -> Iterator[servers.DevelopmentServer]:
    with servers.development() as development:
        yield development


@pytest.fixture
def server(_server: servers.DevelopmentServer) -> servers.DevelopmentServer:
    """The development server, one for all tests of this folder."""
    return _server
