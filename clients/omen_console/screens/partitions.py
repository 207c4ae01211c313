import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass
from itertools import chain, islice

from starlette.requests import Request

from omen.v1 import ledger_service_pb2 as ledger_pb
from omen.v1.position_pb2 import IndexRange
from omen.v1.signal_pb2 import SignalEvent
from omen_console.console import Console
from omen_console.page import Page
from omen_console.pulse import COMPARING_MAX_S
from omen_console.screens.common import asked, at_a_glance
from omen_console.upstream import Answer, Upstream
from omen_rpc.fields import is_partition
from reconcile.v1 import reconcile_service_pb2 as reconcile_pb

PAGE = 50
MISSING_SHOWN = 50
RUNS_SHOWN = 10
FILTERS = {
    "": ledger_pb.PARTITION_FILTER_UNSPECIFIED,
    "open": ledger_pb.PARTITION_FILTER_OPEN,
    "sealed": ledger_pb.PARTITION_FILTER_SEALED,
    "late": ledger_pb.PARTITION_FILTER_LATE,
}
ORDERS = {
    "": ledger_pb.PARTITION_ORDER_DATE_DESCENDING,
    "oldest": ledger_pb.PARTITION_ORDER_DATE_ASCENDING,
}


@dataclass(frozen=True, slots=True)
class Comparison:
    """
    What RiskCast holds of a partition, and what it lacks: the ranges, and the first of the signals in them.
    """

    ledger: int
    held: int
    missing: int
    is_whole: bool
    ranges: Sequence[IndexRange]
    signals: Sequence[SignalEvent]


async def screen(console: Console, request: Request) -> Page:
    """
    List the partitions, a page at a time, each with how it was reconciled.
    """
    up = console.upstream
    which, order = asked(request, "filter"), asked(request, "order")
    which, order = which if which in FILTERS else "", order if order in ORDERS else ""
    wanted = ledger_pb.ListPartitionsRequest(
        filter=FILTERS[which], order=ORDERS[order], page_size=PAGE, page_token=asked(request, "after")
    )
    reading, listed = await asyncio.gather(
        console.pulse.read(), up.ask("omen", up.omen.partitions_page(wanted), remember=f"partitions {which} {order}")
    )
    states = reading.overview.value.states if reading.overview.value is not None else []
    return Page(
        "partitions.html",
        {
            **at_a_glance(console, reading),
            "listed": listed,
            "states": {each.partition_date: each for each in states},
            "which": which,
            "order": order,
            "is_first": not wanted.page_token,
        },
    )


async def newest(console: Console, _request: Request) -> Page:
    """
    Show the partition of today, or the newest one; without any, say so.
    """
    reading = await console.pulse.read()
    day = reading.day.value
    if day is None:
        return Page("no_partition.html", {**at_a_glance(console, reading), "partition": "", "day_answer": reading.day})
    return await shown(console, day.partition)


async def detail(console: Console, request: Request) -> Page:
    """
    Show one partition: what the ledger has, what RiskCast has, what is missing, and how it was reconciled.
    """
    return await shown(console, request.path_params["partition"])


async def shown(console: Console, name: str) -> Page:
    """
    Return the page of one partition.
    """
    up = console.upstream
    if not is_partition(name):
        return Page("no_partition.html", {**at_a_glance(console, await console.pulse.read()), "partition": name}, 404)
    reading, found, compared, state, runs = await asyncio.gather(
        console.pulse.read(),
        up.ask("omen", up.omen.partition(name), remember=f"partition {name}"),
        compare(console, name),
        up.ask("reconciler", up.reconciler.state(name), remember=f"state {name}"),
        up.ask(
            "reconciler",
            up.reconciler.runs_page(reconcile_pb.ListRunsRequest(partition=name, page_size=RUNS_SHOWN)),
            remember=f"runs {name}",
        ),
    )
    if found.is_missing:
        return Page("no_partition.html", {**at_a_glance(console, reading), "partition": name}, 404)
    partition = found.value.partition if found.value is not None else None
    return Page(
        "partition.html",
        {
            **at_a_glance(console, reading),
            "name": name,
            "found": found,
            "partition": partition,
            "compared": compared,
            "state": state,
            "runs": runs,
            "blocked": "main_partition_not_sealed"
            if partition is not None and not (partition.is_sealed or partition.is_late)
            else "",
        },
    )


async def compare(console: Console, name: str) -> Answer[Comparison]:
    """
    Ask RiskCast what it lacks of a partition, up to what is durable, and the ledger which signals those are.

    A large one takes both of them a while when it is counted for the first time: the page is drawn without, and looks
    again.
    """
    up, ask = console.upstream, console.asking.ask
    mark = await ask(
        "omen",
        f"watermark {name}",
        lambda: up.omen.watermark(name, timeout_s=COMPARING_MAX_S),
        timeout_s=COMPARING_MAX_S,
        counting="OMEN is looking how far this partition goes.",
    )
    found = mark.value
    if mark.trouble is not None or found is None:
        return Answer(None, mark.at, mark.trouble)
    return await ask(
        "riskcast",
        f"compared {name}",
        lambda: comparison(up, name, found),
        timeout_s=COMPARING_MAX_S,
        counting="RiskCast is counting what it holds of this partition.",
    )


async def comparison(up: Upstream, name: str, mark: ledger_pb.GetWatermarkResponse) -> Comparison:
    """
    Return the first part of a comparison: of very many scattered losses RiskCast tells the first thousand ranges.
    """
    through = mark.durable_highwater
    if not through:
        return Comparison(0, 0, 0, is_whole=True, ranges=(), signals=())
    found = await up.riskcast.coverage(
        name, through, ledger_epoch=mark.ledger_epoch, ledger_gaps=mark.gaps, timeout_s=COMPARING_MAX_S
    )
    lost = sum(each.last - each.first + 1 for each in mark.gaps)
    missing = sum(each.last - each.first + 1 for each in found.missing)
    wanted = list(
        islice(chain.from_iterable(range(each.first, each.last + 1) for each in found.missing), MISSING_SHOWN)
    )
    signals = []
    if wanted:
        async with aclosing(up.omen.read_partition(name, indexes=wanted)) as items:
            signals = [item async for item in items if isinstance(item, SignalEvent)]
    return Comparison(through - lost, found.count, missing, not found.next_index, tuple(found.missing), signals)
