"""
One GET from a configured address: bounded in size, time and redirects, TLS verified, over in an instant when cancelled.

The standard library's client does it in a thread. Whoever stops waiting shuts the socket, which ends the thread.
"""

import asyncio
import contextlib
import http.client
import ipaddress
import socket
import ssl
import threading
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.message import Message
from urllib.parse import SplitResult, urljoin, urlsplit

from omen_server.pipeline.sources.harvest import public_url
from omen_server.pipeline.sources.moment import read_mail_date
from omen_server.pipeline.sources.node import BODY_BYTES_MAX

SOCKET_TIMEOUT_S = 10.0
TIMEOUT_S = 30.0
REDIRECTS_MAX = 3
RETRY_AFTER_S_MAX = 86_400.0
CHUNK_BYTES = 1 << 16
VALIDATOR_CHARS_MAX = 1_000
REDIRECTS = {301, 302, 303, 307, 308}
ACCEPT = "application/geo+json, application/json;q=0.9, application/rss+xml;q=0.8, text/csv;q=0.8, */*;q=0.5"
GZIP_WINDOW_BITS = 31


class FetchFailed(Exception):
    """
    An answer that did not come, or is none: from where, what happened, and when the other side wants to be asked again.
    """

    def __init__(self, url: str, problem: str, *, status: int = 0, retry_after_s: float | None = None) -> None:
        super().__init__(f"{public_url(url)}: {problem}")
        self.url = public_url(url)
        self.problem = problem
        self.status = status
        self.retry_after_s = retry_after_s


@dataclass(frozen=True, slots=True)
class Validators:
    """
    What an answer is known by, so that the same need not be sent again.
    """

    etag: str = ""
    last_modified: str = ""


@dataclass(frozen=True, slots=True)
class Fetched:
    """
    An answer; without a body when it is the one already known.
    """

    body: bytes | None
    fetched_at: datetime
    validators: Validators


@dataclass(frozen=True, slots=True)
class Answer:
    """
    What one request got.
    """

    status: int
    headers: Message
    body: bytes


