"""The association: handshakes with every interleaving and loss, cookies, heartbeats, shutdown, abort, odd packets."""

from __future__ import annotations

import itertools
from itertools import pairwise

import pytest

from sansio.base.contract import INF
from sansio.base.entropy import Entropy
from sansio.base.errors import LocalProtocolError
from sansio.base.limits import SCTP_CHUNKS, SCTP_CONTROL, SCTP_COOKIE, SCTP_HEARTBEAT
from sansio.sctp import (
    ChannelOpened,
    HeartbeatAcked,
    SctpAssociation,
    SctpLost,
    SctpOptions,
    SctpUp,
    chunks,
)
from sansio.sctp import association as module
from tests.unit.sctp.line import RTT, Pair, bodies, kinds


def ups(pair: Pair, side: str) -> int:
    return sum([isinstance(event, SctpUp) for event in pair.events[side]])


def lost(pair: Pair, side: str) -> list[SctpLost]:
    return [event for event in pair.events[side] if isinstance(event, SctpLost)]


# ------------------------------------------------------------------ handshake


@pytest.mark.parametrize("start", ["a", "b", "ab"])
def test_handshake_takes_two_round_trips_whoever_starts(start):
    pair = Pair(start=start)
    pair.run(2 * RTT)
    assert ups(pair, "a") == ups(pair, "b") == 1
    pair.run(5.0)
    assert ups(pair, "a") == ups(pair, "b") == 1
    assert pair.count("timeouts") == 0
    assert sum([name == "INIT" for _, names in pair.log() for name in names]) == len(start)


def test_starting_twice_or_late_changes_nothing():
    pair = Pair(start="a").up()
    pair.a.start(pair.now)
    pair.b.start(pair.now)
    pair.run(1.0)
    assert pair.log() == []


def test_everything_queued_early_leaves_with_the_cookie():
    pair = Pair(start="")
    first = pair.a.open("_reliable", now=pair.now)
    second = pair.a.open("_lossy", ordered=False, max_retransmits=0, now=pair.now)
    pair.a.send(first, b"hello", pair.now)
    pair.a.send(second, b"lossy", pair.now)
    pair.a.start(pair.now)
    pair.b.start(pair.now)
    pair.run(2 * RTT)
    from_a = [names for side, names in pair.log() if side == "a"]
    assert from_a[:2] == [["INIT"], ["INIT_ACK"]]
    assert from_a[2] == ["COOKIE_ECHO", "DATA", "DATA", "DATA", "DATA"]
    assert pair.read("b", first) == [b"hello"]
    assert pair.read("b", second) == [b"lossy"]
    assert {event.label for event in pair.events["b"] if isinstance(event, ChannelOpened)} == {"_reliable", "_lossy"}


def test_only_one_packet_leaves_before_the_cookie_is_acknowledged():
    pair = Pair(start="")
    channel = pair.a.open("big", now=pair.now)
    pair.a.send(channel, bytes(5000), pair.now)
    pair.a.start(pair.now)
    pair.drop = lambda side, packet: "COOKIE_ACK" in kinds(packet)
    pair.run(0.3)
    assert [names for side, names in pair.log() if side == "a"] == [["INIT"], ["COOKIE_ECHO", "DATA"]]
    pair.drop = lambda side, packet: False
    pair.run(1.0)
    assert pair.read("b", channel) == [bytes(5000)]


def handshake_packets(pair: Pair) -> list[tuple[str, str]]:
    return [(side, names[0]) for side, names in pair.log()]


@pytest.mark.parametrize("start", ["a", "ab"])
@pytest.mark.parametrize("number", range(6))
def test_each_packet_of_the_handshake_may_be_lost(start, number):
    pair = Pair(start="")
    channel = pair.a.open("x", now=pair.now)
    pair.a.send(channel, b"first", pair.now)
    for side in start:
        pair.sides[side].start(pair.now)
    counter = itertools.count()
    pair.drop = lambda side, packet: next(counter) == number
    pair.run(3.0)
    assert ups(pair, "a") == ups(pair, "b") == 1
    assert pair.read("b", channel) == [b"first"]
    pair.a.send(channel, b"second", pair.now)
    pair.run(1.0)
    assert pair.read("b", channel) == [b"second"]


@pytest.mark.parametrize("seed", range(40))
def test_every_interleaving_of_colliding_handshakes(seed):
    """Both sides send INIT; packets are delivered in any order, some twice, until both are up."""
    entropy = Entropy(b"%d" % seed)
    pair = Pair(start="")
    channels = {side: machine.open(side, now=100.0) for side, machine in pair.sides.items()}
    for side, machine in pair.sides.items():
        machine.send(channels[side], side.encode(), 100.0)
        machine.start(100.0)
    flying: list[tuple[str, bytes]] = []
    now = 100.0
    for _ in range(400):
        for side, machine in pair.sides.items():
            machine.advance(now)
            flying += [(side, packet) for packet in machine.packets]
            machine.packets.clear()
            pair.events[side] += machine.outbox
            machine.outbox.clear()
        if flying:
            side, packet = flying[entropy.below(len(flying))]
            if entropy.below(5):
                flying.remove((side, packet))
            pair.sides["b" if side == "a" else "a"].handle_packet(packet, now)
        else:
            now += 0.5
    assert ups(pair, "a") == ups(pair, "b") == 1
    assert pair.read("b", channels["a"]) == [b"a"]
    assert pair.read("a", channels["b"]) == [b"b"]
    assert not lost(pair, "a")
    assert not lost(pair, "b")


