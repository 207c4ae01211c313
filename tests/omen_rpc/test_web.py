import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from omen_rpc import web
from omen_rpc.address import Address, AddressRefused
from omen_rpc.web import Web


class Readiness:
    """
    What the probes are told.
    """

    ready = True


@asynccontextmanager
async def serving(readiness: Readiness) -> AsyncIterator[Address]:
    """
    Serve the HTTP port while the block runs.
    """
    port = Web(Address("127.0.0.1", 0), lambda: readiness.ready)
    address = await port.start()
    try:
        yield address
    finally:
        await port.close()
        await port.close()


async def ask(address: Address, request: bytes) -> bytes:
    """
    Send *request* as it is, and return everything that comes until the connection ends.
    """
    reader, writer = await asyncio.open_connection(address.host, address.port)
    try:
        writer.write(request)
        await writer.drain()
        return await asyncio.wait_for(reader.read(), 5)
    except ConnectionError:
        return b""
    finally:
        writer.close()


def status_of(reply: bytes) -> str:
    """
    Return the status line without the protocol.
    """
    return reply.split(b"\r\n")[0].decode().removeprefix("HTTP/1.1 ")


@pytest.mark.parametrize(
    ("request_line", "status", "body"),
    [
        ("GET /livez HTTP/1.1", "200 OK", b"ok\n"),
        ("GET /readyz HTTP/1.1", "200 OK", b"ok\n"),
        ("GET /readyz?verbose=1 HTTP/1.0", "200 OK", b"ok\n"),
        ("HEAD /livez HTTP/1.1", "200 OK", b""),
        ("GET / HTTP/1.1", "404 Not Found", b"try /metrics, /livez or /readyz\n"),
        ("GET /metrics/ HTTP/1.1", "404 Not Found", b"try /metrics, /livez or /readyz\n"),
        ("GET /../etc/passwd HTTP/1.1", "404 Not Found", b"try /metrics, /livez or /readyz\n"),
        ("POST /livez HTTP/1.1", "405 Method Not Allowed", b"only GET\n"),
        ("get /livez HTTP/1.1", "405 Method Not Allowed", b"only GET\n"),
        ("", "405 Method Not Allowed", b"only GET\n"),
        ("GET", "404 Not Found", b"try /metrics, /livez or /readyz\n"),
    ],
)
async def test_three_paths_and_nothing_else(request_line: str, status: str, body: bytes) -> None:
    """
    Each of the three paths answers GET and HEAD; another path is 404, another method 405, and all say their length.
    """
    async with serving(Readiness()) as address:
        reply = await ask(address, f"{request_line}\r\nHost: x\r\n\r\n".encode())
    head, _, sent = reply.partition(b"\r\n\r\n")
    assert (status_of(reply), sent) == (status, body)
    if not request_line.startswith("HEAD"):
        assert f"Content-Length: {len(body)}".encode() in head


async def test_readyz_follows_the_server() -> None:
    """
    An orchestrator is told 503 while the server recovers or drains, and that it lives all the same.
    """
    readiness = Readiness()
    async with serving(readiness) as address:
        readiness.ready = False
        assert status_of(await ask(address, b"GET /readyz HTTP/1.1\r\n\r\n")) == "503 Service Unavailable"
        assert status_of(await ask(address, b"GET /livez HTTP/1.1\r\n\r\n")) == "200 OK"


async def test_metrics_are_exposition() -> None:
    """
    /metrics has the type of Prometheus' text and every series.
    """
    async with serving(Readiness()) as address:
        reply = await ask(address, b"GET /metrics HTTP/1.1\r\n\r\n")
    assert b"Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n" in reply
    assert b"# TYPE omen_rpc_calls_total counter" in reply


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET /livez HTTP/1.1\r\nX: " + b"x" * 20_000 + b"\r\n\r\n",
        b"x" * 20_000,
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\r\n\r",
    ],
    ids=["long head", "no lines", "cut"],
)
async def test_bad_requests_end_and_the_port_goes_on(request_bytes: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A request that is too large or never ends is closed without an answer, and the next one is answered.
    """
    monkeypatch.setattr(web, "REQUEST_TIMEOUT_S", 0.2)
    async with serving(Readiness()) as address:
        assert await ask(address, request_bytes) == b""
        assert status_of(await ask(address, b"GET /livez HTTP/1.1\r\n\r\n")) == "200 OK"


async def test_connections_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    As many silent connections as there may be do not keep the next one waiting: it is closed, and works once they end.
    """
    monkeypatch.setattr(web, "CONNECTIONS_MAX", 2)
    async with serving(Readiness()) as address:
        silent = [await asyncio.open_connection(address.host, address.port) for _ in range(2)]
        assert await ask(address, b"GET /livez HTTP/1.1\r\n\r\n") == b""
        for _, writer in silent:
            writer.close()
            await writer.wait_closed()
        async with asyncio.timeout(30):
            while not await ask(address, b"GET /livez HTTP/1.1\r\n\r\n"):
                pass
    assert len(silent) == 2


async def test_port_in_use_names_its_own_flag() -> None:
    """
    A second server on the same HTTP port is told which flag gives another.
    """
    async with serving(Readiness()) as address:
        with pytest.raises(AddressRefused, match=r"is in use.*--metrics-port"):
            await Web(address, lambda: True).start()
