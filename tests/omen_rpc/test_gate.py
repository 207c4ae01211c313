import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import ServiceDescriptor

from omen.v1 import ledger_service_pb2, operations_service_pb2, signal_service_pb2
from omen.v1.ledger_service_pb2_grpc import LedgerServiceServicer
from omen.v1.operations_service_pb2_grpc import OperationsServiceServicer
from omen.v1.signal_service_pb2 import (
    EmitSignalItem,
    EmitSignalsRequest,
    GetSignalRequest,
    GetSignalResponse,
    StreamSignalsRequest,
    StreamSignalsResponse,
)
from omen.v1.signal_service_pb2_grpc import SignalServiceServicer, SignalServiceStub
from omen_rpc.contract import services
from omen_rpc.errors import NotFound, Reason, fault
from omen_rpc.metrics import RPC_CALLS
from reconcile.v1 import reconcile_service_pb2
from reconcile.v1.reconcile_service_pb2_grpc import ReconcileServiceServicer
from riskcast.v1 import ingest_service_pb2, inventory_service_pb2
from riskcast.v1.ingest_service_pb2_grpc import IngestServiceServicer
from riskcast.v1.inventory_service_pb2_grpc import InventoryServiceServicer
from tests.hosting import Scripted, channel_to, drained_of, hosted, refusal, streaming, stub_of, unary, until
from tests.omen_rpc.conftest import Logged

GET = "/omen.v1.SignalService/GetSignal"
STREAM = "/omen.v1.SignalService/StreamSignals"
UNBUILT: dict[ServiceDescriptor, Any] = {
    signal_service_pb2.DESCRIPTOR.services_by_name["SignalService"]: SignalServiceServicer(),
    ledger_service_pb2.DESCRIPTOR.services_by_name["LedgerService"]: LedgerServiceServicer(),
    operations_service_pb2.DESCRIPTOR.services_by_name["OperationsService"]: OperationsServiceServicer(),
    ingest_service_pb2.DESCRIPTOR.services_by_name["IngestService"]: IngestServiceServicer(),
    inventory_service_pb2.DESCRIPTOR.services_by_name["InventoryService"]: InventoryServiceServicer(),
    reconcile_service_pb2.DESCRIPTOR.services_by_name["ReconcileService"]: ReconcileServiceServicer(),
}


def counted(method: str, code: str) -> float:
    """
    Return how many calls of *method* have ended with *code*.
    """
    return float(RPC_CALLS.labels("omen.v1.SignalService", method, code)._value.get())


async def test_inner_cancel_is_a_status(logged: Logged) -> None:
    """
    A method that is felled by the cancellation of a task of its own ends as INTERNAL at once; grpc would send nothing.
    """

    async def get(_request: Any, _context: Any) -> Any:
        inner = asyncio.create_task(asyncio.Event().wait())
        asyncio.get_running_loop().call_soon(inner.cancel)
        await inner

    async with hosted(Scripted(get)) as server, stub_of(server) as stub:
        error = await refusal(stub.GetSignal(GetSignalRequest(), timeout=10))
    assert error.reason == "INTERNAL"
    assert [line["error_type"] for line in logged.lines("unforeseen_error")] == ["CancelledError"]


async def test_callers_cancel_reaches_the_method(logged: Logged) -> None:
    """
    A caller that goes away cancels its method, which counts as CANCELLED and is nobody's bug; its place is free again.
    """
    entered, left = asyncio.Event(), asyncio.Event()

    async def get(request: Any, _context: Any) -> Any:
        if request.signal_id:
            return GetSignalResponse()
        try:
            entered.set()
            await asyncio.Event().wait()
        finally:
            left.set()

    before = counted("GetSignal", "CANCELLED")
    async with hosted(Scripted(get), settings={"query_calls_max": 1}) as server, stub_of(server) as stub:
        call = stub.GetSignal(GetSignalRequest())
        await asyncio.wait_for(entered.wait(), 10)
        call.cancel()
        await asyncio.wait_for(left.wait(), 10)
        await stub.GetSignal(GetSignalRequest(signal_id="next"), timeout=5)
    assert counted("GetSignal", "CANCELLED") == before + 1
    assert logged.lines("unforeseen_error") == []


