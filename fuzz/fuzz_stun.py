"""STUN messages: what is decoded survives encoding, and the values of attributes decode or are refused."""

from __future__ import annotations

from sansio.base.errors import ParseError
from sansio.ice import stun

KEY = stun.Key(b"VOkJxbRl1RmTxUk/WvJxBt")


def one(data: bytes) -> None:
    if stun.is_stun(data):
        assert len(data) >= stun.HEADER_SIZE
    try:
        message = stun.decode(data)
    except ParseError:
        # perhaps only the fingerprint is wrong: look behind it
        message = _without_fingerprint(data)
        if message is None:
            return
    assert stun.is_stun(data) == (data[0] < 4)
    again = stun.decode(stun.encode(message))
    assert again == message
    assert again.fingerprint
    signed = stun.decode(stun.encode(message, KEY, sha256_key=KEY))
    assert signed == message
    assert signed.verify(KEY)
    assert signed.verify_sha256(KEY)
    assert stun.message_type(message.method, message.message_class) == message.type
    message.verify(KEY)
    message.verify_sha256(KEY)
    for kind, value in message.pairs():
        assert value in message.all(kind)
        _values(value, message.transaction_id)


def _without_fingerprint(data: bytes) -> stun.Message | None:
    cut = data[:-8]
    if len(cut) < stun.HEADER_SIZE:
        return None
    try:
        return stun.decode(cut[:2] + (len(cut) - stun.HEADER_SIZE & 0xFFFF).to_bytes(2, "big") + cut[4:])
    except ParseError:
        return None


def _values(value: bytes, transaction_id: bytes) -> None:
    try:
        address = stun.decode_xor_address(value, transaction_id)
    except ParseError:
        pass
    else:
        encoded = stun.xor_address_value(address, transaction_id)
        assert encoded[1:] == value[1:]
        assert stun.decode_address(stun.address_value(address)) == address
    try:
        code, reason = stun.decode_error(value)
    except ParseError:
        assert len(value) < 4
    else:
        assert 0 <= code < 1000
        if code % 100 + code // 100 * 100 == code and value[3] < 100:
            assert stun.decode_error(stun.error_value(code, reason)) == (code, reason)
    try:
        kinds = stun.decode_unknown_attributes(value)
    except ParseError:
        assert len(value) % 2
    else:
        assert stun.unknown_attributes_value(kinds) == value
    for decode, encode in ((stun.decode_u32, stun.u32_value), (stun.decode_u64, stun.u64_value)):
        try:
            number = decode(value)
        except ParseError:
            continue
        assert encode(number) == value
