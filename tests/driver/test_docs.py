"""The code blocks of the guide run as they are printed, in a room of the simulated server."""

from __future__ import annotations

import ast
import re
import tempfile
import textwrap
from collections.abc import AsyncIterator
from functools import cache
from pathlib import Path
from typing import Any

import av
import pytest
import trio

import trio_client
import trio_client.media
from trio_client import TrackSubscribed, Transcription, TranscriptionSegment
from trio_client.media import PcmAudioTrack, play_file

from .mediafiles import make, picture, tone
from .running import run
from .simnet import sim_net

ROOT = Path(__file__).parents[2]
KEY_FRAME = bytes([0x10, 0, 0, 0x9D, 0x01, 0x2A, 0x40, 0x01, 0xF0, 0x00]) + bytes(50)
"""One of VP8, as far as packets go."""
PROGRAMS = {"devserver", "testing", "tutorial"}
"""Pages whose blocks are whole programs, with sockets of their own: test_programs.py runs them."""
GUIDE = [page for page in sorted((ROOT / "docs" / "guide").glob("*.md")) if page.stem not in PROGRAMS]
NEEDED = {"connecting", "data", "data-tracks", "events", "media", "messages", "reconnecting", "rpc", "streams"}
"""Pages that have code: a page that loses all of its blocks fails here."""

UNSEEN = {"reconnecting", "rpc"}
"""Pages of which some lines do not run: what comes of outages, or of calls that go well where they are to fail."""


def blocks(page: Path) -> list[str]:
    found: list[str] = []
    inside = False
    for line in page.read_text(encoding="utf-8").splitlines():
        if line.startswith("```"):
            inside = line == "```python"
            if inside:
                found.append("")
        elif inside:
            found[-1] += line + "\n"
    return found


BLOCKS = [
    pytest.param(page.stem, code, id=f"{page.stem}-{number}")
    for page in GUIDE
    for number, code in enumerate(blocks(page))
]


def test_the_guide_has_code() -> None:
    assert {page.stem for page in GUIDE if blocks(page)} >= NEEDED


def test_no_block_is_of_a_kind_that_does_not_run() -> None:
    """Python runs here, in test_programs.py and (of testing.md) in the unit tests; commands run in test_cli.py."""
    found = set()
    for page in (ROOT / "docs").rglob("*.md"):
        inside = False
        for line in page.read_text(encoding="utf-8").splitlines():
            if line.startswith("```"):
                inside = not inside
                found |= {(line[3:], page.stem)} if inside and not line.startswith("```{") else set()
    assert {kind for kind, _ in found} == {"python", "sh"}
    assert {page for kind, page in found if kind == "sh"} == {"cli"}
    assert {page for kind, page in found if kind == "python"} == NEEDED | PROGRAMS


class Marks(ast.NodeTransformer):
    """Puts a call of ``_ran`` before every statement; ``lines`` are those of the statements."""

    def __init__(self) -> None:
        self.lines: set[int] = set()

    def generic_visit(self, node: ast.AST) -> ast.AST:
        super().generic_visit(node)
        for name in ("body", "orelse", "finalbody"):
            statements = getattr(node, name, None)
            if isinstance(statements, list):
                setattr(node, name, [each for statement in statements for each in (self.mark(statement), statement)])
        return node

    def mark(self, statement: ast.stmt) -> ast.stmt:
        self.lines.add(statement.lineno)
        call = ast.parse(f"_ran({statement.lineno})").body[0]
        for inner in ast.walk(call):
            ast.copy_location(inner, statement)
        return call


