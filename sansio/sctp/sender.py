"""The sending half of an association: TSNs, acknowledgements, loss detection, congestion control (RFC 9260 sections
6 and 7), partial reliability (RFC 3758).

Deliberate departures from the letter of RFC 9260, each for the sake of peers that acknowledge a whole burst at once:

* Loss is told by distance: a chunk is lost when a packet sent ``reordering`` packets later is known to have arrived
  (as in TCP's forward acknowledgement), instead of after three SACKs. This also finds lost retransmissions. Duplicates
  that the peer reports widen the distance until the next timeout.
* In slow start the window grows by all the bytes acknowledged, not by one MTU a SACK.
* The burst limit is ``burst`` packets plus what SACKs have just taken off the network; beyond it packets are paced.
* The initial window is ten packets (as RFC 6928 for TCP).
* When nothing is heard for two round trips, one chunk is sent again as a probe (RFC 8985 section 7), since the loss of
  the last packets or of the one SACK of a burst would cost a whole retransmission timeout otherwise.
* What the peer acknowledged in gap blocks stays acknowledged on the first timeout, and is sent again on the second.

TSNs are unbounded integers here and cut to 32 bits on the wire.
"""

from __future__ import annotations

from collections import deque

from ..base.contract import INF, NOW
from ..base.counters import Counters
from . import chunks
from .chunks import BEGIN, DATA_HEAD, DATA_SIZE, END, IMMEDIATE, MASK32, PADDING, SACK_FIELDS, UNORDERED, with_checksum

QUEUED, FLIGHT, LOST, ACKED, ABANDONED = range(5)

RELIABLE = 1 << 30
"""A number of transmissions that is never reached."""

_PACING_GAIN = 2.0
_PACING_FLOOR = 0.001
"""Round-trip times below this (seconds) do not raise the pacing rate any more."""
_PACING_STEP = 0.0005
"""The shortest wait (seconds) between two paced bursts."""
_PROBE_MIN = 0.01
_VAIN_PROBES = 3
_SACK_DELAY = 0.2
"""So many probes in vain show a peer that delays its SACKs whatever the I bit says, by so many seconds."""
_REORDERING = 3
_REORDERING_MAX = 24
_INITIAL_PACKETS = 10
_MINIMUM_PACKETS = 4

_pack_data = DATA_HEAD.pack
_unpack_sack = SACK_FIELDS.unpack_from


class OutStream:
    """One outgoing stream: its queue and its stream sequence number.

    ``buffered`` counts payload bytes that have not been sent once; ``above`` is set while they have exceeded ``high``
    and not yet fallen to ``low``.
    """

    __slots__ = ("sid", "queue", "buffered", "low", "high", "above", "ssn", "last_tsn")

    def __init__(self, sid: int, low: int, high: int) -> None:
        self.sid = sid
        self.queue: deque[OutChunk] = deque()
        self.buffered = 0
        self.low = low
        self.high = high
        self.above = False
        self.ssn = 0
        self.last_tsn = -1


class OutChunk:
    """One DATA chunk from the moment it is queued until the cumulative acknowledgement passes it.

    ``limit`` is the number of transmissions and ``expires`` the time after which the message is given up; ``group``
    holds all the fragments of a message that may be given up. ``packet`` numbers the packet that last carried it.
    """

    __slots__ = (
        "stream",
        "flags",
        "ppid",
        "data",
        "limit",
        "expires",
        "group",
        "state",
        "sends",
        "tsn",
        "ssn",
        "packet",
    )

    tsn: int
    ssn: int
    packet: int

    def __init__(
        self,
        stream: OutStream,
        flags: int,
        ppid: int,
        data: bytes,
        limit: int,
        expires: float,
        group: list[OutChunk] | None,
    ) -> None:
        self.stream = stream
        self.flags = flags
        self.ppid = ppid
        self.data = data
        self.limit = limit
        self.expires = expires
        self.group = group
        self.state = QUEUED
        self.sends = 0


