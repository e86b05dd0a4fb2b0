"""What a session may be told at construction."""

from __future__ import annotations

from typing import Literal

from attrs import field, frozen

from ..base.limits import STREAM_BYTES
from ..dtls.engine import EngineFactory, default_engine
from ..ice.paths import TurnServerConfig
from ..lifecycle.policy import ReconnectPolicy


@frozen(kw_only=True)
class EngineOptions:
    """Options of a RoomEngine; every default is what a user would want.

    ``single_peer_connection``: True forces ``/rtc/v1``, False forces ``/rtc``, None tries the first and falls back.
    ``interfaces``: names of the network interfaces to use; empty means all. ``port_range``: UDP ports to bind, as
    (lowest, highest); None lets the system choose. ``metadata`` and ``attributes`` need the canUpdateOwnMetadata
    grant. ``ice_servers``: STUN URLs used beside those of the server; ``turn_servers`` likewise, with credentials.
    ``ice_policy``: "relay" lets media go through TURN servers only. ``renew_token``: the driver answers ``NeedToken``,
    which is asked when a reconnect has no token left that could be accepted.
    """

    auto_subscribe: bool = True
    allow_pause: bool = False
    """Let the server pause videos that the way to us has no room for, instead of sending all of them badly."""
    single_peer_connection: bool | None = None
    metadata: str = ""
    attributes: tuple[tuple[str, str], ...] = ()
    interfaces: tuple[str, ...] = ()
    port_range: tuple[int, int] | None = None
    ice_servers: tuple[str, ...] = ()
    receive_sections: tuple[int, int] = (3, 3)
    """Media sections for audio and video of others in the first offer: such tracks come a round trip earlier. One less
    for each track of ours in it, but one in any case."""
    turn_servers: tuple[TurnServerConfig, ...] = ()
    ice_policy: Literal["all", "relay"] = "all"
    reconnect: ReconnectPolicy = field(factory=ReconnectPolicy)
    renew_token: bool = False
    open_timeout: float = 15.0
    """Seconds for DNS, TCP, TLS and the WebSocket handshake together."""
    first_message_timeout: float = 5.0
    """Seconds from the open WebSocket to the first signal message."""
    media_timeout: float = 15.0
    """Seconds from the join response to a connected transport."""
    request_timeout: float = 5.0
    """Seconds that the server has to answer a request."""
    flush_timeout: float = 1.0
    """Seconds that leaving waits for reliable data in flight to be acknowledged."""
    max_stream_bytes: int = STREAM_BYTES
    """Bytes of one incoming stream, decompressed; a longer one ends with StreamFailure.TOO_LARGE."""
    dtls_engine: EngineFactory = default_engine


Mode = Literal["single", "dual"]
