"""Building our own descriptions: offers from a list of sections, answers to offers of the server.

Everything is bundled on one transport with rtcp-mux. The first section speaks for the transport, so the candidates
stand there; credentials and setup are repeated in each section, the fingerprint is at session level.
"""

from __future__ import annotations

from collections.abc import Sequence

from attrs import field, frozen

from ..base.errors import LocalProtocolError
from .codecs import AUDIO_CODECS, EXTENSIONS, VIDEO_CODECS, CodecSpec
from .description import Description, Section
from .media import DIRECTIONS, Codec, Extension, Fingerprint, Msid, SdpMedia, SdpSession

MAX_MESSAGE_SIZE = 65535
"""Bytes of one data channel message that we accept; what a peer assumes anyway when nothing is said (RFC 8841)."""

_RTP = "UDP/TLS/RTP/SAVPF"
_SCTP = "UDP/DTLS/SCTP"


@frozen(kw_only=True)
class LocalTransport:
    """Our side of the transport. ``candidates`` are lines without ``a=`` (``candidate:…``)."""

    ice_ufrag: str
    ice_pwd: str = field(repr=False)
    fingerprint: Fingerprint
    candidates: tuple[str, ...] = ()


@frozen(kw_only=True)
class LocalSection:
    """One media section of an offer of ours.

    ``kind`` is "application", "audio" or "video". A sending section names its track by ``msid`` (whose track part is
    the cid of the AddTrackRequest) and its sources either by ``streams`` (media SSRC, SSRC of its retransmissions or
    None) with a ``cname``, or for simulcast by ``rids``. All but kind and mid is for media sections.
    """

    kind: str
    mid: str
    direction: str = "recvonly"
    codecs: tuple[CodecSpec, ...] = ()
    extensions: tuple[Extension, ...] = ()
    msid: Msid | None = None
    streams: tuple[tuple[int, int | None], ...] = ()
    cname: str = ""
    rids: tuple[str, ...] = ()


def build_offer(session_id: int, version: int, transport: LocalTransport, sections: Sequence[LocalSection]) -> str:
    """An offer of the given sections, in the given order, which must not change between offers of one connection.

    ``session_id`` stays the same for a connection, ``version`` grows by one with each description (RFC 9429).
    Raises LocalProtocolError for sections that do not fit together.
    """
    _check_transport(transport)
    _check_sections(sections)
    session = _session_part(session_id, version, transport, [section.mid for section in sections])
    session.add("extmap-allow-mixed")
    media: list[Section] = []
    for section in sections:
        part = _media_part(
            section.kind,
            [str(number) for number in _payload_types(section.codecs)],
            section.mid,
            "actpass",
            transport,
            first=not media,
        )
        if section.kind == "application":
            _add_sctp(part)
        else:
            part.add(section.direction)
            _add_rtp(part)
            for spec in section.codecs:
                _add_codec(part, _codec(spec))
                if spec.rtx:
                    _add_codec(part, Codec(spec.rtx, "rtx", spec.clock_rate, 1, f"apt={spec.payload_type}"))
            _add_extensions(part, section.extensions)
            _add_sources(part, section)
        media.append(part)
    return str(Description(session, media))


def build_answer(
    offer: SdpSession,
    session_id: int,
    version: int,
    transport: LocalTransport,
    *,
    codecs: Sequence[CodecSpec] = (*AUDIO_CODECS, *VIDEO_CODECS),
    extensions: Sequence[str] = EXTENSIONS,
) -> str:
    """An answer to an offer of the server, with which we only receive.

    Sections keep their order, mids, payload types and extension ids. Where the server may send, we say recvonly, and
    inactive elsewhere; codecs, feedback and extensions are cut down to what both sides know. Sections of an unknown
    kind or without a common codec are rejected. We are the DTLS client.
    """
    _check_transport(transport)
    accepted = [media for media in offer.media if _acceptable(media, codecs)]
    session = _session_part(session_id, version, transport, [media.mid for media in accepted])
    if offer.extmap_allow_mixed:
        session.add("extmap-allow-mixed")
    indices = dict.fromkeys([media.index for media in accepted])
    first = True
    parts = []
    for media in offer.media:
        if media.index not in indices:
            parts.append(_rejected_part(media))
            continue
        kept = _common_codecs(media, codecs)
        formats = [str(codec.payload_type) for codec in kept]
        part = _media_part(media.kind, formats, media.mid, "active", transport, first=first)
        first = False
        if media.kind == "application":
            _add_sctp(part)
        else:
            part.add("recvonly" if media.sends else "inactive")
            _add_rtp(part)
            for codec in kept:
                _add_codec(part, codec)
            _add_extensions(part, [extension for extension in media.extensions if extension.uri in extensions])
        parts.append(part)
    return str(Description(session, parts))