class Sender:
    """Queues, sends, and watches over outgoing DATA until it is acknowledged.

    The association sets ``header`` (the twelve bytes in front of every packet) and ``zero_checksum``, and calls
    ``emit``; ``lows`` holds streams whose queue has become short again.
    """

    __slots__ = (
        "counters",
        "mtu",
        "fragment",
        "header",
        "zero_checksum",
        "partial",
        "next_tsn",
        "cum",
        "outstanding",
        "active",
        "lost",
        "holes",
        "resent",
        "sacked",
        "hole_scan",
        "high",
        "reordering",
        "packet",
        "flight",
        "peer_window",
        "cwnd",
        "ssthresh",
        "grown",
        "recover",
        "urgent",
        "forward",
        "forward_owed",
        "forward_sent",
        "abandoned",
        "t3_due",
        "rto",
        "rto_min",
        "rto_max",
        "srtt",
        "rttvar",
        "timed_tsn",
        "timed_at",
        "timeouts",
        "errors",
        "burst",
        "tokens",
        "refilled",
        "pace_due",
        "probe_due",
        "probe_packet",
        "probe_at",
        "probe_new",
        "vain_probes",
        "proven",
        "min_rtt",
        "lows",
    )

    def __init__(
        self,
        tsn: int,
        counters: Counters,
        *,
        mtu: int,
        rto_initial: float,
        rto_min: float,
        rto_max: float,
        burst: int,
    ) -> None:
        self.counters = counters
        self.mtu = mtu
        self.fragment = (mtu - chunks.COMMON_SIZE - DATA_SIZE) & ~3
        self.header = bytes(chunks.COMMON_SIZE)
        self.zero_checksum = False
        self.partial = False
        self.next_tsn = tsn
        self.cum = tsn - 1
        self.outstanding: deque[OutChunk] = deque()
        self.active: deque[OutStream] = deque()
        self.lost: deque[OutChunk] = deque()
        self.holes: deque[OutChunk] = deque()
        self.resent: deque[OutChunk] = deque()
        self.sacked: list[tuple[int, int]] = []
        self.hole_scan = tsn - 1
        self.high = 0
        self.reordering = _REORDERING
        self.packet = 0
        self.flight = 0
        self.peer_window = 0
        self.cwnd = _INITIAL_PACKETS * mtu
        self.ssthresh = 1 << 30
        self.grown = 0
        self.recover = tsn - 1
        self.urgent = False
        self.forward = tsn - 1
        self.forward_owed = False
        self.forward_sent = NOW
        self.abandoned = 0
        self.t3_due = INF
        self.rto = rto_initial
        self.rto_min = rto_min
        self.rto_max = rto_max
        self.srtt = 0.0
        self.rttvar = 0.0
        self.timed_tsn = -1
        self.timed_at = 0.0
        self.timeouts = 0
        self.errors = 0
        self.burst = burst
        self.tokens = float(burst)
        self.refilled = 0.0
        self.pace_due = NOW
        self.probe_due = INF
        self.probe_packet = 0
        self.probe_at = 0.0
        self.probe_new = False
        self.vain_probes = 0
        self.proven = 0
        self.min_rtt = INF
        self.lows: list[OutStream] = []

    # ------------------------------------------------------------------ queueing

    def queue(
        self, stream: OutStream, ppid: int, data: bytes, flags: int = 0, limit: int = RELIABLE, expires: float = INF
    ) -> None:
        """Queue one message of at least one byte; ``flags`` may be UNORDERED."""
        queue = stream.queue
        if not queue:
            self.active.append(stream)
        size = len(data)
        fragment = self.fragment
        if size <= fragment:
            queue.append(OutChunk(stream, flags | BEGIN | END, ppid, data, limit, expires, None))
        else:
            group: list[OutChunk] | None = [] if limit != RELIABLE or expires != INF else None
            parts = [
                OutChunk(stream, flags, ppid, data[at : at + fragment], limit, expires, group)
                for at in range(0, size, fragment)
            ]
            parts[0].flags |= BEGIN
            parts[-1].flags |= END
            if group is not None:
                group += parts
            queue += parts
        stream.buffered = buffered = stream.buffered + size
        if buffered > stream.high:
            stream.above = True

    def buffered(self) -> int:
        """Payload bytes of all streams that have not been sent once."""
        return sum([stream.buffered for stream in self.active])

    def drained(self, stream: OutStream) -> bool:
        """Whether all that was ever queued on the stream is acknowledged or given up."""
        return not stream.queue and stream.last_tsn <= self.cum

    def idle(self) -> bool:
        """Whether nothing is queued or unacknowledged."""
        return not self.active and not self.outstanding

    def eager(self, now: float) -> bool:
        """Whether ``emit`` would send data right now (so that a waiting SACK can travel along)."""
        if now < self.pace_due:
            return False
        if self.urgent or (self.lost and self.flight < self.cwnd):
            return True
        if not self.active or self.flight >= self.cwnd:
            return False
        return not self.flight or len(self.active[0].queue[0].data) <= self.peer_window - self.flight

    # ------------------------------------------------------------------ sending

    def emit(self, out: deque[bytes], parts: list[bytes], room: int, now: float, *, single: bool = False) -> None:
        """Append packets to ``out``: ``parts`` (the header and perhaps control chunks) first, then lost and new data.

        ``room`` is what is left of the first packet. With ``single`` no second packet is begun (COOKIE-ECHOED).
        """
        if now < self.pace_due and not single:
            if len(parts) > 1:
                self.finish(out, parts)
            return
        self.pace_due = NOW
        if self.tokens < self.burst:
            self._refill(now)
            if self.tokens < 1:
                self._pace(now)
                if len(parts) > 1:
                    self.finish(out, parts)
                return
        else:
            self.refilled = now
        header = self.header
        full = self.mtu - chunks.COMMON_SIZE
        zero = self.zero_checksum
        outstanding = self.outstanding
        cwnd = self.cwnd
        flight = self.flight
        if self.probe_new:
            self.probe_new = False
            cwnd = max(cwnd, flight + 1)
        packet = self.packet + 1
        tokens = self.tokens
        data_in = False

        # Lost chunks first (RFC 9260 section 6.1 C); right after a loss was told, one packet goes whatever the window.
        lost = self.lost
        while lost:
            chunk = lost[0]
            if chunk.state != LOST:
                lost.popleft()
                continue
            if chunk.expires <= now and self.partial:
                lost.popleft()
                self._abandon(chunk)
                flight = self.flight
                continue
            if flight >= cwnd and not self.urgent:
                break
            data = chunk.data
            n = len(data)
            size = (n + DATA_SIZE + 3) & ~3
            if size > room:
                if single:
                    break
                self.finish(out, parts)
                parts = [header]
                room = full
                if data_in:
                    data_in = False
                    packet += 1
                    tokens -= 1
                    self.urgent = False
                    if tokens < 1:
                        self._pace(now)
                        break
                continue
            lost.popleft()
            flags = chunk.flags
            if flight + n >= cwnd or (len(lost) == 0 and not self.active):
                flags |= IMMEDIATE
            parts.append(
                _pack_data(0, flags, n + DATA_SIZE, chunk.tsn & MASK32, chunk.stream.sid, chunk.ssn, chunk.ppid)
            )
            parts.append(data)
            if n & 3:
                parts.append(PADDING[n & 3])
            room -= size
            data_in = True
            chunk.state = FLIGHT
            chunk.sends += 1
            chunk.packet = packet
            self.resent.append(chunk)
            if chunk.tsn == self.timed_tsn:
                self.timed_tsn = -1
            flight += n
            self.flight = flight
            self.counters.add("data_resent")
        if data_in:
            self.urgent = False

        active = self.active
        if active and not lost and tokens >= 1:
            window = self.peer_window
            tsn = self.next_tsn
            start = tsn
            append = outstanding.append
            pack = _pack_data
            while active:
                stream = active[0]
                queue = stream.queue
                chunk = queue[0]
                data = chunk.data
                n = len(data)
                if flight >= cwnd or (n > window - flight and flight):
                    break
                if chunk.expires <= now and (self.partial or chunk.flags & BEGIN):
                    self.flight = flight
                    self.next_tsn = tsn
                    self._expire(chunk)
                    flight = self.flight
                    tsn = self.next_tsn
                    continue
                size = (n + DATA_SIZE + 3) & ~3
                if size > room:
                    if single:
                        break
                    joined = b"".join(parts)
                    out.append(joined if zero else with_checksum(joined))
                    parts = [header]
                    room = full
                    if data_in:
                        data_in = False
                        packet += 1
                        tokens -= 1
                        if tokens < 1:
                            self._pace(now)
                            break
                queue.popleft()
                room -= size
                flight += n
                flags = chunk.flags
                if flags & UNORDERED:
                    ssn = 0
                elif flags & END:
                    ssn = stream.ssn
                    stream.ssn = (ssn + 1) & 0xFFFF
                else:
                    ssn = stream.ssn
                chunk.tsn = tsn
                chunk.ssn = ssn
                chunk.state = FLIGHT
                chunk.sends = 1
                chunk.packet = packet
                append(chunk)
                stream.last_tsn = tsn
                stream.buffered = left = stream.buffered - n
                if left <= stream.low and stream.above:
                    stream.above = False
                    self.lows.append(stream)
                if flags & END:
                    # One message a turn: streams share the association evenly whatever the size of their queues.
                    if not queue:
                        active.popleft()
                    elif len(active) > 1:
                        active.rotate(-1)
                # The I bit goes on the last chunk for now, since the peer may delay its SACK by 200 ms otherwise.
                if not active or flight >= cwnd:
                    flags |= IMMEDIATE
                parts.append(pack(0, flags, n + DATA_SIZE, tsn & MASK32, stream.sid, ssn, chunk.ppid))
                parts.append(data)
                if n & 3:
                    parts.append(PADDING[n & 3])
                tsn += 1
                data_in = True
            self.flight = flight
            self.next_tsn = tsn
            if tsn != start and self.timed_tsn < 0 and outstanding[-1].state == FLIGHT:
                # The last chunk is timed, since it is the one that is acknowledged at once.
                self.timed_tsn = tsn - 1
                self.timed_at = now
        if len(parts) > 1:
            joined = b"".join(parts)
            out.append(joined if zero else with_checksum(joined))
            if data_in:
                packet += 1
                tokens -= 1
        if self.packet != packet - 1:
            self.packet = packet - 1
            self.tokens = tokens
            if self.srtt and not self.probe_packet:
                self._arm_probe(now)
        if outstanding and self.t3_due == INF:
            self.t3_due = now + self.rto

    def finish(self, out: deque[bytes], parts: list[bytes]) -> None:
        """Close one packet."""
        joined = b"".join(parts)
        out.append(joined if self.zero_checksum else with_checksum(joined))

    def _refill(self, now: float) -> None:
        elapsed = now - self.refilled
        self.refilled = now
        if self.srtt:
            self.tokens = min(float(self.burst), self.tokens + elapsed * self._rate())
        else:
            self.tokens = float(self.burst)

    def _rate(self) -> float:
        return _PACING_GAIN * self.cwnd / self.mtu / max(self.srtt, _PACING_FLOOR)

    def _pace(self, now: float) -> None:
        self.refilled = now
        self.pace_due = now + max((self.burst / 4 + 0.5) / self._rate(), _PACING_STEP)

    # ------------------------------------------------------------------ giving up (RFC 3758)

    def _expire(self, chunk: OutChunk) -> None:
        """Drop a message whose time ran out before its next fragment was sent."""
        self.counters.add("send_expired")
        if chunk.flags & BEGIN:
            self._unqueue(chunk)
        else:
            self._abandon(chunk)

    def _unqueue(self, chunk: OutChunk) -> None:
        stream = chunk.stream
        queue = stream.queue
        group = chunk.group
        while queue and (queue[0] is chunk or (group is not None and queue[0].group is group)):
            gone = queue.popleft()
            gone.state = ABANDONED
            stream.buffered -= len(gone.data)
        if stream.above and stream.buffered <= stream.low:
            stream.above = False
            self.lows.append(stream)
        if not queue:
            self.active.remove(stream)

    def _abandon(self, chunk: OutChunk) -> None:
        """Give up the message of a chunk that was sent at least once."""
        self.counters.add("send_abandoned")
        for one in chunk.group or (chunk,):
            state = one.state
            if state == FLIGHT:
                self.flight -= len(one.data)
            if state in (FLIGHT, LOST) or (state == ACKED and one.tsn > self.cum):
                # Also what gap blocks acknowledged, so that the FORWARD-TSN passes the whole message.
                one.state = ABANDONED
                self.abandoned += 1
            elif state == QUEUED:
                self._unqueue(one)
                self._stand_in(one)
                break
        self._advance_forward()

    def _stand_in(self, chunk: OutChunk) -> None:
        """Give the first fragment that will never be sent a TSN, given up from the start.

        The fragments before it may all have arrived; a FORWARD-TSN past this TSN makes the peer drop them.
        """
        stream = chunk.stream
        chunk.tsn = stream.last_tsn = self.next_tsn
        chunk.ssn = stream.ssn
        self.next_tsn += 1
        if not chunk.flags & UNORDERED:
            stream.ssn = (stream.ssn + 1) & 0xFFFF
        self.outstanding.append(chunk)
        self.abandoned += 1

    def _advance_forward(self) -> None:
        """Move the advanced peer ack point (RFC 3758 section 3.5 C2) to the last chunk of those given up in front.

        Chunks acknowledged by gap blocks in between are passed as well, or alternating ones would cost a round trip
        each; ending on one that was given up never cuts through a message that is still being delivered.
        """
        forward = self.cum
        tsn = forward
        for chunk in self.outstanding:
            if chunk.state < ACKED:
                break
            tsn += 1
            if chunk.state == ABANDONED:
                forward = tsn
        if forward > self.forward:
            self.forward_owed = True
        self.forward = forward

    def take_forward(self, room: int, now: float) -> bytes:
        """A FORWARD-TSN chunk of at most ``room`` bytes, reaching as far as the listed streams allow."""
        self.forward_owed = False
        self.forward_sent = now
        streams: dict[int, int] = {}
        reached = self.cum
        for chunk in self.outstanding:
            if reached == self.forward:
                break
            if chunk.state == ABANDONED and not chunk.flags & UNORDERED:
                if chunk.stream.sid not in streams and 12 + 4 * len(streams) > room:
                    break
                streams[chunk.stream.sid] = chunk.ssn
            reached += 1
        body = chunks.encode_forward_tsn(chunks.ForwardTsn(reached & MASK32, list(streams.items())))
        return chunks.encode_chunk(chunks.FORWARD_TSN, 0, body)

    # ------------------------------------------------------------------ acknowledgements

    def handle_sack(self, data: bytes, at: int, length: int, now: float) -> None:
        """Take a SACK chunk at offset ``at`` of a packet; ``length`` is the chunk's, checked to lie inside."""
        if length < 16:
            self.counters.add("sack_malformed")
            return
        cum32, window, gap_count, duplicate_count = _unpack_sack(data, at + 4)
        if length != 16 + 4 * (gap_count + duplicate_count):
            self.counters.add("sack_malformed")
            return
        outstanding = self.outstanding
        cum = self.cum
        delta = (cum32 - cum) & MASK32
        if delta > len(outstanding):
            # Behind us it is an old SACK, overtaken by a later one; ahead it acknowledges what was never sent.
            self.counters.add("sack_old" if delta >= 0x80000000 else "sack_beyond_sent")
            return
        before = self.flight
        flight = before
        acked = 0
        if delta:
            for _ in range(delta):
                chunk = outstanding.popleft()
                state = chunk.state
                if state == FLIGHT:
                    n = len(chunk.data)
                    flight -= n
                    acked += n
                elif state == LOST:
                    acked += len(chunk.data)
                elif state == ABANDONED:
                    self.abandoned -= 1
                chunk.state = ACKED
            cum += delta
            self.cum = cum
            self.flight = flight
            if cum >= self.timed_tsn >= 0:
                self.measured(now - self.timed_at)
                self.timed_tsn = -1
            self.t3_due = now + self.rto if outstanding else INF
            if self.hole_scan < cum:
                self.hole_scan = cum
        self.peer_window = window
        if gap_count:
            acked += self._handle_gaps(data, at + 16, gap_count, now)
        elif self.sacked:
            self.sacked = []
        if duplicate_count:
            if self.probe_packet:
                self.vain_probes += 1
            elif self.resent:
                self.reordering = min(self.reordering + 1, _REORDERING_MAX)
        if self.holes or self.resent:
            self._detect(now)
        if self.abandoned:
            if self.forward < cum or acked:
                self._advance_forward()
            if self.forward > cum and now - self.forward_sent >= max(self.srtt, 0.01):
                self.forward_owed = True
        else:
            self.forward = cum
            self.forward_owed = False
        if acked or delta:
            self.errors = 0
            if self.timeouts:
                # Progress ends the back-off (as in TCP), or a row of lost retransmissions would keep it for long.
                self.timeouts = 0
                self._set_rto()
            self.probe_packet = 0
            if not self.flight:
                self.probe_due = INF
            elif self.srtt:
                self._arm_probe(now)
            freed = self.tokens + max(delta, acked // self.mtu + 1)
            self.tokens = freed if freed < self.burst else float(self.burst)
            self.pace_due = NOW
            if delta and cum >= self.recover and before + self.mtu >= self.cwnd:
                if self.cwnd <= self.ssthresh:
                    self.cwnd += acked
                else:
                    self.grown += acked
                    if self.grown >= self.cwnd:
                        self.grown -= self.cwnd
                        self.cwnd += self.mtu
        elif not window:
            # The peer is alive and says that it is full: probing it may go on for ever (RFC 9260 section 6.1 A).
            self.errors = 0
        if not outstanding:
            self.holes.clear()
            self.resent.clear()

    def _handle_gaps(self, data: bytes, at: int, count: int, now: float) -> int:
        """Mark what the gap blocks newly acknowledge; each TSN is visited once, whatever the number of SACKs."""
        outstanding = self.outstanding
        cum = self.cum
        base = cum + 1
        top = cum + len(outstanding)
        shorts = chunks.unpack_shorts(data, at, 2 * count)
        old = self.sacked
        known = len(old)
        seen = 0
        fresh: list[tuple[int, int]] = []
        acked = 0
        high = self.high
        previous = cum
        hole_scan = self.hole_scan
        holes = self.holes
        for i in range(0, 2 * count, 2):
            first = cum + shorts[i]
            last = cum + shorts[i + 1]
            if first <= previous or last < first or last > top:
                self.counters.add("sack_malformed")
                break
            fresh.append((first, last))
            tsn = first
            while tsn <= last:
                while seen < known and old[seen][1] < tsn:
                    seen += 1
                stop = last
                if seen < known:
                    start, end = old[seen]
                    if start <= tsn:
                        tsn = end + 1
                        continue
                    if start <= stop:
                        stop = start - 1
                for index in range(tsn - base, stop - base + 1):
                    chunk = outstanding[index]
                    state = chunk.state
                    if state == FLIGHT:
                        n = len(chunk.data)
                        self.flight -= n
                        acked += n
                        if chunk.sends == 1:
                            if chunk.packet > high:
                                high = chunk.packet
                        elif chunk.packet == self.probe_packet and 2 * (now - self.probe_at) >= self.min_rtt:
                            # The probe arrived, and whatever was sent before it, two round trips ago, did not.
                            self.proven = chunk.packet - 1
                            self.vain_probes = 0
                        chunk.state = ACKED
                    elif state == LOST:
                        acked += len(chunk.data)
                        chunk.state = ACKED
                tsn = stop + 1
            if last > hole_scan:
                for missing in range(max(previous, hole_scan) + 1, first):
                    chunk = outstanding[missing - base]
                    if chunk.state == FLIGHT and chunk.sends == 1:
                        holes.append(chunk)
                hole_scan = last
            previous = last
        self.hole_scan = hole_scan
        self.high = high
        self.sacked = fresh
        timed = self.timed_tsn
        if timed > cum and timed <= top and outstanding[timed - base].state == ACKED:
            self.measured(now - self.timed_at)
            self.timed_tsn = -1
        return acked

    def _detect(self, now: float) -> None:
        """Tell lost chunks by how far later packets have arrived."""
        # With few packets under way the distance cannot be long.
        limit = self.high - min(self.reordering, max(_REORDERING, self.flight // self.mtu // 2))
        if limit < self.proven:
            limit = self.proven
        for waiting in (self.holes, self.resent):
            while waiting:
                chunk = waiting[0]
                if chunk.state == FLIGHT:
                    if chunk.packet > limit:
                        break
                    self._mark_lost(chunk, now)
                    self.counters.add("loss_detected")
                    if self.cum >= self.recover:
                        self.recover = self.next_tsn - 1
                        self.ssthresh = self.cwnd = max(self.cwnd // 2, _MINIMUM_PACKETS * self.mtu)
                        self.grown = 0
                        self.urgent = bool(self.lost)
                waiting.popleft()

    def _mark_lost(self, chunk: OutChunk, now: float) -> None:
        if chunk.tsn == self.timed_tsn:
            self.timed_tsn = -1
        if self.partial and (chunk.sends >= chunk.limit or chunk.expires <= now):
            self._abandon(chunk)
        else:
            self.flight -= len(chunk.data)
            chunk.state = LOST
            self.lost.append(chunk)

    # ------------------------------------------------------------------ time

    def _arm_probe(self, now: float) -> None:
        delay = max(2 * self.srtt, self.srtt + 4 * self.rttvar, _PROBE_MIN)
        if self.vain_probes >= _VAIN_PROBES:
            delay += _SACK_DELAY
        self.probe_due = now + delay

    def handle_probe_timer(self, now: float) -> None:
        """Nothing was heard for two round trips: send the highest TSN once more, or one chunk of new data."""
        self.probe_due = INF
        if self.lost or not self.flight:
            return
        chunk = next(chunk for chunk in reversed(self.outstanding) if chunk.state == FLIGHT)
        if chunk.sends < chunk.limit and chunk.expires > now:
            self._mark_lost(chunk, now)
            self.urgent = True
        elif self.active:
            self.probe_new = True
        else:
            return
        self.counters.add("probes")
        self.probe_packet = self.packet + 1
        self.probe_at = now
        self.pace_due = NOW

    def handle_timeout(self, now: float) -> None:
        """T3-rtx expired (RFC 9260 section 6.3.3)."""
        self.counters.add("timeouts")
        self.timeouts += 1
        self.back_off()
        probing = self.peer_window == 0 and len(self.outstanding) <= 1
        if not probing:
            self.ssthresh = max(self.cwnd // 2, _MINIMUM_PACKETS * self.mtu)
            self.cwnd = self.mtu
            self.grown = 0
        self.timed_tsn = -1
        self.reordering = _REORDERING
        self.probe_due = INF
        self.probe_packet = 0
        self.holes.clear()
        self.resent.clear()
        self.lost.clear()
        if self.timeouts > 1 or self.outstanding[0].state == ACKED:
            # Perhaps the peer dropped what it had acknowledged in gap blocks (RFC 9260 section 6.2.1).
            for chunk in self.outstanding:
                if chunk.state == ACKED:
                    chunk.state = FLIGHT
                    self.flight += len(chunk.data)
            self.sacked = []
            self.hole_scan = self.cum
        for chunk in list(self.outstanding):
            if chunk.state == FLIGHT:
                self._mark_lost(chunk, now)
            elif chunk.state == LOST:
                self.lost.append(chunk)
        self.recover = self.cum
        self.forward_owed = self.forward > self.cum
        self.urgent = bool(self.lost)
        self.tokens = float(self.burst)
        self.pace_due = NOW
        self.t3_due = now + self.rto if self.outstanding else INF

    def back_off(self) -> None:
        """Something was not answered in time: the next wait is twice as long (RFC 9260 sections 6.3.3 and 8.1)."""
        self.errors += 1
        self.rto = min(2 * self.rto, self.rto_max)

    def measured(self, rtt: float) -> None:
        """Take a round-trip time (RFC 9260 section 6.3.1)."""
        if rtt < self.min_rtt:
            self.min_rtt = rtt
        if self.srtt:
            self.rttvar = 0.75 * self.rttvar + 0.25 * abs(self.srtt - rtt)
            self.srtt = 0.875 * self.srtt + 0.125 * rtt
        else:
            self.srtt = max(rtt, 1e-6)
            self.rttvar = rtt / 2
        self._set_rto()

    def _set_rto(self) -> None:
        if self.srtt:
            self.rto = min(max(self.srtt + 4 * self.rttvar, self.rto_min), self.rto_max)
