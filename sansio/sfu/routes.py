"""Whose a packet is: by the address that it came from, by the user name in a STUN check, by its TCP connection."""

from __future__ import annotations

from collections import deque
from typing import Any

from ..base.contract import INF, Address, ClosePort
from ..base.counters import Counters
from ..base.errors import ParseError
from ..base.limits import SFU_ADDRESSES, SFU_STREAMS
from ..ice import stun
from ..ice.candidate import Candidate
from ..ice.framing import FrameReader
from .participant import ServerParticipant

NAME_TIME = 30.0
"""Seconds that a new TCP connection has to say whose it is."""
TCP_PRIORITY = 1671430143
"""That of LiveKit's server: TCP is the second choice."""

Owner = tuple[ServerParticipant, int]
"""Somebody, and which of the peer connections."""


class Routes:
    """The owners of packets. ``addresses``: who sends from there. That is learnt from checks which ICE has found good,
    for anybody can write a user name."""

    def __init__(self, counters: Counters) -> None:
        self.addresses: dict[Address, Owner] = {}
        self._counters = counters
        self._names: dict[str, Owner] = {}
        self._learnt: dict[ServerParticipant, list[str]] = {}

    def learn_names(self, participant: ServerParticipant) -> None:
        """Packets are led by the user names of now; those of before an ICE restart come from known addresses."""
        names = [peer.connection.transport.ice.local_ufrag for peer in participant.peers]
        if self._learnt.get(participant) != names:
            self._forget_names(participant)
            self._learnt[participant] = names
            for name, peer in zip(names, participant.peers, strict=True):
                self._names[name] = (participant, peer.target)

    def _forget_names(self, participant: ServerParticipant) -> None:
        for name in self._learnt.pop(participant, ()):
            self._names.pop(name, None)  # by chance somebody else may have had the same

    def learn_address(self, addr: Address, owner: Owner) -> None:
        """Packets from there are for them."""
        if addr not in self.addresses and len(self.addresses) >= SFU_ADDRESSES:
            self._counters.add("address_limit")
        else:
            self.addresses[addr] = owner

    def by_name(self, data: bytes) -> Owner | None:
        """Whose user name a STUN check has."""
        try:
            name = stun.decode(data).attributes.get(stun.USERNAME, b"")
        except ParseError:
            return None
        return self._names.get(name.partition(b":")[0].decode("latin-1"))

    def forget(self, participant: ServerParticipant) -> None:
        """Somebody has gone."""
        self._forget_names(participant)
        self.addresses = {addr: owner for addr, owner in self.addresses.items() if owner[0] is not participant}


class _Stream:
    """A TCP connection; it has an owner once its first frame has named one."""

    __slots__ = ("addr", "due", "owner", "reader")

    def __init__(self, addr: Address, now: float) -> None:
        self.addr = addr
        self.reader = FrameReader()
        self.owner: Owner | None = None
        self.due = now + NAME_TIME


class Streams:
    """The TCP connections for ICE (RFC 6544). ``candidate``: what clients are told of them, where there are any."""

    def __init__(self, address: Address | None, routes: Routes, counters: Counters, outbox: deque[Any]) -> None:
        self.candidate: Candidate | None = None
        if address is not None:
            self.candidate = Candidate("100", 1, "tcp", TCP_PRIORITY, address[0], address[1], "host", tcptype="passive")
        self._routes = routes
        self._counters = counters
        self._outbox = outbox
        self._streams: dict[int, _Stream] = {}

    def accept(self, port: int, addr: Address, now: float) -> None:
        """A connection has come."""
        if len(self._streams) >= SFU_STREAMS:
            self.refuse(port)
        else:
            self._streams[port] = _Stream(addr, now)

    def refuse(self, port: int) -> None:
        """Close one that has just come."""
        self._counters.add("stream_limit")
        self._outbox.append(ClosePort(port))

    def receive(self, port: int, data: bytes, now: float) -> None:
        """Bytes of a connection: whole frames go to their owner."""
        stream = self._streams.get(port)
        if stream is None:
            return
        for packet in stream.reader.feed(data):
            if stream.owner is None and not self._identify(port, stream, packet, now):
                self._counters.add("unknown_stream")
                self._close(port)
                return
            assert stream.owner is not None
            participant, target = stream.owner
            participant.receive_datagram(target, port, packet, stream.addr, now)
            participant.wake()

    def _identify(self, port: int, stream: _Stream, packet: bytes, now: float) -> bool:
        """The first frame names the connection that it is for."""
        owner = self._routes.by_name(packet)
        if owner is None or self.candidate is None:
            return False
        stream.owner, stream.due = owner, INF
        participant, target = owner
        participant.peers[target].connection.transport.add_local(self.candidate, port, now, peer=stream.addr)
        return True

    def closed(self, port: int, now: float) -> None:
        """A connection has ended."""
        stream = self._streams.pop(port, None)
        if stream is not None and stream.owner is not None:
            participant, target = stream.owner
            participant.peers[target].connection.transport.remove_local(port, now)
            participant.peers[target].wake()

    def forget(self, participant: ServerParticipant) -> None:
        """Somebody has gone."""
        for port, stream in list(self._streams.items()):
            if stream.owner is not None and stream.owner[0] is participant:
                self._close(port)

    def stop(self) -> None:
        """Close all."""
        for port in list(self._streams):
            self._close(port)

    def advance(self, now: float) -> float:
        """Close those that do not say whose they are; when the next one is due."""
        later = INF
        for port, stream in list(self._streams.items()):
            if stream.due <= now:
                self._close(port)
            else:
                later = min(later, stream.due)
        return later

    def _close(self, port: int) -> None:
        del self._streams[port]
        self._outbox.append(ClosePort(port))
