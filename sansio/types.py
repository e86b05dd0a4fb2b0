"""The enums and value types that events, operations and the live objects of a room share.

Every enum that comes from the wire takes any integer: a value that this version does not know becomes the member that
stands for "unknown", so a newer server never breaks an older client.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from enum import Enum

from attrs import fields, frozen


class ConnectionState(Enum):
    """How a room is connected, as the user sees it."""

    CONNECTING = "connecting"
    """The first join is on its way."""
    CONNECTED = "connected"
    SIGNAL_RECONNECTING = "signal_reconnecting"
    """The signal link is being resumed; media and data may still flow."""
    RECONNECTING = "reconnecting"
    """Media is interrupted as well."""
    DISCONNECTED = "disconnected"
    """Not joined yet, or ended for good."""


class DisconnectReason(Enum):
    """Why a participant or this session ended, with the numbers of the wire."""

    UNKNOWN_REASON = 0
    CLIENT_INITIATED = 1
    """The participant left on its own."""
    DUPLICATE_IDENTITY = 2
    """Another session joined with the same identity."""
    SERVER_SHUTDOWN = 3
    PARTICIPANT_REMOVED = 4
    """Removed through the server API."""
    ROOM_DELETED = 5
    STATE_MISMATCH = 6
    """Server and client disagree about the session."""
    JOIN_FAILURE = 7
    """Joined, but media could not be connected in time."""
    MIGRATION = 8
    SIGNAL_CLOSE = 9
    """The signal link ended before media was connected."""
    ROOM_CLOSED = 10
    USER_UNAVAILABLE = 11
    """Telephony: the called party did not answer."""
    USER_REJECTED = 12
    """Telephony: the called party declined."""
    SIP_TRUNK_FAILURE = 13
    CONNECTION_TIMEOUT = 14
    MEDIA_FAILURE = 15
    AGENT_ERROR = 16

    @classmethod
    def _missing_(cls, value: object) -> DisconnectReason:
        return cls.UNKNOWN_REASON


class ParticipantKind(Enum):
    """What a participant is."""

    UNKNOWN = -1
    STANDARD = 0
    INGRESS = 1
    EGRESS = 2
    SIP = 3
    AGENT = 4
    CONNECTOR = 7
    BRIDGE = 8

    @classmethod
    def _missing_(cls, value: object) -> ParticipantKind:
        return cls.UNKNOWN


class ParticipantState(Enum):
    """How far a participant is."""

    UNKNOWN = -1
    JOINING = 0
    """The signal link is up."""
    JOINED = 1
    """The server has answered."""
    ACTIVE = 2
    """Media can flow."""
    DISCONNECTED = 3

    @classmethod
    def _missing_(cls, value: object) -> ParticipantState:
        return cls.UNKNOWN


class TrackKind(Enum):
    """What a track carries."""

    UNKNOWN = -1
    AUDIO = 0
    VIDEO = 1
    DATA = 2

    @classmethod
    def _missing_(cls, value: object) -> TrackKind:
        return cls.UNKNOWN


class TrackSource(Enum):
    """Where a track comes from."""

    UNKNOWN = 0
    CAMERA = 1
    MICROPHONE = 2
    SCREEN_SHARE = 3
    SCREEN_SHARE_AUDIO = 4

    @classmethod
    def _missing_(cls, value: object) -> TrackSource:
        return cls.UNKNOWN


class AudioFeature(Enum):
    """What the publisher of an audio track says about it."""

    UNKNOWN = -1
    STEREO = 0
    NO_DTX = 1
    AUTO_GAIN_CONTROL = 2
    ECHO_CANCELLATION = 3
    NOISE_SUPPRESSION = 4
    ENHANCED_NOISE_CANCELLATION = 5
    PRECONNECT_BUFFER = 6

    @classmethod
    def _missing_(cls, value: object) -> AudioFeature:
        return cls.UNKNOWN


class StreamState(Enum):
    """Whether the server sends a subscribed video or has paused it for want of bandwidth."""

    UNKNOWN = -1
    ACTIVE = 0
    PAUSED = 1

    @classmethod
    def _missing_(cls, value: object) -> StreamState:
        return cls.UNKNOWN


class ConnectionQuality(Enum):
    """The server's opinion of a participant's connection."""

    UNKNOWN = -1
    """Not told yet."""
    POOR = 0
    GOOD = 1
    EXCELLENT = 2
    LOST = 3

    @classmethod
    def _missing_(cls, value: object) -> ConnectionQuality:
        return cls.UNKNOWN


class EncryptionType(Enum):
    """End-to-end encryption of a track or a packet."""

    UNKNOWN = -1
    NONE = 0
    GCM = 1
    CUSTOM = 2

    @classmethod
    def _missing_(cls, value: object) -> EncryptionType:
        return cls.UNKNOWN


class VideoQuality(Enum):
    """A simulcast layer, as a subscriber asks for it."""

    UNKNOWN = -1
    LOW = 0
    MEDIUM = 1
    HIGH = 2
    OFF = 3

    @classmethod
    def _missing_(cls, value: object) -> VideoQuality:
        return cls.UNKNOWN


class SubscriptionStatus(Enum):
    """Where a subscription stands: not wanted, wanted but not here (yet), or here."""

    UNSUBSCRIBED = "unsubscribed"
    DESIRED = "desired"
    SUBSCRIBED = "subscribed"


class DataPacketKind(Enum):
    """How a data packet travelled."""

    RELIABLE = 0
    LOSSY = 1


class SubscriptionError(Enum):
    """Why the server gave up on a subscription."""

    UNKNOWN = 0
    CODEC_UNSUPPORTED = 1
    TRACK_NOT_FOUND = 2

    @classmethod
    def _missing_(cls, value: object) -> SubscriptionError:
        return cls.UNKNOWN


class RequestReason(Enum):
    """Why a request was not carried out: the server's numbers, and negative ones of our own."""

    UNACKNOWLEDGED = -3
    """A new join came before the server had acknowledged the data; whether it has arrived is not known."""
    ROOM_ENDED = -2
    """The session ended, or was replaced by a new one, before the answer."""
    TIMED_OUT = -1
    """No answer in time; whether the server has acted on the request is not known."""
    OK = 0
    NOT_FOUND = 1
    NOT_ALLOWED = 2
    LIMIT_EXCEEDED = 3
    QUEUED = 4
    UNSUPPORTED_TYPE = 5
    UNCLASSIFIED_ERROR = 6
    INVALID_HANDLE = 7
    INVALID_NAME = 8
    DUPLICATE_HANDLE = 9
    DUPLICATE_NAME = 10
    INVALID_REQUEST = 11

    @classmethod
    def _missing_(cls, value: object) -> RequestReason:
        return cls.UNCLASSIFIED_ERROR


