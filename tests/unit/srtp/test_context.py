"""SRTP against a second implementation from the RFCs, itself checked by their vectors; sizes, replays, limits."""

from __future__ import annotations

import hashlib
import hmac
import struct

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR

from sansio.base.errors import LocalProtocolError
from sansio.base.limits import SRTP_STREAMS
from sansio.srtp import SrtpReceiver, SrtpSender, preload, trailer
from sansio.srtp.context import LEAST_RTCP, LEAST_RTP, MOST_PROTECTED, MOST_RTCP, MOST_RTP, REPLAY_WINDOW, _direct

SIZES = {"AEAD_AES_128_GCM": (16, 12), "AEAD_AES_256_GCM": (32, 12), "AES128_CM_SHA1_80": (16, 14)}
PROFILES = list(SIZES)


def key_of(profile, first=0):
    return bytes((first + i) & 255 for i in range(sum(SIZES[profile])))


def rtp(seq=1, size=100, ssrc=0x12345678, payload=None):
    return struct.pack("!BBHII", 0x80, 96, seq, 3000, ssrc) + (bytes(size - 12) if payload is None else payload)


def rtcp(size=100, ssrc=0x12345678):
    return struct.pack("!BBHI", 0x81, 201, size // 4 - 1, ssrc) + bytes(size - 8)


# ------------------------------------------------------------------ a second implementation


def aes_ctr(key, counter, data):
    return Cipher(AES(key), CTR(counter)).encryptor().update(data)


def xor(a, b):
    return bytes(x ^ y for x, y in zip(a, b, strict=True))


def derive(key, salt, label, size):
    """RFC 3711 section 4.3.1 with a key derivation rate of 0; RFC 7714 section 11 pads its salt with zeros."""
    counter = xor(salt.ljust(14, b"\0"), (label << 48).to_bytes(14, "big")) + b"\0\0"
    return aes_ctr(key, counter, bytes(size))


def gcm_rtp(key, salt, packet, roc=0):
    """RFC 7714 section 9.1, for packets without CSRC and extension."""
    iv = xor(b"\0\0" + packet[8:12] + roc.to_bytes(4, "big") + packet[2:4], salt)
    return packet[:12] + AESGCM(key).encrypt(iv, packet[12:], packet[:12])


def gcm_rtcp(key, salt, packet, index):
    """RFC 7714 section 9.2, encrypted."""
    iv = xor(b"\0\0" + packet[4:8] + b"\0\0" + index.to_bytes(4, "big"), salt)
    word = (index | 0x80000000).to_bytes(4, "big")
    return packet[:8] + AESGCM(key).encrypt(iv, packet[8:], packet[:8] + word) + word


def cm_rtp(key, salt, auth, packet, roc=0):
    """RFC 3711 sections 4.1.1 and 4.2."""
    index = roc << 16 | int.from_bytes(packet[2:4], "big")
    counter = (int.from_bytes(salt, "big") << 16 ^ int.from_bytes(packet[8:12], "big") << 64 ^ index << 16).to_bytes(
        16, "big"
    )
    sealed = packet[:12] + aes_ctr(key, counter, packet[12:])
    return sealed + hmac.digest(auth, sealed + roc.to_bytes(4, "big"), hashlib.sha1)[:10]


def cm_rtcp(key, salt, auth, packet, index):
    counter = (int.from_bytes(salt, "big") << 16 ^ int.from_bytes(packet[4:8], "big") << 64 ^ index << 16).to_bytes(
        16, "big"
    )
    sealed = packet[:8] + aes_ctr(key, counter, packet[8:]) + (index | 0x80000000).to_bytes(4, "big")
    return sealed + hmac.digest(auth, sealed, hashlib.sha1)[:10]


def second(profile, master, packet, *, control=False, roc=0, index=0):
    size, salt_size = SIZES[profile]
    key, salt = master[:size], master[size:]
    base = 3 if control else 0
    cipher = derive(key, salt, base, size)
    auth = derive(key, salt, base + 1, 20)
    session_salt = derive(key, salt, base + 2, salt_size)
    if profile == "AES128_CM_SHA1_80":
        if control:
            return cm_rtcp(cipher, session_salt, auth, packet, index)
        return cm_rtp(cipher, session_salt, auth, packet, roc)
    if control:
        return gcm_rtcp(cipher, session_salt, packet, index)
    return gcm_rtp(cipher, session_salt, packet, roc)


def test_second_implementation_derives_the_keys_of_rfc_3711_b3():
    key, salt = bytes.fromhex("E1F97A0D3E018BE0D64FA32C06DE4139"), bytes.fromhex("0EC675AD498AFEEBB6960B3AABE6")
    assert derive(key, salt, 0, 16).hex().upper() == "C61E7A93744F39EE10734AFE3FF7A087"
    assert derive(key, salt, 2, 14).hex().upper() == "30CBBC08863D8C85D49DB34A9AE1"
    assert derive(key, salt, 1, 20).hex().upper() == "CEBE321F6FF7716B6FD4AB49AF256A156D38BAA4"


def test_second_implementation_gives_the_packets_of_rfc_7714_16():
    salt = bytes.fromhex("517569642070726f2071756f")
    packet = bytes.fromhex("8040f17b8041f8d35501a0b2") + b"Gallia est omnis divisa in partes tres"
    assert gcm_rtp(bytes(range(16)), salt, packet) == bytes.fromhex(
        "8040f17b8041f8d35501a0b2"
        "f24de3a3fb34de6cacba861c9d7e4bcabe633bd50d294e6f42a5f47a51c7d19b36de3adf8833"
        "899d7f27beb16a9152cf765ee4390cce"
    )
    assert gcm_rtp(bytes(range(32)), salt, packet) == bytes.fromhex(
        "8040f17b8041f8d35501a0b2"
        "32b1de78a822fe12ef9f78fa332e33aab18012389a58e2f3b50b2a0276ffae0f1ba63799b87b"
        "7aa3db36dfffd6b0f9bb7878d7a76c13"
    )


def test_packets_of_libsrtp_itself():
    """Its reference packets, which other implementations test against too."""
    packet = bytes.fromhex("800f1234decafbadcafebabe") + b"\xab" * 16
    key = bytes.fromhex("e1f97a0d3e018be0d64fa32c06de41390ec675ad498afeebb6960b3aabe6")
    assert SrtpSender("AES128_CM_SHA1_80", key).protect(packet) == packet[:12] + bytes.fromhex(
        "4e55dc4ce79978d88ca4d215949d2402b78d6acc99ea179b8dbb"
    )
    key = bytes.fromhex("000102030405060708090a0b0c0d0e0fa0a1a2a3a4a5a6a7a8a9aaab")
    assert SrtpSender("AEAD_AES_128_GCM", key).protect(packet) == packet[:12] + bytes.fromhex(
        "c5002ede04cfdd2eb91159e0880aa06ed2976826f796b201df3131a127e8a392"
    )


# ------------------------------------------------------------------ both ends


@pytest.mark.parametrize("profile", PROFILES)
def test_rtp_is_what_the_rfcs_say(profile):
    sender, receiver = SrtpSender(profile, key_of(profile)), SrtpReceiver(profile, key_of(profile))
    for seq in (65533, 65534, 65535, 0, 1, 2):  # over the rollover
        packet = rtp(seq, payload=b"payload %d" % seq)
        sealed = sender.protect(packet)
        assert sealed == second(profile, key_of(profile), packet, roc=int(seq < 60000))
        assert len(sealed) - len(packet) == trailer(profile)
        assert receiver.unprotect(sealed) == packet
    assert sender.counters.snapshot() == receiver.counters.snapshot() == {}


@pytest.mark.parametrize("profile", PROFILES)
def test_rtcp_is_what_the_rfcs_say(profile):
    sender, receiver = SrtpSender(profile, key_of(profile)), SrtpReceiver(profile, key_of(profile))
    for index in range(1, 4):
        packet = rtcp(8 + 4 * index)
        sealed = sender.protect_rtcp(packet)
        assert sealed == second(profile, key_of(profile), packet, control=True, index=index)
        assert receiver.unprotect_rtcp(sealed) == packet
    assert sender.counters.snapshot() == receiver.counters.snapshot() == {}


@pytest.mark.parametrize("profile", PROFILES)
def test_header_extensions_and_csrcs_stay_legible(profile):
    sender, receiver = SrtpSender(profile, key_of(profile)), SrtpReceiver(profile, key_of(profile))
    header = struct.pack("!BBHIIIIHHI", 0x92, 96, 7, 1, 2, 3, 4, 0xBEDE, 1, 0x10FF0000)
    sealed = sender.protect(header + b"payload")
    assert sealed.startswith(header)
    assert receiver.unprotect(sealed) == header + b"payload"


@pytest.mark.parametrize("profile", PROFILES)
def test_any_number_of_streams_up_to_the_limit(profile):
    sender, receiver = SrtpSender(profile, key_of(profile)), SrtpReceiver(profile, key_of(profile))
    for ssrc in range(SRTP_STREAMS):
        assert receiver.unprotect(sender.protect(rtp(ssrc=ssrc, size=20))) is not None
    extra = SRTP_STREAMS + 1
    assert receiver.unprotect(sender.protect(rtp(ssrc=extra, size=20))) is None
    assert receiver.unprotect_rtcp(sender.protect_rtcp(rtcp(ssrc=extra))) is None
    assert receiver.counters.snapshot() == {"srtp_too_many_streams": 2}
    assert receiver.unprotect_rtcp(sender.protect_rtcp(rtcp(ssrc=5))) is not None
    receiver.forget(5)
    receiver.forget(5)
    receiver.forget(extra)
    assert receiver.unprotect_rtcp(sender.protect_rtcp(rtcp(ssrc=extra))) is not None


@pytest.mark.parametrize("profile", PROFILES)
def test_forged_packets_change_nothing(profile):
    sender, receiver = SrtpSender(profile, key_of(profile)), SrtpReceiver(profile, key_of(profile))
    other = SrtpSender(profile, key_of(profile, first=1))
    assert receiver.unprotect(other.protect(rtp())) is None
    assert receiver.unprotect_rtcp(other.protect_rtcp(rtcp())) is None
    assert receiver.counters["srtp_forged"] == 2
    sealed = sender.protect(rtp())
    for place in range(2, len(sealed)):
        broken = sealed[:place] + bytes([sealed[place] ^ 0x40]) + sealed[place + 1 :]
        assert receiver.unprotect(broken) is None
    assert not receiver._streams
    assert receiver.unprotect(sealed) == rtp()


@pytest.mark.parametrize("profile", PROFILES)
def test_every_truncation_is_refused(profile):
    sender, receiver = SrtpSender(profile, key_of(profile)), SrtpReceiver(profile, key_of(profile))
    sealed, control = sender.protect(rtp()), sender.protect_rtcp(rtcp())
    for size in range(len(sealed)):
        assert receiver.unprotect(sealed[:size]) is None
    for size in range(len(control)):
        assert receiver.unprotect_rtcp(control[:size]) is None
    assert sum(receiver.counters.snapshot().values()) == len(sealed) + len(control)
    assert receiver.unprotect(sealed) == rtp()
    assert receiver.unprotect_rtcp(control) == rtcp()


@pytest.mark.parametrize("profile", PROFILES)
def test_replays_and_late_packets(profile):
    sender, receiver = SrtpSender(profile, key_of(profile)), SrtpReceiver(profile, key_of(profile))
    sealed = [sender.protect(rtp(seq)) for seq in range(REPLAY_WINDOW + 10)]
    assert receiver.unprotect(sealed[5]) is not None
    assert receiver.unprotect(sealed[5]) is None
    assert receiver.counters.snapshot() == {"srtp_replayed": 1}
    assert receiver.unprotect(sealed[-1]) is not None
    assert receiver.unprotect(sealed[20]) is not None  # late, but inside the window
    assert receiver.unprotect(sealed[1]) is None
    assert receiver.counters["srtp_too_old"] == 1
    control = sender.protect_rtcp(rtcp())
    assert receiver.unprotect_rtcp(control) is not None
    assert receiver.unprotect_rtcp(control) is None
    assert receiver.counters["srtp_replayed"] == 2


@pytest.mark.parametrize("profile", PROFILES)
def test_retransmission_without_rtx_is_the_same_packet(profile):
    sender = SrtpSender(profile, key_of(profile))
    sealed = [sender.protect(rtp(seq)) for seq in range(100)]
    assert [sender.protect(rtp(seq)) for seq in range(100)] == sealed


@pytest.mark.parametrize("profile", PROFILES)
def test_a_forgotten_stream_begins_again(profile):
    sender, receiver = SrtpSender(profile, key_of(profile)), SrtpReceiver(profile, key_of(profile))
    sealed = sender.protect(rtp())
    assert receiver.unprotect(sealed) is not None
    receiver.forget(0x12345678)
    assert receiver.unprotect(sealed) is not None


# ------------------------------------------------------------------ sizes and shapes


@pytest.mark.parametrize("profile", PROFILES)
def test_sizes(profile):
    sender, receiver = SrtpSender(profile, key_of(profile)), SrtpReceiver(profile, key_of(profile))
    for size in (LEAST_RTP, MOST_RTP):
        assert receiver.unprotect(sender.protect(rtp(size, size=size))) == rtp(size, size=size)
    for size in (LEAST_RTCP, MOST_RTCP):
        assert receiver.unprotect_rtcp(sender.protect_rtcp(rtcp(size))) == rtcp(size)
    assert not sender.counters.snapshot()
    for size in (0, LEAST_RTP - 1, MOST_RTP + 1, 5000):
        assert sender.protect(bytes(size)) is None
    for size in (0, LEAST_RTCP - 1, MOST_RTCP + 1, 5000):
        assert sender.protect_rtcp(bytes(size)) is None
    assert sender.counters.snapshot() == {"srtp_size": 8}
    for size in (0, LEAST_RTP - 1, MOST_PROTECTED + 1, 5000):
        assert receiver.unprotect(bytes(size)) is None
    for size in (0, LEAST_RTCP - 1, MOST_PROTECTED + 1, 5000):
        assert receiver.unprotect_rtcp(bytes(size)) is None
    assert receiver.counters.snapshot() == {"srtp_size": 8}
    assert receiver.unprotect(b"\x80" * MOST_PROTECTED) is None
    assert receiver.unprotect_rtcp(b"\x80" * MOST_PROTECTED) is None


@pytest.mark.parametrize("profile", PROFILES)
def test_packets_that_are_none_are_refused_and_counted(profile):
    sender, receiver = SrtpSender(profile, key_of(profile)), SrtpReceiver(profile, key_of(profile))
    beyond = b"\x9f" + bytes(11) + b"\xff" * 8  # CSRCs and an extension that are not there
    assert sender.protect(beyond) is None
    assert sender.counters.snapshot() == {"srtp_refused": 1}
    assert receiver.unprotect(beyond + bytes(20)) is None
    assert sum(receiver.counters.snapshot().values()) == 1


def test_a_sender_that_has_used_up_its_key_refuses():
    sender = SrtpSender("AEAD_AES_128_GCM", key_of("AEAD_AES_128_GCM"))

    class Exhausted:
        def protect_rtcp(self, packet):
            raise sender._error("can't use key any more")

    sender._session = Exhausted()
    assert sender.protect_rtcp(rtcp()) is None
    assert sender.counters.snapshot() == {"srtp_refused": 1}


def test_a_library_that_is_built_otherwise_is_used_by_its_own_methods():
    class Other:
        def protect(self, packet):
            return packet + b"!"

    assert _direct(Other(), "protect")(b"x") == b"x!"


@pytest.mark.parametrize("kind", [SrtpSender, SrtpReceiver])
def test_construction_is_checked_and_keys_stay_secret(kind):
    preload()
    key = key_of("AEAD_AES_128_GCM")
    assert repr(kind("AEAD_AES_128_GCM", key)) == f"{kind.__name__}(AEAD_AES_128_GCM)"
    for profile, bad in (("NULL", key), ("AEAD_AES_128_GCM", key[:-1]), ("AEAD_AES_256_GCM", key)):
        with pytest.raises(LocalProtocolError):
            kind(profile, bad)
