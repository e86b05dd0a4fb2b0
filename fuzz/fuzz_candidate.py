"""Candidate lines, their trickled form, and server URLs: text of a peer."""

from __future__ import annotations

from sansio.base.errors import ParseError
from sansio.ice.candidate import parse_candidate, parse_init, to_init
from sansio.ice.preference import can_pair, usable_address
from sansio.ice.servers import parse_server_url


def one(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    try:
        candidate = parse_candidate(text)
    except ParseError:
        pass
    else:
        line = candidate.to_sdp()
        assert "\n" not in line
        assert "\r" not in line
        if len(line) <= 1024:
            assert parse_candidate(line).to_sdp() == line
        if candidate.usable:
            usable_address(candidate.address)
            can_pair(candidate.address, "192.0.2.1")
    try:
        trickled = parse_init(text)
    except ParseError:
        pass
    else:
        if trickled.candidate is not None and len(trickled.candidate.to_sdp()) <= 1024:
            again = parse_init(to_init(trickled.candidate, trickled.mid or "0", trickled.index or 0, trickled.ufrag))
            assert again.candidate == parse_candidate(trickled.candidate.to_sdp())
            assert again.ufrag == trickled.ufrag
    try:
        url = parse_server_url(text)
    except ParseError:
        return
    assert url.host
    assert 0 < url.port < 65536
    host = f"[{url.host}]" if ":" in url.host else url.host
    query = f"?transport={url.transport}" if url.relays else ""
    assert parse_server_url(f"{url.scheme}:{host}:{url.port}{query}") == url
