"""The signalling link of a session: each attempt to open it, with its URL, its token, and the time that it may take.

What is said over an open link is the business of ``sansio.signal.session``.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from .. import proto
from ..base.contract import INF, NOW, NeedToken, OpenSignal, SignalFailure
from ..base.wallclock import WallClock
from ..signal import urls
from ..signal.session import SignalOptions, SignalSession
from .credentials import Credentials
from .options import EngineOptions
from .stream_out import CAP_DEFLATE

if TYPE_CHECKING:
    from ..types import DisconnectReason
    from .publish import Publisher
    from .transports import Transports

CLIENT_PROTOCOL = 2
"""What we tell others that we read: calls by stream (1), streams in one packet (2)."""
HURRIED_LEAST = 2.5
HURRIED_TRIPS = 20
"""Seconds, and round trips, that an attempt to resume has while media flows: the longer of both."""
HURRIED_ATTEMPTS = 8
"""After so many attempts each has that once more."""


class SignalLink:
    """Opens one WebSocket after the other for ``session``, and gives it what the driver says of the newest.

    ``wanted``: an attempt is to be made. ``was_open``: the newest WebSocket was open, whatever came of it then.
    ``offer_sent``: the last join had our first offer in its request, and the tracks that belong to it. ``due`` is when
    ``session`` has to be advanced.
    """

    def __init__(self, url: str, token: str, options: EngineOptions, outbox: deque[Any], wall: WallClock) -> None:
        urls.validate_url(url)
        self.url = url
        self.credentials = Credentials(token, renewable=options.renew_token, wall=wall)
        self.wanted = False
        self.was_open = False
        self.offer_sent = False
        self.due = INF
        self._options = options
        self._outbox = outbox
        self._wall = wall
        self._signal = 0
        self._token_request = 0
        self._token_asked = False
        self._ended = False
        self.session = self._new_session()

    def _new_session(self) -> SignalSession:
        # The driver bounds the opening and knows what it was waiting for; this bound is for a driver that does not.
        first_message = self._options.first_message_timeout
        options = SignalOptions(
            open_timeout=self._options.open_timeout + first_message, first_message_timeout=first_message
        )
        return SignalSession(wall=self._wall, options=options)

    # ------------------------------------------------------------------ what the driver says

    def handle_opened(self, signal: int, now: float) -> None:
        """A WebSocket is open."""
        if self._concerns(signal):
            self.was_open = True
            self.session.handle_opened(now)

    def handle_failed(self, signal: int, failure: SignalFailure, now: float) -> None:
        """A WebSocket could not be opened."""
        if self._concerns(signal):
            self.session.handle_failed(failure, now)

    def handle_message(self, signal: int, data: bytes, now: float) -> None:
        """One binary message of a WebSocket."""
        if self._concerns(signal):
            self.session.handle_message(data, now)

    def handle_closed(self, signal: int, reason: str, now: float) -> None:
        """A WebSocket was closed, by whoever."""
        if self._concerns(signal):
            self.session.handle_closed(reason, now)

    def _concerns(self, signal: int) -> bool:
        if signal != self._signal or self._ended:
            return False
        self.due = NOW
        return True

    # ------------------------------------------------------------------ tokens

    def needs_token(self, now: float) -> bool:
        """Whether an attempt to reconnect has to wait for a token; the source is asked for it."""
        if not self.credentials.wanted(now):
            return False
        if not self._token_asked:
            self._token_asked = True
            self._token_request += 1
            self._outbox.append(NeedToken(self._token_request, self._options.open_timeout))
        return True

    def handle_token(self, request: int, token: str) -> bool:
        """The source has given a token. False when that was not asked for, or not any more. Raises UnusableToken."""
        if not self._asked(request):
            return False
        self.credentials.renewed(token)
        self._token_asked = False
        return True

    def handle_no_token(self, request: int) -> bool:
        """The source has given none; False as in ``handle_token``."""
        if not self._asked(request):
            return False
        self._token_asked = False
        return True

    def _asked(self, request: int) -> bool:
        return request == self._token_request and self._token_asked and not self._ended

    # ------------------------------------------------------------------ attempts

    def join(self, transports: Transports, publisher: Publisher, now: float) -> None:
        """Open a WebSocket to join, with the first offer and our tracks in its request if they have room there."""
        options, single = self._options, transports.single
        settings = self._settings()
        tracks = publisher.place(transports)
        self.offer_sent = False
        url = urls.join_url(self.url, settings, single=single)
        if single:
            delay = options.open_timeout + options.first_message_timeout
            offer = transports.first_offer(now, delay=delay)
            whole = urls.join_url(self.url, settings, offer=offer, add_tracks=tracks)
            # Who may not have our tracks has to be told before they are announced.
            if urls.fits_request_line(whole) and not (tracks and publisher.permissions.restricted):
                self.offer_sent, url = True, whole
        self._open(url, False, options.open_timeout, "", now)

    def resume(self, transports: Transports, sid: str, *, reason: int, attempt: int, now: float) -> None:
        """Open a WebSocket to go on as participant ``sid``.

        ``reason`` is a ReconnectReason; ``attempt`` counts those made since the connection was lost.
        """
        url = urls.resume_url(self.url, self._settings(), sid=sid, reason=reason, single=transports.single)
        self._open(url, True, self._patience(transports, attempt, now), transports.local_host(now), now)

    def _settings(self) -> urls.JoinSettings:
        options = self._options
        return urls.JoinSettings(
            auto_subscribe=options.auto_subscribe,
            subscriber_allow_pause=options.allow_pause,
            metadata=options.metadata,
            attributes=dict(options.attributes),
            client_protocol=CLIENT_PROTOCOL,
            capabilities=(CAP_DEFLATE,),
        )

    def _patience(self, transports: Transports, attempt: int, now: float) -> float:
        """How long an attempt to resume may take.

        While media flows a resume is not urgent, and what was asked of a network that is away is repeated ever more
        seldom: a fresh attempt finds its return sooner. ``HURRIED_TRIPS`` round trips are several times what one takes;
        should this server take longer all the same, later attempts get more.
        """
        rtt, most = transports.rtt, self._options.open_timeout
        if not rtt or not transports.flowing(now):
            return most
        return min(most, max(HURRIED_LEAST, HURRIED_TRIPS * rtt) * (1 + attempt // HURRIED_ATTEMPTS))

    def _open(self, url: str, resume: bool, timeout: float, local: str, now: float) -> None:
        self.wanted = self.was_open = False
        self._signal += 1
        self.session.start(self._signal, resume=resume, now=now)
        self._outbox.append(OpenSignal(self._signal, url, self.credentials.headers(now), timeout, local))
        self.due = NOW

    def fall_back(self) -> None:
        """The server is from before ``/rtc/v1``: the next attempt asks the other way."""
        self.session = self._new_session()
        self.wanted = True

    # ------------------------------------------------------------------ an open link

    def send(self, kind: str, message: Any, now: float) -> None:
        """Send a request, or queue it. See ``SignalSession.send``."""
        self.session.send(kind, message, now)
        self.due = NOW

    def check(self, now: float) -> None:
        """The network has changed: see whether the link still works."""
        self.session.check(now)
        self.due = NOW

    def flush(self, now: float) -> None:
        """The resumed session is whole again: what was queued goes out."""
        self.session.flush(now)
        self.due = NOW

    def say_metadata(self, now: float) -> None:
        """What the URL of ``/rtc`` has no parameter for."""
        if self._options.metadata:
            self.send("update_metadata", proto.rtc.UpdateParticipantMetadata(metadata=self._options.metadata), now)

    def drop(self, now: float) -> None:
        """Close the link, to open another one. What was queued stays queued."""
        self.session.drop(now)
        self.wanted = False
        self._put_out()

    def leave(self, reason: DisconnectReason, now: float) -> None:
        """Tell the server that we leave, and why, and close the link for good."""
        self.session.leave(now, reason=reason)
        self._ended = True
        self._put_out()

    def _put_out(self) -> None:
        """What the session wants sent goes out now, so that an old link is closed before a new one is opened."""
        self._outbox.extend(self.session.outbox)
        self.session.outbox.clear()
