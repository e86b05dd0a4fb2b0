"""A picture of what happened when, as SVG: lanes of states, curves, bars and points above an axis of seconds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape

from attrs import define, field

WIDTH = 1100
LEFT, RIGHT = 130, 20
TOP = 120
GREEN, ORANGE, BLUE, VIOLET, RED, GREY = "#2e9e6b", "#e8930c", "#2f6fde", "#8a4fd0", "#cf3a3a", "#5b6570"


Scale = Callable[[float], float]
"""Where a moment is, from left to right."""
Draw = Callable[[Scale, float, float], list[str]]
"""Makes the body of a lane, from scale, top and height."""


@define
class Lane:
    """A lane with a name and a note at its left."""

    name: str
    height: int
    draw: Draw
    note: str = ""


@define
class Timeline:
    """Lanes from above to below. ``marks`` are (seconds, text), and stand above the lanes."""

    title: str
    subtitle: str
    lanes: list[Lane] = field(factory=list)
    marks: list[tuple[float, str]] = field(factory=list)

    def svg(self, end: float) -> str:
        """The picture, from 0 to ``end`` seconds."""
        span = WIDTH - LEFT - RIGHT

        def x(seconds: float) -> float:
            return LEFT + span * min(max(seconds, 0.0), end) / end

        body, y = [], float(TOP)
        for lane in self.lanes:
            body.append(_rectangle(LEFT, y, span, lane.height, "#f6f7f9"))
            body.append(_text(LEFT - 10, y + 16, lane.name, anchor="end", bold=True))
            if lane.note:
                body.append(_text(LEFT - 10, y + 32, lane.note, anchor="end", colour=GREY, size=11))
            body += lane.draw(x, y, lane.height)
            y += lane.height + 10
        for second in range(int(end) + 1):
            body.append(
                f'<line x1="{x(second):.1f}" x2="{x(second):.1f}" y1="{y:.1f}" y2="{y + 5:.1f}" stroke="{GREY}"/>'
            )
            body.append(_text(x(second), y + 20, f"{second} s", anchor="middle", colour=GREY, size=11))
        body += self._marks(x, y)
        height = y + 34
        head = [_text(20, 30, self.title, bold=True, size=18), _text(20, 50, self.subtitle, colour=GREY)]
        return "\n".join(
            [
                f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" width="{WIDTH}" '
                f'height="{height:.0f}" font-family="Helvetica, Arial, sans-serif" font-size="12">',
                f'<rect width="{WIDTH}" height="{height:.0f}" fill="white"/>',
                *head,
                *body,
                "</svg>\n",
            ]
        )

    def _marks(self, x: Scale, bottom: float) -> list[str]:
        """Lines from text to axis; texts that would touch go up a row."""
        found, rows = [], [-1e9, -1e9, -1e9]
        for seconds, text in sorted(self.marks):
            place = x(seconds)
            row = next((row for row, taken in enumerate(rows) if place > taken), len(rows) - 1)
            left = min(place, WIDTH - RIGHT - 6.2 * len(text))
            rows[row] = left + 6.2 * len(text) + 12
            y = TOP - 10 - 16 * row
            found.append(
                f'<line x1="{place:.1f}" x2="{place:.1f}" y1="{y + 3:.1f}" y2="{bottom:.1f}" stroke="{GREY}" '
                f'stroke-width="0.7" stroke-dasharray="3 3"/>'
            )
            found.append(_text(left, y, text, size=11))
        return found


def states(spans: Sequence[tuple[float, float, str, str]]) -> Draw:
    """Bars of (begin, end, colour, text)."""

    def draw(x: Scale, y: float, height: float) -> list[str]:
        found = []
        for begin, end, colour, text in spans:
            width = max(x(end) - x(begin), 2.0)
            found.append(_rectangle(x(begin), y + 4, width, height - 8, colour, radius=3))
            if width > 7 * len(text):
                found.append(_text(x(begin) + 6, y + height / 2 + 4, text, colour="white"))
        return found

    return draw


def curve(points: Sequence[tuple[float, float]], colour: str) -> Draw:
    """An area under (seconds, 0 to 1)."""

    def draw(x: Scale, y: float, height: float) -> list[str]:
        if not points:
            return []
        line = " ".join([f"{x(at):.1f},{y + height - 3 - (height - 8) * level:.1f}" for at, level in points])
        base = y + height - 3
        area = f"{x(points[0][0]):.1f},{base:.1f} {line} {x(points[-1][0]):.1f},{base:.1f}"
        return [
            f'<polygon points="{area}" fill="{colour}" fill-opacity="0.25"/>',
            f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="1.5"/>',
        ]

    return draw


def ticks(times: Sequence[float], colour: str) -> Draw:
    """A thin line for each moment."""

    def draw(x: Scale, y: float, height: float) -> list[str]:
        return [_rectangle(x(at), y + 5, 1.5, height - 10, colour) for at in times]

    return draw


def dots(points: Sequence[tuple[float, float]], colour: str) -> Draw:
    """A dot for each (seconds, 0 to 1)."""

    def draw(x: Scale, y: float, height: float) -> list[str]:
        return [
            f'<circle cx="{x(at):.1f}" cy="{y + height - 7 - (height - 14) * value:.1f}" r="3" fill="{colour}"/>'
            for at, value in points
        ]

    return draw


def _rectangle(x: float, y: float, width: float, height: float, colour: str, *, radius: float = 0) -> str:
    return (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" fill="{colour}"'
        f"{f' rx={chr(34)}{radius:g}{chr(34)}' if radius else ''}/>"
    )


def _text(
    x: float, y: float, text: str, *, anchor: str = "start", colour: str = "#20262c", size: int = 12, bold: bool = False
) -> str:
    weight = ' font-weight="bold"' if bold else ""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}" font-size="{size}"{weight}>'
        f"{escape(text)}</text>"
    )
