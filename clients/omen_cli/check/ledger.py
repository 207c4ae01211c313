from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated

from cyclopts import Parameter

from omen.v1 import ledger_service_pb2 as pb
from omen.v1.signal_pb2 import SignalEvent
from omen_cli.check.verdict import Figure, Verdict, check_limits, concluded
from omen_cli.options import Output, Servers
from omen_client import OmenClient

MB = 1_000_000


async def ledger(
    *,
    warn_age_s: Annotated[float | None, Parameter(help="Warn when the newest record is this old.")] = None,
    crit_age_s: Annotated[float | None, Parameter(help="Alarm when the newest record is this old.")] = None,
    warn_free_mb: Annotated[float | None, Parameter(help="Warn when no more is free on its disk.")] = 1000.0,
    crit_free_mb: Annotated[float | None, Parameter(help="Alarm when no more is free on its disk.")] = 100.0,
    verify: Annotated[int, Parameter(help="Have so many of the newest partitions verified from their bytes.")] = 0,
    servers: Servers | None = None,
    output: Output = "text",
) -> int:
    """
    Check that the ledger is whole and fresh: damage, the newest record, what is not durable yet, the disk.

    How old the newest record may be depends on your sources, so it alarms only when told to.

    Example: omen check ledger --warn-age-s 3600 --verify 1
    """
    check_limits(warn_age_s, crit_age_s, "age-s")
    check_limits(warn_free_mb, crit_free_mb, "free-mb", falling=True)

    async def checking(verdict: Verdict) -> None:
        async with (servers or Servers()).omen_client() as omen:
            partitions = [each async for each in omen.partitions()]
            stats = await omen.operations.stats()
            newest = await newest_of(omen, partitions)
            for each in partitions[: max(0, verify)]:
                await verified(omen, each, verdict)
        damaged = sum(each.corrupt_count for each in partitions)
        free_mb = stats.free_bytes / MB
        verdict.measure(Figure("records", stats.ledger_records), "")
        verdict.measure(Figure("damaged", damaged, crit=1), f"{damaged:,} records are damaged")
        verdict.measure(Figure("not_durable", stats.written_offset - stats.durable_offset), "")
        verdict.measure(
            Figure("free_mb", free_mb, warn_free_mb, crit_free_mb, falling=True), f"only {free_mb:,.0f} MB are free"
        )
        if newest is not None:
            age_s = (datetime.now(UTC) - newest.ledger_written_at.ToDatetime(UTC)).total_seconds()
            verdict.measure(Figure("age_s", age_s, warn_age_s, crit_age_s), f"the newest record is {age_s:,.0f} s old")
        elif warn_age_s is not None or crit_age_s is not None:
            verdict.warn("the ledger holds no record yet")
        verdict.text = f"{stats.ledger_records:,} records in {len(partitions):,} partitions"

    return await concluded(output, "ledger", checking)


async def newest_of(omen: OmenClient, partitions: Sequence[pb.Partition]) -> SignalEvent | None:
    """
    Return the last record that can be read, by offset.
    """
    held = [each for each in partitions if each.total_records]
    if not held:
        return None
    last = max(held, key=lambda each: each.last_offset)
    end = (await omen.watermark(last.partition)).durable_highwater
    found = None
    async for item in omen.read_partition(last.partition, after_index=max(0, end - 1)):
        found = item if isinstance(item, SignalEvent) else found
    return found


async def verified(omen: OmenClient, partition: pb.Partition, verdict: Verdict) -> None:
    """
    Have one partition verified, and keep the place of its first fault.
    """
    async for step in omen.verify(partition.partition):
        if isinstance(step, pb.VerifyPartitionResponse.Verdict) and not step.intact:
            first = step.faults[0]
            place = f"{first.partition}/{first.file} at byte {first.byte_offset}, sequence {first.ledger_sequence}"
            verdict.alarm(f"{partition.partition} has {step.fault_count:,} faults, the first {first.kind} in {place}")
