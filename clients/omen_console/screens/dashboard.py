import asyncio
from collections.abc import Sequence

from starlette.requests import Request

from omen.v1 import ledger_service_pb2 as ledger_pb
from omen_console.console import Console
from omen_console.page import Page
from omen_console.screens.common import asked_day, at_a_glance, first
from reconcile.v1 import reconcile_service_pb2 as reconcile_pb

PARTITIONS_MAX = 100
CARDS_MAX = 8
SUBSCRIBERS_MAX = 10
RUNS_MAX = 5


async def screen(console: Console, request: Request) -> Page:
    """
    Show how everything is: the way of a signal, both counts of the day, partitions, subscribers, the last rounds.
    """
    up, ask = console.upstream, console.asking.ask
    newest = ledger_pb.ListPartitionsRequest(page_size=PARTITIONS_MAX)
    runs_wanted = reconcile_pb.ListRunsRequest(page_size=RUNS_MAX)
    reading, listed, subscribers, runs = await asyncio.gather(
        console.pulse.read(),
        ask("omen", "partitions", lambda: up.omen.partitions_page(newest)),
        ask("omen", "subscribers", lambda: first(up.omen.operations.subscribers(SUBSCRIBERS_MAX), SUBSCRIBERS_MAX)),
        ask("reconciler", "runs", lambda: up.reconciler.runs_page(runs_wanted)),
    )
    since, until = asked_day(request, "from"), asked_day(request, "to")
    found = within(listed.value.partitions if listed.value is not None else [], str(since or ""), str(until or "9999"))
    return Page(
        "dashboard.html",
        {
            **at_a_glance(console, reading),
            "listed": listed,
            "cards": found[:CARDS_MAX],
            "found": len(found),
            "sealed": sum(each.is_sealed for each in found),
            "open": sum(not each.is_sealed for each in found),
            "late": sum(each.is_late for each in found),
            "has_more": listed.value is not None and bool(listed.value.next_page_token),
            "subscribers": subscribers,
            "runs": runs,
            "since": since,
            "until": until,
        },
    )


def within(partitions: Sequence[ledger_pb.Partition], since: str, until: str) -> list[ledger_pb.Partition]:
    """
    Return the partitions of a range of dates.
    """
    return [each for each in partitions if since <= each.partition_date <= until]
