"""The small server's rooms: tracks, subscriptions, permissions, drills and the API, in any order, without media."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from fuzz._held import held
from fuzz._turn import settle
from sansio import proto
from sansio.base.contract import CloseSignal, SendSignal
from sansio.base.entropy import Entropy
from sansio.base.wallclock import WallClock
from sansio.dtls.plain import PlainEngine, plain_identity
from sansio.sdp.build import LocalSection, LocalTransport, build_answer, build_offer
from sansio.sdp.codecs import AUDIO_CODECS, AUDIO_EXTENSIONS, VIDEO_CODECS, VIDEO_EXTENSIONS
from sansio.sdp.media import Fingerprint, Msid, parse_sdp
from sansio.sfu.server import ServerOptions, SfuServer
from sansio.sfu.token import Claims, mint
from sansio.signal.urls import JoinSettings, join_url, resume_url

MOST_STEPS = 60
MOST_HELD = 3_000_000
MOST_OUTPUTS = 400
UNIX = 1_800_000_000.0
NAMES = ("a", "b", "c")
MODES = ("", "", "", "", "no_pong", "leave_when_connected", "drop_when_connected", "drop_on_close")
METHODS = (
    *("CreateRoom", "ListRooms", "DeleteRoom", "ListParticipants", "GetParticipant", "RemoveParticipant"),
    *("MutePublishedTrack", "UpdateParticipant", "UpdateSubscriptions", "SendData", "UpdateRoomMetadata", "PerformRpc"),
)
SIDES = [
    LocalTransport(
        ice_ufrag=f"client{n}", ice_pwd="0123456789012345678901", fingerprint=Fingerprint("sha-256", bytes(32))
    )
    for n in range(2)
]
ADMIN = mint(Claims("admin", "room", "key", room_create=True, room_list=True, room_admin=True), "secret", UNIX, 1e8)


def _token(name: str, mode: str) -> str:
    attributes = {"lk.mock": json.dumps({"signal": mode, "leaveAction": 2})} if mode else {}
    claims = Claims(name, "room", "key", can_update_own_metadata=True, attributes=attributes, hidden=name == "c")
    return mint(claims, "secret", UNIX, 1e8)


TOKENS = {(name, mode): _token(name, mode) for name in NAMES for mode in dict.fromkeys(MODES)}


class House:
    """The server, who is in it by which link, and the sids that anybody has heard of."""

    def __init__(self, first: int) -> None:
        self.now = 0.0
        self.server = SfuServer(
            ("10.0.0.1", 7882),
            ServerOptions(
                keys={"key": "secret"},
                dtls_engine=PlainEngine,
                remote_unmute=bool(first & 1),
                tcp_address=("10.0.0.1", 7881) if first & 2 else None,
            ),
            entropy=Entropy(b"fuzz"),
            wall=WallClock(UNIX),
            identity=plain_identity(Entropy(b"identity")),
        )
        self.links: dict[int, str] = {}
        self.next = 1
        self.sids = ["TR_none"]
        self.own: dict[str, str] = {}
        self.sections: dict[int, list[int]] = {}
        self.offers: dict[int, Any] = {}

    def settle(self) -> None:
        """The contract, after each input."""
        server = self.server
        settle(server, self.now, MOST_OUTPUTS)
        server.transmits.clear()
        while server.outbox:
            output = server.outbox.popleft()
            if isinstance(output, SendSignal):
                self._read(output)
            elif isinstance(output, CloseSignal):
                self.links.pop(output.signal, None)

    def _read(self, output: SendSignal) -> None:
        response = proto.rtc.SignalResponse.FromString(output.data)
        kind = response.WhichOneof("message")
        assert kind
        if kind == "join":
            self.own[response.join.participant.identity] = response.join.participant.sid
        elif kind == "track_published":
            self.sids.append(response.track_published.track.sid)
        elif kind == "publish_data_track_response":
            self.sids.append(response.publish_data_track_response.info.sid)
        elif kind == "offer":
            parse_sdp(response.offer.sdp)
            self.offers[output.signal] = response.offer
        elif kind == "answer":
            parse_sdp(response.answer.sdp)


def one(data: bytes) -> None:
    """The first byte chooses options, then come operations of two bytes and what they read."""
    source = iter(data)
    house = House(next(source, 0))
    for _, op in zip(range(MOST_STEPS), source, strict=False):
        _act(op & 15, op >> 4, source, house)
        house.settle()
    assert held(house.server) <= MOST_HELD, f"the server holds {held(house.server)}"
    house.server.stop(house.now)
    assert house.server.advance(house.now) == float("inf")


def _act(what: int, choice: int, source: Iterator[int], house: House) -> None:
    server, now = house.server, house.now
    links = list(house.links)
    link = links[choice % len(links)] if links else 0
    match what:
        case 0 | 1:
            _join(choice, next(source, 0), house)
        case 2:
            house.now += (0.01, 0.3, 3.0, 30.0)[choice & 3]
        case 3:
            if link:
                del house.links[link]
            server.signal_closed(link, "gone", now)
        case 4 | 5 | 6:
            server.signal_received(link, _offer(link, choice, source, house).SerializeToString(), now)
        case 7:
            if link in house.offers:
                offer = house.offers[link]
                sdp = build_answer(parse_sdp(offer.sdp), 1, 1, SIDES[choice & 1])
                if choice & 8:
                    sdp = sdp.replace("recvonly", "inactive")
                answer = proto.rtc.SessionDescription(type="answer", sdp=sdp, id=offer.id + (choice == 7))
                server.signal_received(link, proto.rtc.SignalRequest(answer=answer).SerializeToString(), now)
        case 8:
            _call_api(choice, source, house)
        case 9:
            there = server.participant("room", NAMES[choice % 3])
            if there is not None:
                there.active = True
                there.wake()
        case _:
            server.signal_received(link, _request(what - 10, choice, source, house).SerializeToString(), now)


def _join(choice: int, argument: int, house: House) -> None:
    name = NAMES[choice % 3]
    headers = (("Authorization", f"Bearer {TOKENS[name, MODES[argument & 7]]}"),)
    settings = JoinSettings(auto_subscribe=not argument & 8)
    if argument & 16 and name in house.own:
        url = resume_url("ws://x", settings, sid=house.own[name], single=bool(argument & 32))
    else:
        url = join_url("ws://x", settings, single=bool(argument & 32))
    house.server.signal_accepted(house.next, url, headers, house.now)
    house.links[house.next] = name
    house.next += 1


def _offer(link: int, choice: int, source: Iterator[int], house: House) -> Any:
    """An offer that grows, and whose sections change from time to time; now and then they have other mids and kinds."""
    kinds = house.sections.setdefault(link, [])
    change = next(source, 0)
    if choice & 1 and len(kinds) < 8:
        kinds.append(change)
    elif kinds:
        place = change % len(kinds)
        kinds[place] = change if choice & 8 else kinds[place] & 1 | change & ~1
    sections = [LocalSection(kind="application", mid="0")]
    for number, bits in enumerate(kinds, 1):
        audio = not bits & 1
        direction = ("recvonly", "sendonly", "inactive", "sendonly")[bits >> 1 & 3]
        sends = direction == "sendonly"
        rids = ("q", "h", "f")[: bits >> 5 & 3] if sends and not audio else ()
        sections.append(
            LocalSection(
                kind="audio" if audio else "video",
                mid=str(number + (choice & 8)),
                direction=direction,
                codecs=AUDIO_CODECS if audio else VIDEO_CODECS,
                extensions=AUDIO_EXTENSIONS if audio else VIDEO_EXTENSIONS,
                msid=Msid("s", f"c{bits >> 3 & 3}") if sends else None,
                streams=((1000 + number, None),) if sends and not rids else (),
                rids=rids,
                cname="c",
            )
        )
    sdp = build_offer(1, 1, SIDES[choice >> 1 & 1], sections)
    return proto.rtc.SignalRequest(offer=proto.rtc.SessionDescription(type="offer", sdp=sdp, id=1))


def _request(what: int, choice: int, source: Iterator[int], house: House) -> Any:
    rtc = proto.rtc
    argument = next(source, 0)
    sid = house.sids[argument % len(house.sids)]
    flag = bool(choice & 1)
    match what:
        case 0:
            codecs = [{"codec": ("vp8", "opus", "nonsense", "h264")[choice & 3]}] if choice & 4 else []
            return rtc.SignalRequest(
                add_track={
                    "cid": f"c{argument & 3}",
                    "type": argument >> 2 & 3 if choice & 8 else argument >> 2 & 1,
                    "source": argument >> 4 & 7,
                    "layers": [{"quality": n, "width": 1 << n, "height": 1 << n} for n in range(choice & 3)],
                    "simulcast_codecs": codecs,
                    "sid": sid if argument & 128 else "",
                }
            )
        case 1:
            return rtc.SignalRequest(mute={"sid": sid, "muted": flag})
        case 2:
            if choice & 2:
                return rtc.SignalRequest(
                    track_setting={"track_sids": [sid], "disabled": flag, "quality": choice >> 2, "width": argument}
                )
            return rtc.SignalRequest(subscription={"track_sids": [sid], "subscribe": flag})
        case 3:
            permission = {"participant_identity": NAMES[argument % 3], "all_tracks": flag, "track_sids": [sid]}
            return rtc.SignalRequest(
                subscription_permission={"all_participants": bool(choice & 2), "track_permissions": [permission]}
            )
        case 4:
            if choice & 8:
                return rtc.SignalRequest(sync_state={"publish_tracks": [{"track": {"sid": sid}}]})
            return rtc.SignalRequest(sync_state={"track_sids_disabled": [sid]})
        case _ if choice & 8:
            if choice & 4:
                return rtc.SignalRequest(publish_data_track_request={"pub_handle": argument & 3, "name": f"n{choice}"})
            if choice & 2:
                return rtc.SignalRequest(unpublish_data_track_request={"pub_handle": argument & 3})
            return rtc.SignalRequest(
                update_data_subscription={"updates": [{"track_sid": sid, "subscribe": bool(argument & 1)}]}
            )
        case _:
            scenario = (
                *("speaker_update", "node_failure", "migration", "server_leave", "switch_candidate_protocol"),
                *("disconnect_signal_on_resume", "disconnect_signal_on_resume_no_messages", "subscriber_bandwidth"),
            )[choice & 7]
            number = scenario in ("speaker_update", "switch_candidate_protocol", "subscriber_bandwidth")
            return rtc.SignalRequest(simulate={scenario: argument & 1 if number else True})


def _call_api(choice: int, source: Iterator[int], house: House) -> None:
    argument = next(source, 0)
    method = METHODS[choice % len(METHODS)]
    request: dict[str, Any] = {"room": "room", "identity": NAMES[argument % 3]}
    request |= {"trackSid": house.sids[argument % len(house.sids)], "muted": bool(argument & 4), "name": "room"}
    if argument & 8:
        request |= {
            "permission": {
                "canSubscribe": bool(argument & 16),
                "canPublish": bool(argument & 32),
                "canPublishData": bool(argument & 2),
            }
        }
    if argument & 64:
        request |= {"metadata": "m" * argument, "attributes": {"k": "v"}, "data": "AAAA"}
    body = json.dumps(request).encode()
    if argument & 128:
        body = body[: next(source, 0)]
    headers = (("Content-Type", "application/json"), ("Authorization", f"Bearer {ADMIN}"))
    target = f"/twirp/livekit.RoomService/{method}"
    found = house.server.handle_http("POST", target, headers, body, house.now)
    if isinstance(found, int):  # a participant is called
        return
    status, _, answer = found
    assert status in (200, 400, 401, 404, 412, 501, 503)
    json.loads(answer)
