"""The errors of the core, and the reasons for which peer bytes are dropped."""

from __future__ import annotations


class LocalProtocolError(Exception):
    """The caller asked for something that the protocol does not allow; the machine's state is unchanged."""


class RemoteProtocolError(Exception):
    """The peer broke the protocol. Carried as a reason in events; raised by awaiting user calls, never by a machine."""


class ParseError(ValueError):
    """Bytes that cannot be decoded. The only exception that a ``decode_*`` or ``parse_*`` function may raise."""
