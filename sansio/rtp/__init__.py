"""RTP and RTCP (RFC 3550): packets, payload formats, receivers, senders, feedback, and the session that joins them."""
