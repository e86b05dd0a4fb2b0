"""Media sections and what flows in them: tracks of the server onto receivers, tracks of ours onto senders.

Sections keep their place for life. One that the server stopped using is offered again as it was, and may carry another
track later; one in which we stopped sending is offered inactive, and is taken for our next track of the kind once the
server has answered that.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any

from attrs import evolve, frozen

from ..base.counters import Counters
from ..base.errors import LocalProtocolError
from ..base.limits import SECTIONS
from ..rtp.format import CODECS, ExtensionIds, Format
from ..rtp.receiver import RtpReceiver
from ..rtp.sender import RtpSender
from ..rtp.session import RtpSession
from ..sdp.build import LocalSection
from ..sdp.codecs import (
    ABS_SEND_TIME,
    AUDIO_CODECS,
    AUDIO_EXTENSIONS,
    AUDIO_LEVEL,
    AUDIO_RECEIVE_CODECS,
    H264_MODE1,
    MID,
    OPUS,
    RED,
    REPAIRED_RID,
    RID,
    TRANSPORT_CC,
    VIDEO_CODECS,
    VIDEO_EXTENSIONS,
    VP8,
    CodecSpec,
)
from ..sdp.media import Codec, Extension, Msid, SdpMedia, SdpSession
from ..sdp.tracks import TrackRef, track_of

SENDING_CODECS: Mapping[str, tuple[CodecSpec, ...]] = {
    "opus": (OPUS,),
    "red": (RED, OPUS),
    "vp8": (VP8,),
    "h264": (H264_MODE1,),
}
"""What a track of ours may be, and the codecs that its section offers."""


@frozen(eq=False)
class TrackMapped:
    """A section of the server carries this track now; ``receiver`` gets its packets."""

    mid: str
    participant_sid: str
    track_sid: str
    receiver: RtpReceiver


@frozen(eq=False)
class TrackUnmapped:
    """A section does not carry the track of an earlier TrackMapped any more; its receiver has ended."""

    mid: str
    track_sid: str
    receiver: RtpReceiver


@frozen(eq=False)
class SendingStarted:
    """The server takes a track of ours: ``sending.senders`` exist from now on."""

    sending: Sending


class Sending:
    """A track of ours in a section. ``codec`` is a key of SENDING_CODECS.

    ``senders`` is empty until it is negotiated. Then it has one for each encoding, in the order of ``rids`` (without
    those: one), and None for each that the server does not take.
    """

    __slots__ = ("cid", "codec", "kind", "mid", "rids", "senders", "streams")

    def __init__(
        self,
        kind: str,
        codec: str,
        cid: str,
        mid: str,
        streams: tuple[tuple[int, int | None], ...],
        rids: tuple[str, ...] = (),
    ) -> None:
        self.kind = kind
        self.codec = codec
        self.cid = cid
        self.mid = mid
        self.streams = streams
        self.rids = rids
        self.senders: tuple[RtpSender | None, ...] = ()

    def __repr__(self) -> str:
        return f"Sending({self.codec}, cid={self.cid!r}, mid={self.mid!r})"


class _Mapped:
    __slots__ = ("ref", "receiver", "ssrc")

    def __init__(self, ref: TrackRef, ssrc: int, receiver: RtpReceiver) -> None:
        self.ref = ref
        self.ssrc = ssrc
        self.receiver = receiver


class PeerMedia:
    """The media sections of one peer connection. ``sections`` is what the next offer says, data section included."""

    def __init__(self, rtp: RtpSession, outbox: deque[Any], counters: Counters, *, cname: str) -> None:
        self.sections = [LocalSection(kind="application", mid="0")]
        self._rtp = rtp
        self._outbox = outbox
        self._counters = counters
        self._cname = cname
        self._places: dict[str, int] = {"0": 0}
        self._sending: dict[str, Sending] = {}
        self._leaving: list[str] = []
        self._free: list[str] = []
        self._mapped: dict[str, _Mapped] = {}

    # ------------------------------------------------------------------ receiving

    def add_receive_sections(self, audios: int, videos: int) -> None:
        """Room for this many more tracks of the server; they are in the next offer."""
        for kind, count in (("audio", audios), ("video", videos)):
            room = SECTIONS - len(self.sections)
            if count > room:
                self._counters.add("section_limit")
            audio = kind == "audio"
            for _ in range(min(count, room)):
                section = LocalSection(
                    kind=kind,
                    mid=str(len(self.sections)),
                    direction="recvonly",
                    codecs=AUDIO_RECEIVE_CODECS if audio else VIDEO_CODECS,
                    extensions=AUDIO_EXTENSIONS if audio else VIDEO_EXTENSIONS,
                )
                self._append(section)

    def _append(self, section: LocalSection) -> None:
        self._places[section.mid] = len(self.sections)
        self.sections.append(section)

    def unused(self, kind: str) -> int:
        """Receiving sections of a kind that carry no track."""
        mine = [section for section in self.sections if section.kind == kind and section.direction == "recvonly"]
        return sum([section.mid not in self._mapped for section in mine])

    @property
    def mapped(self) -> tuple[str, ...]:
        """The sids of the tracks that sections carry."""
        return tuple([mapped.ref.track_sid for mapped in self._mapped.values()])

    # ------------------------------------------------------------------ sending

    def find_place(self, codec: str) -> str:
        """The mid of a free section for a track of ours; empty when it gets a new one. Raises LocalProtocolError when
        there is no room for it."""
        if codec not in SENDING_CODECS:
            raise LocalProtocolError(f"tracks are sent as {', '.join(SENDING_CODECS)}, not as {codec}")
        kind = CODECS[codec]
        mid = next((mid for mid in self._free if self.sections[self._places[mid]].kind == kind), "")
        if not mid and len(self.sections) >= SECTIONS:
            raise LocalProtocolError(f"a peer connection has up to {SECTIONS} media sections")
        return mid

    def add_sending(self, codec: str, cid: str, stream: str, rids: tuple[str, ...] = ()) -> Sending:
        """A section for a track of ours, to be offered next. ``cid`` is that of its AddTrackRequest.

        ``rids`` name the encodings of simulcast (RFC 8853), whose sources no description tells: packets carry the rid.
        """
        kind, mid = CODECS.get(codec, ""), self.find_place(codec)
        reserve = self._rtp.reserve_ssrc
        streams = () if rids else ((reserve(), reserve() if kind == "video" else None),)
        section = LocalSection(
            kind=kind,
            mid=mid or str(len(self.sections)),
            direction="sendonly",
            codecs=self._offered(codec, kind),
            extensions=AUDIO_EXTENSIONS if kind == "audio" else VIDEO_EXTENSIONS,
            msid=Msid(stream, cid),
            streams=streams,
            cname=self._cname,
            rids=rids,
        )
        if mid:
            self._free.remove(mid)
            self.sections[self._places[mid]] = section
        else:
            self._append(section)
        sending = self._sending[section.mid] = Sending(kind, codec, cid, section.mid, streams, rids)
        return sending

    def _offered(self, codec: str, kind: str) -> tuple[CodecSpec, ...]:
        """Those of a track of ours, the wanted ones first.

        Pion, below the server, learns the codecs of a kind from the first section of that kind and from no other: what
        that leaves out can neither be sent nor received as long as the connection lives.
        """
        wanted = SENDING_CODECS[codec]
        if any(section.kind == kind for section in self.sections):
            return wanted
        known = AUDIO_CODECS if kind == "audio" else VIDEO_CODECS
        return (*wanted, *[other for other in known if other not in wanted])

    def remove_sending(self, sending: Sending, now: float) -> None:
        """The track ends: its section is offered inactive next."""
        if self._sending.pop(sending.mid, None) is None:
            return
        for sender in sending.senders:
            if sender is not None:
                self._rtp.remove_sender(sender, now)
        place = self._places[sending.mid]
        self.sections[place] = evolve(self.sections[place], direction="inactive", msid=None, streams=(), rids=())
        self._leaving.append(sending.mid)

    @property
    def sending(self) -> tuple[Sending, ...]:
        """The tracks of ours, in the order added."""
        return tuple(self._sending.values())

    # ------------------------------------------------------------------ descriptions

    def apply(self, remote: SdpSession, mid_to_track_id: Mapping[str, str], now: float, *, answer: bool) -> None:
        """A description of the server, with what the message around it says of its sections."""
        live = [media for media in remote.media if not media.rejected and media.kind in ("audio", "video")]
        live = [media for media in live if _formats(media)]  # in others nothing can come or go
        self._rtp.set_formats([found for media in live for found in _formats(media)])
        self._rtp.set_extensions(_extension_ids([extension for media in live for extension in media.extensions]))
        self._map(live, mid_to_track_id, now)
        if answer:
            for media in live:
                sending = self._sending.get(media.mid)
                if sending is not None and not sending.senders:
                    self._start(sending, media)
            for mid in list(self._leaving):
                released = remote.by_mid(mid)
                if released is not None and released.direction == "inactive":
                    self._leaving.remove(mid)
                    self._free.append(mid)

    def _map(self, live: list[SdpMedia], mid_to_track_id: Mapping[str, str], now: float) -> None:
        """Every section anew: releases first, because a track may have moved to another section."""
        wanted: dict[str, tuple[TrackRef, SdpMedia]] = {}
        for media in live:
            ref = track_of(media, mid_to_track_id) if media.sends else None
            if ref is not None:
                wanted[media.mid] = (ref, media)
        for mid, mapped in list(self._mapped.items()):
            found = wanted.get(mid)
            if found is None or found[0] != mapped.ref or _source(found[1])[0] != mapped.ssrc:
                del self._mapped[mid]
                self._rtp.remove_receiver(mapped.receiver, "unsubscribed")
                self._outbox.append(TrackUnmapped(mid, mapped.ref.track_sid, mapped.receiver))
        for mid, (ref, media) in wanted.items():
            if mid in self._mapped:
                continue
            ssrc, rtx_ssrc = _source(media)
            try:
                receiver = self._rtp.add_receiver(media.kind, now, mid=mid, ssrc=ssrc, rtx_ssrc=rtx_ssrc)
            except LocalProtocolError:  # two sections with one source
                self._counters.add("source_conflict")
                continue
            self._rtp.set_enabled(receiver, False, now)  # until somebody reads
            self._mapped[mid] = _Mapped(ref, ssrc, receiver)
            self._outbox.append(TrackMapped(mid, ref.participant_sid, ref.track_sid, receiver))

    def _start(self, sending: Sending, media: SdpMedia) -> None:
        """Send by the first format of the answer that is one of the track's, if the server takes it."""
        names = [spec.name.lower() for spec in SENDING_CODECS[sending.codec]]
        format = next((found for found in _formats(media) if found.codec in names), None)
        if not media.receives or format is None:
            self._counters.add("sending_refused")
            return
        ids, rtp = _extension_ids(media.extensions), self._rtp
        if not sending.rids:
            ((ssrc, rtx_ssrc),) = sending.streams
            sender = rtp.add_sender(format, mid=media.mid, ssrc=ssrc, rtx_ssrc=rtx_ssrc or 0, extensions=ids)
            sending.senders = (sender,)
        else:
            taken = _taken_rids(media, sending.rids)
            if len(taken) < len(sending.rids):
                self._counters.add("simulcast_refused")
            sending.senders = tuple(
                [
                    rtp.add_sender(format, mid=media.mid, rid=rid if rid in taken else "", extensions=ids)
                    if rid in taken or (not taken and rid == sending.rids[-1])
                    else None
                    for rid in sending.rids
                ]
            )
        self._outbox.append(SendingStarted(sending))


