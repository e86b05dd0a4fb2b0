"""Which way media takes through which firewall, and how soon."""

from __future__ import annotations

from .namespaces import run_apart


def test_the_best_way_that_each_firewall_leaves(namespaces, server_program, turn_program):
    found = run_apart("firewalls", server_program, turn_program, timeout=90.0)
    small = {name: found.pop(name) for name in list(found) if name.startswith("small server")}
    assert {name: result.get("server") for name, result in found.items()} == {
        "open": "udp",
        "udp 443 only": "turn",
        "no udp": "tcp",
        "tcp 443 only": "turn",
        "udp 443 only, refused": "turn",
        "no udp, refused": "tcp",
        "tcp 443 only, refused": "turn",
    }
    ways = {name: [way for way, state in result["ways"].items() if state == "open"] for name, result in found.items()}
    assert sorted(ways["open"]) == ["relay over tls", "relay over udp", "tcp"]
    assert sorted(ways["udp 443 only"]) == ["relay over tls", "relay over udp"]
    assert sorted(ways["no udp"]) == ["relay over tls", "tcp"]
    assert ways["tcp 443 only"] == ["relay over tls"]
    for name in ("udp 443 only", "no udp", "tcp 443 only"):
        assert sorted(ways[f"{name}, refused"]) == sorted(ways[name])
    assert all(result["seconds"] < 1.0 for result in found.values())
    assert {name: result["selected"][1] for name, result in small.items()} == {
        "small server": 7882,
        "small server, no udp": 7881,
        "small server, no udp, refused": 7881,
    }
    assert all(result["seconds"] < 1.0 for result in small.values())
