"""Stream reset: requests in and out, in any order, repeated, in progress, denied, too many."""

from __future__ import annotations

import pytest

from sansio.base.contract import INF
from sansio.base.counters import Counters
from sansio.base.limits import SCTP_CONTROL, SCTP_RESETS
from sansio.sctp import chunks
from sansio.sctp.receiver import Receiver
from sansio.sctp.sender import OutStream, Sender
from sansio.sctp.streams import StreamResets

TSN = 0xFFFFFFFC
PEER = 0xFFFFFFFA


def make() -> StreamResets:
    counters = Counters()
    sender = Sender(TSN, counters, mtu=1163, rto_initial=0.5, rto_min=0.4, rto_max=10.0, burst=64)
    receiver = Receiver(counters, 1 << 20)
    receiver.cum = PEER - 1
    made = StreamResets(counters, sender, receiver, TSN)
    made.expected = PEER
    return made


def ask(one: StreamResets, sequence: int, last: int, sids: list[int]) -> None:
    """A request of the peer; ``sequence`` and ``last`` count from its first TSN."""
    request = chunks.ResetRequest((PEER + sequence) & 0xFFFFFFFF, 0, (PEER - 1 + last) & 0xFFFFFFFF, sids)
    body = chunks.encode_parameters([(chunks.OUTGOING_RESET, chunks.encode_reset_request(request))])
    one.handle(body, 1.0)


def respond(one: StreamResets, sequence: int, result: int, now: float = 1.0) -> None:
    value = chunks.encode_reset_response(chunks.ResetResponse(sequence & 0xFFFFFFFF, result))
    one.handle(chunks.encode_parameters([(chunks.RESET_RESPONSE, value)]), now)


def answers(one: StreamResets) -> list[tuple[int, int]]:
    out = []
    for chunk in one.replies:
        ((kind, value),) = chunks.decode_parameters(chunk[4:])
        assert kind == chunks.RESET_RESPONSE
        response = chunks.decode_reset_response(value)
        out.append(((response.sequence - PEER) & 0xFFFFFFFF, response.result))
    one.replies.clear()
    return out


def data(one: StreamResets, count: int, sid: int = 1) -> None:
    for _ in range(count):
        tsn = one.receiver.cum + 1
        one.receiver.handle_data(7, tsn & 0xFFFFFFFF, sid, 0, 53, b"x")


# ------------------------------------------------------------------ theirs


def test_request_is_performed_when_its_data_is_there():
    one = make()
    data(one, 3)
    ask(one, 0, 3, [1])
    assert answers(one) == [(0, chunks.RESET_DONE)]
    assert one.reset_in == [1]
    assert one.receiver.streams == {}


def test_request_waits_for_its_data():
    one = make()
    data(one, 1)
    ask(one, 0, 3, [1])
    assert answers(one) == [(0, chunks.RESET_IN_PROGRESS)]
    ask(one, 0, 3, [1])
    assert answers(one) == [(0, chunks.RESET_IN_PROGRESS)]
    one.poll()
    assert one.reset_in == []
    data(one, 2)
    one.poll()
    assert one.reset_in == [1]
    assert answers(one) == [(0, chunks.RESET_DONE)]
    assert one.deferred == []


def test_repeated_request_may_find_its_data_before_the_poll():
    one = make()
    ask(one, 0, 2, [1])
    data(one, 2)
    ask(one, 0, 2, [1])
    assert answers(one) == [(0, chunks.RESET_IN_PROGRESS), (0, chunks.RESET_DONE)]


def test_repeated_request_gets_the_same_answer_and_does_nothing():
    one = make()
    ask(one, 0, 0, [1])
    ask(one, 0, 0, [1])
    assert answers(one) == [(0, chunks.RESET_DONE)] * 2
    assert one.reset_in == [1]


def test_requests_may_come_in_any_order_within_a_window():
    one = make()
    for sequence in (2, 0, 1):
        ask(one, sequence, 0, [sequence])
    assert answers(one) == [(2, chunks.RESET_DONE), (0, chunks.RESET_DONE), (1, chunks.RESET_DONE)]
    assert one.expected == (PEER + 3) & 0xFFFFFFFF
    ask(one, 3 + SCTP_RESETS, 0, [9])
    assert answers(one) == [(3 + SCTP_RESETS, chunks.RESET_BAD_SEQUENCE)]
    ask(one, 0xFFFFFFFF, 0, [9])
    assert answers(one) == [(0xFFFFFFFF, chunks.RESET_BAD_SEQUENCE)]
    assert one.reset_in == [2, 0, 1]


def test_no_streams_listed_means_all():
    one = make()
    data(one, 1, sid=4)
    data(one, 1, sid=9)
    ask(one, 0, 2, [])
    assert one.reset_in == [4, 9]


def test_limit_on_requests_that_wait():
    one = make()
    for sequence in range(SCTP_RESETS):
        ask(one, sequence, 5, [sequence])
    assert len(one.deferred) == SCTP_RESETS
    ask(one, SCTP_RESETS, 5, [99])
    assert len(one.deferred) == SCTP_RESETS
    assert one.counters["reset_limit"] == 1
    data(one, 5)
    one.poll()
    ask(one, SCTP_RESETS, 5, [99])
    assert one.reset_in == [*range(SCTP_RESETS), 99]


def test_answers_remembered_and_waiting_are_bounded():
    one = make()
    for sequence in range(100):
        ask(one, sequence, 0, [1])
    assert len(one.answers) == 2 * SCTP_RESETS
    assert len(one.replies) == SCTP_CONTROL
    assert one.counters["control_limit"] == 100 - SCTP_CONTROL


