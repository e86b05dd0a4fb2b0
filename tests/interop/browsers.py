"""Finds what a browser peer needs: Node.js, Chromium, and the npm packages named in ``browser/package.json``."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from .peers import HERE, Peer


class Setup:
    """A folder with the npm packages, and the programs."""

    def __init__(self, node: str, chromium: str, folder: Path, temporary: bool) -> None:
        self.node = node
        self.chromium = chromium
        self.folder = folder
        self.temporary = temporary

    def start(self, name: str) -> Peer:
        """A page with LiveKit's JavaScript client, ready for commands."""
        # started in the packages' folder, where the script looks for them
        command = [self.node, "-e", f"process.chdir({str(self.folder)!r}); require({str(HERE / 'browser/peer.js')!r})"]
        peer = Peer(command, name, {**os.environ, "CHROMIUM": self.chromium})
        peer.wait("ready", timeout=60)
        return peer

    def close(self) -> None:
        """Delete the packages, if they were installed for this run."""
        if self.temporary:
            shutil.rmtree(self.folder, ignore_errors=True)


def find() -> Setup | str:
    """What is needed, or a sentence that says what is missing.

    ``CHROMIUM`` and ``NODE`` name the programs. ``LIVEKIT_JS`` is a folder whose ``node_modules`` has the packages;
    without it they are installed by npm into a folder of this run.
    """
    node = os.environ.get("NODE") or shutil.which("node")
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    if not node or not chromium:
        lacking = " and ".join([what for what, found in (("Node.js", node), ("Chromium", chromium)) if not found])
        return f"No browser: {lacking} not found (NODE and CHROMIUM may name them)."
    if given := os.environ.get("LIVEKIT_JS"):
        return Setup(node, chromium, Path(given), temporary=False)
    npm = shutil.which("npm")
    if npm is None:
        return "No browser: npm was not found and LIVEKIT_JS names no folder with the packages."
    folder = Path(tempfile.mkdtemp(prefix="livekit-js-"))
    shutil.copy(HERE / "browser" / "package.json", folder)
    command = [npm, "install", "--no-audit", "--no-fund", "--loglevel=error"]
    try:
        subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=180)
    except (subprocess.SubprocessError, OSError) as error:
        shutil.rmtree(folder, ignore_errors=True)
        return f"No browser: npm could not install its packages ({type(error).__name__})."
    return Setup(node, chromium, folder, temporary=True)
