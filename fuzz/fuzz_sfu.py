"""The small server: links, requests, datagrams and ends in any order, with bytes that nobody would send."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fuzz._held import held
from fuzz._turn import settle
from sansio import proto
from sansio.base.contract import CloseSignal, SendSignal
from sansio.base.entropy import Entropy
from sansio.base.wallclock import WallClock
from sansio.dtls.plain import PlainEngine, plain_identity
from sansio.ice import stun
from sansio.sfu.server import AcceptSignal, RefuseSignal, ServerOptions, SfuServer
from sansio.sfu.token import Claims, mint
from sansio.signal.urls import JoinSettings, join_url, resume_url

MOST_STEPS = 60
MOST_HELD = 600_000
"""Bytes and items that the server may hold after one input."""
MOST_OUTPUTS = 200
UNIX = 1_800_000_000.0
KEYS = {"key": "secret"}
OFFER = (
    "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\n"
    "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\nc=IN IP4 0.0.0.0\r\na=mid:0\r\na=sctp-port:5000\r\n"
    "a=ice-ufrag:client\r\na=ice-pwd:0123456789012345678901\r\na=setup:actpass\r\n"
    "a=candidate:1 1 udp 1 10.0.0.9 9 typ host\r\na=fingerprint:sha-256 " + ":".join(["AB"] * 32) + "\r\n"
)
TOKENS = [
    mint(Claims(identity, room, "key", can_update_own_metadata=True), "secret", UNIX)
    for identity, room in (("a", "1"), ("b", "1"), ("c", "1"), ("a", "2"))
] + [mint(Claims("h", "1", "key", hidden=True, can_publish_data=False), "secret", UNIX), "x.y.z", ""]


class Street:
    """The server, the links that are open, and what came out."""

    def __init__(self, first: int) -> None:
        self.now = 0.0
        self.server = SfuServer(
            ("10.0.0.1", 7882),
            ServerOptions(keys=KEYS, dtls_engine=PlainEngine, path_v1=not first & 1, auto_create=not first & 2),
            entropy=Entropy(b"fuzz"),
            wall=WallClock(UNIX),
            identity=plain_identity(Entropy(b"identity")),
        )
        self.links = 0
        self.open: list[int] = []
        self.sids: list[str] = []
        self.settle()

    def settle(self) -> float:
        """The contract, after each input."""
        server = self.server
        due = settle(server, self.now, MOST_OUTPUTS)
        server.transmits.clear()
        while server.outbox:
            self._take(server.outbox.popleft())
        return due

    def _take(self, output: Any) -> None:
        if isinstance(output, AcceptSignal):
            self.open.append(output.signal)
        elif isinstance(output, RefuseSignal):
            assert 400 <= output.status < 600
            assert output.body
        elif isinstance(output, CloseSignal):
            assert output.signal in self.open
            self.open.remove(output.signal)
        else:
            assert isinstance(output, SendSignal)
            assert output.signal in self.open, "a message on a link that is not open"
            response = proto.rtc.SignalResponse.FromString(output.data)
            assert response.WhichOneof("message")
            if response.HasField("join"):
                self.sids.append(response.join.participant.sid)


def one(data: bytes) -> None:
    """The first byte chooses options, then come operations."""
    source = iter(data)
    street = Street(next(source, 0))
    for _, op in zip(range(MOST_STEPS), source, strict=False):
        _act(op & 15, op >> 4, source, street)
        street.settle()
    assert held(street.server) <= MOST_HELD, f"the server holds {held(street.server)}"
    _finish(street)


def _act(what: int, choice: int, source: Iterator[int], street: Street) -> None:
    server, now = street.server, street.now
    link = street.open[choice % len(street.open)] if street.open else 0
    match what:
        case 0 | 1:
            street.links += 1
            server.signal_accepted(street.links, _url(what, choice, source, street), _headers(choice, source), now)
        case 2:
            server.signal_received(link, _text(source).encode("latin-1"), now)
        case 3 | 4 | 5:
            request = _request(what << 4 | choice, source)
            server.signal_received(link, request.SerializeToString(), now)
        case 6:
            if link and choice & 8:
                street.open.remove(link)
                server.signal_closed(link, "gone", now)
            else:
                server.signal_closed(street.links + 5, "never was", now)
        case 7:
            server.remove("1", "abc"[choice % 3], now)
        case 8 | 9:
            server.handle_datagram(1, _text(source).encode("latin-1"), ("10.0.0.9", 9 + (choice & 1)), now)
        case 10 | 11:
            server.handle_datagram(1, _check(choice, source, street), ("10.0.0.9", 9 + (choice & 3)), now)
        case 12:
            participants = list(server._dues)
            if participants:
                participants[choice % len(participants)].send_data(bytes(next(source, 0)) * 400, bool(choice & 1), now)
        case 13 | 14:
            street.now += (0.001, 0.05, 1.0, 5.0)[choice & 3]
        case _:
            street.now += 15.0


def _text(source: Iterator[int]) -> str:
    return "".join([chr(next(source, 0)) for _ in range(next(source, 0) & 63)])


def _url(what: int, choice: int, source: Iterator[int], street: Street) -> str:
    settings = JoinSettings(attributes={"k": "v" * choice} if choice & 4 else {})
    if what == 0:
        offer = proto.rtc.SessionDescription(type="offer", sdp=OFFER, id=1) if choice & 1 else None
        return join_url("ws://x", settings, single=bool(choice & 1), offer=offer)
    if choice & 1 and street.sids:
        sid = street.sids[next(source, 0) % len(street.sids)]
        return resume_url("ws://x", settings, sid=sid, single=bool(choice & 2))
    url = join_url("ws://x", settings, single=bool(choice & 2))
    at = next(source, 0) * len(url) >> 8
    return url[:at] + _text(source) + url[at + (choice & 1) :]


def _headers(choice: int, source: Iterator[int]) -> tuple[tuple[str, str], ...]:
    token = TOKENS[next(source, 0) % len(TOKENS)]
    kind = "Bearer " if choice != 7 else _text(source)
    return (("Authorization", kind + token),)


def _request(what: int, source: Iterator[int]) -> Any:
    rtc = proto.rtc
    argument = next(source, 0)
    changed = list(OFFER)
    if argument & 1:
        changed[next(source, 0) * 2 % len(changed)] = chr(next(source, 0))
    description = {"sdp": "".join(changed), "id": argument}
    match what & 7:
        case 0:
            return rtc.SignalRequest(offer={"type": "offer", **description})
        case 1:
            return rtc.SignalRequest(answer={"type": "answer", **description})
        case 2:
            line = f'{{"candidate":"candidate:1 1 udp {argument} 10.0.0.{argument} 9 typ host"}}'
            return rtc.SignalRequest(trickle={"candidateInit": line[: 99 - argument % 99], "target": argument & 1})
        case 3:
            return rtc.SignalRequest(ping_req={"timestamp": argument})
        case 4:
            update = {"name": "n" * argument * 2, "attributes": {"k" * (argument & 3): "v" * (argument >> 2) * 2000}}
            return rtc.SignalRequest(update_metadata={**update, "request_id": argument})
        case 5 if argument & 1:
            return rtc.SignalRequest(leave={"reason": argument})
        case 6:
            return rtc.SignalRequest(mute={"sid": "TR"})
        case _:
            return rtc.SignalRequest()


def _check(choice: int, source: Iterator[int], street: Street) -> bytes:
    """A check with a right user name, and a right password now and then."""
    participants = list(street.server._dues)
    if not participants:
        return b"\0\1"
    peers = participants[next(source, 0) % len(participants)].peers
    ice = peers[choice % len(peers)].connection.transport.ice
    attributes = [
        (stun.USERNAME, f"{ice.local_ufrag}:client".encode()),
        (stun.PRIORITY, stun.u32_value(next(source, 0))),
        (stun.ICE_CONTROLLING, stun.u64_value(next(source, 0))),
    ]
    if choice & 4:
        attributes.append((stun.USE_CANDIDATE, b""))
    key = stun.Key(ice.local_pwd.encode()) if choice & 8 else None
    return stun.build(stun.BINDING_REQUEST, bytes([choice]) * 12, attributes, key)


def _finish(street: Street) -> None:
    """When every link is lost, everybody is forgotten in time, and then nothing is owed."""
    while street.open:
        street.server.signal_closed(street.open.pop(), "gone", street.now)
        street.settle()
    for _ in range(400):
        due = street.settle()
        if due == float("inf"):
            break
        street.now = due
    assert not street.server._dues
    assert not street.server._rooms
    assert not street.server._routes._names
    assert not street.server._routes.addresses
