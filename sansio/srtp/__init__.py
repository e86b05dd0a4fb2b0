"""Protection of RTP and RTCP (RFC 3711, RFC 7714)."""

from .context import SrtpReceiver, SrtpSender, preload, trailer

__all__ = ["SrtpReceiver", "SrtpSender", "preload", "trailer"]
