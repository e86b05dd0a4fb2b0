"""Media that is not as it should be, through the real server: it harms the tracks that it is of, and nothing else."""

from __future__ import annotations

import random
from typing import Any

import trio

from sansio.srtp.context import SrtpSender
from trio_client import ConnectionState, LocalAudioTrack, LocalVideoTrack, RemoteTrack, TrackKind, TrackSubscribed
from trio_client.media import decode_audio, decode_video

from .ours import MODES, joined, run
from .signals import pictures, play, show, tone


class Damage:
    """While ``on``, every third packet of media that is sent is spoilt behind its fixed header."""

    def __init__(self, monkeypatch: Any) -> None:
        self.on = False
        self.count = 0
        self._random = random.Random(4)
        protect = SrtpSender.protect

        def spoil(sender: SrtpSender, packet: bytes) -> bytes | None:
            return protect(sender, self._spoilt(packet) if self.on and self._random.random() < 1 / 3 else packet)

        monkeypatch.setattr(SrtpSender, "protect", spoil)

    def _spoilt(self, packet: bytes) -> bytes:
        self.count += 1
        some = self._random
        data = bytearray(packet)
        match some.randrange(5):
            case 0:
                del data[some.randint(12, len(data)) :]
            case 1:
                for _ in range(4):
                    data[some.randrange(12, len(data))] = some.randrange(256)
            case 2:
                data[12:] = some.randbytes(len(data) - 12)
            case 3:
                data[0] ^= 0x20  # padding
            case _:
                data[0] ^= 0x10  # a header extension, or none any more
        return bytes(data)


@MODES
def test_spoilt_packets(server, room, native, single, monkeypatch):
    damage = Damage(monkeypatch)
    native("them").call("publish_video")
    seen: dict[str, int] = {}
    well: list[Any] = []

    async def read(track: RemoteTrack) -> None:
        async for frame in track.frames():
            well.append(frame)

    async def decode(track: RemoteTrack) -> None:
        decoder = decode_audio(track) if track.kind is TrackKind.AUDIO else decode_video(track)
        async with decoder as decoded:
            async for _ in decoded:
                seen[track.name] = seen.get(track.name, 0) + 1

    async def scenario() -> None:
        async with (
            joined(server, room, single=single) as ours,
            ours.events(TrackSubscribed) as events,
            joined(server, room, "other", single=single) as other,
        ):
            cams = [LocalVideoTrack(codec, codec=codec, width=320, height=240) for codec in ("vp8", "h264")]
            voices = [LocalAudioTrack("red"), LocalAudioTrack("opus", red=False)]
            for track in (*cams, *voices):
                await other.local_participant.publish_track(track)
            for cam in cams:
                other.start_soon(show, [cam], [pictures(cam.name)])
            for voice in voices:
                other.start_soon(play, voice, tone())
            for _ in range(5):
                event = await anext(events)
                ours.start_soon(read if event.participant.identity == "them" else decode, event.track)
            while len(seen) < 4 or not well:
                await trio.sleep(0.05)
            damage.on = True
            await trio.sleep(6)
            damage.on = False
            await trio.sleep(1.5)
            print(damage.count, seen, ours.stats().received)
            before = dict(seen)
            await trio.sleep(1.5)
            assert damage.count > 200
            assert all(seen[name] > before[name] for name in before)  # all of them are well again
            assert len(well) > 60
            assert sum([frame.lost for frame in well[1:]]) == 0
            assert ours.state is other.state is ConnectionState.CONNECTED

    run(scenario)