def test_data_stands_for_a_lost_cookie_ack():
    pair = Pair(start="")
    channel = pair.b.open("x", now=pair.now)
    pair.b.send(channel, b"early", pair.now)
    pair.a.start(pair.now)
    strip = []

    def drop(side, packet):
        if side == "b" and kinds(packet)[0] == "COOKIE_ACK":
            strip.append(packet)
            rest = b"".join([chunks.encode_chunk(*chunk) for chunk in chunks.decode_packet(packet).chunks[1:]])
            pair.a.handle_packet(chunks.with_checksum(packet[:8] + bytes(4) + rest), pair.now)
            return True
        return False

    pair.drop = drop
    pair.run(0.2)
    assert strip
    assert ups(pair, "a") == 1
    assert pair.read("a", channel) == [b"early"]


def test_sack_or_data_out_of_place_is_counted():
    pair = Pair(start="")
    pair.forge("a", (chunks.DATA, 3, bytes(12) + b"x"))
    pair.forge("a", (chunks.SACK, 0, bytes(12)))
    pair.forge("a", (chunks.HEARTBEAT, 0, bytes(12)), (chunks.SHUTDOWN_ACK, 0, b""))
    assert pair.a.counters["data_unexpected"] == 1
    assert pair.a.counters["sack_unexpected"] == 1
    assert pair.a.counters["chunk_unexpected"] == 2


def test_handshake_gives_up():
    pair = Pair(start="a", options=SctpOptions(max_init_retransmissions=3))
    pair.drop = lambda side, packet: True
    pair.run(60.0)
    times = [round(time - 100.0, 3) for time, _, _ in pair.sent]
    assert times == [0.0, 0.5, 1.5, 3.5]
    assert lost(pair, "a") == [SctpLost("timeout", "the handshake was not answered")]
    assert pair.a.advance(pair.now) == INF


def test_lost_cookie_echo_is_repeated_with_its_data():
    pair = Pair(start="")
    channel = pair.a.open("x", now=pair.now)
    pair.a.start(pair.now)
    pair.drop = lambda side, packet: "COOKIE_ECHO" in kinds(packet) and pair.now < 100.1
    pair.run(0.1)
    pair.a.send(channel, b"more", pair.now)
    pair.run(0.5)
    echoes = [names for side, names in pair.log() if names[0] == "COOKIE_ECHO"]
    assert echoes == [["COOKIE_ECHO", "DATA"], ["COOKIE_ECHO", "DATA", "DATA"]]
    assert pair.read("b", channel) == [b"more"]


def test_cookie_while_blocked_leaves_without_data():
    pair = Pair(start="")
    pair.a.open("x", now=pair.now)
    pair.a.blocked = True
    assert pair.a.blocked
    pair.a.start(pair.now)
    pair.run(0.1)
    assert ["COOKIE_ECHO"] in [names for side, names in pair.log() if side == "a"]
    assert all("DATA" not in names for side, names in pair.log())
    pair.a.blocked = False
    pair.run(0.1)
    assert ("a", ["DATA"]) in pair.log()


# ------------------------------------------------------------------ INIT


def init_of(pair: Pair, side: str = "a") -> bytes:
    return next(packet for _, who, packet in pair.sent if who == side and kinds(packet) == ["INIT"])


def test_what_an_init_says():
    pair = Pair(start="a")
    pair.flush()
    packet = init_of(pair)
    assert chunks.checksum(packet) == chunks.decode_packet(packet).checksum
    init = chunks.decode_init(bodies(packet, chunks.INIT)[0])
    assert init.outbound == init.inbound == 65535
    assert init.window == pair.options.window
    # An empty parameter is overlooked by the LiveKit server when it is the last one.
    assert init.parameters[-1][1] != b""
    assert (chunks.FORWARD_TSN_SUPPORTED, b"") in init.parameters
    assert (chunks.ZERO_CHECKSUM, b"\0\0\0\1") in init.parameters


def answer_to_init(init: chunks.Init, *extra: bytes) -> list[bytes]:
    machine = SctpAssociation(Entropy(b"x"))
    packet = chunks.Packet(5000, 5000, 0, 0, [chunks.Chunk(chunks.INIT, 0, chunks.encode_init(init))])
    machine.handle_packet(chunks.with_checksum(chunks.encode_packet(packet)), 1.0)
    machine.advance(1.0)
    return list(machine.packets)


@pytest.mark.parametrize(
    "init",
    [
        chunks.Init(0, 9999, 1, 1, 1, []),
        chunks.Init(1, 9999, 0, 1, 1, []),
        chunks.Init(1, 9999, 1, 0, 1, []),
    ],
)
def test_invalid_inits_are_not_answered(init):
    assert answer_to_init(init) == []


def test_malformed_or_bundled_inits_are_not_answered():
    pair = Pair(start="")
    pair.forge("a", (chunks.INIT, 0, bytes(15)), tag=0)
    assert pair.count("init_malformed") == 1
    init = chunks.encode_init(chunks.Init(1, 9999, 1, 1, 1, []))
    pair.forge("a", (chunks.INIT, 0, init), (chunks.COOKIE_ACK, 0, b""), tag=0)
    pair.forge("a", (chunks.INIT, 0, init))
    assert pair.count("init_bundled") == 2
    pair.forge("a", (chunks.INIT, 0, init[:-1]), tag=0)
    assert pair.count("init_malformed") == 2
    pair.flush()
    assert pair.sent == []


def test_unknown_parameters_are_told_apart_by_their_type():
    parameters = [
        (5, bytes(4)),
        (0x8123, b"skip"),
        (0xC123, b"skip and report"),
        (0x4123, b"report and stop"),
        (0xC124, b"not reached"),
    ]
    (packet,) = answer_to_init(chunks.Init(1, 9999, 1, 1, 1, parameters))
    ack = chunks.decode_init(bodies(packet, chunks.INIT_ACK)[0])
    reported = [value for kind, value in ack.parameters if kind == chunks.UNRECOGNIZED]
    assert reported == [
        chunks.encode_parameters([(0xC123, b"skip and report")]),
        chunks.encode_parameters([(0x4123, b"report and stop")]),
    ]
    (packet,) = answer_to_init(chunks.Init(1, 9999, 1, 1, 1, [(0x0123, b"stop"), (0xC124, b"not reached")]))
    ack = chunks.decode_init(bodies(packet, chunks.INIT_ACK)[0])
    assert chunks.UNRECOGNIZED not in [kind for kind, _ in ack.parameters]


