import asyncio
import gzip
import ipaddress
import re
import socket
import ssl
import struct
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from omen_server.fetch import Fetcher, FetchFailed, Gunzip, Validators, check_url, retry_after_s
from tests.omen_server.web_server import WebServer, ok

NOW = datetime(2026, 8, 16, 10, 0, tzinfo=UTC)
CONTACT = "ops@omen.example"


@pytest.fixture
async def server() -> AsyncIterator[WebServer]:
    """
    Serve on loopback.
    """
    async with WebServer() as server:
        yield server


@pytest.fixture(autouse=True)
def _patient_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Let no socket time out by itself: what ends a slow answer must be the fetcher.
    """
    monkeypatch.setattr("omen_server.fetch.SOCKET_TIMEOUT_S", 3600.0)


@pytest.fixture
def fetcher() -> Fetcher:
    """
    Return a fetcher that takes a thousand bytes.
    """
    return Fetcher(CONTACT, body_bytes_max=1_000, now=lambda: NOW)


async def test_answer(server: WebServer, fetcher: Fetcher) -> None:
    """
    The body comes back with when it was fetched; the source is told whom to write to.
    """
    url = server.tell("/a?b=%20c", ok(b"body", 'ETag: "v1"', "Last-Modified: Sun, 16 Aug 2026 09:00:00 GMT"))
    fetched = await fetcher.fetch(url)
    assert (fetched.body, fetched.fetched_at) == (b"body", NOW)
    assert fetched.validators == Validators('"v1"', "Sun, 16 Aug 2026 09:00:00 GMT")
    (headers,) = server.asked("/a?b=%20c")
    assert CONTACT in headers["user-agent"]
    assert headers["accept-encoding"] == "gzip"
    assert "if-none-match" not in headers


async def test_known_answer(server: WebServer, fetcher: Fetcher) -> None:
    """
    An answer already known is not sent again.
    """
    url = server.tell("/", b"HTTP/1.1 304 Not Modified\r\n\r\n")
    fetched = await fetcher.fetch(url, Validators('"v1"', "Sun, 16 Aug 2026 09:00:00 GMT"))
    assert fetched.body is None
    (headers,) = server.asked("/")
    assert headers["if-none-match"] == '"v1"'
    assert headers["if-modified-since"] == "Sun, 16 Aug 2026 09:00:00 GMT"


@pytest.mark.parametrize(
    "body",
    [gzip.compress(b"b" * 1_000), gzip.compress(b"b" * 400) + gzip.compress(b"b" * 600)],
    ids=["one member", "two members"],
)
async def test_gzip(server: WebServer, fetcher: Fetcher, body: bytes) -> None:
    """
    Gzip is unpacked up to the limit, also where it comes in several members.
    """
    url = server.tell("/", ok(body, "Content-Encoding: gzip"))
    assert (await fetcher.fetch(url)).body == b"b" * 1_000


async def test_chunks(server: WebServer, fetcher: Fetcher) -> None:
    """
    A body in chunks is put together.
    """
    url = server.tell("/", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
    assert (await fetcher.fetch(url)).body == b"abcde"


def test_no_more_than_there_is_room_for() -> None:
    """
    Not a byte above the room is unpacked, however little the packed ones are.
    """
    assert len(Gunzip().feed(gzip.compress(b"x" * 1_000_000), 10)) == 10


PLAIN = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"
BROKEN = {
    "one byte too many": (ok(b"x" * 1_001), "more than 1000 bytes"),
    "endless without a length": (PLAIN + b"x" * 100_000, "more than 1000 bytes"),
    "a bomb": (ok(gzip.compress(b"x" * 1_000_000), "Content-Encoding: gzip"), "more than 1000 bytes"),
    "gzip cut": (ok(gzip.compress(b"body" * 9)[:-5], "Content-Encoding: gzip"), "in the middle of its gzip"),
    "gzip of nothing": (ok(b"", "Content-Encoding: gzip"), "in the middle of its gzip"),
    "gzip that is none": (ok(b"body", "Content-Encoding: gzip"), "error"),
    "gzip and junk": (ok(gzip.compress(b"body") + b"junk", "Content-Encoding: gzip"), "error"),
    "another encoding": (ok(b"body", "Content-Encoding: br"), "encoded as 'br'"),
    "shorter than it says": (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nbody", "ends after 4 of 9 bytes"),
    "a chunk cut": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nabc", "IncompleteRead"),
    "no HTTP": (b"SSH-2.0-OpenSSH\r\n\r\n", "BadStatusLine"),
    "nothing": (b"", "RemoteDisconnected"),
    "headers without end": (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 1_000, "got more than 100 headers"),
    "a header without end": (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000, "got more than 65536 bytes"),
    "an error": (ok(b"", status="500 Oops"), "status 500"),
    "no content": (ok(b"", status="204 No Content"), "status 204"),
}


@pytest.mark.parametrize("name", BROKEN)
async def test_broken_answers(server: WebServer, fetcher: Fetcher, name: str) -> None:
    """
    What is too large, cut, or no answer is a failure that says so, and where.
    """
    reply, said = BROKEN[name]
    url = server.tell("/x", reply)
    with pytest.raises(FetchFailed, match=re.escape(said)) as caught:
        await fetcher.fetch(url)
    assert caught.value.url == url


async def test_connection_reset(server: WebServer, fetcher: Fetcher) -> None:
    """
    A connection reset in the middle is a failure.
    """

    async def reset(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nbo")
        await writer.drain()
        connected = writer.get_extra_info("socket")
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    with pytest.raises(FetchFailed, match=r"ends after|Reset"):
        await fetcher.fetch(server.tell("/", reset))


async def test_nobody_listens(server: WebServer, fetcher: Fetcher) -> None:
    """
    A refused connection is a failure.
    """
    url = server.address("/")
    await server.__aexit__(None, None, None)
    with pytest.raises(FetchFailed, match="Refused"):
        await fetcher.fetch(url)


async def drip(writer: asyncio.StreamWriter) -> None:
    """
    Begin an answer and never end it.
    """
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nbo")
    await writer.drain()


async def silence(_: asyncio.StreamWriter) -> None:
    """
    Say nothing.
    """


@pytest.mark.parametrize("reply", [drip, silence])
async def test_too_slow(server: WebServer, reply: object) -> None:
    """
    An answer that is not whole in time is given up, and its connection closed.
    """
    fetcher = Fetcher(CONTACT, timeout_s=0.1)
    with pytest.raises(FetchFailed, match=r"no whole answer within 0\.1 s"):
        await fetcher.fetch(server.tell("/", reply))  # type: ignore[arg-type]
    await server.closed.wait()


async def test_cancelled(server: WebServer, fetcher: Fetcher) -> None:
    """
    Whoever stops waiting stops at once: the connection is closed, and no thread stays behind.
    """
    begun = asyncio.Event()

    async def begin(writer: asyncio.StreamWriter) -> None:
        await drip(writer)
        begun.set()

    task = asyncio.create_task(fetcher.fetch(server.tell("/", begin)))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await server.closed.wait()
    await asyncio.get_running_loop().shutdown_default_executor()


async def test_redirect(server: WebServer, fetcher: Fetcher) -> None:
    """
    A redirect to the same place is followed.
    """
    url = server.tell("/old", ok(b"", "Location: /new", status="301 Moved"))
    server.tell("/new", ok(b"body"))
    assert (await fetcher.fetch(url)).body == b"body"


async def test_redirect_loop(server: WebServer, fetcher: Fetcher) -> None:
    """
    Three redirects are followed, a fourth is not.
    """
    url = server.tell("/", ok(b"", "Location: /", status="302 Found"))
    with pytest.raises(FetchFailed, match="more than 3 times"):
        await fetcher.fetch(url)
    assert len(server.requests) == 4


@pytest.mark.parametrize(
    "location",
    [
        "https://elsewhere.example/",
        "http://127.0.0.1:1/",
        "http://localhost/",
        "file:///etc/passwd",
        "//other/",
        "http://[",
        "",
    ],
)
async def test_redirect_elsewhere(server: WebServer, fetcher: Fetcher, location: str) -> None:
    """
    A redirect to another place, port or scheme is not followed.
    """
    url = server.tell("/", ok(b"", f"Location: {location}", status="307 Temporary Redirect"))
    with pytest.raises(FetchFailed, match=r"elsewhere|no address"):
        await fetcher.fetch(url)
    assert len(server.requests) == 1


@pytest.mark.parametrize("status", ["429 Too Many Requests", "503 Service Unavailable"])
@pytest.mark.parametrize(
    ("text", "seconds"),
    [("120", 120.0), ("Sun, 16 Aug 2026 10:00:30 GMT", 30.0), ("0", 0.0), ("soon", None), (None, None)],
)
async def test_retry_after(
    server: WebServer, fetcher: Fetcher, status: str, text: str | None, seconds: float | None
) -> None:
    """
    When to come back is told as seconds or as a date.
    """
    headers = [f"Retry-After: {text}"] if text is not None else []
    with pytest.raises(FetchFailed) as caught:
        await fetcher.fetch(server.tell("/", ok(b"", *headers, status=status)))
    assert caught.value.status == int(status[:3])
    assert caught.value.retry_after_s == seconds


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("Sun, 16 Aug 2026 09:00:00 GMT", 0.0),
        ("Sun, 16 Aug 2099 09:00:00 GMT", 86_400.0),
        ("9" * 400, 86_400.0),
        ("-5", None),
        ("1.5", None),
        ("٣", None),
        ("", None),
    ],
)
def test_odd_retry_after(text: str, seconds: float | None) -> None:
    """
    The past is now, a year is a day, and what is no time says nothing.
    """
    assert retry_after_s(text, NOW) == seconds


@pytest.mark.parametrize(
    "url",
    [
        "", "x", "//a.example/", "http://a.example/", "http://10.0.0.1/", "http://127.0.0.1.evil.example/", "ftp://a.example/",
        "file:///etc/passwd", "https:///x", "https://me:pw@a.example/", "https://a.example:0/", "https://a.example:x/",
        "https://a.example/\r\nX: y", "https://a.example/ b", "https://é.example/", "https://[::1",
    ],
)  # fmt: skip
async def test_addresses_refused(fetcher: Fetcher, url: str) -> None:
    """
    Only https is fetched, and http from this machine alone.
    """
    with pytest.raises(FetchFailed):
        await fetcher.fetch(url)


@pytest.mark.parametrize(
    "url", ["https://a.example/x?y", "https://a.example:8443", "http://[::1]:80/", "http://localhost/"]
)
def test_addresses_allowed(url: str) -> None:
    """
    These may be fetched.
    """
    assert check_url(url).hostname


@pytest.mark.parametrize("contact", ["", "a\r\nX: y", "é@example"])
def test_contact(contact: str) -> None:
    """
    A contact is one line of ASCII.
    """
    with pytest.raises(ValueError, match="contact"):
        Fetcher(contact)


def certificate(directory: Path) -> Path:
    """
    Write a certificate for 127.0.0.1 and its key into one file.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "loopback")])
    now = datetime.now(UTC)
    cert = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = directory / "server.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + cert.public_bytes(serialization.Encoding.PEM))
    return path


