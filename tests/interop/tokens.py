"""Access tokens for tests: the few lines of JWT that a server asks for (HS256)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from typing import Any


def _part(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def mint(key: str, secret: str, claims: dict[str, Any], lifetime: float = 600.0) -> str:
    """A signed token of ``claims``, valid from now on for ``lifetime`` seconds (which may be negative)."""
    now = int(time.time())
    claims = {"iss": key, "nbf": now - 5, "exp": int(now + lifetime), **claims}
    signed = ".".join(_part(json.dumps(part).encode()) for part in ({"alg": "HS256", "typ": "JWT"}, claims))
    return f"{signed}.{_part(hmac.digest(secret.encode(), signed.encode(), hashlib.sha256))}"


def join_token(
    key: str,
    secret: str,
    room: str,
    identity: str,
    *,
    name: str = "",
    metadata: str = "",
    attributes: dict[str, str] | None = None,
    kind: str = "standard",
    lifetime: float = 600.0,
    **grants: Any,
) -> str:
    """A token to join a room; ``kind`` may be "agent" and others.

    ``grants`` are of the video grant, in the server's spelling (``canPublish=False``).
    """
    video = {"roomJoin": True, "room": room, "canUpdateOwnMetadata": True, **grants}
    claims = {"sub": identity, "name": name, "metadata": metadata, "attributes": attributes or {}, "video": video}
    claims["kind"] = kind
    return mint(key, secret, claims, lifetime)


def admin_token(key: str, secret: str, room: str = "") -> str:
    """A token for the server's API."""
    video = {"roomCreate": True, "roomList": True, "roomAdmin": True, "room": room}
    return mint(key, secret, {"sub": "tests", "video": video})