def test_inits_without_end_are_not_answered_without_end():
    pair = Pair(start="a")
    pair.flush()
    init = init_of(pair)
    for _ in range(2 * SCTP_CONTROL):
        pair.b.handle_packet(init, pair.now)
    assert len(pair.b.packets) == SCTP_CONTROL
    assert pair.b.counters["control_limit"] == SCTP_CONTROL


def init_ack(pair: Pair, *, tag: int = 7, window: int = 9999, streams: int = 9, parameters=((7, b"cookie"),)) -> None:
    body = chunks.encode_init(chunks.Init(tag, window, streams, streams, 1000, list(parameters)))
    pair.forge("a", (chunks.INIT_ACK, 0, body))


def test_init_acks_that_cannot_be_used():
    pair = Pair(start="a")
    init_ack(pair, tag=0)
    init_ack(pair, parameters=())
    init_ack(pair, parameters=[(7, bytes(SCTP_COOKIE + 1))])
    assert pair.a.association.state == module.COOKIE_WAIT
    assert pair.count("init_ack_cookie") == 2
    assert pair.count("init_invalid") == 1
    init_ack(pair, parameters=[(7, bytes(SCTP_COOKIE))])
    assert pair.a.association.state == module.COOKIE_ECHOED
    init_ack(pair)
    assert pair.count("init_ack_unexpected") == 1


def test_peer_without_extensions_gets_checksums_and_no_forward_tsn():
    pair = Pair(start="a")
    init_ack(pair, parameters=[(chunks.ZERO_CHECKSUM, b"\0\0\0\2"), (chunks.SUPPORTED_EXTENSIONS, b"\x0f"), (7, b"c")])
    assert not pair.a.association.sender.zero_checksum
    assert not pair.a.association.sender.partial


@pytest.mark.parametrize("parameter", [(chunks.FORWARD_TSN_SUPPORTED, b""), (chunks.SUPPORTED_EXTENSIONS, b"\xc0")])
def test_peer_may_say_in_two_ways_that_it_takes_forward_tsn(parameter):
    pair = Pair(start="a")
    init_ack(pair, parameters=[parameter, (7, b"c")])
    assert pair.a.association.sender.partial


def test_stale_cookie_error_starts_again_and_gives_up_in_the_end():
    pair = Pair(start="a")
    stale = (chunks.ERROR, 0, chunks.encode_cause(chunks.STALE_COOKIE, bytes(4)))
    for _ in range(3):
        init_ack(pair)
        pair.flush()
        pair.forge("a", stale)
        assert pair.a.association.state == module.COOKIE_WAIT
    pair.forge("a", stale)
    assert pair.a.association.state == module.COOKIE_WAIT
    init_ack(pair)
    pair.forge("a", (chunks.ERROR, 0, chunks.encode_cause(chunks.INVALID_STREAM, bytes(4))))
    assert pair.a.association.state == module.COOKIE_ECHOED
    pair.forge("a", stale)
    pair.flush()
    assert [event.reason for event in lost(pair, "a")] == ["timeout"]


# ------------------------------------------------------------------ cookies


def cookie_of(pair: Pair) -> bytes:
    return next(
        bodies(packet, chunks.COOKIE_ECHO)[0] for _, _, packet in pair.sent if kinds(packet)[0] == "COOKIE_ECHO"
    )


def test_forged_cookies_are_dropped():
    pair = Pair(start="a")
    pair.drop = lambda side, packet: "COOKIE_ECHO" in kinds(packet)
    pair.run(0.1)
    cookie = cookie_of(pair)
    for at in range(len(cookie)):
        changed = cookie[:at] + bytes((cookie[at] ^ 1,)) + cookie[at + 1 :]
        pair.forge("b", (chunks.COOKIE_ECHO, 0, changed), (chunks.HEARTBEAT, 0, b"dropped with it"))
    for size in range(len(cookie)):
        pair.forge("b", (chunks.COOKIE_ECHO, 0, cookie[:size]))
    assert pair.b.counters["cookie_invalid"] == 2 * len(cookie)
    assert pair.b.association.state == module.CLOSED
    pair.forge("b", (chunks.COOKIE_ECHO, 0, cookie))
    assert pair.b.association.up


def test_stale_cookie_is_refused_with_an_error():
    pair = Pair(start="a")
    pair.drop = lambda side, packet: "COOKIE_ECHO" in kinds(packet)
    pair.run(0.1)
    cookie = cookie_of(pair)
    pair.now += 61.0
    pair.sent.clear()
    pair.forge("b", (chunks.COOKIE_ECHO, 0, cookie))
    assert pair.b.association.state == module.CLOSED
    (packet,) = pair.b.packets
    ((code, staleness),) = chunks.decode_parameters(bodies(packet, chunks.ERROR)[0])
    assert code == chunks.STALE_COOKIE
    assert 0 < int.from_bytes(staleness, "big") < 2_000_000
    assert chunks.decode_packet(packet).tag == pair.a.association._tag


def test_late_answers_to_cookies_are_bounded():
    pair = Pair(start="a")
    pair.drop = lambda side, packet: "COOKIE_ECHO" in kinds(packet)
    pair.run(0.1)
    cookie = cookie_of(pair)
    pair.now += 61.0
    for _ in range(2 * SCTP_CONTROL):
        pair.forge("b", (chunks.COOKIE_ECHO, 0, cookie))
    assert len(pair.b.packets) == SCTP_CONTROL