async def test_reader_that_vanishes_during_a_write(logged: Logged) -> None:
    """
    A stream whose write fails because its reader is gone, before its task has heard of that, is CANCELLED and no bug.
    """
    written = 0

    async def stream(_request: Any, _context: Any) -> Any:
        nonlocal written
        while True:
            yield StreamSignalsResponse(cursor="c" * 65_536)
            written += 1

    before = counted("StreamSignals", "CANCELLED")
    async with hosted(Scripted(stream=stream)) as server:
        with ThreadPoolExecutor() as threads, grpc.insecure_channel(str(server.address)) as channel:
            for _ in range(5):
                calls = [SignalServiceStub(channel).StreamSignals(StreamSignalsRequest()) for _ in range(5)]
                at = -1
                while written != at:  # Until nothing more goes through.
                    at = written
                    await asyncio.sleep(0.05)
                # The loop stands still meanwhile, as it does for a moment when there is much to do.
                for call in calls:
                    threads.submit(call.cancel).result()
                threads.submit(threading.Event().wait, 0.05).result()
            await until(lambda: counted("StreamSignals", "CANCELLED") == before + 25)
    assert logged.lines("unforeseen_error") == []


@pytest.mark.parametrize("path", [GET, STREAM])
async def test_malformed_bytes_are_the_callers_fault(path: str, logged: Logged) -> None:
    """
    Bytes that are no message of the method's type are INVALID_ARGUMENT, and no line calls them a bug.
    """
    async with hosted(Scripted()) as server, channel_to(str(server.address)) as channel:
        error = await refusal(unary(channel, path)(b"\x0a\xff\xff\xff\xff\x0f", timeout=5))
    assert (error.code, error.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "MALFORMED_REQUEST")
    assert logged.lines("unforeseen_error") == []


async def test_call_without_a_message_is_malformed() -> None:
    """
    A call that ends its side without having sent a message is told so, at once.
    """
    async with hosted(Scripted()) as server, channel_to(str(server.address)) as channel:
        call = streaming(channel, GET)(timeout=5)
        await call.done_writing()
        error = await refusal(call.read())
    assert error.reason == "MALFORMED_REQUEST"
    assert error.message.startswith("The call ended without a message.")


@pytest.mark.parametrize("service", UNBUILT, ids=lambda service: service.full_name)
async def test_unbuilt_methods_say_so(service: ServiceDescriptor) -> None:
    """
    Every method of the contract that nobody has built yet, streams too, is UNIMPLEMENTED with an ErrorInfo of the
    package that was called, and leaves nothing behind.
    """
    async with (
        hosted(UNBUILT[service], service=service) as server,
        channel_to(str(server.address)) as channel,
    ):
        for method in service.methods:
            path = f"/{service.full_name}/{method.name}"
            error = await refusal(unary(channel, path)(b"", timeout=5))
            assert (error.code, error.reason) == (grpc.StatusCode.UNIMPLEMENTED, "NOT_IMPLEMENTED")
            assert (error.domain, error.metadata) == (service.file.package, {"method": path})
        assert server._gate._streams == {}


def test_unbuilt_is_the_whole_contract() -> None:
    """
    The services above are all there are, but for the one that every server has built.
    """
    names = {service.full_name for service in UNBUILT}
    assert names | {"omen.v1.ServerInfoService"} == {service.full_name for service in services()}


@pytest.mark.parametrize(
    "path", ["/omen.v1.SignalService/Nothing", "/nobody.v1.Service/Get", "/x", "/omen.v1.SignalService/GetSignal/"]
)
async def test_unknown_method_counts_as_other(path: str) -> None:
    """
    A method that is not there is UNIMPLEMENTED by name, with a request id, and makes no series of its own.
    """
    counter = RPC_CALLS.labels("other", "other", "UNIMPLEMENTED")
    before = counter._value.get()
    async with hosted(Scripted()) as server, channel_to(str(server.address)) as channel:
        error = await refusal(unary(channel, path)(b"", timeout=5))
    assert (error.code, error.reason) == (grpc.StatusCode.UNIMPLEMENTED, "METHOD_UNKNOWN")
    assert error.metadata == {"method": path}
    assert error.trailers["x-request-id"]
    assert counter._value.get() == before + 1
    assert not any(path in str(labels) for labels in RPC_CALLS._metrics)


async def get_by_name(request: Any, context: Any) -> Any:
    """
    Succeed or fail, as the id says.
    """
    if request.signal_id == "fail":
        raise fault(Reason.ERROR_REASON_SIGNAL_NOT_FOUND)
    if request.signal_id == "abort":
        await context.abort(grpc.StatusCode.NOT_FOUND, "by hand")
    if request.signal_id == "trailers":
        context.set_trailing_metadata((("x-ack-id", "a"),))
    return GetSignalResponse()


