"""Stream reset (RFC 6525), the way data channels close (RFC 8831 section 6.7): Outgoing SSN Reset Requests of both
sides and their responses. Other re-configuration requests are denied.

A request of ours goes out when everything queued on its streams is acknowledged, so that the peer can perform it at
once; one request is outstanding at a time. The peer may have several outstanding (the LiveKit server does) and they may
arrive in any order, so a request ahead of its turn is served as well, within a window.
"""

from __future__ import annotations

from ..base import limits
from ..base.contract import INF
from ..base.counters import Counters
from ..base.errors import ParseError
from . import chunks
from .chunks import MASK32
from .receiver import Receiver
from .sender import OutStream, Sender


class StreamResets:
    """Both directions of stream reset.

    ``reset_out`` and ``reset_in`` collect the streams whose outgoing or incoming side has been reset; ``replies`` the
    RE-CONFIG chunks to send.
    """

    __slots__ = (
        "counters",
        "sender",
        "receiver",
        "waiting",
        "request",
        "chunk",
        "next_sequence",
        "expected",
        "answers",
        "deferred",
        "due",
        "send_now",
        "reset_out",
        "reset_in",
        "replies",
    )

    def __init__(self, counters: Counters, sender: Sender, receiver: Receiver, sequence: int) -> None:
        self.counters = counters
        self.sender = sender
        self.receiver = receiver
        self.waiting: dict[int, OutStream] = {}
        self.request: chunks.ResetRequest | None = None
        self.chunk = b""
        self.next_sequence = sequence
        self.expected = 0
        self.answers: dict[int, int] = {}
        self.deferred: list[chunks.ResetRequest] = []
        self.due = INF
        self.send_now = False
        self.reset_out: list[int] = []
        self.reset_in: list[int] = []
        self.replies: list[bytes] = []

    # ------------------------------------------------------------------ ours

    def reset(self, stream: OutStream) -> None:
        """Reset an outgoing stream once what is queued on it has been acknowledged."""
        self.waiting[stream.sid] = stream

    def poll(self) -> None:
        """Do what has become possible: start a request, perform what the peer asked for earlier."""
        if self.waiting and self.request is None:
            ready = [sid for sid, stream in self.waiting.items() if self.sender.drained(stream)]
            if ready:
                # As many as fit into one packet beside little else.
                ready = ready[: (self.sender.mtu - 64) // 2]
                for sid in ready:
                    del self.waiting[sid]
                self.request = chunks.ResetRequest(
                    self.next_sequence, (self.expected - 1) & MASK32, (self.sender.next_tsn - 1) & MASK32, ready
                )
                self.next_sequence = (self.next_sequence + 1) & MASK32
                value = chunks.encode_reset_request(self.request)
                body = chunks.encode_parameters([(chunks.OUTGOING_RESET, value)])
                self.chunk = chunks.encode_chunk(chunks.RE_CONFIG, 0, body)
                self.send_now = True
        if self.deferred:
            for request in self.deferred[:]:
                if self._reached(request.last_tsn):
                    self.deferred.remove(request)
                    self._perform(request)

    def take_chunk(self, now: float) -> bytes:
        """The outstanding request, to be sent now; its timer starts."""
        self.send_now = False
        self.due = now + self.sender.rto
        return self.chunk

    def handle_timeout(self) -> None:
        """The request was not answered in time."""
        self.due = INF
        self.send_now = True
        self.sender.back_off()
        self.counters.add("reset_resent")

    # ------------------------------------------------------------------ theirs

    def handle(self, body: bytes, now: float) -> None:
        """Take the body of a RE-CONFIG chunk."""
        try:
            parameters = chunks.decode_parameters(body)
            for kind, value in parameters[:2]:
                if kind == chunks.OUTGOING_RESET:
                    self._handle_request(chunks.decode_reset_request(value))
                elif kind == chunks.RESET_RESPONSE:
                    self._handle_response(chunks.decode_reset_response(value), now)
                elif kind in (chunks.INCOMING_RESET, chunks.TSN_RESET, chunks.ADD_OUTGOING, chunks.ADD_INCOMING):
                    self._handle_other(value)
                else:
                    self.counters.add("reset_unknown")
        except ParseError:
            self.counters.add("reset_malformed")

    def _handle_response(self, response: chunks.ResetResponse, now: float) -> None:
        request = self.request
        if request is None or response.sequence != request.sequence:
            self.counters.add("reset_response_stale")
            return
        self.sender.errors = 0
        if response.result in (chunks.RESET_IN_PROGRESS, chunks.RESET_BUSY):
            # The same request again after a while (RFC 6525 section 5.2.7), unless the peer answers before.
            self.due = now + self.sender.rto
            self.send_now = False
            return
        if response.result not in (chunks.RESET_NOTHING, chunks.RESET_DONE):
            # Whatever the reason, asking again would not help; the stream is of no more use to us either way.
            self.counters.add("reset_denied")
        self.reset_out += request.streams
        self.request = None
        self.due = INF
        self.send_now = False

    def _handle_request(self, request: chunks.ResetRequest) -> None:
        sequence = request.sequence
        if sequence in self.answers:
            result = self.answers[sequence]
            if result == chunks.RESET_IN_PROGRESS and self._reached(request.last_tsn):
                self.poll()
            else:
                self._answer(sequence, result)
            return
        ahead = (sequence - self.expected) & MASK32
        if ahead >= limits.SCTP_RESETS:
            self._answer(sequence, chunks.RESET_BAD_SEQUENCE)
            return
        if not self._reached(request.last_tsn):
            if len(self.deferred) >= limits.SCTP_RESETS:
                self.counters.add("reset_limit")
                return
            self.deferred.append(request)
            self._remember(sequence, chunks.RESET_IN_PROGRESS)
            self._answer(sequence, chunks.RESET_IN_PROGRESS)
            return
        self._perform(request)

    def _handle_other(self, value: bytes) -> None:
        if len(value) < 4:
            raise ParseError("re-configuration request too short")
        sequence = int.from_bytes(value[:4], "big")
        if sequence not in self.answers:
            if (sequence - self.expected) & MASK32 >= limits.SCTP_RESETS:
                self._answer(sequence, chunks.RESET_BAD_SEQUENCE)
                return
            self._remember(sequence, chunks.RESET_DENIED)
        self.counters.add("reset_other_denied")
        self._answer(sequence, self.answers[sequence])

    def _perform(self, request: chunks.ResetRequest) -> None:
        streams = request.streams or list(self.receiver.streams)
        for sid in streams:
            self.receiver.detach(sid)
        self.reset_in += streams
        self._remember(request.sequence, chunks.RESET_DONE)
        self._answer(request.sequence, chunks.RESET_DONE)

    def _reached(self, tsn32: int) -> bool:
        return (self.receiver.cum - tsn32) & MASK32 < 0x80000000

    def _remember(self, sequence: int, result: int) -> None:
        self.answers[sequence] = result
        while self.expected in self.answers:
            self.expected = (self.expected + 1) & MASK32
        while len(self.answers) > 2 * limits.SCTP_RESETS:
            del self.answers[next(iter(self.answers))]

    def _answer(self, sequence: int, result: int) -> None:
        if len(self.replies) >= limits.SCTP_CONTROL:
            self.counters.add("control_limit")
            return
        value = chunks.encode_reset_response(chunks.ResetResponse(sequence, result))
        body = chunks.encode_parameters([(chunks.RESET_RESPONSE, value)])
        self.replies.append(chunks.encode_chunk(chunks.RE_CONFIG, 0, body))
