"""One TURN allocation: the client's side of RFC 8656, over UDP or over a stream to the server.

The owner carries bytes: what is in ``transmits`` goes to the server as it is, what comes from the server goes to
``unwrap`` and, where that has no use for it, to ``handle_packet``. On a stream both are whole messages (see
``framing.TurnReader``).

Deliberate departures:

* permission, channel and the first packet for a new peer leave together, without waiting for answers: a peer costs no
  round trip. A packet that overtakes its permission is lost like any other, and ICE repeats it;
* long-term credentials are those with MD5, which RFC 8489 lets every client use; a server that insists on
  SHA-256 refuses us. Errors without integrity are believed: many servers cannot sign them, and the transaction's
  96 random bits keep out who does not see our packets.
"""

from __future__ import annotations

from collections import deque
from struct import Struct

from attrs import frozen

from ..base.contract import INF, NOW, Address
from ..base.counters import Counters
from ..base.entropy import Entropy
from ..base.errors import LocalProtocolError, ParseError
from ..base.limits import MAX_TURN_PEERS
from . import stun
from .candidate import ip_version
from .transactions import Transaction, Transactions

_pack_channel = Struct("!HH").pack
_unpack_channel = Struct("!HH").unpack_from
_PADDING = (b"", b"\0\0\0", b"\0\0", b"\0")
_DATA_INDICATION = b"\x00\x17"
_SEND_INDICATION = stun.message_type(stun.METHOD_SEND, stun.INDICATION)
_FIRST_CHANNEL = 0x4000
_LAST_CHANNEL = 0x4FFF
_TRANSPORT_UDP = b"\x11\0\0\0"
_FAMILY = {4: b"\x01\0\0\0", 6: b"\x02\0\0\0"}
_ATTEMPTS = 3
"""Times that one request is made again after an error that allows it (a stale nonce, for example)."""
_LIFETIME_MOST = 3600.0
_LIFETIME_LEAST = 10.0
_NOBODY: Address = ("", 0)
_NO_KEY = stun.Key(b"")
_MOST_TEXT = 763
"""Bytes of a realm or nonce (RFC 8489 sections 14.9 and 14.10)."""

# What an answer may contain that must be understood.
_KNOWN = frozenset(
    {
        stun.MAPPED_ADDRESS,
        stun.USERNAME,
        stun.ERROR_CODE,
        stun.UNKNOWN_ATTRIBUTES,
        stun.CHANNEL_NUMBER,
        stun.LIFETIME,
        stun.XOR_PEER_ADDRESS,
        stun.DATA,
        stun.REALM,
        stun.NONCE,
        stun.XOR_RELAYED_ADDRESS,
        stun.REQUESTED_ADDRESS_FAMILY,
        stun.EVEN_PORT,
        stun.REQUESTED_TRANSPORT,
        stun.DONT_FRAGMENT,
        stun.PASSWORD_ALGORITHM,
        stun.USERHASH,
        stun.XOR_MAPPED_ADDRESS,
        stun.RESERVATION_TOKEN,
    }
)


@frozen
class TurnOptions:
    """Times in seconds. ``rto`` doubles ``retransmissions`` times; on a stream ``stream_timeout`` is all there is.

    Permissions last 300 s and channels 600 s (RFC 8656 sections 9 and 12): they are renewed after
    ``permission_refresh`` and ``channel_refresh``; those of peers that nothing was sent to meanwhile are let go.
    """

    rto: float = 0.25
    retransmissions: int = 5
    stream_timeout: float = 10.0
    permission_refresh: float = 240.0
    channel_refresh: float = 500.0


@frozen
class Allocated:
    """The relay is ours: an address for each family, as the peers will see us.

    ``mapped`` is how the server sees us, ``lifetime`` in seconds.
    """

    relayed: tuple[Address, ...]
    mapped: Address | None
    lifetime: float


