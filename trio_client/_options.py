"""What ``connect`` may be told."""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Literal

from attrs import Attribute, field, frozen, validators

from ._core import ReconnectPolicy, TrackSource

TokenSource = Callable[[], Awaitable[str]]
"""An async function that returns an access token. It may be asked several times, and cancelled."""


def _range(instance: object, attribute: Attribute[Any], value: tuple[int, int] | None) -> None:
    if value is not None and not (len(value) == 2 and 0 < value[0] <= value[1] <= 65535):
        raise ValueError(f"port_range is (lowest, highest) of 1 to 65535, not {value!r}")


def _strings(instance: object, attribute: Attribute[Any], value: tuple[str, ...]) -> None:
    if not all(isinstance(item, str) for item in value):
        raise TypeError(f"{attribute.name} holds strings, not {value!r}")


def _several(value: Any) -> tuple[Any, ...]:
    if isinstance(value, str):
        raise TypeError(f"several strings are wanted, not the one string {value!r}")
    return tuple(value)


def _positive(instance: object, attribute: Attribute[Any], value: float) -> None:
    if not value > 0:
        raise ValueError(f"{attribute.name} must be more than 0 seconds, not {value!r}")


@frozen
class TurnServer:
    """A TURN server: its URL ("turn:host:port?transport=udp", "turns:host:port?transport=tcp") and the credentials."""

    url: str
    username: str
    password: str = field(repr=False)


def _servers(instance: object, attribute: Attribute[Any], value: tuple[str | TurnServer, ...]) -> None:
    if not all(isinstance(item, str | TurnServer) for item in value):
        raise TypeError(f"servers holds STUN URLs and TurnServer objects, not {value!r}")


@frozen(kw_only=True)
class IceOptions:
    """How media finds its way.

    ``servers``: STUN URLs ("stun:host:port") beside those that the server names, and TurnServer objects. ``policy``:
    "relay" lets media go through TURN servers only. ``interfaces``: names of the network interfaces to use; empty means
    all. ``port_range``: UDP ports to bind, as (lowest, highest); None lets the system choose.
    """

    servers: tuple[str | TurnServer, ...] = field(default=(), converter=_several, validator=_servers)
    policy: Literal["all", "relay"] = field(default="all", validator=validators.in_(("all", "relay")))
    interfaces: tuple[str, ...] = field(default=(), converter=_several, validator=_strings)
    port_range: tuple[int, int] | None = field(default=None, validator=_range)


@frozen(kw_only=True)
class PublishOptions:
    """How a track is published: what ``publish_track`` takes as arguments, for ``connect(..., publish=...)``.

    ``source``: where it comes from, microphone or camera unless told. ``name``: how others find it, that of the track
    unless told. ``stream``: a name that groups tracks to be played in step.
    """

    source: TrackSource | None = None
    name: str = ""
    stream: str = ""


@frozen(kw_only=True)
class ConnectOptions:
    """The less common wishes; every default is what most users want.

    * ``ice``: see IceOptions.
    * ``reconnect``: when to try again after a lost connection, and when to give up: a ReconnectPolicy.
    * ``ssl_context``: for ``wss://``; None trusts the system's certificate authorities.
    * ``single_peer_connection``: True insists on one peer connection, False on two, None tries one and falls back to
      two with a server that is too old.
    * ``allow_pause``: let the server pause videos for which the way to us has no room (TrackStreamStateChanged,
      which LiveKit 1.13 sends only to clients with two peer connections).
    * ``metadata``, ``attributes``: of this participant, from the start. The token needs the grant canUpdateOwnMetadata.
    * ``max_stream_bytes``: of one incoming stream, decompressed; a larger one fails with StreamFailure.TOO_LARGE.
    * ``close_timeout``: seconds that leaving may take. A cancelled block leaves within a quarter of a second.
    * ``cancel_on_disconnect``: cancel the block when the room ends before the block does, and raise DisconnectedError
      from it. Otherwise the block goes on, and learns of it by the event Disconnected.
    """

    ice: IceOptions = field(factory=IceOptions)
    reconnect: ReconnectPolicy = field(factory=ReconnectPolicy)
    ssl_context: ssl.SSLContext | None = field(default=None, repr=False)
    single_peer_connection: bool | None = None
    allow_pause: bool = False
    metadata: str = ""
    attributes: Mapping[str, str] = field(factory=dict)
    max_stream_bytes: int = field(default=1 << 30, validator=validators.ge(0))
    close_timeout: float = field(default=2.0, validator=_positive)
    cancel_on_disconnect: bool = False
