"""Descriptions as the server writes them: offers to subscribers and answers, from one plan a section.

The shape is that of LiveKit's server: the fingerprint at session level, credentials and setup in each section, the
candidates in the first one. The first description of a connection has none: they are trickled behind it.
"""

from __future__ import annotations

from collections.abc import Sequence

from attrs import evolve, field, frozen

from ..sdp.build import MAX_MESSAGE_SIZE
from ..sdp.codecs import (
    ABS_CAPTURE_TIME,
    ABS_SEND_TIME,
    AUDIO_LEVEL,
    DEPENDENCY_DESCRIPTOR,
    MID,
    REPAIRED_RID,
    RID,
    TRANSPORT_CC,
)
from ..sdp.description import Description, Section
from ..sdp.media import Codec, Extension, Fingerprint, Msid, SdpMedia
from .codecs import AUDIO, PUBLISHER_FEEDBACK, VIDEO, common_codecs

AUDIO_EXTENSIONS = (MID, RID, AUDIO_LEVEL, ABS_CAPTURE_TIME)
VIDEO_EXTENSIONS = (MID, RID, REPAIRED_RID, TRANSPORT_CC, ABS_SEND_TIME, DEPENDENCY_DESCRIPTOR, ABS_CAPTURE_TIME)

OFFERED_AUDIO = (Extension(2, ABS_CAPTURE_TIME),)
OFFERED_VIDEO = (Extension(3, ABS_SEND_TIME), Extension(1, DEPENDENCY_DESCRIPTOR), Extension(2, ABS_CAPTURE_TIME))
"""Of the subscriber connection, where the ids are ours."""


@frozen(kw_only=True)
class LocalSide:
    """Our side of the transport. ``candidates`` are lines (``candidate:…``)."""

    session_id: int
    version: int
    ufrag: str
    pwd: str = field(repr=False)
    fingerprint: Fingerprint
    setup: str
    candidates: tuple[str, ...] = ()


@frozen(kw_only=True)
class Plan:
    """One section. ``streams``: SSRC and that of its retransmissions, 0 for none. ``rids``: layers that we take.
    ``rejected``: the offered section that is refused."""

    kind: str
    mid: str
    direction: str = "sendrecv"
    codecs: tuple[Codec, ...] = ()
    extensions: tuple[Extension, ...] = ()
    msid: Msid | None = None
    streams: tuple[tuple[int, int], ...] = ()
    rids: tuple[str, ...] = ()
    simulcast: str = ""
    rejected: SdpMedia | None = None


def write_description(side: LocalSide, plans: Sequence[Plan]) -> str:
    """The text of an offer or answer."""
    session = Section(
        [("v", "0"), ("o", f"- {side.session_id} {side.version} IN IP4 0.0.0.0"), ("s", "-"), ("t", "0 0")]
    )
    session.add("msid-semantic", "WMS *")
    session.add("fingerprint", str(side.fingerprint))
    session.add("extmap-allow-mixed")
    session.add("group", " ".join(["BUNDLE", *[plan.mid for plan in plans if plan.rejected is None]]))
    parts = []
    first = True
    for plan in plans:
        if plan.rejected is not None:
            parts.append(_rejected(plan.rejected))
            continue
        parts.append(_part(plan, side, first))
        first = False
    return str(Description(session, parts))


def _rejected(media: SdpMedia) -> Section:
    """Like those of LiveKit's server: port 0 and no attribute at all."""
    return Section([("m", f"{media.kind} 0 {media.protocol} 0"), ("c", "IN IP4 0.0.0.0")])


