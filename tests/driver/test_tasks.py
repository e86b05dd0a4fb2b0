"""Parts of one operation, each in a task of its own."""

from __future__ import annotations

import pytest
import trio

from trio_client._tasks import together

from .running import run


async def fail(error: BaseException) -> None:
    raise error


async def fail_when_cancelled() -> None:
    try:
        await trio.sleep_forever()
    finally:
        raise OSError("while cancelled")


async def work(*parts, cancel=False) -> None:
    """Parts beside one that would go on for ever."""
    with trio.CancelScope() as scope:
        async with together() as nursery:
            nursery.start_soon(trio.sleep_forever)
            for part in parts:
                nursery.start_soon(*part)
            if cancel:
                scope.cancel()
            await trio.sleep_forever()
    assert scope.cancelled_caught


def test_the_first_error_of_a_part_is_the_error_of_the_whole():
    async def main():
        error = KeyError("inner")
        group = ExceptionGroup("", [ExceptionGroup("", [error]), OSError()])
        with pytest.raises(KeyError, match="inner") as caught:
            await work((fail, group))
        assert caught.value is error
        assert (error.__cause__, error.__suppress_context__) == (None, True)
        error.__cause__ = ValueError("what it came from")
        with pytest.raises(KeyError, match="inner") as caught:
            await work((fail, error))
        assert str(caught.value.__cause__) == "what it came from"

    run(main)


def test_an_error_goes_before_a_cancellation():
    async def main():
        with pytest.raises(OSError, match="while cancelled"):
            await work((fail_when_cancelled,), cancel=True)
        await work((trio.sleep_forever,), cancel=True)

    run(main)
