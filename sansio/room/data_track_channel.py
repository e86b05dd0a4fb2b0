"""The channel of data tracks: opened when a track is first wanted, and its packets wait for nobody."""

from __future__ import annotations

from ..sctp.association import ESTABLISHED
from .data import DataReceiver
from .peer import Peer, Session

DATA_TRACK = "_data_track"

DATA_TRACK_BUDGET = 1 << 18
"""Bytes of data tracks that may wait to be sent before frames are refused."""


class DataTrackChannel:
    """See the head of the module. ``wanted``: somebody publishes a data track or listens to one."""

    __slots__ = ("wanted", "_receiver", "_session")

    def __init__(self, session: Session, receiver: DataReceiver) -> None:
        self.wanted = False
        self._receiver = receiver
        self._session = session

    def want(self, now: float) -> None:
        """It is needed from now on."""
        peer = self._session.publisher
        assert peer is not None
        if not self.wanted and peer.channels:
            self.open(peer, now)
        self.wanted = True

    def open(self, peer: Peer, now: float) -> None:
        """Open it, with the other channels or later."""
        channels = peer.connection.transport.channels
        assert channels is not None
        channel = peer.channels[DATA_TRACK] = channels.open(DATA_TRACK, ordered=False, max_retransmits=0, now=now)
        channels.set_thresholds(channel, 0, DATA_TRACK_BUDGET)
        peer.data_tracks.add(channel)
        peer.touch_data()

    def send(self, packets: list[bytes], now: float) -> bool:
        """Send the packets of a frame, unless earlier ones still wait."""
        peer = self._session.publisher
        if peer is None or DATA_TRACK not in peer.channels:
            return False
        channels, channel = peer.connection.transport.channels, peer.channels[DATA_TRACK]
        assert channels is not None
        if channels.association.state > ESTABLISHED or not channels.writable(channel):
            return False
        for packet in packets:
            channels.send(channel, packet, now)
        peer.touch_data()
        return True

    def receive(self, peer: Peer, channel: int) -> None:
        """Hand on what the channel of a peer holds."""
        channels = peer.connection.transport.channels
        assert channels is not None
        while (data := channels.take(channel)) is not None:
            peer.credit(len(data))
            self._receiver.data_track(data)
