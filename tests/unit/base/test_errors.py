"""The three errors and whose fault each one is."""

from __future__ import annotations

import pytest

from sansio.base.errors import LocalProtocolError, ParseError, RemoteProtocolError


def test_a_parse_error_is_a_value_error():
    with pytest.raises(ValueError, match="short"):
        raise ParseError("short")


def test_the_errors_are_told_apart():
    kinds = [LocalProtocolError, RemoteProtocolError, ParseError]
    for kind in kinds:
        assert [other for other in kinds if issubclass(kind, other)] == [kind]
