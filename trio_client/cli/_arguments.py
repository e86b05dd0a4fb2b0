"""What can be typed. Nothing is imported here that takes time."""

from __future__ import annotations

import argparse
import ipaddress
from collections.abc import Callable, Sequence
from typing import NamedTuple

from ._exits import MEANING

DEVELOPMENT_PORT = 7880
WHERE = """
URL and TOKEN may also be in the environment, as LIVEKIT_URL and LIVEKIT_TOKEN. Without a token one is made, of --key
and --secret (LIVEKIT_API_KEY, LIVEKIT_API_SECRET), or of the development server's key if the server is on this
machine."""
EXITS = "exit codes:\n" + "\n".join([f"  {code.value:>3}  {text}" for code, text in MEANING.items()])


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The arguments; ends the process where they are wrong, or help is asked for."""
    return build().parse_args(argv)


def build() -> argparse.ArgumentParser:
    """The whole parser."""
    parser = argparse.ArgumentParser(
        prog="trio-livekit",
        description="LiveKit rooms from the command line, and a small server for development.",
        epilog=EXITS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="say which version this is")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in COMMANDS:
        command.add(
            commands.add_parser(
                command.name,
                help=command.help,
                description=command.text.strip(),
                epilog=f"example:\n  {command.example}",
                formatter_class=argparse.RawDescriptionHelpFormatter,
            )
        )
    return parser


class _Version(argparse.Action):
    """Looked up only when it is asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *args: object) -> None:
        from importlib.metadata import version

        print(f"trio-livekit {version('trio-livekit')}")
        parser.exit()


class Command(NamedTuple):
    """A command as its help shows it; ``add`` adds its arguments to a parser."""

    name: str
    help: str
    text: str
    example: str
    add: Callable[[argparse.ArgumentParser], None]


