"""The course of a session: what is done in each state of its life, from the join to the end.

``sansio.lifecycle`` says which state follows from what has happened; here are the effects. While the session is being
joined everything that goes wrong ends it. Later it triggers a resume (the same participant over a new link; media may
flow all the while) or a restart (a new join with the same objects over new peer connections).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .. import proto
from ..base.contract import INF, NOW, ClosePort, Interface, OpenStream, OpenUdp
from ..base.entropy import Entropy
from ..events import Reconnected, Reconnecting, SignalReconnecting
from ..lifecycle.machine import Lifecycle
from ..lifecycle.table import Mode, State, Trigger
from ..signal import urls
from ..signal.refusal import Refusal, RefusalKind, refusal_of_leave
from ..types import ConnectionState, DisconnectReason, RequestReason
from .data import unacknowledged
from .data_lanes import DataWritable
from .outputs import Ended, JoinFailed, MediaFailure
from .parts import Parts

if TYPE_CHECKING:
    from ..proto import rtc

LEAVE_GRACE = 1.0
"""Seconds that a session whose media has failed waits for the server to say why."""
RESYNC_TIME = 1.0
"""Seconds from the first to the last piece in which the server tells, after a resume, who is still there."""
MEND_AFTER = 3.0
"""Seconds that a resume waits for the proof of a path before it restarts ICE there."""


class Course:
    """Runs the lifecycle of a session and does to its ``parts`` what belongs to each state.

    ``open``: operations are taken, from the join to the leave. ``stopping``: the user has left, and this will be the
    reason. ``closed``: everything is over. ``due`` is when ``advance`` has to be called.
    """

    def __init__(self, parts: Parts, entropy: Entropy) -> None:
        self.life = Lifecycle(parts.options.reconnect, entropy)
        self.due = INF
        self.open = False
        self.stopping: DisconnectReason | None = None
        self.closed = False
        self._parts = parts
        self._interfaces: tuple[Interface, ...] = ()
        self._connected = False
        self._answered = False
        self._flush_deadline = INF
        self._media_deadline = INF
        self._media_trigger = Trigger.MEDIA_LOST
        self._mend_at = INF
        self._resync_at = INF
        self._prove_deadline = INF
        self._resume_reason = 0
        self._end_reason = DisconnectReason.UNKNOWN_REASON
        self._failure = ""
        """Why the last attempt to reconnect failed: what the user is told of the end, if it comes to that."""
        self._lost: list[bytes] = []
        """Reliable packets, encoded, that a restart has cut off."""

    @property
    def begun(self) -> bool:
        """Whether it was started or stopped before."""
        return self.life.state is not State.IDLE or self.stopping is not None

    # ------------------------------------------------------------------ what the user and the driver do

    def start(self, interfaces: Sequence[Interface], now: float) -> None:
        """Begin to join: sockets first, so that the host candidates travel inside the join request."""
        self._interfaces = tuple(interfaces)
        self.life.trigger(Trigger.START, now)
        self._gather(now)

    def _gather(self, now: float) -> None:
        parts = self._parts
        parts.transports.gather(self._interfaces, loopback=urls.is_loopback(parts.link.url), now=now)
        parts.transports.due = NOW
        parts.link.wanted = True

    def networks_changed(self, interfaces: Sequence[Interface], now: float) -> None:
        """Every path and the link are put to the test, and a waiting attempt to reconnect is made."""
        self._interfaces = tuple(interfaces)
        parts = self._parts
        parts.transports.networks_changed(interfaces, now)
        parts.transports.due = NOW
        parts.link.check(now)
        self.life.hurry()
        self.due = NOW

    def stop(self, reason: DisconnectReason, now: float, *, flush: bool) -> None:
        """Leave, for a reason of the user's; ``flush``: with time for reliable data in flight to be acknowledged."""
        if self.closed:
            return
        if self.stopping is None:
            self.stopping = reason
            self.open = False
            wait = self._connected and self._parts.transports.unacknowledged
            self._flush_deadline = now + self._parts.options.flush_timeout if wait else NOW
        if not flush:
            self._flush_deadline = NOW
        self.due = NOW

    def handle_no_token(self, reason: str, now: float) -> None:
        """The user's source has no token: that counts as an attempt that found no server."""
        self._failure = reason
        if self._parts.link.wanted:
            self.trigger(Trigger.UNREACHABLE, now)

    # ------------------------------------------------------------------ time

    def advance(self, now: float) -> None:
        """Make the attempt that is due, and do what belongs to the states that were entered. Sets ``due``."""
        self.due = INF
        due = self.life.advance(now)
        while self.life.outbox and not self.closed:
            entered = self.life.outbox.popleft()
            self._enter(entered.state, entered.previous, now)
        if not self.closed:
            due = min(due, self._keep_deadlines(now))
        self.due = INF if self.closed else min(self.due, due)

    def _keep_deadlines(self, now: float) -> float:
        parts, transports = self._parts, self._parts.transports
        if self.stopping is not None:
            if transports.unacknowledged and now < self._flush_deadline:
                return self._flush_deadline
            self.end(self.stopping, None, now)
            return INF
        if parts.link.wanted and transports.ready:
            self._open_link(now)
        if now >= self._media_deadline:
            self._media_deadline = INF
            if not self._connected:
                detail = f"{transports.lacking()} within {parts.options.media_timeout:g} s"
                self.end(DisconnectReason.MEDIA_FAILURE, self._media_failure(detail), now)
                return INF
            self._end_reason = DisconnectReason.MEDIA_FAILURE
            self.trigger(self._media_trigger, now)
        if now >= self._mend_at:
            self._mend_at = INF
            transports.mend(now)
            transports.due = NOW
        if now >= self._resync_at:
            self._resync_at = INF
            parts.state.end_resync()
            transports.catch_up(*self._missing(), now)
            transports.due = NOW
        if now >= self._prove_deadline:
            self._prove_deadline = INF
            self.trigger(Trigger.FAILED, now)
        return min(self._media_deadline, self._mend_at, self._resync_at, self._prove_deadline)

    def _open_link(self, now: float) -> None:
        """The sockets are open, or have failed: an attempt to join, to resume, or to join anew."""
        parts, life = self._parts, self.life
        if life.reconnecting and parts.link.needs_token(now):
            return
        if life.state is State.RESUMING:
            sid = parts.state.local_participant.sid
            parts.link.resume(parts.transports, sid, reason=self._resume_reason, attempt=life.attempt, now=now)
        else:
            parts.link.join(parts.transports, parts.publisher, now)

    # ------------------------------------------------------------------ joining

    def handle_join(self, response: rtc.JoinResponse, now: float) -> None:
        """The server let us in, for the first time or anew."""
        parts = self._parts
        link, publisher, transports = parts.link, parts.publisher, parts.transports
        self.open = self.stopping is None
        parts.state.apply_join(response)
        self._media_deadline = now + parts.options.media_timeout
        self.due = min(self.due, self._media_deadline)
        if not transports.single:
            link.say_metadata(now)
        self._say_choices(now)
        if not link.offer_sent:
            publisher.announce(now)  # ahead of the offer that has their sections
        parts.data_tracks.rejoined(now)
        transports.joined(response, offer_sent=link.offer_sent, now=now)
        transports.due = NOW

    def _say_choices(self, now: float) -> None:
        """What the user has set, to a server that may have forgotten it."""
        parts = self._parts
        parts.publisher.permissions.say(now)
        for settings in parts.subscriptions.settings:
            parts.link.send("track_setting", settings, now)

    def handle_answer(self, now: float) -> None:
        """The server has answered an offer of ours: with the first, missing tracks of others are asked for."""
        if not self._answered:
            self._answered = True
            self._parts.transports.expect_tracks(*self._missing(), now)

    def _missing(self) -> tuple[int, int]:
        """Audio and video tracks that the server has, or will have, for us without a section of ours."""
        parts = self._parts
        return parts.subscriptions.missing(parts.transports.carried) if parts.options.auto_subscribe else (0, 0)

    def handle_up(self, now: float) -> None:
        """The peer connection that counts is up."""
        self._media_deadline = INF
        if not self._connected:
            self._connected = True
            self._parts.state.connected()
        self._parts.subscriptions.connected()
        self.trigger(Trigger.UP, now)

    # ------------------------------------------------------------------ what goes wrong

    def handle_refused(self, refusal: Refusal, now: float) -> None:
        """An attempt to open the link was refused, or came to nothing."""
        parts, leave = self._parts, refusal.leave
        if self._connected and self.stopping is None:
            self._attempt_refused(refusal, now)
        elif (
            refusal.kind is RefusalKind.SERVICE_NOT_FOUND
            and parts.transports.single
            and parts.options.single_peer_connection is None
            and self.stopping is None
        ):
            # A server from before /rtc/v1: the same join with two peer connections.
            parts.link.fall_back()
            parts.transports.fall_back_to_dual(now)
            parts.transports.due = NOW
        else:
            reason = DisconnectReason(leave.reason) if leave is not None else DisconnectReason.JOIN_FAILURE
            self.end(reason, refusal, now)

    def _attempt_refused(self, refusal: Refusal, now: float) -> None:
        """An attempt to resume or to restart did not get in."""
        leave, credentials = refusal.leave, self._parts.link.credentials
        if leave is not None:
            self.handle_leave(leave, now)
            return
        self._failure = f"{refusal.what} {refusal.why}".strip()
        match refusal.kind:
            case RefusalKind.TOKEN_REJECTED if credentials.rejected(now):
                self.trigger(Trigger.UNREACHABLE, now)
            case RefusalKind.TOKEN_REJECTED | RefusalKind.ROOM_NOT_FOUND | RefusalKind.REFUSED:
                self._end_reason = DisconnectReason.JOIN_FAILURE
                self.trigger(Trigger.REFUSED, now)
            case RefusalKind.PROTOCOL | RefusalKind.SERVICE_NOT_FOUND if self._parts.link.was_open:
                self.trigger(Trigger.FAILED, now)
            case _:
                self.trigger(Trigger.UNREACHABLE, now)

    def handle_link_lost(self, reason: str, now: float) -> None:
        """The link broke."""
        self._parts.counters.add("signal_lost")
        if self._connected and self.stopping is None:
            self._end_reason = DisconnectReason.SIGNAL_CLOSE
            self.trigger(Trigger.SIGNAL_LOST, now)
        else:
            self.end(DisconnectReason.SIGNAL_CLOSE, _link_lost(reason), now)

    def handle_leave(self, leave: rtc.LeaveRequest, now: float) -> None:
        """The server ends the session, or asks for a resume or a new join."""
        actions = proto.rtc.LeaveRequest
        reason = DisconnectReason(leave.reason)
        if not self._connected:
            self.end(reason, refusal_of_leave(leave), now)
        elif leave.action == actions.DISCONNECT:
            self._end_reason = reason
            self.trigger(Trigger.REFUSED, now)
        else:
            if reason is not DisconnectReason.UNKNOWN_REASON:
                self._end_reason = reason  # should the server not be found again
            else:
                self._end_reason = DisconnectReason.SIGNAL_CLOSE
            resume = leave.action == actions.RESUME
            self.trigger(Trigger.LEAVE_RESUME if resume else Trigger.LEAVE_RESTART, now)

    def handle_proven(self, now: float) -> None:
        """Every path has shown that it works; too late, if the link of that resume is lost again."""
        if self._prove_deadline < INF:
            self.trigger(Trigger.UP, now)

    def handle_media_failed(self, detail: str, path: bool, now: float) -> None:
        """A peer connection cannot go on; or only its ``path`` is gone."""
        if not self._connected:
            self.end(DisconnectReason.MEDIA_FAILURE, self._media_failure(detail), now)
            return
        # A server that ends the session closes both ways at once, and the packets may be first: its reason counts.
        self._parts.counters.add("media_failed")
        self._flush_deadline = NOW
        # A path can be mended by ICE; what lies above it (DTLS, SCTP, descriptions) is lost with its peer connection.
        self._media_trigger = Trigger.MEDIA_LOST if path else Trigger.FAILED
        self._media_deadline = min(self._media_deadline, now + LEAVE_GRACE)
        self.due = min(self.due, self._media_deadline)

    def _media_failure(self, detail: str) -> MediaFailure:
        transports = self._parts.transports
        return MediaFailure(detail, tuple(transports.pairs_report()), tuple(transports.paths_report()))

    def trigger(self, trigger: Trigger, now: float) -> None:
        """Something has happened that may lead to another state, which ``advance`` will enter."""
        if trigger in _RESUME_REASONS and not self.life.reconnecting:
            self._resume_reason = _RESUME_REASONS[trigger]
            self._failure = ""
        self.tell_flowing(now)
        self.life.trigger(trigger, now)

    def tell_flowing(self, now: float) -> None:
        """Media decides how long and how often a reconnect is tried; its loss is told when it comes second."""
        flowing = self._parts.transports.flowing(now)
        self.life.set_flowing(flowing, now)
        self.due = NOW
        if not flowing and self._parts.state.connection is ConnectionState.SIGNAL_RECONNECTING:
            self._tell_reconnecting()

    # ------------------------------------------------------------------ reconnecting

    def _enter(self, state: State, previous: State, now: float) -> None:
        match state:
            case State.WAITING:
                self._enter_waiting(now)
            case State.RESUMING:
                self._parts.link.wanted = True
            case State.RESTARTING:
                self._enter_restarting(now)
            case State.CONNECTED if previous is not State.JOINING:
                self._enter_connected(previous is State.RESUMING, now)
            case State.CLOSED:
                self.end(self._end_reason, None, now)

    def _enter_waiting(self, now: float) -> None:
        """The connection is lost: what remains of the link is closed, and the user is told once."""
        parts = self._parts
        parts.link.drop(now)
        self._media_deadline = self._mend_at = self._resync_at = self._prove_deadline = INF
        parts.state.abandon_resync()
        if self.life.mode is Mode.RESUME and not parts.transports.suspect(now):
            if parts.state.connection is ConnectionState.CONNECTED:
                parts.state.set_connection_state(ConnectionState.SIGNAL_RECONNECTING)
                parts.outbox.append(SignalReconnecting())
        else:
            self._tell_reconnecting()

    def _tell_reconnecting(self) -> None:
        state = self._parts.state
        if state.connection is not ConnectionState.RECONNECTING:
            state.set_connection_state(ConnectionState.RECONNECTING)
            self._parts.outbox.append(Reconnecting())

    def _enter_restarting(self, now: float) -> None:
        """Join anew with the same objects, over new peer connections."""
        parts = self._parts
        self._tell_reconnecting()
        parts.requests.fail_all(DisconnectReason.STATE_MISMATCH)
        parts.publisher.suspend()
        parts.subscriptions.end_all("reconnecting")
        parts.streams_in.restarted(now)
        parts.data_tracks.suspend(now)
        self._answered = False
        old = parts.transports
        new = parts.new_transports(single=old.single, first_port=old.next_port)
        self._lost += new.inherit(old)
        if not new.accepted:  # nothing was taken over that could still be acknowledged
            parts.acknowledgements.fail_all(RequestReason.UNACKNOWLEDGED)
            parts.streams_out.restarted()
            parts.rpc.restarted()
        self._close_transports(now)
        parts.transports = new
        self._gather(now)
        self.tell_flowing(now)

    def _enter_connected(self, resumed: bool, now: float) -> None:
        """Whole again."""
        parts = self._parts
        self._media_deadline = self._mend_at = self._prove_deadline = INF
        parts.link.credentials.accepted()
        if resumed:
            parts.link.flush(now)
            self._say_choices(now)  # not before: they might find no room behind what users have asked for meanwhile
            parts.data_tracks.settle(now)
            parts.transports.due = NOW  # tracks that came unasked while requests waited are refused
        else:  # a server subscribes us to everything when media is up, whatever it was told before
            for request in parts.subscriptions.restated(parts.options.auto_subscribe):
                parts.link.send("subscription", request, now)
        parts.state.set_connection_state(ConnectionState.CONNECTED)
        parts.outbox.append(Reconnected(resumed))
        if self._lost:
            parts.outbox.append(unacknowledged(self._lost))
            self._lost = []
        parts.outbox.extend([DataWritable(False), DataWritable(True)])  # whoever waits finds the new channels

    def handle_resumed(self, response: rtc.ReconnectResponse, now: float) -> None:
        """The server took us back: first of all it is told what we have."""
        parts, options = self._parts, self._parts.options
        link, publisher, transports = parts.link, parts.publisher, parts.transports
        parts.state.begin_resync()
        self._mend_at = now + MEND_AFTER
        self._prove_deadline = now + options.media_timeout
        auto = options.auto_subscribe
        state = transports.sync_state(auto, parts.subscriptions.differing(auto), publisher.published())
        parts.data_tracks.sync(state)
        link.send("sync_state", state, now)
        transports.resumed(response, now)
        transports.due = self.due = NOW

    def handle_update(self, now: float) -> None:
        """The server has told of participants: after a resume, with the first of such news, the others are near."""
        if self._parts.state.resyncing and self._resync_at == INF:
            self._resync_at = now + RESYNC_TIME
            self.due = NOW

    # ------------------------------------------------------------------ the end

    def end(self, reason: DisconnectReason, error: Refusal | MediaFailure | None, now: float) -> None:
        """The session is over: tell the server and the user, fail what is pending, close everything.

        ``error`` is for a user who still waits to be connected. Whoever has stopped the session has ended it.
        """
        parts = self._parts
        reason = self.stopping or reason
        parts.link.leave(self.stopping or DisconnectReason.CLIENT_INITIATED, now)
        parts.subscriptions.end_all("disconnected")
        parts.data_tracks.end()
        parts.rpc.ended()
        parts.publisher.suspend()
        if self._connected:
            parts.state.disconnected(reason, "" if self.stopping else self._failure)
        elif error is not None:
            parts.outbox.append(JoinFailed(error))
        parts.state.set_connection_state(ConnectionState.DISCONNECTED)
        parts.requests.fail_all(reason)
        parts.acknowledgements.fail_all(RequestReason.ROOM_ENDED)
        self._close_transports(now)
        self.open = False
        self.closed = True
        parts.outbox.append(Ended(reason))

    def _close_transports(self, now: float) -> None:
        transports, outbox = self._parts.transports, self._parts.outbox
        transports.close(now)
        unopened = [event.port for event in transports.outbox if isinstance(event, OpenUdp | OpenStream)]
        for event in transports.outbox:
            if isinstance(event, ClosePort) and event.port not in unopened:
                outbox.append(event)
        transports.outbox.clear()


_RESUME_REASONS = {Trigger.SIGNAL_LOST: 1, Trigger.MEDIA_LOST: 2, Trigger.LEAVE_RESUME: 0}
"""ReconnectReason on the wire; the server feeds its own choice of paths with it."""


def _link_lost(reason: str) -> Refusal:
    return Refusal(
        RefusalKind.UNREACHABLE,
        "The signalling link broke before media was connected.",
        reason[:1].upper() + reason[1:] + ".",
        "Try again later.",
    )
