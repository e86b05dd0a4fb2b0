"""One peer connection of a client: its sections, their descriptions, and the transport below.

Sections keep their place. In the client's own offers, those in which it sends carry what it publishes, and those in
which it only receives are places for what it subscribed to. On the subscriber connection the offers are ours, and each
section is such a place. A place that was left is taken again by the next track of its kind.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from attrs import evolve

from ..base.contract import Transmit
from ..base.counters import Counters
from ..base.entropy import Entropy
from ..base.errors import ParseError
from ..base.limits import SFU_SECTIONS
from ..base.wallclock import WallClock
from ..dtls.engine import EngineFactory, Role
from ..dtls.identity import DtlsIdentity
from ..ice.candidate import Candidate, parse_candidate, to_init
from ..peer.connection import choose_fingerprint
from ..peer.transport import PeerTransport
from ..sdp.media import Codec, Fingerprint, Msid, SdpMedia, SdpSession, parse_sdp
from .codecs import rtx_type
from .downstream import DownTrack
from .media import MediaRelay
from .negotiate import (
    OFFERED_AUDIO,
    OFFERED_VIDEO,
    LocalSide,
    Plan,
    answer_codecs,
    answer_extensions,
    offered_codecs,
    write_description,
)
from .track import UpTrack


class Slot:
    """One section. ``remote`` is what the client says of it, ``track`` what it publishes there, ``down`` what it gets.

    ``used``: it has carried a subscribed track. ``leaving``: that has ended, and the client has not been told yet;
    until then another track must not take the place, or the client would think it the same. ``codecs`` are those of
    our last description.
    """

    __slots__ = ("codecs", "down", "kind", "leaving", "mid", "remote", "track", "used")

    def __init__(self, kind: str, mid: str, remote: SdpMedia | None = None) -> None:
        self.kind = kind
        self.mid = mid
        self.remote = remote
        self.track: UpTrack | None = None
        self.down: DownTrack | None = None
        self.used = False
        self.leaving = False
        self.codecs: tuple[Codec, ...] = ()

    def describe(self, media: SdpMedia) -> None:
        """What the client says of it now. With another mid it is another section (RFC 9429 section 5.2.2)."""
        self.remote = media
        if media.mid not in ("", self.mid):
            self.mid, self.kind = media.mid, media.kind
            self.used = self.leaving = False

    @property
    def sends(self) -> bool:
        """Whether the client sends a track in it."""
        remote = self.remote
        return remote is not None and self.kind != "application" and remote.sends and _names_sources(remote)


def _names_sources(media: SdpMedia) -> bool:
    """Whether it says what will come: by sources or by layers."""
    return bool(media.ssrcs) or any(rid.direction == "send" for rid in media.rids)


class ServerConnection:
    """See the head of the module. ``offerer``: whether the offers are ours, as on the subscriber connection.

    ``wake`` is called when something is owed from outside. ``unsettled``: our next description says something new.
    """

    def __init__(
        self,
        entropy: Entropy,
        identity: DtlsIdentity,
        transmits: deque[Transmit],
        engine: EngineFactory,
        wall: WallClock,
        wake: Callable[[], None],
        *,
        offerer: bool,
    ) -> None:
        self.counters = Counters()
        self.offerer = offerer
        self.media = MediaRelay(entropy.fork("media"), wall, self._wake_media)
        self.transport = PeerTransport(
            entropy, identity, transmits, controlling=offerer, dtls_engine=engine, media=self.media
        )
        self.slots: list[Slot] = [Slot("application", "0")] if offerer else []
        self.unsettled = False
        self.described = False
        self.last_offer = ""
        self.last_answer = ""
        self.red = True
        self.offer_id = entropy.fork("offer id").uint(8)
        self._wake = wake
        self._ssrcs = entropy.fork("sources")
        self._numbers = entropy.fork("numbers")
        self._fingerprint = Fingerprint(
            identity.fingerprint[0], bytes.fromhex(identity.fingerprint[1].replace(":", ""))
        )
        self._session_id = entropy.fork("sdp").uint(62)
        self._version = 0
        self._candidates: list[Candidate] = []
        self._told_ufrag = ""
        self._outstanding: dict[str, DownTrack | None] | None = None  # what our unanswered offer says, by mid
        self._remote: SdpSession | None = None
        self._setup = "active"

    def _wake_media(self) -> None:
        self.transport.touch_media()
        self._wake()

    # ------------------------------------------------------------------ candidates

    def add_candidate(self, candidate: Candidate, port: int, now: float) -> None:
        """An address of ours; ``port`` -1 for one that only clients connect to (TCP)."""
        self._candidates.append(candidate)
        if port >= 0:
            self.transport.add_local(candidate, port, now)

    def take_trickles(self) -> list[str]:
        """The candidates to be told behind a description that did not have them yet, as JSON."""
        ufrag = self.transport.ice.local_ufrag
        if self._told_ufrag == ufrag:
            return []
        self._told_ufrag = ufrag
        return [to_init(evolve(candidate, ufrag=ufrag)) for candidate in self._candidates]

    # ------------------------------------------------------------------ the client offers

    def read_offer(self, sdp: str, now: float) -> None:
        """Take an offer in; ``answer`` is to follow. Raises ParseError with nothing changed but the transport."""
        remote = parse_sdp(sdp)
        if len(remote.media) > SFU_SECTIONS or len(remote.media) < len(self.slots):
            raise ParseError("the number of sections is not possible")
        transport = remote.transport
        if transport is None:
            raise ParseError("every section is rejected")
        ice = self.transport.ice
        if ice.remote_ufrag not in ("", transport.ice_ufrag):
            self.transport.restart_ice(now)
        self._setup = "passive" if transport.setup == "active" else "active"
        self._apply(remote, now, "server" if self._setup == "passive" else "client")
        self.last_offer = sdp
        for index, media in enumerate(remote.media):
            if index == len(self.slots):
                self.slots.append(Slot(media.kind, media.mid, media))
            else:
                self.slots[index].describe(media)
        self._learn(remote)
        self.described = True

    def answer(self, now: float) -> str:
        """The answer to the last offer."""
        plans = [self._answer_plan(slot) for slot in self.slots]
        self.unsettled = False
        self.last_answer = write_description(self._side(self._setup), plans)
        for slot, plan in zip(self.slots, plans, strict=True):
            slot.codecs = plan.codecs
            slot.leaving = False
            if slot.down is not None and plan.msid is not None:
                self._start(slot, slot.down, plan.codecs, now)
        return self.last_answer

    def _answer_plan(self, slot: Slot) -> Plan:
        media = slot.remote
        assert media is not None
        if media.rejected or not media.mid or media.kind not in ("application", "audio", "video"):
            return Plan(kind=slot.kind, mid=slot.mid, rejected=media)
        if media.kind == "application":
            return Plan(kind=slot.kind, mid=slot.mid)
        publishing = media.direction in ("sendonly", "sendrecv")
        track = slot.track
        first, dtx, stereo = "", False, False
        if publishing and track is not None:
            first = track.codec or ("red" if slot.kind == "audio" and not track.info.disable_red else "")
            dtx, stereo = not track.info.disable_dtx, track.info.stereo
        codecs = answer_codecs(media, publishing=publishing, first=first, dtx=dtx, stereo=stereo)
        if not codecs:
            return Plan(kind=slot.kind, mid=slot.mid, rejected=media)
        plan = Plan(kind=slot.kind, mid=slot.mid, codecs=codecs, extensions=answer_extensions(media))
        if publishing:
            rids = tuple([rid.id for rid in media.rids if rid.direction == "send"])
            simulcast = ""
            if media.simulcast is not None:
                simulcast = ";".join([",".join(stream) for stream in media.simulcast.send])
            return evolve(plan, direction="recvonly", rids=rids, simulcast=simulcast)
        if media.direction == "inactive":
            return evolve(plan, direction="inactive")
        if slot.down is None:
            return evolve(plan, direction="inactive" if slot.used else "sendonly")
        return _carrying(evolve(plan, direction="sendonly"), slot.down)

    # ------------------------------------------------------------------ we offer

    @property
    def negotiating(self) -> bool:
        """Whether an offer of ours waits for its answer."""
        return self._outstanding is not None

    def offer(self) -> tuple[str, int]:
        """Our offer, and its number."""
        self.unsettled = False
        self.described = True
        self.offer_id += 1
        plans = [Plan(kind="application", mid="0")]
        for slot in self.slots[1:]:
            codecs = offered_codecs(slot.kind, red=self.red)
            plan = Plan(
                kind=slot.kind,
                mid=slot.mid,
                direction="recvonly",
                codecs=codecs,
                extensions=OFFERED_AUDIO if slot.kind == "audio" else OFFERED_VIDEO,
            )
            plans.append(plan if slot.down is None else _carrying(evolve(plan, direction="sendrecv"), slot.down))
        self._outstanding = {slot.mid: slot.down for slot in self.slots}
        self.last_offer = write_description(self._side("actpass"), plans)
        return self.last_offer, self.offer_id

    def read_answer(self, sdp: str, number: int, now: float) -> bool:
        """The answer to our offer ``number`` (0: the client does not count); False when it is not to one of ours.
        Raises ParseError."""
        if self._outstanding is None or (number and number != self.offer_id):
            self.counters.add("stale_answer")
            return False
        remote = parse_sdp(sdp)
        transport = remote.transport
        if transport is None:
            raise ParseError("every section is rejected")
        offered, self._outstanding = self._outstanding, None
        self._apply(remote, now, "client" if transport.setup == "passive" else "server")
        self.last_answer = sdp
        self._learn(remote)
        for slot in self.slots:
            slot.remote = remote.by_mid(slot.mid)
            down = slot.down
            if slot.mid in offered and offered[slot.mid] is None:
                slot.leaving = False
            if down is None or offered.get(slot.mid) is not down or slot.remote is None:
                continue
            if slot.remote.receives:
                slot.codecs = slot.remote.codecs
                self._start(slot, down, slot.codecs, now)
        return True

    def restart(self, now: float) -> None:
        """The client is back on a new link: new credentials, and an offer that was under way is void."""
        self._outstanding = None
        self.transport.restart_ice(now)

    # ------------------------------------------------------------------ both

    def _apply(self, remote: SdpSession, now: float, role: Role) -> None:
        media = remote.transport
        assert media is not None
        fingerprint = choose_fingerprint(media.fingerprints)
        self._remote = remote
        self.transport.set_remote(
            ufrag=media.ice_ufrag,
            pwd=media.ice_pwd,
            lite=remote.ice_lite,
            fingerprint=fingerprint,
            role=role,
            now=now,
        )
        for line in remote.candidates:
            try:
                self.transport.add_remote(parse_candidate(line), now)
            except ParseError:
                self.counters.add("bad_candidate")

    def _learn(self, remote: SdpSession) -> None:
        """One payload type and one extension id mean the same in every section."""
        codecs: dict[int, Codec] = {}
        extensions: dict[str, int] = {}
        for media in remote.media:
            for codec in media.codecs:
                codecs.setdefault(codec.payload_type, codec)
            for extension in media.extensions:
                if extension.id < 256:
                    extensions.setdefault(extension.uri, extension.id)
        self.media.codecs = codecs
        self.media.extensions = extensions

    def _side(self, setup: str) -> LocalSide:
        self._version += 1
        ice = self.transport.ice
        ufrag = ice.local_ufrag
        told = self._candidates if self._told_ufrag == ufrag else []
        return LocalSide(
            session_id=self._session_id,
            version=self._version,
            ufrag=ufrag,
            pwd=ice.local_pwd,
            fingerprint=self._fingerprint,
            setup=setup,
            candidates=tuple([evolve(candidate, ufrag=ufrag).to_sdp() for candidate in told]),
        )

    def mid_to_track_id(self) -> dict[str, str]:
        """Which subscribed track each section carries."""
        return {slot.mid: slot.down.track.sid for slot in self.slots if slot.down is not None}

    # ------------------------------------------------------------------ tracks

    def make_down(self, track: UpTrack, subscriber: str) -> DownTrack:
        """A track on its way to the client, not placed yet."""
        ssrc = self._ssrcs.uint(32) or 1
        rtx = self._ssrcs.uint(32) or 1 if track.kind == "video" else 0
        return DownTrack(track, subscriber, self._numbers, ssrc, rtx)

    def place(self, down: DownTrack) -> bool:
        """Find a section for a subscribed track; False when the client has to offer one more."""
        for slot in self.slots:
            if slot.kind != down.track.kind or slot.down is not None or slot.leaving:
                continue
            remote = slot.remote
            if not self.offerer and (remote is None or remote.direction != "recvonly" or remote.rejected):
                continue
            self._occupy(slot, down)
            return True
        if not self.offerer or len(self.slots) >= SFU_SECTIONS:
            return False
        slot = Slot(down.track.kind, str(len(self.slots)))
        self.slots.append(slot)
        self._occupy(slot, down)
        return True

    def _occupy(self, slot: Slot, down: DownTrack) -> None:
        slot.down = down
        slot.used = True
        down.mid = slot.mid
        self.media.add_down(down)
        self.unsettled = True

    def _start(self, slot: Slot, down: DownTrack, codecs: tuple[Codec, ...], now: float) -> None:
        if down.rtx_ssrc and not any(rtx_type(codecs, codec.payload_type) for codec in codecs):
            down.rtx_ssrc = 0
        self.media.start_down(down, codecs, now)

    def remove_down(self, down: DownTrack) -> None:
        """The subscription ends; the section is free for another track."""
        self.media.remove_down(down)
        for slot in self.slots:
            if slot.down is down:
                slot.down = None
                slot.leaving = True
                self.unsettled = True

    def drop_lost_places(self) -> list[DownTrack]:
        """Subscribed tracks whose section the client has turned to something else; they need another."""
        lost = []
        for slot in self.slots:
            down, remote = slot.down, slot.remote
            if down is None or self.offerer:
                continue
            turned = remote is None or remote.rejected or remote.direction != "recvonly"
            if turned or slot.mid != down.mid:
                self.media.remove_down(down)
                slot.down = None
                down.mid = ""
                down.sending = False
                lost.append(down)
        return lost

    def release(self, track: UpTrack) -> None:
        """A published track ends; its section carries nothing any more."""
        self.media.unpublish(track.mid)
        for slot in self.slots:
            if slot.track is track:
                slot.track = None

    def publishing(self) -> Sequence[Slot]:
        """The sections in which the client sends."""
        return [slot for slot in self.slots if slot.sends]

    def close(self, now: float) -> None:
        """Close the transport."""
        self.transport.close(now)


def _carrying(plan: Plan, down: DownTrack) -> Plan:
    """The plan of a section with a subscribed track."""
    return evolve(plan, msid=Msid(down.track.stream_id, down.track.sid), streams=((down.ssrc, down.rtx_ssrc),))
