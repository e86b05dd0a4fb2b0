"""The ICE agent in either role with a partner, and the gatherer with STUN servers that answer."""

from __future__ import annotations

from itertools import count

from sansio.base.contract import Interface, OpenUdp, Resolve, Transmit
from sansio.base.entropy import Entropy
from sansio.ice import stun
from sansio.ice.agent import IceAgent, IceState, IceStateChanged
from sansio.ice.candidate import Candidate
from sansio.ice.gather import Gatherer
from sansio.testing.conformance import Input, Script, Subject, call

from .duet import mutated

OURS = [Candidate("1", 1, "udp", 2130706431 - i, f"192.0.2.{i}", 5000 + i, "host") for i in range(1, 4)]
THEIRS = [Candidate("2", 1, "udp", 2130706431 - i, f"198.51.100.{i}", 6000 + i, "host") for i in range(1, 4)]
STREAM = Candidate("8", 1, "tcp", 1000, "192.0.2.1", 9, "host", tcptype="active")
STRANGE = [
    Candidate("3", 1, "udp", 1000, "203.0.113.9", 7000, "relay", "192.0.2.1", 5001),
    Candidate("4", 2, "udp", 1, "198.51.100.1", 6001, "host"),
    Candidate("5", 1, "udp", 1, "x.local", 6001, "host"),
    Candidate("6", 1, "tcp", 1, "198.51.100.1", 6001, "host", tcptype="passive"),
    Candidate("7", 1, "udp", 1, "2001:db8::1", 6001, "host", ufrag="other"),
]


def agent(controlling: bool) -> IceAgent:
    """Always the same one, so that a partner elsewhere can know its password."""
    return IceAgent(Entropy(b"machine"), controlling=controlling)


class Partner:
    """The agent at the other end of a bad line, and a copy of the machine that tells its credentials."""

    def __init__(self, controlling: bool) -> None:
        self.copy = agent(controlling)
        self.agent = IceAgent(Entropy(b"partner"), controlling=not controlling)
        for port, candidate in enumerate(THEIRS, 1):
            self.agent.add_local(candidate, port, 0.0)
        self.introduce(1000.0)

    def introduce(self, now: float) -> Input:
        """Tell the partner of the machine; returns what tells the machine of the partner."""
        self.agent.set_remote_credentials(self.copy.local_ufrag, self.copy.local_pwd, now)
        for candidate in OURS[:2]:
            self.agent.add_remote(candidate, now)
        return call("set_remote_credentials", self.agent.local_ufrag, self.agent.local_pwd)

    def restart(self, now: float, *, both: bool) -> list[Input]:
        """The inputs by which the machine restarts with the partner, or finds that the partner has restarted."""
        inputs = []
        self.agent.restart(now)
        if both:
            self.copy.restart(now)
            inputs.append(call("restart"))
        return [*inputs, self.introduce(now), call("add_remote", THEIRS[1])]

    def give(self, transmit: Transmit, now: float) -> None:
        for port, candidate in enumerate(THEIRS, 1):
            if candidate.transport_address == transmit.addr:
                source = OURS[(transmit.port - 1) % 3].transport_address
                self.agent.handle_stun(port, transmit.data, source, now)

    def take(self, now: float) -> list[Input]:
        self.agent.advance(now)
        inputs = []
        for transmit in self.agent.transmits:
            port = [candidate.transport_address for candidate in OURS].index(transmit.addr) + 1
            inputs.append(call("handle_stun", port, transmit.data, THEIRS[transmit.port - 1].transport_address))
        self.agent.transmits.clear()
        self.agent.outbox.clear()
        return inputs


def operation(entropy: Entropy) -> Input:
    port = 1 + entropy.below(4)
    return entropy.choice(
        [
            call("add_local", OURS[port % 3], port),
            call("add_local", STREAM, 9, peer=("198.51.100.1", 6001)),
            call("remove_local", port),
            call("add_remote", entropy.choice([*THEIRS, *STRANGE])),
            call("end_of_remote"),
            call("note_inbound"),
            call("send_failed", port, entropy.choice(THEIRS).transport_address, "no route"),
            call("set_remote_credentials", "else", "where", lite=bool(entropy.below(2)))
            if entropy.below(4) == 0
            else call("add_local", OURS[1], 2),
        ]
    )


