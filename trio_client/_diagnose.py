"""Join once to see how: which way media takes, and what is wrong with the better ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import trio
from attrs import frozen

from ._connect import connect
from ._errors import ConnectError
from ._options import ConnectOptions, TokenSource

if TYPE_CHECKING:
    from ._room import Room

SETTLE = 1.0
"""Seconds that the ways which were not chosen get to show how they fare."""


@frozen(kw_only=True)
class Diagnosis:
    """What ``diagnose`` found; ``str()`` is all of it as text. Nothing in it is secret.

    ``ok``: the room was joined and media is connected. ``verdict``: one sentence. ``facts``: names and values, in the
    order of a report. ``table``: each candidate pair, and each relay and TCP connection, as text in columns. ``error``:
    why the join failed, None when it did not.
    """

    ok: bool
    verdict: str
    facts: tuple[tuple[str, str], ...] = ()
    table: str = ""
    error: ConnectError | None = None

    def __str__(self) -> str:
        width = max([len(name) for name, _ in self.facts], default=0)
        lines = [f"{name:<{width}}  {value}" for name, value in self.facts]
        parts: Sequence[str] = ["\n".join(lines), self.table, self.verdict]
        return "\n\n".join([part for part in parts if part])


async def diagnose(url: str, token: str | TokenSource, *, options: ConnectOptions | None = None) -> Diagnosis:
    """Join a room, look at the paths of media, and leave again. It takes a second longer than a join.

    A join that fails is a result, not an exception; an unusable address is a ValueError, as for ``connect``. Cancelled,
    it leaves as ``connect`` does.
    """
    start = trio.current_time()
    try:
        async with connect(url, token, auto_subscribe=False, options=options) as room:
            return await _look(room, trio.current_time() - start)
    except ConnectError as error:
        report = error.report
        facts = [("server", report.server), ("result", report.what), ("because", report.why), ("advice", report.advice)]
        if report.status:
            facts.append(("HTTP", f"{report.status} {report.body}".strip()))
        return Diagnosis(
            ok=False,
            verdict=report.verdict or " ".join([report.what, report.why]).strip(),
            facts=tuple([fact for fact in facts if fact[1]]),
            table=report.table,
            error=error,
        )


async def _look(room: Room, seconds: float) -> Diagnosis:
    from ._core import path_table, path_verdict

    acknowledged = 0.0
    with trio.move_on_after(SETTLE):
        await trio.sleep(SETTLE / 4)  # until the channels are open
        start = trio.current_time()
        await room.local_participant.publish_data(b"", destination_identities=[_NOBODY], wait_acked=True)
        acknowledged = trio.current_time() - start
        await trio.sleep_forever()
    engine = room._session.engine
    pairs, ways = engine.media_report()
    signal = engine.diagnostics()["signal"]["rtt"]
    info = room.server_info
    server = " ".join([part for part in ("LiveKit", info.version, info.region and f"in {info.region}") if part])
    facts = [
        ("server", f"{server}, protocol {info.protocol}"),
        ("connected in", f"{seconds * 1000:.0f} ms"),
        ("signalling", "" if signal is None else f"{signal * 1000:.0f} ms round trip"),
        ("data", f"acknowledged in {acknowledged * 1000:.0f} ms" if acknowledged else "not acknowledged in time"),
    ]
    return Diagnosis(
        ok=True,
        verdict=path_verdict(pairs, ways),
        facts=tuple([fact for fact in facts if fact[1]]),
        table=path_table(pairs, ways),
    )


_NOBODY = "nobody: this measures the way to the server"
