"""What links do to datagrams."""

from __future__ import annotations

import pytest

from sansio.base.contract import INF
from sansio.base.entropy import Entropy
from sansio.testing.netem import DOWN, DUPLICATE, HELD_BACK, LOST, OK, QUEUE_FULL, TOO_LONG, Link


def fates(link: Link, n: int = 2000, length: int = 100, gap: float = 0.001, seed: bytes = b"x"):
    entropy = Entropy(seed)
    return [link.judge(length, i * gap, entropy) for i in range(n)]


def test_a_plain_link_only_delays():
    assert fates(Link(latency=0.02), n=3) == [[(OK, 0.02)], [(OK, 0.021)], [(OK, 0.022)]]


def test_jitter_delays_without_reordering():
    link = Link(latency=0.02, jitter=0.01)
    arrivals = [fate[0][1] for fate in fates(link)]
    assert arrivals == sorted(arrivals)
    delays = [at - i * 0.001 for i, at in enumerate(arrivals)]
    assert min(delays) >= 0.02
    assert max(delays) <= 0.03
    assert max(delays) - min(delays) > 0.005


def test_loss_of_a_tenth():
    lost = [fate for fate in fates(Link(loss=0.1)) if fate == [(LOST, INF)]]
    assert 150 < len(lost) < 250
    assert fates(Link(loss=1.0), n=3) == [[(LOST, INF)]] * 3
    assert fates(Link(loss=1.0, burst=4), n=3) == [[(LOST, INF)]] * 3


def test_losses_in_rows():
    lost = [fate[0][0] == LOST for fate in fates(Link(loss=0.1, burst=5), n=20000)]
    assert 1500 < sum(lost) < 2500
    rows = sum(1 for before, now in zip([False, *lost], lost, strict=False) if now and not before)
    assert 4 < sum(lost) / rows < 6
    assert fates(Link(loss=0.0, burst=5), n=1) == [[(OK, 0.01)]]


def test_duplication_gives_a_second_copy_not_before_the_first():
    doubled = [fate for fate in fates(Link(duplication=0.2, jitter=0.01)) if len(fate) == 2]
    assert 300 < len(doubled) < 500
    assert all((first[0], second[0]) == (OK, DUPLICATE) and second[1] >= first[1] for first, second in doubled)


def test_reordering_holds_some_back_while_others_pass():
    results = [fate[0] for fate in fates(Link(reorder=0.1, hold_back=0.05))]
    held = [i for i, (verdict, _) in enumerate(results) if verdict == HELD_BACK]
    assert 150 < len(held) < 250
    in_time = [at for verdict, at in results if verdict == OK]
    assert in_time == sorted(in_time)
    i = held[0]
    assert results[i][1] == pytest.approx(i * 0.001 + 0.06)
    assert results[i][1] > results[i + 1][1] or i + 1 in held


def test_a_rate_spaces_datagrams_and_its_queue_overflows():
    link = Link(latency=0.0, rate=10_000, queue=1000)
    results = [fate[0] for fate in fates(link, n=20, gap=0.0)]
    passed = [at for verdict, at in results if verdict == OK]
    assert passed == pytest.approx([0.01 * (i + 1) for i in range(len(passed))])
    assert [verdict for verdict, _ in results] == [OK] * len(passed) + [QUEUE_FULL] * (20 - len(passed))
    assert 10 <= len(passed) <= 11
    assert link.judge(100, 5.0, Entropy(b"x")) == [(OK, 5.01)]


def test_mtu_and_cut():
    link = Link(mtu=1200)
    assert fates(link, n=1, length=1200)[0][0][0] == OK
    assert fates(link, n=1, length=1201) == [[(TOO_LONG, INF)]]
    link.down = True
    assert fates(link, n=1) == [[(DOWN, INF)]]


def test_contents_and_settings_shift_nobody_elses_fate():
    def verdicts(lengths, cut):
        link, entropy = Link(loss=0.3, duplication=0.3, reorder=0.3, mtu=1000), Entropy(b"y")
        found = []
        for i in range(300):
            link.down = i in cut
            found.append(link.judge(lengths(i), i * 0.01, entropy))
        return found

    plain = verdicts(lambda i: 100, ())
    other = verdicts(lambda i: 2000 if i % 7 == 3 else 100 + i, range(50, 60))
    assert [a == b for i, (a, b) in enumerate(zip(plain, other, strict=True)) if i % 7 != 3 and i not in range(50, 60)]
    for i, (a, b) in enumerate(zip(plain, other, strict=True)):
        if i % 7 != 3 and i not in range(50, 60):
            assert [verdict for verdict, _ in a] == [verdict for verdict, _ in b]


def test_a_copy_has_the_settings_and_a_state_of_its_own():
    link = Link(
        latency=0.1,
        jitter=0.2,
        loss=0.3,
        burst=2.0,
        duplication=0.4,
        reorder=0.5,
        hold_back=0.6,
        rate=7.0,
        queue=8,
        mtu=9,
    )
    link.down = True
    copy = link.copy()
    assert copy is not link
    for name in (
        "latency",
        "jitter",
        "loss",
        "burst",
        "duplication",
        "reorder",
        "hold_back",
        "rate",
        "queue",
        "mtu",
        "down",
    ):
        assert getattr(copy, name) == getattr(link, name), name
    slow = Link(rate=100)
    slow.judge(1000, 0.0, Entropy(b"x"))
    assert slow.copy().judge(1, 0.0, Entropy(b"x")) == [(OK, 0.02)]
