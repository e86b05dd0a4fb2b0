"""A TURN and STUN server for simulations (RFC 8656): UDP clients and, on a World's streams, TCP clients.

It is strict where a client could be wrong: integrity on every request but Binding, permissions with their expiry,
channel numbers, padding on streams. Switches make it refuse.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from attrs import define, field

from ..base.contract import INF, NOW, Address, ClosePort, OpenUdp, Transmit
from ..base.counters import Counters
from ..base.entropy import Entropy
from ..base.errors import ParseError
from ..ice import stun
from ..ice.framing import TurnReader

PERMISSION_TIME = 300.0
CHANNEL_TIME = 600.0
_FAMILIES: dict[bytes, tuple[int, ...]] = {b"\1": (4,), b"\2": (6,)}

Client = tuple[int, Address]
"""A client's transport: our port (the UDP one, or its stream) and its address."""


@define(eq=False)
class _Allocation:
    client: Client
    transaction: bytes
    username: str
    expires: float
    relays: dict[int, Address | None]
    """Our ports, with their addresses once they are open."""
    request: stun.Message
    answer: bytes = b""
    permissions: dict[str, float] = field(factory=dict)
    channels: dict[int, tuple[Address, float]] = field(factory=dict)


class TurnServer:
    """``port`` is the number of the listening UDP port; relays are opened on ``hosts``, one address a family.

    ``alternate`` redirects every client, ``quota`` bounds the allocations of a user, ``denied`` IP addresses get 403,
    ``nonce_time`` makes nonces stale, ``forget`` drops every allocation silently, as a restart would.
    """

    def __init__(
        self,
        entropy: Entropy,
        *,
        hosts: tuple[str, ...] = ("203.0.113.1",),
        port: int = 1,
        users: dict[str, str] | None = None,
        realm: str = "example.org",
        lifetime: float = 600.0,
        nonce_time: float = INF,
        quota: int = 100,
        alternate: Address | None = None,
        denied: tuple[str, ...] = (),
        channels: bool = True,
    ) -> None:
        self.transmits: deque[Transmit] = deque()
        self.outbox: deque[Any] = deque()
        self.counters = Counters()
        self.hosts = hosts
        self.users = {"user": "pass"} if users is None else users
        self.realm = realm
        self.lifetime = lifetime
        self.nonce_time = nonce_time
        self.quota = quota
        self.alternate = alternate
        self.denied = denied
        self.channels = channels
        self.allocations: dict[Client, _Allocation] = {}
        self._entropy = entropy.fork("turn-server")
        self._port = port
        self._nonce = self._entropy.token(16).encode()
        self._nonce_until = NOW
        self._streams: dict[int, TurnReader] = {}
        self._relays: dict[int, _Allocation] = {}
        self._next_port = 1000
        self._now = NOW

    def forget(self) -> None:
        """Lose every allocation."""
        for allocation in list(self.allocations.values()):
            self._end(allocation)

    # ---------------------------------------------------------------- from the network

    def stream_accepted(self, port: int, address: Address, now: float) -> None:
        """A client has connected; what it sends comes as ``handle_datagram`` of this port."""
        self._streams[port] = TurnReader()

    def stream_closed(self, port: int, now: float) -> None:
        """A client's stream is gone, and its allocation with it."""
        self._streams.pop(port, None)
        for allocation in [entry for client, entry in self.allocations.items() if client[0] == port]:
            self._end(allocation)

    def handle_datagram(self, port: int, data: bytes, src: Address, now: float) -> None:
        """Bytes of a client or of a peer."""
        self._now = max(self._now, now)
        if port in self._relays:
            self._from_peer(port, data, src)
        elif (reader := self._streams.get(port)) is not None:
            for message in reader.feed(data):
                self._from_client((port, src), message)
        else:
            self._from_client((port, src), data)

    def _from_peer(self, port: int, data: bytes, src: Address) -> None:
        allocation = self._relays[port]
        if allocation.permissions.get(src[0], NOW) <= self._now:
            self.counters.add("peer_not_permitted")
            return
        for number, (peer, until) in allocation.channels.items():
            if peer == src and until > self._now:
                self._send(allocation.client, number.to_bytes(2, "big") + len(data).to_bytes(2, "big") + data)
                return
        id = self._entropy.bytes(12)
        attributes = [(stun.XOR_PEER_ADDRESS, stun.xor_address_value(src, id)), (stun.DATA, data)]
        self._send(allocation.client, stun.build(stun.message_type(stun.METHOD_DATA, stun.INDICATION), id, attributes))

    def _from_client(self, client: Client, data: bytes) -> None:
        if data and 0x40 <= data[0] < 0x50:
            self._channel_data(client, data)
            return
        try:
            message = stun.decode(data)
            if message.message_class == stun.INDICATION:
                if message.method == stun.METHOD_SEND:
                    self._send_indication(client, message)
            elif message.message_class == stun.REQUEST:
                self._request(client, message)
        except ParseError:
            self.counters.add("malformed")

    def _channel_data(self, client: Client, data: bytes) -> None:
        number, length = int.from_bytes(data[:2], "big"), int.from_bytes(data[2:4], "big")
        allocation = self.allocations.get(client)
        peer, until = allocation.channels.get(number, (None, NOW)) if allocation is not None else (None, NOW)
        if allocation is None or peer is None or until <= self._now or len(data) < 4 + length:
            self.counters.add("channel_unknown")
            return
        self.counters.add("by_channel")
        self._relay(allocation, peer, data[4 : 4 + length])

    def _send_indication(self, client: Client, message: stun.Message) -> None:
        allocation = self.allocations.get(client)
        peer = stun.decode_xor_address(message.attributes.get(stun.XOR_PEER_ADDRESS, b""), message.transaction_id)
        if allocation is None or allocation.permissions.get(peer[0], NOW) <= self._now:
            self.counters.add("send_not_permitted")
            return
        self.counters.add("by_indication")
        self._relay(allocation, peer, message.attributes.get(stun.DATA, b""))

    def _relay(self, allocation: _Allocation, peer: Address, data: bytes) -> None:
        for port, address in allocation.relays.items():
            if address is not None and (":" in address[0]) == (":" in peer[0]):
                self.transmits.append(Transmit(port, data, peer))
                return
        self.counters.add("family_mismatch")

    # ---------------------------------------------------------------- requests

    def _request(self, client: Client, message: stun.Message) -> None:
        if message.method == stun.METHOD_BINDING:
            value = stun.xor_address_value(client[1], message.transaction_id)
            self._answer(client, message, [(stun.XOR_MAPPED_ADDRESS, value)])
            return
        username = message.attributes.get(stun.USERNAME, b"").decode("utf-8", "replace")
        key = stun.long_term_key(username, self.realm, self.users.get(username, ""))
        if self._nonce_until <= self._now:
            self._nonce = self._entropy.token(16).encode()
            self._nonce_until = self._now + self.nonce_time
        challenge = [(stun.REALM, self.realm.encode()), (stun.NONCE, self._nonce)]
        if username not in self.users or not message.verify(key):
            self._refuse(client, message, 401, "Unauthorized", None, challenge)
        elif message.attributes.get(stun.NONCE) != self._nonce:
            self._refuse(client, message, 438, "Stale Nonce", None, challenge)
        elif message.method == stun.METHOD_ALLOCATE:
            self._allocate(client, message, username, key)
        elif (allocation := self.allocations.get(client)) is None:
            self._refuse(client, message, 437, "Allocation Mismatch", key)
        elif message.method == stun.METHOD_REFRESH:
            self._refresh(allocation, message, key)
        elif message.method == stun.METHOD_CREATE_PERMISSION:
            self._permit(allocation, message, key)
        elif message.method == stun.METHOD_CHANNEL_BIND:
            self._bind(allocation, message, key)
        else:
            self._refuse(client, message, 400, "Bad Request", key)

    def _allocate(self, client: Client, message: stun.Message, username: str, key: stun.Key) -> None:
        known = self.allocations.get(client)
        if known is not None:
            if known.transaction != message.transaction_id:
                self._refuse(client, message, 437, "Allocation Mismatch", key)
            elif known.answer:
                self._send(client, known.answer)
            return
        if self.alternate is not None:
            value = stun.address_value(self.alternate)
            self._refuse(client, message, 300, "Try Alternate", key, [(stun.ALTERNATE_SERVER, value)])
            return
        if sum(allocation.username == username for allocation in self.allocations.values()) >= self.quota:
            self._refuse(client, message, 486, "Allocation Quota Reached", key)
            return
        wanted = _FAMILIES.get(message.attributes.get(stun.REQUESTED_ADDRESS_FAMILY, b"\1")[:1], ())
        if stun.ADDITIONAL_ADDRESS_FAMILY in message.attributes:
            wanted = (*wanted, 6)
        hosts = [host for version in wanted for host in self.hosts if (":" in host) == (version == 6)]
        if not hosts or (":" in hosts[0]) != (wanted[0] == 6):
            self._refuse(client, message, 440, "Address Family not Supported", key)
            return
        asked = stun.decode_u32(message.attributes.get(stun.LIFETIME, b"\0\0\0\0"))
        expires = self._now + min(float(asked) or self.lifetime, self.lifetime)
        allocation = _Allocation(client, message.transaction_id, username, expires, {}, message)
        self.allocations[client] = allocation
        for host in hosts:
            self._next_port += 1
            allocation.relays[self._next_port] = None
            self._relays[self._next_port] = allocation
            self.outbox.append(OpenUdp(self._next_port, host))

    def port_opened(self, port: int, address: Address, now: float) -> None:
        """A relay is open: with the last of an allocation the client is told."""
        self._now = max(self._now, now)
        allocation = self._relays.get(port)
        if allocation is None:
            return
        allocation.relays[port] = address
        opened = [relay for relay in allocation.relays.values() if relay is not None]
        if len(opened) < len(allocation.relays):
            return
        message = allocation.request
        id = message.transaction_id
        attributes = [(stun.XOR_RELAYED_ADDRESS, stun.xor_address_value(relay, id)) for relay in opened]
        attributes.append((stun.XOR_MAPPED_ADDRESS, stun.xor_address_value(allocation.client[1], id)))
        attributes.append((stun.LIFETIME, stun.u32_value(int(allocation.expires - self._now))))
        key = stun.long_term_key(allocation.username, self.realm, self.users[allocation.username])
        allocation.answer = self._answer(allocation.client, message, attributes, key)

    def port_failed(self, port: int, error: str, now: float) -> None:
        """No relay can be opened."""
        allocation = self._relays.get(port)
        if allocation is not None:
            key = stun.long_term_key(allocation.username, self.realm, self.users[allocation.username])
            self._refuse(allocation.client, allocation.request, 508, "Insufficient Capacity", key)
            self._end(allocation)

    def _refresh(self, allocation: _Allocation, message: stun.Message, key: stun.Key) -> None:
        value = message.attributes.get(stun.LIFETIME)
        lifetime = self.lifetime if value is None else min(float(stun.decode_u32(value)), self.lifetime)
        allocation.expires = self._now + lifetime
        self._answer(allocation.client, message, [(stun.LIFETIME, stun.u32_value(int(lifetime)))], key)
        if lifetime == 0:
            self._end(allocation)

    def _permit(self, allocation: _Allocation, message: stun.Message, key: stun.Key) -> None:
        peers = [
            stun.decode_xor_address(value, message.transaction_id)[0] for value in message.all(stun.XOR_PEER_ADDRESS)
        ]
        if not peers:
            self._refuse(allocation.client, message, 400, "Bad Request", key)
        elif any(peer in self.denied for peer in peers):
            self._refuse(allocation.client, message, 403, "Forbidden", key)
        else:
            for peer in peers:
                allocation.permissions[peer] = self._now + PERMISSION_TIME
            self._answer(allocation.client, message, [], key)

    def _bind(self, allocation: _Allocation, message: stun.Message, key: stun.Key) -> None:
        number = stun.decode_u32(message.attributes.get(stun.CHANNEL_NUMBER, b"")) >> 16
        peer = stun.decode_xor_address(message.attributes.get(stun.XOR_PEER_ADDRESS, b""), message.transaction_id)
        live = {entry: bound for entry, (bound, until) in allocation.channels.items() if until > self._now}
        if peer[0] in self.denied or not self.channels:
            self._refuse(allocation.client, message, 403, "Forbidden", key)
        elif (
            not 0x4000 <= number <= 0x4FFF
            or live.get(number, peer) != peer
            or any(bound == peer and entry != number for entry, bound in live.items())
        ):
            self._refuse(allocation.client, message, 400, "Bad Request", key)
        else:
            allocation.channels[number] = (peer, self._now + CHANNEL_TIME)
            allocation.permissions[peer[0]] = self._now + PERMISSION_TIME
            self._answer(allocation.client, message, [], key)

    # ---------------------------------------------------------------- answers

    def _answer(
        self,
        client: Client,
        message: stun.Message,
        attributes: list[tuple[int, bytes]],
        key: stun.Key | None = None,
    ) -> bytes:
        kind = stun.message_type(message.method, stun.SUCCESS)
        data = stun.build(kind, message.transaction_id, attributes, key)
        self._send(client, data)
        return data

    def _refuse(
        self,
        client: Client,
        message: stun.Message,
        code: int,
        reason: str,
        key: stun.Key | None,
        more: list[tuple[int, bytes]] | None = None,
    ) -> None:
        self.counters.add(f"refused_{code}")
        kind = stun.message_type(message.method, stun.ERROR)
        attributes = [(stun.ERROR_CODE, stun.error_value(code, reason)), *(more or [])]
        self._send(client, stun.build(kind, message.transaction_id, attributes, key))

    def _send(self, client: Client, data: bytes) -> None:
        port, addr = client
        if port in self._streams:
            data += bytes(-len(data) % 4)
        self.transmits.append(Transmit(port, data, addr))

    def _end(self, allocation: _Allocation) -> None:
        del self.allocations[allocation.client]
        for port in allocation.relays:
            del self._relays[port]
            self.outbox.append(ClosePort(port))

    # ---------------------------------------------------------------- time

    def advance(self, now: float) -> float:
        """Let what has expired go."""
        self._now = max(self._now, now)
        for allocation in list(self.allocations.values()):
            if allocation.expires <= self._now:
                self.counters.add("expired")
                self._end(allocation)
        return min([allocation.expires for allocation in self.allocations.values()], default=INF)
