"""
How an error travels: as a google.rpc.Status in the trailing metadata, at most 4 KiB.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import grpc
from google.protobuf import symbol_database
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2, status_pb2

from omen.v1 import error_pb2
from omen_rpc.contract import CODES
from omen_rpc.errors import CLASSES, MESSAGE_BYTES_MAX, CallError, Violation, clip

DETAILS_KEY = "grpc-status-details-bin"
PUSHBACK_KEY = "grpc-retry-pushback-ms"
STATUS_BYTES_MAX = 4096  # Above 8 KB of trailers gRPC loses a status at random.
TEXT_BYTES_MAX = 512  # The message travels once more as plain text, where a byte that is not ASCII takes three.
PUSHBACK_DIGITS_MAX = 9


def to_status(error: CallError, domain: str) -> status_pb2.Status:
    """
    Return *error* as a status: ErrorInfo first, then the details its rule names. At most 4 KiB.
    """
    message, violations = clip(error.message, MESSAGE_BYTES_MAX), error.violations
    while True:
        details = [packed(detail) for detail in details_of(error, domain, violations)]
        status = status_pb2.Status(code=error.code.value[0], message=message, details=details)
        if status.ByteSize() <= STATUS_BYTES_MAX:
            return status
        if len(violations) > 1:
            violations = violations[: len(violations) // 2]
        elif len(message) > 100:
            message = clip(message, len(message) // 2)
        else:  # Only an error that another server made can be as large as that: what remains is which one it was.
            info = error_details_pb2.ErrorInfo(reason=clip(error.reason), domain=domain)
            return status_pb2.Status(code=error.code.value[0], message=message, details=[packed(info)])


def details_of(error: CallError, domain: str, violations: Sequence[Violation]) -> Iterator[Message]:
    """
    Yield the details of *error* in the order the contract fixes.
    """
    yield error_details_pb2.ErrorInfo(reason=error.reason, domain=domain, metadata=error.metadata)
    rule = error.rule
    if rule is not None and "google.rpc.PreconditionFailure" in rule.detail_types:
        yield precondition_failure(error)
    if violations:
        yield bad_request(violations)
    if error.retry_after_s is not None:
        yield error_details_pb2.RetryInfo(retry_delay=delay(error.retry_after_s))
    yield from error.details


def to_text(error: CallError) -> str:
    """
    Return the message of *error* as gRPC's own text, for callers that do not read details.
    """
    return clip(error.message, TEXT_BYTES_MAX)


def to_trailers(error: CallError, domain: str) -> tuple[tuple[str, str | bytes], ...]:
    """
    Return the trailing metadata that carries *error*.

    A channel's own retries honour only the pushback trailer, people and other languages read RetryInfo: both are sent.
    """
    trailers: list[tuple[str, str | bytes]] = [(DETAILS_KEY, to_status(error, domain).SerializeToString())]
    if error.retry_after_s is not None:
        trailers.append((PUSHBACK_KEY, str(max(1, round(error.retry_after_s * 1000)))))
    if not error.domain:  # One that another server made has that server's trailers.
        trailers.extend(error.trailers.items())
    return tuple(trailers)


def from_rpc_error(error: grpc.aio.AioRpcError) -> CallError:
    """
    Return the error that a server sent, or one of its code when it sent no details of ours.
    """
    code = error.code()
    metadata = [(str(key), value) for key, value in (error.trailing_metadata() or ())]
    status = status_of(metadata)
    kind = CLASSES.get(code, CallError)
    if status is None or status.code != code.value[0]:
        return kind("", code, error.details() or code.name, retry_after_s=pushback(metadata))
    info = error_details_pb2.ErrorInfo()
    violations: list[Violation] = []
    retry_after_s: float | None = pushback(metadata)
    others: list[Message] = []
    for detail in status.details:
        known = unpacked(detail)
        if isinstance(known, error_details_pb2.ErrorInfo):
            info = known
        elif isinstance(known, error_details_pb2.BadRequest):
            violations = [Violation(each.field, each.description) for each in known.field_violations]
        elif isinstance(known, error_details_pb2.RetryInfo):
            retry_after_s = known.retry_delay.seconds + known.retry_delay.nanos / 1e9
        elif known is not None:
            others.append(known)
    return kind(
        info.reason,
        code,
        status.message,
        domain=info.domain,
        metadata=info.metadata,
        violations=violations,
        retry_after_s=retry_after_s,
        details=others,
        trailers={key: value for key, value in metadata if isinstance(value, str)},
    )


def from_item_error(error: error_pb2.ItemError) -> CallError:
    """
    Return the error of one item of a batch, as the item's own call would have ended.
    """
    code = CODES.get(error.code, grpc.StatusCode.UNKNOWN)
    violations = [Violation(each.field, each.description) for each in error.field_violations]
    return CLASSES.get(code, CallError)(error.reason, code, error.message, violations=violations)


def status_of(metadata: Sequence[tuple[str, Any]]) -> status_pb2.Status | None:
    """
    Return the status inside trailing metadata; None when there is none that can be read.
    """
    for key, value in metadata:
        if key == DETAILS_KEY and isinstance(value, bytes):
            try:
                return status_pb2.Status.FromString(value)
            except DecodeError:
                return None
    return None


def pushback(metadata: Sequence[tuple[str, Any]]) -> float | None:
    """
    Return the seconds the server asks to wait by trailer; None when it does not.
    """
    for key, value in metadata:
        if key == PUSHBACK_KEY and str(value).isdecimal() and len(value) <= PUSHBACK_DIGITS_MAX:
            return int(value) / 1000
    return None


def packed(message: Message) -> AnyMessage:
    """
    Return *message* wrapped for a status.
    """
    wrapped = AnyMessage()
    wrapped.Pack(message)
    return wrapped


def unpacked(detail: AnyMessage) -> Message | None:
    """
    Return the message inside *detail*; None when its type is not known here or its bytes are broken.
    """
    try:
        kind = symbol_database.Default().GetSymbol(detail.TypeName())
        message: Message = kind.FromString(detail.value)
    except (KeyError, DecodeError):
        return None
    return message


def bad_request(violations: Sequence[Violation]) -> error_details_pb2.BadRequest:
    """
    Return *violations* as the standard detail.
    """
    fields = [
        error_details_pb2.BadRequest.FieldViolation(field=each.field, description=each.description)
        for each in violations
    ]
    return error_details_pb2.BadRequest(field_violations=fields)


def precondition_failure(error: CallError) -> error_details_pb2.PreconditionFailure:
    """
    Return what is not as it must be: the reason as its type, the thing it is about as its subject.
    """
    violation = error_details_pb2.PreconditionFailure.Violation(
        type=error.reason, subject=next(iter(error.metadata.values()), ""), description=clip(error.message)
    )
    return error_details_pb2.PreconditionFailure(violations=[violation])


def delay(seconds: float) -> Duration:
    """
    Return *seconds* as a Duration.
    """
    nanos = round(seconds * 1e9)
    return Duration(seconds=nanos // 1_000_000_000, nanos=nanos % 1_000_000_000)
