"""Typed views of a description: what each section says of its media, and of the transport below all of them.

Attributes that may stand at session level (RFC 8866, 8839, 8842) are looked up there when the section lacks them.
Unknown attributes are ignored; known ones that cannot be read are a ParseError, because a description that we half
understand would fail later and further away.
"""

from __future__ import annotations

from attrs import field, frozen

from ..base.errors import ParseError
from ..base.limits import SDP_FORMATS, SDP_REPEATS
from .description import Description, Section, parse_description

DIRECTIONS = ("sendrecv", "sendonly", "recvonly", "inactive")
SETUPS = ("actpass", "active", "passive", "holdconn")


@frozen
class Codec:
    """One payload type of a section. ``name`` is in the peer's spelling; ``channels`` is 1 where nothing is said."""

    payload_type: int
    name: str
    clock_rate: int
    channels: int = 1
    fmtp: str = ""
    feedback: tuple[str, ...] = ()

    @property
    def parameters(self) -> dict[str, str]:
        """The format parameters, names in lower case; a part without ``=`` is a name with an empty value."""
        return parse_fmtp(self.fmtp)

    @property
    def apt(self) -> int | None:
        """The payload type that this RTX format repeats (RFC 4588), or None."""
        value = self.parameters.get("apt", "") if self.name.lower() == "rtx" else ""
        return int(value) if value.isdecimal() and len(value) <= 3 else None


@frozen
class Extension:
    """An RTP header extension (RFC 8285): local id, direction (empty: as the section) and URI."""

    id: int
    uri: str
    direction: str = ""


@frozen
class Fingerprint:
    """A certificate fingerprint (RFC 8122): hash name in lower case, digest as bytes."""

    algorithm: str
    digest: bytes

    def __str__(self) -> str:
        return f"{self.algorithm} {self.digest.hex(':').upper()}"


@frozen
class Msid:
    """Stream and track id of ``a=msid`` (RFC 8830); the track part may be empty."""

    stream: str
    track: str = ""


@frozen
class SsrcGroup:
    """``a=ssrc-group`` (RFC 5576), for example FID with a media SSRC and that of its retransmissions."""

    semantics: str
    ssrcs: tuple[int, ...]


@frozen
class Rid:
    """``a=rid`` (RFC 8851): id, direction ("send" or "recv") and what follows."""

    id: str
    direction: str
    restrictions: str = ""


@frozen
class Simulcast:
    """``a=simulcast`` (RFC 8853): for each direction the streams, each a tuple of alternative rids; ``~`` is kept."""

    send: tuple[tuple[str, ...], ...] = ()
    recv: tuple[tuple[str, ...], ...] = ()


@frozen
class SdpMedia:
    """What one media section says.

    ``direction`` is as written by its author; ``candidates`` are the values of the candidate lines as strings
    (``candidate:…``). ``ssrcs`` lists the sources in order of appearance, ``cnames`` maps them to their CNAME.
    A rejected section (port 0) has ``rejected`` set, and often nothing else.
    """

    index: int
    kind: str
    port: int
    protocol: str
    formats: tuple[str, ...]
    mid: str = ""
    direction: str = "sendrecv"
    setup: str = ""
    ice_ufrag: str = ""
    ice_pwd: str = field(default="", repr=False)
    fingerprints: tuple[Fingerprint, ...] = ()
    candidates: tuple[str, ...] = ()
    end_of_candidates: bool = False
    rtcp_mux: bool = False
    codecs: tuple[Codec, ...] = ()
    extensions: tuple[Extension, ...] = ()
    msid: Msid | None = None
    ssrcs: tuple[int, ...] = ()
    cnames: dict[int, str] = field(factory=dict)
    groups: tuple[SsrcGroup, ...] = ()
    rids: tuple[Rid, ...] = ()
    simulcast: Simulcast | None = None
    sctp_port: int | None = None
    max_message_size: int | None = None

    @property
    def rejected(self) -> bool:
        """Whether the section is refused or retired: port 0 without ``a=bundle-only``."""
        return self.port == 0

    @property
    def sends(self) -> bool:
        """Whether its author may send in this section."""
        return not self.rejected and self.direction in ("sendrecv", "sendonly")

    @property
    def receives(self) -> bool:
        """Whether its author is ready to receive in this section."""
        return not self.rejected and self.direction in ("sendrecv", "recvonly")

    def codec(self, payload_type: int) -> Codec | None:
        """The codec of a payload type."""
        for codec in self.codecs:
            if codec.payload_type == payload_type:
                return codec
        return None

    def rtx_of(self, payload_type: int) -> int | None:
        """The payload type of the retransmissions of a payload type."""
        for codec in self.codecs:
            if codec.apt == payload_type:
                return codec.payload_type
        return None

    def extension(self, uri: str) -> int | None:
        """The id of a header extension."""
        for extension in self.extensions:
            if extension.uri == uri:
                return extension.id
        return None

    def streams(self) -> tuple[tuple[int, int | None], ...]:
        """The media SSRCs in order, each with the SSRC of its retransmissions (FID group) or None."""
        repair = {group.ssrcs[0]: group.ssrcs[1] for group in self.groups if is_fid(group)}
        repairs = dict.fromkeys(repair.values())
        return tuple([(ssrc, repair.get(ssrc)) for ssrc in self.ssrcs if ssrc not in repairs])


