"""Cancellation at more steps, where tests/driver has the time for some of them only."""

from __future__ import annotations

import pytest

from tests.driver import (
    sweep,
    test_cancel,
    test_cancel_operations,
    test_cancel_sockets,
    test_rpc,
    test_token_source,
)

LONG = (
    test_cancel.test_waits,
    test_cancel_operations.test_writing_samples_and_waiting_until_they_are_sent,
    test_cancel_sockets.test_in_a_room,
    test_rpc.test_cancelling_a_call,
    test_token_source.test_cancelled_while_the_source_is_asked,
)


@pytest.mark.parametrize("test", LONG)
def test_at_more_steps(test, monkeypatch):
    monkeypatch.setattr(sweep, "FINE", True)
    test()