def test_repeated_cookie_is_acknowledged_again_and_changes_nothing():
    pair = Pair(start="a")
    pair.run(1.0)
    cookie = cookie_of(pair)
    pair.sent.clear()
    tsn = pair.b.association.receiver.cum
    pair.forge("b", (chunks.COOKIE_ECHO, 0, cookie))
    pair.run(0.1)
    assert pair.log() == [("b", ["COOKIE_ACK"])]
    assert pair.b.association.receiver.cum == tsn


def test_cookie_with_another_peer_tag_is_ignored_once_up():
    """Case B of RFC 9260 section 5.2.4 after the association is up: the tag must not change any more."""
    pair = Pair(start="a")
    machine = pair.b.association
    other = chunks.encode_init(chunks.Init(0x777, 9999, 1, 1, 5, []))
    pair.forge("b", (chunks.INIT, 0, other), tag=0)
    cookie = chunks.decode_init(bodies(pair.b.packets.pop(), chunks.INIT_ACK)[0]).parameters[0][1]
    pair.run(1.0)
    pair.forge("b", (chunks.COOKIE_ECHO, 0, cookie))
    assert pair.b.counters["cookie_unexpected"] == 1
    assert machine._peer_tag == pair.a.association._tag


def test_collision_with_another_tag_takes_over_the_tag():
    """Case B of RFC 9260 section 5.2.4 in COOKIE-ECHOED."""
    pair = Pair(start="a")
    other = chunks.encode_init(chunks.Init(0x777, 9999, 1, 1, 5, []))
    pair.forge("a", (chunks.INIT, 0, other), tag=0)
    answer = next(packet for packet in pair.a.packets if kinds(packet) == ["INIT_ACK"])
    cookie = chunks.decode_init(bodies(answer, chunks.INIT_ACK)[0]).parameters[0][1]
    init_ack(pair, tag=0x778)
    pair.forge("a", (chunks.COOKIE_ECHO, 0, cookie))
    assert pair.a.association.up
    assert pair.a.association._peer_tag == 0x777
    assert pair.a.association.receiver.cum == 4


def restart(pair: Pair) -> bytes:
    """A cookie echo by which the peer of "a" starts anew."""
    body = chunks.encode_init(chunks.Init(0x999, 9999, 1, 1, 5, []))
    pair.forge("a", (chunks.INIT, 0, body), tag=0)
    ack = pair.a.packets.pop()
    init = chunks.decode_init(bodies(ack, chunks.INIT_ACK)[0])
    assert init.tag != pair.a.association._tag
    return init.parameters[0][1]


def test_restart_by_the_peer_ends_the_association():
    pair = Pair().up()
    cookie = restart(pair)
    pair.forge("a", (chunks.COOKIE_ECHO, 0, cookie))
    pair.flush()
    assert [event.reason for event in lost(pair, "a")] == ["restarted"]


def test_late_restart_does_not():
    pair = Pair().up()
    cookie = restart(pair)
    pair.now += 61.0
    pair.forge("a", (chunks.COOKIE_ECHO, 0, cookie))
    assert pair.a.association.up
    assert pair.a.counters["cookie_stale"] == 1


# ------------------------------------------------------------------ checksums, tags, ports, sizes


@pytest.mark.parametrize(("ours", "theirs"), [(True, True), (True, False), (False, True), (False, False)])
def test_zero_checksum_is_sent_only_where_both_announce_it(ours, theirs):
    pair = Pair(options=SctpOptions(zero_checksum=ours), other=SctpOptions(zero_checksum=theirs)).up()
    channel = pair.channel()
    pair.a.send(channel, b"x" * 100, pair.now)
    pair.run(0.1)
    for _, _, packet in pair.sent:
        crc = chunks.decode_packet(packet).checksum
        assert (crc == 0) == (ours and theirs)
        assert crc in (0, chunks.checksum(packet))
    assert pair.read("b", channel) == [b"x" * 100]


def test_handshake_is_always_checksummed():
    pair = Pair()
    pair.run(0.1)
    for _, _, packet in pair.sent:
        if kinds(packet)[0] in ("INIT", "INIT_ACK", "COOKIE_ECHO"):
            assert chunks.decode_packet(packet).checksum == chunks.checksum(packet)


def test_zero_checksum_is_refused_where_it_must_be():
    pair = Pair(start="a")
    pair.flush()
    init = init_of(pair)
    pair.b.handle_packet(init[:8] + bytes(4) + init[12:], pair.now)
    assert pair.b.counters["packet_checksum"] == 1
    pair = Pair(options=SctpOptions(zero_checksum=False)).up()
    pair.a.handle_packet(
        chunks.encode_packet(chunks.Packet(5000, 5000, pair.a.association._tag, 0, [])) + b"\4\0\0\4", 0
    )
    assert pair.a.counters["packet_checksum"] == 1


def test_right_checksum_is_accepted_although_zero_was_agreed():
    pair = Pair().up()
    pair.forge("a", (chunks.HEARTBEAT, 0, b"\0\1\0\x08abcd"))
    pair.run(0.0)
    assert pair.log() == [("a", ["HEARTBEAT_ACK"])]


def test_every_changed_bit_of_a_checksummed_packet_is_seen():
    pair = Pair(options=SctpOptions(zero_checksum=False)).up()
    packet = chunks.Packet(
        5000, 5000, pair.a.association._tag, 0, [chunks.Chunk(chunks.HEARTBEAT, 0, b"\0\1\0\x08abcd")]
    )
    good = chunks.with_checksum(chunks.encode_packet(packet))
    for at in range(4, len(good)):
        pair.a.handle_packet(good[:at] + bytes((good[at] ^ 0x10,)) + good[at + 1 :], pair.now)
    pair.flush()
    assert pair.log() == []


