from __future__ import annotations

from itertools import count

import pytest

from sansio.base.contract import INF, ClosePort, Interface, OpenUdp, Resolve
from sansio.base.entropy import Entropy
from sansio.base.limits import MAX_GATHER_HOSTS, MAX_STUN_SERVERS
from sansio.ice import stun
from sansio.ice.gather import CandidateFound, Gatherer, GatheringDone, GatherOptions, PortLost

SERVER = ("203.0.113.1", 3478)
ETH4 = Interface("eth0", "192.0.2.1")
ETH6 = Interface("eth0", "2001:db8::1")
WLAN = Interface("wlan0", "192.0.2.2")
LOOP = Interface("lo", "127.0.0.1", loopback=True)


class Driver:
    """Plays the driver: ports open at once at 4000 and their number, unless told otherwise."""

    def __init__(self, **options):
        self.gatherer = Gatherer(Entropy(b"gather"), count(1).__next__, options=GatherOptions(**options))
        self.now = 0.0
        self.auto = True
        self.outputs = []

    def run(self, until=None):
        while True:
            due = self.gatherer.advance(self.now)
            opens = [output for output in self.gatherer.outbox if isinstance(output, OpenUdp)]
            self.outputs += self.gatherer.outbox
            self.gatherer.outbox.clear()
            if opens and self.auto:
                for output in opens:
                    self.gatherer.port_opened(output.port, (output.host, 4000 + output.port), self.now)
            elif until is None or due > until:
                return
            else:
                self.now = due

    def of(self, kind):
        return [output for output in self.outputs if isinstance(output, kind)]

    def requests(self):
        sent = list(self.gatherer.transmits)
        self.gatherer.transmits.clear()
        return sent

    def answer(self, transmit, mapped=("198.51.100.5", 9999), *, source=None, kind=stun.BINDING_SUCCESS, more=()):
        id = stun.decode(transmit.data).transaction_id
        attributes = [(stun.XOR_MAPPED_ADDRESS, stun.xor_address_value(mapped, id))] if mapped else []
        data = stun.build(kind, id, [*attributes, *more])
        return self.gatherer.handle_stun(transmit.port, data, source or transmit.addr, self.now)


def test_host_candidates():
    driver = Driver(port_low=100, port_high=200)
    gatherer = driver.gatherer
    gatherer.start([ETH6, ETH4, WLAN, LOOP, ETH4], 0.0)
    assert not gatherer.ports_settled
    driver.run()
    assert driver.of(OpenUdp) == [
        OpenUdp(1, "2001:db8::1", 100, 200),
        OpenUdp(2, "192.0.2.1", 100, 200),
        OpenUdp(3, "192.0.2.2", 100, 200),
        OpenUdp(4, "127.0.0.1", 100, 200),
    ]
    found = driver.of(CandidateFound)
    assert [output.port for output in found] == [1, 2, 3, 4]
    candidates = [output.candidate for output in found]
    assert [candidate.transport_address for candidate in candidates] == [
        ("2001:db8::1", 4001),
        ("192.0.2.1", 4002),
        ("192.0.2.2", 4003),
        ("127.0.0.1", 4004),
    ]
    assert [candidate.type for candidate in candidates] == ["host"] * 4
    priorities = [candidate.priority for candidate in candidates]
    assert priorities == sorted(priorities, reverse=True)
    assert len({candidate.foundation for candidate in candidates}) == 4
    assert gatherer.ports_settled
    assert len(driver.of(GatheringDone)) == 1
    assert gatherer.advance(1.0) == INF


@pytest.mark.parametrize(
    ("options", "addresses"),
    [
        ({"interfaces": ("wlan0",)}, ["192.0.2.2"]),
        ({"ipv6": False}, ["192.0.2.1", "192.0.2.2", "127.0.0.1"]),
        ({"loopback": False}, ["2001:db8::1", "192.0.2.1", "192.0.2.2"]),
    ],
)
def test_filters(options, addresses):
    driver = Driver(**options)
    strange = [Interface("eth0", "fe80::1"), Interface("eth0", "not an address")]
    driver.gatherer.start([ETH6, ETH4, WLAN, LOOP, *strange], 0.0)
    assert [output.host for output in driver.gatherer.outbox] == addresses


