"""Every bound on what a peer can make us keep, in one place, a section a protocol. Each has a test that hits it."""

from __future__ import annotations

# ---- ice

# ---- dtls
DTLS_RECORDS = 64
"""Records looked at in one datagram; a handshake flight in the smallest fragments has fewer."""
DTLS_MESSAGE = 32768
"""Bytes of one handshake message; the format allows 16 MiB. Certificate chains of real peers have a few kB."""
DTLS_MESSAGES_AHEAD = 9
"""How far past the last answered handshake message a peer's message may be; also OpenSSL's own reach."""
DTLS_EARLY_RECORDS = 100
"""Encrypted records kept until the keys exist: OpenSSL's fixed bound, and ours in the plain engine."""
SRTP_STREAMS = 4096
"""SSRCs with a replay window and rollover counter in one receiver; each takes a few hundred bytes of libsrtp's memory."""

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
SDP_REPEATS = 512
"""Occurrences of one attribute in one section, such as candidates, sources, feedback."""
SDP_FORMATS = 128
"""Formats of one media section; RTP has no more payload types."""

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
PARTICIPANTS = 10_000
"""Remote participants known at a time; whoever comes beyond is not shown."""
TRACKS_PER_PARTICIPANT = 256
"""Publications of one participant."""
ATTRIBUTES_PER_PARTICIPANT = 1024
"""Attributes of one participant; the server allows 64 KiB of them."""
PARTICIPANT_INFO_BYTES = 1 << 20
"""Encoded size of what the server tells about one participant; it allows 512 KiB of metadata."""
ROOM_STATE_BYTES = 64 << 20
"""The same, summed over all remote participants."""
SHORT_LIST = 32
"""Entries kept of repeated fields that are short by nature, such as features and capabilities."""
PENDING_REQUESTS = 256
"""User operations that wait for the server's answer."""
DATA_PACKET_BYTES = 64_000
"""A whole encoded data packet that we send; the server reads up to 65 535 and adds fields of its own."""
DATA_SENDERS = 4096
"""Senders whose last reliable sequence number is remembered."""
DATA_SENDER_TTL = 30.0
"""Seconds after which a silent sender's sequence number may be forgotten."""
DATA_RESEND_BYTES = 1 << 20
"""Reliable packets kept for sending again after a resume."""
