import asyncio
import resource
import ssl
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import pytest_asyncio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.hostile.vitals import MIB, caller, check_back, forget_peak, peak, resident, vitals
from tests.hostile.wire import PREFACE, Wire, framed, request, wire
from tests.processes import ServerProcess, running

pytestmark = pytest.mark.asyncio(loop_scope="module")

CHECK = "/grpc.health.v1.Health/Check"
OK = 0
CLIENT_HELLO_CUT = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"
PLAINTEXT = PREFACE + b"\0\0\0\4\0\0\0\0\0" + b"\0\0\0\4\1\0\0\0\0"
OTHERS = (
    b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"PRI * HTTP/1.1\r\n\r\n",
    b"\0" * 1000,
    CLIENT_HELLO_CUT + b"x" * 600,
    b"\x16\x03\x01\xff\xff" + b"x" * 70_000,
    b"\xff" * 100_000,
)
UNFINISHED = (b"", PREFACE[:5], PREFACE, PREFACE + b"\0\0\0\4\0\0\0\0\0")


@pytest.fixture
def descriptors() -> Iterator[None]:
    """
    Let this process have the descriptors that thousands of connections need.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(20_000, hard), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_a_connection_that_does_not_greet_is_closed(server: ServerProcess) -> None:
    """
    A peer that says nothing, stops amid the greeting, or never acknowledges the server's settings is disconnected when
    the handshake's time is over.
    """
    seconds = await asyncio.gather(*(lifetime(server, greeting) for greeting in UNFINISHED))
    assert all(1 < each < 10 for each in seconds), seconds


@pytest.mark.parametrize("greeting", OTHERS, ids=lambda greeting: repr(greeting[:16]))
async def test_a_greeting_of_another_protocol_is_refused(server: ServerProcess, greeting: bytes) -> None:
    """
    What is no HTTP/2 is disconnected.
    """
    assert await lifetime(server, greeting) < 10


@pytest.mark.usefixtures("descriptors")
@pytest.mark.parametrize("kind", ["silent", "greeted"])
async def test_two_thousand_idle_connections(
    root: Path, arguments: tuple[str, ...], figure: Callable[[str], None], kind: str
) -> None:
    """
    While 2,000 connections do nothing, silent ones or such that have greeted, a channel that is open keeps working;
    a new one works as soon as the idle ones have been closed.
    """
    patience = ("--handshake-timeout-s=3", "--connection-idle-s=3")
    async with running("omen-server", *arguments, *patience, cwd=root) as server, caller(server.address) as normal:
        await normal.call()
        before = await vitals(server)
        forget_peak(server)
        began = time.perf_counter()
        async with AsyncExitStack() as stack:
            idle = [await stack.enter_async_context(idling(server.address, kind)) for _ in range(2000)]
            opened_s = time.perf_counter() - began
            refused = sum(connection.closed.is_set() for connection in idle)
            all_gone = asyncio.gather(*(connection.gone(30) for connection in idle))
            await normal.call_until(all_gone.done, 100)
            await all_gone
            gone_s = time.perf_counter() - began
            async with caller(server.address) as new:
                await new.call()
        grown = (peak(server) - before.resident_bytes) // MIB
        await check_back(server, before)
        after = resident(server)
    figure(
        f"2,000 idle connections ({kind}): opened in {opened_s:.1f} s, {refused} refused by then, all closed after "
        f"{gone_s:.1f} s; the open channel meanwhile {normal.spread}; memory grew {grown} MB, "
        f"afterwards {(after - before.resident_bytes) // MIB} MB"
    )
    assert max(normal.seconds) < 2


async def test_connections_beyond_the_limit_are_refused_and_the_others_work(
    root: Path, arguments: tuple[str, ...]
) -> None:
    """
    A server that may have ten connections closes the eleventh at once, and answers on the ten.
    """
    async with (
        running("omen-server", *arguments, "--connections-max=10", cwd=root) as server,
        AsyncExitStack() as stack,
    ):
        connections = [await stack.enter_async_context(wire(server.address)) for _ in range(10)]
        for connection in connections:
            assert (await connection.call(request(CHECK), framed(b""))).grpc_status == OK
        async with wire(server.address) as eleventh:
            await eleventh.gone()
        for connection in connections:
            assert (await connection.call(request(CHECK), framed(b""))).grpc_status == OK


async def test_half_closed_connections_are_let_go(besieged: ServerProcess) -> None:
    """
    A peer that closes its half and stays is disconnected, and leaves nothing behind.
    """
    for _ in range(20):
        async with wire(besieged.address, polite=False) as connection:
            connection.begin(request(CHECK))
            connection.finish()
            await connection.gone()
            assert connection.closed.is_set()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def secure(
    root: Path, arguments: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[tuple[ServerProcess, ssl.SSLContext]]:
    """
    Run a server with TLS, and return it and what trusts it.
    """
    place = tmp_path_factory.mktemp("tls")
    cert, key = certificate(place)
    own = (f"--data-dir={place}", f"--tls-cert={cert}", f"--tls-key={key}")
    async with running("omen-server", *arguments, *own, cwd=root) as server:
        trust = ssl.create_default_context(cafile=str(cert))
        trust.set_alpn_protocols(["h2"])
        yield server, trust


async def test_what_is_not_tls_on_the_tls_port_is_closed(secure: tuple[ServerProcess, ssl.SSLContext]) -> None:
    """
    Plain text and broken handshakes on the TLS port are disconnected, and get no HTTP/2 in return; TLS works after.
    """
    server, trust = secure
    before = await vitals(server)
    await asyncio.gather(*(lifetime(server, greeting) for greeting in (PLAINTEXT, *UNFINISHED, *OTHERS)))
    await check_secure(server, trust)
    await check_back(server, before)


async def test_a_tls_peer_that_speaks_no_http2_is_closed(secure: tuple[ServerProcess, ssl.SSLContext]) -> None:
    """
    A peer that shakes hands and then says nothing is disconnected when the handshake's time is over.
    """
    server, trust = secure
    async with wire(server.address, greeting=b"", tls=trust, polite=False) as connection:
        await connection.gone()
    await check_secure(server, trust)
    assert server.process.returncode is None


async def lifetime(server: ServerProcess, greeting: bytes) -> float:
    """
    Return the seconds until a connection that greets like this, and says nothing more, is closed without a reply.
    """
    began = time.perf_counter()
    async with wire(server.address, greeting=greeting, polite=False) as connection:
        await connection.gone()
        assert not connection.counts.get("HeadersFrame")
    return time.perf_counter() - began


async def check_secure(server: ServerProcess, trust: ssl.SSLContext) -> None:
    """
    Check that a call over TLS succeeds.
    """
    async with wire(server.address, tls=trust) as connection:
        assert (await connection.call(request(CHECK), framed(b""))).grpc_status == OK


def idling(address: str, kind: str) -> AbstractAsyncContextManager[Wire]:
    """
    Return a connection that says nothing, or no more than its greeting.
    """
    return wire(address, greeting=b"", polite=False) if kind == "silent" else wire(address)


def certificate(place: Path) -> tuple[Path, Path]:
    """
    Make a certificate for localhost that vouches for itself, and return its file and its key's.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    cert_file, key_file = place / "cert.pem", place / "key.pem"
    cert_file.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return cert_file, key_file
