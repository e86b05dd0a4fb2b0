"""A room engine whose driver and server do what the bytes say: answer, fail, stay silent, say too much, or nonsense.

A small server stands behind the link for as long as the bytes leave it alone, so that media comes up too. Whatever
happens, only misused operations raise, memory stays bounded, and ``stop`` leads to one clean end.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from fuzz._held import held
from fuzz._turn import settle
from sansio import events, proto
from sansio.base.contract import (
    INF,
    Address,
    ClosePort,
    CloseSignal,
    Interface,
    OpenSignal,
    OpenStream,
    OpenUdp,
    Resolve,
    SendSignal,
    SignalFailure,
    Transmit,
)
from sansio.base.entropy import Entropy
from sansio.base.errors import LocalProtocolError
from sansio.base.wallclock import WallClock
from sansio.dtls.plain import PlainEngine, plain_identity
from sansio.room.data_lanes import DataReadable, DataWritable
from sansio.room.engine import RoomEngine
from sansio.room.options import EngineOptions
from sansio.room.outputs import Ended, JoinFailed
from sansio.room.requests import RequestDone, RequestFailed
from sansio.sfu.server import AcceptSignal, RefuseSignal, ServerOptions, SfuServer
from sansio.sfu.token import Claims, mint

MOST_STEPS = 70
MOST_HELD = 3_000_000
"""Bytes and items that the engine may hold; its budget for data that is kept and under way is a third of it each."""
MOST_OUTPUTS = 400
UNIX = 1_800_000_000.0
SERVER: Address = ("10.0.0.1", 7882)
INTERFACES = [
    Interface("eth0", "10.2.0.1"),
    Interface("lo", "127.0.0.1", loopback=True),
    Interface("wlan0", "10.3.0.1"),
    Interface("eth0", "2001:db8::1"),
    Interface("x", "nonsense"),
]
TOKEN = mint(Claims("alice", "room", "key", can_update_own_metadata=True), "secret", UNIX)
OUTPUTS = (
    OpenUdp,
    OpenStream,
    ClosePort,
    OpenSignal,
    SendSignal,
    CloseSignal,
    Resolve,
    JoinFailed,
    Ended,
    DataReadable,
    DataWritable,
    RequestDone,
    RequestFailed,
    events.Event,
)
LINK = 1000
"""What the server adds to the number of a link."""


class Desk:
    """The engine, its driver's books, and the server behind the link."""

    def __init__(self, first: int) -> None:
        self.now = 0.0
        wall = WallClock(UNIX)
        self.engine = RoomEngine(
            "ws://server.test",
            TOKEN,
            EngineOptions(
                dtls_engine=PlainEngine,
                single_peer_connection=(None, True, False, None)[first & 3],
                metadata="me" if first & 4 else "",
                ice_servers=("stun:192.0.2.1", "stun:name.test") if first & 8 else (),
            ),
            entropy=Entropy(b"fuzz"),
            wall=wall,
            identity=plain_identity(Entropy(b"client")),
        )
        self.server = SfuServer(
            SERVER,
            ServerOptions(keys={"key": "secret"}, dtls_engine=PlainEngine, path_v1=not first & 16),
            entropy=Entropy(b"server"),
            wall=wall,
            identity=plain_identity(Entropy(b"server")),
        )
        self.pending: list[Any] = []
        self.to_server: list[Transmit] = []
        self.to_client: list[Transmit] = []
        self.messages: list[tuple[int, bytes]] = []
        self.asked: list[int] = []
        self.opened: list[int] = []
        self.closed: list[int] = []
        self.links: list[int] = []
        self.last_link = self.last_closed = 0
        self.tokens: list[int] = []
        self.ended = 0

    def settle(self) -> float:
        """The contract, after each input."""
        engine = self.engine
        due = settle(engine, self.now, MOST_OUTPUTS)
        self.to_server += engine.transmits
        engine.transmits.clear()
        del self.to_server[:-200]
        while engine.outbox:
            self._take(engine.outbox.popleft())
        assert engine.closed == bool(self.ended)
        assert not self.ended or due == INF
        self._settle_server()
        return due

    def _take(self, output: Any) -> None:
        assert isinstance(output, OUTPUTS), output
        assert not self.ended, "something after the end"
        match output:
            case OpenUdp(port=port) | OpenStream(port=port):
                assert port not in self.asked
                self.asked.append(port)
                self.opened.append(port)
                self.pending.append(output)
            case ClosePort(port=port):
                assert port in self.asked
                assert port not in self.closed, "a port is closed twice"
                self.closed.append(port)
                if port in self.opened:
                    self.opened.remove(port)
            case OpenSignal(signal=signal):
                assert not self.links, "two links at a time"
                assert signal == self.last_link + 1
                self.last_link = signal
                self.links.append(signal)
                self.pending.append(output)
            case CloseSignal(signal=signal):
                # It may have broken in the same moment; but it is closed once.
                assert signal == self.last_link
                assert signal > self.last_closed, "a link is closed twice"
                self.last_closed = signal
                self.broken(signal)
            case SendSignal(signal=signal, data=data):
                assert signal == self.last_link
                assert signal > self.last_closed, "a message on a link that was closed"
                assert proto.rtc.SignalRequest.FromString(data).WhichOneof("message")
                self.server.signal_received(LINK + signal, data, self.now)
            case Resolve():
                self.pending.append(output)
            case RequestDone(token=token) | RequestFailed(token=token):
                if token in self.tokens:
                    self.tokens.remove(token)
            case Ended():
                self.ended += 1

    def _settle_server(self) -> None:
        server = self.server
        server.advance(self.now)
        self.to_client += server.transmits
        server.transmits.clear()
        del self.to_client[:-200]
        while server.outbox:
            output = server.outbox.popleft()
            if isinstance(output, SendSignal):
                self.messages.append((output.signal - LINK, output.data))
            elif isinstance(output, RefuseSignal):
                self.messages.append((output.signal - LINK, b""))
                self.pending.append(output)
            elif not isinstance(output, AcceptSignal):
                self.messages.append((output.signal - LINK, b""))

    # ------------------------------------------------------------------ a driver that does its work

    def answer(self, request: Any) -> None:
        """What a good driver would answer."""
        engine, now = self.engine, self.now
        match request:
            case OpenUdp(port=port, host=host):
                engine.port_opened(port, (host, 40000 + port), now)
            case OpenStream(port=port):
                self.fail(request, 0)
            case OpenSignal(signal=signal, url=url, headers=headers):
                self.server.signal_accepted(LINK + signal, url, headers, now)
                self._settle_server()
                refusals = [other for other in self.pending if isinstance(other, RefuseSignal)]
                if refusals:
                    self.pending.remove(refusals[0])
                    self.broken(signal)
                    failure = SignalFailure("http", "refused", refusals[0].status, refusals[0].body)
                    engine.signal_failed(signal, failure, now)
                else:
                    engine.signal_opened(signal, now)
            case Resolve(token=token):
                engine.resolved(token, ["192.0.2.2", "2001:db8::9"], now)

    def fail(self, request: Any, choice: int) -> None:
        """What a driver answers that has no luck."""
        engine, now = self.engine, self.now
        match request:
            case OpenUdp(port=port) | OpenStream(port=port):
                if port in self.opened:
                    self.opened.remove(port)
                engine.port_failed(port, "in use", now)
            case OpenSignal(signal=signal):
                self.broken(signal)
                kind = ("dns", "tcp", "tls", "http", "http", "http", "protocol", "timeout")[choice & 7]
                status = (404, 401, 503)[choice % 3] if kind == "http" else 0
                engine.signal_failed(signal, SignalFailure(kind, "why", status, "body"), now)
            case Resolve(token=token):
                engine.resolved(token, [] if choice & 1 else ["nonsense"], now)

    def broken(self, signal: int) -> None:
        """A link is gone, whoever ended it."""
        if signal in self.links:
            self.links.remove(signal)
        self.server.signal_closed(LINK + signal, "gone", self.now)

    def pass_on(self, most: int) -> None:
        """Deliver messages and datagrams both ways."""
        messages, self.messages = self.messages[:most], self.messages[most:]
        for signal, data in messages:
            if data:
                self.engine.signal_received(signal, data, self.now)
            elif signal in self.links:
                self.broken(signal)
                self.engine.signal_closed(signal, "closed by the server", self.now)
        up, self.to_server = self.to_server[:most], self.to_server[most:]
        for transmit in up:
            if transmit.addr == SERVER:
                self.server.handle_datagram(1, transmit.data, ("10.2.0.1", 40000 + transmit.port), self.now)
        down, self.to_client = self.to_client[:most], self.to_client[most:]
        for transmit in down:
            self.engine.handle_datagram(transmit.addr[1] - 40000, transmit.data, SERVER, self.now)