def test_a_port_that_fails_is_done_without():
    driver = Driver()
    driver.auto = False
    driver.gatherer.start([ETH4, WLAN], 0.0)
    driver.run()
    driver.gatherer.port_failed(1, "in use", 0.0)
    driver.gatherer.port_failed(1, "in use", 0.0)
    driver.run()
    assert not driver.of(GatheringDone)
    driver.gatherer.port_opened(2, ("192.0.2.2", 5), 0.0)
    driver.gatherer.port_opened(2, ("192.0.2.2", 6), 0.0)
    driver.gatherer.port_opened(1, ("192.0.2.1", 6), 0.0)
    driver.run()
    assert [output.port for output in driver.of(CandidateFound)] == [2]
    assert len(driver.of(GatheringDone)) == 1
    assert driver.gatherer.counters["port_failed"] == 1
    driver.gatherer.port_failed(2, "gone", 0.0)
    driver.run()
    assert driver.of(PortLost) == [PortLost(2)]


def test_server_reflexive():
    driver = Driver()
    driver.gatherer.add_servers(["stun:203.0.113.1"], 0.0)
    driver.gatherer.start([ETH4, LOOP, ETH6], 0.0)
    driver.run()
    assert driver.gatherer.active
    assert not driver.of(GatheringDone)
    [request] = driver.requests()
    assert (request.port, request.addr) == (1, SERVER)
    assert stun.decode(request.data).type == stun.BINDING_REQUEST
    assert driver.answer(request)
    driver.run()
    host, _, _, srflx = [output.candidate for output in driver.of(CandidateFound)]
    assert (srflx.type, srflx.transport_address) == ("srflx", ("198.51.100.5", 9999))
    assert (srflx.related_address, srflx.related_port) == host.transport_address
    assert srflx.foundation != host.foundation
    assert srflx.priority >> 24 == 100
    assert driver.of(CandidateFound)[-1].port == 1
    assert isinstance(driver.outputs[-1], GatheringDone)
    assert not driver.gatherer.active


def test_without_nat_there_is_nothing_to_add():
    driver = Driver()
    driver.gatherer.add_servers(["stun:203.0.113.1"], 0.0)
    driver.gatherer.start([ETH4], 0.0)
    driver.run()
    [request] = driver.requests()
    driver.answer(request, ("192.0.2.1", 4001))
    driver.run()
    assert len(driver.of(CandidateFound)) == 1
    assert len(driver.of(GatheringDone)) == 1


def test_one_answer_a_port_is_enough():
    driver = Driver()
    driver.gatherer.start([ETH4], 0.0)
    driver.gatherer.add_servers(["stun:203.0.113.1", "stun:203.0.113.2", "stun:203.0.113.1"], 0.0)
    driver.run()
    first, second = driver.requests()
    assert driver.answer(second)
    assert not driver.answer(first)
    driver.run()
    driver.gatherer.add_servers(["stun:203.0.113.3"], 0.0)
    driver.run()
    assert not driver.requests()
    assert len(driver.of(CandidateFound)) == 2
    assert len(driver.of(GatheringDone)) == 2


def test_an_unusable_answer_is_no_candidate():
    driver = Driver()
    driver.gatherer.start([ETH4], 0.0)
    driver.gatherer.add_servers(["stun:203.0.113.1"], 0.0)
    driver.run()
    driver.answer(driver.requests()[0], ("198.51.100.5", 0))
    driver.run()
    assert len(driver.of(CandidateFound)) == 1


def test_old_servers_answer_without_xor():
    driver = Driver()
    driver.gatherer.start([ETH4], 0.0)
    driver.gatherer.add_servers(["stun:203.0.113.1"], 0.0)
    driver.run()
    [request] = driver.requests()
    driver.answer(request, None, more=[(stun.MAPPED_ADDRESS, stun.address_value(("198.51.100.6", 7)))])
    driver.run()
    assert driver.of(CandidateFound)[-1].candidate.address == "198.51.100.6"


