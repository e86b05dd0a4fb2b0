"""Networks of a test's own: what a program here does to them, nobody else notices.

``run_apart("blocked", ...)`` runs ``python -m tests.interop.blocked ...`` as root in a network namespace of its own and
returns what that printed, from JSON. The program calls ``far_side()`` for a second namespace, lays a cable to it, and
starts a server there. With the processes all of that vanishes.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

HERE, THERE = "10.90.0.1", "10.90.0.2"
"""The addresses at the two ends of a cable."""
ROOT = Path(__file__).parents[2]


def able() -> bool:
    """Whether this process may make network namespaces with a cable between them."""
    if os.geteuid() != 0 or not all(shutil.which(name) for name in ("unshare", "nsenter", "ip")):
        return False
    probe = "unshare -n ip link add near type veth peer name far"
    return subprocess.run(probe.split(), capture_output=True, check=False).returncode == 0


def run_apart(name: str, *arguments: str, timeout: float = 60.0) -> Any:
    """Run a program of this folder in a network namespace of its own: what it printed."""
    command = ["unshare", "-n", sys.executable, "-m", f"tests.interop.{name}", *arguments]
    program = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        printed, complaints = program.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        program.terminate()  # it ends what it has started
        _, complaints = program.communicate(timeout=15)
        raise AssertionError(f"{name} took more than {timeout} s:\n{complaints}") from None
    assert program.returncode == 0, complaints
    return json.loads(printed)


def main(program: Callable[..., Any]) -> None:
    """What such a program does at its end: call a function with its arguments, and print what that returns."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))
    print(json.dumps(program(*sys.argv[1:])))


def ip(words: str, prefix: Sequence[str] = ()) -> None:
    """Call ``ip``."""
    subprocess.run([*prefix, "ip", *words.split()], check=True, stdout=subprocess.DEVNULL)


@contextmanager
def ruled(*rules: str, prefix: Sequence[str] = ()) -> Iterator[None]:
    """Rules for packets, for a while, in the words of ``ip rule``: "pref 5 ipproto udp prohibit".

    What is prohibited on its way out, the kernel refuses to send.
    """
    for rule in rules:
        ip(f"rule add {rule}", prefix)
    try:
        yield
    finally:
        for rule in rules:
            ip(f"rule del {rule}", prefix)


class Far:
    """The other namespace; ``prefix`` goes before a command that is to run there."""

    def __init__(self, holder: int) -> None:
        self.holder = holder
        self.prefix = ("nsenter", "-t", str(holder), "-n")
        ip("link set lo up")
        self.ip("link set lo up")
        # Else what is for an address over there would be let in before any rule of a test is asked.
        self.ip("rule add pref 10 lookup local")
        self.ip("rule del pref 0")

    def ip(self, words: str) -> None:
        """Call ``ip`` over there."""
        ip(words, self.prefix)

    def lay_cable(self, near: str = "near", far: str = "far") -> None:
        """A cable to it, whose ends are not up yet and have no address."""
        ip(f"link add {near} type veth peer name {far} netns {self.holder}")

    def ruled(self, *rules: str) -> AbstractContextManager[None]:
        """Rules for what comes there, for a while, in the words of ``ip rule``: "pref 5 iif far ipproto udp blackhole".

        Such packets vanish, and nobody is told. What no rule below 10 catches is let in.
        """
        return ruled(*rules, prefix=self.prefix)


@contextmanager
def far_side() -> Iterator[Far]:
    """A second namespace, without a cable to it."""
    with subprocess.Popen(["unshare", "-n", "cat"], stdin=subprocess.PIPE) as holder:  # which ends with its input
        ours = os.readlink("/proc/self/ns/net")
        while os.readlink(f"/proc/{holder.pid}/ns/net") == ours:
            time.sleep(0.01)
        yield Far(holder.pid)


@contextmanager
def far_end(delay: float = 0.0) -> Iterator[Far]:
    """A second namespace at the other end of a cable: ``HERE`` is here, and ``THERE`` there.

    With a ``delay`` packets are so many seconds on their way.
    """
    with far_side() as far, _slow_cable(far, delay) if delay else nullcontext():
        if not delay:
            far.lay_cable()
        for end, address, call in (("near", HERE, ip), ("far", THERE, far.ip)):
            call(f"addr add {address}/24 dev {end}")
            call(f"link set {end} up")
        yield far


@contextmanager
def _slow_cable(far: Far, delay: float) -> Iterator[None]:
    command = [sys.executable, "-m", "tests.interop.slow_cable", str(far.holder), str(delay)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as cable:  # it ends with its input
        assert cable.stdout
        assert cable.stdout.readline(), "no slow cable"
        yield
