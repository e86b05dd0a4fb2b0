"""An RTP session that sends and receives audio and video, with a partner that does the same."""

from __future__ import annotations

from sansio.base.contract import INF
from sansio.base.entropy import Entropy
from sansio.base.wallclock import WallClock
from sansio.rtp.format import ExtensionIds, Format
from sansio.rtp.session import RtpSession
from sansio.testing.conformance import Input, Script, Subject, call

from .duet import duet

OPUS = Format(111, "opus", 48000, nack=True)
VP8 = Format(96, "vp8", 90000, rtx=97, nack=True, pli=True)


class Session(RtpSession):
    """A session with a stream of each kind in each direction."""

    def __init__(self, entropy: Entropy) -> None:
        extensions = ExtensionIds(mid=4, transport_cc=3)
        super().__init__(entropy, WallClock(1.8e9, 1000.0), cname="me", extensions=extensions)
        self.set_formats([OPUS, VP8])
        self.audio = self.add_sender(OPUS, mid="0")
        self.video = self.add_sender(VP8, mid="1")
        self.add_receiver("audio", 1000.0, mid="0")
        self.add_receiver("video", 1000.0, mid="1")

    def speak(self, number: int, now: float) -> None:
        """One frame of Opus."""
        self.audio.write(b"\xf8" + bytes([number]) * 60, now)

    def show(self, number: int, now: float) -> None:
        """One frame of VP8, of several packets."""
        self.video.write((b"\x10" if number % 8 == 0 else b"\x11") + bytes([number]) * 3000, now)

    def read(self) -> None:
        """Take all that has come."""
        for receiver in self.receivers:
            while receiver.read() is not None:
                pass

    def handle_packet(self, data: bytes, now: float) -> None:
        """A packet, RTCP by its second byte (RFC 5761)."""
        if len(data) > 1 and 192 <= data[1] < 224:
            self.receive_rtcp(data, now)
        else:
            self.receive_rtp(data, now)


def act(session: Session, entropy: Entropy, now: float) -> None:
    number = entropy.below(256)
    if entropy.below(2):
        session.speak(number, now)
    else:
        session.show(number, now)
    session.read()


def take(session: Session) -> list[bytes]:
    sent = [*session.rtp, *session.rtcp]
    session.rtp.clear()
    session.rtcp.clear()
    session.outbox.clear()
    return sent


def script(entropy: Entropy) -> Script:
    def give(partner, output, now):
        if isinstance(output, bytes):
            partner.handle_packet(output, now)

    return duet(
        entropy,
        Session(entropy.fork("partner")),
        begin=[],
        give=give,
        take=take,
        datagram=lambda data: call("handle_packet", data),
        operations=[
            lambda entropy: call("speak", entropy.below(256)),
            lambda entropy: call("show", entropy.below(256)),
            lambda entropy: Input("read", timed=False),
            lambda entropy: Input("set_rtt", (0.05,), timed=False),
            lambda entropy: Input("video.set_paused", (bool(entropy.below(2)),), timed=False),
        ],
        partner_acts=act,
        chatter=8,
    )


SUBJECTS = {
    "rtp.session.RtpSession": [
        Subject(
            make=Session,
            script=script,
            drains=("rtp", "rtcp", "outbox"),
            misuse=lambda machine: [call("add_receiver", "smell"), call("add_receiver", "audio")],
            close=call("close"),
            closed=lambda machine: machine.closed and machine.advance(0.0) == INF,
            backwards=False,  # its peer connection's clock, which does not go back
            longest=longest,
            most=1_000_000,
        )
        for longest in (0.2, 20.0)
    ],
}
