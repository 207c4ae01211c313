"""
Connections that say nothing, or only half of it, on a console that serves.
"""

import asyncio
from contextlib import nullcontext

import pytest
import uvicorn

from omen_console import gate
from omen_console.app import application, listening, server_config
from omen_console.silence import end_silent
from omen_rpc.address import Address
from tests.console.conftest import Open
from tests.console.far import NOBODY

HALF_HEAD = b"GET /copy HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: "
HALF_FORM = (
    b"POST /ingest/send HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100\r\n"
    b"Content-Type: application/x-www-form-urlencoded\r\n\r\ntok"
)


async def test_half_a_request_keeps_no_connection(open_web: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A head that never ends is hung up on, a form that never ends is answered 408, and others are served meanwhile.
    """
    monkeypatch.setattr(gate, "FORM_TIMEOUT_S", 0.1)
    async with asyncio.timeout(30), open_web(**NOBODY) as web:
        server = uvicorn.Server(server_config(application(web.console), web.console.settings))
        server.capture_signals = nullcontext  # type: ignore[assignment,method-assign]
        bound = listening(Address("127.0.0.1", 0))
        serving = asyncio.create_task(server.serve(sockets=[bound]))
        silence = asyncio.create_task(end_silent(server.server_state.connections, 0.2))

        async def sent(text: bytes) -> bytes:
            reader, writer = await asyncio.open_connection(*bound.getsockname())
            writer.write(text)
            found = await reader.read()
            writer.close()
            return found

        found = await asyncio.gather(
            sent(b""), sent(HALF_HEAD), sent(HALF_FORM), sent(HALF_HEAD + b"\r\nConnection: close\r\n\r\n")
        )
        assert [each[9:12] for each in found] == [b"", b"", b"408", b"200"]
        silence.cancel()
        server.should_exit = True
        await serving