@frozen
class SdpSession:
    """A whole description, interpreted.

    The transport values (credentials, fingerprints, setup, candidates) are those of the bundled transport: of the
    first section of the BUNDLE group, or of the first section that is not rejected. ``candidates`` are of component 1
    only; the server repeats each for component 2, which rtcp-mux makes void.
    """

    origin: str
    bundle: tuple[str, ...]
    media: tuple[SdpMedia, ...]
    ice_lite: bool = False
    ice_options: tuple[str, ...] = ()
    extmap_allow_mixed: bool = False

    @property
    def transport(self) -> SdpMedia | None:
        """The section that speaks for the transport; None when every section is rejected."""
        live = [media for media in self.media if not media.rejected]
        for media in live:
            if self.bundle and media.mid == self.bundle[0]:
                return media
        return live[0] if live else None

    @property
    def candidates(self) -> tuple[str, ...]:
        """The candidates of the transport, component 1."""
        found = self.transport
        return tuple([line for line in found.candidates if line.split(" ")[1:2] == ["1"]]) if found else ()

    @property
    def application(self) -> SdpMedia | None:
        """The section of the data channels, unless it is missing or rejected."""
        for media in self.media:
            if media.kind == "application" and not media.rejected:
                return media
        return None

    def by_mid(self, mid: str) -> SdpMedia | None:
        """The section with a mid."""
        for media in self.media:
            if media.mid == mid:
                return media
        return None


class Contradiction(ParseError):
    """The sections of a description, each whole, say different things of the one transport below them."""


def parse_sdp(text: str) -> SdpSession:
    """Parse and interpret a description. Raises ParseError, also for rules that ``check_sdp`` finds broken."""
    session = read_sdp(parse_description(text))
    problems, contradictions = check_sdp(session), _contradictions(session)
    if problems:
        raise Contradiction(problems[0]) if problems == contradictions else ParseError(problems[0])
    return session


def read_sdp(description: Description) -> SdpSession:
    """Interpret a parsed description. Raises ParseError for known attributes that cannot be read."""
    session = _Attributes(description.session)
    groups = [value.split() for value in session.all("group")]
    bundles = [tuple(words[1:]) for words in groups if words[:1] == ["BUNDLE"]]
    return SdpSession(
        origin=description.session.value("o") or "",
        bundle=bundles[0] if bundles else (),
        media=tuple([_read_media(index, part, session) for index, part in enumerate(description.media)]),
        ice_lite=session.has("ice-lite"),
        ice_options=tuple(session.first("ice-options").split()),
        extmap_allow_mixed=session.has("extmap-allow-mixed"),
    )


def check_sdp(session: SdpSession) -> list[str]:
    """The rules that a usable description keeps; returns what is broken, in plain words."""
    problems: list[str] = []
    live = [media for media in session.media if not media.rejected]
    mids = [media.mid for media in live]
    bundled = dict.fromkeys(session.bundle)
    if len(dict.fromkeys(mids)) != len(mids):
        problems.append("two media sections have the same mid")
    if session.bundle and [mid for mid in mids if mid not in bundled]:
        problems.append("a media section stands outside the BUNDLE group")
    if not session.bundle and len(live) > 1:
        problems.append("the media sections are not bundled")
    for media in live:
        if not media.mid:
            problems.append("a media section has no mid")
        if not 4 <= len(media.ice_ufrag) <= 256 or not 22 <= len(media.ice_pwd) <= 256:
            problems.append("a media section has no ICE credentials, or such of a wrong length")
        if not media.fingerprints:
            problems.append("a media section has no fingerprint")
        if not media.setup:
            problems.append("a media section has no setup attribute")
        if media.kind != "application" and not media.rtcp_mux:
            problems.append("a media section does without rtcp-mux")
    return problems + _contradictions(session)


