"""What the reports of candidate pairs and of ways mean, in one sentence and in a table. Pure functions.

For each kind of path, best first, there is one outcome: it carries media, it works, or why it does not. The sentence
for a success names the kind that was chosen and why the better ones lost; the one for a failure names every kind.
"""

from __future__ import annotations

from collections.abc import Sequence

from .facts import PairReport
from .paths import PathReport
from .preference import DIRECT_TCP, DIRECT_UDP, PATH_NAMES, RELAYED_TCP, RELAYED_TLS, RELAYED_UDP

KINDS = (DIRECT_UDP, RELAYED_UDP, DIRECT_TCP, RELAYED_TCP, RELAYED_TLS)
WAYS = {
    RELAYED_UDP: "relay over udp",
    DIRECT_TCP: "tcp",
    RELAYED_TCP: "relay over tcp",
    RELAYED_TLS: "relay over tls",
}
NAMES = {
    DIRECT_UDP: "direct UDP",
    RELAYED_UDP: "TURN over UDP",
    DIRECT_TCP: "ICE over TCP",
    RELAYED_TCP: "TURN over TCP",
    RELAYED_TLS: "TURN over TLS",
}
NO_ANSWER = "no answer"


class _Kind:
    """One kind of path: how its pairs and its ways ended."""

    __slots__ = ("kind", "pairs", "ways")

    def __init__(self, kind: int, pairs: Sequence[PairReport], ways: Sequence[PathReport]) -> None:
        self.kind = kind
        self.pairs = [pair for pair in pairs if pair.type == PATH_NAMES[kind]]
        self.ways = [way for way in ways if way.kind == WAYS.get(kind)]

    @property
    def selected(self) -> PairReport | None:
        return next((pair for pair in self.pairs if pair.selected), None)

    @property
    def works(self) -> bool:
        return any(pair.state == "succeeded" for pair in self.pairs)

    @property
    def offered(self) -> bool:
        return bool(self.pairs or self.ways)

    @property
    def silent(self) -> bool:
        """Whether packets were sent and nothing at all came back, neither an answer nor an error."""
        checks = [pair for pair in self.pairs if pair.checks_sent]
        if any(pair.last_error not in ("", NO_ANSWER) or pair.state == "succeeded" for pair in checks):
            return False
        if self.kind == DIRECT_UDP:
            return bool(checks)
        return bool(self.ways) and all(way.state != "open" and way.error in ("", _SERVER_SILENT) for way in self.ways)

    def why(self) -> str:
        """Why it does not carry media, as the end of a sentence about its name."""
        if not self.offered:
            return "was not offered" if self.kind != DIRECT_UDP else "had no pair of addresses that fit each other"
        if self.works:
            return "works, but not as soon or as well"
        errors = list(dict.fromkeys([pair.last_error for pair in self.pairs if pair.last_error not in ("", NO_ANSWER)]))
        if self.pairs:
            relayed = self.kind in (RELAYED_UDP, RELAYED_TCP, RELAYED_TLS)
            refusals = [way.error for way in self.ways if way.state == "open" and way.error]
            if refusals:
                return f"relays, but not to the server: {_cut(refusals[0])}"
            if errors:
                return f"was tried and failed: {_cut(errors[0])}"
            if not any(pair.checks_sent for pair in self.pairs):
                return "was not tried in time"
            return "relays, but got no answer from beyond the relay" if relayed else "got no answer"
        failed = [way for way in self.ways if way.state == "failed"]
        if not failed:
            if self.kind == RELAYED_UDP and self.silent:
                return "was offered, but its server does not answer"
            return "was not connected in time" if self.ways[0].state == "opening" else "was not needed"
        error = failed[0].error
        verb = "was tried" if self.kind == DIRECT_TCP else "was offered"
        if "certificate" in error:
            return f"{verb}, but its certificate is not trusted ({_cut(error)})"
        return f"{verb}, but {_cut(error)}"


_SERVER_SILENT = "the server does not answer"


