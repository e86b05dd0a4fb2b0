"""What a hostile participant can send through the real server harms nothing but its own streams and calls."""

from __future__ import annotations

import json
import zlib
from typing import Any

import trio

from sansio import proto
from trio_client import ConnectionState, DataReceived, Room, StreamError

from .ours import MODES, joined, run

DataPacket, Stream = proto.models.DataPacket, proto.models.DataStream


def header(name: str, *, text: bool = False, **fields: Any) -> DataPacket:
    packet = DataPacket(stream_header=Stream.Header(stream_id=name, topic="t", **fields))
    (packet.stream_header.text_header if text else packet.stream_header.byte_header).SetInParent()
    return packet


def chunk(name: str, index: int, content: bytes, version: int = 0) -> DataPacket:
    return DataPacket(stream_chunk=Stream.Chunk(stream_id=name, chunk_index=index, content=content, version=version))


def trailer(name: str) -> DataPacket:
    return DataPacket(stream_trailer=Stream.Trailer(stream_id=name))


BOMB = zlib.compressobj(9, wbits=-15)
BOMB = BOMB.compress(bytes(20_000_000)) + BOMB.flush()

HOSTILE = [
    # nothing that anybody waits for
    chunk("nothing", 0, b"x"),
    trailer("nothing"),
    DataPacket(rpc_ack={"request_id": "nothing"}),
    DataPacket(rpc_response={"request_id": "nothing", "payload": "x"}),
    DataPacket(rpc_request={"id": "", "method": "m", "version": 1}),
    DataPacket(rpc_request={"id": "1", "method": "unknown", "version": 1}),
    DataPacket(rpc_request={"id": "2", "method": "m", "version": 77}),
    DataPacket(stream_header=Stream.Header(stream_id="neither text nor bytes", topic="t")),
    DataPacket(),
    # lengths
    header("short", total_length=5),
    chunk("short", 0, b"abc"),
    trailer("short"),
    header("long", total_length=2),
    chunk("long", 0, b"abc"),
    # a gap
    header("gap"),
    chunk("gap", 0, b"abc"),
    chunk("gap", 2, b"ghi"),
    # compression
    header("kind", compression=9),
    header("broken", compression=1),
    chunk("broken", 0, b"\xff\xff\xff"),
    header("bomb", compression=1, total_length=1000),
    *[chunk("bomb", index, BOMB[index * 10_000 :][:10_000]) for index in range(-(-len(BOMB) // 10_000))],
    # no text
    header("text", text=True),
    chunk("text", 0, b"\xff\xfe"),
    trailer("text"),
    # one id twice, and parts that come again
    header("twice"),
    header("twice", total_length=77),
    chunk("twice", 0, b"once"),
    chunk("twice", 0, b"more"),
    trailer("twice"),
]
ENDS = {
    "short": "INCOMPLETE",
    "long": "TOO_LONG",
    "gap": "GAP",
    "kind": "BAD_COMPRESSION",
    "broken": "BAD_COMPRESSION",
    "bomb": "TOO_LONG",
    "text": "BAD_TEXT",
    "twice": "",
}
COUNTED = {
    "stream_chunk_unknown",
    "stream_trailer_unknown",
    "stream_bad_header",
    "stream_duplicate",
    "stream_chunk_duplicate",
}


def send(room: Room, packet: DataPacket) -> None:
    packet.destination_identities[:] = ["ours"]
    assert room._session.send_packet(packet)


@MODES
def test_streams_and_calls_that_are_not_as_they_should(server, room, single):
    async def scenario() -> None:
        ends: dict[str, str] = {}
        wholes: list[Any] = []

        async def read(reader: Any, identity: str) -> None:
            try:
                whole = await reader.read_all()
            except StreamError as error:
                ends[reader.info.stream_id] = error.failure.name
            else:
                ends[reader.info.stream_id] = ""
                wholes.append(whole)

        async with joined(server, room, single=single) as ours, joined(server, room, "them") as them:
            await ours.wait_until(lambda: "them" in ours.remote_participants)
            await them.wait_until(lambda: "ours" in them.remote_participants)
            ours.register_text_stream_handler("t", read)
            ours.register_byte_stream_handler("t", read)
            ours.local_participant.register_rpc_method("m", lambda call: call.payload)
            for packet in HOSTILE:
                send(them, packet)
            # everything is as it was: streams, calls, packets
            async with ours.events(DataReceived) as events:
                await them.local_participant.publish_data(b"after all that")
                assert (await anext(aiter(events))).payload == b"after all that"
            info = await them.local_participant.send_text("well", topic="t", destination_identities=["ours"])
            while info.stream_id not in ends:
                await trio.sleep(0.01)
            assert await them.local_participant.perform_rpc("ours", "m", "hello") == "hello"
            del ends[info.stream_id]
            assert ends == ENDS
            assert wholes == [b"once", "well"]
            assert ours.state is ConnectionState.CONNECTED
            core = json.loads(ours.diagnostics())["core"]
            assert {name for name in COUNTED if core["streams"].get(name)} == COUNTED
            assert core["rpc"]["rpc_reply_to_nothing"] == 2
            assert core["rpc"]["rpc_request_anonymous"] == 1
            assert core["streams"]["streams"] == 0

    run(scenario)
