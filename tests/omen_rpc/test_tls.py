import asyncio
import os
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509

from omen.v1.signal_service_pb2 import GetSignalResponse
from omen_rpc.address import AddressRefused
from omen_rpc.certificate import CertificateUnreadable
from omen_rpc.server import Server
from omen_rpc.tls import Reloading, ServerFiles
from tests.certificates import Authority
from tests.hosting import Scripted, channel_to, hosted, refusal, unary
from tests.omen_rpc.conftest import Logged

GET = "/omen.v1.SignalService/GetSignal"


def replace(old: tuple[Path, Path], new: tuple[Path, Path]) -> None:
    """
    Put the new certificate and its key in the place of the old ones.
    """
    for target, source in zip(old, new, strict=True):
        os.replace(source, target)  # noqa: PTH105 - as a renewing tool does it


def presented(server: Server) -> str:
    """
    Return the name in the certificate that a new connection is shown.
    """
    pem = ssl.get_server_certificate(("127.0.0.1", server.address.port))
    (name,) = x509.load_pem_x509_certificate(pem.encode()).subject
    return str(name.value)


@asynccontextmanager
async def connected(server: Server, authority: Authority, own: tuple[Path, Path] | None = None) -> AsyncIterator[Any]:
    """
    Open a channel that trusts *authority*, and shows a certificate of its own if it has one.
    """
    credentials = grpc.ssl_channel_credentials(
        authority.ca.read_bytes(), *(path.read_bytes() for path in reversed(own or ()))
    )
    async with channel_to(str(server.address), credentials) as channel:
        yield unary(channel, GET)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """
    A CA for the test alone.
    """
    return Authority(tmp_path)


def settings_of(files: tuple[Path, Path], **others: Any) -> dict[str, Any]:
    """
    Return the settings of a server with this certificate.
    """
    return {"tls_cert": files[0], "tls_key": files[1], **others}


async def test_tls_serves_those_who_trust_it(authority: Authority, tmp_path: Path) -> None:
    """
    Who trusts the CA is served; who trusts another, or speaks plain text, is not.
    """
    files = authority.issue("server")
    async with hosted(Scripted(), settings=settings_of(files)) as server:
        async with connected(server, authority) as get:
            assert GetSignalResponse.FromString(await get(b"", timeout=5)) == GetSignalResponse()
        async with connected(server, Authority(tmp_path, "stranger")) as get:
            assert (await refusal(get(b"", timeout=5))).code is grpc.StatusCode.UNAVAILABLE
        async with channel_to(str(server.address)) as channel:
            assert (await refusal(unary(channel, GET)(b"", timeout=5))).code is grpc.StatusCode.UNAVAILABLE


async def test_mtls_serves_those_it_knows(authority: Authority, tmp_path: Path) -> None:
    """
    With a client CA, only who shows a certificate of that CA is served.
    """
    files, known = authority.issue("server"), authority.issue("caller")
    strange = Authority(tmp_path, "stranger").issue("strange")
    settings = settings_of(files, tls_client_ca=authority.ca)
    async with hosted(Scripted(), settings=settings) as server:
        async with connected(server, authority, known) as get:
            assert await get(b"", timeout=5) == b""
        for own in (None, strange):
            async with connected(server, authority, own) as get:
                assert (await refusal(get(b"", timeout=5))).code is grpc.StatusCode.UNAVAILABLE


async def test_renewed_certificate_counts_for_new_connections(authority: Authority, logged: Logged) -> None:
    """
    Files replaced under a running server are what new connections see; open ones go on, and no call fails.
    """
    files = authority.issue("first")
    async with hosted(Scripted(), settings=settings_of(files)) as server, connected(server, authority) as old:
        assert await old(b"", timeout=5) == b""
        replace(files, authority.issue("second"))
        async with connected(server, authority) as new:
            assert await new(b"", timeout=5) == b""
        assert await old(b"", timeout=5) == b""
        assert [line["file"] for line in logged.lines("certificate_read")] == [str(files[0])]
        assert await name_shown(server) == "second"


async def name_shown(server: Server) -> str:
    """
    Return the name in the certificate that a new connection is shown, without holding up the loop that serves it.
    """
    return await asyncio.to_thread(presented, server)


@pytest.mark.parametrize("damage", ["garbage", "empty", "missing", "key of another", "half"])
async def test_broken_renewal_keeps_the_old_certificate(damage: str, authority: Authority, logged: Logged) -> None:
    """
    A new file that cannot be used leaves the old certificate in force and is logged; the whole one counts after it.
    """
    files = authority.issue("first")
    async with hosted(Scripted(), settings=settings_of(files)) as server:
        assert await name_shown(server) == "first"
        if damage == "missing":
            files[0].unlink()
        elif damage == "key of another":
            os.replace(authority.issue("other")[1], files[1])  # noqa: PTH105
        else:
            text = files[0].read_bytes()
            files[0].write_bytes({"garbage": b"\xff\xfe" * 50, "empty": b"", "half": text[: len(text) // 2]}[damage])
        async with connected(server, authority) as get:
            assert await get(b"", timeout=5) == b""
        assert await name_shown(server) == "first"
        assert str(files[0]) in logged.lines("certificate_unreadable")[0]["error"]
        replace(files, authority.issue("second"))
        assert await name_shown(server) == "second"


@pytest.mark.parametrize("damage", ["garbage", "missing", "key of another", "client CA"])
async def test_server_does_not_start_with_a_broken_certificate(damage: str, authority: Authority) -> None:
    """
    At the start a certificate that cannot be used is refused, with the file's name.
    """
    files, others = authority.issue("first"), {}
    if damage == "garbage":
        files[0].write_text("no certificate")
    elif damage == "missing":
        files[1].unlink()
    elif damage == "client CA":
        others["tls_client_ca"] = files[1]
    else:
        files = files[0], authority.issue("other")[1]
    with pytest.raises(AddressRefused, match=r"cannot listen on 127\.0\.0\.1:0: .*first\.(pem|key)"):
        async with hosted(Scripted(), settings=settings_of(files, **others)):
            pass


def test_unchanged_files_are_not_read_again(authority: Authority) -> None:
    """
    A handshake costs a look at the files, not a reading of them; a change is handed over once.
    """
    files = authority.issue("first")
    reloading = Reloading(ServerFiles(*files))
    assert reloading() is None
    replace(files, authority.issue("second"))
    assert reloading() is reloading.configuration
    assert reloading() is None


def test_missing_file_is_named(tmp_path: Path) -> None:
    """
    A file that is not there is named.
    """
    with pytest.raises(CertificateUnreadable, match=r"nothing\.pem: No such file"):
        Reloading(ServerFiles(tmp_path / "nothing.pem", tmp_path / "nothing.key"))
