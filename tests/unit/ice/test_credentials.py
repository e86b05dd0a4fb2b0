from __future__ import annotations

import pytest

from sansio.base.entropy import Entropy
from sansio.ice.credentials import Credentials, credentials_of, new_credentials


def complete(ours: str, theirs: str) -> Credentials:
    credentials = Credentials(ours, "secret")
    credentials.set_remote(theirs, "word")
    return credentials


def test_the_remote_side_comes_later():
    credentials = Credentials("ours", "secret")
    assert not credentials.complete
    credentials.set_remote("theirs", "word")
    assert credentials.complete
    assert credentials.username == b"theirs:ours"
    assert credentials.remote_key.secret == b"word"
    assert credentials.local_key.secret == b"secret"


def test_new_ones_are_long_enough_and_differ():
    secrets = Entropy(b"seed")
    one, other = new_credentials(secrets), new_credentials(secrets)
    assert (one.local_ufrag, one.local_pwd) != (other.local_ufrag, other.local_pwd)
    assert len(one.local_ufrag) >= 4  # RFC 8839 section 5.4
    assert len(one.local_pwd) >= 22


@pytest.mark.parametrize(
    ("username", "found"),
    [
        (("now", "them"), "current"),
        (("now", "else"), None),
        (("now", "old"), "previous"),
        (("then", "old"), "previous"),
        (("nobody", "them"), None),
        (("", ""), None),
    ],
)
def test_whose_a_check_is(username, found):
    current, previous = complete("now", "them"), complete("then", "old")
    owner = {"current": current, "previous": previous, None: None}[found]
    assert credentials_of(*username, current, previous) is owner
    assert credentials_of(*username, current, None) is (owner if found == "current" else None)


def test_before_the_peer_is_known_any_name_of_it_will_do():
    current = Credentials("now", "secret")
    assert credentials_of("now", "anybody", current, None) is current
    assert credentials_of("then", "anybody", current, None) is None
