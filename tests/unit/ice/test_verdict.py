"""The sentence and the table that reports become."""

from __future__ import annotations

import pytest

from sansio.ice.candidate import Candidate
from sansio.ice.facts import PairReport
from sansio.ice.paths import PathReport
from sansio.ice.verdict import pair_line, path_table, path_verdict, way_line

LOCAL = Candidate("1", 1, "udp", 1, "10.0.0.2", 5000, "host")
REMOTE = Candidate("2", 1, "udp", 1, "10.0.0.1", 7882, "host")
PROTOCOLS = {"direct TCP": "tcp"}


def pair(kind="direct UDP", state="failed", *, selected=False, rtt=0.0, checks=8, error="no answer"):
    protocol = PROTOCOLS.get(kind, "udp")
    return PairReport(LOCAL, REMOTE, kind, protocol, state, selected, rtt, checks, error)


def chosen(kind="direct UDP", rtt=0.02):
    return pair(kind, "succeeded", selected=True, rtt=rtt, error="")


def way(kind, state="failed", error=""):
    return PathReport(kind, "10.0.0.3 port 443", state, error)


UNTRUSTED = way(
    "relay over tls", error="the server's certificate is not accepted: self-signed certificate in certificate chain"
)
SILENT_RELAY = way("relay over udp", error="the server does not answer")
BLOCKED = pair()


@pytest.mark.parametrize(
    ("pairs", "ways", "sentence"),
    [
        ([chosen()], [], "Media goes by direct UDP (20 ms round trip), the best kind of path."),
        ([chosen(rtt=0.0)], [UNTRUSTED], "Media goes by direct UDP, the best kind of path."),
        (
            [BLOCKED, chosen("relayed TLS")],
            [SILENT_RELAY, way("tcp", error="Connection refused"), way("relay over tls", "open")],
            "Media goes by TURN over TLS (20 ms round trip): UDP is blocked, also to the TURN server; "
            "ICE over TCP was tried, but connection refused.",
        ),
        (
            [chosen("relayed UDP")],
            [way("relay over udp", "open")],
            "Media goes by TURN over UDP (20 ms round trip): direct UDP had no pair of addresses that fit each other.",
        ),
        (
            [pair(), chosen("relayed UDP")],
            [way("relay over udp", "open")],
            "Media goes by TURN over UDP (20 ms round trip): UDP is blocked.",
        ),
        (
            [pair(error="Operation not permitted"), pair("relayed UDP", "in progress", error=""), chosen("direct TCP")],
            [way("relay over udp", "open"), way("tcp", "open")],
            "Media goes by ICE over TCP (20 ms round trip): direct UDP was tried and failed: operation not permitted; "
            "TURN over UDP relays, but got no answer from beyond the relay.",
        ),
        (
            [pair(state="succeeded", error=""), chosen("direct TCP")],
            [way("tcp", "open")],
            "Media goes by ICE over TCP (20 ms round trip): direct UDP works, but not as soon or as well.",
        ),
        (
            [BLOCKED],
            [UNTRUSTED],
            "UDP is blocked; TURN over TLS was offered, but its certificate is not trusted "
            "(the server's certificate is not accepted: self-signed certificate in certificate chain).",
        ),
        (
            [BLOCKED],
            [way("tcp", "opening")],
            "UDP is blocked; ICE over TCP was not connected in time; no TURN server was offered.",
        ),
        ([BLOCKED], [way("relay over udp", "opening")], "UDP is blocked, also to the TURN server."),
        ([], [way("relay over udp", "opening")], "TURN over UDP was offered, but its server does not answer."),
        ([], [way("relay over tcp", "closed")], "TURN over TCP was not needed."),
        (
            [pair(error="", state="waiting", checks=0)],
            [way("relay over udp", error="the credentials were refused")],
            "Direct UDP was not tried in time; TURN over UDP was offered, but the credentials were refused.",
        ),
        (
            [pair("relayed UDP", error="")],
            [way("relay over udp", "open", "no relaying to 10.0.0.1: 403 Forbidden IP")],
            "TURN over UDP relays, but not to the server: no relaying to 10.0.0.1: 403 Forbidden IP.",
        ),
        (
            [pair(error="487 Role Conflict")],
            [],
            "Direct UDP was tried and failed: 487 Role Conflict; no TURN server was offered.",
        ),
        (
            [pair("direct TCP")],
            [way("tcp", "open")],
            "ICE over TCP got no answer; no TURN server was offered.",
        ),
        (
            [pair(state="succeeded", error="")],
            [],
            "A path works (direct UDP), but media was not connected over it.",
        ),
        (
            [],
            [],
            "There was nothing to try: no address of the server fits one of this host, and no relay was offered.",
        ),
    ],
)
def test_sentences(pairs, ways, sentence):
    assert path_verdict(pairs, ways) == sentence


def test_lines():
    assert pair_line(pair("direct TCP", "succeeded", rtt=0.0213, checks=2, error="")) == (
        "host 10.0.0.2:5000 -> host 10.0.0.1:7882 tcp: succeeded, 2 checks sent, 21.3 ms"
    )
    assert pair_line(pair(state="in progress", checks=1, error="")).endswith(
        "in progress, 1 checks sent, no answer yet"
    )
    assert pair_line(pair(state="in progress", checks=0, error="")).endswith("in progress, 0 checks sent")
    assert pair_line(pair()).endswith("failed, 8 checks sent, no answer")
    assert way_line(way("tcp", "open")) == "tcp at 10.0.0.3 port 443: open"
    assert way_line(SILENT_RELAY) == "relay over udp at 10.0.0.3 port 443: failed, the server does not answer"


def test_tables():
    assert path_table([], []) == "no candidate pair"
    text = path_table([chosen(), pair("direct TCP")], [UNTRUSTED, way("tcp", "open")])
    assert text.splitlines() == [
        "   path        from and to                                   state      checks  round trip  last error",
        "*  direct UDP  host 10.0.0.2:5000 -> host 10.0.0.1:7882 udp  succeeded  8       20.0 ms",
        "   direct TCP  host 10.0.0.2:5000 -> host 10.0.0.1:7882 tcp  failed     8                   no answer",
        "",
        "  way             at                 state   error",
        "  relay over tls  10.0.0.3 port 443  failed  the server's certificate is not accepted: "
        "self-signed certificate in certificate chain",
        "  tcp             10.0.0.3 port 443  open",
    ]