class Cord:
    """
    What the waiting side pulls to end the thread that reads.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._cut = False

    def hold(self, connected: socket.socket) -> None:
        """
        Take the socket that is being read.
        """
        with self._lock:
            self._socket = connected
            if self._cut:
                raise ConnectionAbortedError("nobody waits any more")

    def cut(self) -> None:
        """
        End whatever reads from the socket, now or later.
        """
        with self._lock:
            self._cut = True
            if self._socket is not None:
                with contextlib.suppress(OSError):
                    # The plain one: that of TLS takes the connection apart under the thread that uses it.
                    socket.socket.shutdown(self._socket, socket.SHUT_RDWR)


class Fetcher:
    """
    Fetches, and says who asks: some sources want somebody to write to.
    """

    def __init__(
        self,
        contact: str,
        *,
        body_bytes_max: int = BODY_BYTES_MAX,
        timeout_s: float = TIMEOUT_S,
        tls: ssl.SSLContext | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        if not contact.isprintable() or not contact.isascii() or not contact:
            raise ValueError("a contact is an address or a URL, in printable ASCII")
        self._agent = f"omen-server ({contact})"
        self._body_bytes_max = body_bytes_max
        self._timeout_s = timeout_s
        self._tls = tls or ssl.create_default_context()
        self._now = now

    async def fetch(self, url: str, validators: Validators = Validators()) -> Fetched:
        """
        Fetch *url*, or raise FetchFailed.
        """
        cord = Cord()
        try:
            async with asyncio.timeout(self._timeout_s):
                answer = await asyncio.to_thread(self._follow, url, validators, cord)
        except TimeoutError:
            raise FetchFailed(url, f"no whole answer within {self._timeout_s:g} s") from None
        finally:
            cord.cut()
        if answer.status not in {200, 304}:
            wait_s = retry_after_s(answer.headers.get("Retry-After", ""), self._now())
            raise FetchFailed(url, f"status {answer.status}", status=answer.status, retry_after_s=wait_s)
        known = Validators(validator(answer.headers, "ETag"), validator(answer.headers, "Last-Modified"))
        return Fetched(answer.body if answer.status == 200 else None, self._now(), known)

    def _follow(self, url: str, validators: Validators, cord: Cord) -> Answer:
        for _ in range(REDIRECTS_MAX + 1):
            try:
                answer = self._ask(url, check_url(url), validators, cord)
            except (OSError, http.client.HTTPException, zlib.error, ValueError) as error:
                raise FetchFailed(url, f"{type(error).__name__}: {error}"[:300]) from None
            if answer.status not in REDIRECTS:
                return answer
            url = redirected(url, answer.headers.get("Location", ""))
        raise FetchFailed(url, f"redirects more than {REDIRECTS_MAX} times")

    def _ask(self, url: str, parts: SplitResult, validators: Validators, cord: Cord) -> Answer:
        host = parts.hostname or ""
        connection = (
            http.client.HTTPSConnection(host, parts.port, timeout=SOCKET_TIMEOUT_S, context=self._tls)
            if parts.scheme == "https"
            else http.client.HTTPConnection(host, parts.port, timeout=SOCKET_TIMEOUT_S)
        )
        headers = {"User-Agent": self._agent, "Accept": ACCEPT, "Accept-Encoding": "gzip", "Connection": "close"}
        if validators.etag:
            headers["If-None-Match"] = validators.etag
        if validators.last_modified:
            headers["If-Modified-Since"] = validators.last_modified
        with contextlib.closing(connection):
            connection.connect()
            cord.hold(connection.sock)
            connection.request("GET", f"{parts.path or '/'}{'?' * bool(parts.query)}{parts.query}", headers=headers)
            with connection.getresponse() as response:
                body = self._read(url, response) if response.status == 200 else b""
                return Answer(response.status, response.headers, body)

    def _read(self, url: str, response: http.client.HTTPResponse) -> bytes:
        encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
        if encoding not in {"identity", "gzip", "x-gzip"}:
            raise FetchFailed(url, f"is encoded as {encoding[:40]!r}")
        length, received, body = response.length, 0, bytearray()
        gunzip = Gunzip() if encoding != "identity" else None
        while chunk := response.read(CHUNK_BYTES):
            received += len(chunk)
            room = self._body_bytes_max - len(body) + 1
            body += gunzip.feed(chunk, room) if gunzip else chunk
            if max(received, len(body)) > self._body_bytes_max:
                raise FetchFailed(url, f"has more than {self._body_bytes_max} bytes")
        if length is not None and received != length:
            raise FetchFailed(url, f"ends after {received} of {length} bytes")
        if gunzip and not gunzip.whole:
            raise FetchFailed(url, "ends in the middle of its gzip")
        return bytes(body)


class Gunzip:
    """
    Unpacks gzip, and never more than there is room for.
    """

    def __init__(self) -> None:
        self._member = zlib.decompressobj(GZIP_WINDOW_BITS)

    @property
    def whole(self) -> bool:
        """
        Whether it ended where it should.
        """
        return self._member.eof

    def feed(self, chunk: bytes, room: int) -> bytes:
        """
        Return what *chunk* unpacks to, at most *room* bytes of it.
        """
        unpacked = b""
        while chunk and len(unpacked) < room:
            if self._member.eof:  # Another member follows the last.
                self._member = zlib.decompressobj(GZIP_WINDOW_BITS)
            unpacked += self._member.decompress(chunk, room - len(unpacked))
            chunk = self._member.unused_data
        return unpacked


def check_url(url: str) -> SplitResult:
    """
    Return the parts of an address that may be fetched: https, or plain http to this machine.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise FetchFailed(url, "is no address") from None
    if not parts.hostname or port == 0 or "@" in parts.netloc or not url.isascii() or not url.isprintable():
        raise FetchFailed(url, "is no address of a source")
    if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(parts.hostname)):
        raise FetchFailed(url, "is not https")
    return parts


def is_loopback(host: str) -> bool:
    """
    Whether *host* is this machine.
    """
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def redirected(url: str, location: str) -> str:
    """
    Return where an answer sends us: to the same place by the same scheme, else FetchFailed.
    """
    try:
        target = urljoin(url, location)
        here, there = urlsplit(url), urlsplit(target)
        same = (here.scheme, here.hostname, here.port) == (there.scheme, there.hostname, there.port)
    except ValueError:
        raise FetchFailed(url, "redirects to no address") from None
    if not location or not same:
        raise FetchFailed(url, f"redirects to {public_url(target)[:200]!r}, which is elsewhere")
    return target


def retry_after_s(text: str, now: datetime) -> float | None:
    """
    Return how long a server wants us to wait, at most a day: it says seconds, or a date. None when it says neither.
    """
    text = text.strip()
    if text.isascii() and text.isdigit():
        return min(float(text[:9]), RETRY_AFTER_S_MAX) if text else None
    try:
        return min(max(0.0, (read_mail_date(text) - now).total_seconds()), RETRY_AFTER_S_MAX)
    except ValueError:
        return None


def validator(headers: Message, name: str) -> str:
    """
    Return a validator that can be sent back.
    """
    text = str(headers.get(name, "")).strip()
    return text if len(text) <= VALIDATOR_CHARS_MAX and text.isascii() and text.isprintable() else ""
