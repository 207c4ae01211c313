from typing import Any

import grpc
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2, status_pb2

from omen.v1.signal_service_pb2 import GetSignalRequest
from omen_rpc.contract import catalogue
from omen_rpc.errors import CallError, Exhausted, Reason, Violation, fault
from omen_rpc.status import (
    DETAILS_KEY,
    PUSHBACK_KEY,
    STATUS_BYTES_MAX,
    delay,
    from_rpc_error,
    pushback,
    status_of,
    to_status,
    to_text,
    to_trailers,
)
from riskcast.v1.ingest_service_pb2 import Receipt, SignalAlreadyIngested
from tests.hosting import Scripted, hosted, refusal, stub_of

WIDE = "\U0001f600" * 1000


def whole(name: str) -> CallError:
    """
    Make the error *name* with everything its row allows.
    """
    rule = catalogue()[name]
    return fault(
        Reason.Value(f"ERROR_REASON_{name}"),
        "It happened.",
        metadata={key: f"the {key}" for key in sorted(rule.metadata_keys)},
        violations=[Violation("a.b[0]", "is bad"), Violation("c", "is worse")]
        if "google.rpc.BadRequest" in rule.detail_types
        else (),
        retry_after_s=2.5 if "google.rpc.RetryInfo" in rule.detail_types else None,
        details=[SignalAlreadyIngested(receipt=Receipt(signal_id="OMEN-1", ack_id="a"), content_conflict=True)]
        if "riskcast.v1.SignalAlreadyIngested" in rule.detail_types
        else (),
    )


def received(*trailers: tuple[str, str | bytes], code: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE) -> CallError:
    """
    Return what a client makes of a status with these trailers.
    """
    error = grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(*trailers), details="as sent")
    return from_rpc_error(error)


async def test_every_reason_comes_back() -> None:
    """
    Every error of the catalogue reaches a client over real gRPC as the same class with the same data.
    """
    sent: dict[str, CallError] = {name: whole(name) for name in catalogue()}

    async def get(request: Any, _context: Any) -> Any:
        raise sent[request.signal_id]

    async with hosted(Scripted(get)) as server, stub_of(server) as stub:
        for name, error in sent.items():
            back = await refusal(stub.GetSignal(GetSignalRequest(signal_id=name), timeout=5))
            assert type(back) is type(error)
            assert (back.reason, back.code, back.message) == (error.reason, error.code, error.message)
            assert (back.metadata, back.violations) == (error.metadata, error.violations)
            assert back.retry_after_s == error.retry_after_s
            assert back.domain == "omen.v1"
            assert back.retryable == error.retryable
            expected = ["google.rpc.PreconditionFailure"] * (name in preconditions())
            expected += [detail.DESCRIPTOR.full_name for detail in error.details]
            assert [detail.DESCRIPTOR.full_name for detail in back.details] == expected
            assert list(back.details[len(expected) :]) == []


def preconditions() -> set[str]:
    """
    Return the reasons that carry a PreconditionFailure.
    """
    return {name for name, rule in catalogue().items() if "google.rpc.PreconditionFailure" in rule.detail_types}


@pytest.mark.parametrize("name", catalogue())
def test_details_come_in_order(name: str) -> None:
    """
    ErrorInfo is first, then what the reason's row names, in that order; a reader may go by position.
    """
    status = to_status(whole(name), "riskcast.v1")
    names = [detail.TypeName() for detail in status.details]
    assert names == ["google.rpc.ErrorInfo", *catalogue()[name].detail_types]
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    assert (info.reason, info.domain) == (name, "riskcast.v1")


def test_precondition_names_its_subject() -> None:
    """
    A PreconditionFailure tells the reason as its type and the thing it is about as its subject.
    """
    error = fault(Reason.ERROR_REASON_PARTITION_EMPTY, metadata={"partition": "2026-01-01"})
    failure = error_details_pb2.PreconditionFailure()
    assert to_status(error, "omen.v1").details[1].Unpack(failure)
    assert [(each.type, each.subject) for each in failure.violations] == [("PARTITION_EMPTY", "2026-01-01")]


