"""A joined engine whose media really connects, to peer connections that play the server."""

from __future__ import annotations

from collections import deque

from sansio import proto
from sansio.base.contract import OpenSignal
from sansio.base.entropy import Entropy
from sansio.dtls.plain import PlainEngine, plain_identity
from sansio.ice.candidate import Candidate
from sansio.peer.connection import PeerConnection
from sansio.rtp.format import Format
from tests.unit.room.build import join as join_response
from tests.unit.room.desk import HOST, Desk, join_request

SERVER = "10.1.0.1"
OPUS = Format(111, "opus", 48000, nack=True)
OPUS_FRAME = b"\xf8\xff\xfe"


class Studio(Desk):
    """``tracks`` says what the next answers send: mid to (stream, track, SSRC); ``ids`` is their mid_to_track_id;
    ``change`` changes answers otherwise."""

    def __init__(self, *others, single=True, connect=True, **options):
        super().__init__(single_peer_connection=single, **options)
        self.single = single
        self.tracks = {}
        self.ids = {}
        self.answering = True
        self.change = str
        self.sessions = 0
        self.begin()
        if connect:
            self.join(*others)
            self.connect()

    def begin(self):
        """New peer connections, for a first or another session."""
        self.sessions += 1
        self.peers = [self._peer(target) for target in ([0] if self.single else [0, 1])]
        self.answered = len(self.sent("offer"))
        self.clients = {}

    def _peer(self, target):
        entropy = Entropy(f"server {self.sessions} {target}".encode())
        identity = plain_identity(Entropy(b"server"))
        connection = PeerConnection(entropy, identity, deque(), offerer=target == 1, dtls_engine=PlainEngine)
        candidate = Candidate("1", 1, "udp", 2130706431, SERVER, 7000 + target, "host")
        connection.add_local_candidate(candidate, 1, self.now)
        return connection

    # ------------------------------------------------------------------ signalling

    def join(self, *others, **fields):
        if not self.engine._course.begun:
            self.start()
        self.opened()
        if self.single:
            self.offer = join_request(self.found(OpenSignal)[-1].url).publisher_offer
        self.say(join=join_response(*others, subscriber_primary=not self.single, **fields))
        if self.single and self.offer.sdp:  # else it was too long for the request, and comes by itself
            self.answer(self.offer)
        elif not self.single:
            self.offer_subscriber()
        self.negotiate()

    def answer(self, offer):
        sdp = self.change(self.peers[0].handle_offer(offer.sdp, self.now))
        self.say(
            answer=proto.rtc.SessionDescription(
                type="answer", sdp=with_tracks(sdp, self.tracks), id=offer.id, mid_to_track_id=self.ids
            )
        )

    def negotiate(self):
        """Answer every offer that has not been answered yet."""
        while self.answering and self.answered < len(self.sent("offer")):
            self.answered += 1
            self.answer(self.sent("offer")[self.answered - 1])

    def offer_subscriber(self):
        """What the server offers in dual mode, tracks included; the answer goes to it."""
        sdp, number = self.peers[1].create_offer(self.now)
        self.say(offer=proto.rtc.SessionDescription(type="offer", sdp=sdp, id=number))
        self.peers[1].handle_answer(self.sent("answer")[-1].sdp, number, self.now)

    # ------------------------------------------------------------------ media

    def turn(self, seconds=0.0):
        fresh = super().turn(seconds)
        if not hasattr(self, "peers"):
            return fresh
        for _ in range(200):
            busy = self.carry()
            more = super().turn()
            fresh += more
            if not busy and not more and not self.transmits:
                return fresh
        raise AssertionError("never quiet")

    def carry(self):
        """Packets both ways, without delay."""
        busy = bool(self.transmits)
        transmits, self.transmits = self.transmits, []
        for transmit in transmits:
            target = transmit.addr[1] - 7000
            if transmit.addr[0] != SERVER or target >= len(self.peers):
                continue
            source = (HOST, 40000 + transmit.port)
            self.clients[source] = transmit.port
            self.peers[target].transport.receive_datagram(1, transmit.data, source, self.now)
        for target, peer in enumerate(self.peers):
            peer.advance(self.now)
            out, packets = peer.transport.transmits, []
            while out:
                packets.append(out.popleft())
            for transmit in packets:
                port = transmit.addr[1] - 40000
                busy = True
                self.engine.handle_datagram(port, transmit.data, (SERVER, 7000 + target), self.now)
        return busy

    def connect(self):
        for _ in range(100):
            if all(peer.transport.connected for peer in self.peers):
                self.turn()
                return
            self.turn(0.05)
        raise AssertionError("never connected")

    def send(self, ssrc, data=OPUS_FRAME, peer=0):
        """The server sends an audio frame from a source."""
        rtp = self.peers[peer].transport.rtp
        sender = next((sender for sender in rtp.senders if sender.ssrc == ssrc), None)
        if sender is None:
            sender = rtp.add_sender(OPUS, ssrc=ssrc)
        sender.write(data, self.now)
        self.peers[peer].transport.touch_media()
        return self.turn()

    def events(self, *kinds):
        return [output for output in self.outputs if isinstance(output, kinds)]


def with_tracks(sdp, tracks):
    """An answer that sends these tracks: mid to (stream, track, SSRC)."""
    head, *parts = sdp.split("m=")
    for place, part in enumerate(parts):
        mid = part.split("a=mid:")[1].split("\r\n")[0]
        if mid in tracks:
            stream, track, ssrc = tracks[mid]
            sending = part.replace("a=inactive\r\n", "a=sendonly\r\n")
            parts[place] = sending + f"a=msid:{stream} {track}\r\na=ssrc:{ssrc} cname:x\r\n"
    return "m=".join([head, *parts])
