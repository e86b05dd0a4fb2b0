"""Every bound on what a peer can make us keep, in one place, a section a protocol. Each has a test that hits it."""

from __future__ import annotations

# ---- ice
MAX_REMOTE_CANDIDATES = 64
"""Candidates of the peer, signalled and discovered, of one ICE generation."""
MAX_PAIRS = 100
"""Candidate pairs of one check list (RFC 8445 section 6.1.2.5 suggests 100); worse ones give way to better ones."""
MAX_CHECKS_IN_FLIGHT = 64
"""Connectivity checks under way at once; further pairs wait for an answer or a timeout."""
MAX_EARLY_CHECKS = 32
"""Sources of checks remembered while the remote credentials are still on their way."""
MAX_SOURCES = 256
"""Transport addresses from which data is accepted, those of the generation before an ICE restart included."""
MAX_GATHER_HOSTS = 16
"""Addresses of this host that get a socket."""
MAX_STUN_SERVERS = 8
"""STUN server addresses that are asked, after name resolution."""
MAX_TURN_PEERS = 128
"""Peers with a permission and a channel on one relay; ones that nothing was sent to for long give way."""
MAX_TURN_SERVERS = 8
"""TURN server addresses that are used, after name resolution."""
MAX_TURN_ALLOCATIONS = 8
"""Allocations of one peer connection at a time; LiveKit's own TURN server grants a participant twelve."""
MAX_ICE_STREAMS = 8
"""TCP connections of one peer connection to candidates of the peer, open or being opened."""

# ---- dtls
DTLS_RECORDS = 64
"""Records looked at in one datagram; a handshake flight in the smallest fragments has fewer."""
DTLS_MESSAGE = 32768
"""Bytes of one handshake message; the format allows 16 MiB. Certificate chains of real peers have a few kB."""
DTLS_MESSAGES_AHEAD = 9
"""How far past the next handshake message a message of the peer may be and still be kept."""
DTLS_EARLY_RECORDS = 100
"""Encrypted records kept until the keys exist: OpenSSL's fixed bound, and ours in the plain engine."""
SRTP_STREAMS = 4096
"""SSRCs with a replay window and rollover counter in one receiver; each takes a few hundred bytes in libsrtp."""

# ---- sctp
SCTP_WINDOW = 4 << 20
"""Bytes received that nobody has read yet, each chunk charged SCTP_CHUNK_COST on top; beyond, the window is shut."""
SCTP_OVERRUN = 1 << 20
"""Bytes beyond the window taken in all the same while they fill holes in front of data that waits for them."""
SCTP_CHUNK_COST = 96
"""Bytes of bookkeeping charged to the window for each chunk held, so that tiny messages cannot grow without bound."""
SCTP_GAPS = 256
"""Runs of TSNs received out of order; a chunk that would start one more is dropped. As many fit in one SACK."""
SCTP_TSN_AHEAD = 65535
"""How far ahead of the cumulative TSN a chunk may be; gap blocks have 16 bits."""
SCTP_DUPLICATES = 16
"""Duplicate TSNs reported in one SACK."""
SCTP_STREAMS = 1024
"""Incoming streams with state at a time; the data of further ones is acknowledged and dropped."""
SCTP_MESSAGE_IN = 1 << 20
"""Bytes of one incoming message; a longer one is acknowledged and dropped."""
SCTP_EARLY_MESSAGES = 64
"""Messages kept on a stream whose channel has not been opened yet; the oldest go first."""
SCTP_LOSSY_RING = 256
"""Unread messages of an unordered, partially reliable channel; the oldest go first."""
SCTP_PARAMETERS = 64
"""Parameters or error causes looked at in one chunk."""
SCTP_CHUNKS = 512
"""Chunks looked at in one packet; a packet of single-byte messages in our own MTU has fewer than 100."""
SCTP_COOKIE = 768
"""Bytes of a peer's state cookie; it has to fit into one packet with some data behind it."""
SCTP_CONTROL = 32
"""Bodies of answers (to heartbeats, INITs, errors) waiting for the next advance."""
SCTP_HEARTBEAT = 512
"""Bytes of a heartbeat's content that we send back."""
SCTP_DETAIL = 200
"""Bytes kept of the reason in a peer's ABORT."""
SCTP_RESETS = 16
"""Stream reset requests of the peer that wait for outstanding data, and answers remembered for repeated requests."""
SCTP_CHANNELS = 512
"""Data channels at a time that the peer opened; further ones are reset."""

