import time
from collections.abc import Callable

import pytest

from tests.hostile.wire import framed, request, wire
from tests.processes import ServerProcess

pytestmark = pytest.mark.asyncio(loop_scope="module")

INFO = "/omen.v1.ServerInfoService/GetServerInfo"
EMIT = "/omen.v1.SignalService/EmitSignals"
STREAM = "/omen.v1.SignalService/StreamSignals"
OK, DENIED, UNAUTHENTICATED = 0, 7, 16
BEARER = ("authorization", "Bearer reader-key")
PLAIN = ("x-api-key", "reader-key")


@pytest.mark.parametrize("path", [INFO, EMIT, STREAM])
@pytest.mark.parametrize(
    ("extra", "code", "reason"),
    [
        ([], UNAUTHENTICATED, "API_KEY_MISSING"),
        ([("x-api-key", "guess")], UNAUTHENTICATED, "API_KEY_UNKNOWN"),
        ([("x-api-key", "")], UNAUTHENTICATED, "API_KEY_UNKNOWN"),
        ([("x-api-key", b"\xff\xfe\n\x1b[31m")], UNAUTHENTICATED, "API_KEY_UNKNOWN"),
        ([("x-api-key", b"reader-key\x00")], UNAUTHENTICATED, "API_KEY_UNKNOWN"),
        ([("x-api-key", "reader-key,writer-key")], UNAUTHENTICATED, "API_KEY_UNKNOWN"),
        ([("authorization", "reader-key")], UNAUTHENTICATED, "API_KEY_UNKNOWN"),
        ([("authorization", "Basic reader-key")], UNAUTHENTICATED, "API_KEY_UNKNOWN"),
        ([BEARER, ("authorization", "Bearer writer-key")], UNAUTHENTICATED, "API_KEY_AMBIGUOUS"),
        ([PLAIN, ("x-api-key", "writer-key")], UNAUTHENTICATED, "API_KEY_AMBIGUOUS"),
        ([PLAIN, ("authorization", "Bearer writer-key")], UNAUTHENTICATED, "API_KEY_AMBIGUOUS"),
        ([("authorization", "Bearer writer-key"), PLAIN], UNAUTHENTICATED, "API_KEY_AMBIGUOUS"),
        ([("x-api-key", "guess"), PLAIN], UNAUTHENTICATED, "API_KEY_AMBIGUOUS"),
    ],
    ids=str,
)
async def test_a_caller_nobody_knows_is_told_before_its_message(
    server: ServerProcess, path: str, extra: list[tuple[str, str | bytes]], code: int, reason: str
) -> None:
    """
    No key, a wrong one, or two are refused from the headers alone, for streams and for calls, also when no message
    ever comes: the answer is not that the message is late.
    """
    async with wire(server.address) as connection:
        reply = await connection.end(connection.begin(request(path, *extra)))
    assert (reply.grpc_status, reply.reason) == (code, reason)


@pytest.mark.parametrize(("path", "key"), [(EMIT, "reader-key"), (STREAM, "writer-key"), (INFO, "writer-key")])
async def test_a_scope_too_small_is_told_before_the_message(server: ServerProcess, path: str, key: str) -> None:
    """
    A key that may not call the method is refused from the headers alone.
    """
    async with wire(server.address) as connection:
        reply = await connection.end(connection.begin(request(path, ("x-api-key", key))))
    assert (reply.grpc_status, reply.reason) == (DENIED, "SCOPE_MISSING")


@pytest.mark.parametrize(
    "extra", [[PLAIN], [BEARER], [PLAIN, BEARER], [PLAIN, PLAIN], [("authorization", "bEaReR  reader-key")]]
)
async def test_one_key_in_one_or_two_places_is_one_key(server: ServerProcess, extra: list[tuple[str, str]]) -> None:
    """
    The same key in both headers, or twice in one, is no contradiction.
    """
    async with wire(server.address) as connection:
        reply = await connection.call(request(INFO, *extra), framed(b""))
    assert reply.grpc_status == OK


async def test_refusing_a_thousand_bodiless_calls_takes_no_time(
    besieged: ServerProcess, figure: Callable[[str], None]
) -> None:
    """
    A thousand calls with a wrong key and no message are refused one after the other, none waiting for its message.
    """
    seconds = []
    async with wire(besieged.address) as connection:
        for _ in range(1000):
            began = time.perf_counter()
            reply = await connection.end(connection.begin(request(STREAM, ("x-api-key", "guess"))))
            seconds.append(time.perf_counter() - began)
            assert reply.grpc_status == UNAUTHENTICATED
    seconds.sort()
    figure(
        f"wrong key without a message: refused in p50 {seconds[500] * 1000:.2f} ms, p99 {seconds[990] * 1000:.2f} ms"
    )
    assert seconds[990] < 0.4  # Less than a message may take; the machine may be busy.
