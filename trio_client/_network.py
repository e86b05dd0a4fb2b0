"""What a session stands on: sockets, clock and chance, of the system or of a simulation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import trio

from ._core import Entropy, WallClock

if TYPE_CHECKING:
    from collections.abc import Callable

    from ._core import DtlsIdentity, RoomEngine
    from ._options import ConnectOptions


class Network(Protocol):
    """A place where rooms can be joined from."""

    def wall(self) -> WallClock:
        """The wall clock, tied to Trio's."""

    def entropy(self) -> Entropy:
        """Randomness for one session."""

    def identity(self, wall: WallClock) -> DtlsIdentity:
        """Who a session is in DTLS."""

    def engine(self) -> Callable[..., RoomEngine]:
        """What makes the engine of a session; it takes the arguments of RoomEngine."""

    def engine_options(self) -> dict[str, Any]:
        """EngineOptions that differ from what they are elsewhere."""

    def doors(self, options: ConnectOptions) -> dict[str, Any]:
        """The keyword arguments of Driver that lead out, for one session."""


class SystemNetwork:
    """This machine and what it is connected to."""

    def wall(self) -> WallClock:
        from ._entropy import system_wall

        return system_wall()

    def entropy(self) -> Entropy:
        from ._entropy import system_entropy

        return system_entropy()

    def identity(self, wall: WallClock) -> DtlsIdentity:
        from ._core import DtlsIdentity

        return DtlsIdentity.generate(wall.unix)

    def engine(self) -> Callable[..., RoomEngine]:
        from ._core import RoomEngine

        return RoomEngine

    def engine_options(self) -> dict[str, Any]:
        return {}

    def doors(self, options: ConnectOptions) -> dict[str, Any]:
        from ._signal import WebSocketLink
        from ._streams import TcpStream

        return {
            "open_stream": lambda request: TcpStream(request, options.ssl_context),
            "open_link": lambda request: WebSocketLink(request, options.ssl_context),
        }


current_network: trio.lowlevel.RunVar[Network] = trio.lowlevel.RunVar("trio_client network", SystemNetwork())
"""Where ``connect`` goes in this run of Trio."""