@cache
def film(ending: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        return make(Path(folder) / f"film{ending}", 0.5).read_bytes()


async def prepare_media(nursery: trio.Nursery, net: Any, room: Any) -> dict[str, Any]:
    """What the page on media has by its text: somebody plays a short film, and there are things to publish."""
    Path("greeting.ogg").write_bytes(film(".ogg"))
    Path("film.webm").write_bytes(film(".webm"))

    async def play(task_status: trio.TaskStatus[None]) -> None:
        async with net.connect("singer") as singer:
            task_status.started()
            await play_file(singer, "film.webm")

    async def shown() -> AsyncIterator[av.VideoFrame]:
        for number in range(3):
            yield picture(number)
            await trio.sleep(0.05)

    with room.events(TrackSubscribed) as tracks:
        await nursery.start(play)
        voice, cam = [(await anext(tracks)).track for _ in range(2)]
    return {
        "voice": voice,
        "cam": cam,
        "play": lambda data: trio.sleep(0),
        "opus_packet": b"\xf8\xff\xfe",
        "samples": tone(0, 24000, 24000),
        "pictures": shown(),
        "picture": picture(0),
        "encode": lambda shown, width, height, keyframe: KEY_FRAME,
    }


@pytest.mark.parametrize(("page", "code"), BLOCKS)
def test_block_runs(page: str, code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some blocks wait for ever: that ends after some virtual time, which brings a visitor and a message."""
    monkeypatch.chdir(tmp_path)
    tree = compile(
        "async def block():\n" + textwrap.indent(code, "    ") + "    return locals()\n",
        "<guide>",
        "exec",
        ast.PyCF_ONLY_AST,
    )
    assert isinstance(tree, ast.Module)
    marks, ran = Marks(), set()
    marks.visit(tree)

    async def main() -> None:
        async with sim_net() as net, net.connect("me") as room:

            class Client:
                """``trio_client`` with a connect that goes to the simulated server."""

                def connect(self, url: str, token: str, **options: Any) -> Any:
                    return net.connect("another", **options)

                async def diagnose(self, url: str, token: str) -> Any:
                    with pytest.MonkeyPatch.context() as patch:
                        patch.setattr("trio_client._diagnose.connect", self.connect)
                        return await trio_client.diagnose(url, token)

            names: dict[str, Any] = {
                **{name: getattr(trio_client, name) for name in trio_client.__all__},
                "trio": trio,
                "trio_client": Client(),
                "room": room,
                "url": "ws://server",
                "token": "token",
                "position": b"\1\2\3",
                "print": lambda *args, **options: None,
                "_ran": ran.add,
            }
            exec(compile(tree, "<guide>", "exec"), names)
            with trio.CancelScope() as end:
                async with trio.open_nursery() as nursery:
                    if page == "media":
                        names.update(await prepare_media(nursery, net, room))
                    elif page == "data-tracks":
                        await nursery.start(publish_data_track, net)
                    end.deadline = trio.current_time() + 60
                    visited = trio.Event()
                    nursery.start_soon(visit, net, page, visited)
                    await names["block"]()
                    await visited.wait()
                    nursery.cancel_scope.cancel()

    run(main)
    if page not in UNSEEN:
        lines = code.splitlines()
        assert [lines[number - 2] for number in sorted(marks.lines - ran) if number < len(lines) + 2] == []


async def publish_data_track(net: Any, task_status: trio.TaskStatus[None]) -> None:
    async with net.connect("host") as host:
        await host.local_participant.publish_data_track("temperature")
        await trio.sleep(1)
        task_status.started()
        await trio.sleep_forever()


async def visit(net: Any, page: str, done: trio.Event) -> None:
    """Somebody comes, says and shows something of every kind, and goes."""
    await trio.sleep(1)
    async with net.connect("visitor") as visitor:
        await trio.sleep(1)
        me = visitor.local_participant
        await me.publish_data(b"ready", topic="ready")
        await me.send_chat_message("hello")
        await me.publish_transcription(Transcription("visitor", "TR_mic", (TranscriptionSegment("s1", "hello"),)))
        await me.publish_dtmf(digit="1")
        await me.send_text("hello", topic="chat")
        await me.send_text("once upon a time", topic="story")
        await me.send_bytes(b"bytes", topic="files", name="a file")
        position = await me.publish_data_track("position")
        if page == "media":
            await play_file(visitor, "film.webm")
        for _ in range(5):
            await trio.sleep(1)
            position.try_push(b"here")
    done.set()


PORTING = (ROOT / "docs" / "guide" / "porting.md").read_text(encoding="utf-8")
OWNERS: dict[str, tuple[type, ...]] = {
    "room": (trio_client.Room,),
    "local": (trio_client.LocalParticipant,),
    "participant": (trio_client.RemoteParticipant,),
    "publication": (trio_client.RemoteTrackPublication, trio_client.LocalTrackPublication),
    "track": (PcmAudioTrack, trio_client.LocalAudioTrack, trio_client.RemoteTrack, trio_client.RemoteDataTrack),
    "reader": (trio_client.TextStreamReader,),
}


def test_what_the_porting_table_names_exists() -> None:
    rows = [
        line.strip("|").split(" | ") for line in PORTING.splitlines() if line.startswith("| ") and "---" not in line
    ]
    code = [snippet for row in rows for snippet in re.findall(r"`([^`]+)`", row[1])]
    named = {(owner, name) for text in code for owner, name in re.findall(r"\b([a-z]+)\.([a-z_]+)", text)}
    classes = {name for text in code for name in re.findall(r"(?<![.\w\"])[A-Z][A-Za-z]+", text)} - {"True", "False"}
    assert len(named) > 20
    assert len(classes) > 10
    for owner, name in named - {("trio", "fail_after"), ("trio_client", "connect")}:
        assert any(hasattr(kind, name) for kind in OWNERS[owner]), f"{owner}.{name}"
    for name in classes:
        assert hasattr(trio_client, name) or hasattr(trio_client.media, name), name
