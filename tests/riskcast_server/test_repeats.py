"""
What RiskCast's log says of callers who bring what is known.
"""

from pathlib import Path

from structlog.testing import capture_logs

from omen_client import RiskCastClient
from riskcast.v1.ingest_service_pb2 import INGEST_ORIGIN_HOT_PATH
from tests.riskcast_server.signals import riskcast, signal


async def test_whoever_brings_what_is_known_is_named_once_a_minute(tmp_path: Path) -> None:
    """
    Duplicates from outside and conflicts are a line with the caller, at most one a minute; OMEN's own retries are none.
    """
    async with riskcast(tmp_path / "riskcast.db") as server, RiskCastClient(str(server.address)) as client:
        with capture_logs() as lines:
            for _ in range(2):
                await client.ingest(signal(), origin=INGEST_ORIGIN_HOT_PATH)
            assert not [line for line in lines if line["event"].endswith("_brought")]
            for _ in range(3):
                await client.ingest(signal())
            for title in ("another title", "a third"):
                await client.ingest(signal(title=title))
    told = [line for line in lines if line["event"].endswith("_brought")]
    assert [(line["event"], line["log_level"], line["origin"]) for line in told] == [
        ("duplicates_brought", "info", "direct"),
        ("conflicts_brought", "warning", "direct"),
    ]
    assert all(line["peer"].startswith("ipv4:127.0.0.1:") for line in told)
