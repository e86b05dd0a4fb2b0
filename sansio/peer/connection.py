"""PeerConnection: the descriptions of one peer connection, and the transport they describe.

Roles are fixed for life: a publisher (or single) connection is always offered by us, a subscriber connection always
by the server, so there is no glare. Sections keep their order and only grow in number.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from attrs import frozen

from ..base.contract import INF, Address, Transmit
from ..base.counters import Counters
from ..base.entropy import Entropy
from ..base.errors import LocalProtocolError, ParseError
from ..base.wallclock import WallClock
from ..dtls.engine import EngineFactory, Role, default_engine
from ..dtls.identity import HASHES, DtlsIdentity, parse_fingerprint
from ..ice.agent import IceOptions
from ..ice.candidate import Candidate, parse_candidate
from ..sctp.association import SctpOptions
from ..sdp.build import LocalTransport, build_answer, build_offer
from ..sdp.media import Fingerprint, SdpSession, parse_sdp
from ..types import LinkStats
from .media import PeerMedia
from .transport import PeerTransport

_NOTHING: Mapping[str, str] = MappingProxyType({})

ANSWER_TIMEOUT = 15.0
"""Seconds that the server has to answer an offer; one it cannot parse is never answered."""


@frozen
class NegotiationFailed:
    """A description could not be used, or no answer came."""

    detail: str


class PeerConnection:
    """One peer connection with the server.

    ``outbox``: NegotiationFailed, and what ``PeerTransport`` and ``PeerMedia`` tell. ``media`` has the sections.
    ``described`` says whether a description of ours went out, after which new candidates have to be trickled.
    ``answers`` counts those to offers of ours.
    ``max_message_size`` is the peer's.
    """

    def __init__(
        self,
        entropy: Entropy,
        identity: DtlsIdentity,
        transmits: deque[Transmit],
        *,
        offerer: bool,
        ice_options: IceOptions | None = None,
        sctp_options: SctpOptions | None = None,
        dtls_engine: EngineFactory = default_engine,
        wall: WallClock | None = None,
        cname: str = "-",
    ) -> None:
        self.counters = Counters()
        self.transport = PeerTransport(
            entropy,
            identity,
            transmits,
            controlling=offerer,
            ice_options=ice_options,
            sctp_options=sctp_options,
            dtls_engine=dtls_engine,
            wall=wall,
            cname=cname,
        )
        self.outbox = self.transport.outbox
        self.media = PeerMedia(self.transport.rtp, self.outbox, self.counters, cname=cname)
        self.described = False
        self.answers = 0
        self.max_message_size = 0
        self.last_offer = ""
        self.last_answer = ""
        self.remote: SdpSession | None = None
        self._fingerprint = Fingerprint(*parse_fingerprint(*identity.fingerprint))
        self._session_id = entropy.fork("sdp").uint(62)
        self._version = 0
        self._candidates: list[tuple[int, Candidate]] = []
        self._offer_id = 0
        self._answer_due = INF

    # ------------------------------------------------------------------ candidates

    def add_local_candidate(self, candidate: Candidate, port: int, now: float, *, peer: Address | None = None) -> None:
        """A candidate of ours; it stands in every description from now on."""
        self._candidates.append((port, candidate))
        self.transport.add_local(candidate, port, now, peer=peer)

    def remove_local_port(self, port: int, now: float) -> None:
        """A port of ours is gone, and with it its candidates."""
        self._candidates = [(other, candidate) for other, candidate in self._candidates if other != port]
        self.transport.remove_local(port, now)

    def add_remote_candidate(self, candidate: Candidate, now: float) -> None:
        """A trickled candidate of the peer. mDNS names and the void second component are passed over."""
        self.transport.add_remote(candidate, now)

    # ------------------------------------------------------------------ we offer

    @property
    def negotiating(self) -> bool:
        """Whether an offer of ours waits for its answer."""
        return self._answer_due != INF

    def create_offer(self, now: float, *, delay: float = 0.0) -> tuple[str, int]:
        """An offer of the present sections, and its number. One offer may be outstanding at a time.

        ``delay``: seconds that may pass before the server gets it, on top of the time it has to answer.
        """
        if self.negotiating:
            raise LocalProtocolError("an offer is outstanding: wait for its answer")
        self._offer_id += 1
        self._answer_due = now + delay + ANSWER_TIMEOUT
        self.last_offer = build_offer(self._session_id, self._next_version(), self._local(), self.media.sections)
        return self.last_offer, self._offer_id

    def handle_answer(
        self, sdp: str, number: int, now: float, *, mid_to_track_id: Mapping[str, str] = _NOTHING
    ) -> None:
        """The answer to our offer ``number`` (0: unnumbered). Stale ones are dropped.

        ``mid_to_track_id``: what the server's message says of the sections besides.
        """
        if not self.negotiating or (number and number != self._offer_id):
            self.counters.add("stale_answer")
            return
        self._answer_due = INF
        self.answers += 1
        self.last_answer = sdp
        try:
            remote = parse_sdp(sdp)
            # The answerer chose from our actpass: an active peer is the DTLS client, and we are the server.
            transport = remote.transport
            passive = transport is not None and transport.setup == "passive"
            self._apply(remote, now, "client" if passive else "server")
            self.media.apply(remote, mid_to_track_id, now, answer=True)
            self.transport.touch_media()
        except ParseError as error:
            self._fail(f"the answer cannot be used: {error}")

    def restart(self, now: float, *, ice: bool) -> None:
        """The signalling link is new: an offer that waits for its answer waits in vain. ``ice``: with new credentials.

        The owner makes a new offer where one is needed.
        """
        self._answer_due = INF
        if ice:
            self.transport.restart_ice(now)

    # ------------------------------------------------------------------ the server offers

    def handle_offer(self, sdp: str, now: float, *, mid_to_track_id: Mapping[str, str] = _NOTHING) -> str | None:
        """Our answer to an offer of the server, or None when the offer cannot be used."""
        try:
            remote = parse_sdp(sdp)
            transport, ice = remote.transport, self.transport.ice
            if transport is not None and ice.remote_ufrag not in ("", transport.ice_ufrag):
                self.transport.restart_ice(now)  # the offerer restarts, so the answer needs new credentials too
            self._apply(remote, now, "client")
            self.media.apply(remote, mid_to_track_id, now, answer=False)
            self.transport.touch_media()
        except ParseError as error:
            self._fail(f"the offer cannot be used: {error}")
            return None
        self.last_offer = sdp
        self.last_answer = build_answer(remote, self._session_id, self._next_version(), self._local())
        return self.last_answer

    # ------------------------------------------------------------------ both

    @property
    def sections_in_use(self) -> int:
        """Sections in which the peer sends a track: those with a stream, whatever their direction says."""
        if self.remote is None:
            return 0
        return sum([media.sends and media.msid is not None for media in self.remote.media])

    def _next_version(self) -> int:
        self._version += 1
        self.described = True
        return self._version

    def _local(self) -> LocalTransport:
        ice = self.transport.ice
        return LocalTransport(
            ice_ufrag=ice.local_ufrag,
            ice_pwd=ice.local_pwd,
            fingerprint=self._fingerprint,
            candidates=tuple([candidate.to_sdp() for _, candidate in self._candidates]),
        )

    def _apply(self, remote: SdpSession, now: float, role: Role) -> None:
        media = remote.transport
        if media is None:
            raise ParseError("every section is rejected")
        fingerprint = choose_fingerprint(media.fingerprints)
        candidates = []
        for line in remote.candidates:
            try:
                candidates.append(parse_candidate(line))
            except ParseError:
                self.counters.add("bad_candidate")
        application = remote.application
        if application is not None:
            self.max_message_size = application.max_message_size or 65535
        self.remote = remote
        self.transport.set_remote(
            ufrag=media.ice_ufrag,
            pwd=media.ice_pwd,
            lite=remote.ice_lite,
            fingerprint=fingerprint,
            role=role,
            now=now,
        )
        for candidate in candidates:
            self.transport.add_remote(candidate, now)
        if media.end_of_candidates:
            self.transport.end_of_remote(now)

    def _fail(self, detail: str) -> None:
        self.counters.add("negotiation_failed")
        self.outbox.append(NegotiationFailed(detail))

    # ------------------------------------------------------------------ time

    def advance(self, now: float) -> float:
        """Do everything owed; the next deadline."""
        if self.transport.closed:
            return INF
        if self._answer_due <= now:
            self._answer_due = INF
            self._fail(f"the server did not answer an offer within {ANSWER_TIMEOUT:g} s")
        return min(self.transport.advance(now), self._answer_due)

    def close(self, now: float) -> None:
        """Close the transport."""
        self._answer_due = INF
        self.transport.close(now)

    def diagnostics(self) -> dict[str, Any]:
        """Counters of every layer, JSON-ready."""
        transport = self.transport
        return {
            "negotiation": self.counters.snapshot(),
            "transport": transport.counters.snapshot(),
            "ice": {
                "state": transport.ice.state.name,
                "selected": transport.ice.selected_addr,
                **transport.ice.counters.snapshot(),
            },
            "dtls": {"profile": transport.profile, **transport.dtls.counters.snapshot()},
            "sctp": transport.association.counters.snapshot(),
            "rtp": transport.rtp.counters.snapshot(),
            "srtp": transport.srtp_receiver.counters.snapshot() if transport.srtp_receiver is not None else {},
        }

    def link_stats(self, target: str) -> LinkStats:
        """How media fares on the way."""
        rtp = self.transport.rtp
        return LinkStats(
            target=target,
            rtt=rtp.rtt,
            estimate=rtp.bandwidth,
            acknowledged=rtp.sent.acknowledged,
            missing=rtp.sent.missing,
        )


def choose_fingerprint(fingerprints: tuple[Fingerprint, ...]) -> tuple[str, str]:
    """The first fingerprint whose hash we know: a peer may announce several of one certificate (RFC 8122)."""
    for fingerprint in fingerprints:
        if HASHES.get(fingerprint.algorithm) == len(fingerprint.digest):
            return fingerprint.algorithm, fingerprint.digest.hex(":").upper()
    raise ParseError("no fingerprint of a known kind")


__all__ = ["NegotiationFailed", "PeerConnection", "choose_fingerprint"]
