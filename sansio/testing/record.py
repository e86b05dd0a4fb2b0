"""Records what goes into a RoomEngine, without secrets, and plays it back.

    recorder = Recorder(lines.append)
    engine = recorder.engine(url, token, options, entropy=..., wall=..., identity=...)   # in place of RoomEngine(...)
    ...                                                                                 # a session, with any driver
    replay(lines)                                                                       # the same engine again

Every call from outside becomes a line of JSON before it is made, and every ``advance`` says what came out. With the
plain DTLS engine a replay must put out the same bytes at the same times. With a real one it cannot know the keys: then
the results of the DTLS engine are recorded in place of its keys, media is left out, and the kinds of outputs must be
the same. What a line never holds: signatures of tokens, passwords of relays, keys of DTLS and SRTP. What it does hold:
the ICE credentials of the session, which end with it, and everything that people said over signalling and data.
"""

from __future__ import annotations

import base64
import json
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from functools import partial
from typing import Any
from urllib.parse import urlsplit
from zlib import crc32

import attrs
from attrs import evolve, frozen

from .. import proto, types
from ..base.contract import Address, Interface, SignalFailure
from ..base.entropy import Entropy
from ..base.errors import LocalProtocolError
from ..base.wallclock import WallClock
from ..dtls.engine import Accept, DtlsFailure, Engine, EngineError, Records, Role, SrtpProfile
from ..dtls.identity import DtlsIdentity
from ..dtls.plain import PlainEngine
from ..ice.paths import TurnServerConfig
from ..lifecycle.policy import ReconnectPolicy
from ..room.engine import RoomEngine
from ..room.options import EngineOptions
from ..room.permissions import ParticipantTrackPermission
from ..room.publication import RemoteTrackPublication
from ..room.state import Factories
from ..room.track import LocalTrack, RemoteTrack, TrackDescription, VideoLayer

VALUES: Mapping[str, type[Any]] = {
    kind.__name__: kind
    for kind in (
        Interface,
        SignalFailure,
        TrackDescription,
        TurnServerConfig,
        ReconnectPolicy,
        ParticipantTrackPermission,
        VideoLayer,
    )
}
"""Classes whose objects are recorded by their attributes."""
READING = "TrackReadable"
"""The output that depends on when tracks are read, which is not recorded."""
MEDIA = "TrackKeyframeWanted"
"""The output that media causes, which a replay without keys does not have."""
CALLS = (
    *("start", "networks_changed", "port_opened", "port_failed", "port_send_failed", "port_blocked", "port_writable"),
    *(
        "signal_opened",
        "signal_failed",
        "signal_received",
        "signal_closed",
        "resolved",
        "token_renewed",
        "token_failed",
    ),
    *("handle_datagram", "publish_data", "send_packet", "wait_acknowledged", "read_data", "set_name", "set_metadata"),
    *("set_attributes", "simulate", "cancel", "perform_rpc", "publish_track", "unpublish_track", "set_track_muted"),
    *("write_frame", "enable_track", "request_keyframe", "set_subscribed", "set_track_settings", "stop"),
    *("set_track_permissions", "chat_entry"),
)
"""What is recorded."""
LEFT_OUT = (
    *("register_rpc_method", "unregister_rpc_method", "rpc_respond", "rpc_fail"),
    *("publish_data_track", "push_data_track", "subscribe_data_track", "unpublish_data_track"),
    "unsubscribe_data_track",
)
"""Operations with objects of the caller's own, of which a recording says only that they were there."""
FORMAT = 2


class Diverged(AssertionError):
    """A replay does something else than the recording."""


# ------------------------------------------------------------------ secrets


def redacted_token(token: str) -> str:
    """An access token that nobody accepts: what it says stays, its signature goes."""
    head, dot, _ = token.rpartition(".")
    return f"{head}.x" if dot and head.count(".") == 1 else "x"


