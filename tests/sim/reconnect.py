"""Schedules of faults, played in virtual time, and what must hold of each.

``python -m tests.sim.reconnect --seeds 1000`` plays as many; ``--replay HEX`` plays one that was printed. A schedule
that fails is made as short as it still fails, and printed.
"""

from __future__ import annotations

import argparse
import multiprocessing
import re
import sys
import time
from collections import Counter
from typing import Any

from sansio.base.contract import INF
from sansio.events import (
    Connected,
    DataUnacknowledged,
    Disconnected,
    ParticipantConnected,
    ParticipantDisconnected,
    ParticipantMetadataChanged,
    Reconnected,
    Reconnecting,
    SignalReconnecting,
)
from sansio.room.outputs import Ended, JoinFailed
from sansio.room.requests import RequestDone, RequestFailed
from sansio.room.track import LocalTrack, TrackDescription
from sansio.testing.script import NAMES, Person, Script, Stage, draw, shrink
from sansio.types import ConnectionState, DisconnectReason

BUDGET = 120.0
"""Seconds without media after which a session has given up, by the default policy."""
RECOVERY = 60.0
"""Seconds after the last fault in which a session that has not ended is connected again."""
SLACK = 5.0
SETTLED = 5.0
LAG = 30.0
"""Seconds for which a path may have been dead before the session says that it is."""
SAME = 40
"""Characters by which failures are told apart."""


class Watch:
    """What one session has told, checked as it comes."""

    def __init__(self, stage: Stage, person: Person) -> None:
        self.stage = stage
        self.person = person
        self.node = stage.world.node(person.node)
        self.engine = person.engine
        self.present: dict[str, str | None] = {}
        self.watching = False
        self.told: list[str] = []
        self.outage = self.last_outage = -1.0
        self.heard: dict[int, float] = {}
        self.signal, self.begun = 0, -1.0
        self.outages: list[tuple[float, float, Reconnected]] = []
        self.ended = -1.0
        self.unacknowledged: list[bytes] = []
        deliver, received = self.node.deliver, self.engine.signal_received

        def delivered(port: int, data: bytes, source: Any, now: float) -> None:
            self.heard[port] = now
            assert deliver is not None
            deliver(port, data, source, now)

        def signal_received(signal: int, data: bytes, now: float) -> None:
            if signal != self.signal:
                self.signal, self.begun = signal, now
            received(signal, data, now)

        self.node.deliver = delivered
        self.engine.signal_received = signal_received  # type: ignore[method-assign]

    def output(self, output: Any, now: float) -> None:
        assert self.ended < 0, f"{output} after the end"
        match output:
            case SignalReconnecting() | Reconnecting():
                self.told.append(type(output).__name__)
                if self.outage < 0:
                    self.outage = now
                else:
                    assert self.told[-2:] == ["SignalReconnecting", "Reconnecting"], self.told
            case Reconnected():
                self.told.append("Reconnected")
                self.reconnected(output, now)
            case Disconnected():
                assert self.engine.state.connection is ConnectionState.DISCONNECTED
                assert output.reason is not DisconnectReason.UNKNOWN_REASON, "no reason"
                self.last_outage, self.outage = self.outage, -1.0
            case Ended():
                self.ended = now
            case DataUnacknowledged(packets=packets):
                self.unacknowledged += [packet.payload for packet in packets]
            case ParticipantConnected(participant=participant) if self.watching:
                assert participant.identity not in self.present, f"{participant.identity} came twice"
                self.present[participant.identity] = None
            case ParticipantDisconnected(participant=participant) if self.watching:
                assert participant.identity in self.present, f"{participant.identity} left twice"
                del self.present[participant.identity]
            case ParticipantMetadataChanged(previous=previous, participant=participant, metadata=new) if self.watching:
                if participant is not self.engine.state.local_participant:
                    known = self.present[participant.identity]
                    assert known in (None, previous), f"metadata was {known!r}, is told to have been {previous!r}"
                    self.present[participant.identity] = new

    def reconnected(self, output: Reconnected, now: float) -> None:
        """Over every path in use something must have come since the server took us back."""
        assert self.outage >= 0, "Reconnected without an outage"
        assert self.engine.state.connection is ConnectionState.CONNECTED
        assert self.begun >= self.outage, "Reconnected without a word of the server on a new link"
        for peer in self.engine._parts.transports._peers:
            if peer.up or peer is self.engine._parts.transports._primary:
                port = peer.paths.carrier(peer.connection.transport.ice.selected_port)
                assert self.heard.get(port, -1.0) >= self.begun, "Reconnected without a packet over the path"
        self.outages.append((self.outage, now, output))
        self.outage = -1.0

    def in_time(self, now: float) -> None:
        """A session without media does not hope for longer than it says."""
        lost = max([self.outage, *self.heard.values()])
        assert self.outage < 0 or self.ended >= 0 or now - lost <= BUDGET + SLACK, "an outage does not end"

    def lost_for(self) -> list[tuple[float, float]]:
        """When what was sent to this session may have been lost with it, on the server's side of the way."""
        gaps = [(begin - LAG, end + 2.0) for begin, end, report in self.outages if not report.resumed]
        if self.ended >= 0:
            gaps.append(((self.last_outage if self.last_outage >= 0 else self.ended) - LAG, INF))
        return gaps

    @property
    def steady(self) -> bool:
        return self.engine.closed or self.engine.state.connection is ConnectionState.CONNECTED


