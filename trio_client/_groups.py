"""What is inside exception groups."""

from __future__ import annotations

from collections.abc import Iterator


def leaves(error: BaseException | None) -> Iterator[BaseException]:
    """The exceptions that a group holds, however deep; of an exception that is no group itself, and of None nothing."""
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from leaves(inner)
    elif error is not None:
        yield error
