import math
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

from omen_cli.authority import create_ca, issue
from omen_rpc import expiry, metrics
from omen_rpc.expiry import DAY_S, Expiry
from tests.omen_rpc.conftest import Logged

NOW = datetime(2026, 1, 28, 12, tzinfo=UTC)


def test_the_first_of_a_chain_to_run_out_counts(tmp_path: Path) -> None:
    """
    A file with a chain lasts as long as its shortest certificate. A new file is seen at once; one that is broken or
    gone changes nothing, and time goes on.
    """
    now_s = [NOW.timestamp()]
    ca = create_ca(tmp_path, NOW, days=100)
    issued = issue(ca, "server", ["localhost"], now=NOW, days=10)
    chain = tmp_path / "chain.pem"
    chain.write_bytes(ca.cert_file.read_bytes() + issued.cert_file.read_bytes())
    lasting = Expiry(chain, now=lambda: now_s[0])
    assert lasting.seconds_left() == 10 * DAY_S
    now_s[0] += 11 * DAY_S
    assert lasting.seconds_left() == -DAY_S
    chain.write_bytes(b"no certificate")
    assert lasting.seconds_left() == -DAY_S
    os.replace(issue(ca, "server", [], now=NOW + timedelta(days=11), days=20).cert_file, chain)  # noqa: PTH105
    assert lasting.seconds_left() == 20 * DAY_S
    chain.unlink()
    assert lasting.seconds_left() == 20 * DAY_S
    assert math.isnan(Expiry(tmp_path / "nothing").seconds_left())


def test_what_runs_out_soon_is_told_at_the_start(tmp_path: Path, logged: Logged) -> None:
    """
    Every certificate in use is a series by what it is for, and one that lasts less than two weeks is a warning.
    """
    now = datetime.now(UTC)
    ca = create_ca(tmp_path, now, days=100)
    expiry.watch({"server": issue(ca, "server", [], now=now, days=13).cert_file, "ca": ca.cert_file})
    text = metrics.exposition().decode()
    assert 'omen_tls_certificate_expiry_seconds{kind="ca"} 8.6' in text
    assert [(line["kind"], line["days"]) for line in logged.lines("certificate_expires")] == [("server", 13.0)]
    metrics.TLS_CERTIFICATE_EXPIRY_SECONDS.clear()  # The process has one registry, and other tests look at it.
