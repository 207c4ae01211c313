import asyncio
import socket
import time
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import grpc
import pytest

from omen.v1 import signal_service_pb2 as pb
from omen.v1.signal_service_pb2_grpc import SignalServiceServicer, SignalServiceStub
from omen_client import CallError, Connection, Exhausted, NotFound, ServerClient, Unavailable
from omen_rpc.channel import read_key
from omen_rpc.errors import Reason, fault
from tests.hosting import hosted


class Flaky(SignalServiceServicer):
    """
    Fails as often as it is told, in the way it is told, and remembers when it was called under which request id.
    """

    def __init__(self, *failures: CallError) -> None:
        self.failures = list(failures)
        self.called_at: list[float] = []
        self.request_ids: set[str] = set()

    async def GetSignal(self, request: pb.GetSignalRequest, context: Any) -> pb.GetSignalResponse:
        """
        Fail or answer.
        """
        self.called_at.append(time.monotonic())
        self.request_ids.add(dict(context.invocation_metadata())["x-request-id"])
        if self.failures:
            raise self.failures.pop(0)
        return pb.GetSignalResponse(ack_id=request.signal_id)

    async def StreamSignals(
        self, _request: pb.StreamSignalsRequest, _context: Any
    ) -> AsyncIterator[pb.StreamSignalsResponse]:
        """
        Send two frames, then fail or stay open.
        """
        for cursor in ("1", "2"):
            yield pb.StreamSignalsResponse(cursor=cursor)
        if self.failures:
            raise self.failures.pop(0)
        await asyncio.Event().wait()


def refusal(reason: Any, **more: Any) -> CallError:
    """
    Return an error as a server makes it.
    """
    return fault(reason, **more)


async def test_the_client_waits_as_long_as_a_rate_limit_says() -> None:
    """
    A call over the limit is sent again after the delay that RetryInfo names, and not before.
    """
    servicer = Flaky(refusal(Reason.ERROR_REASON_RATE_LIMITED, retry_after_s=0.3))
    async with hosted(servicer) as server, Connection(str(server.address)) as connection:
        stub = SignalServiceStub(connection.calls)
        reply = await connection.call(stub.GetSignal, pb.GetSignalRequest(signal_id="OMEN-AAAA"))
    assert reply.ack_id == "OMEN-AAAA"
    first, second = servicer.called_at
    assert second - first >= 0.3
    assert len(servicer.request_ids) == 1, "all attempts go under one request id"


async def test_unavailable_is_retried_in_the_channel_after_the_pushback() -> None:
    """
    UNAVAILABLE is tried again by the channel itself, no earlier than the pushback trailer says.
    """
    servicer = Flaky(refusal(Reason.ERROR_REASON_STARTING, retry_after_s=0.4))
    async with hosted(servicer) as server, Connection(str(server.address)) as connection:
        stub = SignalServiceStub(connection.calls)
        await connection.call(stub.GetSignal, pb.GetSignalRequest(signal_id="OMEN-AAAA"))
    first, second = servicer.called_at
    assert second - first >= 0.4


async def test_a_delay_beyond_the_deadline_is_not_waited_for() -> None:
    """
    When the server asks for more time than the call has, the error comes at once, with the delay in it.
    """
    servicer = Flaky(refusal(Reason.ERROR_REASON_RATE_LIMITED, retry_after_s=3600))
    async with hosted(servicer) as server, Connection(str(server.address), timeout_s=5) as connection:
        stub = SignalServiceStub(connection.calls)
        with pytest.raises(Exhausted) as caught:
            await connection.call(stub.GetSignal, pb.GetSignalRequest(signal_id="OMEN-AAAA"))
    assert caught.value.reason == "RATE_LIMITED"
    assert caught.value.retry_after_s == 3600
    assert len(servicer.called_at) == 1


async def test_what_cannot_be_mended_by_waiting_is_sent_once() -> None:
    """
    A full disk names no time, so the client does not try again by itself.
    """
    servicer = Flaky(refusal(Reason.ERROR_REASON_STORAGE_EXHAUSTED), refusal(Reason.ERROR_REASON_SIGNAL_NOT_FOUND))
    async with hosted(servicer) as server, Connection(str(server.address)) as connection:
        stub = SignalServiceStub(connection.calls)
        with pytest.raises(Exhausted):
            await connection.call(stub.GetSignal, pb.GetSignalRequest(signal_id="OMEN-AAAA"))
        with pytest.raises(NotFound):
            await connection.call(stub.GetSignal, pb.GetSignalRequest(signal_id="OMEN-AAAA"))
    assert len(servicer.called_at) == 2


