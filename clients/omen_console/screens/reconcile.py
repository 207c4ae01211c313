import asyncio
from collections.abc import Awaitable

from starlette.datastructures import FormData
from starlette.requests import Request

from omen.v1 import ledger_service_pb2 as ledger_pb
from omen_client import CallError
from omen_console import shown
from omen_console.console import Console
from omen_console.gate import Refused
from omen_console.page import Page
from omen_console.preferences import way_back
from omen_console.screens.common import asked, asked_day, at_a_glance
from omen_rpc.fields import is_partition
from reconcile.v1 import reconcile_service_pb2 as pb

RUNS_SHOWN = 50
PARKED_SHOWN = 20
CHOICES_MAX = 100
REASON_CHARS_MAX = 200
STATUSES = shown.names(pb.ReconcileStatus.DESCRIPTOR)


async def screen(console: Console, request: Request) -> Page:
    """
    Show how partitions stand, past rounds, and what RiskCast keeps refusing; and begin a round.
    """
    up = console.upstream
    partition, status = asked(request, "partition"), asked(request, "status")
    since, until = asked_day(request, "from"), asked_day(request, "to")
    wanted = pb.ListRunsRequest(
        partition=partition if is_partition(partition) else "", page_size=RUNS_SHOWN, page_token=asked(request, "after")
    )
    reading, runs, parked, partitions = await asyncio.gather(
        console.pulse.read(),
        up.ask("reconciler", up.reconciler.runs_page(wanted), remember=f"runs {wanted.partition}"),
        up.ask(
            "reconciler", up.reconciler.parked_page(pb.ListParkedRequest(page_size=PARKED_SHOWN)), remember="parked"
        ),
        up.ask(
            "omen",
            up.omen.partitions_page(ledger_pb.ListPartitionsRequest(page_size=CHOICES_MAX)),
            remember="partitions",
        ),
    )
    listed = runs.value.runs if runs.value is not None else []
    low, high = str(since or ""), str(until or "9999")
    rows = [
        each
        for each in listed
        if status in {"", shown.short(each, "status")} and low <= each.partition_date.removesuffix("-late") <= high
    ]
    choices = partitions.value.partitions if partitions.value is not None else []
    return Page(
        "reconcile.html",
        {
            **at_a_glance(console, reading),
            "runs": runs,
            "rows": rows,
            "replayed": sum(each.replayed_count for each in rows),
            "failed": sum(each.status == pb.RECONCILE_STATUS_FAILED for each in rows),
            "parked": parked,
            "choices": choices,
            "has_sealed": any(each.is_sealed or each.is_late for each in choices),
            "statuses": STATUSES,
            "filters": {"partition": partition, "status": status, "from": since or "", "to": until or ""},
            "is_first": not wanted.page_token,
        },
    )


async def run(console: Console, _request: Request, form: FormData) -> str:
    """
    Begin a round as the form says, and return where its outcome is shown.
    """
    target = str(form.get("target", ""))
    request = pb.RunReconcileRequest(
        include_open="include_open" in form, validate_only="validate_only" in form, force="force" in form
    )
    if target in {"", "all"}:
        request.all = True
        words = "all partitions"
    elif is_partition(target):
        request.partition, words = target, target
    else:
        raise Refused(400, "That is no partition.", "Choose one of the list: a date, with -late for late arrivals.")
    await console.rounds.make(request, words)
    await console.pulse.read(anew=True)
    return way_back(str(form.get("back", "")), console.settings.base_path)


async def pause(console: Console, _request: Request, form: FormData) -> str:
    """
    Stop reconciling until told to go on.
    """
    reason = " ".join(str(form.get("reason", "")).split())[:REASON_CHARS_MAX] or "paused from the console"
    return await ordered(console, console.upstream.reconciler.pause(reason))


async def resume(console: Console, _request: Request, _form: FormData) -> str:
    """
    Go on reconciling.
    """
    return await ordered(console, console.upstream.reconciler.resume())


async def ordered(console: Console, call: Awaitable[bool]) -> str:
    """
    Await an order to the reconciler, and return where its effect is shown.
    """
    try:
        await call
    except CallError as error:
        found = console.upstream.trouble("reconciler", error)
        raise Refused(502, found.text, found.remedy) from None
    await console.pulse.read(anew=True)
    return console.pages.url("reconcile")
