"""One of two networks goes: media and data go on by the other, in the same session."""

from __future__ import annotations

from .namespaces import run_apart


def test_another_network_takes_over(namespaces, server_program):
    found = run_apart("roaming", server_program, timeout=90)
    assert all(result["same session"] for result in found.values())
    assert found["black hole"]["story"] == []  # signalling has not noticed anything yet
    for name in ("unplugged", "other network"):
        assert found[name]["story"] == ["signal_reconnecting", "reconnected"]
    # On an idle machine 3.0 s, where nobody tells of the fault; 0.1 s and 0.15 s, where the kernel does.
    most = {"black hole": 6.0, "unplugged": 3.0, "other network": 3.5}
    assert {name: result["gap"] for name, result in found.items() if result["gap"] > most[name]} == {}