def test_wrong_tags_ports_and_sizes_are_counted():
    pair = Pair().up()
    machine = pair.a
    tag = machine.association._tag
    pair.forge("a", (chunks.HEARTBEAT, 0, b"x"), tag=tag ^ 1)
    pair.forge("a", (chunks.COOKIE_ACK, 0, b""), tag=0)
    assert machine.counters["packet_tag"] == 2
    pair.forge("a", raw=b"\1\0\0\3", tag=0)
    pair.forge("a", raw=b"\1\0\0\x08", tag=0)
    assert machine.counters["chunk_malformed"] == 2
    for size in range(16):
        machine.handle_packet(bytes(size), pair.now)
    assert machine.counters["packet_malformed"] == 16
    packet = chunks.with_checksum(chunks.encode_packet(chunks.Packet(5000, 5001, tag, 0, [chunks.Chunk(11, 0, b"")])))
    machine.handle_packet(packet, pair.now)
    assert machine.counters["packet_port"] == 1


def test_chunks_that_do_not_fit_end_the_packet():
    pair = Pair().up()
    heartbeat = (chunks.HEARTBEAT, 0, b"\0\1\0\x05x")
    for raw in (
        b"\4\0\0\3",
        b"\4\0\0\x20",
        b"\0\3\0\x20" + bytes(16),
        b"\0\3\0\x0c" + bytes(12),
        b"\0\3\0\x0c" + bytes(8),
    ):
        pair.forge("a", heartbeat, raw=raw)
    pair.forge("a", heartbeat, raw=b"\4\0")
    assert pair.a.counters["chunk_malformed"] == 5
    pair.run(0.0)
    assert sum([names.count("HEARTBEAT_ACK") for _, names in pair.log()]) == 6


def test_limit_on_chunks_of_one_packet():
    pair = Pair().up()
    pair.forge("a", *[(chunks.COOKIE_ACK, 0, b"")] * (SCTP_CHUNKS + 1))
    assert pair.a.counters["packet_malformed"] == 1
    pair.forge("a", *[(chunks.COOKIE_ACK, 0, b"")] * SCTP_CHUNKS)
    assert pair.a.counters["packet_malformed"] == 1


def test_unknown_chunks_are_told_apart_by_their_type():
    heartbeat = (chunks.HEARTBEAT, 0, b"\0\1\0\x05x")
    for kind, reported, goes_on in ((0x3F, False, False), (0x7F, True, False), (0xBF, False, True), (0xFF, True, True)):
        pair = Pair().up()
        pair.forge("a", (kind, 1, b"abc"), heartbeat)
        pair.run(0.0)
        names = [name for _, names in pair.log() for name in names]
        assert names == ["ERROR"] * reported + ["HEARTBEAT_ACK"] * goes_on
        assert pair.a.counters["chunk_unknown"] == 1
        if reported:
            (body,) = bodies(pair.sent[0][2], chunks.ERROR)
            assert chunks.decode_parameters(body) == [(chunks.UNRECOGNIZED_CHUNK, bytes((kind, 1, 0, 7)) + b"abc")]
    pair.run(0.1)
    assert pair.b.counters["errors_reported"] == 1


def test_data_without_a_byte_aborts():
    pair = Pair().up()
    pair.forge("a", (chunks.DATA, 3, bytes(12)))
    pair.run(0.1)
    assert [event.reason for event in lost(pair, "a")] == ["protocol"]
    assert lost(pair, "b") == [SctpLost("aborted", "no user data")]


def test_fragments_that_disagree_abort():
    pair = Pair().up()
    tsn = pair.a.association.receiver.cum + 1
    pair.forge(
        "a",
        (chunks.DATA, 2, tsn.to_bytes(4, "big") + b"\0\0\0\0\0\0\0\x35first"),
        (chunks.DATA, 1, (tsn + 1).to_bytes(4, "big") + b"\0\1\0\0\0\0\0\x35last"),
    )
    pair.run(0.1)
    assert lost(pair, "a") == [SctpLost("protocol", "fragments of one message disagree")]
    assert lost(pair, "b") == [SctpLost("aborted", "protocol violation: fragments of one message disagree")]


def test_two_faults_in_one_packet_end_the_association_once():
    pair = Pair().up()
    tsn = pair.a.association.receiver.cum + 1
    pair.forge(
        "a",
        (chunks.DATA, 2, tsn.to_bytes(4, "big") + b"\0\0\0\0\0\0\0\x35first"),
        (chunks.DATA, 1, (tsn + 1).to_bytes(4, "big") + b"\0\1\0\0\0\0\0\x35last"),
        (chunks.DATA, 3, bytes(12)),
    )
    pair.run(0.1)
    assert lost(pair, "a") == [SctpLost("protocol", "no user data")]


def test_sack_and_forward_tsn_make_room_for_themselves():
    pair = Pair().up()
    channel = pair.channel(ordered=False, max_retransmits=0)
    big = (chunks.HEARTBEAT, 0, b"\0\1\1\xfc" + bytes(504))
    pair.b.send(channel, b"x", pair.now)
    pair.flush()
    packet = pair.flying.pop()[3]
    pair.forge("a", big, big, (chunks.HEARTBEAT, 0, b"\0\1\0\x4c" + bytes(72)))
    pair.a.handle_packet(packet, pair.now)
    pair.flush()
    assert pair.log()[1:] == [("a", ["HEARTBEAT_ACK"] * 3), ("a", ["SACK"])]
    pair.run(1.0)
    pair.drop = lambda side, packet: side == "a"
    pair.a.send(channel, b"given up", pair.now)
    pair.run(0.35)
    pair.sent.clear()
    pair.forge("a", big, big, (chunks.HEARTBEAT, 0, b"\0\1\0\x4c" + bytes(72)))
    pair.a.association.sender.t3_due = pair.now
    pair.flush()
    assert pair.log() == [("a", ["HEARTBEAT_ACK"] * 3), ("a", ["FORWARD_TSN"])]


