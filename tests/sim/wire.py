"""What a datagram is, in a word or two, seen through the plain DTLS engine; for traces that tell a story."""

from __future__ import annotations

from sansio.dtls.flights import split_records
from sansio.ice import stun

CHUNKS = {
    0: "data",
    1: "init",
    2: "init-ack",
    3: "sack",
    4: "heartbeat",
    5: "heartbeat-ack",
    6: "abort",
    10: "cookie-echo",
    11: "cookie-ack",
    130: "reset",
    192: "forward",
}
MESSAGES = {
    1: "client-hello",
    2: "server-hello",
    3: "hello-verify",
    11: "certificate",
    12: "server-key",
    13: "request",
    14: "done",
    15: "verify",
    16: "client-key",
}


def what(data: bytes) -> str:
    """``check``, ``nomination`` or ``answer``; the handshake messages; or the SCTP chunks; joined by plus signs."""
    if not data:
        return "signal-open"
    if data[0] < 4:
        return _stun(data)
    return "+".join([word for record in split_records(data)[0] for word in _record(data, *record)])


def _stun(data: bytes) -> str:
    message = stun.decode(data)
    if message.type == stun.BINDING_REQUEST:
        return "nomination" if stun.USE_CANDIDATE in message.attributes else "check"
    return "answer" if message.type == stun.BINDING_SUCCESS else "refusal"


def _record(data: bytes, content: int, epoch: int, start: int, end: int) -> list[str]:
    body = data[start + 13 : end]
    if content == 22:
        return ["finished"] if epoch else [MESSAGES[body[0]]]
    if content == 20:
        return []
    if content == 21:
        return ["alert"]
    return _chunks(body[8:-16])  # between nonce and tag


def _chunks(packet: bytes) -> list[str]:
    words, at = [], 12
    while at + 4 <= len(packet):
        length = int.from_bytes(packet[at + 2 : at + 4], "big")
        words.append(CHUNKS.get(packet[at], f"chunk {packet[at]}"))
        at += (length + 3) // 4 * 4
    return words
