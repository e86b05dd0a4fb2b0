"""The command line as it is typed: against a development server that is a process of its own."""

from __future__ import annotations

import argparse
import io
import re
import shlex
import signal
import socket
import time
from types import SimpleNamespace

import pytest
import trio

from sansio.sfu.token import DEVELOPMENT_KEY, verify
from sansio.types import (
    ConnectionQuality,
    ConnectionState,
    Dimensions,
    DisconnectReason,
    EncryptionType,
    RequestReason,
    StreamState,
    TrackSource,
)
from trio_client import (
    ActiveSpeakersChanged,
    Connected,
    ConnectionQualityChanged,
    ConnectionStateChanged,
    ConnectReport,
    DataReceived,
    Disconnected,
    DisconnectedError,
    JoinRefused,
    MediaFailed,
    ParticipantAttributesChanged,
    ParticipantDisconnected,
    ParticipantMetadataChanged,
    ParticipantNameChanged,
    Reconnected,
    Reconnecting,
    RequestRejected,
    RoomMetadataChanged,
    RoomNotFound,
    ServerUnreachable,
    TokenRejected,
    TrackPublished,
    TrackStreamStateChanged,
)
from trio_client.cli import Exit, Failure, main
from trio_client.cli._arguments import EXITS, build
from trio_client.cli._exits import MEANING, explain, sent_away
from trio_client.cli._join import REFRESH, Levels
from trio_client.cli._transcript import Transcript, describe, show

from .processes import ROOT, line_with, on_terminal, start, stop

DEMO = "trio-livekit demo --out demo-out"


# ------------------------------------------------------------------ help, and what it shows


def commands() -> dict[str, argparse.ArgumentParser]:
    (action,) = [action for action in build()._actions if isinstance(action, argparse._SubParsersAction)]
    return dict(action.choices)


def examples() -> list[str]:
    """Those of every command's help."""
    found = []
    for parser in commands().values():
        lines = (parser.epilog or "").splitlines()
        assert lines[0] == "example:"
        found += [line.strip() for line in lines[1:]]
    return found


def test_examples_work_as_printed(tmp_path):
    """Those of the help are those of the guide; the development server's is run beside the others."""
    guide = (ROOT / "docs" / "guide" / "cli.md").read_text(encoding="utf-8")
    printed = [line for block in re.findall(r"```sh\n(.*?)```", guide, re.DOTALL) for line in block.splitlines()]
    assert sorted(printed) == sorted(examples())
    wait_for_port(7890)
    (serve,) = [line for line in printed if " devserver " in line]
    server = start(*shlex.split(serve)[1:])
    try:
        joining = shlex.split(line_with(server, "trio-livekit join").partition("join   ")[2])
        # the demonstration is run by test_demo.py
        lines = [*[line for line in printed if line not in (serve, DEMO)], shlex.join([*joining, "--seconds", "0.5"])]
        for line, process in [(line, start(*shlex.split(line)[1:], cwd=tmp_path)) for line in lines]:
            out, errors = process.communicate(timeout=60)
            assert (process.returncode, errors) == (0, ""), (line, errors)
            assert out
    finally:
        assert stop(server) == Exit.OK


def wait_for_port(port: int) -> None:
    """Another run of these tests on this machine may have it."""
    end = time.monotonic() + 60
    while True:
        try:
            with socket.create_server(("127.0.0.1", port)):
                return
        except OSError:
            assert time.monotonic() < end, f"port {port} is taken"
            time.sleep(0.2)


def test_help(capsys):
    for arguments in ([], *[[name] for name in commands()]):
        with pytest.raises(SystemExit) as ended:
            main([*arguments, "--help"])
        assert ended.value.code == 0
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    out = capsys.readouterr().out.replace("\n", " ")
    assert "not made for production" in out
    assert re.search(r"trio-livekit \d+\.\d+", out)


def test_exit_codes_are_documented():
    guide = (ROOT / "docs" / "guide" / "cli.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d+) \| (.*) \|$", guide, re.MULTILINE)
    assert rows == [(str(code.value), text) for code, text in MEANING.items()]
    assert set(MEANING) == set(Exit)
    assert all(text in EXITS for text in MEANING.values())


# ------------------------------------------------------------------ token


