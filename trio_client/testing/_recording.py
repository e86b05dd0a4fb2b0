"""Recordings of sessions, for reports of what went wrong: everything that goes into the core, without secrets."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from .._network import Network, current_network

if TYPE_CHECKING:
    from .._core import DtlsIdentity, Entropy, Replayed, RoomEngine, WallClock
    from .._options import ConnectOptions


@contextmanager
def record_session(write: Callable[[str], object]) -> Iterator[None]:
    """Record the first session that is joined in the block: ``write`` gets one line (without its end) after another.

    Lines hold no token's signature, no password and no key, but everything that was said over signalling and data
    channels; media is left out. ``replay_session`` plays them to a fresh core. To be used inside a run of Trio; the
    session goes on being recorded when it outlives the block.
    """
    token = current_network.set(_Recording(current_network.get(), write))
    try:
        yield
    finally:
        current_network.reset(token)


def replay_session(lines: Iterable[str], *, check: bool = True) -> Replayed:
    """Play a recording to a fresh core, as far as it goes: ``engine`` of what is returned is in its last state.

    Raises an AssertionError where the core does something else than it did, unless ``check`` is off: then this is
    another version, or the session went by a relay, whose password a recording does not have.
    """
    from .._core import replay

    return replay(lines, check=check)


class _Recording:
    """A network like another, on which the first session is recorded."""

    def __init__(self, inner: Network, write: Callable[[str], object]) -> None:
        self._inner = inner
        self._write: Callable[[str], object] | None = write

    def engine(self) -> Callable[..., RoomEngine]:
        from .._core import Recorder

        write, self._write = self._write, None
        return self._inner.engine() if write is None else Recorder(write).engine

    def wall(self) -> WallClock:
        return self._inner.wall()

    def entropy(self) -> Entropy:
        return self._inner.entropy()

    def identity(self, wall: WallClock) -> DtlsIdentity:
        return self._inner.identity(wall)

    def engine_options(self) -> dict[str, Any]:
        return self._inner.engine_options()

    def doors(self, options: ConnectOptions) -> dict[str, Any]:
        return self._inner.doors(options)
