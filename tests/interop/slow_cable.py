"""A cable to another network namespace on which every packet takes its time.

``python -m tests.interop.slow_cable PROCESS SECONDS`` (as root) makes a TUN device here ("near"), one in the
namespace of a process ("far"), says so, and passes packets from each to the other so many seconds later, until its
input ends.
"""

from __future__ import annotations

import fcntl
import os
import select
import struct
import sys
import time
from collections import deque
from contextlib import suppress
from pathlib import Path

from .namespaces import ip

DEVICE = Path("/dev/net/tun")
TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x0001, 0x1000


def able() -> bool:
    """Whether there are TUN devices; root may make the file that asks for them."""
    with suppress(OSError):
        if not DEVICE.exists():
            DEVICE.parent.mkdir(exist_ok=True)
            os.mknod(DEVICE, 0o20666, os.makedev(10, 200))
        os.close(os.open(DEVICE, os.O_RDWR))
        return True
    return False


def make(name: str) -> int:
    device = os.open(DEVICE, os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH", name.encode(), IFF_TUN | IFF_NO_PI))
    return device


def pass_on(near: int, far: int, delay: float) -> None:
    """Until the standard input ends."""
    other = {near: far, far: near}
    waiting: deque[tuple[float, int, bytes]] = deque()
    while True:
        wait = max(0.0, waiting[0][0] - time.monotonic()) if waiting else None
        readable, _, _ = select.select([near, far, 0], [], [], wait)
        if 0 in readable:
            return
        for device in readable:
            with suppress(BlockingIOError):
                while True:
                    packet = os.read(device, 65536)
                    waiting.append((time.monotonic() + delay, other[device], packet))
        while waiting and waiting[0][0] <= time.monotonic():
            _, device, packet = waiting.popleft()
            with suppress(OSError):  # not up
                os.write(device, packet)


if __name__ == "__main__":
    near, far = make("near"), make("far")
    ip(f"link set far netns {sys.argv[1]}")
    print("made", flush=True)
    pass_on(near, far, float(sys.argv[2]))