@pytest.mark.parametrize("signal_id", ["", "fail", "abort", "trailers"])
@pytest.mark.parametrize("sent", ["mine-1", "un fit", None])
async def test_request_id_comes_back(signal_id: str, sent: str | None) -> None:
    """
    The request id is in the trailers once, however the call ends: the caller's own, or a new one for none or an unfit.
    """
    metadata = [("x-request-id", sent)] if sent else []
    async with hosted(Scripted(get_by_name)) as server, stub_of(server) as stub:
        call = stub.GetSignal(GetSignalRequest(signal_id=signal_id), timeout=5, metadata=metadata)
        code = await call.code()
        trailers = await call.trailing_metadata()
    assert (code is grpc.StatusCode.OK) == (signal_id in {"", "trailers"})
    (returned,) = [value for key, value in trailers or () if key == "x-request-id"]
    assert returned == "mine-1" if sent == "mine-1" else returned not in {sent, ""}
    assert ("x-ack-id" in dict(trailers or ())) == (signal_id == "trailers")


async def test_request_id_and_trace_are_in_every_line(logged: Logged) -> None:
    """
    Whatever a method logs names the call's request id and trace id; a key's name too, and never the key.
    """

    async def get(_request: Any, _context: Any) -> Any:
        import structlog  # noqa: PLC0415 - as any module of a server has it

        structlog.get_logger().info("at_work", api_key="k-secret")
        return GetSignalResponse()

    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    metadata = [("x-request-id", "r-7"), ("traceparent", f"00-{trace}-00f067aa0ba902b7-01"), ("x-api-key", "k-secret")]
    settings = {"api_keys": "ops:read:k-secret"}
    async with hosted(Scripted(get), settings=settings) as server, stub_of(server) as stub:
        await stub.GetSignal(GetSignalRequest(), timeout=5, metadata=metadata)
    (line,) = logged.lines("at_work")
    assert (line["request_id"], line["trace_id"], line["principal"], line["method"]) == ("r-7", trace, "ops", GET)
    assert "k-secret" not in logged.text


@pytest.mark.parametrize(("signal_id", "how"), [("abort", "abort"), ("set", "set_code"), ("number", "set_code(5)")])
async def test_method_may_end_its_call_by_itself(signal_id: str, how: str, logged: Logged) -> None:
    """
    A method that uses grpc's own means is let through, and counted under the code that it gave.
    """

    async def get(request: Any, context: Any) -> Any:
        if request.signal_id == "abort":
            await context.abort(grpc.StatusCode.NOT_FOUND, how)
        context.set_code(grpc.StatusCode.NOT_FOUND if request.signal_id == "set" else 5)
        context.set_details(how)
        return GetSignalResponse()

    before = counted("GetSignal", "NOT_FOUND"), counted("GetSignal", "OK")
    async with hosted(Scripted(get)) as server, stub_of(server) as stub:
        error = await refusal(stub.GetSignal(GetSignalRequest(signal_id=signal_id), timeout=5))
    assert (error.code, error.message) == (grpc.StatusCode.NOT_FOUND, how)
    assert (counted("GetSignal", "NOT_FOUND"), counted("GetSignal", "OK")) == (before[0] + 1, before[1])
    assert logged.lines("unforeseen_error") == []


async def test_errors_of_items_and_streams_are_whole() -> None:
    """
    A batch's method takes its whole message, and a stream ends with OK after its last message.
    """

    async def emit(request: Any, _context: Any) -> Any:
        raise fault(Reason.ERROR_REASON_SIGNAL_NOT_FOUND, f"{len(request.signals)} signals came.")

    async with hosted(Scripted(emit=emit)) as server, stub_of(server) as stub:
        error = await refusal(stub.EmitSignals(EmitSignalsRequest(signals=[EmitSignalItem()] * 3), timeout=5))
        stream = stub.StreamSignals(StreamSignalsRequest(), timeout=5)
        assert [reply.cursor for reply in await drained_of(stream)] == [""]
        assert await stream.code() is grpc.StatusCode.OK
    assert isinstance(error, NotFound)
    assert error.message.startswith("3 signals came.")


async def test_stream_that_swallows_its_cancellation_is_drained_all_the_same() -> None:
    """
    A method that ends by itself when it is cancelled has not told everything: its caller is sent elsewhere.
    """

    async def stream(_request: Any, _context: Any) -> Any:
        yield StreamSignalsResponse(cursor="1")
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()

    async with hosted(Scripted(stream=stream)) as server, stub_of(server) as stub:
        call = stub.StreamSignals(StreamSignalsRequest(), timeout=10)
        first: Any = await call.read()
        assert first.cursor == "1"
        server.stop()
        error = await refusal(call.read())
        assert (error.code, error.reason) == (grpc.StatusCode.UNAVAILABLE, "DRAINING")
