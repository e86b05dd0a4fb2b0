"""A peer connection that offers, and one that answers, each with a partner at the end of a bad line."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator

from sansio.base.contract import Transmit
from sansio.base.entropy import Entropy
from sansio.dtls.identity import DtlsIdentity
from sansio.dtls.plain import PlainEngine
from sansio.peer.connection import PeerConnection
from sansio.testing.conformance import Input, Script, Subject, Turn, call
from sansio.testing.pairs import A, B, host_candidate

from .duet import duet, mutated


def connection(entropy: Entropy, offerer: bool) -> PeerConnection:
    identity = DtlsIdentity(b"offerer" if offerer else b"answerer")
    return PeerConnection(entropy, identity, deque(), offerer=offerer, dtls_engine=PlainEngine)


def script(entropy: Entropy, offers: bool) -> Script:
    partner = connection(entropy.fork("partner"), not offers)
    turn = yield call("add_local_candidate", host_candidate(A), 1)
    partner.add_local_candidate(host_candidate(B), 1, turn.now)
    yield from negotiate(entropy, partner, offers)
    opened: list[int] = []

    def give(partner, output, now):
        if isinstance(output, Transmit) and output.addr == B:
            partner.transport.receive_datagram(1, output.data, A, now)

    def take(partner):
        transmits = partner.transport.transmits
        sent = [item.data for item in transmits if item.addr == A]
        transmits.clear()
        partner.outbox.clear()
        return sent

    def talk(partner, entropy, now):
        channels = partner.transport.channels
        if channels is not None and partner.transport.connected and partner.transport.association.up:
            if not opened:
                opened.append(channels.open("x", now=now))
            if channels.writable(opened[0]):
                channels.send(opened[0], entropy.bytes(entropy.below(3000)), now)
            partner.transport.touch_data()

    yield from duet(
        entropy,
        partner,
        begin=[],
        give=give,
        take=take,
        datagram=lambda data: call("transport.receive_datagram", 1, data, B),
        operations=[
            lambda entropy: call("add_remote_candidate", host_candidate(B)),
            lambda entropy: call("handle_answer", "v=0", 99),
            lambda entropy: call("transport.receive_datagram", 1, entropy.bytes(20), A),
            lambda entropy: Input("transport.set_blocked", (bool(entropy.below(2)),), timed=False),
            lambda entropy: Input("transport.touch_data", timed=False),
        ],
        partner_acts=talk,
        chatter=16,
    )


def negotiate(entropy: Entropy, partner: PeerConnection, offers: bool) -> Generator[Input | None, Turn, None]:
    """Offer and answer, now and then after a description that cannot be used."""
    turn = yield None
    if offers:
        turn = yield call("create_offer")
        sdp, number = turn.result
        answer = partner.handle_offer(sdp, turn.now)
        yield call("handle_answer", answer, number + 1)
        if entropy.below(3) == 0:
            yield call("handle_answer", mutated(answer.encode(), entropy).decode("latin-1"), number)
        yield call("handle_answer", answer, number)
    else:
        sdp, number = partner.create_offer(turn.now)
        if entropy.below(3) == 0:
            yield call("handle_offer", mutated(sdp.encode(), entropy).decode("latin-1"))
        turn = yield call("handle_offer", sdp)
        partner.handle_answer(turn.result, number, turn.now)


SUBJECTS = {
    "peer.connection.PeerConnection": [
        Subject(
            make=lambda entropy, offers=offers: connection(entropy, offers),
            script=lambda entropy, offers=offers: script(entropy, offers),
            drains=("outbox", "transport.transmits"),
            close=call("close"),
            closed=lambda machine: machine.transport.closed,
            answering=("handle_offer",),
            backwards=False,  # RoomEngine's clock, which does not go back
            longest=longest,
            most=1_000_000,
        )
        for offers in (True, False)
        for longest in (0.2, 20.0)
    ],
}
