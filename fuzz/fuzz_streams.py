"""Streams of text and bytes: any packets in, and what we send ourselves, damaged on its way.

The bytes are operations: one byte for what to do, one for which stream, two for a number; then as many bytes of content
as the number says, where the operation has content.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from fuzz._turn import settle
from sansio import proto
from sansio.base.contract import INF
from sansio.base.entropy import Entropy
from sansio.base.errors import LocalProtocolError
from sansio.base.wallclock import WallClock
from sansio.room.state import RoomState
from sansio.room.stream_in import IncomingStream, IncomingStreams, StreamOpened, StreamReadable
from sansio.room.stream_info import StreamError
from sansio.room.stream_out import OutgoingStream, OutgoingStreams

MOST = 100_000


class Hall:
    """Both directions, with an account of what is held."""

    def __init__(self) -> None:
        self.now = 0.0
        self.held = 0
        self.outbox: deque[Any] = deque()
        self.incoming = IncomingStreams(self.outbox, self.hold, max_bytes=MOST)
        for text in (False, True):
            self.incoming.listen(text=text, topic="t")
        self.incoming.intercept("core", self.finished, 1000)
        state = RoomState(deque())
        peer = {"identity": "bob", "sid": "PA_bob", "client_protocol": 2, "capabilities": [2]}
        state.apply_join(proto.rtc.JoinResponse(participant={"identity": "alice"}, other_participants=[peer]))
        self.outgoing = OutgoingStreams(state, Entropy(b"fuzz"), WallClock())
        self.streams: list[IncomingStream] = []
        self.got: dict[str, list[Any]] = {}
        self.open: list[OutgoingStream] = []
        self.sent: dict[str, bytes] = {}
        self.whole: set[str] = set()
        self.damaged = False

    def hold(self, size: int) -> Any:
        hall = self
        hall.held += size

        class Hold:
            def release(self) -> None:
                hall.held -= size

        return Hold()

    def finished(self, stream: IncomingStream, now: float) -> None:
        assert stream.done
        assert (stream.error is None) == (stream.whole is not None)
        assert stream.whole is None or len(stream.whole) <= 1000

    def handle(self, packet: Any) -> None:
        match packet.WhichOneof("value"):
            case "stream_header":
                self.incoming.handle_header(packet, self.now)
            case "stream_chunk":
                self.incoming.handle_chunk(packet, self.now)
            case "stream_trailer":
                self.incoming.handle_trailer(packet, self.now)

    def drain(self) -> None:
        while self.outbox:
            match self.outbox.popleft():
                case StreamOpened(stream=stream):
                    self.streams.append(stream)
                case StreamReadable(stream=stream):
                    assert stream in self.streams

    def read(self, stream: IncomingStream) -> None:
        if (piece := stream.read(self.now)) is not None:
            assert piece
            self.got.setdefault(stream.info.stream_id, []).append(piece)

    def check(self) -> None:
        settle(self.incoming, self.now)
        assert self.held <= self.incoming._unread_bytes
        assert sum(self.incoming._senders.values()) == len(self.incoming)
        if not self.streams:
            assert self.held == 0
        for stream in self.streams:
            if stream.done:
                assert stream._unread == 0
                assert stream.error is None or isinstance(stream.error, StreamError)

    # ------------------------------------------------------------------ ours, and back

    def send(self, stream: OutgoingStream, packets: Any, data: bytes) -> None:
        """Send packets of a stream of ours, and keep account of what was written."""
        for packet in packets:
            packet.participant_identity = "us"
            self.handle(proto.models.DataPacket.FromString(packet.SerializeToString()))
        self.sent[stream.info.stream_id] = self.sent.get(stream.info.stream_id, b"") + data

    def operate(self, what: int, which: int, number: int, content: bytes) -> None:
        stream = self.open[which % len(self.open)] if self.open else None
        try:
            if what == 0:
                new = self.outgoing.open_bytes(self.now, topic="t", total_size=number if which & 1 else None)
                self.open.append(new)
                self.send(new, [new.header], b"")
            elif what == 1:
                new, packets = self.outgoing.send_bytes(content * (1 + which), self.now, topic="t")
                self.send(new, packets, content * (1 + which))
                self.whole.add(new.info.stream_id)
            elif stream is None:
                return
            elif what == 2:
                packets = stream.write(content)
                self.send(stream, packets, content)
            elif what == 3:
                self.send(stream, stream.finish(), b"")
                self.whole.add(stream.info.stream_id)
            elif (packet := stream.abort("why")) is not None:
                self.send(stream, [packet], b"")
        except LocalProtocolError:
            pass


def one(data: bytes) -> None:
    hall = Hall()
    offset = 0
    while offset + 4 <= len(data):
        what, which, number = data[offset], data[offset + 1], int.from_bytes(data[offset + 2 : offset + 4], "big")
        content = data[offset + 4 : offset + 4 + number]
        offset += 4
        match what % 16:
            case 0 | 1 | 2 | 3 | 4 as operation:
                if operation in (1, 2):
                    offset += len(content)
                hall.operate(operation, which, number, content)
            case 5 | 6:  # a packet of somebody, whatever it is
                offset += len(content)
                try:
                    packet = proto.models.DataPacket.FromString(content)
                except proto.DecodeError:
                    continue
                hall.damaged = hall.damaged or packet.participant_identity == "us"
                hall.handle(packet)
            case 7 | 8 | 9 | 10:
                if hall.streams:
                    hall.read(hall.streams[which % len(hall.streams)])
            case 11:
                if hall.streams and (stream := hall.streams[which % len(hall.streams)])._gathered is None:
                    stream.gather(hall.now, limit=number)
                    if stream.info.stream_id in hall.sent:
                        hall.damaged = True  # read in two ways: not compared below
            case 12:
                if hall.streams and (stream := hall.streams[which % len(hall.streams)]).identity != "us":
                    stream.close(hall.now)
            case 13:
                hall.incoming.participant_left(("bob", "eve", "")[which % 3], "", hall.now)
            case 14:
                hall.now += number / 100
                if hall.now > 0 and not hall.damaged:
                    hall.damaged = hall.incoming._full_since != INF  # a stream of ours may be ended
            case _:
                pass
        hall.drain()
        hall.check()
    if hall.damaged:
        return
    for stream in hall.streams:
        name = stream.info.stream_id
        if stream.identity != "us" or name not in hall.sent:
            continue
        while not stream.done and (piece := stream.read(hall.now)) is not None:
            hall.got.setdefault(name, []).append(piece)
        got = b"".join(hall.got.get(name, []))
        assert hall.sent[name].startswith(got)
        if name in hall.whole:
            assert stream.done
            assert stream.error is not None or got == hall.sent[name]
            assert stream.error is None or len(hall.sent[name]) > MOST
