"""Data channels (RFC 8831): labelled message channels, each a pair of streams with the same number.

A channel of ours is usable from the moment it is opened: messages may follow the OPEN without waiting for the ACK.
Until the ACK is there they go ordered and reliably even on an unordered or partially reliable channel, since the peer
must see the OPEN first (RFC 8832 section 6), and a peer that knows the channel as unordered may not understand that an
ordered message was given up.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Literal

from attrs import frozen

from ..base import limits
from ..base.contract import INF
from ..base.counters import Counters
from ..base.errors import LocalProtocolError, ParseError
from . import dcep
from .association import ESTABLISHED, LOST, SctpAssociation, SctpLost
from .chunks import UNORDERED
from .receiver import (
    NO_RING,
    PPID_BINARY,
    PPID_BINARY_EMPTY,
    PPID_DCEP,
    PPID_TEXT,
    PPID_TEXT_EMPTY,
    InStream,
)
from .sender import RELIABLE, OutChunk, OutStream

_HIGHEST_ID = 65534


@frozen
class ChannelOpened:
    """A channel is open: the peer opened it, or confirmed ours (``ours``)."""

    channel: int
    label: str
    ordered: bool
    max_retransmits: int | None
    ours: bool
    max_lifetime_ms: int | None = None
    protocol: str = ""


@frozen
class ChannelReadable:
    """There are messages to read: ``read`` the channel until it gives None. Not repeated before that."""

    channel: int


@frozen
class BufferedLow:
    """What waits to be sent has fallen to the low threshold after it had exceeded the high one."""

    channel: int


@frozen
class ChannelClosed:
    """Both directions of the channel are closed. What was received before may still be read."""

    channel: int


class _Channel:
    __slots__ = (
        "id",
        "open",
        "ours",
        "confirmed",
        "flags",
        "limit",
        "lifetime",
        "incoming",
        "outgoing",
        "closing",
        "in_reset",
        "out_reset",
    )

    def __init__(self, number: int, message: dcep.Open, ours: bool, outgoing: OutStream) -> None:
        self.id = number
        self.open = message
        self.ours = ours
        self.confirmed = not ours
        self.flags = 0 if message.ordered else UNORDERED
        self.limit = RELIABLE if message.max_retransmits is None else message.max_retransmits + 1
        self.lifetime = INF if message.max_lifetime_ms is None else message.max_lifetime_ms / 1000
        self.incoming: InStream | None = None
        self.outgoing = outgoing
        self.closing = False
        self.in_reset = False
        self.out_reset = False

    def ring(self) -> int:
        lossy = self.flags and (self.limit != RELIABLE or self.lifetime != INF)
        return limits.SCTP_LOSSY_RING if lossy else NO_RING


class DataChannels:
    """The data channels of one association, which it owns.

    ``role`` is the DTLS role: the client's channels have even numbers, the server's odd ones. ``packets`` and
    ``outbox`` are the association's own deques; the outbox holds its events too.
    """

    def __init__(self, association: SctpAssociation, *, role: Literal["client", "server"]) -> None:
        self.association = association
        self.packets: deque[bytes] = association.packets
        self.outbox: deque[Any] = association.outbox
        self.counters: Counters = association.counters
        self._sender = association.sender
        self._receiver = association.receiver
        self._resets = association.resets
        self._longest = association.options.max_message_size
        self._next_id = 0 if role == "client" else 1
        self._channels: dict[int, _Channel] = {}
        self._closed: dict[int, InStream] = {}

    # ------------------------------------------------------------------ the association, handed through

    @property
    def blocked(self) -> bool:
        """Set by the parent while its socket would block: no DATA is sent then."""
        return self.association.blocked

    @blocked.setter
    def blocked(self, value: bool) -> None:
        self.association.blocked = value

    def start(self, now: float) -> None:
        """Begin the handshake."""
        self.association.start(now)

    def shutdown(self, now: float) -> None:
        """Close the association in order, after what is queued."""
        self.association.shutdown(now)

    def abort(self, now: float) -> None:
        """Close the association at once."""
        self.association.abort(now)

    def handle_packet(self, data: bytes, now: float) -> None:
        """Take one packet that DTLS delivered."""
        self.association.handle_packet(data, now)
        receiver = self._receiver
        if receiver.readable or receiver.control or self._resets.reset_in or self._resets.reset_out:
            self._tell()

    def advance(self, now: float) -> float:
        """Do what is due and owed; the next deadline."""
        due = self.association.advance(now)
        if self._resets.reset_in or self._resets.reset_out:
            self._handle_resets()
            due = self.association.advance(now)
        lows = self._sender.lows
        if lows:
            for stream in lows if self.association.state != LOST else ():
                channel = self._channels.get(stream.sid)
                if channel is not None and channel.outgoing is stream and not channel.closing:
                    self.outbox.append(BufferedLow(stream.sid))
            lows.clear()
        return due

    # ------------------------------------------------------------------ operations

    def open(
        self,
        label: str,
        *,
        ordered: bool = True,
        max_retransmits: int | None = None,
        max_lifetime_ms: int | None = None,
        protocol: str = "",
        now: float,
    ) -> int:
        """Open a channel and return its number; possible before the association is up."""
        if self.association.state > ESTABLISHED:
            raise LocalProtocolError("the association is closing or closed")
        if max_retransmits is not None and max_lifetime_ms is not None:
            raise LocalProtocolError("a channel is limited by retransmits or by lifetime, not both")
        for value in (max_retransmits, max_lifetime_ms):
            if value is not None and not 0 <= value <= 0xFFFFFFFF:
                raise LocalProtocolError("the limit of a channel is a 32-bit number")
        if len(label.encode()) > 65535 or len(protocol.encode()) > 65535:
            raise LocalProtocolError("label and protocol of a channel have at most 65535 bytes each")
        message = dcep.Open(label, protocol, ordered, max_retransmits, max_lifetime_ms, 0)
        encoded = dcep.encode_open(message)
        if len(encoded) > self.association.options.max_message_size:
            raise LocalProtocolError("label and protocol do not fit into one message")
        number = self._next_id
        while number in self._channels or number in self._receiver.streams:
            number += 2
        if number > _HIGHEST_ID:
            raise LocalProtocolError("all channel numbers are used up")
        # Numbers are not used again while others are left, so that late data cannot be taken for a new channel's.
        self._next_id = number + 2
        self._add(number, message, ours=True)
        self._sender.queue(self._channels[number].outgoing, PPID_DCEP, encoded)
        return number

    def send(self, channel: int, data: bytes, now: float, *, binary: bool = True) -> OutChunk:
        """Queue one message; see ``writable`` for back-pressure. What ``acknowledged`` takes is returned."""
        one = self._channels.get(channel)
        if one is None or one.closing:
            raise LocalProtocolError(f"data channel {channel} is not open")
        size = len(data)
        if size > self._longest:
            raise LocalProtocolError(f"a message of {size} bytes is longer than the peer takes")
        if self.association.state > ESTABLISHED:
            raise LocalProtocolError("the association is closing or closed")
        if size:
            ppid = PPID_BINARY if binary else PPID_TEXT
        else:
            # An empty message travels as one byte that the receiver ignores (RFC 8831 section 6.6).
            ppid = PPID_BINARY_EMPTY if binary else PPID_TEXT_EMPTY
            data = b"\0"
        if one.confirmed:
            self._sender.queue(one.outgoing, ppid, data, one.flags, one.limit, now + one.lifetime)
        else:
            self._sender.queue(one.outgoing, ppid, data)
        return one.outgoing.queue[-1]

    def acknowledged(self, message: OutChunk) -> bool:
        """Whether the peer has acknowledged a message for good, with all before it: what gap blocks say does not count.

        Only for messages of a reliable channel: others may have been given up.
        """
        return message.sends > 0 and message.tsn <= self._sender.cum

    def read(self, channel: int) -> bytes | None:
        """Take one message, or None when there is none; what the peer sent as text is a TextMessage."""
        data = self.take(channel)
        if data is not None:
            self._receiver.credit(len(data))
        return data

    def take(self, channel: int) -> bytes | None:
        """Like ``read``, but the message stays charged to the window until its size is given to ``receiver.credit``."""
        one = self._channels.get(channel)
        if one is not None:
            stream = one.incoming
            return None if stream is None else self._receiver.take(stream)
        stream = self._closed.get(channel)
        if stream is None:
            return None
        data = self._receiver.take(stream)
        if data is None:
            del self._closed[channel]
        return data

    def close(self, channel: int, now: float) -> None:
        """Close a channel after what is queued on it; ChannelClosed follows. Closing twice is harmless."""
        one = self._channels.get(channel)
        if one is not None:
            self._close(one)

    def buffered(self, channel: int) -> int:
        """Bytes queued on the channel and not sent once; 0 for one that does not exist."""
        one = self._channels.get(channel)
        return 0 if one is None else one.outgoing.buffered

    def total_buffered(self) -> int:
        """Bytes queued on all channels and not sent once."""
        return self._sender.buffered()

    def writable(self, channel: int) -> bool:
        """Whether the channel takes messages and its queue has not exceeded the high threshold since BufferedLow."""
        one = self._channels.get(channel)
        return one is not None and not one.closing and not one.outgoing.above

    def set_thresholds(self, channel: int, low: int, high: int) -> None:
        """Change the thresholds (bytes) of ``writable`` and BufferedLow for one channel."""
        one = self._channels.get(channel)
        if one is None:
            raise LocalProtocolError(f"data channel {channel} is not open")
        if not 0 <= low <= high:
            raise LocalProtocolError("the low threshold exceeds the high one")
        one.outgoing.low = low
        one.outgoing.high = high

    # ------------------------------------------------------------------ inside

    def _add(self, number: int, message: dcep.Open, *, ours: bool) -> _Channel:
        options = self.association.options
        channel = _Channel(number, message, ours, OutStream(number, options.buffer_low, options.buffer_high))
        self._channels[number] = channel
        return channel

    def _attach(self, channel: _Channel) -> None:
        """Join a channel with its incoming stream, which exists from its first message on."""
        stream = self._receiver.streams.get(channel.id)
        if stream is not None and channel.incoming is None:
            channel.incoming = stream
            stream.ring = channel.ring()

    def _close(self, channel: _Channel) -> None:
        if not channel.closing:
            channel.closing = True
            self._resets.reset(channel.outgoing)

    def _opened(self, channel: _Channel) -> None:
        message = channel.open
        self.outbox.append(
            ChannelOpened(
                channel.id,
                message.label,
                message.ordered,
                message.max_retransmits,
                channel.ours,
                message.max_lifetime_ms,
                message.protocol,
            )
        )

    def _tell(self) -> None:
        """Tell what a packet brought. If it also ended the association, that comes last."""
        outbox = self.outbox
        end = outbox.pop() if outbox and isinstance(outbox[-1], SctpLost) else None
        if self._receiver.control:
            self._handle_control()
        self._tell_readable()
        self._handle_resets()
        if end is not None:
            outbox.append(end)

    def _handle_control(self) -> None:
        control = self._receiver.control
        for number, data in control:
            channel = self._channels.get(number)
            stream = self._receiver.streams.get(number)
            if stream is not None:  # else the same packet has reset it
                stream.ring = limits.SCTP_EARLY_MESSAGES if channel is None else channel.ring()
            try:
                message = dcep.decode_message(data)
            except ParseError:
                self.counters.add("dcep_malformed")
                continue
            if message is None:
                if channel is None or not channel.ours:
                    self.counters.add("dcep_unexpected")
                elif not channel.confirmed:
                    self._confirm(channel)
            elif channel is not None:
                # Number taken: by a duplicate, or by both sides at once against the parity rule.
                self.counters.add("dcep_unexpected")
            elif sum([not channel.ours for channel in self._channels.values()]) >= limits.SCTP_CHANNELS:
                self.counters.add("channel_limit")
                options = self.association.options
                self._resets.reset(OutStream(number, options.buffer_low, options.buffer_high))
            else:
                channel = self._add(number, message, ours=False)
                self._attach(channel)
                self._sender.queue(channel.outgoing, PPID_DCEP, dcep.ACK_MESSAGE)
                self._opened(channel)
                stream = channel.incoming
                if stream is not None and stream.ready and stream not in self._receiver.readable:
                    self.outbox.append(ChannelReadable(number))
        control.clear()

    def _confirm(self, channel: _Channel) -> None:
        channel.confirmed = True
        self._attach(channel)
        self._opened(channel)

    def _tell_readable(self) -> None:
        for stream in self._receiver.readable:
            channel = self._channels.get(stream.sid)
            if channel is None or channel.in_reset:
                # Not opened yet: ``_handle_control`` tells of it when the OPEN comes.
                continue
            if channel.incoming is None:
                self._attach(channel)
            if not channel.confirmed:
                # The peer uses the channel, so it has seen the OPEN; its ACK will follow.
                self._confirm(channel)
            self.outbox.append(ChannelReadable(stream.sid))
        self._receiver.readable.clear()

    def _handle_resets(self) -> None:
        resets = self._resets
        for number in resets.reset_in:
            channel = self._channels.get(number)
            if channel is not None:
                channel.in_reset = True
                # The peer has closed its direction; ours follows (RFC 8831 section 6.7).
                self._close(channel)
                self._finish(channel)
        resets.reset_in.clear()
        for number in resets.reset_out:
            channel = self._channels.get(number)
            if channel is not None:
                channel.out_reset = True
                self._finish(channel)
        resets.reset_out.clear()

    def _finish(self, channel: _Channel) -> None:
        if not (channel.in_reset and channel.out_reset):
            return
        number = channel.id
        del self._channels[number]
        stream = channel.incoming
        old = self._closed.pop(number, None)
        if old is not None:
            self._receiver.release(old)
        if stream is not None and stream.ready:
            self._closed[number] = stream
            while len(self._closed) > limits.SCTP_CHANNELS:
                self._receiver.release(self._closed.pop(next(iter(self._closed))))
        if self.association.state != LOST:
            self.outbox.append(ChannelClosed(number))
