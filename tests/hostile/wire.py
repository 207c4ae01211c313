"""
One HTTP/2 connection by hand: it sends what it is told, also what no library would, and keeps what comes back.
"""

import asyncio
import base64
import ssl
import struct
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TypeAlias
from urllib.parse import unquote

from google.rpc import error_details_pb2, status_pb2
from hpack import Decoder, Encoder
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
FRAME_BYTES_MAX = 16384
REPLY_TIMEOUT_S = 20.0
HEADER = struct.Struct(">BI")

Pairs: TypeAlias = list[tuple[bytes, bytes]]


@dataclass
class Reply:
    """
    What came back on one stream, as far as it came.
    """

    headers: Pairs = field(default_factory=list)
    data: bytearray = field(default_factory=bytearray)
    reset: int | None = None
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    def value(self, name: bytes) -> str | None:
        """
        Return the last header or trailer of that name.
        """
        return next((value.decode() for key, value in reversed(self.headers) if key == name), None)

    @property
    def grpc_status(self) -> int | None:
        """
        The call's status as a number; None when none came.
        """
        text = self.value(b"grpc-status")
        return None if text is None else int(text)

    @property
    def message(self) -> str:
        """
        The status's text.
        """
        return unquote(self.value(b"grpc-message") or "")

    @property
    def reason(self) -> str:
        """
        The reason in the status's ErrorInfo; empty when the status is not one of ours.
        """
        text = self.value(b"grpc-status-details-bin")
        if text is None:
            return ""
        status = status_pb2.Status.FromString(base64.b64decode(text + "=" * (-len(text) % 4)))
        info = error_details_pb2.ErrorInfo()
        return info.reason if status.details and status.details[0].Unpack(info) else ""


