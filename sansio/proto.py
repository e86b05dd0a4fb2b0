"""The one door to LiveKit's protobuf classes, opened at first use.

``proto.rtc`` and ``proto.models`` are the modules of the ``livekit-protocol`` package. Importing them costs some 25 ms
and 5 MiB, so nothing is imported before the first attribute access: write ``from .. import proto`` and use
``proto.rtc.SignalRequest`` inside functions, never ``from ..proto import rtc``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from google.protobuf.message import DecodeError, Message
    from livekit.protocol import models, rtc

__all__ = ["DecodeError", "Message", "models", "rtc"]


def __getattr__(name: str) -> Any:
    found: Any
    if name in ("rtc", "models"):
        from livekit.protocol import models, rtc

        found = rtc if name == "rtc" else models
    elif name in ("DecodeError", "Message"):
        from google.protobuf.message import DecodeError, Message

        found = Message if name == "Message" else DecodeError
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = found  # later accesses no longer come here
    return found
