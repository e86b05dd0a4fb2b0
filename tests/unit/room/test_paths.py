"""Sessions by relays and TCP: with a TURN server in the world, and by hand."""

from __future__ import annotations

import json

import pytest

from sansio import proto
from sansio.base.contract import ClosePort, Interface, OpenStream, OpenUdp
from sansio.base.entropy import Entropy
from sansio.events import Disconnected, Reconnecting
from sansio.ice import stun
from sansio.ice.paths import TurnServerConfig
from sansio.testing.turnserver import TurnServer

from .desk import ETH, Desk
from .party import BAD, GOOD, Party
from .studio import Studio

TURN = ("203.0.113.1", 3478)
URLS = {
    "udp": "turn:203.0.113.1:3478?transport=udp",
    "tcp": "turn:203.0.113.1:3478?transport=tcp",
    "tls": "turns:203.0.113.1:3478?transport=tcp",
}
rtc = proto.rtc
PASSIVE = "candidate:1 1 tcp 1671430143 10.9.0.1 7881 typ host tcptype passive"


def party(kind, link, single, seed=1):
    found = Party(seed=seed, link=link)
    turn = TurnServer(Entropy(b"turn"))
    found.world.add("turn", turn, {1: TURN}, hosts=turn.hosts)
    found.world.listen_stream(TURN, "turn")
    server = TurnServerConfig(URLS[kind], "user", "pass")
    found.join("alice", single_peer_connection=single, turn_servers=(server,), ice_policy="relay")
    return found, turn


@pytest.mark.parametrize("single", [True, False], ids=["single", "dual"])
@pytest.mark.parametrize("kind", ["udp", "tcp", "tls"])
@pytest.mark.parametrize("link", [GOOD, BAD], ids=["good", "bad"])
def test_a_session_by_a_relay(kind, link, single):
    found, turn = party(kind, link, single)
    with found:
        found.join("bob", single_peer_connection=single)
        alice = found.engines["alice"]
        assert len(turn.allocations) == (1 if single else 2)
        assert found.publish("alice", b"by the relay")
        assert found.hear("bob", 1) == [b"by the relay"]
        assert found.publish("bob", b"and back")
        assert found.hear("alice", 1) == [b"and back"]
        paths = [path for peer in alice.diagnostics()["transports"]["peers"] for path in peer["paths"]]
        assert {(path["kind"], path["state"]) for path in paths} == {(f"relay over {kind}", "open")}
        assert json.dumps(alice.diagnostics())
        pairs, ways = alice.media_report()
        assert [(pair.local.type, pair.state) for pair in pairs if pair.selected] == [("relay", "succeeded")] * len(
            pairs
        )
        assert [(way.kind, way.state) for way in ways] == [(path["kind"], path["state"]) for path in paths]
        found.wait(700)
        assert found.publish("alice", b"still there")
        assert found.hear("bob", 1) == [b"still there"]
        found.stop("alice")
        found.run(lambda: found.found("alice", Disconnected))
        found.wait(1)
        if link is GOOD:
            assert not turn.allocations


def test_a_relay_that_vanishes_is_replaced():
    found, _ = party("tcp", GOOD, single=True)
    with found:
        found.wait(3)
        found.world.cut_streams("alice")
        found.wait(15)
        alice = found.engines["alice"]
        assert not found.found("alice", Disconnected)
        assert found.publish("alice", b"x")
        assert [path["state"] for path in alice.diagnostics()["transports"]["peers"][0]["paths"]] == ["open"]


def kinds(found):
    """The kinds of path that carry Alice's media."""
    return {pair.type for pair in found.engines["alice"].media_report()[0] if pair.selected}


@pytest.mark.parametrize("opens", ["server", "other turn"])
def test_a_better_path_is_looked_for_when_the_network_has_changed(opens):
    """The same addresses as before, but packets go where they did not."""
    found, turn = Party(), TurnServer(Entropy(b"turn"))
    other = TurnServer(Entropy(b"other"), hosts=("198.51.100.1",))
    with found:
        world = found.world
        world.add("turn", turn, {1: TURN}, hosts=turn.hosts)
        world.listen_stream(TURN, "turn")
        world.add("other turn", other, {1: ("198.51.100.1", 3478)}, hosts=other.hosts)
        for name in ("server", "other turn"):
            world.partition("alice", name)
        urls = (URLS["tls"], "turn:198.51.100.1:3478")
        alice = found.join("alice", turn_servers=tuple([TurnServerConfig(url, "user", "pass") for url in urls]))
        found.wait(60)
        assert kinds(found) == {"relayed TLS"}
        world.partition("alice", opens, down=False)
        found.wait(60)
        assert kinds(found) == {"relayed TLS"}, "nobody has told"
        alice.networks_changed([Interface("eth0", host) for host in world.node("alice").hosts], world.now)
        world.poke("alice")
        found.wait(2)
        assert kinds(found) == {"direct UDP" if opens == "server" else "relayed UDP"}
        found.wait(60)
        states = [way.state for way in alice.media_report()[1]]
        assert states.count("open") == (opens == "other turn"), "what was not chosen is closed again"
        assert not found.found("alice", Reconnecting)


