"""Streams that others send."""

from __future__ import annotations

from collections import deque
from typing import Any

from sansio import proto
from sansio.base.entropy import Entropy
from sansio.room.stream_in import IncomingStream, IncomingStreams, StreamOpened
from sansio.testing.conformance import Script, Subject, call


class Hold:
    def release(self) -> None:
        pass


class Read(IncomingStreams):
    """With its readers."""

    def __init__(self) -> None:
        super().__init__(deque(), lambda size: Hold(), max_bytes=4000)
        for text in (False, True):
            self.listen(text=text, topic="t")
        self.intercept("core", lambda stream, now: None, 2000)

        self.opened: deque[IncomingStream] = deque(maxlen=20)

    def handle_header(self, packet: Any, now: float) -> None:
        before = len(self.outbox)
        super().handle_header(packet, now)
        self.opened += [output.stream for output in list(self.outbox)[before:] if isinstance(output, StreamOpened)]

    def read(self, which: int, now: float) -> None:
        if which < len(self.opened):
            self.opened[which].read(now)

    def gather(self, which: int, now: float) -> None:
        if which < len(self.opened) and self.opened[which]._gathered is None:
            self.opened[which].gather(now, limit=3000)

    def shut(self, which: int, now: float) -> None:
        if which < len(self.opened):
            self.opened[which].close(now)


def script(entropy: Entropy) -> Script:
    packet, parts = proto.models.DataPacket, proto.models.DataStream
    turn = yield None
    while True:
        del turn
        common = {"participant_identity": entropy.choice(["bob", "eve", ""])}
        name = entropy.choice(["a", "b", "c"])
        match entropy.below(9):
            case 0 | 1:
                header = parts.Header(
                    stream_id=name, topic=entropy.choice(["t", "core", "u"]), compression=entropy.below(5) // 2
                )
                (header.text_header if entropy.below(2) else header.byte_header).SetInParent()
                if not entropy.below(3):
                    header.total_length = entropy.below(5000)
                if not entropy.below(3):
                    header.inline_content = entropy.bytes(entropy.below(50))
                turn = yield call("handle_header", packet(stream_header=header, **common))
            case 2 | 3 | 4:
                content = entropy.bytes(entropy.below(60) ** 2)
                chunk = parts.Chunk(
                    stream_id=name, chunk_index=entropy.below(4), content=content, version=entropy.below(3)
                )
                turn = yield call("handle_chunk", packet(stream_chunk=chunk, **common))
            case 5:
                trailer = parts.Trailer(stream_id=name, reason="why" * entropy.below(2))
                turn = yield call("handle_trailer", packet(stream_trailer=trailer, **common))
            case 6 if not entropy.below(10):
                turn = yield call("restarted")
            case 6:
                turn = yield call("participant_left", common["participant_identity"], "")
            case _:
                turn = yield call(entropy.choice(["read", "read", "read", "gather", "shut"]), entropy.below(20))


SUBJECTS = {
    "room.stream_in.IncomingStreams": [
        Subject(
            make=lambda entropy: Read(),
            script=script,
            drains=("outbox",),
            closed=lambda machine: False,
            backwards=False,
        )
    ],
}
