"""The demonstration: what it shows, and what it leaves behind."""

from __future__ import annotations

import re
import signal
import sys
from xml.etree import ElementTree

import av
import pytest

import trio_client
from trio_client.cli import Exit, main
from trio_client.cli._timeline import Lane, Timeline, curve, states

from .processes import ROOT, line_with, on_terminal, start
from .test_cli import DEMO


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


def token(capsys, *arguments: str) -> str:
    assert main(["token", *arguments]) == 0
    printed: str = capsys.readouterr().out.strip()
    return printed


def test_on_another_server_with_two_tokens(url, tmp_path, capsys):
    tokens = []
    for identity in ("carol", "dave"):
        tokens += ["--token", token(capsys, "--room", "elsewhere", "--identity", identity)]
    code, out = on_terminal("demo", "--url", url, "--out", str(tmp_path), *tokens)
    assert code == 0
    assert "carol joined elsewhere" in out
    assert re.search(r"\r\x1b\[Ksound \[█.*\] 4\d\d Hz   pictures \d+/s", out)
    assert "ParticipantDisconnected carol" in out
    assert (tmp_path / "recording.webm").exists()


def test_what_takes_too_long_is_told(url, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("trio_client.cli._duet.PATIENCE", 0.0)
    assert main(["demo", "--out", str(tmp_path)]) == Exit.CHECK
    assert capsys.readouterr().err == "trio-livekit demo: It took too long: what was waited for did not come.\n"


def test_a_demonstration_that_is_interrupted(tmp_path):
    process = start("demo", cwd=tmp_path)
    line_with(process, "hears 4")
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=20)
    assert (process.returncode, errors) == (Exit.INTERRUPTED, "")


@pytest.mark.parametrize("given", ["argument", "environment"])
def test_on_another_server_with_one_token(given, url, tmp_path, capsys, monkeypatch):
    """One participant does what it can: what the server confirms is measured, and others would hear it."""
    alone = token(capsys, "--room", f"alone by {given}", "--identity", "erin")
    arguments = ["demo", "--url", url, "--out", str(tmp_path)]
    if given == "argument":
        arguments += ["--token", alone]
    else:
        monkeypatch.setenv("LIVEKIT_TOKEN", alone)
    assert main(arguments) == 0
    out = capsys.readouterr().out
    for text in ("one participant", f"erin joined alone by {given}", "Reconnected", "20 of 20 messages were acknow"):
        assert text in out
    for text in ("the server got audio", "the server got video", "no sound was sent", "sound and pictures went on"):
        assert f"yes  {text}" in out
    assert "NO " not in out
    picture = ElementTree.parse(tmp_path / "timeline.svg").getroot()
    texts = [element.text for element in picture.iter("{http://www.w3.org/2000/svg}text")]
    assert {"erin", "sent", "data", "Reconnected"} <= set(texts)
    assert [path.name for path in tmp_path.iterdir()] == ["timeline.svg"]


def test_tokens_that_will_not_do(url, tmp_path, capsys):
    def code(*tokens: str) -> tuple[int, str]:
        arguments = ["demo", "--url", url, "--out", str(tmp_path)]
        for given in tokens:
            arguments += ["--token", given]
        return main(arguments), capsys.readouterr().err

    one = token(capsys, "--room", "one", "--identity", "frank")
    two = token(capsys, "--room", "two", "--identity", "grace")
    silent = token(capsys, "--room", "one", "--identity", "heidi", "--no-publish")
    assert code(one, two) == (Exit.USAGE, "trio-livekit demo: The two tokens are of different rooms.\n")
    assert code(one, one) == (Exit.USAGE, "trio-livekit demo: Both tokens are of frank: nobody can be there twice.\n")
    assert code(one, two, silent)[0] == Exit.USAGE
    assert code("nonsense")[0] == Exit.TOKEN_REJECTED
    for tokens in ([silent], [silent, one]):
        found, text = code(*tokens)
        assert found == Exit.REJECTED
        assert "does not have permission to publish" in text
    for arguments in (["--token", one], ["--key", "k", "--secret", "s"]):
        assert main(["demo", *arguments, "--out", str(tmp_path)]) == Exit.USAGE
        assert "--url" in capsys.readouterr().err


def test_what_cannot_be_shown(tmp_path, capsys, monkeypatch):
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


def test_files_that_cannot_be_played(url, tmp_path, capsys):
    assert main(["publish", str(tmp_path / "nothing.wav"), "ws://127.0.0.1:9"]) == Exit.SYSTEM
    assert "No such file" in capsys.readouterr().err
    text = tmp_path / "notes.txt"
    text.write_text("this is no sound")
    assert main(["publish", str(text), url]) == Exit.SYSTEM
    assert re.search(r"notes.txt: this file cannot be played: [A-Z][a-z ]+\.\n", capsys.readouterr().err)


def test_nothing_to_record(url, tmp_path, capsys):
    assert main(["record", url, "--out", str(tmp_path), "--wait", "0.1"]) == Exit.CHECK
    assert "Nothing was recorded" in capsys.readouterr().err


def test_doctor(url, capsys):
    assert main(["doctor", url]) == Exit.OK
    assert "direct UDP" in capsys.readouterr().out
    assert main(["doctor", "ws://127.0.0.1:9"]) == Exit.UNREACHABLE


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
