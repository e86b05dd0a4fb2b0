"""The server without media: links by hand, messages in and out, and clients' offers as text."""

from __future__ import annotations

import base64
from urllib.parse import quote

from sansio import proto
from sansio.base.contract import SendSignal
from sansio.base.entropy import Entropy
from sansio.base.wallclock import WallClock
from sansio.dtls.plain import PlainEngine, plain_identity
from sansio.peer.transport import TransportConnected
from sansio.sdp.build import LocalSection, LocalTransport, build_answer, build_offer
from sansio.sdp.codecs import AUDIO_CODECS, AUDIO_EXTENSIONS, VIDEO_CODECS, VIDEO_EXTENSIONS
from sansio.sdp.media import Fingerprint, Msid, parse_sdp
from sansio.sfu.server import ServerOptions, SfuServer
from sansio.sfu.token import Claims, mint
from sansio.signal.urls import JoinSettings, join_url
from sansio.testing.pairs import SERVER_ADDRESS

rtc, models = proto.rtc, proto.models
UNIX = 1_800_000_000.0
SIDE = LocalTransport(
    ice_ufrag="client", ice_pwd="0123456789012345678901", fingerprint=Fingerprint("sha-256", bytes(32))
)
DATA = LocalSection(kind="application", mid="0")


def sending(kind, mid, cid, ssrc=0, rids=(), **changes):
    """A section in which the client sends a track."""
    audio = kind == "audio"
    fields = {
        "kind": kind,
        "mid": mid,
        "direction": "sendonly",
        "codecs": AUDIO_CODECS if audio else VIDEO_CODECS,
        "extensions": AUDIO_EXTENSIONS if audio else VIDEO_EXTENSIONS,
        "msid": Msid("stream", cid),
        "streams": () if rids else ((ssrc or 1000 + int(mid), None),),
        "rids": rids,
        "cname": "c",
    }
    return LocalSection(**{**fields, **changes})


def receiving(kind, mid, direction="recvonly"):
    """A section that waits for a track."""
    audio = kind == "audio"
    return LocalSection(
        kind=kind,
        mid=mid,
        direction=direction,
        codecs=AUDIO_CODECS if audio else VIDEO_CODECS,
        extensions=AUDIO_EXTENSIONS if audio else VIDEO_EXTENSIONS,
    )


def wrapped(request=None, **fields):
    data = b"" if request is None else request
    inner = rtc.WrappedJoinRequest(join_request=data, **fields)
    return "ws://x/rtc/v1?join_request=" + quote(base64.urlsafe_b64encode(inner.SerializeToString()).decode())


def asked():
    """A join request that asks for nothing in particular."""
    return wrapped(rtc.JoinRequest(connection_settings=rtc.ConnectionSettings(auto_subscribe=True)).SerializeToString())


class Door:
    """A server and what it has put out; requests for links come by hand, and so do answers to its offers."""

    def __init__(self, **options):
        self.now = 0.0
        self.server = SfuServer(
            SERVER_ADDRESS,
            ServerOptions(keys={"key": "secret"}, dtls_engine=PlainEngine, **{"departure_timeout": 0, **options}),
            entropy=Entropy(b"server"),
            wall=WallClock(UNIX),
            identity=plain_identity(Entropy(b"identity")),
        )
        self.outputs = []
        self.links = 0

    def turn(self, seconds=0.0):
        self.now += seconds
        due = self.server.advance(self.now)
        assert due > self.now
        fresh = list(self.server.outbox)
        self.server.outbox.clear()
        self.server.transmits.clear()
        self.outputs += fresh
        return fresh

    def knock(self, url="ws://x/rtc", token=None, headers=None, **claims):
        """Ask for a link; the answer. ``claims`` make a token."""
        self.links += 1
        if token is None:
            token = mint(Claims(**{"identity": "alice", "room": "room", "key": "key", **claims}), "secret", UNIX)
        if headers is None:
            headers = (("authorization", f"Bearer {token}"),)
        self.server.signal_accepted(self.links, url, headers, self.now)
        return self.turn()[0]

    def request(self, link, **message):
        self.server.signal_received(link, rtc.SignalRequest(**message).SerializeToString(), self.now)
        return self.turn()

    def messages(self, kind, link=None):
        found = []
        for output in self.outputs:
            if isinstance(output, SendSignal) and link in (None, output.signal):
                response = rtc.SignalResponse.FromString(output.data)
                if response.WhichOneof("message") == kind:
                    found.append(getattr(response, kind))
        return found

    def enter(self, identity, *, single=True, auto_subscribe=True, **claims):
        """Join; the number of the link."""
        url = join_url("ws://x", JoinSettings(auto_subscribe=auto_subscribe), single=single)
        self.knock(url, identity=identity, **claims)
        return self.links

    def forget(self):
        """What was said so far is of no interest any more."""
        self.outputs.clear()

    def said(self, link):
        """The names of the messages to a client, in order."""
        return [
            rtc.SignalResponse.FromString(output.data).WhichOneof("message")
            for output in self.outputs
            if isinstance(output, SendSignal) and output.signal == link
        ]

    def offer(self, link, *sections, change=lambda sdp: sdp, **side):
        """A client's offer of these sections behind that for data; the answer, interpreted."""
        transport = SIDE if not side else LocalTransport(**{"fingerprint": SIDE.fingerprint, **side})
        sdp = change(build_offer(1, 1, transport, [DATA, *sections]))
        before = len(self.messages("answer", link))
        self.request(link, offer=rtc.SessionDescription(type="offer", sdp=sdp, id=before + 1))
        answers = self.messages("answer", link)
        return parse_sdp(answers[-1].sdp) if len(answers) > before else None

    def add_track(self, link, cid, kind="audio", **fields):
        """Announce a track; the answer's TrackInfo, if there is one."""
        number = models.AUDIO if kind == "audio" else models.VIDEO
        self.request(link, add_track=rtc.AddTrackRequest(cid=cid, type=number, **fields))
        found = [each.track for each in self.messages("track_published", link) if each.cid == cid]
        return found[-1] if found else None

    def publish(self, link, cid, mid, kind="audio", others=(), **fields):
        """Announce a track and offer its section behind ``others``; its sid."""
        track = self.add_track(link, cid, kind, **fields)
        self.offer(link, *others, sending(kind, mid, cid))
        return track.sid

    def answer_offer(self, link, change=lambda sdp: sdp):
        """Answer the server's last offer as a client does; the offer, interpreted."""
        offer = self.messages("offer", link)[-1]
        remote = parse_sdp(offer.sdp)
        sdp = change(build_answer(remote, 1, 1, SIDE))
        self.request(link, answer=rtc.SessionDescription(type="answer", sdp=sdp, id=offer.id))
        return remote

    def there(self, identity, room="room"):
        """The server's half of somebody's session."""
        return self.server._find(room, identity)


def pair():
    """A door, alice behind it, and bob, who receives."""
    door = Door()
    alice, bob = door.enter("alice"), door.enter("bob")
    door.offer(bob, receiving("audio", "1"), receiving("video", "2"))
    return door, alice, bob


def active(door, *names):
    """Let the primary connections of these come up."""
    for name in names:
        transport = door.there(name).peers[-1].connection.transport
        transport.outbox.append(TransportConnected(None, 0.0))
        transport.ice.selected_addr = ("10.0.0.9", 9)
        door.there(name).peers[-1].wake()
    door.turn()
