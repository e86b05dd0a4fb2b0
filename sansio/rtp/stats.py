"""Counters of one stream, either way, as they are told to users."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import fields, frozen


@frozen
class ReceiverStats:
    """Counts since the beginning; ``jitter`` in seconds, ``bitrate`` in bit/s over the last report interval."""

    packets: int
    bytes: int
    lost: int
    jitter: float
    duplicates: int
    late: int
    repaired: int
    nacks: int
    keyframe_requests: int
    frames: int
    keyframes: int
    frames_dropped: int
    bitrate: float
    rtt: float | None


@frozen
class SenderStats:
    """Counts since the beginning, ``bytes`` of payload. ``bitrate`` in bit/s over the last report interval.

    What the receiver told: ``lost`` packets in all, ``fraction_lost`` 0 to 1 lately, ``jitter`` and ``rtt`` in seconds.
    """

    packets: int
    bytes: int
    frames: int
    keyframes: int
    frames_dropped: int
    resent_packets: int
    resent_bytes: int
    nacks: int
    keyframe_requests: int
    bitrate: float
    lost: int
    fraction_lost: float
    jitter: float
    rtt: float | None


def total_stats(layers: Sequence[SenderStats]) -> SenderStats:
    """Several streams of one track as one: counts and rates are sums, the rest is that of the worst."""
    if len(layers) == 1:
        return layers[0]
    rtts = [layer.rtt for layer in layers if layer.rtt is not None]
    worst = {"fraction_lost", "jitter", "rtt"}
    sums = {
        name: sum([getattr(layer, name) for layer in layers])
        for name in [attribute.name for attribute in fields(SenderStats)]
        if name not in worst
    }
    return SenderStats(
        **sums,
        fraction_lost=max([layer.fraction_lost for layer in layers], default=0.0),
        jitter=max([layer.jitter for layer in layers], default=0.0),
        rtt=max(rtts, default=None),
    )
