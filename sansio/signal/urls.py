"""The URLs of the signalling link, and the join request inside them.

Two paths exist: ``/rtc/v1`` (one peer connection; everything travels in one ``join_request`` parameter) and ``/rtc``
(two peer connections; plain query parameters). The access token is never part of a URL: it goes into a header, which
keeps it out of the logs of proxies.
"""

from __future__ import annotations

import base64
import ipaddress
import json
import zlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, parse_qsl, quote, urlencode, urlsplit, urlunsplit

from attrs import field, frozen

from .. import PROJECT, proto
from ..base.errors import LocalProtocolError

if TYPE_CHECKING:
    from ..proto import rtc

VERSION = "0.1.0"
"""Version of this project, as told to the server."""
PROTOCOL = 17
"""Version of the signalling protocol that this client speaks."""
REQUEST_LINE = 8192
"""Length of an HTTP request line that proxies commonly accept."""

_WEBSOCKET = {"ws": "ws", "wss": "wss", "http": "ws", "https": "wss"}
_HTTP = {"ws": "http", "wss": "https", "http": "http", "https": "https"}
_PATH_SAFE = "/%:@!$&'()*+,;=~"


class UrlError(LocalProtocolError, ValueError):
    """The address of the server cannot be used; the message says why, and never repeats what stands in the query."""


class UnusableToken(LocalProtocolError, ValueError):
    """The access token cannot be sent as one; the message does not repeat it."""


@frozen(kw_only=True)
class JoinSettings:
    """What a client tells of itself and of its wishes when it opens the link.

    All connection settings are always sent: the two paths have different defaults for what is left out.
    ``metadata`` and ``attributes`` need the grant canUpdateOwnMetadata; ``/rtc`` has no parameter for metadata, so
    there it has to follow as a request. ``os`` and ``os_version`` are free text.
    """

    auto_subscribe: bool = True
    auto_subscribe_data_track: bool = False
    adaptive_stream: bool = False
    subscriber_allow_pause: bool = False
    disable_ice_lite: bool = False
    metadata: str = field(default="", repr=False)
    attributes: Mapping[str, str] = field(factory=dict, repr=False)
    client_protocol: int = 0
    capabilities: tuple[int, ...] = ()
    os: str = ""
    os_version: str = ""


# ------------------------------------------------------------------ addresses


def validate_url(url: str) -> None:
    """Raise UrlError unless ``url`` can be the address of a server."""
    _split(url)


def join_url(
    url: str,
    settings: JoinSettings,
    *,
    single: bool = True,
    offer: rtc.SessionDescription | None = None,
    add_tracks: Sequence[rtc.AddTrackRequest] = (),
) -> str:
    """The WebSocket URL of a first join.

    ``single`` chooses ``/rtc/v1``. ``offer`` and ``add_tracks`` can travel inside the join request there, which saves
    a round trip; ask ``fits_request_line`` about the result, and send them as requests after the join if it is not so.
    """
    if single:
        request = _join_request(settings)
        request.metadata = settings.metadata
        request.participant_attributes.update(settings.attributes)
        request.add_track_requests.extend(add_tracks)
        if offer is not None:
            request.publisher_offer.CopyFrom(offer)
        return _endpoint(url, "rtc/v1", [("join_request", wrap_join_request(request))])
    if offer is not None or add_tracks:
        raise LocalProtocolError("an offer can travel in the join request of /rtc/v1 only")
    return _endpoint(url, "rtc", _join_query(settings, settings.attributes))


def resume_url(url: str, settings: JoinSettings, *, sid: str, reason: int = 0, single: bool = True) -> str:
    """The WebSocket URL that resumes the session of participant ``sid``; ``reason`` is a ReconnectReason."""
    if single:
        request = _join_request(settings)
        request.reconnect = True
        request.reconnect_reason = reason  # type: ignore[assignment]  # any int: enums are open
        request.participant_sid = sid
        return _endpoint(url, "rtc/v1", [("join_request", wrap_join_request(request))])
    query = _join_query(settings, {})
    query += [("reconnect", "1"), ("sid", sid), ("reconnect_reason", str(reason))]
    return _endpoint(url, "rtc", query)


def explain_url(signal_url: str) -> str:
    """The HTTP URL that answers with the status and reason that the WebSocket URL ``signal_url`` was refused with."""
    parts = _split(signal_url)
    return urlunsplit((_HTTP[parts.scheme], parts.netloc, parts.path.rstrip("/") + "/validate", parts.query, ""))


def is_cloud(url: str) -> bool:
    """Whether the host belongs to LiveKit Cloud, which alone has regions."""
    host = _split(url).hostname or ""
    return host.endswith((".livekit.cloud", ".livekit.run"))


def regions_url(url: str) -> str:
    """The HTTP URL of the list of regions of a Cloud host."""
    parts = _split(url)
    return urlunsplit((_HTTP[parts.scheme], parts.netloc, "/settings/regions", "", ""))


def is_loopback(url: str) -> bool:
    """Whether the host of ``url`` is this machine by name or address (localhost, 127.0.0.0/8, ::1)."""
    host = (_split(url).hostname or "").rstrip(".")
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return address.is_loopback or (mapped is not None and bool(mapped.is_loopback))


def request_headers(token: str) -> tuple[tuple[str, str], ...]:
    """The HTTP headers of a signalling request. They carry the token: never log them."""
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise UnusableToken(
            "the access token is empty or holds characters that no token has, such as a space or a line break"
        )
    return (("Authorization", "Bearer " + token), ("User-Agent", f"{PROJECT}/{VERSION}"))


