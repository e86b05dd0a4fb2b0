"""What readers have in common: ``with`` and ``async with`` close them."""

from __future__ import annotations

from types import TracebackType
from typing import Self

import trio


class Closing:
    """Something that ``close`` ends, which the end of its block does too."""

    __slots__ = ()

    def close(self) -> None:
        """End it. Does nothing when it has ended."""
        raise NotImplementedError  # a mixin: each kind of reader ends in its own way

    async def aclose(self) -> None:
        """Like ``close``."""
        self.close()
        await trio.lowlevel.checkpoint()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
