"""An engine, a driver that answers what it asks for, and a server that says what the test wants it to say."""

from __future__ import annotations

import base64
import zlib
from urllib.parse import parse_qs, urlsplit

from sansio import proto
from sansio.base.contract import (
    INF,
    ClosePort,
    CloseSignal,
    Interface,
    OpenSignal,
    OpenUdp,
    Resolve,
    SendSignal,
    SignalFailure,
)
from sansio.base.entropy import Entropy
from sansio.base.wallclock import WallClock
from sansio.dtls.plain import PlainEngine, plain_identity
from sansio.room.engine import RoomEngine
from sansio.room.options import EngineOptions
from sansio.room.outputs import Ended, JoinFailed
from tests.unit.room.build import join as join_response

HOST = "10.2.0.1"
ETH = Interface("eth0", HOST)
TOKEN = "a.token.x"
REQUESTS = (ClosePort, CloseSignal, OpenSignal, OpenUdp, Resolve, SendSignal)


class Desk:
    """``outputs`` has everything that came out; ports are opened at once unless ``ports`` is False."""

    def __init__(self, url="ws://server.test", *, token=TOKEN, ports=True, **options):
        self.now = 1000.0
        self.ports = ports
        self.outputs = []
        self.transmits = []
        self.due = INF
        self.engine = RoomEngine(
            url,
            token,
            EngineOptions(dtls_engine=PlainEngine, **options),
            entropy=Entropy(b"desk"),
            wall=WallClock(1.8e9, self.now),
            identity=plain_identity(Entropy(b"identity")),
        )

    # ------------------------------------------------------------------ the driver

    def turn(self, seconds=0.0):
        """Let time pass, and the engine do what it owes; returns what came out."""
        self.now += seconds
        fresh = []
        while True:
            self.due = self.engine.advance(self.now)
            assert self.due > self.now
            self.transmits += self.engine.transmits
            self.engine.transmits.clear()
            outputs = list(self.engine.outbox)
            self.engine.outbox.clear()
            if not outputs:
                break
            fresh += outputs
            for output in outputs:
                if isinstance(output, OpenUdp) and self.ports:
                    self.engine.port_opened(output.port, (output.host, 40000 + output.port), self.now)
        self.outputs += fresh
        return fresh

    def wait(self, seconds):
        """Let time pass as a driver does: from deadline to deadline."""
        end, fresh = self.now + seconds, []
        while self.due <= end:
            self.now = self.due
            fresh += self.turn()
        self.now = end
        return fresh + self.turn()

    def start(self, *interfaces):
        self.engine.start(interfaces or (ETH,), self.now)
        return self.turn()

    def found(self, kind):
        return [output for output in self.outputs if isinstance(output, kind)]

    @property
    def link(self):
        return self.found(OpenSignal)[-1].signal

    def sent(self, kind=None):
        """The requests that went to the server, or those of one kind."""
        requests = [proto.rtc.SignalRequest.FromString(output.data) for output in self.found(SendSignal)]
        if kind is None:
            return [request.WhichOneof("message") for request in requests]
        return [getattr(request, kind) for request in requests if request.WhichOneof("message") == kind]

    # ------------------------------------------------------------------ the server

    def opened(self):
        self.engine.signal_opened(self.link, self.now)
        return self.turn()

    def failed(self, kind="http", status=0, body=""):
        self.engine.signal_failed(self.link, SignalFailure(kind, "detail", status, body), self.now)
        return self.turn()

    def say(self, **message):
        """One message of the server: ``say(update=…)``."""
        data = proto.rtc.SignalResponse(**message).SerializeToString()
        self.engine.signal_received(self.link, data, self.now)
        return self.turn()

    def closed(self, reason="gone"):
        self.engine.signal_closed(self.link, reason, self.now)
        return self.turn()

    def joined(self, *others, **fields):
        """From a fresh engine to one that has its join response."""
        self.start()
        self.opened()
        self.say(join=join_response(*others, **fields))
        return self

    # ------------------------------------------------------------------ what to look at

    @property
    def ended(self):
        """The reason of the end, which has to come once and last."""
        reasons = [output.reason for output in self.found(Ended)]
        assert len(reasons) <= 1
        if reasons:
            assert isinstance(self.outputs[-1], Ended)
            assert self.engine.closed
            assert self.due == INF
            self._nothing_left_open()
        return reasons[0] if reasons else None

    @property
    def failure(self):
        (failed,) = self.found(JoinFailed)
        return failed.error

    def _nothing_left_open(self):
        opened = [output.port for output in self.found(OpenUdp)]
        assert len(set(opened)) == len(opened)
        closed = [output.port for output in self.found(ClosePort)]
        assert len(set(closed)) == len(closed)
        assert set(closed) <= set(opened)
        links = [output.signal for output in self.found(CloseSignal)]
        assert len(set(links)) == len(links)


def join_request(url):
    """What stands in the join request of a URL."""
    (text,) = parse_qs(urlsplit(url).query)["join_request"]
    wrapped = proto.rtc.WrappedJoinRequest.FromString(base64.urlsafe_b64decode(text))
    data = wrapped.join_request
    if wrapped.compression == proto.rtc.WrappedJoinRequest.GZIP:
        data = zlib.decompress(data, wbits=31)
    return proto.rtc.JoinRequest.FromString(data)