# ------------------------------------------------------------------ choosing


def _acceptable(media: SdpMedia, codecs: Sequence[CodecSpec]) -> bool:
    if media.rejected or not media.mid:
        return False
    if media.kind == "application":
        return media.protocol.endswith("DTLS/SCTP") and media.sctp_port is not None
    return bool(_common_codecs(media, codecs))


def _common_codecs(media: SdpMedia, specs: Sequence[CodecSpec]) -> list[Codec]:
    """The offered codecs that we know, in the order of the offer, with the feedback that both know."""
    kept: list[Codec] = []
    known: dict[int, CodecSpec] = {}
    for codec in media.codecs:
        for spec in specs:
            if spec.kind == media.kind and spec.matches(codec):
                known[codec.payload_type] = spec
                break
    for codec in media.codecs:
        if codec.payload_type in known:
            spec = known[codec.payload_type]
            feedback = tuple([name for name in codec.feedback if name in spec.feedback])
            kept.append(
                Codec(codec.payload_type, codec.name, codec.clock_rate, codec.channels, _answer_fmtp(codec), feedback)
            )
        elif codec.apt is not None and codec.apt in known and known[codec.apt].rtx:
            kept.append(codec)
    return kept


def _answer_fmtp(codec: Codec) -> str:
    """The offered parameters; for Opus that is sent in stereo also our wish to get it so (RFC 7587)."""
    parameters = codec.parameters
    if codec.name.lower() == "opus" and parameters.get("sprop-stereo") == "1" and "stereo" not in parameters:
        return codec.fmtp + ";stereo=1"
    return codec.fmtp


def _codec(spec: CodecSpec) -> Codec:
    return Codec(spec.payload_type, spec.name, spec.clock_rate, spec.channels, spec.fmtp, spec.feedback)


def _payload_types(specs: Sequence[CodecSpec]) -> list[int]:
    found = []
    for spec in specs:
        found.append(spec.payload_type)
        if spec.rtx:
            found.append(spec.rtx)
    return found


# ------------------------------------------------------------------ writing


def _session_part(session_id: int, version: int, transport: LocalTransport, mids: list[str]) -> Section:
    section = Section(
        [("v", "0"), ("o", f"- {session_id} {version} IN IP4 127.0.0.1"), ("s", "-"), ("t", "0 0")],
    )
    section.add("group", " ".join(["BUNDLE", *mids]))
    section.add("ice-options", "trickle")
    section.add("fingerprint", str(transport.fingerprint))
    return section


def _media_part(
    kind: str, formats: list[str], mid: str, setup: str, transport: LocalTransport, *, first: bool
) -> Section:
    protocol = _RTP
    if kind == "application":
        protocol, formats = _SCTP, ["webrtc-datachannel"]
    part = Section([("m", f"{kind} 9 {protocol} {' '.join(formats)}"), ("c", "IN IP4 0.0.0.0")])
    part.add("mid", mid)
    part.add("ice-ufrag", transport.ice_ufrag)
    part.add("ice-pwd", transport.ice_pwd)
    part.add("setup", setup)
    if first:
        for candidate in transport.candidates:
            part.lines.append(("a", candidate))
    return part


def _rejected_part(media: SdpMedia) -> Section:
    part = Section([("m", f"{media.kind} 0 {media.protocol} {' '.join(media.formats)}"), ("c", "IN IP4 0.0.0.0")])
    if media.mid:
        part.add("mid", media.mid)
    part.add("inactive")
    return part


def _add_sctp(part: Section) -> None:
    part.add("sctp-port", "5000")
    part.add("max-message-size", str(MAX_MESSAGE_SIZE))


def _add_rtp(part: Section) -> None:
    part.add("rtcp-mux")
    part.add("rtcp-rsize")


