"""RTP and RTCP over a peer transport: protected both ways, told apart, counted where they cannot go."""

from __future__ import annotations

import pytest

from sansio.base.entropy import Entropy
from sansio.dtls.engine import default_engine
from sansio.dtls.identity import DtlsIdentity
from sansio.dtls.plain import PlainEngine
from sansio.rtp.format import Format
from sansio.rtp.packet import build_rtp
from sansio.rtp.session import FrameReadable
from sansio.srtp import SrtpReceiver
from sansio.testing.netem import Link
from sansio.testing.pairs import B
from sansio.testing.world import World
from tests.unit.peer.ends import Transports

LINK = Link(latency=0.02)
OPUS = Format(111, "opus", 48000, nack=True)
SSRC = 4711
SILENCE = b"\xf8\xff\xfe"  # 20 ms of Opus


def connect(world, **kinds):
    pair = Transports(world, **kinds)
    pair.run(pair.up)
    return pair


def stream(pair, source="a"):
    """A sender at one end, a receiver at the other."""
    sending, receiving = pair.ends[source].rtp, pair.ends["b" if source == "a" else "a"].rtp
    receiving.set_formats([OPUS])
    receiver = receiving.add_receiver("audio", pair.world.now, ssrc=SSRC)
    return sending.add_sender(OPUS, ssrc=SSRC), receiver


def write(pair, name, sender, data):
    assert sender.write(data, pair.world.now)
    pair.ends[name].touch_media()
    pair.touch(name)


@pytest.mark.parametrize("real", [False, True], ids=["plain", "openssl"])
def test_frames_and_reports_go_both_ways(real):
    kinds = {}
    if real:
        identities = {name: DtlsIdentity.generate(1.8e9, Entropy(name.encode())) for name in "ab"}
        kinds = {"engine": default_engine, "identities": identities}
    with World(1, link=LINK) as world:
        pair = connect(world, **kinds)
        for source, sink in ("ab", "ba"):
            sender, receiver = stream(pair, source)
            for number in range(3):
                write(pair, source, sender, SILENCE + bytes([number]))
            pair.run(lambda receiver=receiver: len(receiver) == 3)
            assert [receiver.read().data[-1] for _ in range(3)] == [0, 1, 2]
            assert pair.outputs(sink, FrameReadable)
            world.run_for(1.5)
            found = receiver.stats()
            assert (found.packets, found.lost) == (3, 0)
            assert sender.rtt == pytest.approx(0.04, abs=0.01)  # by the receiver's report of our report
        assert 0 < pair.ends["a"].rtp.rtt < 0.05


def test_media_before_keys_is_counted():
    with World(1, link=LINK) as world:
        pair = Transports(world)
        pair.run(lambda: pair.ends["a"].ice.is_valid_source(1, B))
        a = pair.ends["a"]
        assert a.srtp_receiver is None
        a.receive_datagram(1, b"\x80" + bytes(20), B, world.now)
        assert a.counters["media_without_keys"] == 1
        sender = a.rtp.add_sender(OPUS)
        sender.write(SILENCE, world.now)
        a.touch_media()
        a.advance(world.now)
        assert a.counters["media_unsent"] == 2  # the frame, and the report that comes with the first one
        assert not a.rtp.rtp


def test_no_common_profile_means_no_media():
    def no_srtp(identity, role, accept, profiles, entropy):
        return PlainEngine(identity, role, accept, (), entropy)

    with World(1, link=LINK) as world:
        pair = connect(world, engine=no_srtp)
        a = pair.ends["a"]
        assert a.profile is None
        a.receive_datagram(1, b"\x80" + bytes(20), B, world.now)
        sender, _ = stream(pair)
        write(pair, "a", sender, SILENCE)
        world.run_for(0.1)
        assert a.counters.snapshot() == {"media_without_keys": 1, "media_unsent": 2}


