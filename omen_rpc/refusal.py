"""
How a call that failed ends: with an error of the catalogue, one line in the log, one count in the metrics.
"""

import os
from collections.abc import Callable, Mapping
from typing import Any, NoReturn, TypeAlias

import grpc
import structlog

from omen_rpc import metrics
from omen_rpc.call import Call
from omen_rpc.errors import CallError, Reason, fault
from omen_rpc.metadata import REQUEST_ID
from omen_rpc.rate import RateLimit
from omen_rpc.status import to_text, to_trailers

Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]
Translate: TypeAlias = Mapping[type[Exception], Callable[[Any], CallError]]

STARTING_RETRY_S = 1.0
DRAINING_RETRY_S = 1.0
OVERLOADED_RETRY_S = 0.2

TOLD = ("signal_id", "partition", "offset")
REFUSALS_LOGGED = RateLimit(per_minute=600, burst=100)

log = structlog.get_logger()


async def end(context: Context, call: Call, error: CallError, domain: str) -> NoReturn:
    """
    End a call with *error*.
    """
    expected = error.rule is not None and error.rule.action == "TREAT_AS_SUCCESS"
    # A flood of bad calls must not become a flood of lines; the metric has all of them.
    if not expected and not REFUSALS_LOGGED.take("", 1):
        about = {name: error.metadata[name] for name in TOLD if name in error.metadata}
        log.info("call_refused", code=error.code.name, reason=error.reason, peer=call.peer, **about)
    metrics.RPC_CALLS_REFUSED.labels(error.reason).inc()
    trailers = (*to_trailers(error, domain), (REQUEST_ID, call.request_id))
    error.__traceback__ = error.__context__ = None  # Its frames hold the call, and this error: a ring only gc breaks.
    await context.abort(error.code, to_text(error), trailers)
    raise AssertionError("abort returned")


def explain(path: str, raised: Exception, translate: Translate) -> CallError:
    """
    Return the error that *raised* is to the caller of *path*, by its class or the nearest it descends from.
    """
    if isinstance(raised, CallError):
        return raised
    if isinstance(raised, NotImplementedError):  # What generated code raises for a method nobody wrote yet.
        return fault(Reason.ERROR_REASON_NOT_IMPLEMENTED, metadata={"method": path})
    for kind in type(raised).__mro__:
        if kind in translate:
            try:
                return translate[kind](raised)
            except Exception as broken:  # noqa: BLE001 - whatever escapes here, grpc sends to the caller as text
                return unforeseen(path, broken)
    return unforeseen(path, raised)


def unforeseen(path: str, raised: BaseException) -> CallError:
    """
    Log a bug under a new id, and return an error that says nothing but this id.
    """
    error_id = os.urandom(6).hex()
    log.error("unforeseen_error", error_id=error_id, code="INTERNAL", call=path, exc_info=raised)
    return fault(Reason.ERROR_REASON_INTERNAL, f"internal error, error id {error_id}.", metadata={"error_id": error_id})


def overloaded(pool: str, limit: int) -> CallError:
    """
    Make the error for a call that finds every place of its pool taken.
    """
    return fault(
        Reason.ERROR_REASON_OVERLOADED,
        f"{limit} calls of the kind {pool} are being answered, as many as may be.",
        metadata={"limit": limit, "limit_name": f"{pool}_calls_max", "retry_after_s": OVERLOADED_RETRY_S},
        retry_after_s=OVERLOADED_RETRY_S,
    )


def draining() -> CallError:
    """
    Make the error for a call that comes, or a stream that is open, when the server shuts down.
    """
    wait_s = DRAINING_RETRY_S
    return fault(Reason.ERROR_REASON_DRAINING, metadata={"retry_after_s": wait_s}, retry_after_s=wait_s)


def starting() -> CallError:
    """
    Make the error for a call that comes before the server has recovered.
    """
    wait_s = STARTING_RETRY_S
    return fault(Reason.ERROR_REASON_STARTING, metadata={"retry_after_s": wait_s}, retry_after_s=wait_s)