def test_messages_given_up_while_sending_are_told_at_once():
    pair = Pair().up()
    channel = pair.channel(ordered=False, max_lifetime_ms=100)
    pair.a.association.sender.cwnd = 2000
    pair.a.send(channel, bytes(5000), pair.now)
    pair.drop = lambda side, packet: side == "a"
    pair.run(0.0)
    pair.now += 0.2
    sender = pair.a.association.sender
    sender.cwnd = 1 << 20
    pair.flush()
    assert pair.log()[-1] == ("a", ["FORWARD_TSN"])


def test_answers_waiting_are_bounded():
    pair = Pair().up()
    for _ in range(SCTP_CONTROL + 5):
        pair.forge("a", (chunks.HEARTBEAT, 0, b"\0\1\0\x05x"))
    assert pair.a.counters["control_limit"] == 5
    pair.forge("a", (chunks.HEARTBEAT, 0, bytes(SCTP_HEARTBEAT + 1)))
    assert pair.a.counters["heartbeat_too_long"] == 1
    pair.run(0.0)
    assert sum([names.count("HEARTBEAT_ACK") for _, names in pair.log()]) == SCTP_CONTROL


def test_long_answers_go_in_several_packets():
    pair = Pair().up()
    for _ in range(5):
        pair.forge("a", (chunks.HEARTBEAT, 0, b"\0\1\2\0" + bytes(508)))
    channel = pair.a.open("x", now=pair.now)
    pair.a.send(channel, bytes(900), pair.now)
    pair.run(0.0)
    assert all(len(packet) <= pair.options.mtu for _, _, packet in pair.sent)
    assert [names for _, names in pair.log()] == [
        ["HEARTBEAT_ACK"] * 2,
        ["HEARTBEAT_ACK"] * 2,
        ["HEARTBEAT_ACK", "DATA"],
        ["DATA"],
    ]


# ------------------------------------------------------------------ heartbeats


def test_two_packets_of_data_share_an_acknowledgement():
    pair = Pair().up()
    pair.run(1.0)
    pair.sent.clear()

    def packet() -> None:
        tsn = (pair.a.association.receiver.cum + 1) & 0xFFFFFFFF
        fields = chunks.DATA_FIELDS.pack(7, 17, tsn, 9, 0, 53)
        pair.forge("a", (chunks.DATA, 7, fields[4:] + b"x"))
        pair.flush()

    packet()
    assert pair.log() == []
    packet()
    assert pair.log() == [("a", ["SACK"])]
    packet()
    assert len(pair.sent) == 1
    pair.run(0.5)  # one that stays alone is acknowledged after a while
    assert pair.log() == [("a", ["SACK"])] * 2


def test_idle_association_sends_heartbeats():
    pair = Pair().up()
    pair.run(200.0)
    beats = [time for time, side, packet in pair.sent if side == "a" and "HEARTBEAT" in kinds(packet)]
    assert 5 <= len(beats) <= 7
    acked = [event for event in pair.events["a"] if isinstance(event, HeartbeatAcked)]
    assert len(acked) == len(beats)
    assert acked[0].rtt == pytest.approx(RTT)
    assert pair.a.association.rtt == pytest.approx(RTT)


def test_traffic_takes_the_place_of_heartbeats():
    pair = Pair().up()
    channel = pair.channel()
    for _ in range(100):
        pair.a.send(channel, b"x", pair.now)
        pair.run(1.0)
    assert not any("HEARTBEAT" in kinds(packet) for _, side, packet in pair.sent if side == "a")


def test_heartbeat_on_request():
    pair = Pair(start="")
    pair.a.association.heartbeat(pair.now)
    assert pair.a.advance(pair.now) == INF
    pair.a.start(pair.now)
    pair.up()
    pair.a.association.heartbeat(pair.now)
    pair.a.association.heartbeat(pair.now)
    pair.run(0.1)
    assert pair.log() == [("a", ["HEARTBEAT"]), ("b", ["HEARTBEAT_ACK"])]
    assert sum([isinstance(event, HeartbeatAcked) for event in pair.events["a"]]) == 1


def test_silence_ends_the_association():
    pair = Pair(options=SctpOptions(max_retransmissions=4)).up()
    pair.drop = lambda side, packet: True
    pair.a.association.heartbeat(pair.now)
    pair.run(120.0)
    assert lost(pair, "a") == [SctpLost("timeout", "the peer does not answer")]
    assert pair.a.counters["heartbeat_timeouts"] == 5


def test_silences_that_end_in_time_do_not_add_up():
    pair = Pair(options=SctpOptions(max_retransmissions=4)).up()
    for _ in range(4):
        pair.drop = lambda side, packet: True
        pair.a.association.heartbeat(pair.now)
        while pair.a.association.sender.errors < 3:
            pair.run(0.1)
        pair.drop = lambda side, packet: False
        pair.run(40.0)  # until the next heartbeat
        assert pair.a.association.sender.errors == 0
    assert pair.a.association.up


def test_wrong_heartbeat_answers_are_counted():
    pair = Pair().up()
    pair.forge("a", (chunks.HEARTBEAT_ACK, 0, bytes(16)))
    pair.drop = lambda side, packet: side == "b"
    pair.a.association.heartbeat(pair.now)
    pair.run(0.1)
    pair.forge("a", (chunks.HEARTBEAT_ACK, 0, bytes(16)))
    pair.forge("a", (chunks.HEARTBEAT_ACK, 0, bytes(15)))
    nonce = pair.a.association._heartbeat_pending.to_bytes(4, "big")
    pair.forge("a", (chunks.HEARTBEAT_ACK, 0, b"\0\1\0\x10" + nonce + b"\x7f\xf8" + bytes(6)))
    assert pair.a.counters["heartbeat_unexpected"] == 4