def test_forged_and_oversized_media_is_counted():
    with World(1, link=LINK) as world:
        pair = connect(world)
        a = pair.ends["a"]
        a.receive_datagram(1, b"\x80\xc8" + bytes(30), B, world.now)
        a.receive_datagram(1, b"\x80\x6f" + bytes(30), B, world.now)
        a.receive_datagram(1, b"\x80", B, world.now)
        counters = a.srtp_receiver.counters
        assert sum(counters.snapshot().values()) == 3
        a.rtp.rtp.append(bytes(2000))
        a.rtp.rtcp.append(bytes(2000))
        a.touch_media()
        a.advance(world.now)
        assert a.srtp_sender.counters["srtp_size"] == 2


def test_a_stream_that_nobody_reads_is_hardly_decrypted():
    with World(1, link=LINK) as world:
        pair = connect(world)
        sender, receiver = stream(pair)
        b = pair.ends["b"]
        b.rtp.set_enabled(receiver, False, world.now)
        for _ in range(200):
            write(pair, "a", sender, SILENCE)
        world.run_for(0.1)
        assert receiver.packets < 10
        assert len(receiver) == 0


def test_a_reader_may_come_after_any_number_of_unread_packets():
    """70 000 packets, more than SRTP can guess the rollover counter over; then it is read and nothing is missing."""
    with World(1, link=LINK) as world:
        pair = connect(world)
        sender, receiver = stream(pair)
        a, b = pair.ends["a"], pair.ends["b"]
        b.rtp.set_enabled(receiver, False, world.now)
        protect, receive = a.srtp_sender.protect, b._receive_media
        first = sender._sequence
        for number in range(70_000):
            packet = build_rtp(111, (first + number) & 0xFFFF, number * 960 & 0xFFFFFFFF, SSRC, b"", SILENCE)
            receive(protect(packet), world.now)
        assert receiver.packets < 70_000 / 50
        b.rtp.set_enabled(receiver, True, world.now)
        for number in range(70_000, 70_010):
            packet = build_rtp(111, (first + number) & 0xFFFF, number * 960 & 0xFFFFFFFF, SSRC, b"", SILENCE)
            receive(protect(packet), world.now)
        assert len(receiver) == 10
        assert receiver.read().lost == 0
        assert b.srtp_receiver.counters.snapshot() == {}


def test_replayed_media_is_counted_and_changes_nothing():
    with World(1, link=LINK) as world:
        pair = connect(world)
        sender, receiver = stream(pair)
        sender._sequence = 0xFFFD  # the number wraps, and with it the rollover counter
        a, b = pair.ends["a"], pair.ends["b"]
        packets = []
        for _ in range(6):
            sender.write(SILENCE, world.now)
            packets.append(a.srtp_sender.protect(a.rtp.rtp.popleft()))
        for packet in [*packets, *packets, packets[0]]:
            b._receive_media(packet, world.now)
        assert len(receiver) == receiver.packets == 6
        assert b.srtp_receiver.counters["srtp_replayed"] == 7
        assert receiver.stats().duplicates == 0


def test_closing_says_goodbye():
    with World(1, link=LINK) as world:
        pair = connect(world)
        sender, receiver = stream(pair)
        write(pair, "a", sender, SILENCE)
        world.run_for(0.1)
        a, b = pair.ends["a"], pair.ends["b"]
        keys = SrtpReceiver(a.profile, a.local_key)
        world.trace.clear()
        a.close(world.now)
        packets = [transmit.data for transmit in a.transmits if 128 <= transmit.data[0] < 192]
        assert [keys.unprotect_rtcp(packet)[1] for packet in packets] == [201]
        assert a.rtp.closed
        for packet in packets:
            b.receive_datagram(1, packet, b.ice.selected_addr, world.now)
        b.advance(world.now)
        assert "StreamEnded" in [type(output).__name__ for output in b.outbox]
        assert receiver.started
