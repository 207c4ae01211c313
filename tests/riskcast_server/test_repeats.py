"""
What RiskCast's log says of callers who bring what is known.
"""

from datetime import UTC
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from omen_client import RiskCastClient
from riskcast.v1.ingest_service_pb2 import INGEST_ORIGIN_HOT_PATH
from tests.riskcast_server.signals import riskcast, signal


@pytest.mark.parametrize("verb", ["ingest", "ingest_alone"])
async def test_whoever_brings_what_is_known_is_named_once_a_minute(tmp_path: Path, verb: str) -> None:
    """
    Duplicates from outside and conflicts are a line with the caller, at most one a minute; OMEN's own retries are none.
    """
    async with riskcast(tmp_path / "riskcast.db") as server, RiskCastClient(str(server.address)) as client:
        ingest = getattr(client, verb)
        with capture_logs() as lines:
            for _ in range(2):
                await ingest(signal(), origin=INGEST_ORIGIN_HOT_PATH)
            assert not [line for line in lines if line["event"].endswith("_brought")]
            for _ in range(3):
                await ingest(signal())
            for title in ("another title", "a third"):
                await ingest(signal(title=title))
    told = [line for line in lines if line["event"].endswith("_brought")]
    assert [(line["event"], line["log_level"], line["origin"]) for line in told] == [
        ("duplicates_brought", "info", "direct"),
        ("conflicts_brought", "warning", "direct"),
    ]
    assert all(line["peer"].startswith("ipv4:127.0.0.1:") for line in told)


async def test_a_conflict_is_told_whoever_brings_it(tmp_path: Path) -> None:
    """
    Other content under a known id is worth a line also when it comes on OMEN's own way.
    """
    async with riskcast(tmp_path / "riskcast.db") as server, RiskCastClient(str(server.address)) as client:
        with capture_logs() as lines:
            for title in ("one title", "another title"):
                await client.ingest(signal(title=title), origin=INGEST_ORIGIN_HOT_PATH)
    told = [(line["event"], line["origin"]) for line in lines if line["event"].endswith("_brought")]
    assert told == [("conflicts_brought", "hot_path")]


async def test_the_time_of_an_outcome_is_the_one_that_is_stored(tmp_path: Path) -> None:
    """
    A new signal's caller and a duplicate's are told, to the microsecond, when it was stored.
    """
    async with riskcast(tmp_path / "riskcast.db") as server, RiskCastClient(str(server.address)) as client:
        told = [(await ingest(signal())).processed_at for ingest in (client.ingest, client.ingest, client.ingest_alone)]
        stored = await client.processed(signal().signal_id)
    assert told == [stored.processed_at.ToDatetime(UTC)] * 3