@pytest.mark.parametrize("name", catalogue())
def test_status_fits(name: str) -> None:
    """
    With every value as long and as wide as a caller can make it, a status stays within 4 KiB and keeps its ErrorInfo.
    """
    rule = catalogue()[name]
    error = fault(
        Reason.Value(f"ERROR_REASON_{name}"),
        WIDE,
        metadata=dict.fromkeys(rule.metadata_keys, WIDE),
        violations=[Violation(WIDE, WIDE)] * 20 if "google.rpc.BadRequest" in rule.detail_types else (),
    )
    status = to_status(error, "omen.v1")
    assert status.ByteSize() <= STATUS_BYTES_MAX == 4096
    assert status.details[0].TypeName() == "google.rpc.ErrorInfo"


def test_status_of_another_server_fits() -> None:
    """
    An error handed on from a server that knows no measure is cut to its reason rather than sent too large to arrive.
    """
    foreign = CallError("VAST", grpc.StatusCode.INTERNAL, WIDE, domain="far.v1", metadata={"k": WIDE, "l": WIDE})
    status = to_status(foreign, "omen.v1")
    assert status.ByteSize() <= STATUS_BYTES_MAX
    assert b"VAST" in status.details[0].value


async def test_worst_status_arrives() -> None:
    """
    Twenty violations and a text of a thousand four-byte characters reach the client with reason and violations, not as
    gRPC's own complaint about the size of the trailers.
    """

    async def get(_request: Any, _context: Any) -> Any:
        violations = [Violation(f"f{n}{WIDE[:n]}", WIDE[: 40 + n]) for n in range(20)]
        raise fault(Reason.ERROR_REASON_INVALID_FIELDS, WIDE, metadata={"field": WIDE}, violations=violations)

    async with hosted(Scripted(get)) as server, stub_of(server) as stub:
        back = await refusal(stub.GetSignal(GetSignalRequest(), timeout=5, metadata=[("x-request-id", "r" * 128)]))
    assert (back.code, back.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELDS")
    assert back.violations[0].field == "f0"
    assert back.message.startswith(WIDE[:100])


async def test_vast_error_of_another_server_arrives() -> None:
    """
    An error handed on as it came, with a text longer than ours are, still arrives with its reason.
    """

    async def get(_request: Any, _context: Any) -> Any:
        raise CallError("VAST", grpc.StatusCode.ABORTED, WIDE, domain="far.v1", metadata={"k": WIDE})

    async with hosted(Scripted(get)) as server, stub_of(server) as stub:
        back = await refusal(stub.GetSignal(GetSignalRequest(), timeout=5))
    assert (back.code, back.reason) == (grpc.StatusCode.ABORTED, "VAST")


def test_text_is_short_enough_to_be_sent_twice() -> None:
    """
    GRPC's own text, which triples what is not ASCII, leaves room for the status beside it.
    """
    error = fault(Reason.ERROR_REASON_INTERNAL, WIDE)
    encoded = len(to_text(error).encode()) * 3
    in_base64 = STATUS_BYTES_MAX * 4 // 3
    assert encoded + in_base64 < 8192 - 1024


def test_retry_is_said_twice() -> None:
    """
    The delay is in RetryInfo for people and in the pushback trailer for channels, never less than a millisecond.
    """
    trailers = dict(to_trailers(fault(Reason.ERROR_REASON_RATE_LIMITED, retry_after_s=1.25), "omen.v1"))
    raw = trailers[DETAILS_KEY]
    assert isinstance(raw, bytes)
    info = error_details_pb2.RetryInfo()
    assert status_pb2.Status.FromString(raw).details[1].Unpack(info)
    assert (trailers[PUSHBACK_KEY], info.retry_delay) == ("1250", Duration(seconds=1, nanos=250_000_000))
    tiny = dict(to_trailers(fault(Reason.ERROR_REASON_RATE_LIMITED, retry_after_s=0.0001), "omen.v1"))
    assert tiny[PUSHBACK_KEY] == "1"
    assert PUSHBACK_KEY not in dict(to_trailers(fault(Reason.ERROR_REASON_STARTING), "omen.v1"))


def test_trailers_of_another_server_stay_behind() -> None:
    """
    An error's own trailers are sent; those that came with an error from another server are not sent as ours.
    """
    mine = fault(Reason.ERROR_REASON_SIGNAL_ALREADY_INGESTED, trailers={"x-ack-id": "a"})
    foreign = CallError("X", grpc.StatusCode.ABORTED, "…", domain="far.v1", trailers={"x-request-id": "theirs"})
    assert dict(to_trailers(mine, "riskcast.v1"))["x-ack-id"] == "a"
    assert "x-request-id" not in dict(to_trailers(foreign, "omen.v1"))


def test_status_without_details_is_its_code() -> None:
    """
    A proxy's bare status becomes the class of its code, with its text, and its pushback if it has one.
    """
    bare = received((PUSHBACK_KEY, "1500"), code=grpc.StatusCode.RESOURCE_EXHAUSTED)
    assert isinstance(bare, Exhausted)
    assert (bare.reason, bare.message, bare.retry_after_s) == ("", "as sent", 1.5)


@pytest.mark.parametrize(
    "raw",
    [
        b"\xff\xff\xff",
        status_pb2.Status(code=3, message="lies").SerializeToString(),
    ],
    ids=["no status", "another code"],
)
def test_status_that_cannot_be_believed_is_left_out(raw: bytes) -> None:
    """
    Details that do not parse, or are of another code than the call's, do not count.
    """
    error = received((DETAILS_KEY, raw))
    assert (error.code, error.reason, error.message) == (grpc.StatusCode.UNAVAILABLE, "", "as sent")


def test_unknown_details_are_skipped() -> None:
    """
    A detail of a type that is not known here, or whose bytes are broken, does not hide the others.
    """
    status = to_status(fault(Reason.ERROR_REASON_STARTING, retry_after_s=3), "omen.v1")
    status.details.insert(0, AnyMessage(type_url="type.googleapis.com/far.v1.New", value=b"x"))
    status.details.insert(1, AnyMessage(type_url="type.googleapis.com/google.rpc.ErrorInfo", value=b"\xff"))
    error = received((DETAILS_KEY, status.SerializeToString()))
    assert (error.reason, error.retry_after_s, error.details) == ("STARTING", 3.0, ())


def test_absurd_delays_do_not_throw() -> None:
    """
    A server that asks for three hundred centuries gets a number back, not an exception in the client.
    """
    status = to_status(fault(Reason.ERROR_REASON_STARTING, retry_after_s=1), "omen.v1")
    status.details[1].Pack(error_details_pb2.RetryInfo(retry_delay=Duration(seconds=2**62)))
    assert received((DETAILS_KEY, status.SerializeToString())).retry_after_s == 2.0**62


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("250", 0.25), ("0", 0.0), ("-1", None), ("soon", None), ("", None), ("²", None), ("9" * 5000, None)],
)
def test_pushback_is_milliseconds_or_nothing(value: str, seconds: float | None) -> None:
    """
    Only a plain number of milliseconds counts; anything else says nothing.
    """
    assert pushback([("other", "1"), (PUSHBACK_KEY, value)]) == seconds


def test_status_of_reads_its_key_only() -> None:
    """
    The status is where gRPC puts it, as bytes.
    """
    raw = status_pb2.Status(code=5).SerializeToString()
    assert status_of([("other-bin", raw)]) is None
    assert status_of([(DETAILS_KEY, "text")]) is None
    found = status_of([("x", "y"), (DETAILS_KEY, raw)])
    assert found is not None
    assert found.code == 5


@pytest.mark.parametrize(("seconds", "nanos"), [(0.0, 0), (0.2, 200_000_000), (1.0, 0), (61.5, 500_000_000)])
def test_delay_keeps_nanoseconds(seconds: float, nanos: int) -> None:
    """
    A delay in seconds becomes whole seconds and the rest in nanoseconds.
    """
    assert delay(seconds) == Duration(seconds=int(seconds), nanos=nanos)
