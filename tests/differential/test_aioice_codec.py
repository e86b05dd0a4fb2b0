"""Our STUN messages and candidates against aioice's, byte for byte; aioice runs in a process of its own."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest

from sansio.ice import stun
from sansio.ice.candidate import parse_candidate

PEER = Path(__file__).with_name("aioice_peer.py")
KEY = "a-password-of-22-chars"

# aioice's name, our type, a drawn value, and how we encode it
UNSIGNED = lambda value, id: stun.u32_value(value)  # noqa: E731
TEXT = lambda value, id: value.encode()  # noqa: E731
XOR = lambda value, id: stun.xor_address_value(tuple(value), id)  # noqa: E731
PLAIN = lambda value, id: stun.address_value(tuple(value))  # noqa: E731


def draw_address(draw: random.Random) -> list:
    if draw.random() < 0.5:
        host = ".".join(str(draw.randrange(256)) for _ in range(4))
    else:
        host = "2001:db8::" + ":".join(f"{draw.randrange(1, 65536):x}" for _ in range(draw.randrange(1, 5)))
    return [host, draw.randrange(65536)]


def draw_text(draw: random.Random) -> str:
    return "".join(draw.choice("abcé0:+/ ") for _ in range(draw.randrange(30)))


def draw_hex(draw: random.Random) -> str:
    return draw.randbytes(draw.randrange(20)).hex()


ATTRIBUTES = [
    ("MAPPED-ADDRESS", stun.MAPPED_ADDRESS, draw_address, PLAIN),
    ("USERNAME", stun.USERNAME, draw_text, TEXT),
    ("ERROR-CODE", stun.ERROR_CODE, lambda draw: [draw.randrange(300, 700), draw_text(draw)], None),
    ("LIFETIME", stun.LIFETIME, lambda draw: draw.getrandbits(32), UNSIGNED),
    ("XOR-PEER-ADDRESS", stun.XOR_PEER_ADDRESS, draw_address, XOR),
    ("DATA", stun.DATA, draw_hex, lambda value, id: bytes.fromhex(value)),
    ("REALM", stun.REALM, draw_text, TEXT),
    ("NONCE", stun.NONCE, draw_hex, lambda value, id: bytes.fromhex(value)),
    ("XOR-RELAYED-ADDRESS", stun.XOR_RELAYED_ADDRESS, draw_address, XOR),
    ("REQUESTED-TRANSPORT", stun.REQUESTED_TRANSPORT, lambda draw: 17 << 24, UNSIGNED),
    ("XOR-MAPPED-ADDRESS", stun.XOR_MAPPED_ADDRESS, draw_address, XOR),
    ("PRIORITY", stun.PRIORITY, lambda draw: draw.getrandbits(32), UNSIGNED),
    ("USE-CANDIDATE", stun.USE_CANDIDATE, lambda draw: None, lambda value, id: b""),
    ("SOFTWARE", stun.SOFTWARE, draw_text, TEXT),
    ("ICE-CONTROLLED", stun.ICE_CONTROLLED, lambda draw: draw.getrandbits(64), lambda v, id: stun.u64_value(v)),
    ("ICE-CONTROLLING", stun.ICE_CONTROLLING, lambda draw: draw.getrandbits(64), lambda v, id: stun.u64_value(v)),
]
CLASSES = {stun.REQUEST: 0x000, stun.INDICATION: 0x010, stun.SUCCESS: 0x100, stun.ERROR: 0x110}


def encode(entry: tuple, value: object, id: bytes) -> bytes:
    return stun.error_value(*value) if entry[0] == "ERROR-CODE" else entry[3](value, id)


@pytest.fixture(scope="module", name="aioice")
def aioice_process():
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", str(PEER), "codec"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )

    def ask(**order: object) -> dict:
        process.stdin.write(json.dumps(order) + "\n")
        process.stdin.flush()
        return json.loads(process.stdout.readline())

    yield ask
    process.stdin.close()
    process.wait(10)
    process.stdout.close()


def draw_message(seed: int):
    draw = random.Random(seed)
    entries = draw.sample(ATTRIBUTES, draw.randrange(len(ATTRIBUTES) + 1))
    drawn = [(entry, entry[2](draw)) for entry in entries]
    method = draw.choice([1, 3, 4, 6, 7, 8, 9])
    message_class = draw.randrange(4)
    return drawn, method, message_class, draw.randbytes(12)


@pytest.mark.parametrize("seed", range(120))
def test_messages_are_the_same_bytes_both_ways(aioice, seed):
    drawn, method, message_class, id = draw_message(seed)
    key = KEY if seed % 3 else ""
    fingerprint = bool(key) or seed % 2 == 0
    theirs = bytes.fromhex(
        aioice(
            do="build",
            method=method,
            **{"class": CLASSES[message_class]},
            id=id.hex(),
            attributes=[(entry[0], value) for entry, value in drawn],
            key=key,
            fingerprint=fingerprint,
        )["data"]
    )
    ours = stun.build(
        stun.message_type(method, message_class),
        id,
        [(entry[1], encode(entry, value, id)) for entry, value in drawn],
        stun.Key(key.encode()) if key else None,
        fingerprint=fingerprint,
    )
    assert ours == theirs
    message = stun.decode(theirs)
    assert (message.method, message.message_class, message.transaction_id) == (method, message_class, id)
    assert message.verify(stun.Key(KEY.encode())) == bool(key)
    assert message.fingerprint == fingerprint
    assert message.attributes == {entry[1]: encode(entry, value, id) for entry, value in drawn}

    seen = aioice(do="parse", data=ours.hex(), key=KEY)
    assert seen["intact"] == bool(key)
    for entry, value in drawn:
        assert seen["attributes"][entry[0]] == value


@pytest.mark.parametrize("seed", range(120))
def test_a_changed_message_is_intact_for_neither(aioice, seed):
    drawn, method, message_class, id = draw_message(seed)
    data = bytearray(
        stun.build(
            stun.message_type(method, message_class),
            id,
            [(entry[1], encode(entry, value, id)) for entry, value in drawn],
            stun.Key(KEY.encode()),
        )
    )
    draw = random.Random(seed)
    if draw.random() < 0.5:
        data[draw.randrange(8, len(data) - 8)] ^= 1 << draw.randrange(8)
    else:
        del data[draw.randrange(len(data)) :]
    seen = aioice(do="parse", data=data.hex(), key=KEY)
    assert not seen.get("intact")
    try:
        message = stun.decode(bytes(data))
    except stun.ParseError:
        return
    assert not message.verify(stun.Key(KEY.encode()))


@pytest.mark.parametrize(
    "line",
    [
        "1 1 udp 2130706431 127.0.0.1 7882 typ host",
        "2 1 udp 1677729535 203.0.113.7 40000 typ srflx raddr 192.168.1.5 rport 55555",
        "3 1 tcp 1671430143 fd00::2 7881 typ host tcptype passive",
        "4 2 udp 41885439 198.51.100.9 3000 typ relay raddr 203.0.113.7 rport 40000 generation 0",
    ],
)
def test_candidates(aioice, line):
    theirs = aioice(do="candidate", line=line)
    ours = parse_candidate(line)
    assert ours.to_sdp() == "candidate:" + theirs["line"]
    assert (ours.foundation, ours.component, ours.protocol, ours.priority, ours.address, ours.port, ours.type) == tuple(
        theirs[name] for name in ("foundation", "component", "transport", "priority", "host", "port", "type")
    )
    assert (ours.related_address or None, ours.related_port or None, ours.tcptype or None) == (
        theirs["related_address"],
        theirs["related_port"],
        theirs["tcptype"],
    )