def redacted_url(url: str) -> str:
    """A URL without user and query."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


def redacted_message(data: bytes) -> bytes:
    """A message of the server without tokens and passwords; one that cannot be read becomes another such one."""
    try:
        response = proto.rtc.SignalResponse.FromString(data)
    except proto.DecodeError:
        return b"\xff" * max(1, len(data))
    kind = response.WhichOneof("message")
    if kind == "refresh_token":
        response.refresh_token = redacted_token(response.refresh_token)
    elif kind == "room_moved":
        response.room_moved.token = redacted_token(response.room_moved.token)
    elif kind in ("join", "reconnect"):
        for server in getattr(response, kind).ice_servers:
            server.credential = "x"
        if kind == "join":
            response.join.sif_trailer = b""
    return bytes(response.SerializeToString(deterministic=True))


_SECRETS: Mapping[str, tuple[str, Callable[[Any], Any]]] = {
    "signal_received": ("data", redacted_message),
    "token_renewed": ("token", redacted_token),
}
"""For each call with a secret in its second argument: what that is called, and what is written of it."""


def _redacted(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if name not in _SECRETS:
        return args, kwargs
    argument, redact = _SECRETS[name]
    if argument in kwargs:
        return args, {**kwargs, argument: redact(kwargs[argument])}
    return (args[0], redact(args[1]), *args[2:]), kwargs


# ------------------------------------------------------------------ values


class Opaque(Exception):
    """A value that cannot be written down."""


def to_json(value: Any) -> Any:
    """A value as JSON, of which ``from_json`` makes an equal one. Raises Opaque for what is the caller's own."""
    if value is None or (isinstance(value, bool | int | float | str) and not isinstance(value, Enum)):
        return value
    if isinstance(value, bytes | bytearray | memoryview):
        return {"bytes": base64.b64encode(bytes(value)).decode()}
    if isinstance(value, list):
        return [to_json(item) for item in value]
    if isinstance(value, tuple):
        return {"tuple": [to_json(item) for item in value]}
    if isinstance(value, Enum):
        if getattr(types, type(value).__name__, None) is not type(value):
            raise Opaque(repr(value))
        return {"enum": [type(value).__name__, value.name]}
    if isinstance(value, Mapping):
        return {"dict": [[to_json(key), to_json(item)] for key, item in value.items()]}
    kind = type(value).__name__
    if VALUES.get(kind) is type(value):
        # ``owner`` of a track's description is the caller's own, and means nothing to the engine
        names = [one.name for one in attrs.fields(type(value)) if one.name != "owner"]
        fields = {name: to_json(getattr(value, name)) for name in names}
        return {"object": [kind, fields]}
    if isinstance(value, proto.models.DataPacket):
        return {"packet": base64.b64encode(value.SerializeToString(deterministic=True)).decode()}
    raise Opaque(kind)


def from_json(value: Any) -> Any:
    """See ``to_json``."""
    if isinstance(value, list):
        return [from_json(item) for item in value]
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    match kind:
        case "bytes":
            return base64.b64decode(content)
        case "tuple":
            return tuple([from_json(item) for item in content])
        case "enum":
            return getattr(types, content[0])[content[1]]
        case "dict":
            return {from_json(key): from_json(item) for key, item in content}
        case "object":
            return VALUES[content[0]](**{name: from_json(item) for name, item in content[1].items()})
        case _:
            return proto.models.DataPacket.FromString(base64.b64decode(content))


# ------------------------------------------------------------------ recording