def _add_codec(part: Section, codec: Codec) -> None:
    channels = f"/{codec.channels}" if codec.channels != 1 else ""
    part.add("rtpmap", f"{codec.payload_type} {codec.name}/{codec.clock_rate}{channels}")
    if codec.fmtp:
        part.add("fmtp", f"{codec.payload_type} {codec.fmtp}")
    for feedback in codec.feedback:
        part.add("rtcp-fb", f"{codec.payload_type} {feedback}")


def _add_extensions(part: Section, extensions: Sequence[Extension]) -> None:
    for extension in extensions:
        direction = f"/{extension.direction}" if extension.direction else ""
        part.add("extmap", f"{extension.id}{direction} {extension.uri}")


def _add_sources(part: Section, section: LocalSection) -> None:
    """The track and its sources; the server reads lines in order, so the msid comes first."""
    if section.msid is not None:
        part.add("msid", f"{section.msid.stream} {section.msid.track}")
    for rid in section.rids:
        part.add("rid", f"{rid} send")
    if section.rids:
        part.add("simulcast", "send " + ";".join(section.rids))
    for ssrc, rtx in section.streams:
        if rtx is not None:
            part.add("ssrc-group", f"FID {ssrc} {rtx}")
        part.add("ssrc", f"{ssrc} cname:{section.cname}")
        if rtx is not None:
            part.add("ssrc", f"{rtx} cname:{section.cname}")


# ------------------------------------------------------------------ checking what the caller gives


def _check_transport(transport: LocalTransport) -> None:
    if not 4 <= len(transport.ice_ufrag) <= 256 or not 22 <= len(transport.ice_pwd) <= 256:
        raise LocalProtocolError("ICE user fragment or password has a wrong length")
    _check_words(transport.ice_ufrag, transport.ice_pwd)
    for candidate in transport.candidates:
        if not candidate.startswith("candidate:"):
            raise LocalProtocolError("a candidate line begins with candidate:")
        _check_words(*candidate.split(" "))


def _check_sections(sections: Sequence[LocalSection]) -> None:
    if not sections:
        raise LocalProtocolError("an offer without sections has no transport")
    mids = [section.mid for section in sections]
    if len(dict.fromkeys(mids)) != len(mids):
        raise LocalProtocolError("two sections have the same mid")
    meanings: dict[int, tuple[str, int]] = {}
    uris: dict[int, str] = {}
    ssrcs: dict[int, None] = {}
    for section in sections:
        _check_words(section.mid)
        if section.kind == "application":
            continue
        if section.kind not in ("audio", "video") or not section.codecs or section.direction not in DIRECTIONS:
            raise LocalProtocolError("a section needs a kind, a direction and codecs")
        for spec in section.codecs:
            for number, name in ((spec.payload_type, spec.name), (spec.rtx, f"rtx of {spec.payload_type}")):
                if number and meanings.setdefault(number, (name, spec.clock_rate)) != (name, spec.clock_rate):
                    raise LocalProtocolError(f"payload type {number} means two codecs")
        for extension in section.extensions:
            if uris.setdefault(extension.id, extension.uri) != extension.uri:
                raise LocalProtocolError(f"extension id {extension.id} means two extensions")
        _check_sources(section, ssrcs)


def _check_sources(section: LocalSection, ssrcs: dict[int, None]) -> None:
    if section.direction in ("sendonly", "sendrecv") and (
        section.msid is None or not (section.streams or section.rids)
    ):
        raise LocalProtocolError("a sending section needs a track and its sources")
    if section.msid is not None:
        _check_words(section.msid.stream, section.msid.track)
    for rid in section.rids:
        if not rid.isascii() or not rid.replace("-", "").replace("_", "").isalnum():
            raise LocalProtocolError("a rid has letters, digits, - and _ only (RFC 8851)")
    if section.streams:
        _check_words(section.cname)
    for pair in section.streams:
        for ssrc in pair:
            if ssrc is not None and (ssrc in ssrcs or not 0 <= ssrc <= 0xFFFFFFFF):
                raise LocalProtocolError("a source number is used twice or out of range")
            if ssrc is not None:
                ssrcs[ssrc] = None


def _check_words(*words: str) -> None:
    for word in words:
        if not word or not word.isprintable() or " " in word:
            raise LocalProtocolError("an identifier in a description is empty or holds spaces or control characters")