def test_token(capsys):
    assert main(["token", "--room", "r", "--identity", "i", "--attribute", "a=b", "--hidden", "--no-publish"]) == 0
    claims = verify(capsys.readouterr().out.strip(), dict([DEVELOPMENT_KEY]), time.time())
    assert (claims.room, claims.identity, claims.attributes, claims.hidden) == ("r", "i", {"a": "b"}, True)
    assert (claims.can_publish, claims.can_publish_data, claims.can_update_own_metadata) == (False, True, True)
    assert main(["token", "--key", "k", "--secret", "s", "--no-data", "--no-update", "--no-subscribe"]) == 0
    claims = verify(capsys.readouterr().out.strip(), {"k": "s"}, time.time())
    assert (claims.can_publish_data, claims.can_update_own_metadata, claims.can_subscribe) == (False, False, False)


@pytest.mark.parametrize(
    "arguments",
    [
        ["token", "--attribute", "a"],
        ["token", "--ttl", "0"],
        ["token", "--ttl", "long"],
        ["devserver", "--port", "70000"],
        ["devserver", "--keys", "key"],
        ["devserver", "--bind", "nonsense"],
        ["devserver", "--node-ip", "localhost"],
        ["devserver", "--keys", "key:"],
        ["devserver", "--keys", ""],
        ["load", "--participants", "65"],
        ["load", "--participants", "2.5"],
        ["nonsense"],
        [],
    ],
)
def test_what_cannot_be_typed(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == Exit.USAGE
    assert "usage: trio-livekit" in capsys.readouterr().err


# ------------------------------------------------------------------ failures


def failed(arguments, capsys) -> tuple[int, str]:
    code = main(arguments)
    errors = capsys.readouterr().err
    assert errors.startswith(f"trio-livekit {arguments[0]}: ")
    return code, errors


def test_failures(url, capsys, monkeypatch):
    assert failed(["join"], capsys)[0] == Exit.USAGE
    assert failed(["join", "wss://example.com"], capsys)[0] == Exit.USAGE
    assert failed(["join", url, "--key", "k"], capsys)[0] == Exit.USAGE
    assert failed(["load", url, "token"], capsys)[0] == Exit.USAGE
    assert failed(["join", url, "no token"], capsys)[0] == Exit.USAGE
    for command in ("join", "ftp://127.0.0.1"), ("join", "not a url"), ("load", "ws://["), ("demo", "--url", "x"):
        code, text = failed(command, capsys)
        assert code == Exit.USAGE
        assert "address" in text
    for address, found in ("localhost:7880", "'localhost'"), ("127.0.0.1:7880", "none"):
        code, text = failed(["join", address], capsys)
        assert code == Exit.USAGE
        assert f"as in ws://localhost:7880, but has {found}" in text
    assert failed(["join", url, "nonsense"], capsys)[0] == Exit.TOKEN_REJECTED
    assert failed(["join", url, "--key", "k", "--secret", "s"], capsys)[0] == Exit.TOKEN_REJECTED
    code, text = failed(["join", "ws://127.0.0.1:9"], capsys)
    assert code == Exit.UNREACHABLE
    assert "refused" in text
    port = url.rpartition(":")[2]
    code, text = failed(["devserver", "--port", port], capsys)
    assert code == Exit.SYSTEM
    assert f"Cannot listen on 127.0.0.1, TCP port {port}: Address already in use. Stop what listens there, or" in text
    code, text = failed(["devserver", "--port", "0", "--bind", "192.0.2.1"], capsys)
    assert code == Exit.SYSTEM
    assert "192.0.2.1, any TCP port" in text
    monkeypatch.setenv("LIVEKIT_URL", url)
    monkeypatch.setenv("LIVEKIT_TOKEN", "nonsense")
    assert failed(["join"], capsys)[0] == Exit.TOKEN_REJECTED
    monkeypatch.setenv("LIVEKIT_API_KEY", "k")
    monkeypatch.setenv("LIVEKIT_API_SECRET", "s")
    monkeypatch.delenv("LIVEKIT_TOKEN")
    assert failed(["join"], capsys)[0] == Exit.TOKEN_REJECTED


def test_every_error_has_its_code():
    report = ConnectReport(what="What.", pairs=("a pair",), ways=("a way",))
    for error, code in (
        (TokenRejected(report), Exit.TOKEN_REJECTED),
        (RoomNotFound(report), Exit.ROOM_NOT_FOUND),
        (ServerUnreachable(report), Exit.UNREACHABLE),
        (JoinRefused(report), Exit.REFUSED),
        (MediaFailed(report), Exit.MEDIA_FAILED),
        (DisconnectedError(DisconnectReason.ROOM_DELETED), Exit.DISCONNECTED),
        (RequestRejected(RequestReason.NOT_ALLOWED), Exit.REJECTED),
        (FileNotFoundError(2, "No such file", "name"), Exit.SYSTEM),
        (OSError("odd"), Exit.SYSTEM),
        (KeyboardInterrupt(), Exit.INTERRUPTED),
        (trio.TooSlowError(), Exit.CHECK),
        (Failure(Exit.CHECK, "text"), Exit.CHECK),
        (ExceptionGroup("", [ExceptionGroup("", [Failure(Exit.EXTRA, "text")])]), Exit.EXTRA),
    ):
        failure = explain(error)
        assert failure is not None
        assert failure.code == code
    assert explain(KeyError()) is None
    assert explain(ExceptionGroup("", [KeyError(), OSError()])) is None
    failure = explain(MediaFailed(report))
    assert failure is not None
    assert failure.text == "What.\n  a pair\n  a way"


def test_a_bug_is_shown(monkeypatch):
    monkeypatch.setattr("trio_client.cli._token.find_key", lambda arguments: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        main(["token"])


def test_what_the_server_says_of_the_end():
    for reason in DisconnectReason:
        assert reason.name in sent_away(reason).text
    assert "--identity" in sent_away(DisconnectReason.DUPLICATE_IDENTITY).text


def test_a_reader_that_goes_away(url):
    process = start("join", url)
    line_with(process, "joined")
    assert process.stdout is not None
    process.stdout.close()
    assert main(["join", url, "--identity", "b", "--seconds", "0.1"]) == 0
    assert process.wait(10) == Exit.PIPE
    assert process.stderr is not None
    assert process.stderr.read() == ""
    process.stderr.close()


# ------------------------------------------------------------------ join


@pytest.mark.parametrize("command", [("join",), ("publish", "test:")])
def test_an_interrupt_before_anybody_has_joined(command):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        process = start(*command, f"ws://127.0.0.1:{silent.getsockname()[1]}")
        connection, _ = silent.accept()
        connection.recv(1)
        process.send_signal(signal.SIGINT)
        out, errors = process.communicate(timeout=30)
        connection.close()
    assert (out, errors, process.returncode) == ("", "", Exit.INTERRUPTED)


def test_join_piped(url, capsys):
    process = start("join", url, "--room", "piped", "--identity", "alice")
    line_with(process, "joined piped as alice, with nobody else")
    hello = ["--send", "hello\x1b[1m", "--topic", "chat"]
    assert main(["join", url, "--room", "piped", "--identity", "bob", "--seconds", "0.2", *hello]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r" +\d+\.\d{3}  joined piped as bob, with alice", lines[0])
    assert lines[-1].endswith("  left")
    # Packets and news of participants go different ways, so one may overtake the other.
    data = "DataReceived from bob on chat: 68 65 6c 6c 6f 1b 5b 31 6d (9 bytes)"
    line_with(process, "ParticipantConnected bob", data, "ParticipantDisconnected bob")
    process.send_signal(signal.SIGINT)
    rest, errors = process.communicate(timeout=10)
    assert (process.returncode, errors) == (0, "")
    assert rest.endswith("  left\n")


def test_join_is_told_to_go(url, capsys):
    process = start("join", url, "--room", "twice", "--identity", "alice")
    line_with(process, "joined")
    assert main(["join", url, "--room", "twice", "--identity", "alice", "--seconds", "0.1"]) == 0
    line_with(process, "Disconnected: DUPLICATE_IDENTITY")
    assert process.wait(10) == Exit.DISCONNECTED
    assert process.stderr is not None
    assert "DUPLICATE_IDENTITY" in process.stderr.read()
    stop(process)


def test_a_server_that_is_stopped_says_so():
    server = start("devserver", "--port", "0")
    process = start("join", line_with(server, "  URL").split()[1])
    line_with(process, "joined")
    assert stop(server) == Exit.OK
    out, errors = process.communicate(timeout=20)
    assert process.returncode == Exit.DISCONNECTED
    assert "Disconnected: SERVER_SHUTDOWN" in out
    assert errors == "trio-livekit join: The server ended the session: SERVER_SHUTDOWN.\n"


def test_data_that_may_not_be_sent(url, capsys):
    """The server would only drop it, without a word."""
    assert main(["token", "--no-data"]) == 0
    code, text = failed(["join", url, capsys.readouterr().out.strip(), "--send", "hello", "--seconds", "1"], capsys)
    assert code == Exit.REJECTED
    assert "does not allow to publish data" in text


def test_join_on_a_terminal(url):
    """The levels are the last line, taken away and written again around every other line."""
    code, shown = on_terminal("join", url, "--room", "tty", "--seconds", "1")
    assert code == 0
    assert "\r\x1b[Ktty: 0 others" in shown
    assert shown.endswith("  left\r\ntty: 0 others\r\x1b[K")


def test_publishing_and_recording_on_a_terminal(url, tmp_path):
    """The last line says how long, how much, and how loud."""
    publisher = start("publish", "test:", url, "--room", "loud", "--identity", "alice")
    line_with(publisher, "publishing camera")
    both = ["--room", "loud", "--seconds", "3"]
    code, shown = on_terminal("record", url, *both, "--out", str(tmp_path))
    assert code == 0
    assert re.search(r"\r\x1b\[K\d+ s  \d+ kbit/s  alice \[[█▇▆▅▄▃▂▁]", shown)
    assert stop(publisher) == Exit.OK
    code, shown = on_terminal("publish", "test:", url, *both, "--identity", "bob")
    assert code == 0
    assert re.search(r"\r\x1b\[K\d+ s  \d+ kbit/s  bob \[[█▇▆▅▄▃▂▁]", shown)


def test_a_recording_that_the_server_ends(url, tmp_path):
    publisher = start("publish", "test:", url, "--room", "ended", "--identity", "alice")
    recorder = start("record", url, "--room", "ended", "--out", str(tmp_path))
    line_with(recorder, "recording alice audio")
    end = time.monotonic() + 20
    while not list(tmp_path.glob("alice-microphone*")):  # which comes with the first packet
        assert time.monotonic() < end
        time.sleep(0.05)
    assert main(["join", url, "--room", "ended", "--identity", "record", "--seconds", "0.1"]) == 0
    out, errors = recorder.communicate(timeout=20)
    assert recorder.returncode == Exit.DISCONNECTED
    assert "Disconnected: DUPLICATE_IDENTITY" in out
    assert re.search(rf"^{tmp_path}/alice-microphone\S+  \d+ bytes$", out, re.MULTILINE)
    assert errors.startswith("trio-livekit record: The server ended the session: DUPLICATE_IDENTITY. Somebody joined")
    assert stop(publisher) == Exit.OK


# ------------------------------------------------------------------ load


def test_load(url, capsys):
    assert main(["load", url, "--participants", "3", "--rate", "20", "--seconds", "0.5", "--room", "load"]) == 0
    out = capsys.readouterr().out
    assert "joined: 3 participants" in out
    assert "received: 60 of 60, 0 out of order" in out


def test_load_that_loses():
    from trio_client.cli import _load

    participant = _load.Participant(0)
    participant.sent, participant.joined = 2, 0.1

    async def run() -> None:
        with pytest.raises(Failure) as caught:
            _load._report([participant, participant], 4, 1.0, 0.1, 24)
        assert caught.value.code == Exit.CHECK

    trio.run(run)


# ------------------------------------------------------------------ parts


def test_data_is_shown():
    assert show(b"hello") == '"hello"'
    assert show(b"x" * 100) == '"' + "x" * 60 + '..." (100 bytes)'
    assert show(b"\xff\x00") == "ff 00 (2 bytes)"
    assert show(b"") == " (0 bytes)"
    assert show(bytes(100)) == "00 " * 19 + "00... (100 bytes)"


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def test_a_transcript_on_a_terminal():
    out = Terminal()
    transcript = Transcript(out)
    transcript.status("levels")
    transcript.say("something")
    transcript.close()
    assert re.fullmatch(r"\r\x1b\[Klevels\r\x1b\[K +[\d.]+  something\nlevels\r\x1b\[K", out.getvalue()), repr(
        out.getvalue()
    )
    assert [transcript.bar(level, 2) for level in (-1, 0, 0.25, 1, 2)] == ["  ", "  ", "▄ ", "██", "██"]


def test_a_key_of_ones_own_is_not_printed():
    process = start("devserver", "--port", "0", "--keys", "mine: not to be read", "--seconds", "0.1")
    out, errors = process.communicate(timeout=30)
    assert errors == ""
    assert "key    mine\n" in out
    assert "not to be read" not in out


def test_nothing_that_others_choose_commands_the_terminal():
    out = Terminal()
    transcript = Transcript(out)
    transcript.status("\x1b]0;title\x07 is here")
    transcript.say("\x1b[2J")
    shown = out.getvalue().replace("\r\x1b[K", "")
    assert "\x1b" not in shown
    assert "title\ufffd is here" in shown


def test_a_transcript_on_a_terminal_without_unicode():
    out = Terminal()
    out.encoding = "ascii"
    transcript = Transcript(out)
    transcript.status("ä")
    assert out.getvalue().endswith("\\xe4")


def test_a_transcript_without_unicode():
    out = io.StringIO()
    transcript = Transcript(out)
    transcript.status("not shown")
    transcript.say("ä\x1b")
    assert out.getvalue().endswith("\\xe4\\ufffd\n")
    assert transcript.bar(1, 2) == "@@"


def test_every_event_has_a_sentence():
    """One that names whom and what it is about, and what the transcript does not know is still told."""
    alice = SimpleNamespace(identity="alice")
    camera = SimpleNamespace(
        source=TrackSource.CAMERA, name="cam", mime_type="video/VP8", dimensions=Dimensions(320, 240)
    )
    data = {"participant": None, "encryption": EncryptionType.NONE, "sid": ""}
    for event, text in (
        (Connected(), ""),
        (
            ConnectionStateChanged(ConnectionState.RECONNECTING, ConnectionState.CONNECTED),
            "ConnectionStateChanged: RECONNECTING",
        ),
        (Reconnecting(), "Reconnecting"),
        (Reconnected(True), "Reconnected: the same session"),
        (Reconnected(False), "Reconnected: a new session"),
        (Disconnected(DisconnectReason.ROOM_DELETED), "Disconnected: ROOM_DELETED"),
        (
            ParticipantDisconnected(alice, DisconnectReason.CLIENT_INITIATED),
            "ParticipantDisconnected alice: CLIENT_INITIATED",
        ),
        (
            DataReceived(payload=b"x", reliable=True, topic="t", identity="a", **data),
            'DataReceived from a on t: "x"',
        ),
        (
            DataReceived(payload=b"x", reliable=False, topic="", identity="", **data),
            'DataReceived from the server lossy: "x"',
        ),
        (ActiveSpeakersChanged((alice,), (0.5,)), "ActiveSpeakersChanged: alice 0.50"),
        (ActiveSpeakersChanged((), ()), "ActiveSpeakersChanged: nobody"),
        (ParticipantNameChanged("Al", alice, ""), 'ParticipantNameChanged alice: "Al"'),
        (ParticipantMetadataChanged("", alice, "m"), 'ParticipantMetadataChanged alice: "m"'),
        (ParticipantAttributesChanged({"a": "b"}, alice, {}), "ParticipantAttributesChanged alice: {'a': 'b'}"),
        (
            ConnectionQualityChanged(ConnectionQuality.GOOD, alice, ConnectionQuality.POOR, 3.0),
            "ConnectionQualityChanged alice: GOOD",
        ),
        (TrackPublished(camera, alice), 'TrackPublished alice camera "cam" video/VP8 320x240'),
        (RoomMetadataChanged("m", ""), "RoomMetadataChanged metadata=m"),
        (TrackStreamStateChanged(camera, StreamState.PAUSED, alice), None),
    ):
        found = describe(event)
        assert text is None or found == text, found
    assert found.endswith("state=PAUSED")


class Scripted:
    """A room with somebody who speaks, and a track that brings frames."""

    name = "r"
    remote_participants = ("alice",)
    active_speakers = (SimpleNamespace(identity="alice", audio_level=1.0),)

    def __init__(self, nursery):
        self.start_soon = nursery.start_soon


class Track:
    async def frames(self):
        for _ in range(5):
            yield SimpleNamespace(data=bytes(250))


def test_the_line_of_levels():
    async def run() -> None:
        out = Terminal()
        async with trio.open_nursery() as nursery:
            levels = Levels(Transcript(out), Scripted(nursery))
            track = Track()
            levels.add(track, "alice audio")
            nursery.start_soon(levels.run)
            await trio.sleep(0)
            await trio.testing.wait_all_tasks_blocked()
            await trio.sleep(REFRESH * 1.5)
            levels.remove(track)
            nursery.cancel_scope.cancel()
        assert "r: 1 others  alice [████████]  alice audio 20/s 40 kbit/s" in out.getvalue()

    trio.run(run, clock=trio.testing.MockClock(autojump_threshold=0))
