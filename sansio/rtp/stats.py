"""Counters of one stream, either way, as they are told to users."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import fields, frozen


@frozen
class ReceiverStats:
    """What came of a stream: counts since the beginning, of packets that nobody reads only some.

    ``codec`` is empty until a packet has told. ``width`` and ``height`` are those of the last key frame, which tells
    the layer that the server sends; zeros for audio. ``lost`` packets in all, ``fraction_lost`` 0 to 1 and ``bitrate``
    in bit/s over the last report interval, a second; ``jitter`` and ``rtt`` in seconds, the latter None until measured.
    ``repaired`` packets came again by retransmission. ``nacks`` and ``keyframe_requests`` were sent. ``frames_dropped``
    were not given to a reader: incomplete, not decodable, or too many waited.
    """

    codec: str
    width: int
    height: int
    packets: int
    bytes: int
    lost: int
    fraction_lost: float
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
    """What was sent of a stream: counts since it was last negotiated, ``bytes`` of payload.

    ``bitrate`` in bit/s over the last report interval. ``frames_dropped`` were written and not sent. ``nacks`` counts
    packets that were asked for again, ``resent_packets`` those that were sent again.

    What the receiver told: ``lost`` packets in all, ``fraction_lost`` 0 to 1 lately, ``jitter`` and ``rtt`` in seconds,
    the latter None until measured.
    """

    codec: str
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
    worst = ("codec", "fraction_lost", "jitter", "rtt")
    sums = {
        name: sum([getattr(layer, name) for layer in layers])
        for name in [attribute.name for attribute in fields(SenderStats)]
        if name not in worst
    }
    return SenderStats(
        **sums,
        codec=layers[0].codec if layers else "",
        fraction_lost=max([layer.fraction_lost for layer in layers], default=0.0),
        jitter=max([layer.jitter for layer in layers], default=0.0),
        rtt=max(rtts, default=None),
    )