def _part(plan: Plan, side: LocalSide, first: bool) -> Section:
    if plan.kind == "application":
        head = "application 9 UDP/DTLS/SCTP webrtc-datachannel"
    else:
        head = f"{plan.kind} 9 UDP/TLS/RTP/SAVPF {' '.join([str(codec.payload_type) for codec in plan.codecs])}"
    part = Section([("m", head), ("c", "IN IP4 0.0.0.0")])
    part.add("setup", side.setup)
    part.add("mid", plan.mid)
    part.add("ice-ufrag", side.ufrag)
    part.add("ice-pwd", side.pwd)
    if plan.kind == "application":
        part.add("sendrecv")
        part.add("sctp-port", "5000")
        part.add("max-message-size", str(MAX_MESSAGE_SIZE))
    else:
        _add_media(part, plan)
    if first:
        part.lines += [("a", line) for line in side.candidates]
        if side.candidates:
            part.add("end-of-candidates")
    return part


def _add_media(part: Section, plan: Plan) -> None:
    part.add("rtcp-mux")
    part.add("rtcp-rsize")
    for codec in plan.codecs:
        channels = f"/{codec.channels}" if codec.channels != 1 else ""
        part.add("rtpmap", f"{codec.payload_type} {codec.name}/{codec.clock_rate}{channels}")
        if codec.fmtp:
            part.add("fmtp", f"{codec.payload_type} {codec.fmtp}")
        for feedback in codec.feedback:
            part.add("rtcp-fb", f"{codec.payload_type} {feedback}")
    for extension in plan.extensions:
        part.add("extmap", f"{extension.id} {extension.uri}")
    if plan.msid is not None:
        stream, track = plan.msid.stream, plan.msid.track
        for ssrc, rtx in plan.streams:
            if rtx:
                part.add("ssrc-group", f"FID {ssrc} {rtx}")
        for source in [number for pair in plan.streams for number in pair if number]:
            part.add("ssrc", f"{source} cname:{stream}")
            part.add("ssrc", f"{source} msid:{stream} {track}")
            part.add("ssrc", f"{source} mslabel:{stream}")
            part.add("ssrc", f"{source} label:{track}")
        part.add("msid", f"{stream} {track}")
    for rid in plan.rids:
        part.add("rid", f"{rid} recv")
    if plan.simulcast:
        part.add("simulcast", f"recv {plan.simulcast}")
    part.add(plan.direction)


# ------------------------------------------------------------------ what a section holds


def answer_codecs(
    media: SdpMedia, *, publishing: bool, first: str = "", dtx: bool = False, stereo: bool = False
) -> tuple[Codec, ...]:
    """The codecs of an answer: those both know, with the feedback that the direction asks for.

    ``publishing``: the client sends in this section. ``dtx``, ``stereo``: what its Opus may be.
    """
    found = []
    for codec in common_codecs(media.codecs, media.kind, first):
        name = codec.name.lower()
        if name in ("rtx", "red"):
            found.append(evolve(codec, feedback=()))
        elif media.kind == "audio":
            feedback = tuple([each for each in codec.feedback if each == "nack"])
            fmtp = codec.fmtp
            if name == "opus" and publishing:
                fmtp += ";usedtx=1" if dtx and "usedtx" not in fmtp else ""
                fmtp += ";stereo=1;maxaveragebitrate=510000" if stereo and "stereo=1" not in fmtp else ""
            found.append(evolve(codec, fmtp=fmtp.lstrip(";"), feedback=feedback))
        else:
            found.append(evolve(codec, feedback=tuple([each for each in codec.feedback if each in PUBLISHER_FEEDBACK])))
    return tuple(found)


def answer_extensions(media: SdpMedia) -> tuple[Extension, ...]:
    """The header extensions of an answer; the ids are the client's."""
    known = AUDIO_EXTENSIONS if media.kind == "audio" else VIDEO_EXTENSIONS
    return tuple([Extension(found.id, found.uri) for found in media.extensions if found.uri in known])


def offered_codecs(kind: str, *, red: bool) -> tuple[Codec, ...]:
    """The codecs of a section of the subscriber connection. Where RED may be sent, lost packets are not asked for."""
    if kind == "video":
        return VIDEO
    if not red:
        return tuple([codec for codec in AUDIO if codec.name != "red"])
    return tuple([evolve(codec, feedback=()) if codec.name == "opus" else codec for codec in AUDIO])
