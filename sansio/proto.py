"""The one door to LiveKit's protobuf classes, opened at first use.

``proto.rtc``, ``proto.models`` and ``proto.room`` (the server API) are modules of the ``livekit-protocol`` package.
Importing them costs some 25 ms and 5 MiB, so nothing is imported before the first attribute access: write
``from .. import proto`` and use ``proto.rtc.SignalRequest`` inside functions, never ``from ..proto import rtc``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from google.protobuf.message import DecodeError, Message
    from livekit.protocol import models, room, rtc

__all__ = ["DecodeError", "Message", "from_json", "models", "room", "rtc", "to_json"]


def to_json(message: Message) -> str:
    """A message as JSON: names as in the schema, with the fields that have their default."""
    from google.protobuf.json_format import MessageToJson

    return MessageToJson(message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True, indent=0)


def from_json(text: bytes, message: Message) -> None:
    """Fill a message from JSON, passing over names that it does not have. Raises DecodeError."""
    from google.protobuf.json_format import Parse, ParseError
    from google.protobuf.message import DecodeError

    try:
        Parse(text.decode(), message, ignore_unknown_fields=True)
    except (ParseError, ValueError, RecursionError) as error:
        raise DecodeError(str(error)) from None


def __getattr__(name: str) -> Any:
    found: Any
    if name in ("rtc", "models"):
        from livekit.protocol import models, rtc

        found = rtc if name == "rtc" else models
    elif name == "room":
        from livekit.protocol import room as found
    elif name in ("DecodeError", "Message"):
        from google.protobuf.message import DecodeError, Message

        found = Message if name == "Message" else DecodeError
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = found  # later accesses no longer come here
    return found