def one(data: bytes) -> None:
    """The first byte chooses options, the second how far the join has come, then come operations."""
    source = iter(data)
    desk = Desk(next(source, 0))
    how_far = next(source, 0)
    if how_far & 1:
        desk.engine.start(INTERFACES[:2], desk.now)
        desk.settle()
    for _ in range(how_far >> 1 & 15):
        _work(desk)
    for _, op in zip(range(MOST_STEPS), source, strict=False):
        _act(op & 15, op >> 4, source, desk)
        desk.settle()
    assert held(desk.engine) <= MOST_HELD, f"the engine holds {held(desk.engine)}"
    _finish(desk)


def _work(desk: Desk) -> None:
    """A turn in which everybody does what he should."""
    desk.now += 0.01
    pending, desk.pending = desk.pending, []
    for request in pending:
        desk.answer(request)
    desk.settle()
    desk.pass_on(200)
    desk.settle()


def _act(what: int, choice: int, source: Iterator[int], desk: Desk) -> None:
    engine, now = desk.engine, desk.now
    match what:
        case 0:
            desk.now += (0.0, 0.001, 0.02, 0.3, 1.0, 3.0, 6.0, 16.0)[choice & 7]
        case 1:
            _work(desk)
        case 2 if desk.pending:
            request = desk.pending.pop(next(source, 0) % len(desk.pending))
            if choice & 1:
                desk.answer(request)
            else:
                desk.fail(request, choice >> 1)
        case 3:
            desk.pass_on(1 + choice)
        case 4 | 5 if desk.links:
            message = _message(what << 4 & 16 | choice, source)
            engine.signal_received(desk.links[0], message.SerializeToString(), now)
        case 6 if desk.messages and desk.links:
            broken = bytearray(desk.messages[choice % len(desk.messages)][1])
            if broken:
                broken[next(source, 0) * len(broken) >> 8] ^= next(source, 1)
            engine.signal_received(desk.links[0], bytes(broken), now)
        case 7:
            _operate(choice, source, desk)
        case 8:
            port = 1 + next(source, 0) % 4
            engine.handle_datagram(port, bytes([next(source, 0) for _ in range(choice * 3)]), SERVER, now)
        case 9 if desk.to_client:
            transmit = desk.to_client[choice % len(desk.to_client)]
            damaged = bytearray(transmit.data)
            damaged[next(source, 0) * len(damaged) >> 8] ^= next(source, 1)
            engine.handle_datagram(transmit.addr[1] - 40000, bytes(damaged), SERVER, now)
        case 10:
            _disturb(choice, next(source, 0), desk)
        case 11:
            chosen = next(source, 0)
            engine.networks_changed([one for at, one in enumerate(INTERFACES) if chosen >> at & 1], now)
        case 12 if desk.links:
            signal = desk.links[0]
            desk.broken(signal)
            engine.signal_closed(signal, "cut", now)
        case 13:
            desk.server.remove("room", "alice", now)
        case 14 if choice == 0:
            engine.stop(now)
        case 15:
            with suppress(LocalProtocolError):
                engine.start(INTERFACES[: choice & 7], now)


