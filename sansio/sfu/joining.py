"""What a client says to get in: address, token, join request. Statuses and texts are those of LiveKit's server."""

from __future__ import annotations

import base64
import json
import zlib
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

from attrs import field, frozen

from .. import proto
from ..base.limits import SFU_JOIN_REQUEST
from .options import Headers, ServerOptions
from .token import Claims, TokenError, verify

if TYPE_CHECKING:
    from ..proto import rtc

LONGEST_NAME = 256


class Refused(Exception):
    """The request is answered with an HTTP error."""

    def __init__(self, status: int, body: str) -> None:
        super().__init__(status, body)
        self.status = status
        self.body = body


@frozen
class Knock:
    """A request to join: what the client asks for, and what it may. ``single``: with one peer connection."""

    join: rtc.JoinRequest = field(repr=False)
    claims: Claims
    single: bool


def read_knock(url: str, headers: Headers, options: ServerOptions, unix_now: float) -> Knock:
    """Read the address and the token of somebody who wants in. Raises Refused."""
    path, text = split_target(url)
    query = parse_qs(text, keep_blank_values=True)
    single = path == "/rtc/v1" and options.path_v1
    if not single and path != "/rtc":
        raise Refused(404, "404 page not found")
    claims = authorise(headers, query, options, unix_now)
    if not claims.granted:
        raise Refused(401, "no permissions to access the room")
    if not claims.room_join:
        raise Refused(401, "permissions denied")
    if not claims.identity:
        raise Refused(400, "identity cannot be empty")
    if not claims.room:
        raise Refused(400, "no room name")
    if len(claims.identity) > LONGEST_NAME:
        raise Refused(400, "participant identity length exceeds limits: max length 256")
    if len(claims.room) > LONGEST_NAME:
        raise Refused(400, "room name length exceeds limits: max length 256")
    if "join_request" in query:
        single = True
        join = _decode_join(query["join_request"][0])
    elif single:
        raise Refused(400, "join_request is required")
    else:
        join = _decode_query(query)
    if (join.metadata or join.participant_attributes) and not claims.can_update_own_metadata:
        raise Refused(401, "no permissions to access the room")
    return Knock(join, claims, single)


def split_target(target: str) -> tuple[str, str]:
    """Path and query of a request target or URL; slashes at the beginning are taken as one. Raises Refused."""
    try:
        parts = urlsplit("/" + target.lstrip("/") if target.startswith("/") else target)
    except ValueError:
        raise Refused(400, "cannot read the address") from None
    return "/" + parts.path.lstrip("/"), parts.query


def authorise(headers: Headers, query: dict[str, list[str]], options: ServerOptions, unix_now: float) -> Claims:
    """The claims of the token in the Authorization header, or else in the query. Raises Refused."""
    token = ""
    for name, value in headers:
        if name.lower() == "authorization":
            if not value.startswith("Bearer "):
                raise Refused(401, "invalid authorization header. Must start with Bearer ")
            token = value[7:]
    token = token or query.get("access_token", [""])[0]
    if not token:
        raise Refused(401, "no permissions to access the room")
    try:
        return verify(token, options.keys, unix_now)
    except TokenError as error:
        raise Refused(401, str(error)) from None


def _truth(query: dict[str, list[str]], name: str, default: bool = False) -> bool:
    values = query.get(name)
    return values[0] in ("1", "true") if values and values[0] else default


def _decode_query(query: dict[str, list[str]]) -> rtc.JoinRequest:
    """What ``/rtc`` says in parameters of its own. LiveKit's server passes over attributes that it cannot read."""
    join = proto.rtc.JoinRequest()
    try:
        attributes = json.loads(base64.b64decode(query.get("attributes", [""])[0], altchars=b"-_", validate=True))
        if isinstance(attributes, dict):
            join.participant_attributes.update(
                {name: value for name, value in attributes.items() if isinstance(value, str) and value}
            )
    except (ValueError, RecursionError):
        join.Clear()
    join.reconnect = _truth(query, "reconnect")
    join.participant_sid = query.get("sid", [""])[0]
    join.connection_settings.auto_subscribe = _truth(query, "auto_subscribe", True)
    join.connection_settings.adaptive_stream = _truth(query, "adaptive_stream")
    for name, limit in (("protocol", 6), ("client_protocol", 6)):
        number = query.get(name, ["0"])[0]
        if number.isascii() and number.isdecimal() and len(number) <= limit:
            setattr(join.client_info, name, int(number))
    return join


def _decode_join(text: str) -> rtc.JoinRequest:
    try:
        wrapped = proto.rtc.WrappedJoinRequest.FromString(base64.b64decode(text, altchars=b"-_", validate=True))
        data = wrapped.join_request
        if wrapped.compression == proto.rtc.WrappedJoinRequest.GZIP:
            unpacker = zlib.decompressobj(wbits=31)
            data = unpacker.decompress(data, SFU_JOIN_REQUEST)
            if unpacker.unconsumed_tail:
                raise Refused(400, "join request too large")
        return proto.rtc.JoinRequest.FromString(data)
    except (ValueError, zlib.error, proto.DecodeError):
        raise Refused(400, "cannot decode join_request") from None
