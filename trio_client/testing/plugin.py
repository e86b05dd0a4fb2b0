"""The pytest fixtures. This is an entry point of pytest: whoever installs the package has them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from . import BackgroundServer, Simulation


@pytest.fixture
def livekit_devserver() -> Iterator[BackgroundServer]:
    """A development server on free ports of the loopback interface, for the length of a test."""
    from . import BackgroundServer

    with BackgroundServer() as server:
        yield server


@pytest.fixture
def livekit_simulation() -> Simulation:
    """Rooms in virtual time: ``livekit_simulation.run(async_function)`` runs a test in them."""
    from . import Simulation

    return Simulation()
