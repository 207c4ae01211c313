from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
import pytest

from omen.v1.signal_service_pb2 import (
    GetSignalRequest,
    StreamSignalsRequest,
    StreamSignalsResponse,
)
from omen_rpc import refusal as refusals
from omen_rpc.errors import Reason, Violation, fault, invalid_fields
from omen_rpc.rate import RateLimit
from tests.hosting import Scripted, hosted, refusal, stub_of
from tests.omen_rpc.conftest import Logged

SECRET = "sk-live-51Hx"
GET = "/omen.v1.SignalService/GetSignal"


async def plain(_request: Any, _context: Any) -> Any:
    """
    Raise something nobody foresaw.
    """
    raise RuntimeError(f"cannot use {SECRET}")


async def chained(_request: Any, _context: Any) -> Any:
    """
    Raise it twice over, with the secret in the cause, in a note and in a group.
    """
    try:
        dict[str, str]()[SECRET]
    except KeyError as error:
        error.add_note(SECRET)
        raise ExceptionGroup(SECRET, [ValueError(SECRET)]) from error


async def unserialisable(_request: Any, _context: Any) -> Any:
    """
    Answer with something that is no message.
    """

    class Reply:
        def SerializeToString(self) -> bytes:
            raise ValueError(f"{SECRET} is no field")

    return Reply()


async def of_another_call(_request: Any, _context: Any) -> Any:
    """
    Raise what a call to another server raised, untranslated.
    """
    raise grpc.aio.AioRpcError(grpc.StatusCode.OK, grpc.aio.Metadata(), grpc.aio.Metadata(), details=SECRET)


@pytest.mark.parametrize("get", [plain, chained, unserialisable, of_another_call], ids=lambda each: each.__name__)
async def test_secret_in_an_exception_stays_inside(get: Callable[[Any, Any], Awaitable[Any]], logged: Logged) -> None:
    """
    An exception nobody foresaw reaches the caller as INTERNAL with an id and no text; the log has the id and the place,
    and the secret is in neither.
    """
    async with hosted(Scripted(get)) as server, stub_of(server) as stub:
        error = await refusal(stub.GetSignal(GetSignalRequest(), timeout=5, metadata=[("x-request-id", "r-1")]))
    assert (error.code, error.reason) == (grpc.StatusCode.INTERNAL, "INTERNAL")
    error_id = error.metadata["error_id"]
    assert error.message == f"internal error, error id {error_id}. {error.rule.remedy if error.rule else ''}"
    (line,) = logged.lines("unforeseen_error")
    assert (line["error_id"], line["request_id"], line["method"]) == (error_id, "r-1", GET)
    assert line["raised_at"]
    assert SECRET not in logged.text
    assert SECRET not in repr(error.__dict__)


async def test_secret_in_a_stream_stays_inside(logged: Logged) -> None:
    """
    The same holds for a stream that fails after its first message, which arrives.
    """

    async def stream(_request: Any, _context: Any) -> AsyncIterator[Any]:
        yield StreamSignalsResponse(cursor="1")
        raise RuntimeError(SECRET)

    async with hosted(Scripted(stream=stream)) as server, stub_of(server) as stub:
        call = stub.StreamSignals(StreamSignalsRequest(), timeout=5)
        first = await call.read()
        error = await refusal(call.read())
    assert isinstance(first, StreamSignalsResponse)
    assert (first.cursor, error.reason) == ("1", "INTERNAL")
    assert [line["error_id"] for line in logged.lines("unforeseen_error")] == [error.metadata["error_id"]]
    assert SECRET not in logged.text + repr(error.__dict__)


class StoreFault(Exception):
    """
    A server's own error.
    """


class DiskFault(StoreFault):
    """
    A special case of it.
    """


class RowFault(DiskFault):
    """
    A case that nobody named.
    """


@pytest.mark.parametrize(
    ("raised", "reason"),
    [(StoreFault, "STORE_UNAVAILABLE"), (DiskFault, "LEDGER_WRITE_FAILED"), (RowFault, "LEDGER_WRITE_FAILED")],
)
async def test_translation_goes_by_the_nearest_class(raised: type[Exception], reason: str) -> None:
    """
    A server's own exceptions become errors by their class, or else by the nearest they descend from.
    """

    async def get(_request: Any, _context: Any) -> Any:
        raise raised

    table: refusals.Translate = {
        StoreFault: lambda _error: fault(Reason.ERROR_REASON_STORE_UNAVAILABLE),
        DiskFault: lambda _error: fault(Reason.ERROR_REASON_LEDGER_WRITE_FAILED, metadata={"cause": "disk"}),
    }
    async with hosted(Scripted(get), translate=table) as server, stub_of(server) as stub:
        error = await refusal(stub.GetSignal(GetSignalRequest(), timeout=5))
    assert error.reason == reason


async def test_translation_that_fails_is_a_bug_like_any_other(logged: Logged) -> None:
    """
    When the translation itself raises, its text does not reach the caller either.
    """

    async def get(_request: Any, _context: Any) -> Any:
        raise StoreFault

    table: refusals.Translate = {
        StoreFault: lambda _error: fault(Reason.ERROR_REASON_STORE_UNAVAILABLE, metadata={SECRET: 1})
    }
    async with hosted(Scripted(get), translate=table) as server, stub_of(server) as stub:
        error = await refusal(stub.GetSignal(GetSignalRequest(), timeout=5))
    assert (error.code, error.reason) == (grpc.StatusCode.INTERNAL, "INTERNAL")
    assert SECRET not in error.message + logged.text


async def test_text_that_no_encoding_takes_is_still_a_status() -> None:
    """
    A file name that is not UTF-8 in an error's data does not turn the error into another one.
    """

    async def get(_request: Any, _context: Any) -> Any:
        raise invalid_fields([Violation("path\udcff", "is \udc80")])

    async with hosted(Scripted(get)) as server, stub_of(server) as stub:
        error = await refusal(stub.GetSignal(GetSignalRequest(), timeout=5))
    assert error.violations == (Violation("path?", "is ?"),)


async def test_refusals_are_logged_within_measure(logged: Logged, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A refused call is one line with code, reason, request id and peer; a flood of them is not a flood of lines.
    """
    monkeypatch.setattr(refusals, "REFUSALS_LOGGED", RateLimit(per_minute=1, burst=2))
    async with hosted(Scripted(not_found)) as server, stub_of(server) as stub:
        for number in range(5):
            metadata = [("x-request-id", f"r-{number}")]
            with pytest.raises(grpc.aio.AioRpcError):
                await stub.GetSignal(GetSignalRequest(), timeout=5, metadata=metadata)
    lines = logged.lines("call_refused")
    assert [line["request_id"] for line in lines] == ["r-0", "r-1"]
    assert (lines[0]["code"], lines[0]["reason"]) == ("NOT_FOUND", "SIGNAL_NOT_FOUND")
    assert lines[0]["peer"].startswith("ipv4:127.0.0.1:")


async def not_found(_request: Any, _context: Any) -> Any:
    """
    Fail as the catalogue has it.
    """
    raise fault(Reason.ERROR_REASON_SIGNAL_NOT_FOUND)
