"""How remote procedure calls fail."""

from __future__ import annotations

from enum import IntEnum


class RpcErrorCode(IntEnum):
    """The codes of LiveKit. A method may fail with any other number of its own."""

    UNSUPPORTED_METHOD = 1400
    """The other side has no such method."""
    RECIPIENT_NOT_FOUND = 1401
    """Nobody can be called by this identity."""
    REQUEST_PAYLOAD_TOO_LARGE = 1402
    """The request is larger than the other side takes."""
    UNSUPPORTED_SERVER = 1403
    """The server is too old to carry calls."""
    UNSUPPORTED_VERSION = 1404
    """The other side does not understand this form of call."""
    APPLICATION_ERROR = 1500
    """The method failed with an error that it did not mean to pass on."""
    CONNECTION_TIMEOUT = 1501
    """The other side did not acknowledge the call in time: it is not there, or cannot be reached."""
    RESPONSE_TIMEOUT = 1502
    """The other side took the call and did not answer in time."""
    RECIPIENT_DISCONNECTED = 1503
    """The other side left before it answered."""
    RESPONSE_PAYLOAD_TOO_LARGE = 1504
    """The answer is larger than the caller takes."""
    SEND_FAILED = 1505
    """The call could not be sent."""


_WHY = {
    RpcErrorCode.UNSUPPORTED_METHOD: "Method not supported at destination",
    RpcErrorCode.RECIPIENT_NOT_FOUND: "Recipient not found",
    RpcErrorCode.REQUEST_PAYLOAD_TOO_LARGE: "Request payload too large",
    RpcErrorCode.UNSUPPORTED_SERVER: "RPC not supported by server",
    RpcErrorCode.UNSUPPORTED_VERSION: "Unsupported RPC version",
    RpcErrorCode.APPLICATION_ERROR: "Application error in method handler",
    RpcErrorCode.CONNECTION_TIMEOUT: "Connection timeout",
    RpcErrorCode.RESPONSE_TIMEOUT: "Response timeout",
    RpcErrorCode.RECIPIENT_DISCONNECTED: "Recipient disconnected",
    RpcErrorCode.RESPONSE_PAYLOAD_TOO_LARGE: "Response payload too large",
    RpcErrorCode.SEND_FAILED: "Failed to send",
}
"""The messages that LiveKit's clients show, so that programs which compare them find what they know."""


class RpcError(Exception):
    """A remote procedure call has failed. Raised in a handler, it is what the caller gets.

    ``code`` is one of RpcErrorCode or a number of the method's own, ``message`` says what failed (up to 256 bytes
    travel), and ``data`` is for programs (up to 15 360 bytes).
    """

    def __init__(self, code: int, message: str = "", data: str = "") -> None:
        super().__init__(f"RPC error {int(code)}: {message}")
        self.code = code
        self.message = message
        self.data = data

    def __reduce__(self) -> tuple[type[RpcError], tuple[int, str, str]]:
        return type(self), (self.code, self.message, self.data)

    @classmethod
    def of(cls, code: RpcErrorCode, detail: str = "") -> RpcError:
        """One of LiveKit's own errors, with ``detail`` for a human behind the usual message."""
        return cls(code, f"{_WHY[code]}: {detail}" if detail else _WHY[code])