def _operate(choice: int, source: Iterator[int], desk: Desk) -> None:
    engine, now, argument = desk.engine, desk.now, next(source, 0)
    try:
        match choice & 7:
            case 0 | 1:
                engine.publish_data(bytes(argument * 300), reliable=bool(choice & 1), topic="t" * choice, now=now)
            case 2:
                while engine.read_data() is not None:
                    pass
            case 3:
                desk.tokens.append(engine.set_name("n" * (argument & 3), now))
            case 4:
                desk.tokens.append(engine.set_metadata("m" * (3 << 20) if choice & 8 else "m", now))
            case 5:
                desk.tokens.append(engine.set_attributes({"k": "v" * argument}, now))
            case 6:
                engine.cancel(argument & 7, now)
                if argument & 7 in desk.tokens:
                    desk.tokens.remove(argument & 7)
            case 7:
                engine.diagnostics()
                engine.why_due()
    except LocalProtocolError:
        pass


def _disturb(choice: int, argument: int, desk: Desk) -> None:
    engine, now, port = desk.engine, desk.now, 1 + (argument & 3)
    match choice & 7:
        case 0:
            engine.port_blocked(port, now)
        case 1:
            engine.port_writable(port, now)
        case 2:
            engine.port_send_failed(port, SERVER, "no route", now)
        case 3:
            if port in desk.opened:
                desk.opened.remove(port)
            engine.port_failed(port, "broke", now)
        case 4:
            engine.signal_closed(argument, "whichever", now) if argument not in desk.links else None
        case 5:
            engine.signal_opened(argument + 50, now)
        case 6:
            engine.resolved(argument, ["10.0.0.1"], now)
        case _:
            engine.port_opened(port + 90, ("10.2.0.1", 1), now)


