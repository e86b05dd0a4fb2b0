"""Access tokens: what is minted verifies, what is forged does not."""

from __future__ import annotations

import base64
import json

import pytest

from sansio.sfu.token import LEEWAY, TOKEN_BYTES, Claims, TokenError, mint, verify

KEYS = {"key": "secret"}
CLAIMS = Claims("alice", "lobby", key="key", name="Alice", attributes={"a": "b"}, can_update_own_metadata=True)


def forge(**changes: object) -> str:
    """A token signed with the right secret whose payload was changed (a value of None removes a claim)."""
    head, body, _ = mint(CLAIMS, "secret", 1000.0).split(".")
    payload = json.loads(base64.urlsafe_b64decode(body + "=="))
    for name, value in changes.items():
        if value is None:
            payload.pop(name)
        else:
            payload[name] = value
    return sign(head, base64.urlsafe_b64encode(json.dumps(payload).encode()).rstrip(b"=").decode())


def sign(head: str, body: str) -> str:
    import hashlib
    import hmac

    mac = hmac.digest(b"secret", f"{head}.{body}".encode(), hashlib.sha256)
    return f"{head}.{body}." + base64.urlsafe_b64encode(mac).rstrip(b"=").decode()


def test_what_is_minted_verifies() -> None:
    claims = verify(mint(CLAIMS, "secret", 1000.0, ttl=60), KEYS, 1010.0)
    assert claims.identity == "alice"
    assert claims.room == "lobby"
    assert claims.name == "Alice"
    assert claims.attributes == {"a": "b"}
    assert claims.can_update_own_metadata
    assert claims.can_publish_data
    assert claims.expires == 1060.0


def test_data_follows_publish_unless_said_otherwise() -> None:
    video = {"roomJoin": True, "room": "lobby", "canPublish": False}
    assert not verify(forge(video=video), KEYS, 1000.0).can_publish_data
    assert verify(forge(video={**video, "canPublishData": True}), KEYS, 1000.0).can_publish_data


def test_the_token_id_stands_in_for_the_subject() -> None:
    assert verify(forge(sub=None, jti="bob"), KEYS, 1000.0).identity == "bob"


def test_malformed_grants_grant_nothing() -> None:
    claims = verify(forge(video="yes", attributes="none", name=7), KEYS, 1000.0)
    assert not claims.room_join
    assert claims.room == ""
    assert claims.attributes == {}
    assert claims.name == ""


@pytest.mark.parametrize(
    ("token", "now", "why"),
    [
        ("x" * (TOKEN_BYTES + 1), 1000.0, "invalid authorization token"),
        ("a.b", 1000.0, "invalid authorization token"),
        ("!.b.c", 1000.0, "invalid authorization token"),
        ("WzFd.WzFd.WzFd", 1000.0, "invalid authorization token"),
        (sign(base64.urlsafe_b64encode(b'{"alg":"none"}').decode().rstrip("="), "e30"), 1000.0, "algorithm"),
        (forge(iss="other"), 1000.0, "invalid API key"),
        (forge(exp=None), 1000.0, "exp claim"),
        (forge(exp=True), 1000.0, "exp claim"),
        (forge(exp=10**400), 1000.0, "exp claim"),
        (forge(exp=float("inf")), 1000.0, "exp claim"),
        (forge(exp=float("nan")), 1000.0, "exp claim"),
        (forge(nbf=10**400), 1000.0, "not valid yet"),
        (forge(name="\ud800"), 1000.0, "invalid authorization token"),
        (mint(CLAIMS, "wrong", 1000.0), 1000.0, "signature is invalid"),
        (mint(CLAIMS, "secret", 1000.0, ttl=1), 1002.0 + LEEWAY, "expired"),
        (mint(CLAIMS, "secret", 1000.0), 999.0 - LEEWAY, "not valid yet"),
    ],
)
def test_what_is_not_accepted(token: str, now: float, why: str) -> None:
    with pytest.raises(TokenError, match=why):
        verify(token, KEYS, now)


def test_each_changed_character_of_a_signature_is_noticed() -> None:
    token = mint(CLAIMS, "secret", 1000.0)
    head, body, signature = token.split(".")
    for index in range(0, len(signature) - 1, 5):
        changed = signature[:index] + ("A" if signature[index] != "A" else "B") + signature[index + 1 :]
        with pytest.raises(TokenError):
            verify(f"{head}.{body}.{changed}", KEYS, 1000.0)
