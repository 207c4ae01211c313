"""
Promises broken on purpose: the demonstration says which, and goes no further.
"""

import json
from pathlib import Path
from typing import Any

import pytest
from grpc import StatusCode

from omen.v1.signal_pb2 import SignalEvent
from omen_cli.demo import damage
from omen_cli.demo.claims import Broken, Claim, Show
from omen_cli.demo.crash_tail import crash_tail
from omen_cli.demo.dedupe import dedupe
from omen_cli.demo.metadata import metadata
from omen_cli.demo.seed import plan_of, written
from omen_cli.demo.ten import DAY
from omen_cli.demo.witness import witnessing
from omen_client import RiskCastClient, Unavailable
from omen_server.ledger import durable, tear
from omen_server.ledger.audit import Verdict
from riskcast.v1 import ingest_service_pb2 as pb
from riskcast.v1 import inventory_service_pb2 as inventory_pb
from riskcast.v1.ingest_service_pb2 import IngestBatchItem
from riskcast.v1.ingest_service_pb2_grpc import IngestServiceServicer
from tests.hosting import hosted

CLAIM = Claim("a-claim", "This holds.", "tests/nowhere.py::test_nothing")


def broken(show: Show) -> dict[str, Any]:
    """
    Return the one claim that does not hold, which is the last that was put to the test.
    """
    *before, last = show.rows
    assert all(row["held"] for row in before)
    assert not last["held"]
    return last


class NewAckEachTime(IngestServiceServicer):
    """
    A RiskCast that stores whatever it is sent again, under another ack.
    """

    def __init__(self) -> None:
        self.stored = 0

    async def Ingest(self, _request: pb.IngestRequest, _context: Any) -> pb.IngestResponse:
        """
        Accept.
        """
        self.stored += 1
        reply = pb.IngestResponse(ack_id=f"riskcast-ack-{self.stored:016x}")
        reply.processed_at.GetCurrentTime()
        return reply


async def test_a_new_ack_for_a_duplicate(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A RiskCast that accepts the same signal twice breaks `dedupe`.
    """
    liar, show = NewAckEachTime(), Show("json")

    async def stats(_client: RiskCastClient) -> inventory_pb.GetIngestStatsResponse:
        return inventory_pb.GetIngestStatsResponse(stored=liar.stored)

    monkeypatch.setattr(RiskCastClient, "stats", stats)
    ingest = pb.DESCRIPTOR.services_by_name["IngestService"]
    async with hosted(liar, service=ingest) as server:
        with pytest.raises(Broken, match="already exists is 0, not 5"):
            await dedupe(str(server.address), show, 1)
    assert broken(show)["claim"] == "dedupe"


async def test_a_recovery_that_cuts_an_acknowledged_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Cutting one whole frame more than was torn breaks `crash-tail-goes-on`.
    """

    def cut_too_much(self: tear.TailScan, damage: Any) -> None:
        last = self.items[self.items.index(damage) - 1]
        self.items = self.items[: self.items.index(last)]
        self.data = self.data[: last.byte_offset]  # type: ignore[union-attr]  # A record lies before the tear.

    monkeypatch.setattr(tear.TailScan, "cut_at", cut_too_much)
    show = Show("json")
    with pytest.raises(Broken):
        await crash_tail(tmp_path, show)
    assert broken(show)["claim"] == "crash-tail-goes-on"


async def test_a_verification_that_passes_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A verification that is content with a flipped bit breaks `bit-flip`; and so does one that is off by a byte.
    """
    await written(tmp_path / "ledger", plan_of("ingest"))
    show = Show("json")
    with monkeypatch.context() as patched:
        patched.setattr(damage, "verified", lambda _ledger, name: Verdict(name, 10, "", (), 0))
        with pytest.raises(Broken, match="faults is 0, not 1"), show.step(CLAIM) as step:
            damage.bit_flip(step, tmp_path, DAY)
    honest = damage.frames
    monkeypatch.setattr(damage, "frames", lambda data: [start + 1 for start in honest(data)])
    with pytest.raises(Broken, match="and the frame begins at"), show.step(CLAIM) as step:
        damage.bit_flip(step, _moved(tmp_path), DAY)


def _moved(place: Path) -> Path:
    """
    Return *place* without the copy that the first attempt left.
    """
    (place / "copy").rename(place / "spoiled")
    return place


async def test_metadata_that_is_not_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A ledger that leaves fsync out breaks `metadata`.
    """
    monkeypatch.setattr(durable, "settle", lambda _disk, _fd: None)
    show = Show("json")
    with pytest.raises(Broken, match=r"^metadata: "):
        await metadata(tmp_path, show)
    assert broken(show)["claim"] == "metadata"


async def test_a_push_before_the_ledger_is_seen(tmp_path: Path) -> None:
    """
    The witness tells a signal that the ledger has from one that it has not.
    """
    await written(tmp_path / "ledger", plan_of("ingest"))
    async with witnessing(tmp_path / "ledger") as (witness, address), RiskCastClient(address) as far:
        for name in ("OMEN-DEMO005", "OMEN-NOWHERE"):
            await far.ingest_batch([IngestBatchItem(signal=SignalEvent(signal_id=name))])
    assert (witness.calls, witness.written_first, witness.pushed_first) == (2, ["OMEN-DEMO005"], ["OMEN-NOWHERE"])


@pytest.mark.parametrize(
    "error", [Unavailable("", StatusCode.UNAVAILABLE, "nobody is there"), TimeoutError(), OSError("no such file")]
)
def test_what_nobody_could_see_does_not_hold(error: Exception, capsys: pytest.CaptureFixture[str]) -> None:
    """
    A server that is gone, or a file, breaks the claim it was needed for.
    """
    show = Show("jsonl")
    with pytest.raises(Broken) as caught, show.step(CLAIM) as step:
        step.saw("before", 1, 1)
        raise error
    assert str(caught.value).startswith("a-claim: This holds. This does not hold: ")
    row = json.loads(capsys.readouterr().out)
    assert (row["claim"], row["held"], row["seen"]) == ("a-claim", False, {"before": 1})
    assert type(error).__name__ in row["why"]


def test_people_are_told_what_does_not_hold(capsys: pytest.CaptureFixture[str]) -> None:
    """
    In words a broken claim has its mark, what was seen and what was wanted.
    """
    show = Show("text")
    with pytest.raises(Broken), show.step(CLAIM) as step:
        step.saw("ledger", 7, 7)
        step.saw("riskcast", 5, 7)
    show.end(1)
    out = capsys.readouterr().out
    assert "✗ a-claim: This holds." in out
    assert "DOES NOT HOLD: riskcast is 5, not 7" in out
    assert "0 of 1 claims held" in out
