"""
The gate every call goes through: who is it, may it, is there room, does its message parse; and on the way out, what is
said of an error, what is counted, what is logged.

It is no chain of grpc interceptors but one wrapper made when a method is registered, because two of its promises need
the call before its message is there: a caller without a key is refused at once also when it never sends a message, and
a caller that sends headers only does not hold a place for long. So every method, also a unary one, is served by a
streaming handler that reads its one message here.
"""

import asyncio
import os
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter
from typing import Any, NoReturn, TypeAlias

import grpc
import structlog
from google.protobuf.message import DecodeError, Message

from omen_rpc import metrics
from omen_rpc.call import CURRENT, Call
from omen_rpc.endpoint import Endpoint
from omen_rpc.errors import CallError, Reason, fault
from omen_rpc.hangup import Leaving
from omen_rpc.keys import KeyRing, refuse_scope
from omen_rpc.metadata import REQUEST_ID, check_size, request_id_of, trace_parent_of
from omen_rpc.rate import RateLimit
from omen_rpc.status import to_trailers

Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]
Translate: TypeAlias = Mapping[type[Exception], Callable[[Any], CallError]]

UNKNOWN_DOMAIN = "omen.v1"
RETRY_S = 1.0
OVERLOADED_RETRY_S = 0.2

REFUSALS_LOGGED = RateLimit(per_minute=600, burst=100)

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Limits:
    """
    How much goes through the gate at once, and how long it waits for a peer.
    """

    calls_max: Mapping[str, int]
    bodies_awaited_max: int
    body_timeout_s: float
    write_timeout_s: float


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
        self._open = dict.fromkeys(limits.calls_max, 0)
        self._awaited: OrderedDict[asyncio.Task[Any], Call] = OrderedDict()
        self._streams: dict[asyncio.Task[Any], Call] = {}
        self._leaving = Leaving(limits.bodies_awaited_max, limits.write_timeout_s)
        self._serving = False
        self._refusal = starting

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
        return self._handlers.get(handler_call_details.method) or self._unknown(handler_call_details.method)

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
        began = perf_counter()
        call = enter(endpoint.path, context)
        code = grpc.StatusCode.OK.name
        try:
            reply = await run(endpoint, context, call)
            context.set_trailing_metadata((*(context.trailing_metadata() or ()), (REQUEST_ID, call.request_id)))
        except grpc.aio.AbortError:
            raise
        except asyncio.CancelledError:
            if not (call.drained or unprompted()):
                code = grpc.StatusCode.CANCELLED.name  # The caller went away; there is nobody to tell.
                raise
            if call.drained:
                current_task().uncancel()
                error = draining()
            else:
                error = self._unforeseen(endpoint, asyncio.CancelledError())
            code = error.code.name
            await end(context, call, error, endpoint.domain)
        except Exception as raised:  # noqa: BLE001 - the last place where an error can become a status
            error = self._explain(endpoint, raised)
            code = error.code.name
            await end(context, call, error, endpoint.domain)
        else:
            return reply
        finally:
            endpoint.count(code, perf_counter() - began)

    async def _unary(self, endpoint: Endpoint, context: Context, call: Call) -> bytes:
        request = await self._admitted(endpoint, context, call)
        with self._place(endpoint):
            reply = await endpoint.function(request, context)
            return bytes(reply.SerializeToString())

    async def _stream(self, endpoint: Endpoint, context: Context, call: Call) -> None:
        if endpoint.streams_requests:
            self._check(endpoint, context, call)
            request: Any = self._requests(endpoint, context)
        else:
            request = await self._admitted(endpoint, context, call)
        task = current_task()
        with self._place(endpoint):
            self._streams[task] = call
            replies = endpoint.function(request, context)
            try:
                async for reply in replies:
                    await self._write(context, reply)
            finally:
                del self._streams[task]
                await replies.aclose()

    async def _admitted(self, endpoint: Endpoint, context: Context, call: Call) -> Message:
        """
        Return the call's message once everything that does not need it has been checked, and what it costs after.
        """
        self._check(endpoint, context, call)
        request = parse(endpoint, await self._body(context, call))
        if self._rate is not None and endpoint.scope:
            self._charge(self._rate, call, endpoint.cost(request))
        return request

    def _check(self, endpoint: Endpoint, context: Context, call: Call) -> None:
        """
        Check what the headers alone can tell: a size, a key that is known and carries the scope, a server that serves.
        """
        check_size(context.invocation_metadata() or ())
        if not endpoint.scope:
            return
        try:
            call.principal = self._keys.principal(context.invocation_metadata() or ())
        except CallError:
            if self._rate is not None:
                self._charge(self._rate, call, 1)  # Guessing keys is limited by the peer, as nothing else is known.
            raise
        if call.principal is not None and not call.principal.may(endpoint.scope):
            raise refuse_scope(call.principal, endpoint.scope, endpoint.path)
        if not self._serving:
            raise self._refusal()

    async def _body(self, context: Context, call: Call) -> bytes:
        """
        Return the bytes of the call's one message.

        As many calls as may wait for one do; the one that has waited longest makes room for the next, so a flood of
        headers without messages delays nobody who sends both.
        """
        task = current_task()
        self._awaited[task] = call
        metrics.RPC_BODIES_AWAITED.set(len(self._awaited))
        if len(self._awaited) > self._limits.bodies_awaited_max:
            oldest, its_call = self._awaited.popitem(last=False)
            its_call.evicted = True
            oldest.cancel()
        try:
            async with asyncio.timeout(self._limits.body_timeout_s):
                raw = await context.read()
        except TimeoutError:
            raise self._no_body() from None
        except asyncio.CancelledError:
            if not call.evicted:
                raise
            task.uncancel()
            raise self._no_body() from None
        finally:
            self._awaited.pop(task, None)
            metrics.RPC_BODIES_AWAITED.set(len(self._awaited))
        if raw is grpc.aio.EOF:
            raise fault(Reason.ERROR_REASON_MALFORMED_REQUEST, "The call ended without a message.")
        return bytes(raw)

    def _no_body(self) -> CallError:
        seconds = self._limits.body_timeout_s
        return fault(Reason.ERROR_REASON_REQUEST_BODY_TIMEOUT, metadata={"timeout_s": seconds})

    async def _requests(self, endpoint: Endpoint, context: Context) -> AsyncIterator[Message]:
        """
        Yield the messages of a call that may send several; silence between them ends it.
        """
        while True:
            try:
                async with asyncio.timeout(self._limits.body_timeout_s):
                    raw = await context.read()
            except TimeoutError:
                raise self._no_body() from None
            if raw is grpc.aio.EOF:
                return
            yield parse(endpoint, raw)

    async def _write(self, context: Context, reply: Message) -> None:
        try:
            async with asyncio.timeout(self._limits.write_timeout_s):
                await context.write(reply.SerializeToString())
        except TimeoutError:
            self._leaving.add()  # The status stands behind what the peer does not take.
            raise fault(Reason.ERROR_REASON_SUBSCRIBER_STALLED, retry_after_s=RETRY_S) from None

    def _charge(self, rate: RateLimit, call: Call, cost: int) -> None:
        wait_s = rate.take(call.caller, cost)
        if wait_s:
            raise fault(
                Reason.ERROR_REASON_RATE_LIMITED,
                metadata={"principal": call.caller, "retry_after_s": round(wait_s, 3)},
                retry_after_s=wait_s,
            )

    @contextmanager
    def _place(self, endpoint: Endpoint) -> Iterator[None]:
        """
        Hold a place in the endpoint's pool, or raise when there is none.
        """
        pool = endpoint.call_class
        limit = self._limits.calls_max[pool]
        if self._open[pool] >= limit:
            raise fault(
                Reason.ERROR_REASON_OVERLOADED,
                f"{limit} calls of the kind {pool} are being answered, as many as may be.",
                metadata={"limit": limit, "limit_name": f"{pool}_calls_max", "retry_after_s": OVERLOADED_RETRY_S},
                retry_after_s=OVERLOADED_RETRY_S,
            )
        self._open[pool] += 1
        gauge = metrics.RPC_CALLS_OPEN.labels(pool)
        gauge.inc()
        try:
            yield
        finally:
            self._open[pool] -= 1
            gauge.dec()

    def _explain(self, endpoint: Endpoint, raised: Exception) -> CallError:
        """
        Return the error that *raised* is to the caller.
        """
        if isinstance(raised, CallError):
            return raised
        if isinstance(raised, NotImplementedError):  # What generated code raises for a method nobody wrote yet.
            return fault(Reason.ERROR_REASON_NOT_IMPLEMENTED, metadata={"method": endpoint.path})
        for kind in type(raised).__mro__:
            if kind in self._translate:
                return self._translate[kind](raised)
        return self._unforeseen(endpoint, raised)

    def _unforeseen(self, endpoint: Endpoint, raised: BaseException) -> CallError:
        """
        Log a bug under a new id, and return an error that says nothing but this id.
        """
        error_id = os.urandom(6).hex()
        log.error("unforeseen_error", error_id=error_id, code="INTERNAL", call=endpoint.path, exc_info=raised)
        return fault(
            Reason.ERROR_REASON_INTERNAL, f"internal error, error id {error_id}.", metadata={"error_id": error_id}
        )