def _taken_rids(media: SdpMedia, rids: tuple[str, ...]) -> list[str]:
    """The encodings of ours that the server takes. None: it knows no simulcast, and the largest one is sent alone."""
    if media.simulcast is None:
        return []
    streams = [rid for alternatives in media.simulcast.recv for rid in alternatives]
    return [rid for rid in rids if rid in streams or f"~{rid}" in streams]


def _source(media: SdpMedia) -> tuple[int, int]:
    """The SSRC of a section and that of its retransmissions, 0 for one that is not told."""
    for ssrc, rtx_ssrc in media.streams():
        return ssrc, rtx_ssrc or 0
    return 0, 0


def _formats(media: SdpMedia) -> list[Format]:
    """The codecs of a section that we know, as formats of ours."""
    return [found for codec in media.codecs if (found := _format(codec, media)) is not None]


def _format(codec: Codec, media: SdpMedia) -> Format | None:
    """A codec of a description as a format of ours; None for one that we do not know."""
    name = codec.name.lower()
    if CODECS.get(name) != media.kind:
        return None
    primary = 0
    if name == "red":
        first = codec.fmtp.partition("/")[0]  # the payload type inside
        inner = media.codec(int(first)) if first.isascii() and first.isdecimal() and len(first) <= 3 else None
        if inner is None:
            return None
        primary = inner.payload_type
    return Format(
        codec.payload_type,
        name,
        codec.clock_rate,
        rtx=media.rtx_of(codec.payload_type) or 0,
        nack="nack" in codec.feedback,
        pli="nack pli" in codec.feedback,
        fir="ccm fir" in codec.feedback,
        mode=1 if codec.parameters.get("packetization-mode") == "1" else 0,
        primary=primary,
    )


_EXTENSIONS: Mapping[str, str] = {
    MID: "mid",
    RID: "rid",
    REPAIRED_RID: "repaired_rid",
    AUDIO_LEVEL: "audio_level",
    ABS_SEND_TIME: "abs_send_time",
    TRANSPORT_CC: "transport_cc",
}


def _extension_ids(extensions: Iterable[Extension]) -> ExtensionIds:
    ids = {_EXTENSIONS[found.uri]: found.id for found in extensions if found.uri in _EXTENSIONS and found.id < 256}
    return ExtensionIds(**ids)
