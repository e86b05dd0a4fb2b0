"""``trio-livekit publish``."""

from __future__ import annotations

import os
from argparse import Namespace
from typing import Any

import trio

from .. import _core as core
from .._connect import connect
from ._exits import Exit, Failure
from ._places import find_token, find_url
from ._rates import rates
from ._stop import stop_after, until_stopped
from ._testcard import FPS, HEIGHT, WIDTH, move, need_media, sing
from ._transcript import Transcript

TESTCARD = "test:"
REFRESH = 0.5


async def run(arguments: Namespace) -> int:
    """Join, and play until it ends or is stopped."""
    media = need_media()
    if arguments.file != TESTCARD and not os.path.exists(arguments.file):
        raise FileNotFoundError(2, "No such file", arguments.file)
    url = find_url(arguments)
    token = find_token(arguments, url)
    transcript = Transcript()
    try:
        async with (
            connect(url, token, auto_subscribe=False, options=_cancelling()) as room,
            until_stopped() as scope,
        ):
            stop_after(scope, arguments.seconds)
            transcript.say(f"joined {room.name} as {room.local_participant.identity}")
            room.on(core.LocalTrackPublished, lambda event: transcript.say(f"publishing {_name(event.publication)}"))
            room.on(core.LocalTrackSubscribed, lambda event: transcript.say(f"{_name(event.publication)} is received"))
            if transcript.live:
                room.start_soon(_progress, room, transcript)
            await _play(room, media, arguments)
            transcript.say("played to the end")
        transcript.say("left")
    finally:
        transcript.close()
    return Exit.OK


def _cancelling() -> Any:
    from .._options import ConnectOptions

    return ConnectOptions(cancel_on_disconnect=True)


def _name(publication: Any) -> str:
    return f'{publication.source.name.lower().replace("_", " ")} "{publication.name}"'


async def _play(room: Any, media: Any, arguments: Namespace) -> None:
    if arguments.file == TESTCARD:
        sound = media.PcmAudioTrack("tone")
        video = media.RawVideoTrack("testcard", WIDTH, HEIGHT, fps=FPS)
        await room.local_participant.publish_track(sound)
        await room.local_participant.publish_track(video)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(sing, sound)
            nursery.start_soon(move, video)
    while True:
        try:
            await media.play_file(room, arguments.file)
        except ValueError as error:  # of PyAV, for a file that it does not understand
            why = getattr(error, "strerror", None) or error
            raise Failure(Exit.SYSTEM, f"{arguments.file}: this file cannot be played: {why}.") from None
        if not arguments.loop:
            return


async def _progress(room: Any, transcript: Transcript) -> None:
    begun = transcript.elapsed
    async for rate in rates(lambda: room.stats().bytes_sent, REFRESH):
        parts = [f"{transcript.elapsed - begun:.0f} s", f"{rate:.0f} kbit/s", *transcript.speakers(room)]
        transcript.status("  ".join(parts))