# ---- rtp
RTP_UNSIGNALLED_SSRCS = 16
"""Sources whose packets are kept although no description has told of them yet."""
RTP_UNSIGNALLED_PACKETS = 64
"""Packets kept of each of them."""
RTP_MISSING = 256
"""Packets of one stream that are waited for and asked for again at a time; beyond, the stream goes on without them."""
RTP_REORDER_AUDIO = 128
"""Audio packets of one stream kept behind a gap."""
RTP_REORDER_VIDEO = 2048
"""Video packets of one stream kept behind a gap: a second at 20 Mbit/s."""
RTP_FRAMES_AUDIO = 50
"""Audio frames of one stream that wait for a reader: a second."""
RTP_FRAMES_VIDEO = 60
"""Video frames of one stream that wait for a reader."""
RTP_FRAME_BYTES = 4 << 20
"""Payload of one video frame."""
RTP_FRAME_PACKETS = 4096
"""Packets of one video frame."""
RTP_HISTORY_AUDIO = 128
"""Sent audio packets of one stream that can be sent again."""
RTP_HISTORY_VIDEO = 1024
"""Sent video packets of one encoding that can be sent again: a second at 10 Mbit/s."""
RTCP_REFERENCES = 32
"""Receivers whose reference times are answered for their round-trip times."""
TWCC_SENT = 8192
"""Sent packets that the peer's transport-wide feedback is matched with; a power of two."""
TWCC_RESULTS = 4096
"""Results of it that wait for an estimator."""
TWCC_WINDOW = 4096
"""How far apart two unreported transport-wide numbers may be."""
TWCC_STATUSES = 400
"""Packets in one report of ours, which keeps it within a datagram."""
PACER_BYTES = 4 << 20
"""Bytes of RTP that wait to be sent."""
RED_BLOCKS = 8
"""Copies in one payload of redundant audio."""

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
SIGNAL_EARLY_BYTES = 16 << 20
"""Bytes of them all together, encoded: as much as one message may have."""
SIGNAL_UNDECODABLE = 3
"""Undecodable messages in a row that end the link."""
SIGNAL_PINGS = 4
"""Pings remembered while their answers are awaited."""
SIGNAL_TOKEN = 64 << 10
"""Characters of a refreshed token; a longer one is not kept."""
SIGNAL_ERROR_BODY = 500
"""Characters kept of the body of an HTTP error."""

