"""The data packets of a session, on their way out and in.

Ours wait in two lanes until the publisher's channels take them, and until the server has acknowledged the reliable
ones. Theirs come on any peer connection and stay charged to the receive window until they are read, or released by who
holds them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING

from attrs import frozen

from ..events import PacketReceived
from ..sctp.association import ESTABLISHED
from ..sctp.channel import DataChannels
from .data import DataReceiver, DataSender, Unacknowledged
from .lane import Lane
from .peer import Peer, Session

if TYPE_CHECKING:
    from ..proto import models

RELIABLE = "_reliable"
LOSSY = "_lossy"

RELIABLE_BUDGET = 1 << 20
"""Bytes of reliable packets that may wait to be sent before ``publish`` says no."""
LOSSY_BUDGET = 1 << 16
"""The same for lossy packets: what waits longer than this is stale."""
RELIABLE_AHEAD = 1 << 16
"""Bytes of reliable packets that SCTP is given ahead of its sending; urgent packets wait behind these."""
LOSSY_AHEAD = 1 << 14
"""The same for lossy packets."""


@frozen
class DataReadable:
    """``read_data`` has something; read until it returns None."""


@frozen
class DataWritable:
    """``publish_data`` of this kind takes packets again."""

    reliable: bool


class Hold:
    """Received data that is kept outside and stays charged to the receive window until it is released."""

    __slots__ = ("_peer", "_size")

    def __init__(self, peer: Peer, size: int) -> None:
        self._peer = peer
        self._size = size

    def release(self) -> None:
        """It is not kept any more. Once only; harmless after a restart."""
        self._peer.credit(self._size)


class DataLanes:
    """See the head of the module. The session's ``outbox`` gets DataReadable and DataWritable.

    ``accepted``: reliable packets that ``publish`` and ``send_packet`` have taken, urgent ones aside;
    ``unacknowledged`` tells how many of them have reached the server.
    """

    __slots__ = (
        "accepted",
        "unacknowledged",
        "_arriving",
        "_lanes",
        "_readable",
        "_receiver",
        "_sender",
        "_session",
        "_unread",
    )

    def __init__(self, session: Session, receiver: DataReceiver) -> None:
        self.accepted = 0
        self.unacknowledged = Unacknowledged()
        self._session = session
        self._receiver = receiver
        self._sender = DataSender()
        self._lanes = (
            Lane(reliable=False, budget=LOSSY_BUDGET, high=LOSSY_AHEAD, low=LOSSY_AHEAD // 2),
            Lane(reliable=True, budget=RELIABLE_BUDGET, high=RELIABLE_AHEAD, low=RELIABLE_AHEAD // 2),
        )
        self._readable: deque[tuple[Peer, int]] = deque()
        """Lossy channels with unread packets."""
        self._unread: deque[tuple[PacketReceived, Peer, int]] = deque()
        """Reliable packets for the user, with whom to credit and the size."""
        self._arriving: Peer | None = None

    # ------------------------------------------------------------------ channels

    def open(self, peer: Peer, now: float) -> None:
        """Both channels at once: the server holds reliable data back until both exist."""
        channels = peer.connection.transport.channels
        assert channels is not None
        peer.channels[RELIABLE] = channels.open(RELIABLE, now=now)
        peer.channels[LOSSY] = channels.open(LOSSY, ordered=False, max_retransmits=0, now=now)
        peer.lossy.add(peer.channels[LOSSY])
        self._sender.remote_limit(peer.connection.max_message_size)
        for lane in self._lanes:
            channels.set_thresholds(peer.channels[RELIABLE if lane.reliable else LOSSY], lane.low, lane.high)
            self.feed(lane.reliable, now)

    # ------------------------------------------------------------------ out

    def publish(
        self, payload: bytes, reliable: bool, topic: str, destination_identities: Iterable[str], now: float
    ) -> bool:
        """See RoomEngine.publish_data."""
        peer, lane = self._session.publisher, self._lanes[reliable]
        assert peer is not None
        if lane.full or peer.connection.transport.association.state > ESTABLISHED:
            lane.refused = True
            return False
        data = self._sender.encode(
            payload, reliable=reliable, topic=topic, destination_identities=destination_identities
        )
        self._send(peer, lane, data, False, now)
        return True

    def send_packet(self, packet: models.DataPacket, reliable: bool, urgent: bool, now: float) -> bool:
        """See RoomEngine.send_packet."""
        peer, lane = self._session.publisher, self._lanes[reliable]
        assert peer is not None
        full = lane.urgent_full if urgent and reliable else lane.full
        if full or peer.connection.transport.association.state > ESTABLISHED:
            lane.refused = True
            return False
        self._send(peer, lane, self._sender.finish(packet, reliable=reliable), urgent, now)
        return True

    @property
    def urgent_room(self) -> bool:
        """Whether the reliable channel takes an urgent packet."""
        peer = self._session.publisher
        assert peer is not None
        return not self._lanes[True].urgent_full and peer.connection.transport.association.state <= ESTABLISHED

    def _send(self, peer: Peer, lane: Lane, data: bytes, urgent: bool, now: float) -> None:
        """To the channel at once if nothing is before it, else in line."""
        if lane.reliable and not urgent:
            self.accepted += 1
        channels = peer.connection.transport.channels
        if channels is None or not peer.channels or lane:
            lane.put(data, urgent)
            return
        channel = peer.channels[RELIABLE if lane.reliable else LOSSY]
        if not channels.writable(channel):
            lane.put(data, urgent)
            return
        self._give(channels, channel, data, lane.reliable, urgent, now)
        peer.touch_data()

    def _give(
        self, channels: DataChannels, channel: int, data: bytes, reliable: bool, urgent: bool, now: float
    ) -> None:
        if reliable:
            self.unacknowledged.add(channels.send(channel, self._sender.number(data), now), data, urgent)
        else:
            channels.send(channel, data, now)

    def feed(self, reliable: bool, now: float) -> None:
        """Give the channel what waits for it, as far as it takes it."""
        peer, lane = self._session.publisher, self._lanes[reliable]
        assert peer is not None
        transport = peer.connection.transport
        channels, channel = transport.channels, peer.channels[RELIABLE if reliable else LOSSY]
        assert channels is not None
        if lane and transport.association.state <= ESTABLISHED:
            while lane and channels.writable(channel):
                urgent = lane.urgent
                self._give(channels, channel, lane.pop(), reliable, urgent, now)
            peer.touch_data()
        if lane.refused and not lane.full and not lane.urgent_full:
            lane.refused = False
            self._session.outbox.append(DataWritable(reliable))

    def settle(self) -> None:
        """Let go of what the server has acknowledged."""
        peer = self._session.publisher
        assert peer is not None
        channels = peer.connection.transport.channels
        assert channels is not None
        self.unacknowledged.settle(channels)

    @property
    def in_flight(self) -> bool:
        """Whether reliable data of ours is still on its way to the server."""
        peer = self._session.publisher
        if self._lanes[True]:
            return True
        return peer is not None and bool(peer.channels) and not peer.connection.transport.association.sender.idle()

    # ------------------------------------------------------------------ in

    def receive(self, peer: Peer, channel: int, now: float) -> None:
        """Handle what a reliable channel holds: the user's packets wait to be read, and are held until then."""
        channels = peer.connection.transport.channels
        assert channels is not None
        take, receive, unread = channels.take, self._receiver.receive, self._unread
        self._arriving = peer
        while (data := take(channel)) is not None:
            event = receive(data, True, now)
            if event is None:
                peer.credit(len(data))
                continue
            if not unread and not self._readable:
                self._session.outbox.append(DataReadable())
            unread.append((event, peer, len(data)))
        self._arriving = None

    def lossy_readable(self, peer: Peer, channel: int) -> None:
        """A lossy channel has packets, which wait there: the newest push out the oldest."""
        if not self._unread and not self._readable:
            self._session.outbox.append(DataReadable())
        self._readable.append((peer, channel))

    def read(self, now: float) -> PacketReceived | None:
        """The next user packet of any channel; other payloads and duplicates are passed over."""
        if self._unread:
            event, peer, size = self._unread.popleft()
            peer.credit(size)
            return event
        readable = self._readable
        while readable:
            peer, channel = readable[0]
            channels = peer.connection.transport.channels
            data = channels.take(channel) if channels is not None else None
            if data is None:
                readable.popleft()
                continue
            peer.credit(len(data))
            self._arriving = peer
            lossy = self._receiver.receive(data, False, now)
            self._arriving = None
            if lossy is not None:
                return lossy
        return None

    def hold(self, size: int) -> Hold:
        """Only while a packet is being handled: keep so many bytes of it charged to the receive window."""
        peer = self._arriving
        assert peer is not None
        peer.connection.transport.association.receiver.charge(size)
        return Hold(peer, size)

    # ------------------------------------------------------------------ from session to session

    def inherit(self, old: DataLanes) -> list[bytes]:
        """Take over from the session before a restart what is not its alone; before that is closed.

        What it had received and nobody has read is not lost. What it had accepted goes on waiting here if it could not
        even begin to send. Otherwise the reliable packets are returned, encoded, that the server has not acknowledged:
        of them it is not known whether they have arrived.
        """
        self._unread.extend(old._unread)
        unsent = old.unacknowledged.unsent()
        if unsent is None:
            return [*old.unacknowledged.packets(), *old._lanes[True]]
        old._lanes[True].restore(unsent)
        self._lanes, old._lanes = old._lanes, self._lanes
        self.accepted = old.accepted
        return []

    def clear(self) -> None:
        """Nothing waits any more, in either direction."""
        self.unacknowledged.sent.clear()
        self._readable.clear()
        self._unread.clear()
        for lane in self._lanes:
            lane.clear()
