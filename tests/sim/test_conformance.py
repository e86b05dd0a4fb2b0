"""Every machine of the core keeps the contract. A class with an ``advance`` that nobody registered fails here."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path

import pytest

from sansio.testing.conformance import Subject, exercise

ROOT = Path(__file__).parents[2]
STEPS = 150
SEEDS = (b"1", b"2", b"3")

NOT_MACHINES = {
    "base.contract.Machine": "the protocol itself",
    "peer.transport.PeerTransport": "a part of PeerConnection, which has all its inputs and outputs",
    "peer.transport.MediaMachine": "a protocol",
    "room.course.Course": "a part of RoomEngine, driven through it",
    "room.data_tracks.DataTracks": "likewise: it keeps what the user subscribed to, and reads what the state says",
    "room.transports.Transports": "a part of RoomEngine, driven through it",
    "rtp.receiver.RtpReceiver": "a part of RtpSession, which tells it what to report in",
    "rtp.video.VideoReceiver": "likewise",
    "sfu.media.MediaRelay": "a part of SfuServer, driven through it",
    "sfu.mock.Scripts": "likewise",
    "sfu.participant.ServerParticipant": "likewise",
    "sfu.routes.Streams": "likewise",
}


def machines() -> list[str]:
    """``module.Class`` of each class below sansio that has a method ``advance``, the test kit's aside."""
    found = []
    for path in sorted((ROOT / "sansio").rglob("*.py")):
        parts = path.relative_to(ROOT / "sansio").with_suffix("").parts
        if parts[0] == "testing":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef) and any(
                isinstance(item, ast.FunctionDef) and item.name == "advance" for item in node.body
            ):
                found.append(".".join([*parts, node.name]))
    return [name for name in found if name not in NOT_MACHINES]


def registered() -> dict[str, list[Subject]]:
    subjects: dict[str, list[Subject]] = {}
    for path in sorted((ROOT / "tests" / "subjects").glob("*.py")):
        module = importlib.import_module(f"tests.subjects.{path.stem}")
        subjects |= getattr(module, "SUBJECTS", {})
    return subjects


REGISTERED = registered()


def test_every_machine_is_registered_and_every_registration_is_of_a_machine():
    assert sorted(REGISTERED) == sorted(machines())


@pytest.mark.parametrize("seed", SEEDS, ids=lambda seed: f"seed{seed.decode()}")
@pytest.mark.parametrize(
    "subject",
    [
        pytest.param(subject, id=f"{name}-{number}")
        for name, subjects in REGISTERED.items()
        for number, subject in enumerate(subjects)
    ],
)
def test_machine_keeps_the_contract(subject, seed):
    exercise(subject, seed, STEPS)
