"""Every bound on what a peer can make us keep, in one place, a section a protocol. Each has a test that hits it."""

from __future__ import annotations

# ---- ice

# ---- dtls

# ---- sctp

# ---- sdp

# ---- signal

# ---- peer
EARLY_DATAGRAMS = 8
"""DTLS datagrams kept while the remote description, and with it the fingerprint, is still on its way."""

# ---- room