class Drama(Stage):
    """A stage whose people are watched."""

    def __init__(self, script: Script) -> None:
        super().__init__(script)
        self.watches: dict[str, Watch] = {}
        self.mics: dict[str, LocalTrack] = {}

    def enter(self, name: str, node: str = "") -> Person:
        person = super().enter(name, node)
        self.watches[person.node] = Watch(self, person)
        return person

    def output(self, person: Person, output: Any) -> None:
        super().output(person, output)
        self.watches[person.node].output(output, self.now)

    def listen(self) -> None:
        super().listen()
        for watch in self.watches.values():
            watch.in_time(self.now)

    def run_all(self) -> None:
        """Everything: the beginning, the steps, the recovery, what must hold, and the end."""
        self.open()
        self.publish()
        for watch in self.watches.values():
            others = watch.engine.state.remote_participants
            watch.present = {name: other.metadata for name, other in others.items()}
            watch.watching = True
        self.play()
        self.recover()
        self.check_state()
        self.check_requests()
        for receiver, sender in (NAMES, NAMES[::-1]):
            self.check_data(sender, receiver)
        self.check_media()
        self.close()

    def publish(self) -> None:
        """Everybody speaks, and hears the others."""
        for name in NAMES:
            person = self.people[name]
            token, self.mics[name] = person.engine.publish_track(TrackDescription(codec="opus", name="mic"), self.now)
            person.tokens.append(token)
            self.world.poke(name)
        self.run(2.0)

    def recover(self) -> None:
        self.run(max(0.0, self.over - self.now))
        end = self.now + RECOVERY
        while self.now < end and not all(watch.steady for watch in self.watches.values()):
            self.run(0.5)
        late = [name for name, watch in self.watches.items() if not watch.steady]
        assert not late, f"{late} neither back nor gone {RECOVERY} s after the last fault"
        self.run(SETTLED)
        while self.now < end + RECOVERY and self.server_knows() != self.alive():
            self.run(0.5)
        lost = [name for name, watch in self.watches.items() if not watch.steady]
        assert not lost, f"{lost} lost again without a fault"
        end = self.now + RECOVERY
        while self.now < end and not self.drained():
            self.world.run_for(0.5)
            self.listen()

    def drained(self) -> bool:
        """Whether nothing reliable is on its way any more, from anybody to the server or from it to anybody."""
        live = [watch.engine for watch in self.watches.values() if not watch.engine.closed]
        if any(engine._parts.transports.unacknowledged for engine in live):
            return False
        halves = [self.rooms.server.participant("room", name) for name in self.server_knows()]
        peers = [peer for half in halves if half is not None for peer in half.peers]
        return all(peer.connection.transport.association.sender.idle() for peer in peers)

    def server_knows(self) -> list[str]:
        return sorted(info.identity for info in self.rooms.server.participants("room"))

    def alive(self) -> list[str]:
        return sorted(watch.person.name for watch in self.watches.values() if not watch.engine.closed)

    # ------------------------------------------------------------------ what must hold

    def check_state(self) -> None:
        infos = {info.identity: info for info in self.rooms.server.participants("room")}
        live = {watch.person.name: watch for watch in self.watches.values() if not watch.engine.closed}
        assert sorted(infos) == sorted(live), f"the server has {sorted(infos)}, there are {sorted(live)}"
        for name, watch in live.items():
            state = watch.engine.state
            known = {state.local_participant.identity: state.local_participant, **state.remote_participants}
            assert sorted(known) == sorted(infos), f"{name} knows {sorted(known)}, the server {sorted(infos)}"
            for identity, participant in known.items():
                info = infos[identity]
                told = participant.sid, participant.name, participant.metadata, sorted(participant.track_publications)
                true = info.sid, info.name, info.metadata, sorted(track.sid for track in info.tracks)
                assert told == true, f"{name} takes {identity} for {told}, which is {true}"
            if watch.watching:
                assert sorted(watch.present) == sorted(state.remote_participants), "events and state differ"
                for identity, metadata in watch.present.items():
                    assert metadata in (None, state.remote_participants[identity].metadata)
            ports = 1 if watch.engine._parts.transports.single else 2
            assert len(watch.node.ports) == ports, f"{name} holds ports {watch.node.ports}"
            assert self.world.connections(watch.node.name) == 1, f"{name} holds more than its link"

    def check_requests(self) -> None:
        for watch in self.watches.values():
            answered = [out.token for out in watch.node.outputs if isinstance(out, RequestDone | RequestFailed)]
            assert sorted(answered) == sorted(watch.person.tokens), "a request was answered not once"

    def check_data(self, sender: str, receiver: str) -> None:
        """Nothing twice or out of order; what did not arrive was lost with a session of the receiver, or reported."""
        said = self.people[sender].said
        places = {payload: number for number, (_, payload) in enumerate(said)}
        heard = [places[payload] for _, who, payload in self.people[receiver].heard if who == sender]
        assert heard == sorted(set(heard)), f"{receiver} got messages of {sender} twice or out of order"
        watch = self.watches[sender]
        if watch.engine.closed:
            return  # what was on its way when a session ended is lost with it
        gaps, got = self.watches[receiver].lost_for(), dict.fromkeys([*heard])
        told = dict.fromkeys(watch.unacknowledged)
        lost = [
            (when, payload[:12])
            for number, (when, payload) in enumerate(said)
            if number not in got and payload not in told and not any(begin <= when <= end for begin, end in gaps)
        ]
        assert not lost, (
            f"{len(lost)} messages of {sender} never reached {receiver} and were not reported: {lost[0]} to {lost[-1]}"
        )
        assert len(told) == len(watch.unacknowledged), "a message was reported twice"

    def check_media(self) -> None:
        """Tracks are the same objects as ever, whatever became of the session, and frames go by them."""
        live = [name for name in NAMES if not self.watches[name].engine.closed]
        ears = {}
        for name in live:
            engine = self.watches[name].engine
            (own,) = engine.state.local_participant.track_publications.values()
            assert own.track is self.mics[name], f"{name} publishes another track"
            if len(live) < 2:
                continue
            (other,) = [other for other in live if other != name]
            (publication,) = engine.state.remote_participants[other].track_publications.values()
            assert publication.subscribed, f"{name} is not subscribed to {other}"
            ears[name] = publication.track
            engine.enable_track(publication.track, True, self.now)
            self.world.poke(name)
        for name in ears:
            for link in self.world.links(name, "server"):
                link.loss = link.reorder = link.duplication = 0.0
        heard = dict.fromkeys(ears, 0)
        for number in range(40):
            for name in ears:
                self.watches[name].engine.write_frame(self.mics[name], b"\xf8\xff%c" % number, self.now)
                self.world.poke(name)
            self.world.run_for(0.02)
            for name, track in ears.items():
                while track.read() is not None:
                    heard[name] += 1
        assert all(count > 20 for count in heard.values()), f"of 40 frames there were heard {heard}"

    def close(self) -> None:
        for name, watch in self.watches.items():
            if not watch.engine.closed:
                watch.engine.stop(self.now)
                self.world.poke(name)
        self.world.run_for(SETTLED)
        for name, watch in self.watches.items():
            assert watch.ended >= 0, f"{name} does not end"
            assert not watch.node.ports, f"{name} left ports behind: {watch.node.ports}"
            assert self.world.connections(name) == 0, f"{name} left connections behind"
            assert watch.node.due == INF, f"{name} still waits for something"
            ends = [out for out in watch.node.outputs if isinstance(out, Disconnected | JoinFailed)]
            joined = [out for out in watch.node.outputs if isinstance(out, Connected)]
            assert [isinstance(end, Disconnected) for end in ends] in ([bool(joined)], [])
            assert ends or not joined, "an end without a word"
        assert not self.rooms.server.participants("room"), "the server still has somebody"


