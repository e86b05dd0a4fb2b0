"""The lossless codec, on descriptions that clients and the server exchanged."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from sansio.base import limits
from sansio.base.errors import ParseError
from sansio.sdp.description import Description, Section, parse_description

FILES = sorted((Path(__file__).parents[2] / "data" / "sdp").glob("*.sdp"))
UNREADABLE = "raw.raw-request-errors.02-c2s-offer-id9.sdp"
SMALL = "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\nm=audio 9 X 1\r\na=mid:0\r\n"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_recorded_descriptions_survive_unchanged(path: Path) -> None:
    text = path.read_text()
    if path.name == UNREADABLE:
        with pytest.raises(ParseError):
            parse_description(text)
        return
    wire = text.replace("\n", "\r\n") if text.endswith("\n") else text.replace("\n", "\r\n") + "\r\n"
    description = parse_description(text)
    assert str(description) == wire
    assert parse_description(wire) == description
    assert len(description.media) == wire.count("\r\nm=")


def test_line_ends_may_be_mixed_and_the_last_one_may_be_missing() -> None:
    description = parse_description("v=0\ns=-\r\na=x")
    assert str(description) == "v=0\r\ns=-\r\na=x\r\n"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        "v=1\r\n",
        "s=-\r\n",
        "m=audio 9 X 1\r\n",
        "v=0\r\n\r\ns=-\r\n",
        "v=0\r\n\r\n",
        "v=0\r\ns\r\n",
        "v=0\r\nA=x\r\n",
        "v=0\r\n=x\r\n",
        "v=0\r\ns:-\r\n",
        "v=0\r\ns=a\rb\r\n",
        "v=0\r\ns=a\0b\r\n",
        "v=0\r\n\u00e9=x\r\n",
    ],
)
def test_what_is_no_description(text: str) -> None:
    with pytest.raises(ParseError):
        parse_description(text)


def test_empty_values_are_values() -> None:
    description = parse_description("v=0\r\ns=\r\n")
    assert description.session.value("s") == ""
    assert description.session.value("t") is None


def test_size_lines_and_sections_are_bounded() -> None:
    with pytest.raises(ParseError, match="too long"):
        parse_description("v=0\r\n" + "a=x\r\n" * (limits.SDP_SIZE // 5))
    with pytest.raises(ParseError, match="too many lines"):
        parse_description("v=0\n" + "a=\n" * limits.SDP_LINES)
    with pytest.raises(ParseError, match="line is too long"):
        parse_description("v=0\r\na=" + "x" * (limits.SDP_LINE + 1))
    with pytest.raises(ParseError, match="too many media sections"):
        parse_description("v=0\r\n" + "m=\r\n" * (limits.SDP_SECTIONS + 1))
    assert len(parse_description("v=0\r\n" + "m=\r\n" * limits.SDP_SECTIONS).media) == limits.SDP_SECTIONS
    assert parse_description("v=0\r\na=" + "x" * limits.SDP_LINE).session.value("a") == "x" * limits.SDP_LINE


def test_attributes_are_found_by_name() -> None:
    section = Section([("a", "flag"), ("a", "x:1"), ("b", "x:9"), ("a", "x:2"), ("a", "xy:3"), ("a", "flag:later")])
    assert section.attribute("flag") == ""
    assert section.attribute("x") == "1"
    assert section.attribute("y") is None
    assert section.attributes("x") == ["1", "2"]
    assert section.has("xy")
    assert not section.has("nothing")
    section.add("new")
    section.add("newer", "4:5")
    assert section.lines[-2:] == [("a", "new"), ("a", "newer:4:5")]


def test_equality_is_by_lines() -> None:
    one, two = parse_description(SMALL), parse_description(SMALL)
    assert one == two
    assert one.session == two.session
    two.media[0].add("x")
    assert one != two
    assert one != SMALL
    assert one.session != SMALL
    assert Description(Section(), []) == Description(Section([]), [])
    assert repr(one) == "Description(1 media sections)"
    assert repr(one.session) == "Section(4 lines)"


def test_truncation_anywhere_is_readable_or_a_parse_error() -> None:
    for end in range(len(SMALL)):
        try:
            description = parse_description(SMALL[:end])
        except ParseError:
            continue
        assert parse_description(str(description)) == description


def test_mutated_descriptions_never_raise_anything_else() -> None:
    draw = random.Random(1)
    text = (Path(__file__).parents[2] / "data" / "sdp" / FILES[0].name).read_text()
    for _ in range(300):
        mutated = list(text)
        for _ in range(draw.randrange(1, 6)):
            mutated[draw.randrange(len(mutated))] = chr(draw.choice([0, 10, 13, 32, 61, 97, 109, 233, 0x202E]))
        try:
            description = parse_description("".join(mutated))
        except ParseError:
            continue
        assert parse_description(str(description)) == description