def test_refusals_and_rubbish():
    driver = Driver()
    gatherer = driver.gatherer
    gatherer.start([ETH4], 0.0)
    gatherer.add_servers(["stun:203.0.113.1"], 0.0)
    driver.run()
    [request] = driver.requests()
    assert not gatherer.handle_stun(1, b"", SERVER, 0.0)
    assert not gatherer.handle_stun(1, bytes(30), SERVER, 0.0)
    assert driver.answer(request, source=("203.0.113.99", 3478))
    assert driver.answer(request, kind=stun.BINDING_REQUEST)
    assert gatherer.handle_stun(1, bytes(8) + request.data[8:], SERVER, 0.0)
    assert driver.answer(request, None, more=[(stun.XOR_MAPPED_ADDRESS, b"short")])
    assert gatherer.active
    assert driver.answer(request, None, kind=stun.BINDING_ERROR)
    driver.run()
    assert gatherer.counters.snapshot() == {
        "stun_asymmetric": 1,
        "stun_unexpected": 1,
        "stun_malformed": 2,
        "stun_server_refused": 1,
    }
    assert len(driver.of(GatheringDone)) == 1


def test_a_silent_server_is_asked_again_and_given_up():
    driver = Driver()
    driver.gatherer.start([ETH4], 0.0)
    driver.gatherer.add_servers(["stun:203.0.113.1"], 0.0)
    driver.run(until=10.0)
    assert len(driver.requests()) == 4
    assert driver.now == pytest.approx(3.75)
    assert driver.gatherer.counters["stun_server_silent"] == 1
    assert len(driver.of(GatheringDone)) == 1


class TestNames:
    def test_first_address_of_each_family(self):
        driver = Driver()
        driver.gatherer.start([ETH4, ETH6], 0.0)
        driver.gatherer.add_servers(["stun:stun.example.org:99", "stun:stun.example.org:99"], 0.0)
        driver.run()
        [lookup] = driver.of(Resolve)
        assert lookup.host == "stun.example.org"
        addresses = ["203.0.113.1", "203.0.113.2", "rubbish", "2001:DB8::9", "2001:db8::8"]
        driver.gatherer.resolved(lookup.token, addresses, 0.1)
        driver.gatherer.resolved(lookup.token, ["203.0.113.3"], 0.1)
        assert [(sent.port, sent.addr) for sent in driver.requests()] == [
            (1, ("203.0.113.1", 99)),
            (2, ("2001:db8::9", 99)),
        ]

    def test_answered_before_the_port_is_open(self):
        driver = Driver()
        driver.auto = False
        driver.gatherer.start([ETH4], 0.0)
        driver.gatherer.add_servers(["stun:stun.example.org"], 0.0)
        driver.run()
        driver.gatherer.resolved(2, ["203.0.113.1", "2001:db8::9"], 0.0)
        assert not driver.requests()
        driver.gatherer.port_opened(1, ("192.0.2.1", 4), 0.0)
        assert [sent.addr for sent in driver.requests()] == [SERVER]

    def test_a_failed_lookup_does_no_harm(self):
        driver = Driver()
        driver.gatherer.start([ETH4], 0.0)
        driver.gatherer.add_servers(["stun:stun.example.org"], 0.0)
        driver.run()
        assert not driver.of(GatheringDone)
        driver.gatherer.resolved(driver.of(Resolve)[0].token, [], 0.1)
        driver.run()
        assert len(driver.of(GatheringDone)) == 1
        assert driver.gatherer.counters["server_not_resolved"] == 1

    def test_an_endless_lookup_is_given_up(self):
        driver = Driver()
        driver.gatherer.start([ETH4], 0.0)
        driver.gatherer.add_servers(["stun:stun.example.org"], 0.0)
        driver.run(until=100.0)
        assert driver.now == pytest.approx(5.0)
        assert driver.gatherer.counters["server_not_resolved"] == 1
        assert len(driver.of(GatheringDone)) == 1
        driver.gatherer.resolved(driver.of(Resolve)[0].token, ["203.0.113.1"], 6.0)
        assert not driver.requests()

    def test_two_names_of_one_server(self):
        driver = Driver()
        driver.gatherer.start([ETH4], 0.0)
        driver.gatherer.add_servers(["stun:one.example.org", "stun:two.example.org"], 0.0)
        driver.run()
        for lookup in driver.of(Resolve):
            driver.gatherer.resolved(lookup.token, ["203.0.113.1"], 0.0)
        assert len(driver.requests()) == 1

    def test_deadline_of_answered_lookups_passes_unnoticed(self):
        driver = Driver()
        driver.gatherer.add_servers(["stun:stun.example.org"], 0.0)
        driver.run()
        driver.gatherer.resolved(driver.of(Resolve)[0].token, ["203.0.113.1"], 0.1)
        driver.run(until=100.0)
        assert driver.gatherer.counters.snapshot() == {}