def _contradictions(session: SdpSession) -> list[str]:
    live = [media for media in session.media if not media.rejected]
    found = []
    for media in live[1:]:
        first = live[0]
        if (media.ice_ufrag, media.ice_pwd) != (first.ice_ufrag, first.ice_pwd):
            found.append("the media sections have different ICE credentials")
        if media.fingerprints != first.fingerprints:
            found.append("the media sections have different fingerprints")
        if media.setup != first.setup:
            found.append("the media sections have different setup attributes")
    return found


# ------------------------------------------------------------------ one section


class _Attributes:
    """The attributes of a section by name, for one reading; a flag has an empty value."""

    __slots__ = ("_values", "direction")

    def __init__(self, section: Section) -> None:
        values: dict[str, list[str]] = {}
        self.direction = ""
        for letter, text in section.lines:
            if letter != "a":
                continue
            name, _, value = text.partition(":")
            found = values.setdefault(name, [])
            if len(found) >= SDP_REPEATS:
                raise ParseError("an attribute is repeated too often in one section")
            found.append(value)
            if name in DIRECTIONS and not self.direction:
                self.direction = name
        self._values = values

    def has(self, name: str) -> bool:
        return name in self._values

    def first(self, name: str) -> str:
        found = self._values.get(name)
        return found[0] if found else ""

    def all(self, name: str) -> list[str]:
        return self._values.get(name, [])


def _read_media(index: int, section: Section, session: _Attributes) -> SdpMedia:
    words = section.lines[0][1].split(" ")
    if len(words) < 4 or "" in words:
        raise ParseError("an m= line has fewer than four parts")
    kind, port, protocol, *formats = words
    if len(formats) > SDP_FORMATS:
        raise ParseError("an m= line has too many formats")
    part = _Attributes(section)
    setup = part.first("setup") or session.first("setup")
    if setup and setup not in SETUPS:
        raise ParseError("unknown setup value")
    mid = part.first("mid")
    if len(mid.split()) > 1:
        raise ParseError("unreadable mid")
    ssrcs, cnames, ssrc_msid = _read_ssrcs(part)
    return SdpMedia(
        index=index,
        kind=kind,
        port=_number(port.split("/")[0], 65535, "port"),
        protocol=protocol,
        formats=tuple(formats),
        mid=mid,
        direction=part.direction or session.direction or "sendrecv",
        setup=setup,
        ice_ufrag=part.first("ice-ufrag") or session.first("ice-ufrag"),
        ice_pwd=part.first("ice-pwd") or session.first("ice-pwd"),
        fingerprints=_read_fingerprints(part.all("fingerprint") or session.all("fingerprint")),
        candidates=tuple(["candidate:" + value for value in part.all("candidate")]),
        end_of_candidates=part.has("end-of-candidates") or session.has("end-of-candidates"),
        rtcp_mux=part.has("rtcp-mux"),
        codecs=_read_codecs(part, formats) if "RTP/" in protocol else (),
        extensions=_read_extensions(part.all("extmap") or session.all("extmap")),
        msid=_read_msid(part.first("msid")) if part.has("msid") else ssrc_msid,
        ssrcs=ssrcs,
        cnames=cnames,
        groups=_read_groups(part),
        rids=_read_rids(part),
        simulcast=_read_simulcast(part),
        sctp_port=_number(part.first("sctp-port"), 65535, "sctp-port") if part.has("sctp-port") else None,
        max_message_size=(
            _number(part.first("max-message-size"), 1 << 62, "max-message-size")
            if part.has("max-message-size")
            else None
        ),
    )


def _read_fingerprints(values: list[str]) -> tuple[Fingerprint, ...]:
    found = []
    for value in values:
        algorithm, _, digits = value.partition(" ")
        try:
            digest = bytes.fromhex(digits.replace(":", ""))
        except ValueError:
            digest = b""
        if not digest or digits.count(":") != len(digest) - 1:
            raise ParseError("unreadable fingerprint")
        found.append(Fingerprint(algorithm.lower(), digest))
    return tuple(found)


