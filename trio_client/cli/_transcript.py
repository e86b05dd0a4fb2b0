"""A live transcript: a line for everything that happens, and on a terminal a line of levels below."""

from __future__ import annotations

import shutil
import sys
import time
from typing import Any, TextIO

from .. import _core as core

BARS = " ▁▂▃▄▅▆▇█"
ASCII_BARS = " .:-=+*#@"


class Transcript:
    """Lines with the seconds since the beginning. ``status`` is shown on a terminal only, and always the last line."""

    def __init__(self, out: TextIO | None = None) -> None:
        self._out = out or sys.stdout
        self._begun = time.monotonic()
        self._status = ""
        self.live = self._out.isatty()
        encoding = (getattr(self._out, "encoding", None) or "ascii").lower().replace("-", "")
        self._unicode = encoding == "utf8"
        self._bars = BARS if self._unicode else ASCII_BARS

    @property
    def elapsed(self) -> float:
        """Seconds since the beginning."""
        return time.monotonic() - self._begun

    def say(self, text: str) -> None:
        """One line."""
        self._write(f"{self.elapsed:8.3f}  {self._shown(text)}\n")

    def status(self, text: str) -> None:
        """What the last line of the terminal shows from now on."""
        if self.live:
            self._status = self._shown(text)[: shutil.get_terminal_size().columns - 1]
            self._write("")

    def bar(self, level: float, width: int = 8) -> str:
        """A level of 0 to 1 as a bar."""
        steps = round(min(max(level, 0.0), 1.0) * width * (len(self._bars) - 1))
        full, part = divmod(steps, len(self._bars) - 1)
        return (self._bars[-1] * full + (self._bars[part] if part else "")).ljust(width)

    def speakers(self, room: Any) -> list[str]:
        """Everybody in the room who is heard, with a bar."""
        return [f"{speaker.identity} [{self.bar(speaker.audio_level)}]" for speaker in room.active_speakers]

    def close(self) -> None:
        """Take the status line away."""
        self.status("")

    def _shown(self, text: str) -> str:
        """Names and messages are the choice of others: nothing of them may command the terminal, or not be written."""
        text = printable(text)
        return text if self._unicode else text.encode("ascii", "backslashreplace").decode()

    def _write(self, text: str) -> None:
        if self.live:
            text = f"\r\x1b[K{text}{self._status}"
        self._out.write(text)
        self._out.flush()


def printable(text: str) -> str:
    """The text as one line without control characters."""
    return "".join([char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text])


def show(data: bytes, limit: int = 60) -> str:
    """Data as text if it is some, else in hexadecimal."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        text = ""
    if text and text.isprintable():
        return f'"{text}"' if len(text) <= limit else f'"{text[:limit]}..." ({len(data)} bytes)'
    return f"{data[: limit // 3].hex(' ')}{'...' if len(data) > limit // 3 else ''} ({len(data)} bytes)"


def _track(publication: Any) -> str:
    words = [publication.source.name.lower().replace("_", " ")]
    if publication.name:
        words.append(f'"{publication.name}"')
    if publication.mime_type:
        words.append(publication.mime_type)
    if publication.dimensions is not None and publication.dimensions.width:
        words.append(f"{publication.dimensions.width}x{publication.dimensions.height}")
    return " ".join(words)


def describe(event: core.Event) -> str:
    """An event as a sentence; "" for those that a transcript has no use for."""
    match event:
        case core.Connected():
            return ""
        case core.ConnectionStateChanged(state=state):
            return f"{type(event).__name__}: {state.name}"
        case core.Reconnected(resumed=resumed):
            return f"Reconnected: {'the same session' if resumed else 'a new session'}"
        case core.Disconnected(reason=reason) | core.ParticipantDisconnected(reason=reason):
            who = f" {event.participant.identity}" if isinstance(event, core.ParticipantDisconnected) else ""
            return f"{type(event).__name__}{who}: {reason.name}"
        case core.DataReceived(payload=payload, topic=topic, reliable=reliable, identity=identity):
            words = ["DataReceived", f"from {identity or 'the server'}"]
            words += [f"on {topic}"] if topic else []
            words += [] if reliable else ["lossy"]
            return f"{' '.join(words)}: {show(payload)}"
        case core.ActiveSpeakersChanged(speakers=speakers, levels=levels):
            pairs = [f"{p.identity} {level:.2f}" for p, level in zip(speakers, levels, strict=True)]
            return f"ActiveSpeakersChanged: {', '.join(pairs) or 'nobody'}"
        case core.ParticipantNameChanged(participant=p, new_name=name):
            return f'{type(event).__name__} {p.identity}: "{name}"'
        case core.ParticipantMetadataChanged(participant=p, metadata=metadata):
            return f'{type(event).__name__} {p.identity}: "{metadata}"'
        case core.ParticipantAttributesChanged(participant=p, changed=changed):
            return f"{type(event).__name__} {p.identity}: {dict(changed)}"
        case core.ConnectionQualityChanged(participant=p, quality=quality):
            return f"{type(event).__name__} {p.identity}: {quality.name}"
    return _any(event)


def _any(event: core.Event) -> str:
    """Any event: whom and what it is about, as far as it says."""
    words = [type(event).__name__]
    if (participant := getattr(event, "participant", None)) is not None:
        words.append(participant.identity)
    if (publication := getattr(event, "publication", None)) is not None:
        words.append(_track(publication))
    for name in ("state", "error", "allowed", "metadata", "recording", "room_name"):
        value = getattr(event, name, None)
        if value is not None:
            words.append(f"{name}={getattr(value, 'name', value)}")
    return " ".join(words)