def test_an_answered_heartbeat_ends_the_patience_of_the_outage():
    """The path answers: what the outage has put off for many seconds is repeated as on any path."""
    pair = Pair().up()
    channel = pair.channel()
    pair.drop = lambda side, packet: True
    pair.a.send(channel, b"through", pair.now)
    pair.run(12.0)
    sender = pair.a.association.sender
    while sender.t3_due - pair.now < 4.0:
        pair.run(0.5)
    pair.drop = lambda side, packet: False
    pair.a.association.heartbeat(pair.now)
    pair.run(RTT)
    assert sender.t3_due == pytest.approx(pair.now + sender.rto)
    pair.run(sender.rto + RTT)
    assert pair.read("b", channel) == [b"through"]


def test_path_restored_repeats_at_once():
    pair = Pair().up()
    channel = pair.channel()
    pair.drop = lambda side, packet: True
    pair.a.send(channel, b"through", pair.now)
    pair.a.association.heartbeat(pair.now)
    pair.a.close(channel, pair.now)
    pair.run(20.0)
    pair.drop = lambda side, packet: False
    pair.a.association.path_restored(pair.now)
    pair.run(RTT)
    assert pair.read("b", channel) == [b"through"]
    assert pair.a.association.sender.errors == 0
    pair.drop = lambda side, packet: "RE_CONFIG" in kinds(packet)
    pair.run(1.0)
    sent = len(pair.sent)
    pair.drop = lambda side, packet: False
    pair.a.association.path_restored(pair.now)
    pair.run(0.0)
    assert len(pair.sent) == sent + 1


def test_path_restored_in_the_handshake():
    pair = Pair(start="a")
    pair.drop = lambda side, packet: True
    pair.run(8.0)
    pair.drop = lambda side, packet: False
    pair.a.association.path_restored(pair.now)
    pair.run(2 * RTT)
    assert pair.a.association.up
    pair.a.association.path_restored(pair.now)
    pair.run(1.0)
    assert pair.a.association.up


# ------------------------------------------------------------------ shutdown and abort


@pytest.mark.parametrize("both", [False, True])
def test_shutdown_delivers_everything_first(both):
    pair = Pair().up()
    channel = pair.channel()
    for number in range(50):
        pair.a.send(channel, b"%d" % number * 500, pair.now)
    pair.a.shutdown(pair.now)
    if both:
        pair.b.shutdown(pair.now)
    with pytest.raises(LocalProtocolError):
        pair.a.send(channel, b"late", pair.now)
    with pytest.raises(LocalProtocolError):
        pair.a.open("late", now=pair.now)
    pair.run(2.0)
    assert pair.read("b", channel) == [b"%d" % number * 500 for number in range(50)]
    assert lost(pair, "a") == lost(pair, "b") == [SctpLost("shutdown", "")]
    assert pair.due == {"a": INF, "b": INF}


@pytest.mark.parametrize("seed", range(30))
def test_shutdown_under_loss(seed):
    entropy = Entropy(b"shutdown %d" % seed)
    pair = Pair().up()
    channel = pair.channel()
    for _ in range(5):
        pair.a.send(channel, bytes(3000), pair.now)
        pair.b.send(channel, bytes(3000), pair.now)
    pair.drop = lambda side, packet: entropy.below(4) == 0
    pair.a.shutdown(pair.now)
    if seed & 1:
        pair.b.shutdown(pair.now)
    pair.run(200.0)
    assert pair.read("b", channel) == [bytes(3000)] * 5
    assert pair.read("a", channel) == [bytes(3000)] * 5
    assert lost(pair, "a") == lost(pair, "b") == [SctpLost("shutdown", "")]


def test_data_during_shutdown_sent_is_acknowledged_at_once():
    pair = Pair().up()
    channel = pair.channel()
    pair.delay = 0.2
    pair.a.shutdown(pair.now)
    pair.run(0.1)
    pair.b.send(channel, b"crossing", pair.now)
    pair.run(0.25)
    assert ("a", ["SHUTDOWN", "SACK"]) in pair.log() or ("a", ["SACK", "SHUTDOWN"]) in pair.log()
    pair.run(5.0)
    assert pair.read("a", channel) == [b"crossing"]
    assert lost(pair, "b") == [SctpLost("shutdown", "")]


def test_shutdown_before_the_handshake_is_over_aborts():
    pair = Pair(start="a")
    pair.a.shutdown(pair.now)
    pair.flush()
    assert lost(pair, "a") == [SctpLost("local", "")]
    pair.a.shutdown(pair.now)
    pair.a.abort(pair.now)
    pair.a.start(pair.now)
    pair.flush()
    assert len(lost(pair, "a")) == 1


def test_abort_tells_the_peer():
    pair = Pair().up()
    pair.a.abort(pair.now)
    pair.run(0.1)
    assert lost(pair, "a") == [SctpLost("local", "")]
    assert lost(pair, "b") == [SctpLost("aborted", "user initiated abort")]
    pair.forge("a", (chunks.HEARTBEAT, 0, b"x"))
    assert pair.a.advance(pair.now) == INF
    assert not pair.a.packets


def test_reflected_tags():
    pair = Pair().up()
    peer = pair.b.association._tag
    pair.forge("a", (chunks.ABORT, 0, b""), tag=peer)
    pair.forge("a", (chunks.SHUTDOWN_COMPLETE, 0, b""), tag=peer)
    pair.forge("a", (chunks.ABORT, 1, b""))
    assert pair.a.counters["packet_tag"] == 3
    pair.forge("a", (chunks.SHUTDOWN_COMPLETE, 1, b""), tag=peer)
    assert pair.a.association.up
    pair.forge("a", (chunks.ABORT, 1, b""), tag=peer)
    assert pair.a.association.state == module.LOST