async def test_tls(tmp_path: Path) -> None:
    """
    A certificate nobody vouches for ends the call before anything is asked; one we trust does not.
    """
    path = certificate(tmp_path)
    served = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    served.load_cert_chain(path)
    async with WebServer(served) as server:
        url = server.tell("/", ok(b"body"))
        with pytest.raises(FetchFailed, match="CERTIFICATE_VERIFY_FAILED"):
            await Fetcher(CONTACT).fetch(url)
        assert server.requests == []
        trusted = Fetcher(CONTACT, tls=ssl.create_default_context(cafile=str(path)))
        assert (await trusted.fetch(url)).body == b"body"


async def test_cancelled_under_tls(tmp_path: Path) -> None:
    """
    Stopping at once holds under TLS too.
    """
    path = certificate(tmp_path)
    served = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    served.load_cert_chain(path)
    async with WebServer(served) as server:
        begun = asyncio.Event()

        async def begin(writer: asyncio.StreamWriter) -> None:
            await drip(writer)
            begun.set()

        fetcher = Fetcher(CONTACT, tls=ssl.create_default_context(cafile=str(path)))
        task = asyncio.create_task(fetcher.fetch(server.tell("/", begin)))
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await server.closed.wait()
        await asyncio.get_running_loop().shutdown_default_executor()