@frozen
class AllocationLost:
    """There is no allocation, or no longer. ``code`` is the server's error code, 0 where none came."""

    reason: str
    code: int = 0


@frozen
class AllocationRedirected:
    """The server names another one to use instead (300 Try Alternate). This allocation has ended."""

    server: Address


@frozen
class PeerRefused:
    """The server will not relay to this IP address."""

    address: str
    reason: str


class _Peer:
    """A peer's transport address and its channel."""

    __slots__ = ("addr", "channel", "bound", "used", "renew_at")

    def __init__(self, addr: Address, channel: int, renew_at: float) -> None:
        self.addr = addr
        self.channel = channel
        self.bound = False
        self.used = True
        self.renew_at = renew_at


class _Permission:
    """A peer's IP address: whether the server has refused it, and when to ask again."""

    __slots__ = ("refused", "renew_at")

    def __init__(self, renew_at: float) -> None:
        self.refused = False
        self.renew_at = renew_at


class _Request:
    """What a transaction was for: the method, and what has to be said again should it be made anew."""

    __slots__ = ("method", "attempts", "hosts", "peer", "lifetime", "signed")

    def __init__(
        self, method: int, *, hosts: tuple[str, ...] = (), peer: _Peer | None = None, lifetime: int = -1
    ) -> None:
        self.method = method
        self.attempts = 0
        self.hosts = hosts
        self.peer = peer
        self.lifetime = lifetime
        self.signed: stun.Key | None = None