@frozen
class Dimensions:
    """Size of a video in pixels."""

    width: int
    height: int


@frozen(kw_only=True)
class Permissions:
    """What a participant may do. ``can_publish_sources`` restricts publishing; empty means any source."""

    can_subscribe: bool = False
    can_publish: bool = False
    can_publish_data: bool = False
    can_publish_sources: tuple[TrackSource, ...] = ()
    hidden: bool = False
    can_update_metadata: bool = False
    agent: bool = False
    can_subscribe_metrics: bool = False


@frozen
class ChatEntry:
    """One message of the chat.

    ``timestamp``: when it was written, by its sender's clock, in milliseconds since 1970; ``edit_timestamp``: when it
    was changed, None if it was not. Who shows a chat replaces the entry with the same ``id``, and takes it away when
    ``deleted``. ``generated``: by a program, say from speech.
    """

    id: str
    message: str
    timestamp: int
    edit_timestamp: int | None = None
    deleted: bool = False
    generated: bool = False


@frozen
class TranscriptionSegment:
    """A piece of what somebody said. A later one with the same ``id`` takes its place, until one is ``final``.

    Times are milliseconds; what they count from is the sender's affair.
    """

    id: str
    text: str
    start_time: int = 0
    end_time: int = 0
    language: str = ""
    final: bool = False


@frozen
class Transcription:
    """What was said on a track of a participant."""

    participant_identity: str
    track_sid: str
    segments: tuple[TranscriptionSegment, ...]


@frozen
class SipDtmf:
    """A key of a telephone: ``code`` 0 to 15, ``digit`` as it is printed on it."""

    code: int
    digit: str


@frozen(kw_only=True)
class ServerInfo:
    """What the server says about itself. ``edition``: 0 is the open-source server, 1 LiveKit Cloud."""

    edition: int = 0
    version: str = ""
    protocol: int = 0
    region: str = ""
    node_id: str = ""
    agent_protocol: int = 0


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MAX_MS = 253402300799999
"""The last millisecond of the year 9999, where ``datetime`` ends."""


def utc_from_ms(ms: int) -> datetime | None:
    """A Unix time in milliseconds as an aware UTC datetime; None for 0 and what a datetime cannot hold."""
    if not 0 < ms <= _MAX_MS:
        return None
    return _EPOCH + timedelta(milliseconds=ms)