class Wire:
    """
    A connection to a server.

    It answers the server's pings and settings as one must, and opens its window for what it reads, unless told not to.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, polite: bool = True) -> None:
        self.replies: dict[int, Reply] = {}
        self.goaway: GoAwayFrame | None = None
        self.counts: dict[str, int] = {}
        self.settings: dict[int, int] = {}
        self.pongs = asyncio.Queue[bytes]()
        self.closed = asyncio.Event()
        self.settled = asyncio.Event()
        self._decoder = Decoder(1 << 26)
        self._reader = reader
        self._writer = writer
        self._polite = polite
        self._block = b""
        self._next_stream = 1
        self._task = asyncio.create_task(self._read())

    def send(self, *frames: Frame | bytes) -> None:
        """
        Send frames, or bytes as they are. Nothing is said of a connection that the server has closed.
        """
        if not self._writer.is_closing():
            self._writer.write(b"".join(f if isinstance(f, bytes) else f.serialize() for f in frames))

    async def flush(self) -> None:
        """
        Wait until the system has taken most of what was sent, and let other tasks have their turn in any case.
        """
        await asyncio.sleep(0)
        with suppress(ConnectionError):
            await self._writer.drain()

    def stream(self) -> int:
        """
        Return the number of a new stream.
        """
        number = self._next_stream
        self._next_stream += 2
        self.replies[number] = Reply()
        return number

    def begin(self, headers: Pairs, *, end_stream: bool = False) -> int:
        """
        Send the headers of a call, and return the number of its stream.
        """
        number = self.stream()
        self.send(*header_frames(number, block(headers), end_stream=end_stream))
        return number

    def body(self, number: int, data: bytes, *, end_stream: bool = True) -> None:
        """
        Send *data* on a stream, in frames of the usual size.
        """
        for at in range(0, max(1, len(data)), FRAME_BYTES_MAX):
            frame = DataFrame(number, data[at : at + FRAME_BYTES_MAX])
            if end_stream and at + FRAME_BYTES_MAX >= len(data):
                frame.flags.add("END_STREAM")
            self.send(frame)

    async def end(self, number: int, timeout_s: float = REPLY_TIMEOUT_S) -> Reply:
        """
        Wait for the end of a stream, or of its connection, and return what came.
        """
        reply = self.replies[number]
        async with asyncio.timeout(timeout_s):
            await reply.ended.wait()
        return reply

    async def call(self, headers: Pairs, data: bytes = b"") -> Reply:
        """
        Make one call and return its reply.
        """
        number = self.begin(headers)
        self.body(number, data)
        await self.flush()
        return await self.end(number)

    async def ping(self, timeout_s: float = REPLY_TIMEOUT_S) -> None:
        """
        Wait until the server has read everything sent so far, or has closed the connection.
        """
        self.send(PingFrame(0, opaque_data=b"wireping"))
        pong = asyncio.create_task(self.pongs.get())
        gone = asyncio.create_task(self.closed.wait())
        done, _ = await asyncio.wait({pong, gone}, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        pong.cancel()
        gone.cancel()
        if not done:
            raise TimeoutError("the server reads no more")

    def finish(self) -> None:
        """
        Close our half of the connection.
        """
        self._writer.write_eof()

    async def gone(self, timeout_s: float = REPLY_TIMEOUT_S) -> None:
        """
        Wait until the server has closed the connection.
        """
        async with asyncio.timeout(timeout_s):
            await self.closed.wait()

    async def close(self) -> None:
        """
        Close the connection at once.
        """
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task
        self._writer.transport.abort()
        with suppress(ConnectionError, ssl.SSLError):
            await self._writer.wait_closed()

    async def _read(self) -> None:
        try:
            while True:
                frame, length = Frame.parse_frame_header(memoryview(await self._reader.readexactly(9)))
                frame.parse_body(memoryview(await self._reader.readexactly(length)))
                self.counts[type(frame).__name__] = self.counts.get(type(frame).__name__, 0) + 1
                self._take(frame)
        except (asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
            pass  # The server has closed the connection; whoever waits for it hears so.
        finally:
            self.closed.set()
            for reply in self.replies.values():
                reply.ended.set()

    def _take(self, frame: Frame) -> None:
        match frame:
            case HeadersFrame() | ContinuationFrame():
                self._take_headers(frame)
            case DataFrame():
                self._take_data(frame)
            case RstStreamFrame():
                reply = self.replies.setdefault(frame.stream_id, Reply())
                reply.reset = frame.error_code
                reply.ended.set()
            case SettingsFrame():
                if "ACK" in frame.flags:
                    self.settled.set()
                elif self._polite:
                    self.settings.update(frame.settings)
                    self.send(SettingsFrame(0, flags=["ACK"]))
            case PingFrame():
                if "ACK" in frame.flags:
                    self.pongs.put_nowait(frame.opaque_data)
                elif self._polite:
                    self.send(PingFrame(0, opaque_data=frame.opaque_data, flags=["ACK"]))
            case GoAwayFrame():
                self.goaway = frame
            case _:
                pass

    def _take_headers(self, frame: HeadersFrame | ContinuationFrame) -> None:
        self._block += frame.data
        reply = self.replies.setdefault(frame.stream_id, Reply())
        ends = "END_STREAM" in frame.flags
        if "END_HEADERS" in frame.flags:
            decoded, self._block = self._decoder.decode(self._block, raw=True), b""
            reply.headers.extend((bytes(name), bytes(value)) for name, value, *_ in decoded)
        if ends:
            reply.ended.set()

    def _take_data(self, frame: DataFrame) -> None:
        reply = self.replies.setdefault(frame.stream_id, Reply())
        reply.data += frame.data
        if "END_STREAM" in frame.flags:
            reply.ended.set()
        elif self._polite and frame.data:
            size = len(frame.data)
            self.send(WindowUpdateFrame(0, window_increment=size))
            self.send(WindowUpdateFrame(frame.stream_id, window_increment=size))


@asynccontextmanager
async def wire(
    address: str,
    *,
    settings: Mapping[int, int] | None = None,
    greeting: bytes | None = None,
    tls: ssl.SSLContext | None = None,
    polite: bool = True,
) -> AsyncIterator[Wire]:
    """
    Connect to *address*, greet as HTTP/2 does or with *greeting*, and close when the block ends.
    """
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(
        host, int(port), ssl=tls, server_hostname="localhost" if tls else None
    )
    connection = Wire(reader, writer, polite=polite)
    connection.send(
        PREFACE + SettingsFrame(0, settings=dict(settings or {})).serialize() if greeting is None else greeting
    )
    try:
        yield connection
    finally:
        await connection.close()


def request(path: str | bytes, *extra: tuple[str | bytes, str | bytes], leave_out: str = "") -> Pairs:
    """
    Return the headers of a call to *path*, with *extra* ones after the usual, and one of those left out.
    """
    raw = path if isinstance(path, bytes) else path.encode()
    usual: Pairs = [
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":path", raw),
        (b":authority", b"localhost"),
        (b"te", b"trailers"),
        (b"content-type", b"application/grpc"),
    ]
    return [pair for pair in usual if pair[0] != leave_out.encode()] + [(as_bytes(n), as_bytes(v)) for n, v in extra]


def as_bytes(text: str | bytes) -> bytes:
    """
    Return *text* as it goes over the wire.
    """
    return text if isinstance(text, bytes) else text.encode()


def block(headers: Pairs) -> bytes:
    """
    Return *headers* compressed so that no other block needs to have been read before.
    """
    return Encoder().encode(headers, huffman=False)


def header_frames(number: int, headers: bytes, *, end_stream: bool = False) -> Iterator[Frame]:
    """
    Yield the frames that carry a header block: one, and continuations as far as needed.
    """
    parts = [headers[at : at + FRAME_BYTES_MAX] for at in range(0, max(1, len(headers)), FRAME_BYTES_MAX)]
    frames: list[HeadersFrame | ContinuationFrame] = [HeadersFrame(number, parts[0])]
    frames.extend(ContinuationFrame(number, part) for part in parts[1:])
    frames[-1].flags.add("END_HEADERS")
    if end_stream:
        frames[0].flags.add("END_STREAM")
    yield from frames


def framed(message: bytes, *, compressed: bool = False, length: int | None = None) -> bytes:
    """
    Return *message* as gRPC frames it, or with a false *length*.
    """
    return HEADER.pack(compressed, len(message) if length is None else length) + message


def messages(data: bytes) -> list[bytes]:
    """
    Return the messages in the data of a stream.
    """
    found = []
    while len(data) >= HEADER.size:
        _, length = HEADER.unpack_from(data)
        found.append(bytes(data[HEADER.size : HEADER.size + length]))
        data = data[HEADER.size + length :]
    return found