# ---- peer
SECTIONS = 1024
"""Media sections of one peer connection; a room with many dormant transceivers legitimately has hundreds."""
SECTION_REQUESTS = 3
"""Times that an identical, unmet request of the server for media sections is followed by a new offer."""
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
LOCAL_TRACKS = 256
"""Tracks of ours at a time, those included that are still being requested or ended."""
DATA_PACKET_BYTES = 64_000
"""A whole encoded data packet that we send; the server reads up to 65 535 and adds fields of its own."""
DATA_SENDERS = 4096
"""Senders whose last reliable sequence number is remembered."""
DATA_SENDER_TTL = 30.0
"""Seconds after which a silent sender's sequence number may be forgotten."""
STREAMS_IN = 1024
"""Streams of others under way at a time; the header of a further one is dropped."""
STREAMS_PER_SENDER = 256
"""The same, of one sender."""
STREAMS_UNREAD = 2 << 20
"""Bytes of streams that wait for their readers before one that takes nothing is ended: half of the receive window,
which they share with all other data. Headers and trailers count, and each of them and each part is charged
STREAM_PART_COST on top."""
STREAM_PART_COST = 128
"""Bytes of bookkeeping charged for each part held, so that tiny ones cannot grow without bound."""
STREAM_STALL = 4.0
"""Seconds for which its reader may take nothing then. An RPC waits 7 s for a sign of life."""
STREAM_BYTES = 1 << 30
"""Bytes of one stream, decompressed, that are accepted unless the user sets another limit."""
STREAM_WHOLE = 64 << 20
"""Bytes of a stream that is read as a whole, unless the reader sets another limit."""
STREAMS_WHOLE = 256 << 20
"""The same, of all such streams under way together, each part charged STREAM_PART_COST on top."""
STREAM_VERSIONS = 4096
"""Parts of one stream whose version is remembered because they were replaced."""
STREAM_INFLATE = 64 << 10
"""Bytes that are decompressed at a time, so that what is held is compressed until it is read."""
STREAM_TOPICS = 4096
"""Topics of streams that are listened for."""
DATA_TRACK_PACKETS = 128
"""Packets of one frame of a data track."""
DATA_TRACK_FRAME_BYTES = 4 << 20
"""Bytes of one frame that is being put together."""
DATA_TRACKS_PER_PARTICIPANT = 256
"""Data tracks of one participant."""
DATA_TRACK_STREAMS = 64
"""Subscriptions of ours to one data track."""
DATA_TRACKS_AWAITED = 256
"""Data tracks whose publishers may only be reconnecting."""
LOCAL_DATA_TRACKS = 256
"""Data tracks of ours."""
STREAMS_OUT = 4096
"""Streams of ours under way at a time."""
TRANSCRIPTION_SEGMENTS = 256
"""Segments of one transcription that are shown."""
RPC_CALLS = 4096
"""Calls of ours that wait for their answers."""
RPC_INVOCATIONS = 1024
"""Calls of others that are being answered at a time; more are refused."""
RPC_INVOCATIONS_PER_CALLER = 512
"""Those of one caller among them."""
RPC_REPLIES = 1024
"""Acknowledgements and short answers that wait to be sent before further calls are dropped unanswered."""
RPC_NAME = 1024
"""Bytes of the name of a method, or of the identity that is called."""
RPC_PAYLOAD = 4 << 20
"""Bytes of payload of a call or an answer that comes as a stream."""

# ---- sfu
SFU_PARTICIPANTS = 1024
"""Participants of all rooms of the development server together."""
SFU_ADDRESSES = 8192
"""Client addresses that the shared port of the development server tells apart."""
SFU_JOIN_REQUEST = 1 << 20
"""Bytes of an unpacked join request."""
SFU_NAME = 256
"""Characters of a participant's name, and of other names and ids."""
SFU_METADATA = 512 << 10
"""Characters of a participant's metadata."""
SFU_ATTRIBUTES = 64 << 10
"""Characters of a participant's attributes, names and values."""
SFU_HELD_DATA = 100_000
"""Bytes of reliable data held for a participant whose channels are not open yet."""
SFU_HELD_PACKETS = 1000
"""Packets of it: there are some without any bytes."""
SFU_DATA_TRACKS = 256
"""Data tracks of one participant."""
SFU_DATA_SUBSCRIPTIONS = 1024
"""Data tracks that come to one participant."""
SFU_SEND_BUFFER = 16 << 20
"""Bytes that wait on one channel to a participant who takes them more slowly than they come; more is dropped."""
SFU_MESSAGE = 2 << 20
"""Bytes of one signalling message of a client; a longer one ends its session, as with LiveKit's server."""
SFU_SOURCES = 256
"""RTP sources that one peer connection of a client publishes."""
SFU_SECTIONS = 1024
"""Media sections of one peer connection of a client."""
SFU_PENDING_TRACKS = 20
"""Tracks that a participant has announced and not sent yet."""
SFU_QUEUED_TRACKS = 3
"""Announcements kept that repeat the name of a track which still exists."""
SFU_TRACKS = 256
"""Tracks of one participant."""
SFU_TRACK_REQUEST = 64 << 10
"""Bytes of the announcement of a track."""
SFU_CHOICES = 4096
"""Tracks about which a participant has said whether or how it wants them."""
SFU_ROOMS = 1024
"""Rooms of the development server."""
SFU_STREAMS = 1024
"""TCP connections for ICE at a time."""
SFU_HTTP_BODY = 1 << 20
"""Bytes of the body of a request to the API."""
SFU_GONE = 256
"""Participants who left, remembered for those who come back on a new link."""
SFU_PREFERENCES = 256
"""Identities for which the kind of candidates is remembered."""
SFU_CALLS = 64
"""Calls of participants that are under way for whoever asked the development server over HTTP, in a room."""
SFU_NOTES = 1000
"""Notes for a log that nobody has taken."""
