"""In place of the real server: the development server. These tests run wherever the clients do."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from trio_client.testing import BackgroundServer

from .. import browsers
from ..servers import Server


class DevelopmentServer(Server):
    """As the other tests see a server; ``background`` is the thing itself."""

    def __init__(self, background: BackgroundServer) -> None:
        super().__init__(background.url, *next(iter(background.keys.items())))
        self.background = background


@pytest.fixture(scope="package")
def _server() -> Iterator[DevelopmentServer]:
    with BackgroundServer() as background:
        yield DevelopmentServer(background)


@pytest.fixture
def server(_server: DevelopmentServer) -> DevelopmentServer:
    """The development server, one for all tests of this folder."""
    return _server


@pytest.fixture(scope="package")
def _page() -> Iterator[browsers.Setup | str]:
    with browsers.setup() as found:
        yield found