def test_shutdown_answers_are_repeated():
    pair = Pair().up()
    pair.drop = lambda side, packet: "SHUTDOWN_ACK" in kinds(packet)
    pair.a.shutdown(pair.now)
    pair.run(1.0)
    assert pair.b.association.state == module.SHUTDOWN_ACK_SENT
    pair.sent.clear()
    init = chunks.encode_init(chunks.Init(1, 9999, 1, 1, 1, []))
    pair.forge("b", (chunks.INIT, 0, init), tag=0)
    pair.run(0.0)
    assert ("b", ["SHUTDOWN_ACK"]) in pair.log()
    pair.forge("b", (chunks.FORWARD_TSN, 0, bytes(4)), (chunks.SHUTDOWN, 0, bytes(4)))
    pair.forge("b", (chunks.DATA, 3, bytes(12) + b"x"))
    assert pair.b.counters["data_unexpected"] == 2
    pair.drop = lambda side, packet: False
    pair.run(20.0)
    assert lost(pair, "a") == lost(pair, "b") == [SctpLost("shutdown", "")]


def test_the_last_word_is_said_again_after_the_end():
    pair = Pair().up()
    words = []

    def drop(side, packet):
        words.extend(name for name in kinds(packet) if name == "SHUTDOWN_COMPLETE")
        return len(words) in (1, 2, 3) and "SHUTDOWN_COMPLETE" in kinds(packet)

    pair.drop = drop
    pair.a.shutdown(pair.now)
    pair.run(20.0)
    assert lost(pair, "a") == lost(pair, "b") == [SctpLost("shutdown", "")]
    assert len(words) == 4
    pair.sent.clear()
    for chunks_, tag in (
        ([(chunks.SHUTDOWN_ACK, 0, b"")], 77),
        ([(chunks.SHUTDOWN_ACK, 0, b"long")], None),
        ([(chunks.SHUTDOWN_ACK, 0, b""), (chunks.HEARTBEAT, 0, b"x")], None),
        ([(chunks.HEARTBEAT, 0, b"x")], None),
    ):
        pair.forge("a", *chunks_, **({} if tag is None else {"tag": tag}))
    pair.run(1.0)
    assert pair.sent == []
    for _ in range(100):  # without an advance in between
        pair.forge("a", (chunks.SHUTDOWN_ACK, 0, b""))
    assert len(pair.a.packets) == SCTP_CONTROL


def test_shutdown_is_repeated_and_given_up():
    pair = Pair(options=SctpOptions(max_retransmissions=3)).up()
    pair.drop = lambda side, packet: side == "a"
    pair.a.shutdown(pair.now)
    pair.run(30.0)
    assert [names for side, names in pair.log() if side == "a"] == [["SHUTDOWN"]] * 4 + [["ABORT"]]
    assert lost(pair, "a") == [SctpLost("timeout", "the peer does not answer")]
    times = [when for when, side, _ in pair.sent if side == "a"]
    first, *later = [after - before for before, after in pairwise(times)]
    assert later == pytest.approx([2 * first, 4 * first, 8 * first])


def test_three_words_end_an_association():
    pair = Pair().up()
    pair.sent.clear()
    pair.a.shutdown(pair.now)
    pair.run(1.0)
    assert pair.log() == [("a", ["SHUTDOWN"]), ("b", ["SHUTDOWN_ACK"]), ("a", ["SHUTDOWN_COMPLETE"])]


def test_shutdown_ack_out_of_place_and_malformed_shutdown():
    pair = Pair().up()
    pair.forge("a", (chunks.SHUTDOWN_ACK, 0, b""), (chunks.SHUTDOWN, 0, b"abc"), (chunks.FORWARD_TSN, 0, b"abc"))
    assert pair.a.counters["chunk_unexpected"] == 1
    assert pair.a.counters["chunk_malformed"] == 2
    assert pair.a.association.up


def test_colliding_shutdowns():
    pair = Pair().up()
    pair.a.shutdown(pair.now)
    pair.b.shutdown(pair.now)
    pair.run(0.1)
    assert lost(pair, "a") == lost(pair, "b") == [SctpLost("shutdown", "")]


# ------------------------------------------------------------------ odds and ends


def test_time_does_not_go_back():
    pair = Pair().up()
    due = pair.a.advance(pair.now)
    assert pair.a.advance(0.0) == due
    pair.forge("a", (chunks.HEARTBEAT, 0, b"\0\1\0\x05x"))
    pair.a.handle_packet(b"", 0.0)
    assert pair.a.association._now == pair.now
    pair.a.advance(pair.now + 1.0)
    pair.a.handle_packet(b"", pair.now)
    assert pair.a.association._now == pair.now + 1.0


def test_options():
    with pytest.raises(LocalProtocolError):
        SctpOptions(mtu=511)
    with pytest.raises(LocalProtocolError):
        SctpOptions(window=79_999)
    pair = Pair(options=SctpOptions(mtu=600)).up()
    channel = pair.channel()
    pair.a.send(channel, bytes(10_000), pair.now)
    pair.run(1.0)
    assert max([len(packet) for _, _, packet in pair.sent]) == 600
    assert pair.read("b", channel) == [bytes(10_000)]


def test_same_inputs_same_bytes():
    logs = []
    for _ in range(2):
        pair = Pair().up()
        channel = pair.channel()
        pair.a.send(channel, bytes(50_000), pair.now)
        pair.run(40.0)
        logs.append([(time, side, packet) for time, side, packet in pair.sent])
    assert logs[0] == logs[1]
