from __future__ import annotations

import pytest

from sansio.base.contract import INF
from sansio.ice import stun
from sansio.ice.transactions import Transaction, Transactions

KEY = stun.Key(b"key")


def start(transactions, id=b"1", *, now=0.0, rto=0.1, retransmissions=3):
    transaction = Transaction(
        id, b"data", 1, ("192.0.2.1", 5), "owner", key=KEY, rto=rto, retransmissions=retransmissions, now=now
    )
    transactions.add(transaction)
    return transaction


def play(transactions, until=INF):
    """The times of every sending and of the loss."""
    sent, lost = [], []
    while (now := transactions.next) < until:
        again, gone = transactions.due(now)
        sent += [(now, transaction.id) for transaction in again]
        lost += [(now, transaction.id) for transaction in gone]
    return sent, lost


def test_intervals_double_and_the_last_one_is_waited_for():
    transactions = Transactions()
    transaction = start(transactions)
    sent, lost = play(transactions)
    assert [at for at, _ in sent] == pytest.approx([0.1, 0.3, 0.7])
    assert [at for at, _ in lost] == pytest.approx([1.5])
    assert transaction.sends == 4
    assert len(transactions) == 0
    assert transactions.next == INF


def test_several_at_once_keep_their_own_times():
    transactions = Transactions()
    start(transactions, b"a", retransmissions=1)
    start(transactions, b"b", now=0.05, rto=0.2, retransmissions=1)
    assert transactions.next == pytest.approx(0.1)
    sent, lost = play(transactions)
    assert [(pytest.approx(at), id) for at, id in sent] == [(0.1, b"a"), (0.25, b"b")]
    assert [(pytest.approx(at), id) for at, id in lost] == [(0.3, b"a"), (0.65, b"b")]


def test_nothing_is_due_early():
    transactions = Transactions()
    start(transactions)
    assert transactions.due(0.099) == ([], [])


def test_removal():
    transactions = Transactions()
    one, two = start(transactions, b"1"), start(transactions, b"2")
    assert transactions.get(b"1") is one
    transactions.remove(one)
    transactions.remove(one)
    assert transactions.get(b"1") is None
    assert list(transactions) == [two]
    transactions.remove(two)
    assert transactions.next == INF
    start(transactions)
    transactions.clear()
    assert (len(transactions), transactions.next) == (0, INF)


def test_a_late_call_sends_once_and_looks_ahead():
    transactions = Transactions()
    start(transactions)
    again, lost = transactions.due(100.0)
    assert (len(again), lost) == (1, [])
    assert transactions.next == pytest.approx(100.2)


def test_round_trip_counts_from_the_last_sending():
    transactions = Transactions()
    transaction = start(transactions, now=1.0)
    assert transaction.rtt(1.25) == pytest.approx(0.25)
    transactions.sent_again(transaction, 1.5)
    assert transaction.rtt(1.75) == pytest.approx(0.25)
    assert transaction.sends == 2
    assert transaction.due == pytest.approx(1.1)
