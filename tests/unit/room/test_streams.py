"""Streams of text and bytes in the engine: what reaches them, what they are told."""

from __future__ import annotations

import pytest

from sansio.base import limits
from sansio.room.stream_in import SENDER_GRACE, StreamOpened
from sansio.room.stream_info import StreamError, StreamFailure
from sansio.sctp.association import SctpOptions
from sansio.types import Scenario

from .party import Party


class Talk(Party):
    """alice, who sends, and bob, who listens."""

    def __init__(self, **options):
        super().__init__("alice", "bob", **options)
        self.wait(1.0)
        self.alice, self.bob = self.engines["alice"], self.engines["bob"]
        for text in (False, True):
            self.bob.streams_in.listen(text=text, topic="t")

    def send(self, packets):
        for packet in packets:
            assert self.alice.send_packet(packet, now=self.now)
        self.world.poke("alice")

    def opened(self, count=1):
        self.run(lambda: len(self.found("bob", StreamOpened)) >= count)
        return [event.stream for event in self.found("bob", StreamOpened)]

    def all_of(self, stream):
        pieces = []
        while (piece := stream.read(self.now)) is not None:
            pieces.append(piece)
        self.world.poke("bob")
        return pieces


def test_what_is_sent_arrives():
    with Talk() as talk:
        talk.send(talk.alice.streams_out.send_text("hello", talk.now, topic="t")[1])
        talk.send(talk.alice.streams_out.send_bytes(bytes(40_000), talk.now, topic="t", compress=False)[1])
        talk.wait(1.0)
        first, second = talk.opened(2)
        assert (first.identity, first.sid) == ("alice", talk.alice.state.local_participant.sid)
        assert talk.all_of(first) == ["hello"]
        assert b"".join(talk.all_of(second)) == bytes(40_000)
        assert second.done
        assert talk.bob.diagnostics()["streams"] == {"streams": 0, "unread": 0}
        assert talk.transport("bob").association.receiver.held == 0


def test_the_form_follows_what_the_others_read():
    with Talk() as talk:
        alice = talk.engines["alice"]
        assert alice.streams_out.accepted([]) == (True, True)
        alice.state.remote_participants["bob"].client_protocol = 1
        assert alice.streams_out.accepted(["bob"]) == (False, False)


def test_what_is_not_read_closes_the_window(monkeypatch):
    monkeypatch.setattr("sansio.peer.transport.SctpOptions", lambda: SctpOptions(window=300_000))
    with Talk() as talk:
        talk.send(talk.alice.streams_out.send_bytes(bytes(600_000), talk.now, topic="t", compress=False)[1])
        talk.wait(5.0)
        (stream,) = talk.opened()
        receiver = talk.transport("bob").association.receiver
        assert 200_000 < receiver.held < 400_000
        got = 0
        while not stream.done:
            got += sum(map(len, talk.all_of(stream)))
            talk.wait(0.2)
        assert (got, receiver.held) == (600_000, 0)


def test_a_reader_that_never_reads_is_passed_over(monkeypatch):
    monkeypatch.setattr(limits, "STREAMS_UNREAD", 100_000)
    with Talk() as talk:
        talk.send(talk.alice.streams_out.send_bytes(bytes(200_000), talk.now, topic="t", compress=False)[1])
        (stream,) = talk.opened()
        talk.run(lambda: talk.bob.why_due() == "streams" or stream.done)
        talk.run(lambda: stream.done)
        assert stream.error.failure is StreamFailure.OVERFLOW


def test_a_sender_that_leaves():
    with Talk() as talk:
        writer = talk.alice.streams_out.open_text(talk.now, topic="t")
        talk.send([writer.header, *writer.write("half")])
        (stream,) = talk.opened()
        talk.stop("alice")
        talk.wait(SENDER_GRACE + 2.0)
        assert talk.all_of(stream) == ["half"]
        assert stream.error.failure is StreamFailure.SENDER_LEFT


@pytest.mark.parametrize("who", ["alice", "bob"])
def test_a_new_session_of_either_side(who):
    with Talk() as talk:
        writer = talk.alice.streams_out.open_text(talk.now, topic="t")
        talk.send([writer.header, *writer.write("half")])
        (stream,) = talk.opened()
        talk.engines[who].simulate(Scenario.FULL_RECONNECT, talk.now)
        talk.world.poke(who)
        talk.wait(8.0)
        assert talk.all_of(stream) == ["half"]
        why = {"alice": StreamFailure.SENDER_LEFT, "bob": StreamFailure.RECONNECTED}[who]
        assert stream.error.failure is why
        if who == "alice":
            with pytest.raises(StreamError, match="made anew"):
                writer.write("rest")
