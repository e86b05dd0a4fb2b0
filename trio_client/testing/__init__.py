"""For the tests of programs that use LiveKit rooms.

* ``Simulation``: rooms in virtual time. A server and a network without sockets; a minute passes in no time.
* ``BackgroundServer``: the development server, on real ports, in a thread of its own: for any kind of client.
* ``record_session`` and ``replay_session``: what went into the core of a session, for reports of what went wrong.

The first two are pytest fixtures too, ``livekit_simulation`` and ``livekit_devserver``, in every environment that has
this package and pytest.
"""

from __future__ import annotations

from ._background import BackgroundServer
from ._recording import record_session, replay_session
from ._simulation import Simulation

__all__ = ["BackgroundServer", "Simulation", "record_session", "replay_session"]
