"""A room engine with the small server as its partner, and the server with an engine as its."""

from __future__ import annotations

from collections import deque
from typing import Any

from sansio.base.contract import CloseSignal, Interface, OpenSignal, OpenUdp, SendSignal, SignalFailure, Transmit
from sansio.base.entropy import Entropy
from sansio.base.wallclock import WallClock
from sansio.dtls.identity import DtlsIdentity
from sansio.dtls.plain import PlainEngine
from sansio.room.engine import RoomEngine
from sansio.room.options import EngineOptions
from sansio.room.track import TrackDescription
from sansio.sfu.server import AcceptSignal, RefuseSignal, ServerOptions, SfuServer
from sansio.sfu.token import Claims, mint
from sansio.testing.conformance import Input, Script, Subject, call

from .duet import mutated

WALL = WallClock(1.8e9, 1000.0)
SERVER = ("10.1.0.1", 7882)
HOST = "10.2.0.1"
LINK = 1001
"""The number by which the server knows the client's first signalling link; later ones count on."""


def engine(entropy: Entropy, single: bool | None) -> RoomEngine:
    claims = Claims("alice", "room", "key", can_update_own_metadata=True)
    return RoomEngine(
        "ws://server.test",
        mint(claims, "secret", 1.8e9),
        EngineOptions(dtls_engine=PlainEngine, single_peer_connection=single),
        entropy=entropy,
        wall=WALL,
        identity=DtlsIdentity(b"client certificate"),
    )


def server(entropy: Entropy) -> SfuServer:
    return SfuServer(
        SERVER,
        ServerOptions(keys={"key": "secret"}, dtls_engine=PlainEngine),
        entropy=entropy,
        wall=WALL,
        identity=DtlsIdentity(b"server certificate"),
    )


# ------------------------------------------------------------------ what each side's outputs mean to the other


def to_server(output: Any) -> Input | None:
    """The input of a server that an output of an engine causes."""
    match output:
        case OpenSignal(signal=signal, url=url, headers=headers):
            return call("signal_accepted", LINK + signal, url, headers)
        case SendSignal(signal=signal, data=data):
            return call("signal_received", LINK + signal, data)
        case CloseSignal(signal=signal):
            return call("signal_closed", LINK + signal, "closed")
        case Transmit(port=port, data=data):
            return call("handle_datagram", 1, data, (HOST, 40000 + port))
    return None


def to_engine(output: Any) -> Input | None:
    """The input of an engine that an output of a server, or a request of its own, causes."""
    match output:
        case OpenUdp(port=port, host=host):
            return call("port_opened", port, (host, 40000 + port))
        case AcceptSignal(signal=signal):
            return call("signal_opened", signal - LINK)
        case RefuseSignal(signal=signal, status=status, body=body):
            return call("signal_failed", signal - LINK, SignalFailure("http", "refused", status, body))
        case SendSignal(signal=signal, data=data):
            return call("signal_received", signal - LINK, data)
        case CloseSignal(signal=signal):
            return call("signal_closed", signal - LINK, "closed")
        case Transmit(data=data, addr=addr):
            return call("handle_datagram", addr[1] - 40000, data, SERVER)
    return None


def is_datagram(item: Input) -> bool:
    return item.name == "handle_datagram"


def spoiled(item: Input, entropy: Entropy) -> Input:
    """The same input with other bytes in it."""
    args = [mutated(arg, entropy) if isinstance(arg, bytes) else arg for arg in item.args]
    return Input(item.name, tuple(args), item.kwargs)


class Line:
    """Inputs on their way to the machine: datagrams may be lost, doubled and overtaken, all may be spoiled."""

    def __init__(self, entropy: Entropy) -> None:
        self.entropy = entropy
        self.waiting: deque[Input] = deque()

    def put(self, item: Input | None) -> None:
        if item is None:
            return
        copies = (0, 1, 1, 1, 1, 1, 1, 2)[self.entropy.below(8)] if is_datagram(item) else 1
        self.waiting.extend([item] * copies)

    def take(self) -> Input | None:
        if not self.waiting:
            return None
        item = self.waiting.popleft()
        if is_datagram(item) and self.entropy.below(6) == 0:
            self.waiting.append(item)
            return None
        return spoiled(item, self.entropy) if self.entropy.below(40) == 0 else item


def feed(partner: Any, item: Input | None, now: float) -> None:
    if item is not None:
        getattr(partner, item.name)(*item.args, **item.kwargs, now=now)


def drained(partner: Any) -> list[Any]:
    outputs = [*partner.outbox, *partner.transmits]
    partner.outbox.clear()
    partner.transmits.clear()
    return outputs