def _bounded(low: float, high: float, kind: Callable[[str], float] = float) -> Callable[[str], float]:
    def convert(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is no number") from None
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{text} is not within {low:g} and {high:g}")
        return value

    return convert


def _address(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no IP address") from None


def _port(text: str) -> int:
    return int(_bounded(0, 65535, int)(text))


def _keys(text: str) -> dict[str, str]:
    """``key: secret``, several of them on lines of their own."""
    keys = {}
    for line in text.splitlines():
        key, colon, secret = line.partition(":")
        if not colon or not key.strip() or not secret.strip():
            raise argparse.ArgumentTypeError('keys are given as "key: secret"')
        keys[key.strip()] = secret.strip()
    if not keys:
        raise argparse.ArgumentTypeError("no key is given")
    return keys


def _attribute(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise argparse.ArgumentTypeError("an attribute is given as NAME=VALUE")
    return name, value


def _key(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--key", help="API key to make a token with")
    parser.add_argument("--secret", help="its secret")


def _identity(parser: argparse.ArgumentParser, identity: str) -> None:
    parser.add_argument("--room", default="demo", help="room of the token that is made (default: demo)")
    parser.add_argument("--identity", default=identity, help=f"identity in it (default: {identity})")


def _where(parser: argparse.ArgumentParser, identity: str) -> None:
    parser.add_argument("url", metavar="URL", nargs="?", help="the server: ws, wss, http or https")
    parser.add_argument("token", metavar="TOKEN", nargs="?", help="an access token")
    _key(parser)
    _identity(parser, identity)


def _seconds(
    parser: argparse.ArgumentParser, what: str = "leave so long after joining (default: when interrupted)"
) -> None:
    parser.add_argument("--seconds", type=_bounded(0, 1e9), default=None, help=what)


# ------------------------------------------------------------------ the commands


def _demo(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--url", default="", help="do it on this server")
    parser.add_argument(
        "--token", action="append", metavar="TOKEN", help="a token for it; give it twice for two participants"
    )
    _key(parser)
    parser.add_argument("--room", default="trio-livekit-demo", help="room of tokens that are made")
    parser.add_argument("--out", default="demo-out", help="folder for what is left behind (default: demo-out)")


def _devserver(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--port", type=_port, default=DEVELOPMENT_PORT, help="TCP port of HTTP and WebSockets (default: 7880; 0: any)"
    )
    parser.add_argument("--udp-port", type=_port, default=0, help="UDP port of everybody's media (default: any)")
    parser.add_argument("--tcp-port", type=_port, default=0, help="TCP port, for those without UDP (default: any)")
    parser.add_argument(
        "--bind", type=_address, default="127.0.0.1", help="address to listen on (default: 127.0.0.1; 0.0.0.0: all)"
    )
    parser.add_argument("--node-ip", type=_address, help="address that clients are to use, if it is another")
    parser.add_argument("--keys", type=_keys, default=None, help='API keys, as "key: secret" (default: devkey)')
    _seconds(parser, "stop after so long (default: when interrupted)")


def _join(parser: argparse.ArgumentParser) -> None:
    _where(parser, "join")
    parser.add_argument("--send", default=None, metavar="TEXT", help="send this to everybody, once joined")
    parser.add_argument("--topic", default="", help="topic of that")
    parser.add_argument("--no-subscribe", action="store_true", help="do not receive tracks")
    _seconds(parser)


def _publish(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help='the file, or "test:"')
    _where(parser, "publish")
    parser.add_argument("--loop", action="store_true", help="begin again at the end")
    _seconds(parser, "leave so long after joining (default: at the end of the file)")


def _record(parser: argparse.ArgumentParser) -> None:
    _where(parser, "record")
    parser.add_argument("--out", default="recordings", help="folder for the files (default: recordings)")
    parser.add_argument(
        "--wait", type=_bounded(0, 1e9), default=None, help="seconds to wait for the first track (default: for ever)"
    )
    _seconds(parser, "stop so long after the first track (default: when interrupted)")


def _doctor(parser: argparse.ArgumentParser) -> None:
    _where(parser, "doctor")


def _token(parser: argparse.ArgumentParser) -> None:
    _key(parser)
    _identity(parser, "guest")
    parser.add_argument("--name", default="", help="name that others see")
    parser.add_argument("--metadata", default="", help="metadata of the participant")
    parser.add_argument(
        "--attribute", type=_attribute, action="append", default=[], metavar="NAME=VALUE", help="may be given again"
    )
    parser.add_argument("--ttl", type=_bounded(1, 1e9), default=3600.0, help="seconds it is valid (default: 3600)")
    parser.add_argument("--no-publish", action="store_true", help="may not publish tracks")
    parser.add_argument("--no-data", action="store_true", help="may not publish data")
    parser.add_argument("--no-subscribe", action="store_true", help="may not subscribe to tracks")
    parser.add_argument("--no-update", action="store_true", help="may not change its own name, metadata and attributes")
    parser.add_argument("--hidden", action="store_true", help="others do not see the participant")


def _load(parser: argparse.ArgumentParser) -> None:
    _where(parser, "load")
    parser.add_argument(
        "--participants", type=_bounded(2, 64, int), default=4, help="how many join (default: 4; at most 64)"
    )
    parser.add_argument(
        "--rate", type=_bounded(0.1, 500), default=10.0, help="messages a second of each (default: 10; at most 500)"
    )
    parser.add_argument(
        "--size", type=_bounded(24, 15000, int), default=200, help="bytes of a message (default: 200; at most 15000)"
    )
    parser.add_argument("--seconds", type=_bounded(0.1, 300), default=5.0, help="how long (default: 5; at most 300)")


COMMANDS = (
    Command(
        "demo",
        "see it work: two participants, sound, pictures, data, a broken link",
        """
Two participants in a room, for about ten seconds: a tone and a moving picture are published, received and measured,
data goes there and back, the signalling link breaks and comes back. Leaves a recording and a picture of the timeline.
Without --url this runs on an embedded development server. On another server it takes a key, which tokens for two
participants are made of, or two tokens of one room. With one token (--token, or LIVEKIT_TOKEN) there is one
participant: the server confirms what it gets, and whoever else is in the room can hear and see it. Needs the [media]
extra.""",
        "trio-livekit demo --out demo-out",
        _demo,
    ),
    Command(
        "devserver",
        "run the development server (not made for production)",
        """
Run a small LiveKit-compatible server: rooms, data and media, for development, tests and demonstrations only. It
speaks no TLS, keeps nothing, and its default key is known to everybody. Prints a URL, a token and a join command,
and then who comes and goes.""",
        "trio-livekit devserver --port 7890 --seconds 60",
        _devserver,
    ),
    Command(
        "join",
        "join a room and tell what happens in it",
        f"Join a room, and print a line for everything that happens. On a terminal, levels are shown below.\n{WHERE}",
        "trio-livekit join ws://127.0.0.1:7890 --room demo --identity alice --seconds 3",
        _join,
    ),
    Command(
        "publish",
        "play a file into a room",
        f"""
Publish the sound and the video of a file, in real time; "test:" in place of a file is a tone and a moving picture. Any
file that PyAV reads will do; Opus, VP8 and H.264 are sent as they are. Needs the [media] extra.
{WHERE}""",
        "trio-livekit publish test: ws://127.0.0.1:7890 --room demo --seconds 6",
        _publish,
    ),
    Command(
        "record",
        "record the tracks of a room",
        f"""
Record every track of a room, as it is, into a file of its own: sound as .ogg, VP8 as .webm, H.264 as .mp4. Needs the
[media] extra.
{WHERE}""",
        "trio-livekit record ws://127.0.0.1:7890 --room demo --out recordings --seconds 2",
        _record,
    ),
    Command(
        "doctor",
        "join once, and tell which way media takes and what is wrong",
        f"""
Join a room, look at every path that media could take, leave, and print a report: facts, the paths, and a verdict of one
sentence. There is no secret in it.
{WHERE}""",
        "trio-livekit doctor ws://127.0.0.1:7890",
        _doctor,
    ),
    Command(
        "token",
        "make an access token",
        """
Print an access token. Without --key and --secret (or LIVEKIT_API_KEY and LIVEKIT_API_SECRET) it is one for the
development server.""",
        "trio-livekit token --room demo --identity alice --name Alice",
        _token,
    ),
    Command(
        "load",
        "let several participants send data to each other, and measure",
        """
Join one room several times, let every participant send reliable data to all others, and print what came of it. Without
a URL this runs on an embedded development server. Use it on servers of your own.""",
        "trio-livekit load --participants 4 --rate 20 --seconds 2",
        _load,
    ),
)
