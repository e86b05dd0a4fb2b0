"""Access tokens: JSON Web Tokens signed with HMAC-SHA256 by an API secret (RFC 7519, LiveKit's claims)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping
from typing import Any

from attrs import field, frozen

from ..base.errors import ParseError

LEEWAY = 60.0
"""Seconds that the clocks of minter and server may differ."""
LATEST = 1e12
"""Times at and beyond this are none: they would be in milliseconds, or nonsense."""
TOKEN_BYTES = 16384
"""Longest token that is looked at."""
TOKEN_SOURCES = 16
"""Sources of tracks that are read from a token; there are four."""
DEVELOPMENT_KEY = ("devkey", "secret" * 6)
"""API key and secret of a development server that was given none: known to everybody."""


@frozen
class Claims:
    """What a token grants. ``attributes`` and ``metadata`` are the participant's first ones.

    ``can_publish_sources`` limits publishing to tracks of these sources, unless it is empty. ``room_create``,
    ``room_list`` and ``room_admin`` are for the HTTP API. ``granted`` is false for a token without any grant.
    """

    identity: str
    room: str
    key: str = ""
    name: str = ""
    metadata: str = ""
    attributes: Mapping[str, str] = field(factory=dict)
    granted: bool = True
    room_join: bool = True
    can_publish: bool = True
    can_subscribe: bool = True
    can_publish_data: bool = True
    can_update_own_metadata: bool = False
    can_publish_sources: tuple[str, ...] = ()
    hidden: bool = False
    kind: str = "standard"
    room_create: bool = False
    room_list: bool = False
    room_admin: bool = False
    expires: float = 0.0


class TokenError(ParseError):
    """A token that is not accepted; the text is what LiveKit's server says."""


def mint(claims: Claims, secret: str, unix_now: float, ttl: float = 3600.0) -> str:
    """A signed token for ``claims``, valid from now for ``ttl`` seconds."""
    grants: dict[str, Any] = {
        "roomJoin": claims.room_join,
        "room": claims.room,
        "canPublish": claims.can_publish,
        "canSubscribe": claims.can_subscribe,
        "canPublishData": claims.can_publish_data,
        "canUpdateOwnMetadata": claims.can_update_own_metadata,
        "hidden": claims.hidden,
    }
    if claims.can_publish_sources:
        grants["canPublishSources"] = list(claims.can_publish_sources)
    for name, granted in (
        ("roomCreate", claims.room_create),
        ("roomList", claims.room_list),
        ("roomAdmin", claims.room_admin),
    ):
        if granted:
            grants[name] = True
    payload = {
        "iss": claims.key,
        "sub": claims.identity,
        "name": claims.name,
        "metadata": claims.metadata,
        "attributes": dict(claims.attributes),
        "kind": claims.kind,
        "nbf": int(unix_now),
        "exp": int(unix_now + ttl),
        "video": grants,
    }
    head = _encode(json.dumps({"alg": "HS256", "typ": "JWT"}, separators=(",", ":")).encode())
    body = _encode(json.dumps(payload, separators=(",", ":"), sort_keys=True).encode())
    return f"{head}.{body}.{_encode(_sign(f'{head}.{body}', secret))}"


def verify(token: str, keys: Mapping[str, str], unix_now: float) -> Claims:
    """The claims of a token that one of ``keys`` (API key to secret) signed. Raises TokenError."""
    if len(token) > TOKEN_BYTES:
        raise TokenError("invalid authorization token")
    parts = token.split(".")
    if len(parts) != 3:
        raise TokenError("invalid authorization token")
    head, payload = _decode_json(parts[0]), _decode_json(parts[1])
    if head.get("alg") != "HS256":
        raise TokenError("invalid authorization token: unexpected signature algorithm")
    secret = keys.get(_text(payload, "iss"))
    if secret is None:
        raise TokenError("invalid API key")
    if not hmac.compare_digest(_decode(parts[2]), _sign(f"{parts[0]}.{parts[1]}", secret)):
        raise TokenError("invalid authorization token: signature is invalid")
    expires = payload.get("exp")
    if not isinstance(expires, int | float) or isinstance(expires, bool) or not 0 < expires < LATEST:
        raise TokenError("invalid authorization token: exp claim is missing")
    if unix_now > expires + LEEWAY:
        raise TokenError("invalid authorization token: token is expired (exp)")
    not_before = payload.get("nbf", 0)
    if isinstance(not_before, int | float) and not_before > unix_now + LEEWAY:
        raise TokenError("invalid authorization token: token not valid yet (nbf)")
    return _claims(payload, float(expires))


def _claims(payload: dict[str, Any], expires: float) -> Claims:
    video = payload.get("video")
    grants: dict[str, Any] = video if isinstance(video, dict) else {}
    attributes = payload.get("attributes")
    can_publish = grants.get("canPublish", True) is not False
    sources = grants.get("canPublishSources")
    sources = sources[:TOKEN_SOURCES] if isinstance(sources, list) else []
    return Claims(
        identity=_text(payload, "sub") or _text(payload, "jti"),
        room=_text(grants, "room"),
        key=_text(payload, "iss"),
        name=_text(payload, "name"),
        metadata=_text(payload, "metadata"),
        attributes=(
            {str(name): str(value) for name, value in attributes.items()} if isinstance(attributes, dict) else {}
        ),
        granted=isinstance(video, dict),
        room_join=grants.get("roomJoin") is True,
        can_publish=can_publish,
        can_subscribe=grants.get("canSubscribe", True) is not False,
        can_publish_data=grants.get("canPublishData", can_publish) is not False,
        can_update_own_metadata=grants.get("canUpdateOwnMetadata") is True,
        can_publish_sources=tuple([name for name in sources if isinstance(name, str)]),
        hidden=grants.get("hidden") is True,
        kind=_text(payload, "kind") or "standard",
        room_create=grants.get("roomCreate") is True,
        room_list=grants.get("roomList") is True,
        room_admin=grants.get("roomAdmin") is True,
        expires=expires,
    )


def _text(values: dict[str, Any], name: str) -> str:
    value = values.get(name)
    return value if isinstance(value, str) else ""


def _sign(text: str, secret: str) -> bytes:
    return hmac.digest(secret.encode(), text.encode(), hashlib.sha256)


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except ValueError:
        raise TokenError("invalid authorization token") from None


def _decode_json(text: str) -> dict[str, Any]:
    try:
        value = json.loads(_decode(text))
        json.dumps(value, ensure_ascii=False).encode()  # halves of surrogate pairs can be written, but are no text
    except (ValueError, RecursionError):
        raise TokenError("invalid authorization token") from None
    if not isinstance(value, dict):
        raise TokenError("invalid authorization token")
    return value
