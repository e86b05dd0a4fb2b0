"""Every bound on what a peer can make us keep, in one place, a section a protocol. Each has a test that hits it."""

from __future__ import annotations

# ---- ice

# ---- dtls

# ---- sctp

# ---- sdp
SDP_SIZE = 4 << 20
"""Characters of one session description; a room with a thousand dormant sections has about 3 million."""
SDP_SECTIONS = 1024
"""Media sections of one session description."""
SDP_LINES = 1 << 17
"""Lines of one session description."""
SDP_LINE = 8192
"""Characters of one line."""

# ---- signal
SIGNAL_MESSAGE_IN = 16 << 20
"""Bytes of one message from the server; a longer one counts as undecodable."""
SIGNAL_MESSAGE_OUT = 2 << 20
"""Bytes of one message to the server, which ends the session over a longer one."""
SIGNAL_QUEUE = 1024
"""Requests kept while the link is away."""
SIGNAL_EARLY = 64
"""Messages kept that overtake the first message of a resumed link."""
SIGNAL_UNDECODABLE = 3
"""Undecodable messages in a row that end the link."""
SIGNAL_PINGS = 4
"""Pings remembered while their answers are awaited."""
SIGNAL_TOKEN = 64 << 10
"""Characters of a refreshed token; a longer one is not kept."""
SIGNAL_ERROR_BODY = 500
"""Characters kept of the body of an HTTP error."""

# ---- peer
EARLY_DATAGRAMS = 8
"""DTLS datagrams kept while the remote description, and with it the fingerprint, is still on its way."""

# ---- room
