"""SCTP associations with and without their data channels, in either role, with a partner at a bad line."""

from __future__ import annotations

from sansio.base.entropy import Entropy
from sansio.sctp import DataChannels, SctpAssociation, SctpOptions
from sansio.sctp.association import LOST
from sansio.testing.conformance import Input, Subject, call

from .duet import duet

OPTIONS = SctpOptions(window=1 << 17, buffer_low=2000, buffer_high=20_000, max_retransmissions=40)


def channels(role: str, entropy: Entropy) -> DataChannels:
    return DataChannels(SctpAssociation(entropy, options=OPTIONS), role=role)


def give(partner, output, now):
    if isinstance(output, bytes):
        partner.handle_packet(output, now)


def take(partner):
    sent = list(partner.packets)
    partner.packets.clear()
    return sent


def talk(partner, entropy: Entropy, now: float) -> None:
    """The partner opens, sends, reads or closes."""
    if partner.association.state == LOST:
        return
    partner.start(now)
    kind = entropy.below(6)
    number = entropy.below(8)
    if partner.association.up and kind == 0:
        partner.open("theirs", ordered=bool(entropy.below(2)), max_retransmits=entropy.choice((None, 0)), now=now)
    elif kind < 4 and partner.writable(number) and partner.association.up:
        partner.send(number, entropy.bytes(entropy.below(4000)), now)
    elif kind == 4 and entropy.below(4) == 0:
        partner.close(number, now)
    for one in range(8):
        while partner.read(one) is not None:
            pass


def script(role: str, entropy: Entropy):
    partner = channels("server" if role == "client" else "client", entropy.fork("partner"))
    first = 0 if role == "client" else 1
    return duet(
        entropy,
        partner,
        begin=[
            call("open", "reliable"),
            call("open", "lossy", ordered=False, max_retransmits=0),
            call("start"),
            call("send", first, b"first"),
        ],
        give=give,
        take=take,
        datagram=lambda data: call("handle_packet", data),
        operations=[
            lambda entropy: Input("read", (entropy.below(8),), timed=False),
            lambda entropy: Input("read", (entropy.below(8),), timed=False),
            lambda entropy: call("close", 4 + entropy.below(8)),
            lambda entropy: Input("buffered", (entropy.below(8),), timed=False),
            lambda entropy: call("start"),
            lambda entropy: call("send", first, entropy.bytes(entropy.below(3000)), binary=bool(entropy.below(2))),
            lambda entropy: call("send", first + 2, entropy.bytes(entropy.below(300))),
        ],
        partner_acts=talk,
    )


def misuse(machine):
    yield call("send", 999, b"")
    yield call("send", 0, bytes(70_000))
    yield call("send", 1, bytes(70_000))
    yield call("open", "both", max_retransmits=1, max_lifetime_ms=1)
    yield call("open", "negative", max_retransmits=-1)
    yield call("open", "x" * 65_536)
    yield call("open", "x" * 65_530)
    yield Input("set_thresholds", (999, 0, 1), timed=False)
    if machine.writable(0):
        yield Input("set_thresholds", (0, 2, 1), timed=False)


def bare(entropy: Entropy):
    partner = SctpAssociation(entropy.fork("partner"), options=OPTIONS)
    return duet(
        entropy,
        partner,
        begin=[call("start")],
        give=give,
        take=take,
        datagram=lambda data: call("handle_packet", data),
        operations=[
            lambda entropy: call("heartbeat"),
            lambda entropy: call("path_restored"),
            lambda entropy: call("start"),
        ],
        partner_acts=lambda partner, entropy, now: partner.heartbeat(now),
    )


SUBJECTS = {
    "sctp.association.SctpAssociation": [
        Subject(
            make=lambda entropy: SctpAssociation(entropy, options=OPTIONS),
            script=bare,
            drains=("packets", "outbox"),
            close=ending,
            closed=lambda machine: machine.state == LOST,
        )
        for ending in (call("abort"), call("shutdown"))
    ],
    "sctp.channel.DataChannels": [
        Subject(
            make=lambda entropy, role=role: channels(role, entropy),
            script=lambda entropy, role=role: script(role, entropy),
            drains=("packets", "outbox"),
            misuse=misuse,
            close=call("abort"),
            closed=lambda machine: machine.association.state == LOST,
            answering=("read", "buffered", "open"),
        )
        for role in ("client", "server")
    ],
}
