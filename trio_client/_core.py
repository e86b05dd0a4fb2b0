"""The one door to the core: no other module of this package imports ``sansio``.

The names in ``_LATER`` are what only a session needs. They are imported when a module of ours first asks for one, and
those modules are imported when the first session starts, so that ``import trio_client`` stays cheap.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

import sansio

if getattr(sansio, "PROJECT", None) != "trio-livekit":
    raise ImportError(
        f"the package 'sansio' that was found ({getattr(sansio, '__file__', None)}) is not the core of trio-livekit: "
        "another distribution has installed one of that name; uninstall it and reinstall trio-livekit"
    )

from sansio import events
from sansio.base.contract import (
    INF,
    Address,
    ClosePort,
    CloseSignal,
    Interface,
    NeedToken,
    OpenSignal,
    OpenStream,
    OpenUdp,
    Resolve,
    SendSignal,
    SignalFailure,
    Transmit,
)
from sansio.base.counters import Counters
from sansio.base.entropy import Entropy
from sansio.base.errors import LocalProtocolError
from sansio.base.wallclock import WallClock
from sansio.events import (
    ActiveSpeakersChanged,
    ChatMessage,
    Connected,
    ConnectionQualityChanged,
    ConnectionStateChanged,
    DataReceived,
    DataTrackPublished,
    DataTrackUnpublished,
    DataUnacknowledged,
    Disconnected,
    Event,
    IsSpeakingChanged,
    LocalTrackLayersChanged,
    LocalTrackPublished,
    LocalTrackRepublished,
    LocalTrackSubscribed,
    LocalTrackUnpublished,
    Moved,
    PacketReceived,
    ParticipantActive,
    ParticipantAttributesChanged,
    ParticipantConnected,
    ParticipantDisconnected,
    ParticipantEvent,
    ParticipantMetadataChanged,
    ParticipantNameChanged,
    ParticipantPermissionsChanged,
    Reconnected,
    Reconnecting,
    RecordingStatusChanged,
    RoomEvent,
    RoomMetadataChanged,
    RoomUpdated,
    SignalReconnecting,
    SipDtmfReceived,
    TokenRefreshed,
    TrackMuted,
    TrackPublished,
    TrackStreamStateChanged,
    TrackSubscribed,
    TrackSubscriptionFailed,
    TrackSubscriptionPermissionChanged,
    TrackSubscriptionStatusChanged,
    TrackUnmuted,
    TrackUnpublished,
    TrackUnsubscribed,
    TranscriptionReceived,
    UnacknowledgedPacket,
)
from sansio.lifecycle.policy import ReconnectPolicy
from sansio.room import data_tracks as core_data_tracks
from sansio.room import messages as core_messages
from sansio.room import participant as core_participant
from sansio.room import publication as core_publication
from sansio.room import track as core_track
from sansio.room.data_track_packets import DataTrackFrame
from sansio.room.permissions import ParticipantTrackPermission
from sansio.room.publication import LocalTrackPublication, RemoteTrackPublication, TrackPublication
from sansio.room.rpc_error import RpcError, RpcErrorCode
from sansio.room.stream_info import (
    ByteStreamInfo,
    StreamError,
    StreamFailure,
    StreamInfo,
    TextOperation,
    TextStreamInfo,
)
from sansio.room.track import VideoLayer
from sansio.types import (
    AudioFeature,
    ChatEntry,
    ConnectionQuality,
    ConnectionState,
    DataPacketKind,
    Dimensions,
    DisconnectReason,
    EncryptionType,
    LinkStats,
    ParticipantKind,
    ParticipantState,
    Permissions,
    ReceiverStats,
    RequestReason,
    Scenario,
    SenderStats,
    ServerInfo,
    SipDtmf,
    StreamState,
    SubscriptionError,
    SubscriptionStatus,
    TrackKind,
    TrackSource,
    Transcription,
    TranscriptionSegment,
    VideoQuality,
)

if TYPE_CHECKING:
    from sansio.base.limits import SFU_HTTP_BODY, SFU_MESSAGE
    from sansio.dtls import DtlsIdentity
    from sansio.dtls.plain import PlainEngine, plain_identity
    from sansio.ice.paths import TurnServerConfig
    from sansio.ice.verdict import pair_line, path_table, path_verdict, way_line
    from sansio.proto import models
    from sansio.room.data_lanes import DataReadable, DataWritable
    from sansio.room.data_tracks import DataTrackReadable
    from sansio.room.engine import RoomEngine
    from sansio.room.options import EngineOptions
    from sansio.room.outputs import (
        Ended,
        JoinFailed,
        MediaFailure,
        TrackKeyframeWanted,
        TrackReadable,
        TrackStarted,
    )
    from sansio.room.requests import RequestDone, RequestError, RequestFailed
    from sansio.room.rpc import RpcCancelled, RpcInvocation, RpcInvoked
    from sansio.room.state import Factories, RoomState
    from sansio.room.stream_in import IncomingStream, StreamOpened, StreamReadable
    from sansio.room.stream_out import OutgoingStream
    from sansio.rtp.clock import MediaClock
    from sansio.rtp.frame import Frame
    from sansio.rtp.payload import opus
    from sansio.rtp.receiver import RtpReceiver
    from sansio.sfu.options import AnswerHttp, DropSignal, HttpResponse, RefuseSignal, ServerOptions
    from sansio.sfu.server import SfuServer
    from sansio.sfu.token import DEVELOPMENT_KEY, Claims, mint
    from sansio.signal.refusal import Refusal, RefusalKind
    from sansio.signal.urls import UnusableToken, UrlError, explain_url, is_loopback
    from sansio.testing.record import Recorder, Replayed, replay

__all__ = [
    "DEVELOPMENT_KEY",
    "INF",
    "SFU_HTTP_BODY",
    "SFU_MESSAGE",
    "ActiveSpeakersChanged",
    "Address",
    "AnswerHttp",
    "AudioFeature",
    "ByteStreamInfo",
    "ChatEntry",
    "ChatMessage",
    "Claims",
    "ClosePort",
    "CloseSignal",
    "Connected",
    "ConnectionQuality",
    "ConnectionQualityChanged",
    "ConnectionState",
    "ConnectionStateChanged",
    "Counters",
    "DataPacketKind",
    "DataReadable",
    "DataReceived",
    "DataTrackFrame",
    "DataTrackPublished",
    "DataTrackReadable",
    "DataTrackUnpublished",
    "DataUnacknowledged",
    "DataWritable",
    "Dimensions",
    "DisconnectReason",
    "Disconnected",
    "DropSignal",
    "DtlsIdentity",
    "EncryptionType",
    "Ended",
    "EngineOptions",
    "Entropy",
    "Event",
    "Factories",
    "Frame",
    "HttpResponse",
    "IncomingStream",
    "Interface",
    "IsSpeakingChanged",
    "JoinFailed",
    "LinkStats",
    "LocalProtocolError",
    "LocalTrackLayersChanged",
    "LocalTrackPublication",
    "LocalTrackPublished",
    "LocalTrackRepublished",
    "LocalTrackSubscribed",
    "LocalTrackUnpublished",
    "MediaClock",
    "MediaFailure",
    "Moved",
    "NeedToken",
    "OpenSignal",
    "OpenStream",
    "OpenUdp",
    "OutgoingStream",
    "PacketReceived",
    "ParticipantActive",
    "ParticipantAttributesChanged",
    "ParticipantConnected",
    "ParticipantDisconnected",
    "ParticipantEvent",
    "ParticipantKind",
    "ParticipantMetadataChanged",
    "ParticipantNameChanged",
    "ParticipantPermissionsChanged",
    "ParticipantState",
    "ParticipantTrackPermission",
    "Permissions",
    "PlainEngine",
    "ReceiverStats",
    "ReconnectPolicy",
    "Reconnected",
    "Reconnecting",
    "Recorder",
    "RecordingStatusChanged",
    "Refusal",
    "RefusalKind",
    "RefuseSignal",
    "RemoteTrackPublication",
    "Replayed",
    "RequestDone",
    "RequestError",
    "RequestFailed",
    "RequestReason",
    "Resolve",
    "RoomEngine",
    "RoomEvent",
    "RoomMetadataChanged",
    "RoomState",
    "RoomUpdated",
    "RpcCancelled",
    "RpcError",
    "RpcErrorCode",
    "RpcInvocation",
    "RpcInvoked",
    "RtpReceiver",
    "Scenario",
    "SendSignal",
    "SenderStats",
    "ServerInfo",
    "ServerOptions",
    "SfuServer",
    "SignalFailure",
    "SignalReconnecting",
    "SipDtmf",
    "SipDtmfReceived",
    "StreamError",
    "StreamFailure",
    "StreamInfo",
    "StreamOpened",
    "StreamReadable",
    "StreamState",
    "SubscriptionError",
    "SubscriptionStatus",
    "TextOperation",
    "TextStreamInfo",
    "TokenRefreshed",
    "TrackKeyframeWanted",
    "TrackKind",
    "TrackMuted",
    "TrackPublication",
    "TrackPublished",
    "TrackReadable",
    "TrackSource",
    "TrackStarted",
    "TrackStreamStateChanged",
    "TrackSubscribed",
    "TrackSubscriptionFailed",
    "TrackSubscriptionPermissionChanged",
    "TrackSubscriptionStatusChanged",
    "TrackUnmuted",
    "TrackUnpublished",
    "TrackUnsubscribed",
    "Transcription",
    "TranscriptionReceived",
    "TranscriptionSegment",
    "Transmit",
    "TurnServerConfig",
    "UnacknowledgedPacket",
    "UnusableToken",
    "UrlError",
    "VideoLayer",
    "VideoQuality",
    "WallClock",
    "core_data_tracks",
    "core_messages",
    "core_participant",
    "core_publication",
    "core_track",
    "events",
    "explain_url",
    "is_loopback",
    "mint",
    "models",
    "opus",
    "pair_line",
    "path_table",
    "path_verdict",
    "plain_identity",
    "preload_core",
    "replay",
    "way_line",
]

_LATER = {
    "PlainEngine": "dtls.plain",
    "plain_identity": "dtls.plain",
    "Claims": "sfu.token",
    "DEVELOPMENT_KEY": "sfu.token",
    "SFU_HTTP_BODY": "base.limits",
    "SFU_MESSAGE": "base.limits",
    "AnswerHttp": "sfu.options",
    "DropSignal": "sfu.options",
    "HttpResponse": "sfu.options",
    "RefuseSignal": "sfu.options",
    "ServerOptions": "sfu.options",
    "SfuServer": "sfu.server",
    "mint": "sfu.token",
    "Frame": "rtp.frame",
    "MediaClock": "rtp.clock",
    "TrackKeyframeWanted": "room.outputs",
    "TrackReadable": "room.outputs",
    "TrackStarted": "room.outputs",
    "DataReadable": "room.data_lanes",
    "DataWritable": "room.data_lanes",
    "DtlsIdentity": "dtls",
    "Ended": "room.outputs",
    "EngineOptions": "room.options",
    "Factories": "room.state",
    "JoinFailed": "room.outputs",
    "MediaFailure": "room.outputs",
    "Refusal": "signal.refusal",
    "RefusalKind": "signal.refusal",
    "RequestDone": "room.requests",
    "RequestError": "room.requests",
    "RequestFailed": "room.requests",
    "Recorder": "testing.record",
    "Replayed": "testing.record",
    "RoomEngine": "room.engine",
    "RoomState": "room.state",
    "DataTrackReadable": "room.data_tracks",
    "IncomingStream": "room.stream_in",
    "OutgoingStream": "room.stream_out",
    "StreamOpened": "room.stream_in",
    "StreamReadable": "room.stream_in",
    "RpcCancelled": "room.rpc",
    "RpcInvocation": "room.rpc",
    "RpcInvoked": "room.rpc",
    "TurnServerConfig": "ice.paths",
    "UnusableToken": "signal.urls",
    "UrlError": "signal.urls",
    "explain_url": "signal.urls",
    "is_loopback": "signal.urls",
    "opus": "rtp.payload",
    "pair_line": "ice.verdict",
    "path_table": "ice.verdict",
    "path_verdict": "ice.verdict",
    "replay": "testing.record",
    "way_line": "ice.verdict",
}


def __getattr__(name: str) -> object:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found: object = getattr(import_module("sansio." + _LATER[name]), name)
    globals()[name] = found
    return found


def preload_core() -> None:
    """Import what a session needs, cryptography and protobuf included."""
    from sansio import dtls, proto, srtp
    from sansio.room import engine  # noqa: F401

    dtls.preload()
    srtp.preload()
    _ = proto.rtc
