"""LiveKit's own Python client (the ``livekit`` wheel) as a process: commands and events are lines of JSON.

Commands on standard input: ``{"id": 1, "do": "join", "url": ..., "token": ...}``; each is answered by
``{"reply": 1, ...}`` or ``{"reply": 1, "error": ...}``. Events on standard output: ``{"event": name, ...}``. Bytes
travel as base64. The process leaves its room and ends when its input ends.
"""

from __future__ import annotations

import array
import asyncio
import base64
import hashlib
import itertools
import json
import math
import sys
from typing import Any

from livekit import rtc


def say(**fields: Any) -> None:
    print(json.dumps(fields), flush=True)


def text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def pattern(size: int) -> bytes:
    """Bytes that do not repeat soon, and do not shrink by compression."""
    return b"".join([hashlib.sha256(b"%d" % number).digest() for number in range(-(-size // 32))])[:size]


def facts(participant: rtc.Participant) -> dict[str, Any]:
    return {
        "identity": participant.identity,
        "sid": participant.sid,
        "name": participant.name,
        "metadata": participant.metadata,
        "attributes": dict(participant.attributes),
        "kind": participant.kind,
        "tracks": {sid: publication.name for sid, publication in participant.track_publications.items()},
    }


class Peer:
    def __init__(self) -> None:
        self.room = rtc.Room()
        self.echoing = False
        self.listening = False
        self.tasks: set[asyncio.Task[Any]] = set()
        self.data_track: Any = None
        self.sources: list[rtc.AudioSource | rtc.VideoSource] = []
        self.writers: list[rtc.TextStreamWriter] = []
        for name in (
            *("participant_connected", "participant_disconnected", "participant_active"),
            *("participant_name_changed", "participant_metadata_changed", "participant_attributes_changed"),
            *("track_published", "track_unpublished", "track_subscribed", "track_unsubscribed", "track_muted"),
            *("track_unmuted", "active_speakers_changed", "connection_quality_changed", "room_metadata_changed"),
            *("reconnecting", "reconnected", "disconnected", "connection_state_changed"),
        ):
            self.room.on(name, lambda *args, name=name: say(event=name, args=[self.argument(a) for a in args]))
        self.room.on("data_received", self.data_received)
        self.room.on("sip_dtmf_received", self.key_pressed)
        self.room.on("transcription_received", self.transcribed)
        self.room.on("track_subscribed", self.track_subscribed)

    def argument(self, value: Any) -> Any:
        if isinstance(value, rtc.Participant):
            return facts(value)
        if isinstance(value, int | str | float | bool | dict | None):
            return value
        if isinstance(value, list):
            return [self.argument(item) for item in value]
        return {"sid": getattr(value, "sid", None), "name": getattr(value, "name", type(value).__name__)}

    def data_received(self, packet: rtc.DataPacket) -> None:
        sender = packet.participant.identity if packet.participant else None
        reliable = packet.kind == rtc.DataPacketKind.KIND_RELIABLE
        if self.echoing and sender is not None:
            self.start(
                self.room.local_participant.publish_data(
                    packet.data, reliable=reliable, topic=packet.topic or "", destination_identities=[sender]
                )
            )
            return
        say(event="data_received", data=text(packet.data), reliable=reliable, topic=packet.topic, identity=sender)

    def track_subscribed(self, track: rtc.Track, publication: Any, participant: rtc.Participant) -> None:
        if self.listening:
            self.start(self.hear(track) if track.kind == rtc.TrackKind.KIND_AUDIO else self.see(track))

    async def hear(self, track: rtc.Track) -> None:
        """Tell whenever the sound begins or ends."""
        loud = False
        async for event in rtc.AudioStream(track, sample_rate=48000, num_channels=1):
            peak = max(map(abs, event.frame.data), default=0)
            if (peak > 1000) != loud:
                loud = not loud
                say(event="heard" if loud else "silent", sid=track.sid, peak=peak)

    async def see(self, track: rtc.Track) -> None:
        """Tell of the first picture and each change of size."""
        size = None
        async for event in rtc.VideoStream(track):
            if (event.frame.width, event.frame.height) != size:
                size = (event.frame.width, event.frame.height)
                say(event="seen", sid=track.sid, width=size[0], height=size[1])

    def start(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    # ---- commands

    async def join(self, url: str, token: str, auto_subscribe: bool = True) -> dict[str, Any]:
        await self.room.connect(url, token, rtc.RoomOptions(auto_subscribe=auto_subscribe))
        return await self.who()

    async def who(self) -> dict[str, Any]:
        return {
            "local": facts(self.room.local_participant),
            "remote": [facts(p) for p in self.room.remote_participants.values()],
            "room": {"name": self.room.name, "metadata": self.room.metadata},
        }

    async def send(self, data: str, reliable: bool = True, topic: str = "", to: list[str] | None = None) -> None:
        await self.room.local_participant.publish_data(
            base64.b64decode(data), reliable=reliable, topic=topic, destination_identities=to or []
        )

    async def send_many(self, count: int, size: int, reliable: bool = True, topic: str = "") -> None:
        """``count`` packets of ``size`` bytes (at least 4), each beginning with its number."""
        for number in range(count):
            payload = number.to_bytes(4, "big").ljust(size, b"\xa5")
            await self.room.local_participant.publish_data(payload, reliable=reliable, topic=topic)

    async def echo(self, on: bool = True) -> None:
        """Send each data packet back to its sender instead of reporting it."""
        self.echoing = on

    async def set_name(self, name: str) -> None:
        await self.room.local_participant.set_name(name)

    async def set_metadata(self, metadata: str) -> None:
        await self.room.local_participant.set_metadata(metadata)

    async def set_attributes(self, attributes: dict[str, str]) -> None:
        await self.room.local_participant.set_attributes(attributes)

    async def listen(self) -> None:
        """From now on decode the tracks that are subscribed, and tell of what is heard and seen."""
        self.listening = True

    async def set_video_quality(self, sid: str, quality: int) -> None:
        """0 is low, 1 medium, 2 high."""
        for participant in self.room.remote_participants.values():
            if sid in participant.track_publications:
                participant.track_publications[sid].set_video_quality(quality)

    async def mute(self, sid: str, muted: bool = True) -> None:
        """Mute a track of its own, or unmute it."""
        track = self.room.local_participant.track_publications[sid].track
        track.mute() if muted else track.unmute()

    async def unpublish(self, sid: str) -> None:
        await self.room.local_participant.unpublish_track(sid)

    async def publish_video(
        self, name: str = "cam", width: int = 320, height: int = 240, codec: str = "VP8", simulcast: bool = False
    ) -> dict[str, Any]:
        """Publish pictures in changing colours, 15 a second, until the peer leaves."""
        source = rtc.VideoSource(width, height)
        track = rtc.LocalVideoTrack.create_video_track(name, source)
        options = rtc.TrackPublishOptions(
            source=rtc.TrackSource.SOURCE_CAMERA, simulcast=simulcast, video_codec=rtc.VideoCodec.Value(codec)
        )
        publication = await self.room.local_participant.publish_track(track, options)
        self.sources.append(source)
        self.start(self.paint(source, width, height))
        return {"sid": publication.sid}

    async def paint(self, source: rtc.VideoSource, width: int, height: int) -> None:
        number = 0
        while True:
            colour = bytes((number % 256, 255 - number % 256, number * 3 % 256, 255))
            source.capture_frame(rtc.VideoFrame(width, height, rtc.VideoBufferType.RGBA, colour * (width * height)))
            number += 7
            await asyncio.sleep(1 / 15)

    async def publish_audio(self, name: str = "voice") -> dict[str, Any]:
        """Publish a microphone track of silence; it goes on until the peer leaves."""
        source = rtc.AudioSource(48000, 1)
        track = rtc.LocalAudioTrack.create_audio_track(name, source)
        options = rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_MICROPHONE)
        publication = await self.room.local_participant.publish_track(track, options)
        self.sources.append(source)
        self.start(self.silence(source))
        return {"sid": publication.sid}

    async def publish_tone(self, hz: float, peak: int, name: str = "tone") -> dict[str, Any]:
        """Publish a sine as a microphone track, until the peer leaves."""
        source = rtc.AudioSource(48000, 1)
        track = rtc.LocalAudioTrack.create_audio_track(name, source)
        options = rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_MICROPHONE, dtx=False)
        publication = await self.room.local_participant.publish_track(track, options)
        self.sources.append(source)
        self.start(self.sing(source, hz, peak))
        return {"sid": publication.sid}

    async def sing(self, source: rtc.AudioSource, hz: float, peak: int) -> None:
        at = 0
        while True:
            wave = [round(peak * math.sin(math.tau * hz * n / 48000)) for n in range(at, at + 4800)]
            at += 4800
            await source.capture_frame(rtc.AudioFrame(array.array("h", wave).tobytes(), 48000, 1, 4800))

    async def publish_colour(self, rgb: list[int]) -> dict[str, Any]:
        """Publish pictures of one colour, with a corner that changes, until the peer leaves."""
        source = rtc.VideoSource(320, 240)
        track = rtc.LocalVideoTrack.create_video_track("colour", source)
        options = rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_CAMERA, simulcast=False)
        publication = await self.room.local_participant.publish_track(track, options)
        self.sources.append(source)
        self.start(self.colour(source, bytes((*rgb, 255))))
        return {"sid": publication.sid}

    async def colour(self, source: rtc.VideoSource, pixel: bytes) -> None:
        picture, number = bytearray(pixel * (320 * 240)), 0
        while True:
            picture[: 8 * 4] = (b"\0\0\0\xff", b"\xff\xff\xff\xff")[number % 2] * 8
            source.capture_frame(rtc.VideoFrame(320, 240, rtc.VideoBufferType.RGBA, picture))
            number += 1
            await asyncio.sleep(1 / 15)

    def find(self, sid: str) -> Any:
        for participant in self.room.remote_participants.values():
            if sid in participant.track_publications:
                return participant.track_publications[sid].track
        raise KeyError(sid)

    async def measure_sound(self, sid: str) -> dict[str, Any]:
        """Frequency and peak of half a second, after the first half."""
        samples = array.array("h")
        async for event in rtc.AudioStream(self.find(sid), sample_rate=48000, num_channels=1):
            samples.extend(event.frame.data)
            if len(samples) >= 48000:
                break
        half = samples[24000:]
        crossings = sum((a < 0) != (b < 0) for a, b in itertools.pairwise(half))
        return {"hz": crossings / 2 / (len(half) / 48000), "peak": max(map(abs, half))}

    async def measure_ears(self, sid: str) -> dict[str, Any]:
        """The frequency for each ear, of half a second after the first half."""
        samples = array.array("h")
        async for event in rtc.AudioStream(self.find(sid), sample_rate=48000, num_channels=2):
            samples.extend(event.frame.data)
            if len(samples) >= 96000:
                break
        ears = [samples[48000::2], samples[48001::2]]
        return {"hz": [sum((a < 0) != (b < 0) for a, b in itertools.pairwise(ear)) for ear in ears]}

    async def measure_colour(self, sid: str) -> dict[str, Any]:
        """The colour in the middle of the fifth picture."""
        count = 0
        async for event in rtc.VideoStream(self.find(sid), format=rtc.VideoBufferType.RGBA):
            count += 1
            if count == 5:
                frame = event.frame
                at = (frame.height // 2 * frame.width + frame.width // 2) * 4
                return {"rgb": list(bytes(frame.data)[at : at + 3])}
        raise AssertionError("no pictures")

    async def silence(self, source: rtc.AudioSource) -> None:
        while True:
            await source.capture_frame(rtc.AudioFrame(bytes(960), 48000, 1, 480))

    # ---- data tracks

    async def follow_data_tracks(self) -> None:
        """Subscribe to every data track that appears from now on, and tell of its frames."""
        self.room.on("data_track_published", lambda track: self.start(self.follow(track)))
        self.room.on("data_track_unpublished", lambda sid: say(event="data_track_unpublished", sid=sid))

    async def follow(self, track: Any) -> None:
        say(event="data_track", name=track.info.name, sid=track.info.sid, identity=track.publisher_identity)
        async for frame in track.subscribe(buffer_size=64):
            digest = hashlib.sha256(frame.payload).hexdigest()
            stamp = frame.user_timestamp
            say(event="frame", name=track.info.name, size=len(frame.payload), sha=digest, stamp=stamp)
        say(event="data_track_ended", name=track.info.name)

    async def publish_data_track(self, name: str) -> dict[str, Any]:
        self.data_track = await self.room.local_participant.publish_data_track(name=name)
        return {"sid": self.data_track.info.sid}

    async def push_frames(self, sizes: list[int]) -> None:
        """A frame of each size, whose timestamp is its number, from 1 on."""
        for number, size in enumerate(sizes):
            self.data_track.try_push(rtc.DataTrackFrame(pattern(size), number + 1))
            await asyncio.sleep(0.1)

    async def unpublish_data_track(self) -> None:
        await self.data_track.unpublish()

    # ---- streams

    async def hear_streams(self, topic: str) -> None:
        """Read every stream of a topic; tell of its end, with a digest of what it held."""
        self.room.register_text_stream_handler(topic, lambda reader, identity: self.start(self.drain(reader, identity)))
        self.room.register_byte_stream_handler(topic, lambda reader, identity: self.start(self.drain(reader, identity)))

    async def drain(self, reader: Any, identity: str) -> None:
        say(event="stream_opened", identity=identity)
        digest, size, pieces, error = hashlib.sha256(), 0, 0, None
        try:
            async for piece in reader:
                data = piece.encode() if isinstance(piece, str) else piece
                digest.update(data)
                size, pieces = size + len(data), pieces + 1
        except rtc.StreamError as failure:
            error = failure.description
        info = {**vars(reader.info)}
        say(event="stream", identity=identity, info=info, size=size, pieces=pieces, sha=digest.hexdigest(), error=error)

    async def send_text(self, text: str, topic: str, attributes: dict[str, str], to: list[str] | None = None) -> None:
        await self.room.local_participant.send_text(
            text, topic=topic, attributes=attributes, destination_identities=to or []
        )

    async def stream_text(self, parts: list[str], topic: str, reason: str | None = "") -> None:
        """Write a text in parts; ``reason`` None leaves it open."""
        writer = await self.room.local_participant.stream_text(topic=topic)
        for part in parts:
            await writer.write(part)
        if reason is None:
            self.writers.append(writer)  # one that nobody refers to any more is closed
        else:
            await writer.aclose(reason=reason, attributes={"end": "yes"})

    async def send_bytes(self, size: int, topic: str, name: str, chunk: int = 0) -> None:
        """A pattern of bytes: as a whole, or written in chunks."""
        data = pattern(size)
        if not chunk:
            await self.room.local_participant.send_bytes(data, topic=topic, name=name)
            return
        writer = await self.room.local_participant.stream_bytes(name, topic=topic, total_size=size)
        for start in range(0, size, chunk):
            await writer.write(data[start : start + chunk])
        await writer.aclose()

    # ---- messages

    def key_pressed(self, dtmf: rtc.SipDTMF) -> None:
        who = dtmf.participant.identity if dtmf.participant else None
        say(event="key", code=dtmf.code, digit=dtmf.digit, identity=who)

    def transcribed(self, segments: list[Any], participant: Any, publication: Any) -> None:
        who = participant.identity if participant else None
        track = publication.sid if publication else None
        say(event="transcription", segments=[vars(segment) for segment in segments], identity=who, track=track)

    async def press(self, code: int, digit: str) -> None:
        await self.room.local_participant.publish_dtmf(code=code, digit=digit)

    async def transcribe(self, identity: str, track: str, segment: dict[str, Any]) -> None:
        segments = [rtc.TranscriptionSegment(**segment)]
        await self.room.local_participant.publish_transcription(rtc.Transcription(identity, track, segments))

    # ---- calls

    async def serve(self) -> None:
        """Answer calls from now on."""

        async def echo(data: rtc.RpcInvocationData) -> str:
            return data.payload

        async def count(data: rtc.RpcInvocationData) -> str:
            return str(len(data.payload))

        async def caller(data: rtc.RpcInvocationData) -> str:
            return f"{data.caller_identity} {data.response_timeout:g}"

        async def refuse(data: rtc.RpcInvocationData) -> str:
            raise rtc.RpcError(4711, "no tea", data.payload)

        async def out_of_order(data: rtc.RpcInvocationData) -> str:
            raise ValueError("out of order")

        async def sleep(data: rtc.RpcInvocationData) -> str:
            await asyncio.sleep(3600)
            return ""

        methods = {
            "echo": echo,
            "count": count,
            "caller": caller,
            "refuse": refuse,
            "break": out_of_order,
            "sleep": sleep,
        }
        for name, method in methods.items():
            self.room.local_participant.register_rpc_method(name, method)

    async def call(self, to: str, method: str, payload: str, response_timeout: float | None = None) -> dict[str, Any]:
        """Call a method of somebody: the answer, or the error."""
        try:
            answer = await self.room.local_participant.perform_rpc(
                destination_identity=to, method=method, payload=payload, response_timeout=response_timeout
            )
        except rtc.RpcError as error:
            return {"code": error.code, "message": error.message, "data": error.data or ""}
        return {"answer": answer}

    async def leave(self) -> None:
        await self.room.disconnect()

    # ---- the loop

    async def run(self) -> None:
        reader = asyncio.StreamReader(limit=1 << 24)
        loop = asyncio.get_running_loop()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        say(event="ready")
        while line := await reader.readline():
            command = json.loads(line)
            number, name = command.pop("id"), command.pop("do")
            try:
                result = await getattr(self, name)(**command)
            except Exception as error:
                say(reply=number, error=f"{type(error).__name__}: {error}")
            else:
                say(reply=number, result=result)
        for task in list(self.tasks):
            task.cancel()
        if self.room.isconnected():
            await self.room.disconnect()


async def main() -> None:
    await Peer().run()  # a Room belongs to the loop in which it is made


if __name__ == "__main__":
    asyncio.run(main())
