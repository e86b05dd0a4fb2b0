"""Whole sessions with audio and video through the small server: our engines, bad networks, virtual time."""

from __future__ import annotations

import pytest

from sansio.events import LocalTrackSubscribed, Reconnected, TrackSubscribed, TrackUnsubscribed
from sansio.room.outputs import TrackKeyframeWanted, TrackStarted
from sansio.room.track import TrackDescription, VideoLayer
from sansio.testing.netem import Link
from sansio.types import Scenario, TrackSource, VideoQuality
from tests.unit.room.party import BAD, GOOD, Party

MODES = pytest.mark.parametrize("single", [True, False], ids=["single", "dual"])
KEY = b"\x10\x00\x00\x9d\x01\x2a\x40\x01\xf0\x00"
DELTA = b"\x11\x00\x00"


class Show:
    """Alice publishes a voice and a picture; Bob, whoever else joins, takes them and keeps what arrives."""

    def __init__(self, party, **description):
        self.party = party
        self.alice = party.engines["alice"]
        self.voice = self.publish(codec="opus", name="voice", source=TrackSource.MICROPHONE, **description)
        self.picture = self.publish(codec="vp8", name="picture", source=TrackSource.CAMERA, width=320, height=240)
        self.number = 0
        self.got = {}

    def publish(self, **description):
        _, track = self.alice.publish_track(TrackDescription(**description), self.party.now)
        self.party.world.poke("alice")
        self.party.run(lambda: [o for o in self.party.found("alice", TrackStarted) if o.track is track], limit=20)
        return track

    def play(self, seconds):
        """Fifty sounds and ten pictures a second; a key frame when it is asked for, and at first."""
        party, alice = self.party, self.alice
        for _ in range(int(seconds * 50)):
            number = self.number = self.number + 1
            alice.write_frame(self.voice, b"\xf8\xff" + number.to_bytes(4, "big") * 8, party.now, level=20, voice=True)
            if number % 5 == 1:
                key = number == 1 or self.picture.sender().keyframe_wanted
                data = (KEY if key else DELTA) + number.to_bytes(4, "big") + bytes(2500)
                alice.write_frame(self.picture, data, party.now)
            party.world.poke("alice")
            party.wait(0.02)
            self.read()

    def watch(self, name):
        """Read every track that somebody is subscribed to, from now on."""
        for event in self.party.found(name, TrackSubscribed):
            key = (name, event.track.sid)
            if key not in self.got:
                self.party.engines[name].enable_track(event.track, True, self.party.now)
                self.got[key] = (event.track, [])

    def read(self):
        for (name, _), (track, frames) in self.got.items():
            while (frame := track.read()) is not None:
                frames.append(frame)
                self.party.world.poke(name)

    def numbers(self, name, track):
        """Which frames of a track somebody has got."""
        (found,) = [
            frames
            for (who, _), (other, frames) in self.got.items()
            if who == name and other.name == track.description.name
        ][-1:]
        at = 2 if track is self.voice else len(KEY)
        size = len(DELTA)
        numbers = []
        for frame in found:
            start = at if track is self.voice or frame.data.startswith(KEY) else size
            numbers.append(int.from_bytes(frame.data[start : start + 4], "big"))
        return numbers


def subscribed(party, name, count=2):
    party.run(lambda: len(party.found(name, TrackSubscribed)) >= count, limit=30)


@MODES
@pytest.mark.parametrize("red", [True, False], ids=["red", "plain"])
def test_sound_and_pictures_arrive_whole_and_in_order(single, red):
    with Party("alice", "bob", single_peer_connection=single) as party:
        show = Show(party, red=red)
        subscribed(party, "bob")
        show.watch("bob")
        show.play(3.0)
        party.wait(0.5)
        show.read()
        voice, picture = show.numbers("bob", show.voice), show.numbers("bob", show.picture)
        assert voice == list(range(voice[0], 151))
        assert voice[0] < 10
        assert picture == list(range(picture[0], 151, 5))
        assert picture[0] < 30
        assert len(party.found("alice", LocalTrackSubscribed)) == 2


@MODES
def test_losses_are_repaired_on_both_legs(single):
    with Party("alice", "bob", link=GOOD, single_peer_connection=single) as party:
        show = Show(party)
        subscribed(party, "bob")
        show.watch("bob")
        show.play(1.0)
        for name in ("alice", "bob"):
            party.world.set_link(name, "server", Link(latency=0.02, jitter=0.005, loss=0.05))
        there, losses = party.there("alice"), []
        for _ in range(12):
            show.play(0.5)
            losses += [stream.loss for peer in there.peers for stream in peer.connection.media.streams]
        assert max(losses) > 0
        for name in ("alice", "bob"):
            party.world.set_link(name, "server", GOOD)
        show.play(1.0)
        picture = show.numbers("bob", show.picture)
        missing = [number for number in range(picture[0], 397, 5) if number not in picture]
        assert len(missing) <= 4
        assert picture == sorted(picture)
        stats = [track.stats() for (_, _), (track, _) in show.got.items() if track.name == "picture"]
        assert stats[0].repaired > 0
        assert show.picture.stats().resent_packets > 0


