"""A sender in a session: writes, requests for packets sent and never sent, pauses, RTCP of any kind; bounds of all."""

from __future__ import annotations

from fuzz._turn import settle
from sansio.base.contract import INF
from sansio.base.entropy import Entropy
from sansio.base.errors import LocalProtocolError
from sansio.base.limits import PACER_BYTES, RTP_HISTORY_AUDIO, RTP_HISTORY_VIDEO
from sansio.base.wallclock import WallClock
from sansio.rtp.feedback import Arrivals, encode_arrivals
from sansio.rtp.format import ExtensionIds, Format
from sansio.rtp.packet import RtpPacket
from sansio.rtp.rtcp import (
    FullIntra,
    Nack,
    PictureLoss,
    ReceiverReport,
    Remb,
    ReportBlock,
    TransportFeedback,
    encode_rtcp,
)
from sansio.rtp.sender import RESEND_BURST, RESEND_RATE
from sansio.rtp.session import RtpSession

FORMATS = (
    Format(111, "opus", 48000, nack=True),
    Format(63, "red", 48000, primary=111),
    Format(96, "vp8", 90000, rtx=97, nack=True, pli=True),
    Format(108, "h264", 90000, nack=True, fir=True),
)
FRAMES = (b"", b"\xf8", b"\x10", b"\x11", b"\0\0\0\1\x67a\0\0\0\1\x65", b"\0\0\0\1\x41")


def one(data: bytes) -> None:
    """Three bytes an operation: of which sender, what, and how."""
    ids = ExtensionIds(mid=4, rid=10, repaired_rid=11, audio_level=1, abs_send_time=2, transport_cc=3)
    session = RtpSession(Entropy(b"nack"), WallClock(1.8e9), cname="fuzz", extensions=ids)
    senders = [session.add_sender(format, mid=str(place)) for place, format in enumerate(FORMATS)]
    sent: dict[int, set[int]] = {sender.ssrc: set() for sender in senders}
    now = 0.0
    for place in range(0, min(len(data), 600) - 2, 3):
        sender = senders[data[place] & 3]
        what, how = data[place + 1] & 15, data[place + 2]
        if what < 7:
            frame = FRAMES[how % 6] + bytes((how,)) * (how * (1 if sender.format.kind == "audio" else 40))
            stamp = None if what < 5 else how * 1000
            before = sender.stats()
            try:
                sender.write(frame, now, timestamp=stamp, level=how if what == 4 else None, voice=bool(how & 1))
            except LocalProtocolError:
                assert sender.stats() == before
        elif what < 10:
            base = sender._sequence - (how & 63)
            asked = tuple([base + step & 0xFFFF for step in range(0, 1 + (how >> 4), 1 + (how & 1))])
            session.receive_rtcp(encode_rtcp([Nack(9, sender.ssrc, asked)]), now)
        elif what == 10:
            block = ReportBlock(
                sender.ssrc, how, how - 128, how, how, session._wallclock.ntp_at(now) >> 16 & 0xFFFFFFFF, how
            )
            session.receive_rtcp(encode_rtcp([ReceiverReport(9, (block,)), Remb(9, how << how % 40, (1,))]), now)
        elif what == 11:
            requests = [PictureLoss(9, sender.ssrc), FullIntra(9, ((sender.ssrc, how),))]
            session.receive_rtcp(encode_rtcp(requests), now)
        elif what == 12:
            arrivals = Arrivals(how, how, 0, tuple([None if how >> bit & 1 else how for bit in range(8)]))
            session.receive_rtcp(encode_rtcp([TransportFeedback(9, 0, encode_arrivals(arrivals))]), now)
        elif what == 13:
            sender.set_paused(bool(how & 1))
        elif what == 14:
            now += how * 0.01
        elif how == 77:
            session.remove_sender(sender, now)
        due = settle(session, now)
        if how & 8 and due < INF:
            now = due
            session.advance(now)
        check(session, sent)
        now += 0.002
    resent = sum(sender.resent_bytes for sender in senders)
    assert resent <= 2 * len(senders) * (RESEND_BURST + now * max(RESEND_RATE, 2e6))
    session.close(now)
    assert session.advance(now) == INF


def check(session: RtpSession, sent: dict[int, set[int]]) -> None:
    """Sequence numbers have no holes, and nothing is longer than it may be."""
    for data in session.rtp:
        assert len(data) <= 1200
        packet = RtpPacket(data)
        sent.setdefault(packet.ssrc, set()).add(packet.sequence)
    session.rtp.clear()
    assert all(len(data) <= 1200 for data in session.rtcp)
    session.rtcp.clear()
    session.outbox.clear()
    for numbers in sent.values():
        if numbers:
            assert max(numbers) - min(numbers) + 1 == len(numbers) or max(numbers) > 0xF000
    for sender in session.senders:
        assert len(sender._history) in (0, RTP_HISTORY_AUDIO, RTP_HISTORY_VIDEO)
    assert session.pacer.size <= PACER_BYTES + 20_000