class Scenario(Enum):
    """Drills for what may happen to a connection: the first two are staged here, the others by or with the server."""

    SIGNAL_RECONNECT = "signal_reconnect"
    """The signalling link breaks; the session is resumed."""
    FULL_RECONNECT = "full_reconnect"
    """The session is lost; this client joins anew with the same objects."""
    SPEAKER_UPDATE = "speaker_update"
    """The server says for three seconds that this participant speaks."""
    NODE_FAILURE = "node_failure"
    """The server forgets this session without a word."""
    MIGRATION = "migration"
    """The server asks to resume elsewhere; a server without a second node then wants a new join."""
    SERVER_LEAVE = "server_leave"
    """The server ends the session as if it shut down."""
    DISCONNECT_SIGNAL_ON_RESUME = "disconnect_signal_on_resume"
    """The next resume within five seconds loses its link right after it succeeded."""
    DISCONNECT_SIGNAL_ON_RESUME_NO_MESSAGES = "disconnect_signal_on_resume_no_messages"
    """The next resume within five seconds fails before its first message."""
    FORCE_TCP = "force_tcp"
    """The server offers this participant nothing but ICE over TCP from the next join on: FULL_RECONNECT makes one."""
    FORCE_TLS = "force_tls"
    """The same with relays over TLS, which the server has to have: without one there is no way left."""
    SUBSCRIBER_BANDWIDTH = "subscriber_bandwidth"
    """The server takes our way from it for one of so many bit/s (100 000 unless told; 0: as it is)."""
    LEAVE_REQUEST_FULL_RECONNECT = "leave_request_full_reconnect"
    """The server is to ask for a new join. LiveKit 1.13 does nothing; ``FULL_RECONNECT`` is the drill that works."""


# ------------------------------------------------------------------ statistics


@frozen
class ReceiverStats:
    """What came of a stream: counts since the beginning, of packets that nobody reads only some.

    ``codec`` is empty until a packet has told. ``width`` and ``height`` are those of the last key frame, which tells
    the layer that the server sends; zeros for audio. ``lost`` packets in all, ``fraction_lost`` 0 to 1 and ``bitrate``
    in bit/s over the last report interval, a second; ``jitter`` and ``rtt`` in seconds, the latter None until measured.
    ``repaired`` packets came again by retransmission. ``nacks`` and ``keyframe_requests`` were sent. ``frames_dropped``
    were not given to a reader: incomplete, not decodable, or too many waited.
    """

    codec: str
    width: int
    height: int
    packets: int
    bytes: int
    lost: int
    fraction_lost: float
    jitter: float
    duplicates: int
    late: int
    repaired: int
    nacks: int
    keyframe_requests: int
    frames: int
    keyframes: int
    frames_dropped: int
    bitrate: float
    rtt: float | None


@frozen
class SenderStats:
    """What was sent of a stream: counts since it was last negotiated, ``bytes`` of payload.

    ``bitrate`` in bit/s over the last report interval. ``frames_dropped`` were written and not sent. ``nacks`` counts
    packets that were asked for again, ``resent_packets`` those that were sent again.

    What the receiver told: ``lost`` packets in all, ``fraction_lost`` 0 to 1 lately, ``jitter`` and ``rtt`` in seconds,
    the latter None until measured.
    """

    codec: str
    packets: int
    bytes: int
    frames: int
    keyframes: int
    frames_dropped: int
    resent_packets: int
    resent_bytes: int
    nacks: int
    keyframe_requests: int
    bitrate: float
    lost: int
    fraction_lost: float
    jitter: float
    rtt: float | None


@frozen
class LinkStats:
    """The media way of one peer connection.

    ``target``: "publisher" (also where there is only one) or "subscriber". ``rtt`` in seconds, by RTCP, or by ICE
    before there was any; None until measured. ``estimate``: what the server says it can take, in bit/s (REMB), None
    when it says nothing. ``acknowledged`` and ``missing``: packets of ours that its transport-wide feedback told of.
    """

    target: str
    rtt: float | None
    estimate: int | None
    acknowledged: int
    missing: int


def total_stats(layers: Sequence[SenderStats]) -> SenderStats:
    """Several streams of one track as one: counts and rates are sums, the rest is that of the worst."""
    if len(layers) == 1:
        return layers[0]
    rtts = [layer.rtt for layer in layers if layer.rtt is not None]
    worst = ("codec", "fraction_lost", "jitter", "rtt")
    sums = {
        name: sum([getattr(layer, name) for layer in layers])
        for name in [attribute.name for attribute in fields(SenderStats)]
        if name not in worst
    }
    return SenderStats(
        **sums,
        codec=layers[0].codec if layers else "",
        fraction_lost=max([layer.fraction_lost for layer in layers], default=0.0),
        jitter=max([layer.jitter for layer in layers], default=0.0),
        rtt=max(rtts, default=None),
    )
