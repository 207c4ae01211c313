"""
A web server on loopback that says exactly the bytes it is told to.
"""

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Self, TypeAlias

Reply: TypeAlias = bytes | Callable[[asyncio.StreamWriter], Awaitable[None]]


def ok(body: bytes, *headers: str, status: str = "200 OK") -> bytes:
    """
    Return a whole answer.
    """
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


class WebServer(AbstractAsyncContextManager["WebServer"]):
    """
    Answers each path with its replies, one after the other, the last one for ever; notes every request.
    """

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.closed = asyncio.Event()
        self._replies: dict[str, list[Reply]] = {}
        self._tls = tls
        self._server: asyncio.Server | None = None

    def tell(self, path: str, *replies: Reply) -> str:
        """
        Set what *path* answers, and return its address.
        """
        self._replies[path] = list(replies)
        return self.address(path)

    def address(self, path: str) -> str:
        """
        Return the address of *path*.
        """
        assert self._server is not None
        port = self._server.sockets[0].getsockname()[1]
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{port}{path}"

    def asked(self, path: str) -> list[dict[str, str]]:
        """
        Return the headers of every request for *path*.
        """
        return [headers for asked, headers in self.requests if asked == path]

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._answer, "127.0.0.1", 0, ssl=self._tls)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        await self._server.wait_closed()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            path = head[0].split(" ")[1]
            self.requests.append((path, {k.lower(): v for k, _, v in (row.partition(": ") for row in head[1:] if row)}))
            replies = self._replies.get(path, [ok(b"", status="404 Not Found")])
            reply = replies.pop(0) if len(replies) > 1 else replies[0]
            if isinstance(reply, bytes):
                writer.write(reply)
                await writer.drain()
            else:
                await reply(writer)
                await reader.read()  # Whatever it is, the other side ends it.
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # The client hung up, which is what some tests want.
        finally:
            self.closed.set()
            writer.close()
