import json
import ssl
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from omen_cli import exits
from omen_cli.app import run
from omen_rpc.certificate import check_pair
from tests.clients.command import Ended

FILES = {f"{name}.{kind}" for name in ("ca", "server", "client") for kind in ("pem", "key")}


@pytest.fixture
def tls(capsys: pytest.CaptureFixture[str]) -> Callable[..., Ended]:
    """
    Run verbs of `omen tls` in this process: there are many, and starting each takes longer than what it does.
    """

    def ended(*words: str | Path) -> Ended:
        code = run(["tls", *map(str, words)])
        said = capsys.readouterr()
        return Ended(code, said.out, said.err)

    return ended


def loaded(path: Path) -> x509.Certificate:
    """
    Return the certificate in a file.
    """
    return x509.load_pem_x509_certificate(path.read_bytes())


def usages(certificate: x509.Certificate) -> list[Any]:
    """
    Return what a certificate may be used for.
    """
    return list(certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)


def hands_shaken(server: Path, client: Path, name: str) -> bool:
    """
    Tell whether a server and a caller with these directories' files accept each other, the server under a name.
    """
    theirs, ours = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context(cafile=client / "ca.pem")
    theirs.load_cert_chain(server / "server.pem", server / "server.key")
    theirs.load_verify_locations(server / "ca.pem")
    theirs.verify_mode = ssl.CERT_REQUIRED
    ours.load_cert_chain(client / "client.pem", client / "client.key")
    # The wires: what one end writes, the other reads.
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [theirs.wrap_bio(up, down, server_side=True), ours.wrap_bio(down, up, server_hostname=name)]
    for _ in range(10):
        for end in list(ends):
            try:
                end.do_handshake()
                ends.remove(end)
            except ssl.SSLWantReadError:
                pass
            except ssl.SSLError:
                return False
    return not ends


def test_init_makes_what_servers_and_callers_need(tls: Callable[..., Ended], tmp_path: Path) -> None:
    """
    Six files, readable by their owner alone; the server's certificate is for loopback and the names given, each end's
    for its own use, and both ends accept each other under every name, and nobody of another CA.
    """
    names = ("--name", "omen.internal", "--name", "10.0.0.7")
    ended = tls("init", tmp_path / "a", *names, "--days", "5", "-o", "json")
    assert ended.code == exits.OK, ended
    rows = {Path(row["file"]).name: row for row in json.loads(ended.out)}
    assert rows["server.pem"]["names"] == ["localhost", "127.0.0.1", "::1", "omen.internal", "10.0.0.7"]
    assert {path.name for path in (tmp_path / "a").iterdir()} == FILES
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "a").iterdir()} == {0o600}
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o700
    server, client = loaded(tmp_path / "a/server.pem"), loaded(tmp_path / "a/client.pem")
    assert (usages(server), usages(client)) == ([ExtendedKeyUsageOID.SERVER_AUTH], [ExtendedKeyUsageOID.CLIENT_AUTH])
    left = server.not_valid_after_utc - datetime.now(UTC)
    assert timedelta(days=4.9) < left <= timedelta(days=5)
    assert tls("init", tmp_path / "b", "--ca-days", "3").code == exits.OK
    assert loaded(tmp_path / "b/server.pem").not_valid_after_utc <= loaded(tmp_path / "b/ca.pem").not_valid_after_utc
    for name in ("localhost", "127.0.0.1", "omen.internal", "10.0.0.7"):
        assert hands_shaken(tmp_path / "a", tmp_path / "a", name)
    assert not hands_shaken(tmp_path / "a", tmp_path / "a", "elsewhere.internal")
    assert not hands_shaken(tmp_path / "a", tmp_path / "b", "localhost")


def test_nothing_is_overwritten_and_renew_replaces(tls: Callable[..., Ended], tmp_path: Path) -> None:
    """
    A second init changes nothing and names renew; that keeps CA and names, and puts whole pairs in the place of the old
    ones. What is no name and what holds no CA is refused in words.
    """
    assert tls("init", tmp_path, "--name", "omen.internal").code == exits.OK
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    again = tls("init", tmp_path)
    assert (again.code, again.out) == (exits.CONFLICT, "")
    assert "omen tls renew" in again.err
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert tls("renew", tmp_path).code == exits.OK
    after = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert {name for name in FILES if after[name] == before[name]} == {"ca.pem", "ca.key"}
    check_pair(tmp_path / "server.pem", tmp_path / "server.key", tmp_path / "ca.pem")
    check_pair(tmp_path / "client.pem", tmp_path / "client.key", None)
    assert hands_shaken(tmp_path, tmp_path, "omen.internal")
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}
    nameless = tls("init", tmp_path / "new", "--name", "ö.internal")
    assert (nameless.code, (tmp_path / "new").exists()) == (exits.USAGE, False)
    missing = tls("renew", tmp_path / "nowhere")
    assert missing.code == exits.PROBLEM
    assert "omen tls init" in missing.err