# ------------------------------------------------------------------ scripts

OPERATIONS = [
    lambda entropy: call(
        "publish_data", entropy.bytes(entropy.below(2000)), reliable=bool(entropy.below(2)), topic="t"
    ),
    lambda entropy: call("publish_data", b"x", destination_identities=["bob"]),
    lambda entropy: Input("read_data", timed=False),
    lambda entropy: call("perform_rpc", "bob", "m", "x" * entropy.below(2000), response_timeout=1.0 + entropy.below(9)),
    lambda entropy: Input("register_rpc_method", ("m", None), timed=False),
    lambda entropy: call("set_name", entropy.choice(["", "Alice"])),
    lambda entropy: call("set_attributes", {"k": entropy.choice(["", "v"])}),
    lambda entropy: call("set_metadata", 5),
    lambda entropy: call("start", []),
    lambda entropy: call("cancel", 1),
    lambda entropy: call("publish_track", TrackDescription(codec=entropy.choice(["opus", "vp8", "h264"]))),
    lambda entropy: call("unpublish_track", "TR_none"),
    lambda entropy: call("publish_data_track", entropy.choice(["", "a", "b", "c"])),
    lambda entropy: call("set_track_muted", "TR_none", True),
    lambda entropy: call("cancel", 1 + entropy.below(20)),
    lambda entropy: call("port_blocked", 1),
    lambda entropy: call("port_writable", 1),
    lambda entropy: call("port_send_failed", 1, SERVER, "no route"),
    lambda entropy: call("handle_datagram", 7, b"\x00strange", SERVER),
    lambda entropy: call("resolved", 5, ["10.0.0.1"]),
    lambda entropy: call("signal_closed", 99, "of another time"),
    lambda entropy: call("signal_closed", 1, "cut") if entropy.below(10) == 0 else call("port_failed", 9, "gone"),
]


def engine_script(entropy: Entropy) -> Script:
    partner, line = server(entropy.fork("partner")), Line(entropy)
    line.put(call("start", [Interface("eth0", HOST)]))
    turn = yield None
    while True:
        for output in turn.outputs:
            if isinstance(output, OpenUdp):
                line.put(to_engine(output))
            else:
                feed(partner, to_server(output), turn.now)
        partner.advance(turn.now)
        for output in drained(partner):
            line.put(to_engine(output))
        turn = yield line.take() if entropy.below(6) else entropy.choice(OPERATIONS)(entropy)


def server_script(entropy: Entropy) -> Script:
    partner, line = engine(entropy.fork("partner"), single=entropy.choice([None, False])), Line(entropy)
    turn = yield None
    partner.start([Interface("eth0", HOST)], turn.now)
    while True:
        for output in turn.outputs:
            feed(partner, to_engine(output), turn.now)
        if entropy.below(8) == 0 and partner.state.local_participant.identity:
            feed_user(partner, entropy, turn.now)
        partner.advance(turn.now)
        for output in drained(partner):
            if isinstance(output, OpenUdp):
                feed(partner, to_engine(output), turn.now)
            else:
                line.put(to_server(output))
        item = line.take()
        if entropy.below(20) == 0:
            item = call("signal_accepted", 5, "ws://x/rtc/v1?join_request=AAAA", (("Authorization", "Bearer x"),))
        elif entropy.below(40) == 0:
            item = call("handle_datagram", 1, entropy.bytes(entropy.below(30)), (HOST, 1 + entropy.below(60000)))
        turn = yield item


def feed_user(partner: RoomEngine, entropy: Entropy, now: float) -> None:
    if partner.state.connection.name == "CONNECTED":
        partner.publish_data(entropy.bytes(1 + entropy.below(200)), reliable=bool(entropy.below(2)), now=now)
        partner.read_data()


def engine_misuse(machine: RoomEngine) -> list[Input]:
    found = [call("publish_data", bytes(100_000)), call("set_name", "")]
    if machine.closed:
        found.append(call("publish_data", b"x"))
    return found


SUBJECTS = {
    "room.engine.RoomEngine": [
        Subject(
            make=lambda entropy, single=single: engine(entropy, single),
            script=engine_script,
            misuse=engine_misuse,
            close=call("stop"),
            longest=longest,
            most=1_000_000,
        )
        for single in (None, False)
        for longest in (0.2, 20.0)
    ],
    "sfu.server.SfuServer": [
        Subject(make=server, script=server_script, longest=longest, most=1_000_000) for longest in (0.2, 20.0)
    ],
}