# ---------------------------------------------------------------- by hand


def trickle(candidate):
    init = json.dumps({"candidate": candidate, "sdpMid": "0", "sdpMLineIndex": 0})
    return rtc.TrickleRequest(candidateInit=init, target=rtc.PUBLISHER)


def candidates(desk):
    return [json.loads(message.candidateInit)["candidate"] for message in desk.sent("trickle")]


def test_a_tcp_candidate_of_the_server_is_connected_to():
    desk = Desk(single_peer_connection=True).joined()
    desk.say(trickle=trickle(PASSIVE))
    [request] = desk.found(OpenStream)
    assert (request.addr, request.tls) == (("10.9.0.1", 7881), False)
    desk.engine.port_opened(request.port, (ETH.address, 40123), desk.now)
    desk.turn()
    [line] = candidates(desk)
    assert line.split()[2] == "tcp"
    assert f"{ETH.address} 9 typ host tcptype active" in line
    desk.engine.port_failed(request.port, "reset", desk.now)
    desk.turn()
    [path] = desk.engine.diagnostics()["transports"]["peers"][0]["paths"]
    assert (path["state"], path["error"]) == ("failed", "reset")


def test_a_stream_is_closed_with_the_session():
    desk = Desk(single_peer_connection=True).joined()
    desk.say(trickle=trickle(PASSIVE))
    [request] = desk.found(OpenStream)
    desk.engine.stop(desk.now)
    desk.wait(3)
    assert ClosePort(request.port) in desk.outputs


def relay_answers(desk):
    """Play the TURN server for what has been sent: challenge, then an allocation."""
    for transmit in [transmit for transmit in desk.transmits if transmit.addr == TURN]:
        desk.transmits.remove(transmit)
        request = stun.decode(transmit.data)
        id = request.transaction_id
        if request.integrity:
            key = stun.long_term_key("u", "r", "p")
            relayed = stun.xor_address_value(("203.0.113.1", 7000), id)
            attributes = [(stun.XOR_RELAYED_ADDRESS, relayed), (stun.LIFETIME, stun.u32_value(600))]
            answer = stun.build(0x0103, id, attributes, key)
        else:
            challenge = [(stun.ERROR_CODE, stun.error_value(401)), (stun.REALM, b"r"), (stun.NONCE, b"n")]
            answer = stun.build(0x0113, id, challenge)
        desk.engine.port_handler(transmit.port)(transmit.port, answer, TURN, desk.now)
    desk.turn()


def servers():
    return [rtc.ICEServer(urls=[URLS["udp"], "stun:192.0.2.9"], username="u", credential="p")]


def test_the_servers_relays_are_used_beside_the_direct_ways():
    desk = Desk(single_peer_connection=True).joined(ice_servers=servers())
    relay_answers(desk)
    relay_answers(desk)
    [line] = candidates(desk)
    assert "203.0.113.1 7000 typ relay" in line


def forced():
    configuration = proto.models.ClientConfiguration(force_relay=proto.models.ClientConfigSetting.ENABLED)
    return {"ice_servers": servers(), "client_configuration": configuration}


def test_the_server_forces_relays():
    desk = Desk(single_peer_connection=True).joined(**forced())
    desk.say(trickle=trickle(PASSIVE))
    assert not desk.found(OpenStream)
    relay_answers(desk)
    relay_answers(desk)
    assert ["relay" in line for line in candidates(desk)] == [True]
    desk.engine.networks_changed((ETH, Interface("wlan0", "10.2.0.2")), desk.now)
    desk.turn()
    assert len(desk.found(OpenUdp)) == 2
    assert len(candidates(desk)) == 1
    assert all(pair.local.type == "relay" for pair in desk.engine._parts.transports.pairs_report())


def test_a_resume_may_name_relays_and_force_them():
    studio = Studio()
    assert studio.engine.media_report()[1] == []
    studio.closed()
    studio.wait(1)
    studio.opened()
    studio.transmits.clear()
    studio.say(reconnect=rtc.ReconnectResponse(**forced()))
    (way,) = studio.engine.media_report()[1]
    assert (way.kind, way.target) == ("relay over udp", f"{TURN[0]} port {TURN[1]}")
    (peer,) = studio.engine._parts.transports._peers
    assert peer.connection.transport.ice.selected_addr is None  # no address of ours is of use any more


def test_a_policy_of_relays_tells_of_no_address_of_ours():
    desk = Desk(single_peer_connection=True, ice_policy="relay").joined(ice_servers=servers())
    (peer,) = desk.engine._parts.transports._peers
    assert "m=application" in peer.connection.last_offer
    assert ETH.address not in peer.connection.last_offer
    relay_answers(desk)
    relay_answers(desk)
    [line] = candidates(desk)
    desk.wait(20)
    assert [way.state for way in desk.failure.ways] == ["open"]
    assert "raddr 0.0.0.0 rport 0" in line
