"""Transport-wide feedback: bodies, and both recorders against each other."""

from __future__ import annotations

from sansio.base.errors import ParseError
from sansio.base.limits import TWCC_RESULTS, TWCC_STATUSES, TWCC_WINDOW
from sansio.rtp.feedback import ArrivalRecorder, SentRecorder, decode_arrivals, encode_arrivals


def one(data: bytes) -> None:
    """The bytes are a body, and then steps of packets that arrive."""
    sent = SentRecorder()
    for _ in range(64):
        sent.allot(100, 0.0)
    try:
        arrivals = decode_arrivals(data)
    except ParseError:
        pass
    else:
        assert decode_arrivals(encode_arrivals(arrivals)) == arrivals
        sent.handle(arrivals)
        assert len(sent.results) <= min(64, TWCC_RESULTS)
    recorder = ArrivalRecorder()
    number, now = 65500, 100.0
    fresh: dict[int, float] = {}
    for step in data[:256]:
        number = (number + (step if step < 250 else 3000 * (step - 249))) & 0xFFFF
        now += (step % 7) * 0.003 if step % 32 else 9.0
        recorder.record(number, now)
        fresh[number] = now
        if recorder.due <= now or step % 16 == 0:
            told = set()
            for report in recorder.reports():
                assert 0 < len(report.deltas) <= TWCC_STATUSES
                assert decode_arrivals(encode_arrivals(report)) == report
                assert len(encode_arrivals(report)) < 1180
                told |= {report.base + place & 0xFFFF for place, delta in enumerate(report.deltas) if delta is not None}
            assert told <= fresh.keys()
            fresh.clear()
        assert len(recorder._arrivals) <= TWCC_WINDOW