def test_unusable_urls_and_relays():
    driver = Driver()
    urls = ["stuns:x", "nonsense", "turn:turn.example.org?transport=tcp", "turn:turn.example.org?transport=tcp"]
    driver.gatherer.add_servers(urls, 0.0)
    assert [server.host for server in driver.gatherer.turn_servers] == ["turn.example.org"]
    assert driver.gatherer.counters.snapshot() == {"server_unsupported": 1, "server_url_malformed": 1}


def test_limits():
    driver = Driver()
    gatherer = driver.gatherer
    gatherer.start([Interface("eth0", f"192.0.2.{i}") for i in range(1, MAX_GATHER_HOSTS + 5)], 0.0)
    assert len(gatherer.outbox) == MAX_GATHER_HOSTS
    assert gatherer.counters["host_limit"] == 1
    gatherer.outbox.clear()
    gatherer.add_servers([f"turn:{i}.example.org" for i in range(20)], 0.0)
    assert len(gatherer.turn_servers) == MAX_STUN_SERVERS
    gatherer.add_servers([f"stun:{i}.example.org" for i in range(20)], 0.0)
    lookups = [output for output in gatherer.outbox if isinstance(output, Resolve)]
    assert len(lookups) == MAX_STUN_SERVERS
    for i, lookup in enumerate(lookups):
        gatherer.resolved(lookup.token, [f"203.0.113.{i}", f"2001:db8::{i}"], 0.0)
    assert len(gatherer._servers) == MAX_STUN_SERVERS
    assert gatherer.counters["server_limit"] == MAX_STUN_SERVERS


def test_changed_interfaces():
    driver = Driver()
    gatherer = driver.gatherer
    gatherer.start([ETH4, WLAN], 0.0)
    gatherer.add_servers(["stun:203.0.113.1"], 0.0)
    driver.run()
    assert len(driver.requests()) == 2
    driver.outputs.clear()
    gatherer.start([ETH4, ETH6], 1.0)
    driver.run()
    assert driver.outputs == [
        PortLost(2),
        ClosePort(2),
        OpenUdp(3, "2001:db8::1"),
        driver.of(CandidateFound)[0],
    ]
    gatherer.start([ETH4], 1.0)
    assert [type(output) for output in gatherer.outbox] == [PortLost, ClosePort]


def test_a_port_that_is_lost_before_it_opened():
    driver = Driver()
    driver.auto = False
    driver.gatherer.start([ETH4], 0.0)
    driver.gatherer.start([], 0.0)
    driver.gatherer.port_opened(1, ("192.0.2.1", 4), 0.0)
    driver.run()
    assert driver.outputs == [OpenUdp(1, "192.0.2.1"), ClosePort(1), GatheringDone()]


def test_closing():
    driver = Driver()
    gatherer = driver.gatherer
    gatherer.start([ETH4], 0.0)
    gatherer.add_servers(["stun:203.0.113.1", "stun:stun.example.org"], 0.0)
    driver.run()
    assert not gatherer.closed
    gatherer.close(1.0)
    assert gatherer.closed
    driver.outputs.clear()
    driver.run()
    assert driver.outputs == [PortLost(1), ClosePort(1)]
    gatherer.start([ETH4], 2.0)
    gatherer.add_servers(["stun:203.0.113.1"], 2.0)
    assert gatherer.advance(2.0) == INF
    assert not gatherer.outbox
