"""Protection of RTP and RTCP (RFC 3711, RFC 7714)."""

from .context import SrtpReceiver, SrtpSender, trailer

__all__ = ["SrtpReceiver", "SrtpSender", "trailer"]
