"""The RTP codecs of aiortc as a program, not a test: a JSON list a line in, its answer out; bytes in hexadecimal."""

from __future__ import annotations

import json
import sys

from aiortc.codecs.h264 import H264Encoder, H264PayloadDescriptor
from aiortc.codecs.vpx import Vp8Encoder, VpxPayloadDescriptor
from aiortc.rtcrtpparameters import RTCRtpHeaderExtensionParameters, RTCRtpParameters
from aiortc.rtp import HeaderExtensionsMap, RtcpPacket, RtpPacket, unwrap_rtx

IDS = {
    4: "urn:ietf:params:rtp-hdrext:sdes:mid",
    10: "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id",
    11: "urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id",
    1: "urn:ietf:params:rtp-hdrext:ssrc-audio-level",
    2: "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time",
    3: "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01",
}
EXTENSIONS = HeaderExtensionsMap()
EXTENSIONS.configure(
    RTCRtpParameters(headerExtensions=[RTCRtpHeaderExtensionParameters(id=key, uri=uri) for key, uri in IDS.items()])
)


def fields(packet):
    values = packet.extensions
    return {
        "sequence": packet.sequence_number,
        "timestamp": packet.timestamp,
        "ssrc": packet.ssrc,
        "marker": packet.marker,
        "payload_type": packet.payload_type,
        "csrcs": packet.csrc,
        "payload": packet.payload.hex(),
        "mid": values.mid,
        "rid": values.rtp_stream_id,
        "repaired": values.repaired_rtp_stream_id,
        "level": values.audio_level,
        "time": values.abs_send_time,
        "number": values.transport_sequence_number,
        "again": packet.serialize(EXTENSIONS).hex() if not packet.padding_size else None,
    }


def answer(kind, *arguments):
    match kind:
        case "rtp":
            return fields(RtpPacket.parse(bytes.fromhex(arguments[0]), EXTENSIONS))
        case "rtx":
            packet = RtpPacket.parse(bytes.fromhex(arguments[0]), EXTENSIONS)
            return fields(unwrap_rtx(packet, payload_type=arguments[1], ssrc=arguments[2]))
        case "rtcp":
            return [bytes(packet).hex() for packet in RtcpPacket.parse(bytes.fromhex(arguments[0]))]
        case "vp8" | "h264":
            make = VpxPayloadDescriptor if kind == "vp8" else H264PayloadDescriptor
            return "".join([make.parse(bytes.fromhex(payload))[1].hex() for payload in arguments[0]])
        case "cut vp8":
            return [payload.hex() for payload in Vp8Encoder._packetize(bytes.fromhex(arguments[0]), arguments[1])]
        case "cut h264":
            units = H264Encoder._split_bitstream(bytes.fromhex(arguments[0]))
            return [payload.hex() for payload in H264Encoder._packetize(units)]


for line in sys.stdin:
    try:
        print(json.dumps(answer(*json.loads(line))), flush=True)
    except Exception as error:  # it leaks struct.error and others
        print(json.dumps({"error": str(error)}), flush=True)
