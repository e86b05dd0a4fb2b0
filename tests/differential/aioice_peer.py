"""aioice in a process of its own, driven by lines of JSON on standard input and output. A program, not a test.

With the argument "codec" it builds and parses messages and candidates. With "ice" and a role it is an agent on
127.0.0.1: it prints its credentials and candidates, reads ours, connects, and echoes data until its input ends. With
"turn" and the port of a TURN server there it prints the address that it was given, sends a greeting to each address
that it reads, and echoes what comes; "null" makes it give the allocation back.
"""

from __future__ import annotations

import asyncio
import json
import sys

import aioice.ice
import aioice.turn
from aioice import Candidate, Connection, stun


def jsonable(value: object) -> object:
    return value.hex() if isinstance(value, bytes) else value


def build(order: dict) -> dict:
    attributes = {}
    for name, value in order["attributes"]:
        if name in ("DATA", "NONCE"):
            attributes[name] = bytes.fromhex(value)
        else:
            attributes[name] = tuple(value) if isinstance(value, list) else value
    message = stun.Message(
        stun.Method(order["method"]), stun.Class(order["class"]), bytes.fromhex(order["id"]), attributes
    )
    if order.get("key"):
        message.add_message_integrity(order["key"].encode())
    elif order.get("fingerprint"):
        message.add_fingerprint()
    return {"data": bytes(message).hex()}


def parse(order: dict) -> dict:
    try:
        message = stun.parse_message(bytes.fromhex(order["data"]))
    except Exception as error:  # also what it does not mean to raise
        return {"error": str(error)}
    attributes = {name: jsonable(value) for name, value in message.attributes.items()}
    return {
        "method": message.message_method,
        "class": message.message_class,
        "id": message.transaction_id.hex(),
        "attributes": attributes,
        "intact": message.check_message_integrity(order.get("key", "").encode()),
    }


def candidate(order: dict) -> dict:
    found = Candidate.from_sdp(order["line"])
    names = ("foundation", "component", "transport", "priority", "host", "port", "type", "related_address")
    return {"line": found.to_sdp(), **{name: getattr(found, name) for name in (*names, "related_port", "tcptype")}}


def codec() -> None:
    work = {"build": build, "parse": parse, "candidate": candidate}
    for line in sys.stdin:
        order = json.loads(line)
        print(json.dumps(work[order["do"]](order)), flush=True)


async def ice(role: str) -> None:
    aioice.ice.get_host_addresses = lambda use_ipv4, use_ipv6: ["127.0.0.1"]
    connection = Connection(ice_controlling=role == "controlling")
    connection.remote_is_lite = False
    await connection.gather_candidates()
    print(
        json.dumps(
            {
                "ufrag": connection.local_username,
                "pwd": connection.local_password,
                "candidates": [candidate.to_sdp() for candidate in connection.local_candidates],
            }
        ),
        flush=True,
    )
    theirs = json.loads(await asyncio.to_thread(sys.stdin.readline))
    connection.remote_username = theirs["ufrag"]
    connection.remote_password = theirs["pwd"]
    for line in theirs["candidates"]:
        await connection.add_remote_candidate(Candidate.from_sdp(line))
    await connection.add_remote_candidate(None)
    await connection.connect()
    print(json.dumps({"connected": True, "controlling": connection.ice_controlling}), flush=True)

    async def echo() -> None:
        while True:
            await connection.send(b"\xffecho " + (await connection.recv())[1:])

    echoing = asyncio.create_task(echo())
    await asyncio.to_thread(sys.stdin.readline)
    echoing.cancel()
    await connection.close()


class Echo(asyncio.DatagramProtocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.transport.sendto(b"echo " + data, addr)  # type: ignore[attr-defined]


async def turn(port: int) -> None:
    transport, _ = await aioice.turn.create_turn_endpoint(
        Echo, server_addr=("127.0.0.1", port), username="user", password="pass", lifetime=600
    )
    print(json.dumps({"relayed": transport.get_extra_info("sockname")}), flush=True)
    while address := json.loads(await asyncio.to_thread(sys.stdin.readline)):
        transport.sendto(b"greetings", tuple(address))
    await transport._TurnTransport__inner_protocol.delete()
    print(json.dumps({"gone": True}), flush=True)


if __name__ == "__main__":
    if sys.argv[1] == "codec":
        codec()
    elif sys.argv[1] == "turn":
        asyncio.run(turn(int(sys.argv[2])))
    else:
        asyncio.run(ice(sys.argv[2]))