def talk(controlling: bool, entropy: Entropy) -> Script:
    partner = Partner(controlling)
    pending = [
        call("add_local", OURS[0], 1),
        call("add_remote", THEIRS[0]),
        call("set_remote_credentials", partner.agent.local_ufrag, partner.agent.local_pwd),
        call("add_local", OURS[1], 2),
        call("add_remote", THEIRS[1]),
    ]
    if entropy.below(2):
        pending.reverse()
    waiting: list[Input] = []
    turn = yield None
    while True:
        for output in turn.outputs:
            if isinstance(output, Transmit) and entropy.below(8):
                partner.give(output, turn.now)
            elif isinstance(output, IceStateChanged) and output.state == IceState.FAILED:
                waiting.clear()
                pending = partner.restart(turn.now, both=True)
        waiting += partner.take(turn.now)
        kind = entropy.below(32)
        item = None
        if pending and kind < 16:
            item = pending.pop(0)
        elif kind == 16:
            item = operation(entropy)
        elif kind == 17 and entropy.below(3) == 0:
            pending += partner.restart(turn.now, both=bool(entropy.below(2)))
        elif kind == 18 and waiting:
            port, data, source = entropy.choice(waiting).args
            item = call("handle_stun", port, mutated(data, entropy), source)
        elif kind == 19:
            item = call("handle_stun", 1, entropy.bytes(entropy.below(40)), THEIRS[0].transport_address)
        elif waiting:
            item = waiting.pop(entropy.below(min(3, len(waiting))))
        turn = yield item


def misuse(machine: IceAgent):
    yield call("add_local", STRANGE[2], 1)
    yield call("add_local", Candidate("9", 1, "udp", 5, "192.0.2.1", 1, "srflx"), 77)
    yield call("add_local", STREAM, 78)
    yield call("set_remote_credentials", "", "")


def conversation(controlling: bool) -> Subject:
    return Subject(
        make=lambda entropy: agent(controlling),
        script=lambda entropy: talk(controlling, entropy),
        misuse=misuse,
        close=call("close"),
        closed=lambda machine: machine.state == IceState.CLOSED,
    )


# ------------------------------------------------------------------ gathering


class Gathering(Gatherer):
    """``handle_stun`` of the gatherer tells whether a datagram was meant for it, which inputs in general do not."""

    def handle_datagram(self, port: int, data: bytes, src: tuple[str, int], now: float) -> None:
        self.handle_stun(port, data, src, now)


INTERFACES = [
    Interface("lo", "127.0.0.1", loopback=True),
    Interface("eth0", "192.0.2.1"),
    Interface("eth0", "2001:db8::1"),
    Interface("wlan0", "192.0.2.2"),
]
URLS = ["stun:203.0.113.1:3478", "stun:stun.example.org", "turn:turn.example.org?transport=tcp", "http://x", "stuns:y"]


def gather(entropy: Entropy) -> Script:
    pending: list[Input] = [call("start", INTERFACES), call("add_servers", URLS)]
    turn = yield None
    while True:
        for output in turn.outputs:
            if isinstance(output, OpenUdp):
                answer = call("port_opened", output.port, (output.host, 4000 + output.port))
                pending.append(call("port_failed", output.port, "in use") if entropy.below(6) == 0 else answer)
            elif isinstance(output, Resolve):
                pending.append(call("resolved", output.token, entropy.choice([[], ["203.0.113.2", "2001:db8::2"]])))
            elif isinstance(output, Transmit):
                request = stun.decode(output.data)
                seen = stun.xor_address_value(("203.0.113.77", 5555), request.transaction_id)
                response = stun.build(stun.BINDING_SUCCESS, request.transaction_id, [(stun.XOR_MAPPED_ADDRESS, seen)])
                if entropy.below(3) == 0:
                    response = mutated(response, entropy)
                pending.append(call("handle_datagram", output.port, response, output.addr))
        item = pending.pop(entropy.below(len(pending))) if pending and entropy.below(2) else None
        if entropy.below(12) == 0:
            item = call("start", [interface for interface in INTERFACES if entropy.below(2)])
        turn = yield item


SUBJECTS = {
    "ice.agent.IceAgent": [conversation(True), conversation(False)],
    "ice.gather.Gatherer": [
        Subject(make=lambda entropy: Gathering(entropy, count(1).__next__), script=gather, close=call("close"))
    ],
}
