"""``trio-livekit record``."""

from __future__ import annotations

import re
from argparse import Namespace
from pathlib import Path
from typing import Any

import trio

from .. import _core as core
from .._connect import connect
from ._exits import Exit, Failure, sent_away
from ._places import find_token, find_url
from ._rates import rates
from ._stop import stop_after, until_stopped
from ._testcard import need_media
from ._transcript import Transcript

ENDINGS = {"audio/opus": ".ogg", "audio/red": ".ogg", "video/vp8": ".webm", "video/h264": ".mp4"}
REFRESH = 0.5


class _Recorder:
    """Gives every track a file."""

    def __init__(self, media: Any, folder: Path, transcript: Transcript) -> None:
        self.first = trio.Event()
        self.files: dict[Path, list[Any]] = {}
        self._media = media
        self._folder = folder
        self._transcript = transcript

    async def run(self, track: Any, participant: Any) -> None:
        """Record one track to its end."""
        publication = track.publication
        path = self._folder / _file_name(participant.identity, publication)
        self._transcript.say(f"recording {participant.identity} {publication.kind.name.lower()} to {path}")
        self.first.set()
        self.files[path] = []
        self.files[path] = await self._media.record(track, path)
        (recorded,) = self.files[path]
        self._transcript.say(f"{path}: {recorded.ended:.1f} s, {recorded.frames} frames, {recorded.lost} lost")


def _file_name(identity: str, publication: Any) -> str:
    """Of letters and digits only: identities are the other side's choice."""
    name = "-".join([identity, publication.source.name.lower(), publication.sid])
    return re.sub(r"[^\w.-]+", "_", name)[:100].lstrip(".") + ENDINGS.get(publication.mime_type.lower(), ".mkv")


async def run(arguments: Namespace) -> int:
    """Join, and record what comes."""
    media = need_media()
    url = find_url(arguments)
    token = find_token(arguments, url)
    folder = Path(arguments.out)
    folder.mkdir(parents=True, exist_ok=True)
    transcript = Transcript()
    ended: core.DisconnectReason | None = None
    try:
        recorder = _Recorder(media, folder, transcript)
        async with connect(url, token) as room:
            transcript.say(f"joined {room.name} as {room.local_participant.identity}")
            async with until_stopped() as scope, trio.open_nursery() as nursery:
                nursery.start_soon(_time, recorder, scope, arguments)
                if transcript.live:
                    nursery.start_soon(_progress, room, transcript)
                async for event in room.events(core.TrackSubscribed, core.Disconnected):
                    if isinstance(event, core.TrackSubscribed):
                        nursery.start_soon(recorder.run, event.track, event.participant)
                    elif isinstance(event, core.Disconnected):
                        transcript.say(f"Disconnected: {event.reason.name}")
                        ended = event.reason
                nursery.cancel_scope.cancel()
    finally:
        transcript.close()
    kept = [path for path in recorder.files if path.exists()]
    for path in kept:
        print(f"{path}  {path.stat().st_size} bytes")
    if ended is not None:
        raise sent_away(ended)
    if not kept:
        raise Failure(Exit.CHECK, "Nothing was recorded: no track brought anything.")
    return Exit.OK


async def _time(recorder: _Recorder, scope: trio.CancelScope, arguments: Namespace) -> None:
    stop_after(scope, arguments.wait)
    await recorder.first.wait()
    scope.deadline = float("inf")
    stop_after(scope, arguments.seconds)


async def _progress(room: Any, transcript: Transcript) -> None:
    async for rate in rates(lambda: room.stats().bytes_received, REFRESH):
        parts = [f"{transcript.elapsed:.0f} s", f"{rate:.0f} kbit/s", *transcript.speakers(room)]
        transcript.status("  ".join(parts))
