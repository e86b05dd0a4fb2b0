"""The values at the border between machines and drivers."""

from __future__ import annotations

import math

import attrs
import pytest

from sansio.base import contract
from sansio.base.contract import (
    INF,
    NOW,
    ClosePort,
    CloseSignal,
    Interface,
    NeedToken,
    OpenSignal,
    OpenStream,
    OpenUdp,
    Resolve,
    SendSignal,
    SignalFailure,
    Transmit,
)


def test_the_two_special_deadlines_stand_around_every_time():
    assert NOW < -1e300 < 0.0 < 1e300 < INF
    assert math.isinf(INF)
    assert math.isinf(NOW)


def test_transmit_keeps_its_parts_and_is_kept_unless_said_otherwise():
    t = Transmit(3, b"abc", ("192.0.2.1", 5000))
    assert (t.port, t.data, t.addr, t.keep) == (3, b"abc", ("192.0.2.1", 5000), True)
    assert Transmit(3, b"", ("192.0.2.1", 5000), keep=False).keep is False
    assert not hasattr(t, "__dict__")


def test_transmit_repr_has_the_length_and_not_the_contents():
    text = repr(Transmit(3, b"secret-password", ("192.0.2.1", 5000)))
    assert "15 bytes" in text
    assert "192.0.2.1" in text
    assert "secret" not in text


def test_signal_requests_show_no_secret():
    opened = OpenSignal(1, "wss://host/rtc?access_token=hidden", (("Authorization", "Bearer hidden"),))
    assert "hidden" not in repr(opened)
    assert "signal=1" in repr(opened)
    sent = SendSignal(1, b"hidden")
    assert "hidden" not in repr(sent)
    assert "6 bytes" in repr(sent)


@pytest.mark.parametrize(
    "value",
    [
        Interface("lo", "127.0.0.1", loopback=True),
        OpenUdp(1, "127.0.0.1"),
        OpenStream(2, ("127.0.0.1", 443), tls=True, server_name="host"),
        ClosePort(1),
        OpenSignal(1, "ws://host"),
        SendSignal(1, b""),
        CloseSignal(1),
        Resolve(1, "host"),
        SignalFailure("http", "The server refused.", 401, "no"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_facts_and_requests_are_frozen_values(value):
    assert value == attrs.evolve(value)
    first = attrs.fields(type(value))[0].name
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        setattr(value, first, None)


def test_defaults_of_requests():
    assert (OpenUdp(1, "h").low, OpenUdp(1, "h").high) == (0, 0)
    assert OpenStream(1, ("h", 1)).tls is False
    assert OpenSignal(1, "ws://h").timeout == 15.0
    assert SignalFailure("dns", "no such name").status == 0
    assert Interface("eth0", "192.0.2.1").loopback is False


def test_request_union_lists_every_request_class():
    requests = {OpenUdp, OpenStream, ClosePort, OpenSignal, SendSignal, CloseSignal, Resolve, NeedToken}
    assert set(contract.Request.__args__) == requests
