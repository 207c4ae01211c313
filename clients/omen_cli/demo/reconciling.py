"""
The proof of reconciling: ten signals in a sealed day, eight of them processed; a round brings the two.
"""

from pathlib import Path

from omen_cli.demo.claims import Claim, Show
from omen_cli.demo.seed import loaded
from omen_cli.demo.ten import DAY, MISSING
from omen_cli.demo.world import acks, running
from riskcast.v1.ingest_service_pb2 import INGEST_ORIGIN_RECONCILE

SAID = (
    f"Reconciling partition: {DAY}",
    f"Ledger has 10 signals for {DAY}",
    f"Processed 8 signals for {DAY}",
    f"Found 2 missing signals for {DAY}",
    f"✓ {DAY}: replayed 2 signals",
)

REPLAYED = Claim(
    "reconcile",
    "Reconcile replays missing signals from ledger to RiskCast: of 10 it has 8, and then 10.",
    "tests/e2e/test_reconcile.py::test_the_case_of_the_seeds",
)
CLAIMS = (REPLAYED,)


async def reconcile(place: Path, show: Show) -> None:
    """
    Load the ten, start both servers on them, and have one round made.
    """
    here = place / "reconcile"
    here.mkdir()
    with show.step(REPLAYED) as step:
        row = await loaded(here, "reconcile")
        step.saw("ledger", row["partitions"][DAY], 10)
        step.saw("sealed", row["sealed"], [DAY])
        async with running(here) as world:
            before = await world.stored()
            step.saw("riskcast_before", len(before), 8)
            step.saw(
                "missing", sorted({each.signal_id for each in await world.records(DAY)} - before.keys()), [*MISSING]
            )
            said = await world.reconcile("--partition", DAY)
            step.notes.extend(said.lines)
            step.saw("exit_code", said.code, 0)
            step.holds(tuple(said.lines) == SAID, f"it says {said.lines}, and {said.errors[-300:]}")
            after = await world.stored()
            step.saw("riskcast_after", len(after), 10)
            brought = sorted(name for name, each in after.items() if each.origin == INGEST_ORIGIN_RECONCILE)
            step.saw("replayed", brought, [*MISSING])
            step.saw("acks_unchanged", acks(before).items() <= acks(after).items(), True)
