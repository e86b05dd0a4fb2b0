"""How calls fail."""

from __future__ import annotations

import pickle

import pytest

from sansio.room.rpc_error import RpcError, RpcErrorCode


def test_an_error_tells_what_the_other_side_said():
    error = RpcError(4711, "no tea", "{}")
    assert (error.code, error.message, error.data) == (4711, "no tea", "{}")
    assert str(error) == "RPC error 4711: no tea"
    assert (RpcError(1).message, RpcError(1).data) == ("", "")


@pytest.mark.parametrize("code", list(RpcErrorCode))
def test_every_code_has_words(code):
    error = RpcError.of(code)
    assert error.code == code
    assert error.message
    detailed = RpcError.of(code, "because")
    assert detailed.message == f"{error.message}: because"
    assert len({RpcError.of(other).message for other in RpcErrorCode}) == len(RpcErrorCode)


def test_errors_can_be_copied_to_other_processes():
    copy = pickle.loads(pickle.dumps(RpcError(1500, "m", "d")))
    assert (copy.code, copy.message, copy.data) == (1500, "m", "d")