def fits_request_line(url: str, limit: int = REQUEST_LINE) -> bool:
    """Whether the HTTP request line for ``url`` has at most ``limit`` bytes."""
    parts = urlsplit(url)
    target = parts.path + ("?" + parts.query if parts.query else "")
    return len(f"GET {target} HTTP/1.1\r\n") <= limit


# ------------------------------------------------------------------ what stands in them


def wrap_join_request(request: rtc.JoinRequest) -> str:
    """The value of the ``join_request`` parameter: gzip when that is smaller, URL-safe base64 with its padding.

    The server refuses both the standard alphabet and missing padding.
    """
    wrapped = proto.rtc.WrappedJoinRequest()
    plain = request.SerializeToString(deterministic=True)
    packer = zlib.compressobj(wbits=31)  # 31: a gzip frame, whose header time is zero, so the bytes depend on the input
    packed = packer.compress(plain) + packer.flush()
    if len(packed) < len(plain):
        wrapped.compression = proto.rtc.WrappedJoinRequest.GZIP
        wrapped.join_request = packed
    else:
        wrapped.join_request = plain
    return base64.urlsafe_b64encode(wrapped.SerializeToString(deterministic=True)).decode()


def _join_request(settings: JoinSettings) -> rtc.JoinRequest:
    request = proto.rtc.JoinRequest()
    client = request.client_info
    client.sdk = proto.models.ClientInfo.PYTHON
    client.version = VERSION
    client.protocol = PROTOCOL
    client.os = settings.os
    client.os_version = settings.os_version
    client.other_sdks = f"{PROJECT}:{VERSION}"
    client.client_protocol = settings.client_protocol
    client.capabilities.extend(settings.capabilities)  # type: ignore[arg-type]  # any int: enums are open
    wishes = request.connection_settings
    wishes.auto_subscribe = settings.auto_subscribe
    wishes.auto_subscribe_data_track = settings.auto_subscribe_data_track
    wishes.adaptive_stream = settings.adaptive_stream
    wishes.subscriber_allow_pause = settings.subscriber_allow_pause
    wishes.disable_ice_lite = settings.disable_ice_lite
    return request


def _join_query(settings: JoinSettings, attributes: Mapping[str, str]) -> list[tuple[str, str]]:
    query = [
        ("protocol", str(PROTOCOL)),
        ("client_protocol", str(settings.client_protocol)),
        ("sdk", "python"),
        ("version", VERSION),
        ("other_sdks", f"{PROJECT}:{VERSION}"),
        ("auto_subscribe", _flag(settings.auto_subscribe)),
        ("auto_subscribe_data_track", _flag(settings.auto_subscribe_data_track)),
        ("adaptive_stream", _flag(settings.adaptive_stream)),
        ("subscriber_allow_pause", _flag(settings.subscriber_allow_pause)),
        ("disable_ice_lite", _flag(settings.disable_ice_lite)),
    ]
    if settings.os:
        query.append(("os", settings.os))
    if settings.os_version:
        query.append(("os_version", settings.os_version))
    if settings.capabilities:
        names = [proto.models.ClientInfo.Capability.Name(value) for value in settings.capabilities]
        query.append(("capabilities", ",".join(names)))
    if attributes:
        text = json.dumps(dict(attributes), separators=(",", ":"), ensure_ascii=False)
        query.append(("attributes", base64.urlsafe_b64encode(text.encode()).decode()))
    return query


def _flag(value: bool) -> str:
    return "1" if value else "0"


def _endpoint(url: str, path: str, query: list[tuple[str, str]]) -> str:
    parts = _split(url)
    names = [name for name, _ in query]
    kept = [pair for pair in parse_qsl(parts.query, keep_blank_values=True) if pair[0] not in names]
    text = urlencode(kept + query, quote_via=quote, safe="=-_~.,:")
    return urlunsplit((_WEBSOCKET[parts.scheme], parts.netloc, parts.path.rstrip("/") + "/" + path, text, ""))


def _split(url: str) -> SplitResult:
    """The parts of a server's address: known scheme, a host, a sane port, host and path in ASCII."""
    if any(char <= " " or char == "\x7f" for char in url):
        raise UrlError("the server address holds spaces or control characters")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise UrlError("the server address has an invalid host or port") from None
    if parts.scheme not in _WEBSOCKET:
        found = f"{parts.scheme!r}" if parts.scheme else "none"
        wanted = "the scheme ws, wss, http or https, as in ws://localhost:7880"
        raise UrlError(f"the server address needs {wanted}, but has {found}")
    if not host:
        raise UrlError("the server address has no host")
    if "@" in parts.netloc:
        raise UrlError("the server address holds a user name; LiveKit takes an access token instead")
    if any(name == "access_token" for name, _ in parse_qsl(parts.query, keep_blank_values=True)):
        raise UrlError("the server address holds an access token; give the token apart from the address")
    netloc = parts.netloc
    if not netloc.isascii():
        try:
            netloc = host.encode("idna").decode() + (f":{port}" if port is not None else "")
        except UnicodeError:
            raise UrlError("the server address has an invalid host or port") from None
    path = quote(parts.path, safe=_PATH_SAFE)
    return SplitResult(parts.scheme, netloc, path, parts.query, "")