def enter(path: str, context: Context) -> Call:
    """
    Make the call known to everything that runs for it.
    """
    metadata = context.invocation_metadata() or ()
    call = Call(path, request_id_of(metadata), trace_parent_of(metadata), context.peer())
    CURRENT.set(call)
    return call


async def end(context: Context, call: Call, error: CallError, domain: str) -> NoReturn:
    """
    End a call with *error*.
    """
    if not REFUSALS_LOGGED.take("", 1):  # A flood of bad calls must not become a flood of lines; the metric has all.
        log.info("call_refused", code=error.code.name, reason=error.reason, peer=call.peer)
    metrics.RPC_CALLS_REFUSED.labels(error.reason).inc()
    trailers = (*to_trailers(error, domain), (REQUEST_ID, call.request_id))
    await context.abort(error.code, error.message, trailers)
    raise AssertionError("abort returned")


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


def draining() -> CallError:
    """
    Make the error for a call that comes, or a stream that is open, when the server shuts down.
    """
    return fault(Reason.ERROR_REASON_DRAINING, metadata={"retry_after_s": RETRY_S}, retry_after_s=RETRY_S)


def starting() -> CallError:
    """
    Make the error for a call that comes before the server has recovered.
    """
    return fault(Reason.ERROR_REASON_STARTING, metadata={"retry_after_s": RETRY_S}, retry_after_s=RETRY_S)


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
