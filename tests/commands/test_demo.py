"""The demonstration: what it shows, and what it leaves behind."""

from __future__ import annotations

import re
import sys
from xml.etree import ElementTree

import av
import pytest

import trio_client
from trio_client.cli import Exit, main
from trio_client.cli._timeline import Lane, Timeline, curve, states

from .test_cli import DEMO, ROOT, start, stop


def test_the_demonstration(tmp_path):
    out, errors = start(*DEMO.split()[1:], cwd=tmp_path).communicate(timeout=90)
    assert errors == ""
    for text in (
        "1/6 Joining",
        "6/6 Leaving",
        "TrackSubscribed alice camera",
        "SignalReconnecting",
        "Reconnected: the same",
    ):
        assert text in out
    assert "NO" not in out.partition("Seen:")[2]
    assert "440 Hz was heard as 4" in out
    with av.open(tmp_path / "demo-out" / "recording.webm") as recording:
        assert {stream.codec_context.name for stream in recording.streams} == {"opus", "vp8"}
        frames = list(recording.decode(video=0))
        assert len(frames) > 30
        assert (frames[0].width, frames[0].height) == (320, 240)
    picture = ElementTree.parse(tmp_path / "demo-out" / "timeline.svg").getroot()
    assert picture.tag.endswith("svg")
    texts = [element.text for element in picture.iter("{http://www.w3.org/2000/svg}text")]
    assert {"alice", "bob", "sound", "pictures", "data", "Reconnected", "440 Hz"} <= set(texts)


def test_the_line_in_the_readme():
    """It stands alone under its heading; what it runs is tested above, in the environment that is there."""
    section = (ROOT / "README.md").read_text(encoding="utf-8").partition("## Try it\n")[2].partition("\n## ")[0]
    (block,) = re.findall(r"```sh\n(.*?)```", section, re.DOTALL)
    assert block.count("\n") == 1
    assert block.rstrip().split(" && ")[-1] == ".venv/bin/trio-livekit demo"


def test_on_another_server_with_two_tokens(tmp_path, capsys):
    server = start("devserver", "--port", "0")
    try:
        assert server.stdout is not None
        url = re.search(r"URL +(\S+)", "".join([server.stdout.readline() for _ in range(2)]))
        assert url
        tokens = []
        for identity in ("carol", "dave"):
            assert main(["token", "--room", "elsewhere", "--identity", identity]) == 0
            tokens += ["--token", capsys.readouterr().out.strip()]
        assert main(["demo", "--url", url.group(1), "--out", str(tmp_path), *tokens]) == 0
        out = capsys.readouterr().out
        assert "carol joined elsewhere" in out
        assert "ParticipantDisconnected carol" in out
    finally:
        assert stop(server) == Exit.OK


def test_what_cannot_be_shown(tmp_path, capsys, monkeypatch):
    assert main(["demo", "--token", "one", "--out", str(tmp_path)]) == Exit.USAGE
    assert main(["demo", "--url", "ws://127.0.0.1:9", "--out", str(tmp_path)]) == Exit.UNREACHABLE
    assert main(["demo", "--url", "wss://example.com", "--out", str(tmp_path)]) == Exit.USAGE
    (tmp_path / "file").write_text("")
    assert main(["demo", "--out", str(tmp_path / "file")]) == Exit.SYSTEM
    capsys.readouterr()
    monkeypatch.setitem(sys.modules, "trio_client.media", None)
    monkeypatch.delattr(trio_client, "media", raising=False)
    for command in (["demo"], ["publish", "test:"], ["record"]):
        assert main(command) == Exit.EXTRA
        assert "trio-livekit[media]" in capsys.readouterr().err


def test_files_that_cannot_be_played(tmp_path, capsys):
    assert main(["publish", str(tmp_path / "nothing.wav"), "ws://127.0.0.1:9"]) == Exit.SYSTEM
    assert "No such file" in capsys.readouterr().err


def test_nothing_to_record(tmp_path, capsys):
    server = start("devserver", "--port", "0")
    try:
        assert server.stdout is not None
        url = re.search(r"URL +(\S+)", "".join([server.stdout.readline() for _ in range(2)]))
        assert url
        assert main(["record", url.group(1), "--out", str(tmp_path), "--wait", "0.1"]) == Exit.CHECK
        assert "Nothing was recorded" in capsys.readouterr().err
        text = tmp_path / "notes.txt"
        text.write_text("this is no sound")
        assert main(["publish", str(text), url.group(1)]) == Exit.SYSTEM
        assert "notes.txt" in capsys.readouterr().err
        assert main(["doctor", url.group(1)]) == Exit.OK
        assert "direct UDP" in capsys.readouterr().out
        assert main(["doctor", "ws://127.0.0.1:9"]) == Exit.UNREACHABLE
    finally:
        assert stop(server) == Exit.OK


@pytest.mark.parametrize("end", [1.0, 12.5])
def test_a_timeline(end):
    """Texts that would touch stand above each other, and nothing leaves the picture."""
    marks = [(0.0, "a rather long text at the beginning"), (0.01, "<another>"), (0.02, "third"), (0.03, "fourth")]
    timeline = Timeline("title", "subtitle", marks=[*marks, (end, "a long text at the very end")])
    timeline.lanes.append(Lane("empty", 30, curve([], "red")))
    timeline.lanes.append(Lane("states", 30, states([(0, end, "green", "state"), (0, 0, "red", "too short")])))
    picture = ElementTree.fromstring(timeline.svg(end))
    rows = {
        element.text: float(element.get("y", "0"))
        for element in picture.iter("{http://www.w3.org/2000/svg}text")
        if element.text
    }
    assert "too short" not in rows
    assert len({rows[text] for _, text in marks[:3]}) == 3
    for element in picture.iter("{http://www.w3.org/2000/svg}rect"):
        assert float(element.get("x", "0")) + float(element.get("width", "0")) <= 1100.5
