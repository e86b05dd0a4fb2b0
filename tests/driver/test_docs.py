"""The code blocks of the guide run as they are printed, in a room of the simulated server."""

from __future__ import annotations

import ast
import re
import textwrap
from pathlib import Path
from typing import Any

import pytest
import trio

import trio_client
import trio_client.media
from trio_client.media import PcmAudioTrack

from .running import run
from .simnet import sim_net

PROGRAMS = {"devserver", "testing", "tutorial"}
"""Pages whose blocks are whole programs, with sockets of their own: test_programs.py runs them."""
GUIDE = [
    page for page in sorted((Path(__file__).parents[2] / "docs" / "guide").glob("*.md")) if page.stem not in PROGRAMS
]
NEEDED = {"connecting", "data", "data-tracks", "events", "messages", "reconnecting", "rpc", "streams"}
"""Pages that have code: a page that loses all of its blocks fails here."""


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


BLOCKS = [pytest.param(code, id=f"{page.stem}-{number}") for page in GUIDE for number, code in enumerate(blocks(page))]


def test_the_guide_has_code() -> None:
    assert {page.stem for page in GUIDE if blocks(page)} >= NEEDED


@pytest.mark.parametrize("code", BLOCKS)
def test_block_runs(code: str) -> None:
    """Some blocks wait for ever: that ends after a virtual minute, which brings a visitor and a message."""
    tree = compile(
        "async def block():\n" + textwrap.indent(code, "    ") + "    return locals()\n",
        "<guide>",
        "exec",
        ast.PyCF_ONLY_AST,
    )
    assert isinstance(tree, ast.Module)

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
                "print": lambda *args: None,
            }
            exec(compile(tree, "<guide>", "exec"), names)
            with trio.move_on_after(60):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(visit, net)
                    await names["block"]()
                    nursery.cancel_scope.cancel()

    async def visit(net: Any) -> None:
        await trio.sleep(1)
        async with net.connect("visitor") as visitor:
            await trio.sleep(1)
            await visitor.local_participant.publish_data(b"ready", topic="ready")
            await trio.sleep(5)

    run(main)


PORTING = (Path(__file__).parents[2] / "docs" / "guide" / "porting.md").read_text(encoding="utf-8")
OWNERS: dict[str, tuple[type, ...]] = {
    "room": (trio_client.Room,),
    "local": (trio_client.LocalParticipant,),
    "participant": (trio_client.RemoteParticipant,),
    "publication": (trio_client.RemoteTrackPublication, trio_client.LocalTrackPublication),
    "track": (PcmAudioTrack, trio_client.LocalAudioTrack, trio_client.RemoteTrack),
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
