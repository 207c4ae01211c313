"""
Errors on both ends of a call: a server raises them, a client gets the same ones back.

The catalogue in the contract decides code, client action and remedy; an error here adds what happened this time.
"""

from collections.abc import Mapping, Sequence

import grpc
from google.protobuf.message import Message

from omen.v1 import error_pb2
from omen_rpc.contract import REASON_PREFIX, ErrorRule, catalogue
from omen_rpc.violation import Violation

# `Violation` is imported from here, too: it is part of what an error tells.
__all__ = [
    "CLASSES", "MESSAGE_BYTES_MAX", "AlreadyExists", "CallError", "DataLoss", "DeadlineExceeded", "Exhausted",
    "InvalidRequest", "NotAllowed", "NotFound", "OutOfRange", "PreconditionFailed", "Reason", "Unavailable",
    "Unreachable", "Violation", "clip", "fault", "invalid_fields", "item_error",
]  # fmt: skip

MESSAGE_BYTES_MAX = 1000
VALUE_BYTES_MAX = 256
VIOLATIONS_MAX = 20

Reason = error_pb2.ErrorReason


class CallError(Exception):
    """
    A call that failed, with its reason from the catalogue.

    Raise it through `fault`; catch the subclass of the code you can do something about.
    """

    def __init__(
        self,
        reason: str,
        code: grpc.StatusCode,
        message: str,
        *,
        domain: str = "",
        metadata: Mapping[str, str] | None = None,
        violations: Sequence[Violation] = (),
        retry_after_s: float | None = None,
        details: Sequence[Message] = (),
        trailers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.code = code
        self.message = message
        self.domain = domain
        self.metadata = dict(metadata or {})
        self.violations = tuple(violations)
        self.retry_after_s = retry_after_s
        self.details = tuple(details)
        self.trailers = dict(trailers or {})

    @property
    def rule(self) -> ErrorRule | None:
        """
        The error's row in the catalogue; None when the other end is newer, or is no server of ours.
        """
        return catalogue().get(self.reason)

    @property
    def said(self) -> str:
        """
        What happened this time, without what to do: for whoever makes this error again under its own name.
        """
        return self.message.removesuffix(f" {self.rule.remedy}") if self.rule else self.message

    @property
    def retryable(self) -> bool:
        """
        Whether sending the same again may succeed.
        """
        if self.rule is not None:
            return self.rule.retryable
        return CLASSES.get(self.code) is Unavailable


class InvalidRequest(CallError):
    """
    The request breaks a rule of the contract.
    """


class NotFound(CallError):
    """
    There is no such thing.
    """


class AlreadyExists(CallError):
    """
    There is such a thing already.
    """


class PreconditionFailed(CallError):
    """
    The state of the thing does not allow it.
    """


class OutOfRange(CallError):
    """
    The place asked for is outside of what there is.
    """


class NotAllowed(CallError):
    """
    The caller is not known, or may not.
    """


class Exhausted(CallError):
    """
    A limit is reached.
    """


class Unavailable(CallError):
    """
    Not now.
    """


class Unreachable(Unavailable):
    """
    Nobody of ours answered: no server listens there, another kind of server does, or the connection broke.

    `server` is who was meant, `address` where it was looked for; `tls` says when it may be that only one of the two
    speaks TLS: "missing" in the caller, or "failed" between them.
    """

    def __init__(
        self, server: str, address: str, cause: str, *, retry_after_s: float | None = None, tls: str = ""
    ) -> None:
        text = f"{server} at {address} cannot be reached: {clip(cause)}."
        super().__init__("", grpc.StatusCode.UNAVAILABLE, text, retry_after_s=retry_after_s)
        self.server = server
        self.address = address
        self.tls = tls


class DeadlineExceeded(CallError):
    """
    The time was up.
    """


class DataLoss(CallError):
    """
    What was kept is damaged.
    """


# One table, read both ways: a server's reason and a client's status end in the same class.
CLASSES: dict[grpc.StatusCode, type[CallError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: InvalidRequest,
    grpc.StatusCode.NOT_FOUND: NotFound,
    grpc.StatusCode.ALREADY_EXISTS: AlreadyExists,
    grpc.StatusCode.FAILED_PRECONDITION: PreconditionFailed,
    grpc.StatusCode.OUT_OF_RANGE: OutOfRange,
    grpc.StatusCode.UNAUTHENTICATED: NotAllowed,
    grpc.StatusCode.PERMISSION_DENIED: NotAllowed,
    grpc.StatusCode.RESOURCE_EXHAUSTED: Exhausted,
    grpc.StatusCode.UNAVAILABLE: Unavailable,
    grpc.StatusCode.ABORTED: Unavailable,
    grpc.StatusCode.CANCELLED: Unavailable,  # By the server, when it stops; a caller's own cancel is no error of ours.
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceeded,
    grpc.StatusCode.DATA_LOSS: DataLoss,
}


def fault(
    reason: error_pb2.ErrorReason.ValueType,
    text: str = "",
    *,
    metadata: Mapping[str, object] | None = None,
    violations: Sequence[Violation] = (),
    retry_after_s: float | None = None,
    details: Sequence[Message] = (),
    trailers: Mapping[str, str] | None = None,
) -> CallError:
    """
    Make the error of *reason*: *text* says what happened this time, the catalogue what to do.

    ValueError when the catalogue does not know a key or a detail: then one of the two must change.
    """
    rule = catalogue()[Reason.Name(reason).removeprefix(REASON_PREFIX)]
    values = {key: clip(str(value)) for key, value in (metadata or {}).items()}
    unknown = values.keys() - rule.metadata_keys
    if unknown:
        raise ValueError(f"{rule.name} has no metadata {', '.join(sorted(unknown))} in the catalogue")
    types = [detail.DESCRIPTOR.full_name for detail in details]
    types += ["google.rpc.BadRequest"] * bool(violations) + ["google.rpc.RetryInfo"] * (retry_after_s is not None)
    for name in types:
        if name not in rule.detail_types:
            raise ValueError(f"{rule.name} has no detail {name} in the catalogue")
    return CLASSES.get(rule.code, CallError)(
        rule.name,
        rule.code,
        clip(f"{sentence(text or rule.summary)} {rule.remedy}", MESSAGE_BYTES_MAX),
        metadata=values,
        violations=[Violation(clip(each.field), clip(each.description)) for each in violations[:VIOLATIONS_MAX]],
        retry_after_s=retry_after_s,
        details=details,
        trailers=trailers,
    )


def sentence(text: str) -> str:
    """
    Return *text* with an end: an operating system's words have none.
    """
    return text if text.endswith((".", "?", "!")) else f"{text}."


def invalid_fields(violations: Sequence[Violation]) -> CallError:
    """
    Make the error for fields that break their rules; the text names the first.
    """
    first = violations[0]
    more = f" (and {len(violations) - 1} more)" if len(violations) > 1 else ""
    text = f"{first.field}: {first.description}{more}."
    return fault(Reason.ERROR_REASON_INVALID_FIELDS, text, metadata={"field": first.field}, violations=violations)


def item_error(error: CallError) -> error_pb2.ItemError:
    """
    Return *error* as the error of one item in a batch.
    """
    return error_pb2.ItemError(
        code=error.code.value[0],
        reason=error.reason,
        message=error.message,
        field_violations=[
            error_pb2.FieldViolation(field=each.field, description=each.description) for each in error.violations
        ],
    )


def clip(text: str, bytes_max: int = VALUE_BYTES_MAX) -> str:
    """
    Return *text*, cut to what a status has room for, and marked as cut. What UTF-8 cannot say becomes a question mark.
    """
    raw = text.encode(errors="replace")
    if len(raw) <= bytes_max:
        return raw.decode()
    return raw[: bytes_max - len("…".encode())].decode(errors="ignore") + "…"
