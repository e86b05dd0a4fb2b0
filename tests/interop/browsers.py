"""Finds what a browser peer needs: Node.js, Chromium, and the npm packages named in ``browser/package.json``."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from .peers import HERE, Peer


class Setup:
    """A folder with the npm packages, and the programs."""

    def __init__(self, node: str, chromium: str, folder: str) -> None:
        self.node = node
        self.chromium = chromium
        self.folder = folder

    def start(self, name: str) -> Peer:
        """A page with LiveKit's JavaScript client, ready for commands."""
        # started in the packages' folder, where the script looks for them
        command = [self.node, "-e", f"process.chdir({self.folder!r}); require({str(HERE / 'browser/peer.js')!r})"]
        peer = Peer(command, name, {**os.environ, "CHROMIUM": self.chromium})
        peer.wait("ready", timeout=60)
        return peer


@contextmanager
def setup() -> Iterator[Setup | str]:
    """What is needed, or a sentence that says what is missing.

    ``CHROMIUM`` and ``NODE`` name the programs. ``LIVEKIT_JS`` is a folder whose ``node_modules`` has the packages;
    without it they are installed by npm into a folder that is there as long as the block.
    """
    node = os.environ.get("NODE") or shutil.which("node")
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    npm = shutil.which("npm")
    if not node or not chromium:
        lacking = " and ".join([what for what, found in (("Node.js", node), ("Chromium", chromium)) if not found])
        yield f"No browser: {lacking} not found (NODE and CHROMIUM may name them)."
    elif given := os.environ.get("LIVEKIT_JS"):
        yield Setup(node, chromium, given)
    elif npm is None:
        yield "No browser: npm was not found and LIVEKIT_JS names no folder with the packages."
    else:
        with tempfile.TemporaryDirectory(prefix="livekit-js-", ignore_cleanup_errors=True) as folder:
            shutil.copy(HERE / "browser" / "package.json", folder)
            command = [npm, "install", "--no-audit", "--no-fund", "--loglevel=error"]
            found: Setup | str = Setup(node, chromium, folder)
            try:
                subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=180)
            except (subprocess.SubprocessError, OSError) as error:
                found = f"No browser: npm could not install its packages ({type(error).__name__})."
            yield found
