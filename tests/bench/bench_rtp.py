"""What RTP costs a packet: ``python tests/bench/bench_rtp.py [ROUNDS]``. Microseconds, the best of many short rounds.

The receive path is parse, routing, sequence, statistics, frame and ring, and reading; the socket is not in it,
and SRTP (AES-GCM) only where it says so. The calibration loop is plain Python work to compare machines by.
"""

from __future__ import annotations

import sys
import time

from sansio.base.entropy import Entropy
from sansio.base.wallclock import WallClock
from sansio.rtp.feedback import ArrivalRecorder, decode_arrivals, encode_arrivals
from sansio.rtp.format import ExtensionIds, Format
from sansio.rtp.packet import RtpPacket
from sansio.rtp.session import RtpSession
from sansio.srtp import SrtpReceiver, SrtpSender

IDS = ExtensionIds(mid=4, rid=10, repaired_rid=11, audio_level=1, abs_send_time=2, transport_cc=3)
OPUS = Format(111, "opus", 48000, nack=True)
RED = Format(63, "red", 48000, primary=111)
VP8 = Format(96, "vp8", 90000, rtx=97, nack=True, pli=True)
H264 = Format(108, "h264", 90000, rtx=109, nack=True, pli=True)
OPUS_FRAME = b"\xf8" + bytes(range(147))
COUNT = 500


def session(label, ids=IDS):
    made = RtpSession(Entropy(label), WallClock(1.8e9), cname="bench", extensions=ids)
    made.set_formats([OPUS, RED, VP8, H264])
    return made


def sent(format, frames, ids=IDS):
    """The packets of some frames."""
    source = session(b"source", ids)
    sender = source.add_sender(format)
    packets = []
    for place, frame in enumerate(frames):
        now = place * 0.02
        sender.write(frame, now)
        due = source.advance(now)
        while source.pacer.size:
            due = source.advance(due)
        packets += source.rtp
        source.rtp.clear()
    return packets, sender.ssrc, sender.rtx_ssrc


def timed(function, count):
    begin = time.perf_counter()
    function()
    return (time.perf_counter() - begin) / count * 1e6


def receive(packets, ssrc, rtx_ssrc, kind, protected=False):
    sink = session(b"sink")
    receiver = sink.add_receiver(kind, 0.0, ssrc=ssrc, rtx_ssrc=rtx_ssrc)
    read, receive_rtp = receiver.read, sink.receive_rtp
    if protected:
        protect = SrtpSender("AEAD_AES_128_GCM", bytes(28)).protect
        packets = [protect(data) for data in packets]
        unprotect = SrtpReceiver("AEAD_AES_128_GCM", bytes(28)).unprotect
    now = 0.0
    bursts = [packets[at : at + 16] for at in range(0, len(packets), 16)]

    def run():
        nonlocal now
        for burst in bursts:
            now += 0.01
            for data in burst:
                receive_rtp(unprotect(data) if protected else data, now)
            sink.advance(now)
            while read() is not None:
                pass
            sink.outbox.clear()
            sink.rtcp.clear()

    took = timed(run, len(packets))
    assert receiver.packets == len(packets)
    assert receiver.stats().frames_dropped == 0
    return took


def parse(packets):
    return timed(lambda: [RtpPacket(data) for data in packets], len(packets))


def send(format, frame, per_frame, protected=False):
    source = session(b"source")
    protect = SrtpSender("AEAD_AES_128_GCM", bytes(28)).protect
    sender = source.add_sender(format)
    count = COUNT // per_frame

    def run():
        for place in range(count):
            now = place * 0.02
            sender.write(frame, now, level=30)
            source.advance(now)
            while source.pacer.size:
                now = source.pacer.due
                source.advance(now)
            if protected:
                for data in source.rtp:
                    protect(data)
            source.rtp.clear()
            source.rtcp.clear()

    took = timed(run, count * per_frame)
    assert sender.packets == count * per_frame
    return took


def feedback_out(numbers):
    recorder = ArrivalRecorder()

    def run():
        for number in range(numbers):
            recorder.record(number & 0xFFFF, number * 0.001)
            if number % 50 == 49:
                [encode_arrivals(report) for report in recorder.reports()]

    return timed(run, numbers)


def feedback_in(numbers):
    recorder = ArrivalRecorder()
    bodies = []
    for number in range(numbers):
        recorder.record(number & 0xFFFF, number * 0.001)
        if number % 50 == 49:
            bodies += [encode_arrivals(report) for report in recorder.reports()]
    sink = session(b"sink")
    for _ in range(numbers):
        sink.sent.allot(1000, 0.0)
    return timed(lambda: [sink.sent.handle(decode_arrivals(body)) for body in bodies], numbers)


def calibration():
    def run():
        table = {}
        for number in range(10_000):
            table[number & 1023] = (number * 7 + 3) & 0xFFFF

    return timed(run, 10_000)


def main(rounds):
    audio = sent(OPUS, [OPUS_FRAME] * COUNT, ExtensionIds())
    red = sent(RED, [OPUS_FRAME] * COUNT, ExtensionIds())
    level = sent(OPUS, [OPUS_FRAME] * COUNT)
    key, delta = b"\x00" + bytes(5200), b"\x01" + bytes(5200)
    vp8 = sent(VP8, [key, *[delta] * (COUNT // 5)])
    nals = b"\0\0\0\1\x67abc\0\0\0\1\x68abc\0\0\0\1\x65" + b"\x11" * 5200, b"\0\0\0\1\x41" + b"\x11" * 5200
    h264 = sent(H264, [nals[0], *[nals[1]] * (COUNT // 5)])
    rows = {
        "calibration loop, a step": calibration,
        "parse 160 B, no extension": lambda: parse(audio[0]),
        "parse 1100 B, two extensions": lambda: parse(vp8[0]),
        "receive opus 160 B": lambda: receive(*audio, "audio"),
        "receive opus 160 B, transport number": lambda: receive(*level, "audio"),
        "receive red 312 B": lambda: receive(*red, "audio"),
        "receive vp8 1060 B, transport number": lambda: receive(*vp8, "video"),
        "receive h264 1060 B, transport number": lambda: receive(*h264, "video"),
        "receive opus 160 B, SRTP": lambda: receive(*audio, "audio", True),
        "receive vp8 1060 B, transport number, SRTP": lambda: receive(*vp8, "video", True),
        "send opus, level": lambda: send(OPUS, OPUS_FRAME, 1),
        "send red": lambda: send(RED, OPUS_FRAME, 1),
        "send vp8, paced": lambda: send(VP8, key, 5),
        "send h264, paced": lambda: send(H264, nals[1], 5),
        "send opus, level, SRTP": lambda: send(OPUS, OPUS_FRAME, 1, True),
        "send vp8, paced, SRTP": lambda: send(VP8, key, 5, True),
        "feedback made, a packet": lambda: feedback_out(COUNT),
        "feedback read, a packet": lambda: feedback_in(COUNT),
    }
    for name, run in rows.items():
        print(f"{min(run() for _ in range(rounds)):7.2f}  {name}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 40)