@pytest.mark.parametrize("kind", [chunks.INCOMING_RESET, chunks.TSN_RESET, chunks.ADD_OUTGOING, chunks.ADD_INCOMING])
def test_other_requests_are_denied(kind):
    one = make()
    value = PEER.to_bytes(4, "big") + b"\0\1\0\0"
    for _ in range(2):
        one.handle(chunks.encode_parameters([(kind, value)]), 1.0)
    assert answers(one) == [(0, chunks.RESET_DENIED)] * 2
    assert one.expected == PEER + 1
    assert one.counters["reset_other_denied"] == 2
    one.handle(chunks.encode_parameters([(kind, bytes(4))]), 1.0)
    assert answers(one) == [(6, chunks.RESET_DENIED)]
    one.handle(chunks.encode_parameters([(kind, b"\0\1\0\0")]), 1.0)
    assert answers(one) == [(65536 + 6, chunks.RESET_BAD_SEQUENCE)]


def test_two_parameters_of_one_chunk():
    one = make()
    request = chunks.encode_reset_request(chunks.ResetRequest(PEER, 0, PEER - 1, [1]))
    response = chunks.encode_reset_response(chunks.ResetResponse(5, 1))
    body = chunks.encode_parameters([(chunks.RESET_RESPONSE, response), (chunks.OUTGOING_RESET, request)])
    one.handle(body, 1.0)
    assert answers(one) == [(0, chunks.RESET_DONE)]
    assert one.counters["reset_response_stale"] == 1
    more = chunks.encode_reset_request(chunks.ResetRequest(PEER + 1, 0, PEER - 1, [2]))
    parameters = [(chunks.RESET_RESPONSE, response), (chunks.OUTGOING_RESET, request), (chunks.OUTGOING_RESET, more)]
    one.handle(chunks.encode_parameters(parameters), 1.0)
    assert answers(one) == [(0, chunks.RESET_DONE)]  # RFC 6525 section 3.1: one or two of them


def test_nonsense_is_counted():
    one = make()
    for body in (
        b"\0\x0d\0\x05",
        chunks.encode_parameters([(chunks.OUTGOING_RESET, bytes(11))]),
        chunks.encode_parameters([(chunks.RESET_RESPONSE, bytes(7))]),
        chunks.encode_parameters([(chunks.TSN_RESET, bytes(3))]),
    ):
        one.handle(body, 1.0)
    assert one.counters["reset_malformed"] == 4
    one.handle(chunks.encode_parameters([(99, b"")]), 1.0)
    assert one.counters["reset_unknown"] == 1


# ------------------------------------------------------------------ ours


def test_request_goes_out_when_its_stream_is_drained():
    one = make()
    stream, other = OutStream(3, 0, 0), OutStream(5, 0, 0)
    one.sender.queue(stream, 53, b"x")
    one.reset(stream)
    one.poll()
    assert one.request is None
    one.reset(other)
    stream.last_tsn = TSN
    one.poll()
    assert one.request == chunks.ResetRequest(TSN, (PEER - 1) & 0xFFFFFFFF, TSN - 1, [5])
    assert one.send_now
    chunk = one.take_chunk(1.0)
    ((kind, value),) = chunks.decode_parameters(chunk[4 : int.from_bytes(chunk[2:4], "big")])
    assert kind == chunks.OUTGOING_RESET
    assert chunks.decode_reset_request(value) == one.request
    assert one.due == 1.5
    stream.queue.clear()
    one.sender.cum = TSN
    one.poll()
    assert one.request.streams == [5]
    respond(one, TSN, chunks.RESET_DONE)
    assert one.reset_out == [5]
    assert one.due == INF
    one.poll()
    assert one.request.sequence == TSN + 1
    assert one.request.streams == [3]


def test_request_is_repeated_with_back_off():
    one = make()
    one.reset(OutStream(3, 0, 0))
    one.poll()
    first = one.take_chunk(1.0)
    one.handle_timeout()
    assert one.due == INF
    assert one.take_chunk(2.0) == first
    assert one.due == 3.0
    assert one.sender.errors == 1


@pytest.mark.parametrize("result", [chunks.RESET_IN_PROGRESS, chunks.RESET_BUSY])
def test_request_in_progress_is_repeated_later(result):
    one = make()
    one.reset(OutStream(3, 0, 0))
    one.poll()
    one.take_chunk(1.0)
    one.handle_timeout()
    respond(one, TSN, result, now=2.0)
    assert not one.send_now
    assert one.due > 2.0
    assert one.sender.errors == 0
    assert one.request is not None
    one.handle_timeout()
    assert one.send_now
    respond(one, TSN, chunks.RESET_NOTHING)
    assert one.reset_out == [3]
    assert (one.send_now, one.due) == (False, INF)


@pytest.mark.parametrize("result", [chunks.RESET_DENIED, chunks.RESET_WRONG_SSN, chunks.RESET_BAD_SEQUENCE, 77])
def test_denied_request_ends_the_stream_all_the_same(result):
    one = make()
    one.reset(OutStream(3, 0, 0))
    one.poll()
    respond(one, TSN + 1, result)
    assert one.counters["reset_response_stale"] == 1
    respond(one, TSN, result)
    assert one.reset_out == [3]
    assert one.counters["reset_denied"] == 1


def test_many_streams_take_several_requests():
    one = make()
    for sid in range(1000):
        one.reset(OutStream(sid, 0, 0))
    one.poll()
    assert len(one.take_chunk(1.0)) <= 1163 - 12
    assert len(one.request.streams) == 549
    respond(one, TSN, chunks.RESET_DONE)
    one.poll()
    assert len(one.request.streams) == 451
    assert sorted(one.reset_out + one.request.streams) == list(range(1000))
