"""
What the server does for its ledger by itself: seal what has been quiet, age what is sealed, watch the disk, count.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from math import nan

import structlog

from omen_rpc import logs, metrics

from .catalogue import PartitionInfo
from .journal import Synced
from .ledger import Ledger
from .lifecycle import Action

log = structlog.get_logger()


async def seal_when_due(ledger: Ledger, interval_s: float, stopping: asyncio.Event) -> None:
    """
    Seal every partition once it has been quiet for long enough, until *stopping*.
    """
    while True:
        for name in ledger.due():
            if stopping.is_set():
                return
            try:
                info, already_sealed = await ledger.seal(name)
            except Exception as error:  # Whatever it is: one partition that cannot be sealed holds up no other.
                log.exception("seal_failed", partition=name, text=logs.words(error))
            else:
                if not already_sealed:
                    tell_sealed(info, "schedule")
        if await told_within(stopping, interval_s):
            return


async def run_lifecycle(ledger: Ledger, interval_s: float, stopping: asyncio.Event) -> None:
    """
    Move sealed partitions to the tiers of their age, until *stopping*.
    """
    while not await told_within(stopping, interval_s):
        try:
            steps = await ledger.run_lifecycle(dry_run=False)
        except Exception as error:  # Whatever it is: the next run tries again, and readers do not depend on it.
            log.exception("lifecycle_failed", text=logs.words(error))
            continue
        for step in steps:
            level = log.warning if step.action is Action.KEEP else log.info
            level("lifecycle", partition=step.partition, action=str(step.action), detail=step.detail)


async def measure(ledger: Ledger, interval_s: float, stopping: asyncio.Event) -> None:
    """
    Let the metrics know how large the ledger is, until *stopping*.
    """
    while True:
        try:
            _, size_bytes = await ledger.size()
        except Exception:  # Whatever it is: whoever reads or appends is told, this one only looks.
            log.exception("ledger_not_measured")
        else:
            metrics.LEDGER_SIZE_BYTES.set(size_bytes)
        if await told_within(stopping, interval_s):
            return


async def watch_space(ledger: Ledger, interval_s: float, stopping: asyncio.Event, tell: Callable[[bool], None]) -> None:
    """
    Call *tell* with True when the disk is too full to append, and with False when there is room again.
    """
    told = False
    while not await told_within(stopping, interval_s):
        try:
            full = ledger.read_only
        except OSError as error:  # Whoever appends will learn what is wrong with the disk; this one only looks.
            log.exception("disk_unreadable", text=str(error))
            continue
        if (full is not None) != told:
            told = full is not None
            tell(told)
            if full is not None:
                log.error("ledger_read_only", path=full.path, free_bytes=full.free_bytes)
            else:
                log.warning("ledger_writable_again")


async def told_within(stopping: asyncio.Event, seconds: float) -> bool:
    """
    Wait for *stopping*, at most some seconds, and return whether it is set.
    """
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await stopping.wait()
    return stopping.is_set()


def tell_sealed(info: PartitionInfo, by: str) -> None:
    """
    Log a seal with its root: whoever alters the directory later cannot alter a line that has left the machine.
    """
    metrics.LEDGER_SEALS.inc()
    log.info(
        "partition_sealed",
        partition=info.partition,
        by=by,
        records=info.total_records,
        manifest_revision=info.manifest_revision,
        merkle_root=info.merkle_root,
        last_offset=info.last_offset,
    )


def count_synced(synced: Synced) -> None:
    """
    Count one sync of the ledger. Runs in the writer's thread.
    """
    metrics.LEDGER_APPENDS.inc(synced.records)
    metrics.LEDGER_WRITTEN_BYTES.inc(synced.size_bytes)
    metrics.LEDGER_BATCH_RECORDS.observe(synced.records)
    metrics.LEDGER_SYNC_SECONDS.observe(synced.seconds)


def expose(ledger: Ledger) -> None:
    """
    Let the gauges show *ledger*; what its start had to mend is counted once.
    """
    metrics.LEDGER_RECOVERED_BYTES.inc(ledger.recovered.rewritten_bytes)
    metrics.LEDGER_QUARANTINED_BYTES.inc(ledger.recovered.quarantined_bytes)
    metrics.LEDGER_OFFSET.labels("written").set_function(lambda: ledger.written_offset)
    metrics.LEDGER_OFFSET.labels("durable").set_function(lambda: ledger.durable_offset)
    metrics.LEDGER_PARTITIONS.labels("open").set_function(lambda: sum(not closed for closed in ledger.names().values()))
    metrics.LEDGER_PARTITIONS.labels("sealed").set_function(lambda: sum(ledger.names().values()))
    metrics.LEDGER_DISK_FREE_BYTES.set_function(lambda: free_bytes(ledger))


def free_bytes(ledger: Ledger) -> float:
    """
    Return how much the ledger may still write; not a number when the disk does not say.
    """
    try:
        return ledger.free_bytes
    except OSError:
        return nan