def _read_codecs(part: _Attributes, formats: list[str]) -> tuple[Codec, ...]:
    """The codecs in the order of the m= line; a static payload type without rtpmap is left out unless it is known."""
    maps = _by_format(part, "rtpmap")
    fmtps = _by_format(part, "fmtp")
    feedback: dict[str, list[str]] = {}
    for value in part.all("rtcp-fb"):
        format_, _, rest = value.partition(" ")
        feedback.setdefault(format_, []).append(rest)
    everywhere = feedback.get("*", [])
    found = []
    for format_ in dict.fromkeys(formats):
        encoding = maps.get(format_) or _STATIC.get(format_)
        if encoding is None:
            continue
        name, _, rest = encoding.partition("/")
        clock, _, channels = rest.partition("/")
        found.append(
            Codec(
                _number(format_, 127, "payload type"),
                name,
                _number(clock, 1 << 31, "clock rate", 1),
                _number(channels, 255, "channel count", 1) if channels else 1,
                fmtps.get(format_, ""),
                tuple(feedback.get(format_, []) + everywhere),
            )
        )
    return tuple(found)


_STATIC = {"0": "PCMU/8000", "8": "PCMA/8000", "9": "G722/8000"}
"""The static payload types (RFC 3551) that peers name without rtpmap."""


def _by_format(part: _Attributes, name: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for value in part.all(name):
        format_, _, rest = value.partition(" ")
        found.setdefault(format_, rest)
    return found


def _read_extensions(values: list[str]) -> tuple[Extension, ...]:
    found = []
    for value in values:
        words = value.split()
        if len(words) < 2:
            raise ParseError("unreadable extmap")
        id_, _, direction = words[0].partition("/")
        found.append(Extension(_number(id_, 4351, "extension id", 1), words[1], direction))
    return tuple(found)


def _read_msid(value: str) -> Msid:
    stream, _, track = value.partition(" ")
    return Msid(stream, track)


def _read_ssrcs(part: _Attributes) -> tuple[tuple[int, ...], dict[int, str], Msid | None]:
    """Sources, their CNAMEs, and the msid that older descriptions put on the source."""
    ssrcs: dict[int, None] = {}
    cnames: dict[int, str] = {}
    msid: Msid | None = None
    for value in part.all("ssrc"):
        number, _, rest = value.partition(" ")
        ssrc = _number(number, 0xFFFFFFFF, "ssrc")
        ssrcs[ssrc] = None
        name, _, text = rest.partition(":")
        if name == "cname":
            cnames.setdefault(ssrc, text)
        elif name == "msid" and msid is None:
            msid = _read_msid(text)
    return tuple(ssrcs), cnames, msid


def _read_groups(part: _Attributes) -> tuple[SsrcGroup, ...]:
    found = []
    for value in part.all("ssrc-group"):
        words = value.split()
        if len(words) < 2:
            raise ParseError("unreadable ssrc-group")
        found.append(SsrcGroup(words[0], tuple([_number(word, 0xFFFFFFFF, "ssrc") for word in words[1:]])))
    return tuple(found)


def is_fid(group: SsrcGroup) -> bool:
    """Whether the group pairs a media source with its retransmissions."""
    return group.semantics == "FID" and len(group.ssrcs) == 2


def _read_rids(part: _Attributes) -> tuple[Rid, ...]:
    found = []
    for value in part.all("rid"):
        words = value.split(" ", 2)
        if len(words) < 2 or words[1] not in ("send", "recv"):
            raise ParseError("unreadable rid")
        found.append(Rid(words[0], words[1], words[2] if len(words) > 2 else ""))
    return tuple(found)


def _read_simulcast(part: _Attributes) -> Simulcast | None:
    if not part.has("simulcast"):
        return None
    words = part.first("simulcast").split()
    if len(words) not in (2, 4):
        raise ParseError("unreadable simulcast")
    lists: dict[str, tuple[tuple[str, ...], ...]] = {}
    for direction, streams in zip(words[::2], words[1::2], strict=True):
        if direction not in ("send", "recv") or direction in lists:
            raise ParseError("unreadable simulcast")
        lists[direction] = tuple([tuple(stream.split(",")) for stream in streams.split(";")])
    return Simulcast(lists.get("send", ()), lists.get("recv", ()))


def parse_fmtp(text: str) -> dict[str, str]:
    """Format parameters as a map, names in lower case."""
    found: dict[str, str] = {}
    for piece in text.split(";"):
        name, _, value = piece.strip().partition("=")
        if name:
            found.setdefault(name.strip().lower(), value.strip())
    return found


def _number(text: str, most: int, what: str, least: int = 0) -> int:
    if not text.isascii() or not text.isdecimal() or len(text) > 20 or not least <= int(text) <= most:
        raise ParseError(f"unreadable {what}")
    return int(text)