# ------------------------------------------------------------------ running


def play(script: Script) -> Drama:
    """Play a script and check everything; an exception that leaves carries the story."""
    drama = Drama(script)
    with drama.world:
        drama.run_all()
    return drama


def failure(script: Script) -> str:
    """What goes wrong in a script: empty when nothing does, else the kind of exception and its first line."""
    try:
        play(script)
    except Exception as error:
        return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
    return ""


def summary(drama: Drama) -> Counter[str]:
    """What a schedule brought about, for statistics."""
    found = Counter(schedules=1)
    for watch in drama.watches.values():
        found["outages"] += len(watch.outages)
        found["resumed"] += sum(report.resumed for _, _, report in watch.outages)
        found["restarted"] += sum(not report.resumed for _, _, report in watch.outages)
        for out in watch.node.outputs:
            if isinstance(out, Disconnected):
                found[f"ended: {out.reason.name}"] += 1
    found["messages"] = sum(len(person.said) for person in drama.people.values())
    found["faults"] = len(drama.faults)
    found["virtual seconds"] = int(drama.now)
    return found


def attempt(seed: int) -> tuple[int, str, Counter[str]]:
    """Play the schedule of a seed: what went wrong, and what happened."""
    try:
        return seed, "", summary(play(draw(seed)))
    except Exception:
        return seed, failure(draw(seed)), Counter()


def shortest(script: Script) -> Script:
    """The shortest script that fails in the same way."""
    kind = sort_of(failure(script))
    return shrink(script, lambda less: sort_of(failure(less)) == kind)


def sort_of(failure: str) -> str:
    """A failure without the numbers, names and lists that differ between two of a kind."""
    return re.sub(r"\[.*?\]|[0-9.]+|alice|bob|carol", "", failure)[:SAME]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=60)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--replay", metavar="HEX")
    given = parser.parse_args()
    if given.replay:
        print(script := Script.decode(bytes.fromhex(given.replay)))
        print(dict(summary(play(script))))
        return
    start, total, failed = time.monotonic(), Counter[str](), 0
    with multiprocessing.Pool(given.jobs) as pool:
        for seed, wrong, found in pool.imap_unordered(attempt, range(given.first, given.first + given.seeds)):
            total += found
            if wrong:
                failed += 1
                script = shortest(draw(seed))
                print(f"seed {seed}: {wrong}\n  {failure(script)}\n{script}\n", flush=True)
    print({"failed": failed, **total, "seconds": round(time.monotonic() - start, 1)})
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
