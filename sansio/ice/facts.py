"""What the agent is told once, and what it tells: options, states, events, reports."""

from __future__ import annotations

from enum import IntEnum

from attrs import frozen

from ..base.contract import Address
from .candidate import Candidate


class IceState(IntEnum):
    """The state of the agent as a whole."""

    NEW = 0
    """No remote credentials yet."""
    CHECKING = 1
    """Looking for a path; after a restart the old one may still be in use."""
    CONNECTED = 2
    """A pair is selected and the peer is heard of."""
    DISCONNECTED = 3
    """The peer has been silent for a while."""
    FAILED = 4
    """No path, or silence for too long. Only a restart or new remote credentials revive the agent."""
    CLOSED = 5


@frozen
class IceOptions:
    """Times in seconds.

    ``pacing`` is RFC 8445's Ta; ``burst`` checks may leave without waiting for it. ``rto`` is the first retransmission
    interval while no round trip is known, later twice the round trip within ``rto_min`` and ``rto_max``; it doubles
    up to ``rto_limit``, ``retransmissions`` times: so a path that comes back during a search is soon found.
    ``stream_timeout`` is how long a check on a stream may take.

    ``consent_interval`` is varied by a fifth both ways; it is shorter than RFC 7675 has it, so that a healthy path is
    never silent for ``disconnected_after``. Such a silence, a consent check without answer for ``consent_timeout``, a
    failed sending or a changed network puts the selected pair in doubt: it and the best ``probes`` others are checked
    every ``probe_interval`` seconds until it answers, and when it has not done so for ``doubt``, a controlling agent
    nominates what does. Silence for ``failed_after`` ends the search, no answer to a consent check for
    ``consent_expiry`` ends sending (RFC 7675). ``connect_timeout`` bounds the search, from the last new candidate; one
    after a restart goes on while the path of before answers.
    """

    pacing: float = 0.02
    burst: int = 10
    rto: float = 0.1
    rto_min: float = 0.05
    rto_max: float = 0.5
    rto_limit: float = 0.8
    retransmissions: int = 20
    stream_timeout: float = 10.0
    consent_interval: float = 1.9
    consent_timeout: float = 1.0
    consent_expiry: float = 30.0
    probe_interval: float = 0.25
    probes: int = 16
    doubt: float = 0.5
    disconnected_after: float = 2.5
    failed_after: float = 15.0
    connect_timeout: float = 15.0


@frozen
class PairSelected:
    """Data goes by this pair from now on: from ``port`` to ``addr``. ``rtt`` in seconds."""

    local: Candidate
    remote: Candidate
    port: int
    addr: Address
    rtt: float


@frozen
class IceStateChanged:
    """The agent's state changed."""

    state: IceState


@frozen
class RoleChanged:
    """A role conflict was settled, or the peer is lite."""

    controlling: bool


@frozen
class PairReport:
    """What is known of one pair, for error messages and statistics. ``rtt`` is 0 until it is known."""

    local: Candidate
    remote: Candidate
    type: str
    protocol: str
    state: str
    selected: bool
    rtt: float
    checks_sent: int
    last_error: str
