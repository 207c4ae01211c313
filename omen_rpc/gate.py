"""
The gate every call goes through: who is it, may it, is there room, does its message parse; and on the way out, what is
said of an error, what is counted, what is logged.

It is no chain of grpc interceptors but one wrapper made when a method is registered, because two of its promises need
the call before its message is there: a caller without a key is refused at once also when it never sends a message, and
a caller that sends headers only does not hold a place for long. So every method, also a unary one, is served by a
streaming handler that reads its one message here.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from time import perf_counter
from typing import Any

import grpc
from google.protobuf.message import DecodeError, Message

from omen_rpc import metrics, tracing
from omen_rpc.call import CURRENT, Call
from omen_rpc.contract import CODES
from omen_rpc.endpoint import Endpoint
from omen_rpc.errors import CallError, Reason, fault
from omen_rpc.hangup import Leaving
from omen_rpc.keys import KeyRing, refuse_scope
from omen_rpc.metadata import REQUEST_ID, check_size, request_id_of, trace_parent_of
from omen_rpc.rate import RateLimit
from omen_rpc.refusal import Context, Translate, draining, end, explain, overloaded, starting, unforeseen
from omen_rpc.waiting_room import WaitingRoom

UNKNOWN_DOMAIN = "omen.v1"
STALLED_RETRY_S = 1.0


@dataclass(frozen=True, slots=True)
class Limits:
    """
    How much goes through the gate at once, and how long it waits for a peer.
    """

    calls_max: Mapping[str, int]
    bodies_awaited_max: int
    body_timeout_s: float
    write_timeout_s: float


class PeerGone(Exception):
    """
    The caller has gone while something was being sent to it, and grpc's core knew before its cancellation was here.
    """


class Gate(grpc.GenericRpcHandler):
    """
    The one handler of a server. It knows every method there is and answers for those there are not.
    """

    def __init__(self, limits: Limits, keys: KeyRing, rate: RateLimit | None, translate: Translate) -> None:
        self._limits = limits
        self._keys = keys
        self._rate = rate
        self._translate = dict(translate)
        self._handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}
        self._waiting_room = WaitingRoom(limits.bodies_awaited_max, limits.body_timeout_s)
        self._open = dict.fromkeys(("", *limits.calls_max), 0)
        for pool in limits.calls_max:
            metrics.RPC_CALLS_OPEN.labels(pool).set_function(partial(self._open.__getitem__, pool))
        self._streams: dict[asyncio.Task[Any], Call] = {}
        self._leaving = Leaving(limits.bodies_awaited_max, limits.write_timeout_s)
        self._serving = False
        self._refusal = starting
        self._empty = asyncio.Event()

    def host(self, endpoint: Endpoint) -> None:
        """
        Serve *endpoint* from now on, instead of whatever was served under its path.
        """
        self._handlers[endpoint.path] = self._handler(endpoint)

    def serve(self) -> None:
        """
        Let calls in.
        """
        self._serving = True

    def refuse_new(self) -> None:
        """
        Let no more calls in; those that are inside go on.
        """
        self._serving = False
        self._refusal = draining

    async def emptied(self, timeout_s: float) -> None:
        """
        Wait until every call inside has ended. Comes after `refuse_new`; what takes too long is left behind.
        """
        if not any(self._open.values()):
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._empty.wait()

    def end_streams(self) -> int:
        """
        End every open stream with UNAVAILABLE, and return how many there were. Their callers resume elsewhere.
        """
        streams = list(self._streams.items())
        for task, call in streams:
            call.drained = True
            task.cancel()
        return len(streams)

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[Any, Any] | None":
        """
        Return the handler of a method, or the one that says that there is no such method.
        """
        path = handler_call_details.method
        return self._handlers.get(path) or self._unknown(path)

    def _handler(self, endpoint: Endpoint) -> "grpc.RpcMethodHandler[Any, Any]":
        if endpoint.streams_replies:

            async def stream(_requests: object, context: Context) -> None:
                await self._answer(endpoint, context, self._stream)

            return grpc.stream_stream_rpc_method_handler(stream)

        async def unary(_requests: object, context: Context) -> bytes:
            reply: bytes = await self._answer(endpoint, context, self._unary)
            self._leaving.add()
            return reply

        return grpc.stream_unary_rpc_method_handler(unary)

    def _unknown(self, path: str) -> "grpc.RpcMethodHandler[Any, Any]":
        async def refuse(_requests: object, context: Context) -> None:
            call = enter(path, context)
            error = fault(Reason.ERROR_REASON_METHOD_UNKNOWN, metadata={"method": path})
            metrics.RPC_CALLS.labels("other", "other", error.code.name).inc()
            await end(context, call, error, UNKNOWN_DOMAIN)

        return grpc.stream_stream_rpc_method_handler(refuse)

    async def _answer(
        self, endpoint: Endpoint, context: Context, run: Callable[[Endpoint, Context, Call], Awaitable[Any]]
    ) -> Any:
        """
        Answer one call through *run*; whatever goes wrong leaves as a status of the catalogue.
        """
        call = enter(endpoint.path, context)
        code = grpc.StatusCode.OK.name
        if tracing.ACTIVE is not None and endpoint.scope and not endpoint.streams_replies:
            run = partial(traced, run)
        try:
            reply = await run(endpoint, context, call)
            tell_request_id(context, call)
            code = code_of(context)
        except grpc.aio.AbortError:  # The method ended the call by itself; grpc has sent what it said.
            code = code_of(context)
            raise
        except asyncio.CancelledError:
            if not (call.drained or unprompted()):
                code = grpc.StatusCode.CANCELLED.name  # The caller went away; there is nobody to tell.
                raise
            if call.drained:
                current_task().uncancel()
                error = draining()
            else:
                error = unforeseen(endpoint.path, asyncio.CancelledError())
            code = error.code.name
            await end(context, call, error, endpoint.domain)
        except PeerGone:
            code = grpc.StatusCode.CANCELLED.name
            raise asyncio.CancelledError from None  # What grpc takes from a method in silence.
        except Exception as raised:  # noqa: BLE001 - the last place where an error can become a status
            error = explain(endpoint.path, raised, self._translate)
            code = error.code.name
            await end(context, call, error, endpoint.domain)
        else:
            return reply
        finally:
            endpoint.count(code, perf_counter() - call.began_s)

    async def _unary(self, endpoint: Endpoint, context: Context, call: Call) -> bytes:
        request = await self._admitted(endpoint, context, call)
        self._take_place(endpoint.call_class)
        try:
            reply = await endpoint.function(request, context)
            return bytes(reply.SerializeToString())
        finally:
            self._left(endpoint.call_class)

    async def _stream(self, endpoint: Endpoint, context: Context, call: Call) -> None:
        if endpoint.streams_requests:
            self._check(endpoint, call)
            request: Any = self._requests(endpoint, context)
        else:
            request = await self._admitted(endpoint, context, call)
        task = current_task()
        self._take_place(endpoint.call_class)
        try:
            replies = endpoint.function(request, context)
            self._streams[task] = call
            try:
                begun = False
                async for reply in replies:
                    if not begun:  # On their own: grpc sends no status once a write that carries them was given up.
                        await unless_gone(context.send_initial_metadata(()))
                        begun = True
                    await self._write(context, call, reply)
            finally:
                del self._streams[task]
                await replies.aclose()
        finally:
            self._left(endpoint.call_class)
        if call.drained:  # A method that swallowed its cancellation has not told everything it had to tell.
            raise draining()

    async def _admitted(self, endpoint: Endpoint, context: Context, call: Call) -> Message:
        """
        Return the call's message once everything that does not need it has been checked, and what it costs after.
        """
        self._check(endpoint, call)
        request = parse(endpoint, await self._waiting_room.read(current_task(), context, call))
        if self._rate is not None and endpoint.scope:
            self._charge(self._rate, call, endpoint.cost(request))
        return request

    def _check(self, endpoint: Endpoint, call: Call) -> None:
        """
        Check what the headers alone can tell: a size, a key that is known and carries the scope, a server that serves.
        """
        check_size(call.metadata)
        if not endpoint.scope:
            return
        try:
            call.principal = self._keys.principal(call.metadata)
        except CallError:
            if self._rate is not None:
                self._charge(self._rate, call, 1)  # Guessing keys is limited by the peer, as nothing else is known.
            raise
        if call.principal is not None and not call.principal.may(endpoint.scope):
            raise refuse_scope(call.principal, endpoint.scope, endpoint.path)
        if not self._serving:
            raise self._refusal()

    async def _requests(self, endpoint: Endpoint, context: Context) -> AsyncIterator[Message]:
        """
        Yield the messages of a call that may send several; silence between them ends it.
        """
        while True:
            try:
                async with asyncio.timeout(self._limits.body_timeout_s):
                    raw = await context.read()
            except TimeoutError:
                raise self._waiting_room.too_late() from None
            if raw is grpc.aio.EOF:
                return
            yield parse(endpoint, raw)

    async def _write(self, context: Context, call: Call, reply: Message | bytes) -> None:
        """
        Write one reply, which may have been encoded before: many streams may share its bytes.
        """
        data = reply if isinstance(reply, bytes) else reply.SerializeToString()
        try:
            async with asyncio.timeout(self._limits.write_timeout_s):
                await unless_gone(context.write(data))
        except TimeoutError:
            self._leaving.add()  # The status stands behind what the peer does not take.
            raise fault(
                Reason.ERROR_REASON_SUBSCRIBER_STALLED,
                metadata={"cursor": call.cursor} if call.cursor else None,
                retry_after_s=STALLED_RETRY_S,
            ) from None

    def _charge(self, rate: RateLimit, call: Call, cost: int) -> None:
        wait_s = rate.take(call.caller, cost)
        if wait_s:
            raise fault(
                Reason.ERROR_REASON_RATE_LIMITED,
                metadata={"principal": call.caller, "retry_after_s": round(wait_s, 3)},
                retry_after_s=wait_s,
            )

    def _take_place(self, pool: str) -> None:
        """
        Take a place in *pool*, or raise when there is none. Whoever took one gives it back.
        """
        limit = self._limits.calls_max.get(pool)
        if limit is not None and self._open[pool] >= limit:
            raise overloaded(pool, limit)
        self._open[pool] += 1

    def _left(self, pool: str) -> None:
        """
        Give a place in *pool* back.
        """
        self._open[pool] -= 1
        if not self._serving and not any(self._open.values()):
            self._empty.set()


def enter(path: str, context: Context) -> Call:
    """
    Make the call known to everything that runs for it, and its id to the caller, however it ends.
    """
    metadata = tuple(context.invocation_metadata() or ())
    call = Call(path, request_id_of(metadata), trace_parent_of(metadata), context.peer(), metadata)
    CURRENT.set(call)
    context.set_trailing_metadata(((REQUEST_ID, call.request_id),))
    return call


async def traced(
    run: Callable[[Endpoint, Context, Call], Awaitable[Any]], endpoint: Endpoint, context: Context, call: Call
) -> Any:
    """
    Answer a call within a span, whose context the call has from then on: what it keeps and tells leads here.
    """
    with tracing.span(endpoint.path[1:], "server", parent=call.trace_parent):
        call.trace_parent = tracing.here(call.trace_parent)
        return await run(endpoint, context, call)


def tell_request_id(context: Context, call: Call) -> None:
    """
    Put the request id into the trailers again when the method has set its own in their place.
    """
    trailers = tuple(context.trailing_metadata() or ())
    if (REQUEST_ID, call.request_id) not in trailers:
        context.set_trailing_metadata((*trailers, (REQUEST_ID, call.request_id)))


def code_of(context: Context) -> str:
    """
    Return the name of the code that the method gave the call; OK when it gave none.
    """
    code: Any = context.code()  # The types forget that it is None until it is set, and may be a number then.
    return (code if isinstance(code, grpc.StatusCode) else CODES[code or 0]).name


def parse(endpoint: Endpoint, raw: bytes) -> Message:
    """
    Return the message in *raw*.
    """
    try:
        message: Message = endpoint.request_type.FromString(raw)
    except DecodeError:
        raise fault(
            Reason.ERROR_REASON_MALFORMED_REQUEST,
            f"The bytes are no {endpoint.request_type.DESCRIPTOR.full_name}.",
        ) from None
    return message


def unprompted() -> bool:
    """
    Whether a CancelledError came from inside the method, and not from a caller that went away.

    grpc.aio sends no status at all for one, and the caller would wait until its deadline.
    """
    return current_task().cancelling() == 0


def current_task() -> asyncio.Task[Any]:
    """
    Return the task that answers this call.
    """
    task = asyncio.current_task()
    if task is None:
        raise RuntimeError("no task is running")
    return task


async def unless_gone(sending: Awaitable[None]) -> None:
    """
    Send something; PeerGone when there is nobody any more to take it.
    """
    try:
        await sending
    except grpc.aio.InternalError:
        raise PeerGone from None
