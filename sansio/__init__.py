"""A LiveKit client as a pure state machine: no socket, clock, randomness, thread or log of its own.

Names for embedders, imported at first use: the engine with its options and what it takes, the requests that it makes
of its driver, and what it puts out. The contract between the two is in ``sansio.base.contract``.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .base.contract import (
        INF,
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
    from .base.entropy import Entropy
    from .base.errors import LocalProtocolError, ParseError, RemoteProtocolError
    from .base.wallclock import WallClock
    from .dtls.identity import DtlsIdentity
    from .lifecycle.policy import ReconnectPolicy
    from .room.data_lanes import DataReadable, DataWritable
    from .room.engine import RoomEngine
    from .room.options import EngineOptions
    from .room.outputs import Ended, JoinFailed, MediaFailure
    from .room.requests import RequestDone, RequestFailed
    from .room.rpc import RpcCancelled, RpcInvoked
    from .room.rpc_error import RpcError, RpcErrorCode
    from .room.state import Factories, RoomState

PROJECT = "trio-livekit"
"""Marks this package as ours: the import name ``sansio`` is a generic one."""

__all__ = [
    "INF",
    "PROJECT",
    "ClosePort",
    "CloseSignal",
    "DataReadable",
    "DataWritable",
    "DtlsIdentity",
    "Ended",
    "EngineOptions",
    "Entropy",
    "Factories",
    "Interface",
    "JoinFailed",
    "LocalProtocolError",
    "MediaFailure",
    "NeedToken",
    "OpenSignal",
    "OpenStream",
    "OpenUdp",
    "ParseError",
    "ReconnectPolicy",
    "RemoteProtocolError",
    "RequestDone",
    "RequestFailed",
    "Resolve",
    "RoomEngine",
    "RoomState",
    "RpcCancelled",
    "RpcError",
    "RpcErrorCode",
    "RpcInvoked",
    "SendSignal",
    "SignalFailure",
    "Transmit",
    "WallClock",
]

_HOMES = (
    ("base.contract", "INF ClosePort CloseSignal Interface OpenSignal OpenStream OpenUdp Resolve SendSignal"),
    ("base.contract", "NeedToken SignalFailure Transmit"),
    ("base.entropy", "Entropy"),
    ("base.errors", "LocalProtocolError ParseError RemoteProtocolError"),
    ("base.wallclock", "WallClock"),
    ("dtls.identity", "DtlsIdentity"),
    ("lifecycle.policy", "ReconnectPolicy"),
    ("room.data_lanes", "DataReadable DataWritable"),
    ("room.engine", "RoomEngine"),
    ("room.options", "EngineOptions"),
    ("room.outputs", "Ended JoinFailed MediaFailure"),
    ("room.requests", "RequestDone RequestFailed"),
    ("room.rpc", "RpcCancelled RpcInvoked"),
    ("room.rpc_error", "RpcError RpcErrorCode"),
    ("room.state", "Factories RoomState"),
)


def __getattr__(name: str) -> Any:
    for home, names in _HOMES:
        if name in names.split():
            return getattr(import_module("." + home, __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