async def test_attempts_are_bounded() -> None:
    """
    A server that refuses for ever is asked five times and no more.
    """
    servicer = Flaky(*(refusal(Reason.ERROR_REASON_RATE_LIMITED, retry_after_s=0.01) for _ in range(20)))
    async with hosted(servicer) as server, Connection(str(server.address)) as connection:
        stub = SignalServiceStub(connection.calls)
        with pytest.raises(Exhausted):
            await connection.call(stub.GetSignal, pb.GetSignalRequest(signal_id="OMEN-AAAA"))
    assert len(servicer.called_at) == 5


async def test_a_stream_ends_in_the_error_the_server_gave() -> None:
    """
    What came before the error is delivered, and the error keeps its reason.
    """
    servicer = Flaky(refusal(Reason.ERROR_REASON_CURSOR_INVALID, metadata={"earliest_cursor": "7"}))
    seen = []
    async with hosted(servicer) as server, Connection(str(server.address)) as connection:
        stub = SignalServiceStub(connection.subscriptions)
        with pytest.raises(CallError) as caught:
            async for frame in connection.stream(stub.StreamSignals, pb.StreamSignalsRequest()):
                seen += [frame.cursor]
    assert seen == ["1", "2"]
    assert caught.value.code is grpc.StatusCode.OUT_OF_RANGE
    assert caught.value.metadata == {"earliest_cursor": "7"}


async def test_leaving_a_stream_cancels_its_call() -> None:
    """
    A caller that stops listening holds no place on the server.
    """
    limits = {"subscribe_calls_max": 1}
    async with hosted(Flaky(), settings=limits) as server, Connection(str(server.address)) as connection:
        stub = SignalServiceStub(connection.subscriptions)
        for _ in range(3):
            frames = await placed(connection, stub)
            assert (await anext(frames)).cursor == "2"
            await frames.aclose()


async def placed(connection: Connection, stub: Any) -> AsyncGenerator[pb.StreamSignalsResponse, None]:
    """
    Return a stream that has the server's one place, which the stream before it may be about to leave.
    """
    async with asyncio.timeout(30):
        while True:
            frames = connection.stream(stub.StreamSignals, pb.StreamSignalsRequest())
            try:
                assert (await anext(frames)).cursor == "1"
            except Unavailable as error:
                assert error.reason == "OVERLOADED"
                await frames.aclose()
            else:
                return frames


async def test_a_port_nobody_listens_on_is_unavailable() -> None:
    """
    A server that is not there ends in Unavailable within the call's time, and retrying may help.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    async with ServerClient(f"127.0.0.1:{port}", timeout_s=5) as nobody:
        with pytest.raises(Unavailable) as caught:
            await nobody.info()
    assert caught.value.retryable


def test_a_key_file_may_be_a_line_of_the_servers_list(tmp_path: Any) -> None:
    """
    A client takes the bare key, or a whole line of the server's list, comments left out.
    """
    bare, line = tmp_path / "bare", tmp_path / "line"
    bare.write_text("s3cret\n")
    line.write_text("# ours\nreader:read:s3cret\n")
    assert read_key(bare) == read_key(line) == "s3cret"
    assert read_key(None) == ""


async def test_a_message_that_is_too_large_is_told_as_such() -> None:
    """
    The library refuses it without a reason; the caller is told the reason and both sizes, and it is not sent again.
    """
    servicer = Flaky()
    async with hosted(servicer) as server, Connection(str(server.address)) as connection:
        request = pb.GetSignalRequest(signal_id="x" * (1 << 20))
        with pytest.raises(Exhausted) as raised:
            await connection.call(SignalServiceStub(connection.calls).GetSignal, request)
    assert (raised.value.reason, raised.value.retryable) == ("MESSAGE_TOO_LARGE", False)
    assert raised.value.metadata == {"size_bytes": str(request.ByteSize()), "size_bytes_max": str(1 << 20)}
    assert servicer.called_at == []