def _message(what: int, source: Iterator[int]) -> Any:
    rtc, models = proto.rtc, proto.models
    argument = next(source, 0)
    response = rtc.SignalResponse
    info = models.ParticipantInfo(
        sid=f"PA_{argument >> 2}", identity="abcd"[argument & 3], version=argument & 7, state=argument % 4
    )
    match what:
        case 0:
            join = rtc.JoinResponse(participant=info, other_participants=[info], ping_interval=argument & 3)
            join.ping_timeout, join.subscriber_primary = argument >> 4, bool(argument & 1)
            join.ice_servers.add(
                urls=["stun:192.0.2.9", "turn:192.0.2.9", "turns:x.test?transport=tcp", "?"][: argument % 5]
            )
            return response(join=join)
        case 1:
            return response(answer={"type": "answer", "sdp": _description(argument, source), "id": argument & 3})
        case 2:
            return response(offer={"type": "offer", "sdp": _description(argument, source), "id": argument})
        case 3:
            line = f'{{"candidate":"candidate:1 1 udp 5 10.0.0.{argument} {argument} typ host"}}'
            return response(trickle={"candidateInit": line[: 99 - argument % 99], "target": argument & 1})
        case 4:
            return response(update={"participants": [info]})
        case 5:
            return response(leave={"action": argument & 3, "reason": argument >> 2})
        case 6:
            return response(mute={"sid": "TR_1", "muted": bool(argument & 1)})
        case 7:
            speaker = {"sid": info.sid, "level": argument / 256, "active": bool(argument & 1)}
            return response(speakers_changed={"speakers": [speaker]})
        case 8:
            return response(room_update={"room": {"name": "n", "metadata": "m" * argument}})
        case 9:
            return response(connection_quality={"updates": [{"participant_sid": info.sid, "quality": argument & 3}]})
        case 10:
            return response(refresh_token="t" * argument)
        case 11:
            return response(track_unpublished={"track_sid": "TR_1"})
        case 12:
            return response(pong_resp={"last_ping_timestamp": argument})
        case 13:
            return response(reconnect={"last_message_seq": argument})
        case 14:
            return response(request_response={"request_id": argument & 7, "reason": argument >> 4})
        case 15:
            return response(room_moved={"room": {"sid": "RM_2"}, "participant": info, "token": "x.y.z"})
        case 16 | 17 | 18:
            return response(media_sections_requirement={"num_audios": argument & 3, "num_videos": argument >> 5})
        case 19:
            return response(media_sections_requirement={"num_audios": 1 << (argument & 31)})
        case 20:
            return response(subscription_response={"track_sid": "TR_1", "err": argument & 3})
        case 21:
            return response(stream_state_update={"stream_states": [{"participant_sid": info.sid, "track_sid": "TR"}]})
        case _:
            return response()


def _description(argument: int, source: Iterator[int]) -> str:
    lines = [
        *("v=0", "o=- 1 1 IN IP4 0.0.0.0", "s=-", "t=0 0", "a=group:BUNDLE 0"),
        *("m=application 9 UDP/DTLS/SCTP webrtc-datachannel", "c=IN IP4 0.0.0.0", "a=mid:0", "a=sctp-port:5000"),
        *("a=ice-ufrag:abcd", "a=ice-pwd:0123456789012345678901"),
        f"a=setup:{('active', 'passive', 'actpass', 'holdconn')[argument & 3]}",
        "a=candidate:1 1 udp 1 10.0.0.9 9 typ host",
        "a=fingerprint:sha-256 " + ":".join(["AB"] * 32),
    ]
    text = "\r\n".join(lines) + "\r\n"
    if argument & 4:
        at = next(source, 0) * 2 % len(text)
        text = text[:at] + chr(next(source, 0)) + text[at + 1 :]
    return text[: len(text) - (argument >> 4)]


def _finish(desk: Desk) -> None:
    """``stop`` ends it within its time, once, with nothing left open."""
    desk.engine.stop(desk.now)
    for _ in range(300):
        due = desk.settle()
        if desk.ended:
            break
        desk.now = min(due, desk.now + 1.0)
    assert desk.ended == 1
    assert not desk.opened, "ports are left open"
    assert not desk.links, "a link is left open"
    assert not desk.tokens, "requests are left unanswered"
    _act(7, 0, iter(b"\1"), desk)
    _work(desk)