class Recorder:
    """Makes an engine whose inputs it writes down: ``write`` gets one line after the other."""

    def __init__(self, write: Callable[[str], object]) -> None:
        self._write = write
        self._inside = False
        self._local: list[LocalTrack] = []
        self._plain = False
        self._dtls = 0

    def engine(
        self,
        url: str,
        token: str,
        options: EngineOptions | None = None,
        *,
        entropy: Entropy,
        wall: WallClock,
        identity: DtlsIdentity,
        factories: Factories | None = None,
    ) -> RoomEngine:
        """A RoomEngine, made of these arguments."""
        options = options or EngineOptions()
        self._plain = options.dtls_engine is PlainEngine
        inner = options.dtls_engine
        if not self._plain:

            def tapped(
                own: DtlsIdentity, role: Role, accept: Accept, profiles: tuple[str, ...], draw: Entropy
            ) -> Engine:
                self._dtls += 1
                return _Tap(inner(own, role, accept, profiles, draw), partial(self._note, "dtls", self._dtls))

            options = evolve(options, dtls_engine=tapped)
        engine = RoomEngine(url, token, options, entropy=entropy, wall=wall, identity=identity, factories=factories)
        self._note("head", self._head(url, token, options, entropy, wall, identity))
        for name in (*CALLS, *LEFT_OUT):
            setattr(engine, name, partial(self._call, name, getattr(engine, name)))
        engine.advance = partial(self._advance, engine, engine.advance)  # type: ignore[method-assign]
        engine.port_handler = partial(self._handler, engine.port_handler)  # type: ignore[method-assign]
        return engine

    def _head(
        self, url: str, token: str, options: EngineOptions, entropy: Entropy, wall: WallClock, identity: DtlsIdentity
    ) -> dict[str, Any]:
        servers = tuple([evolve(server, password="x") for server in options.turn_servers])
        options = evolve(options, turn_servers=servers)
        kept: dict[str, Any] = {}
        for one in attrs.fields(EngineOptions):
            try:
                kept[one.name] = to_json(getattr(options, one.name))
            except Opaque:
                continue  # the DTLS engine, and a policy of the caller's own: a replay has the default
        return {
            "format": FORMAT,
            "plain": self._plain,
            "url": redacted_url(url),
            "token": redacted_token(token),
            "options": kept,
            "entropy": entropy.state.hex(),
            "wall": [wall.unix, wall.now],
            "certificate": identity.certificate.hex(),
        }

    def _note(self, *line: Any) -> None:
        self._write(json.dumps(line, separators=(",", ":")))

    def _call(self, name: str, method: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """One call from outside; what the engine calls of itself is none."""
        if self._inside:
            return method(*args, **kwargs)
        if name != "handle_datagram" or self._wanted(args[1]):
            self._write_call(name, args, kwargs)
        self._inside = True
        try:
            result = method(*args, **kwargs)
        finally:
            self._inside = False
        if name == "publish_track":
            self._local.append(result[1])
        return result

    def _wanted(self, data: bytes) -> bool:
        """Media is nothing without its keys."""
        return self._plain or not (data and 128 <= data[0] < 192)

    def _write_call(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        try:
            if name in LEFT_OUT:
                raise Opaque("objects of the caller's own")
            shown, named = _redacted(name, args, kwargs)
            written = [self._value(arg) for arg in shown]
            named = {key: self._value(value) for key, value in named.items()}
        except Opaque as opaque:
            self._note("left out", name, str(opaque))
        else:
            self._note("call", name, written, named)

    def _value(self, value: Any) -> Any:
        if isinstance(value, RemoteTrackPublication):
            return {"publication": [value.participant.identity, value.sid]}
        if isinstance(value, RemoteTrack):
            return {"track": [value.publication.participant.identity, value.sid]}
        if isinstance(value, LocalTrack):
            return {"local": [one is value for one in self._local].index(True)}
        return to_json(value)

    def _advance(self, engine: RoomEngine, advance: Callable[[float], float], now: float) -> float:
        self._inside = True
        try:
            due = advance(now)
        finally:
            self._inside = False
        self._note("advance", now, facts(engine, plain=self._plain))
        return due

    def _handler(
        self, port_handler: Callable[[int], Callable[[int, bytes, Address, float], None]], port: int
    ) -> Callable[[int, bytes, Address, float], None]:
        handle = port_handler(port)

        def recorded(port: int, data: bytes, addr: Address, now: float) -> None:
            if self._wanted(data):
                self._note("packet", port, base64.b64encode(data).decode(), list(addr), now)
            handle(port, data, addr, now)

        return recorded


def facts(engine: RoomEngine, *, plain: bool) -> list[Any]:
    """What an engine has put out and nobody has taken yet: the kinds of outputs, and with a plain engine the bytes."""
    names = [type(output).__name__ for output in engine.outbox]
    names = [name for name in names if name != READING]
    if not plain:
        return [name for name in names if name != MEDIA]
    sum = 0
    for transmit in engine.transmits:
        sum = crc32(transmit.data, crc32(f"{transmit.port} {transmit.addr}".encode(), sum))
    return [*names, len(engine.transmits), sum]


class _Tap:
    """Writes down what a DTLS engine answers, but no key."""

    def __init__(self, engine: Engine, note: Callable[..., None]) -> None:
        self._engine = engine
        self._note = note

    def _ask(self, question: Callable[..., Any], *args: Any) -> Any:
        try:
            result = question(*args)
        except EngineError as error:
            self._note("error", error.reason.name, error.detail)
            raise
        self._note("answer", to_json(result))
        return result

    def handshake(self, datagram: bytes) -> bool:
        return bool(self._ask(self._engine.handshake, datagram))

    def take(self) -> bytes:
        return bytes(self._ask(self._engine.take))

    def peer_certificate(self) -> bytes:
        return bytes(self._ask(self._engine.peer_certificate))

    def srtp_profile(self) -> SrtpProfile | None:
        profile = self._engine.srtp_profile()
        self._note("answer", list(profile) if profile is not None else None)
        return profile

    def srtp_keys(self, profile: SrtpProfile) -> tuple[bytes, bytes]:
        return self._engine.srtp_keys(profile)

    def records(self) -> Records:
        return _TappedRecords(self._engine.records(), self._ask)

    def control(self, record: bytes) -> bool:
        return bool(self._ask(self._engine.control, record))


class _TappedRecords:
    """Writes down what application data is received."""

    def __init__(self, records: Records, ask: Callable[..., Any]) -> None:
        self._ask = ask
        self._open = records.open
        self.seal = records.seal
        self.close = records.close

    def open(self, record: bytes) -> bytes:
        return bytes(self._ask(self._open, record))


# ------------------------------------------------------------------ replaying


@frozen
class Replayed:
    """What a replay came to: the engine in its last state, and how many calls were made and left out."""

    engine: RoomEngine
    calls: int
    left_out: int


class _Answers:
    """A DTLS engine that answers what the recorded one did, and encrypts nothing."""

    def __init__(self, answers: deque[list[Any]]) -> None:
        self._answers = answers

    def _next(self) -> Any:
        if not self._answers:
            raise Diverged("the DTLS engine is asked for more than in the recording")
        kind, *rest = self._answers.popleft()
        if kind == "error":
            raise EngineError(DtlsFailure[rest[0]], rest[1])
        return rest[0]

    def handshake(self, datagram: bytes) -> bool:
        return bool(self._next())

    def take(self) -> bytes:
        return bytes(from_json(self._next()))

    def peer_certificate(self) -> bytes:
        return bytes(from_json(self._next()))

    def srtp_profile(self) -> SrtpProfile | None:
        found = self._next()
        return SrtpProfile(*found) if found is not None else None

    def srtp_keys(self, profile: SrtpProfile) -> tuple[bytes, bytes]:
        key = bytes(profile.key + profile.salt)
        return key, key

    def records(self) -> Records:
        return self

    def control(self, record: bytes) -> bool:
        return bool(self._next())

    def open(self, record: bytes) -> bytes:
        return bytes(from_json(self._next()))

    def seal(self, data: bytes) -> bytes:
        return bytes(13 + 8) + data + bytes(16)

    def close(self) -> bytes:
        return bytes(13 + 8 + 2 + 16)


def replay(lines: Iterable[str], *, check: bool = True) -> Replayed:
    """Play a recording to a fresh engine. Raises Diverged where it does something else, unless not to ``check``."""
    recording = [json.loads(line) for line in lines]
    head = recording[0][1]
    if head["format"] != FORMAT:
        raise ValueError(f"a recording of format {head['format']}, where {FORMAT} is known")
    plain = head["plain"]
    answers: dict[int, deque[list[Any]]] = {}
    for line in recording:
        if line[0] == "dtls":
            answers.setdefault(line[1], deque()).append(line[2:])
    made: list[_Answers] = []

    def recorded(own: DtlsIdentity, role: Role, accept: Accept, profiles: tuple[str, ...], draw: Entropy) -> Engine:
        made.append(_Answers(answers.get(len(made) + 1, deque())))
        return made[-1]

    options = EngineOptions(
        **{name: from_json(value) for name, value in head["options"].items()},
        dtls_engine=PlainEngine if plain else recorded,
    )
    engine = RoomEngine(
        head["url"],
        head["token"],
        options,
        entropy=Entropy.of_state(bytes.fromhex(head["entropy"])),
        wall=WallClock(*head["wall"]),
        identity=DtlsIdentity(bytes.fromhex(head["certificate"])),
    )
    player = _Player(engine, plain, check)
    for number, line in enumerate(recording[1:], 2):
        player.line(number, line)
    return Replayed(engine, player.calls, player.left_out)


class _Player:
    def __init__(self, engine: RoomEngine, plain: bool, check: bool) -> None:
        self.engine = engine
        self.calls = self.left_out = 0
        self._plain = plain
        self._check = check
        self._local: list[LocalTrack] = []

    def line(self, number: int, line: list[Any]) -> None:
        match line:
            case ["call", name, args, kwargs]:
                self.calls += 1
                self._call(name, args, kwargs)
            case ["packet", port, data, addr, now]:
                self.calls += 1
                handle = self.engine.port_handler(port)
                handle(port, base64.b64decode(data), (addr[0], addr[1]), now)
            case ["advance", now, expected]:
                self.engine.advance(now)
                found = facts(self.engine, plain=self._plain)
                if self._check and found != expected:
                    raise Diverged(f"line {number}, at {now}: recorded {expected}, replayed {found}")
                self.engine.outbox.clear()
                self.engine.transmits.clear()
            case ["left out", *_]:
                self.left_out += 1

    def _call(self, name: str, args: list[Any], kwargs: dict[str, Any]) -> None:
        if name not in CALLS:
            raise ValueError(f"a recording calls {name!r}")
        values = [self._value(arg) for arg in args]
        named = {key: self._value(value) for key, value in kwargs.items()}
        try:
            result = getattr(self.engine, name)(*values, **named)
        except LocalProtocolError:
            return  # as it was for the one who called
        if name == "publish_track":
            self._local.append(result[1])

    def _value(self, value: Any) -> Any:
        match value:
            case {"publication": [identity, sid]}:
                return self._publication(identity, sid)
            case {"track": [identity, sid]}:
                return self._publication(identity, sid).track
            case {"local": number}:
                return self._local[number]
        return from_json(value)

    def _publication(self, identity: str, sid: str) -> Any:
        return self.engine.state.remote_participants[identity].track_publications[sid]