def path_verdict(pairs: Sequence[PairReport], ways: Sequence[PathReport]) -> str:
    """One plain sentence: what carries media and why nothing better does, or why nothing carries it."""
    kinds = [_Kind(kind, pairs, ways) for kind in KINDS]
    chosen = next((kind for kind in kinds if kind.selected is not None), None)
    if chosen is None:
        return _failure(kinds)
    pair = chosen.selected
    assert pair is not None
    rtt = f" ({pair.rtt * 1000:.0f} ms round trip)" if pair.rtt else ""
    head = f"Media goes by {NAMES[chosen.kind]}{rtt}"
    better = [kind for kind in kinds[: chosen.kind] if kind.offered or kind.kind == DIRECT_UDP]
    if not better:
        return f"{head}, the best kind of path."
    return f"{head}: " + "; ".join(_reasons(better)) + "."


def _failure(kinds: Sequence[_Kind]) -> str:
    working = [NAMES[kind.kind] for kind in kinds if kind.works]
    if working:
        return f"A path works ({', '.join(working)}), but media was not connected over it."
    if not any(kind.offered for kind in kinds):
        return "There was nothing to try: no address of the server fits one of this host, and no relay was offered."
    reasons = _reasons([kind for kind in kinds if kind.offered])
    if not any(kind.ways for kind in kinds if kind.kind != DIRECT_TCP):
        reasons.append("no TURN server was offered")
    text = "; ".join(reasons)
    return text[0].upper() + text[1:] + "."


def _reasons(kinds: Sequence[_Kind]) -> list[str]:
    """For each kind a part of the sentence; silence of direct UDP and of relays by UDP together is one part."""
    direct = next((kind for kind in kinds if kind.kind == DIRECT_UDP), None)
    relayed = next((kind for kind in kinds if kind.kind == RELAYED_UDP), None)
    if direct is not None and direct.silent and (relayed is None or relayed.silent):
        rest = [kind for kind in kinds if kind.kind not in (DIRECT_UDP, RELAYED_UDP)]
        return ["UDP is blocked" + (", also to the TURN server" if relayed else ""), *_reasons(rest)]
    return [f"{NAMES[kind.kind]} {kind.why()}" for kind in kinds]


def _cut(error: str) -> str:
    return error[:1].lower() + error[1:] if error[1:2].islower() else error


# ------------------------------------------------------------------ lines and tables


def pair_line(pair: PairReport) -> str:
    """One pair and how it ended, on a line."""
    _, between, state, checks, rtt, error = _pair_cells(pair)
    return f"{between}: " + ", ".join([cell for cell in (state, f"{checks} checks sent", rtt, error) if cell])


def way_line(way: PathReport) -> str:
    """One way and how it fared, on a line."""
    line = f"{way.kind} at {way.target}: {way.state}"
    return f"{line}, {way.error}" if way.error else line


def path_table(pairs: Sequence[PairReport], ways: Sequence[PathReport]) -> str:
    """Both reports as text in columns; the pair in use is marked with a star."""
    rows = [("", "path", "from and to", "state", "checks", "round trip", "last error")]
    for pair in pairs:
        mark, between, state, checks, rtt, error = _pair_cells(pair)
        rows.append((mark, pair.type, between, state, checks, rtt, error))
    text = _columns(rows) if len(rows) > 1 else ["no candidate pair"]
    if ways:
        found = [("", "way", "at", "state", "error"), *[("", w.kind, w.target, w.state, w.error) for w in ways]]
        text += ["", *_columns(found)]
    return "\n".join(text)


def _pair_cells(pair: PairReport) -> tuple[str, str, str, str, str, str]:
    local, remote = pair.local, pair.remote
    waiting = pair.state == "in progress" and pair.checks_sent
    return (
        "*" if pair.selected else "",
        f"{local.type} {local.address}:{local.port} -> {remote.type} {remote.address}:{remote.port} {pair.protocol}",
        pair.state,
        str(pair.checks_sent),
        f"{pair.rtt * 1000:.1f} ms" if pair.rtt else "",
        pair.last_error or ("no answer yet" if waiting else ""),
    )


def _columns(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join([cell.ljust(width) for cell, width in zip(row, widths, strict=True)]).rstrip() for row in rows]