LAYERS = tuple([VideoLayer(width=width, height=width * 3 // 4) for width in (160, 320, 640)])


class Layered(Show):
    """The picture comes in three sizes, told apart by their first byte behind the header."""

    def publish(self, **description):
        if description["codec"] == "vp8":
            description = {**description, "layers": LAYERS, "dynacast": False}
        return super().publish(**description)

    def play(self, seconds, *, layers=(0, 1, 2)):
        party = self.party
        for _ in range(int(seconds * 10)):
            self.number += 1
            for layer in layers:
                sender = self.picture.sender(layer)
                data = (KEY if sender.keyframe_wanted or not sender.packets else DELTA) + bytes([layer]) * 1500
                self.alice.write_frame(self.picture, data, party.now, layer=layer)
            party.world.poke("alice")
            party.wait(0.1)
            self.read()

    def layers(self, name):
        """Which layers somebody has got, in order, without repetition."""
        (frames,) = [found for (who, _), (track, found) in self.got.items() if who == name and track.name == "picture"]
        found = [frame.data[-1] for frame in frames]
        return [layer for place, layer in enumerate(found) if not place or layer != found[place - 1]], frames


@MODES
def test_one_layer_is_sent_the_best_that_is_wanted_and_there(single):
    with Party("alice", "bob", single_peer_connection=single) as party:
        show = Layered(party)
        subscribed(party, "bob")
        show.watch("bob")
        show.play(2.0)
        assert show.layers("bob")[0][-1] == 2
        publication = party.found("bob", TrackSubscribed)[-1].publication
        for quality, layer in ((VideoQuality.LOW, 0), (VideoQuality.MEDIUM, 1), (VideoQuality.HIGH, 2)):
            party.engines["bob"].set_track_settings(publication, party.now, quality=quality)
            party.world.poke("bob")
            show.play(2.0)
            assert show.layers("bob")[0][-1] == layer
        show.play(3.0, layers=(0, 1))
        seen, frames = show.layers("bob")
        assert seen[-4:] == [0, 1, 2, 1]
        assert sum([frame.lost for frame in frames]) == 0
        (track,) = [track for track, _ in show.got.values() if track.name == "picture"]
        assert track.stats().lost == 0
        stamps = [frame.timestamp for frame in frames]
        assert stamps == sorted(stamps)


@MODES
def test_a_late_subscriber_gets_a_key_frame(single):
    with Party("alice", single_peer_connection=single) as party:
        show = Show(party)
        show.play(1.0)
        party.join("bob", single_peer_connection=single)
        show.play(1.0)
        subscribed(party, "bob")
        show.watch("bob")
        show.play(2.0)
        picture = show.numbers("bob", show.picture)
        assert picture
        assert picture == list(range(picture[0], picture[-1] + 1, 5))
        assert party.found("alice", TrackKeyframeWanted)


@MODES
def test_muted_tracks_are_silent_and_go_on(single):
    with Party("alice", "bob", single_peer_connection=single) as party:
        show = Show(party)
        subscribed(party, "bob")
        show.watch("bob")
        show.play(1.0)
        show.alice.set_track_muted(show.picture.publication.sid, True, party.now)
        show.play(1.0)
        before = len(show.numbers("bob", show.picture))
        show.play(1.0)
        assert len(show.numbers("bob", show.picture)) == before
        show.alice.set_track_muted(show.picture.publication.sid, False, party.now)
        show.play(2.0)
        assert len(show.numbers("bob", show.picture)) > before + 10


@MODES
@pytest.mark.parametrize("who", ["alice", "bob"])
def test_media_goes_on_through_a_resume(single, who):
    with Party("alice", "bob", single_peer_connection=single) as party:
        show = Show(party)
        subscribed(party, "bob")
        show.watch("bob")
        show.play(1.0)
        party.world.cut_signals(who)
        show.play(4.0)
        assert [event.resumed for event in party.found(who, Reconnected)] == [True]
        voice = show.numbers("bob", show.voice)
        assert voice == list(range(voice[0], voice[-1] + 1))
        assert voice[-1] >= show.number - 5
        assert not party.found("bob", TrackUnsubscribed)


@MODES
def test_media_goes_on_after_a_restart_of_the_publisher(single):
    with Party("alice", "bob", single_peer_connection=single) as party:
        show = Show(party)
        subscribed(party, "bob")
        show.watch("bob")
        show.play(1.0)
        show.alice.simulate(Scenario.FULL_RECONNECT, party.now)
        party.world.poke("alice")
        party.run(lambda: party.found("alice", Reconnected), limit=30)
        show.play(1.0)
        subscribed(party, "bob", 4)
        show.watch("bob")
        show.play(2.0)
        assert party.found("bob", TrackUnsubscribed)
        tracks = {sid for who, sid in show.got if who == "bob"}
        assert len(tracks) == 4
        fresh = [frames for (_, sid), (track, frames) in show.got.items() if track.name == "picture"][-1]
        assert len(fresh) > 10


def test_many_take_one_track():
    names = [f"guest{number}" for number in range(6)]
    with Party("alice", *names) as party:
        show = Show(party)
        for name in names:
            subscribed(party, name)
            show.watch(name)
        show.play(2.0)
        for name in names:
            voice = show.numbers(name, show.voice)
            assert voice == list(range(voice[0], voice[-1] + 1))
            assert voice[-1] >= show.number - 5


def test_media_over_tcp():
    server = {"tcp_address": ("10.1.0.1", 7881), "udp": False}
    with Party("alice", "bob", server=server) as party:
        show = Show(party)
        subscribed(party, "bob")
        show.watch("bob")
        show.play(2.0)
        party.wait(0.2)
        show.read()
        voice = show.numbers("bob", show.voice)
        assert voice == list(range(voice[0], show.number + 1))
        assert len(party.rooms.server._streams._streams) == 2


def test_bad_networks_do_not_stop_anything():
    with Party("alice", "bob", link=BAD, seed=3) as party:
        show = Show(party)
        subscribed(party, "bob")
        show.watch("bob")
        show.play(5.0)
        voice = show.numbers("bob", show.voice)
        assert len(voice) > 200
        assert voice == sorted(voice)
        assert len(show.numbers("bob", show.picture)) > 10
