"""The session description as lines (RFC 8866): parsed and printed without loss, in order.

Nothing is interpreted here but the shape: a session part, and media sections that each begin with their ``m=`` line.
"""

from __future__ import annotations

from ..base.errors import ParseError
from ..base.limits import SDP_LINE, SDP_LINES, SDP_SECTIONS, SDP_SIZE

Line = tuple[str, str]
"""Type letter and value of one line."""


class Section:
    """The lines of the session part or of one media section, in order."""

    __slots__ = ("lines",)

    def __init__(self, lines: list[Line] | None = None) -> None:
        self.lines: list[Line] = [] if lines is None else lines

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Section) and self.lines == other.lines

    __hash__ = None  # type: ignore[assignment]  # mutable

    def __repr__(self) -> str:
        return f"Section({len(self.lines)} lines)"

    def value(self, letter: str) -> str | None:
        """The value of the first line of a type."""
        for found, value in self.lines:
            if found == letter:
                return value
        return None

    def attribute(self, name: str) -> str | None:
        """The value of the first attribute ``name``; empty for a flag, None when there is none."""
        prefix = name + ":"
        for letter, value in self.lines:
            if letter == "a":
                if value == name:
                    return ""
                if value.startswith(prefix):
                    return value[len(prefix) :]
        return None

    def attributes(self, name: str) -> list[str]:
        """The values of all attributes ``name``, in order."""
        prefix = name + ":"
        return [value[len(prefix) :] for letter, value in self.lines if letter == "a" and value.startswith(prefix)]

    def has(self, name: str) -> bool:
        """Whether there is an attribute ``name``, with or without a value."""
        return self.attribute(name) is not None

    def add(self, name: str, value: str | None = None) -> None:
        """Append an attribute."""
        self.lines.append(("a", name if value is None else f"{name}:{value}"))


class Description:
    """A session part and its media sections."""

    __slots__ = ("session", "media")

    def __init__(self, session: Section, media: list[Section]) -> None:
        self.session = session
        self.media = media

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Description) and self.session == other.session and self.media == other.media

    __hash__ = None  # type: ignore[assignment]  # mutable

    def __repr__(self) -> str:
        return f"Description({len(self.media)} media sections)"

    def __str__(self) -> str:
        """The description as text, every line ended by CRLF."""
        parts = [f"{letter}={value}\r\n" for letter, value in self.session.lines]
        for section in self.media:
            parts += [f"{letter}={value}\r\n" for letter, value in section.lines]
        return "".join(parts)


def parse_description(text: str) -> Description:
    """Parse a description whose lines end with CRLF or LF, the last one also with nothing. Raises ParseError."""
    if len(text) > SDP_SIZE:
        raise ParseError("the description is too long")
    rows = text.split("\n")
    if rows[-1] == "":
        rows.pop()
    if len(rows) > SDP_LINES:
        raise ParseError("the description has too many lines")
    section = Section()
    description = Description(section, [])
    for row in rows:
        letter, value = row[:1], row[2:].removesuffix("\r")
        if len(value) > SDP_LINE:
            raise ParseError("a line is too long")
        if row[1:2] != "=" or not "a" <= letter <= "z" or "\r" in value or "\0" in value:
            raise ParseError("a line is not of the form letter=value")
        if letter == "m":
            if len(description.media) >= SDP_SECTIONS:
                raise ParseError("the description has too many media sections")
            section = Section()
            description.media.append(section)
        section.lines.append((letter, value))
    if description.session.lines[:1] != [("v", "0")]:
        raise ParseError("the description does not begin with v=0")
    return description