class TurnAllocation:
    """See the head of the module.

    ``families`` are the IP versions wanted of the relayed addresses: (4,), (6,), or (4, 6) for both, of which IPv6 is
    done without where the server has none. ``outbox``: Allocated, PeerRefused, and AllocationLost or
    AllocationRedirected, each of which is the end.
    """

    def __init__(
        self,
        entropy: Entropy,
        username: str,
        password: str,
        *,
        stream: bool,
        families: tuple[int, ...] = (4,),
        options: TurnOptions = TurnOptions(),
    ) -> None:
        if families not in ((4,), (6,), (4, 6)):
            raise LocalProtocolError("families are (4,), (6,) or (4, 6)")
        self.transmits: deque[bytes] = deque()
        self.outbox: deque[Allocated | AllocationLost | AllocationRedirected | PeerRefused] = deque()
        self.counters = Counters()
        self.allocated = False
        self.closed = False
        self.rtt = 0.0
        self._username = username
        self._password = password
        self._stream = stream
        self._families = families
        self._options = options
        self._ids = entropy.fork("turn-transactions")
        self._transactions: Transactions[_Request] = Transactions()
        self._realm = b""
        self._nonce = b""
        self._key: stun.Key | None = None
        self._started = False
        self._cleared = False
        self._refresh_at = INF
        self._renew_at = INF
        self._peers: dict[Address, _Peer] = {}
        self._channels: dict[int, _Peer] = {}
        self._permissions: dict[str, _Permission] = {}
        self._next_channel = _FIRST_CHANNEL
        self._now = NOW

    # ---------------------------------------------------------------- operations

    def start(self, now: float) -> None:
        """Ask for the allocation. The server's challenge (401) costs one round trip, the allocation another."""
        if self._started:
            raise LocalProtocolError("an allocation starts once")
        self._enter(now)
        if self.closed:
            return
        self._started = True
        self._request(_Request(stun.METHOD_ALLOCATE))

    def permit(self, peer: Address, now: float) -> None:
        """Let packets of a peer in, and prepare for sending to it."""
        if not ip_version(peer[0]) or not 0 < peer[1] < 65536:
            raise LocalProtocolError(f"not a transport address: {peer!r}")
        self._enter(now)
        if self.allocated:
            self._peer(peer)

    def wrap(self, peer: Address, data: bytes, now: float) -> bytes:
        """What to send to the server so that ``data`` goes to ``peer``; empty when it cannot.

        A new peer's permission and channel are asked for in ``transmits``, which has to go first.
        """
        entry = self._peers.get(peer)
        if entry is None:
            self._enter(now)
            entry = self._peer(peer) if self.allocated else None
            if entry is None:
                self.counters.add("not_relayed")
                return b""
        entry.used = True
        if entry.bound:
            size = len(data)
            head = _pack_channel(entry.channel, size)
            return head + data + _PADDING[size & 3] if self._stream else head + data
        id = self._ids.bytes(12)
        attributes = ((stun.XOR_PEER_ADDRESS, stun.xor_address_value(peer, id)), (stun.DATA, data))
        return stun.build(_SEND_INDICATION, id, attributes, fingerprint=False)

    def set_credentials(self, username: str, password: str) -> bool:
        """New credentials; False when they cannot be used for this allocation, which belongs to another user name.

        RFC 8656 section 5 binds an allocation to its user. A password may change: the next request shows the new one.
        """
        if username != self._username:
            return False
        if password != self._password:
            self._password = password
            if self._key is not None:
                self._key = stun.long_term_key(username, self._realm.decode("utf-8", "replace"), password)
        return True

    def close(self, now: float) -> None:
        """Give the allocation back. What says so is in ``transmits``; nobody waits for the answer."""
        self._enter(now)
        if self.closed:
            return
        self._transactions.clear()
        if self.allocated:
            self._request(_Request(stun.METHOD_REFRESH, lifetime=0))
        self._end()

    # ---------------------------------------------------------------- from the server

    def unwrap(self, data: bytes) -> tuple[Address, bytes] | None:
        """Who sent what through the relay, or None when ``data`` is nothing of the kind."""
        size = len(data)
        if size < 4:
            return None
        first = data[0]
        if 0x40 <= first < 0x50:
            channel, length = _unpack_channel(data)
            entry = self._channels.get(channel)
            if entry is None or 4 + length > size:
                self.counters.add("channel_unknown" if entry is None else "channel_truncated")
                return None
            return entry.addr, data[4 : 4 + length]
        if data[:2] == _DATA_INDICATION:
            return self._data_indication(data)
        return None

    def _data_indication(self, data: bytes) -> tuple[Address, bytes] | None:
        try:
            message = stun.decode(data)
            attributes = message.attributes
            content = attributes.get(stun.DATA)
            if message.unknown_required(_KNOWN) or content is None:
                self.counters.add("indication_malformed")
                return None
            value = attributes.get(stun.XOR_PEER_ADDRESS, b"")
            peer = stun.decode_xor_address(value, message.transaction_id)
        except ParseError:
            self.counters.add("indication_malformed")
            return None
        if peer[0] not in self._permissions:
            self.counters.add("peer_not_permitted")
            return None
        return peer, content

    def owns(self, data: bytes) -> bool:
        """Whether ``data`` from the server's address is for this allocation at all, and not for others on the port."""
        if len(data) < 4:
            return False
        return data[0] >= 0x40 or data[:2] == _DATA_INDICATION or self._transactions.get(data[8:20]) is not None

    def handle_packet(self, data: bytes, now: float) -> None:
        """A message of the server other than data: the answer to a request."""
        if self.closed or not stun.is_stun(data):
            return
        try:
            message = stun.decode(data)
            transaction = self._transactions.get(message.transaction_id)
            if transaction is None or message.method != transaction.owner.method:
                self.counters.add("stun_unknown_transaction")
                return
            if message.message_class == stun.SUCCESS:
                if not message.verify(transaction.key):
                    self.counters.add("stun_bad_integrity")
                    return
                if message.unknown_required(_KNOWN):
                    self.counters.add("stun_unknown_attribute")
                    return
                self._enter(now)
                self._succeeded(transaction, message)
            elif message.message_class == stun.ERROR:
                if message.integrity and not message.verify(transaction.key):
                    self.counters.add("stun_bad_integrity")
                    return
                code, reason = stun.decode_error(message.attributes.get(stun.ERROR_CODE, b""))
                self._enter(now)
                self._refused(transaction, message, code, reason)
            else:
                self.counters.add("stun_unexpected")
        except ParseError:
            self.counters.add("stun_malformed")

    # ---------------------------------------------------------------- answers

    def _succeeded(self, transaction: Transaction[_Request], message: stun.Message) -> None:
        request = transaction.owner
        attributes = message.attributes
        if request.method == stun.METHOD_ALLOCATE:
            relayed = tuple(
                stun.decode_xor_address(value, message.transaction_id)
                for value in message.all(stun.XOR_RELAYED_ADDRESS)[:2]
            )
            value = attributes.get(stun.XOR_MAPPED_ADDRESS)
            mapped = None if value is None else stun.decode_xor_address(value, message.transaction_id)
            lifetime = self._lifetime(attributes)
            self._transactions.remove(transaction)
            if not relayed or not lifetime:
                self._lose("the server allocated nothing")
                return
            if transaction.sends == 1:
                self.rtt = transaction.rtt(self._now)
            self.allocated = True
            self.outbox.append(Allocated(relayed, mapped, lifetime))
            self._refresh_in(lifetime)
            return
        if request.method == stun.METHOD_REFRESH:
            lifetime = self._lifetime(attributes)
            self._transactions.remove(transaction)
            if request.lifetime == 0:  # an allocation of somebody before us on this port is cleared away
                self._request(_Request(stun.METHOD_ALLOCATE))
            elif lifetime:
                self._refresh_in(lifetime)
            else:
                self._lose("the server ended the allocation")
            return
        self._transactions.remove(transaction)
        if request.peer is not None:
            request.peer.bound = True

    @staticmethod
    def _lifetime(attributes: dict[int, bytes]) -> float:
        value = attributes.get(stun.LIFETIME)
        seconds = 600 if value is None else stun.decode_u32(value)
        return min(max(float(seconds), _LIFETIME_LEAST), _LIFETIME_MOST) if seconds else 0.0

    def _refresh_in(self, lifetime: float) -> None:
        # RFC 8656 section 8.1: a minute before the end; time enough for lost requests where that is short
        self._refresh_at = self._now + max(lifetime - 60.0, lifetime / 2)

    def _refused(self, transaction: Transaction[_Request], message: stun.Message, code: int, reason: str) -> None:
        """An error. What is not known here ends the allocation, or for permissions and channels the peer."""
        request = transaction.owner
        attributes = message.attributes
        text = f"{code} {reason}".strip()
        alternate = attributes.get(stun.ALTERNATE_SERVER)
        server = None if code != 300 or alternate is None else stun.decode_address(alternate)
        lacking = [] if code != 420 else stun.decode_unknown_attributes(attributes.get(stun.UNKNOWN_ATTRIBUTES, b""))
        self._transactions.remove(transaction)
        if code in (401, 438) and request.attempts < _ATTEMPTS and self._challenged(request, code, attributes):
            self._request(request)
        elif request.method == stun.METHOD_ALLOCATE:
            if server is not None:
                self.outbox.append(AllocationRedirected(server))
                self._end()
            elif code == 437 and not self._cleared:
                # the server remembers an allocation of an earlier user of this port: it has to go first
                self._cleared = True
                self._request(_Request(stun.METHOD_REFRESH, lifetime=0))
            elif self._families == (4, 6) and (code == 440 or stun.ADDITIONAL_ADDRESS_FAMILY in lacking):
                self._families = (4,)
                self._request(request)
            else:
                self._lose("the credentials were refused" if code == 401 else text, code)
        elif request.method == stun.METHOD_REFRESH:
            if request.lifetime == 0:
                self._request(_Request(stun.METHOD_ALLOCATE))
            else:
                self._lose(text, code)
        elif code == 437:
            self._lose(text, code)  # the server knows of no allocation any more
        elif request.method == stun.METHOD_CREATE_PERMISSION:
            self._permission_refused(request.hosts, text)
        else:
            self.counters.add("channel_refused")  # Send indications do as well

    def _permission_refused(self, hosts: tuple[str, ...], text: str) -> None:
        self.counters.add("permission_refused")
        if len(hosts) > 1:
            for host in hosts:  # one of them is to blame: find out which
                self._request(_Request(stun.METHOD_CREATE_PERMISSION, hosts=(host,)))
            return
        for host in hosts:
            if (permission := self._permissions.get(host)) is not None:
                permission.refused = True
                for entry in [peer for peer in self._peers.values() if peer.addr[0] == host]:
                    del self._peers[entry.addr]
                    self._channels.pop(entry.channel, None)
                self.outbox.append(PeerRefused(host, text))

    def _challenged(self, request: _Request, code: int, attributes: dict[int, bytes]) -> bool:
        """Take the realm and nonce of a challenge; whether they give reason to try again."""
        nonce = attributes.get(stun.NONCE, b"")
        realm = attributes.get(stun.REALM, self._realm)
        if not nonce or not realm or len(nonce) > _MOST_TEXT or len(realm) > _MOST_TEXT:
            return False
        if code == 401 and request.signed is not None and request.signed is self._key and nonce == self._nonce:
            return False  # signed with this very nonce and password: the name or password is wrong
        if realm != self._realm or self._key is None:
            self._realm = realm
            self._key = stun.long_term_key(self._username, realm.decode("utf-8", "replace"), self._password)
        self._nonce = nonce
        return True

    # ---------------------------------------------------------------- requests

    def _request(self, request: _Request) -> None:
        options = self._options
        id = self._ids.bytes(12)
        attributes: list[tuple[int, bytes]] = []
        method = request.method
        if method == stun.METHOD_ALLOCATE:
            attributes.append((stun.REQUESTED_TRANSPORT, _TRANSPORT_UDP))
            if self._families == (6,):
                attributes.append((stun.REQUESTED_ADDRESS_FAMILY, _FAMILY[6]))
            elif self._families == (4, 6):
                attributes.append((stun.ADDITIONAL_ADDRESS_FAMILY, _FAMILY[6]))
        elif method == stun.METHOD_REFRESH:
            if request.lifetime >= 0:
                attributes.append((stun.LIFETIME, stun.u32_value(request.lifetime)))
        elif method == stun.METHOD_CREATE_PERMISSION:
            for host in request.hosts:
                attributes.append((stun.XOR_PEER_ADDRESS, stun.xor_address_value((host, 0), id)))
        else:
            assert request.peer is not None
            attributes.append((stun.CHANNEL_NUMBER, stun.u32_value(request.peer.channel << 16)))
            attributes.append((stun.XOR_PEER_ADDRESS, stun.xor_address_value(request.peer.addr, id)))
        key = self._key
        request.attempts += 1
        request.signed = key
        if key is not None:
            attributes += [
                (stun.USERNAME, self._username.encode()),
                (stun.REALM, self._realm),
                (stun.NONCE, self._nonce),
            ]
        data = stun.build(stun.message_type(method, stun.REQUEST), id, attributes, key)
        self._transactions.add(
            Transaction(
                id,
                data,
                0,
                _NOBODY,
                request,
                key=key or _NO_KEY,
                rto=options.stream_timeout if self._stream else options.rto,
                retransmissions=0 if self._stream else options.retransmissions,
                now=self._now,
            )
        )
        self.transmits.append(data)

    def _peer(self, addr: Address) -> _Peer | None:
        """A known peer, or a new one whose permission and channel are asked for at once."""
        entry = self._peers.get(addr)
        if entry is not None:
            return entry
        options, now = self._options, self._now
        permission = self._permissions.get(addr[0])
        if permission is not None and permission.refused:
            return None
        if len(self._peers) >= MAX_TURN_PEERS or (permission is None and len(self._permissions) >= MAX_TURN_PEERS):
            idle = next((peer for peer in self._peers.values() if not peer.used), None)
            if idle is None:
                self.counters.add("peer_limit")
                return None
            self._forget(idle)
        if permission is None:
            self._permissions[addr[0]] = _Permission(now + options.permission_refresh)
            self._request(_Request(stun.METHOD_CREATE_PERMISSION, hosts=(addr[0],)))
        entry = _Peer(addr, self._next_channel, INF)
        self._peers[addr] = entry
        if entry.channel <= _LAST_CHANNEL:  # beyond the last number (RFC 8656 section 12) indications do
            self._next_channel += 1
            entry.renew_at = now + options.channel_refresh
            self._channels[entry.channel] = entry
            self._request(_Request(stun.METHOD_CHANNEL_BIND, peer=entry))
        self._renew_at = min(self._renew_at, now + options.permission_refresh)
        return entry

    def _forget(self, entry: _Peer) -> None:
        del self._peers[entry.addr]
        self._channels.pop(entry.channel, None)
        if not any(peer.addr[0] == entry.addr[0] for peer in self._peers.values()):
            self._permissions.pop(entry.addr[0], None)

    def _renew(self, now: float) -> None:
        """Renew the permissions and channels in use, and let go of the others."""
        options = self._options
        for entry in list(self._peers.values()):
            if now >= self._permissions[entry.addr[0]].renew_at and not entry.used:
                self._forget(entry)
        due = tuple([host for host, permission in self._permissions.items() if now >= permission.renew_at])
        for host in due:
            if self._permissions[host].refused:
                del self._permissions[host]  # perhaps it is let in another time
            else:
                self._permissions[host].renew_at = now + options.permission_refresh
        allowed = tuple([host for host in due if host in self._permissions])
        if allowed:
            self._request(_Request(stun.METHOD_CREATE_PERMISSION, hosts=allowed))
        for entry in self._peers.values():
            if entry.addr[0] in due:
                entry.used = False
            if now >= entry.renew_at:
                entry.renew_at = now + options.channel_refresh
                if entry.bound:
                    self._request(_Request(stun.METHOD_CHANNEL_BIND, peer=entry))
        self._renew_at = min(
            [
                *[permission.renew_at for permission in self._permissions.values()],
                *[entry.renew_at for entry in self._peers.values()],
            ],
            default=INF,
        )

    # ---------------------------------------------------------------- time

    def advance(self, now: float) -> float:
        """Do what is due; the time of the next call. See ``sansio.base.contract``."""
        self._enter(now)
        now = self._now
        if self.closed:
            return INF
        again, lost = self._transactions.due(now)
        for transaction in again:
            self.transmits.append(transaction.data)
        for transaction in lost:
            self._unanswered(transaction.owner)
            if self.closed:
                return INF
        if now >= self._refresh_at:
            self._refresh_at = INF
            self._request(_Request(stun.METHOD_REFRESH))
        if now >= self._renew_at:
            self._renew(now)
        return min(self._transactions.next, self._refresh_at, self._renew_at)

    def _unanswered(self, request: _Request) -> None:
        if request.method in (stun.METHOD_ALLOCATE, stun.METHOD_REFRESH):
            self._lose("the server does not answer")
        else:
            self.counters.add("request_unanswered")

    # ---------------------------------------------------------------- bookkeeping

    def _enter(self, now: float) -> None:
        if now > self._now:
            self._now = now

    def _lose(self, reason: str, code: int = 0) -> None:
        self.outbox.append(AllocationLost(reason, code))
        self._end()

    def _end(self) -> None:
        self.allocated = False
        self.closed = True
        self._refresh_at = self._renew_at = INF
        self._transactions.clear()
        self._peers.clear()
        self._channels.clear()
        self._permissions.clear()
