"""Remote procedure calls: handlers as tasks of the room, and what users see of calls."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeAlias, TypeVar

import trio
from attrs import frozen

from ._core import LocalProtocolError, RpcError
from ._groups import leaves
from ._subscription import invoke

if TYPE_CHECKING:
    from ._core import RpcInvocation
    from ._session import Session

P = TypeVar("P")
Out_contra = TypeVar("Out_contra", contravariant=True)
In_co = TypeVar("In_co", covariant=True)

logger = logging.getLogger("trio_client")


class RpcCodec(Protocol[Out_contra, In_co]):
    """Turns objects into the text that travels, and text into objects: ``json`` behind these two names, for example."""

    def encode(self, value: Out_contra, /) -> str:
        """The text of what is sent: of a request where one calls, of an answer where one is called."""

    def decode(self, text: str, /) -> In_co:
        """What the text means that has come."""


@frozen(kw_only=True)
class RpcInvocationData(Generic[P]):
    """A call, as its handler gets it.

    ``payload`` is text, or what the codec made of it. ``response_timeout`` is in seconds; the handler is cancelled at
    their end.
    """

    request_id: str
    caller_identity: str
    payload: P
    response_timeout: float


RpcHandler: TypeAlias = Callable[[RpcInvocationData[Any]], "Awaitable[Any] | Any"]
"""An async function, which runs as a task of the room, or a sync one, which is called at once and must be quick."""


class _Method:
    __slots__ = ("handler", "codec")

    def __init__(self, handler: RpcHandler, codec: RpcCodec[Any, Any] | None) -> None:
        self.handler = handler
        self.codec = codec

    def call(self, invocation: RpcInvocation) -> Any:
        """Run the handler: its answer, or what will be it when awaited."""
        payload: Any = invocation.payload
        if self.codec is not None:
            payload = self.codec.decode(payload)
        return self.handler(
            RpcInvocationData(
                request_id=invocation.request_id,
                caller_identity=invocation.caller_identity,
                payload=payload,
                response_timeout=invocation.response_timeout,
            )
        )


class RpcDesk:
    """Runs handlers and makes calls for one session."""

    def __init__(self, session: Session) -> None:
        self._session = session

    # ------------------------------------------------------------------ calling

    async def perform(
        self, identity: str, method: str, payload: Any, response_timeout: float, codec: RpcCodec[Any, Any] | None
    ) -> Any:
        """Call, and wait for the answer."""
        if codec is not None:
            payload = codec.encode(payload)
        session = self._session

        def ask(now: float) -> int:
            return session.engine.perform_rpc(identity, method, payload, now, response_timeout=response_timeout)

        answer = await session.request(ask)
        return answer if codec is None else codec.decode(answer)

    # ------------------------------------------------------------------ being called

    def register(self, method: str, handler: RpcHandler, codec: RpcCodec[Any, Any] | None) -> None:
        """Answer calls to a method by a handler."""
        if not isinstance(method, str) or not method:
            raise LocalProtocolError(f"a method has a name, not {method!r}")
        if not callable(handler):
            raise LocalProtocolError(f"a handler is a function, not {handler!r}")
        self._session.engine.register_rpc_method(method, _Method(handler, codec))

    def unregister(self, method: str) -> None:
        """Answer no more calls to a method."""
        self._session.engine.unregister_rpc_method(method)

    def serve(self, invocation: RpcInvocation) -> None:
        """Somebody calls: run the handler."""
        method: _Method = invocation.handler
        tasks = self._session.tasks
        if tasks is None:  # we are leaving, which tells the caller
            return
        try:
            answer = invoke(method.call, (invocation,))
        except Exception as error:
            self._fail(invocation, error)
            return
        except BaseException as error:  # it must not end the pump half-way
            self._session.crash(error)
            return
        if not inspect.isawaitable(answer):
            self._respond(invocation, answer)
            return
        invocation.owner = trio.CancelScope()
        try:
            tasks.start_soon(self._run, invocation, answer, name=f"RPC method {invocation.method}")
        except RuntimeError:  # the block has just ended
            if inspect.iscoroutine(answer):
                answer.close()

    def cancel(self, invocation: RpcInvocation) -> None:
        """Nobody waits for the answer any more."""
        if invocation.owner is not None:
            invocation.owner.cancel()

    async def _run(self, invocation: RpcInvocation, running: Awaitable[Any]) -> None:
        with invocation.owner:
            try:
                answer = await running
            except Exception as error:
                self._fail(invocation, error)
            else:
                self._respond(invocation, answer)

    @trio.lowlevel.enable_ki_protection
    def _respond(self, invocation: RpcInvocation, answer: Any) -> None:
        session, codec = self._session, invocation.handler.codec
        try:
            text = answer if codec is None else codec.encode(answer)
            session.engine.rpc_respond(invocation, text, trio.current_time())
        except Exception as error:
            self._fail(invocation, error)
        session.driver.pump()

    @trio.lowlevel.enable_ki_protection
    def _fail(self, invocation: RpcInvocation, error: Exception) -> None:
        """The caller gets an RpcError as it is, and of anything else only that there was an error."""
        causes = list(leaves(error))  # a nursery of the handler may have wrapped it
        told = causes[0] if len(causes) == 1 and isinstance(causes[0], RpcError) else None
        if told is None:
            logger.error("the handler of RPC method %r failed", invocation.method, exc_info=error)
        self._session.engine.rpc_fail(invocation, told, trio.current_time())
        self._session.driver.pump()
