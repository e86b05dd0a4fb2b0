"""The user fragments and passwords by which the agents of one ICE generation know each other (RFC 8445 section 5.3)."""

from __future__ import annotations

from ..base.entropy import Entropy
from . import stun


class Credentials:
    """Both sides' user fragments and passwords of one ICE generation; the remote ones come later."""

    __slots__ = ("local_ufrag", "local_pwd", "local_key", "remote_ufrag", "remote_pwd", "remote_key", "username")

    def __init__(self, local_ufrag: str, local_pwd: str) -> None:
        self.local_ufrag = local_ufrag
        self.local_pwd = local_pwd
        self.local_key = stun.Key(local_pwd.encode())
        self.remote_ufrag = ""
        self.remote_pwd = ""
        self.remote_key = self.local_key  # a stand-in until ``complete``
        self.username = b""

    @property
    def complete(self) -> bool:
        """Whether the remote side is known."""
        return self.remote_ufrag != ""

    def set_remote(self, ufrag: str, pwd: str) -> None:
        """Complete the generation."""
        self.remote_ufrag = ufrag
        self.remote_pwd = pwd
        self.remote_key = stun.Key(pwd.encode())
        self.username = f"{ufrag}:{self.local_ufrag}".encode()


def new_credentials(secrets: Entropy) -> Credentials:
    """Ours for a new generation: RFC 8839 section 5.4 asks for 24 random bits and 128, these have 48 and 144."""
    return Credentials(secrets.token(8), secrets.token(24))


def credentials_of(ours: str, theirs: str, current: Credentials, previous: Credentials | None) -> Credentials | None:
    """Which generation a check of the peer belongs to, by the two halves of its USERNAME; None for a stranger's.

    ``previous`` is the generation before a restart while its pair is in use. Before the current one is complete any
    fragment of the peer will do.
    """
    if ours != current.local_ufrag:
        return previous if previous is not None and ours == previous.local_ufrag else None
    if current.complete and theirs != current.remote_ufrag:
        return previous if previous is not None and theirs == previous.remote_ufrag else None
    return current
