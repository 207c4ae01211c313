import asyncio
from collections import Counter

import orjson
from starlette.requests import Request

from omen.v1 import signal_service_pb2 as pb
from omen.v1.signal_pb2 import SignalCategory, SignalEvent
from omen_console import shown
from omen_console.console import Console
from omen_console.page import Page
from omen_console.screens.common import asked, asked_day, at_a_glance, begin, end
from omen_rpc.fields import SIGNAL_ID
from omen_rpc.signal_codec import encode_json

PAGE = 50
CATEGORIES = shown.names(SignalCategory.DESCRIPTOR)


async def screen(console: Console, request: Request) -> Page:
    """
    Search signals, newest first, a page at a time. The first page can be live.
    """
    up = console.upstream
    wanted = request_of(request)
    reading, listed = await asyncio.gather(
        console.pulse.read(),
        up.ask("omen", up.omen.signals_page(wanted), remember=f"signals {request.url.query}"),
    )
    events = listed.value.events if listed.value is not None else []
    by_category = Counter(shown.short(each.signal, "category") for each in events)
    filters = {name: asked(request, name) for name in ("q", "partition", "category", "from", "to")}
    return Page(
        "signals.html",
        {
            **at_a_glance(console, reading),
            "listed": listed,
            "events": events,
            "by_category": by_category.most_common(),
            "categories": CATEGORIES,
            "filters": filters,
            "is_first": not wanted.page_token,
            # What a live tail cannot be filtered by would come in all the same.
            "can_tail": not (filters["q"] or filters["from"] or filters["to"] or wanted.page_token),
        },
    )


def request_of(request: Request) -> pb.ListSignalsRequest:
    """
    Return the search that an address describes.
    """
    wanted = pb.ListSignalsRequest(
        partition=asked(request, "partition"),
        text=asked(request, "q"),
        page_size=PAGE,
        page_token=asked(request, "after"),
    )
    category = asked(request, "category")
    if category in CATEGORIES:
        wanted.categories.append(SignalCategory.Value(f"SIGNAL_CATEGORY_{category}"))
    since, until = asked_day(request, "from"), asked_day(request, "to")
    if since is not None:
        wanted.emitted_from.FromDatetime(begin(since))
    if until is not None:
        wanted.emitted_through.FromDatetime(end(until))
    return wanted


async def detail(console: Console, request: Request) -> Page:
    """
    Show one signal with its whole life: observed, made, written, pushed, stored, and whether its ids follow.
    """
    up, signal_id = console.upstream, request.path_params["signal_id"]
    if not SIGNAL_ID.fullmatch(signal_id):
        context = {**at_a_glance(console, await console.pulse.read()), "signal_id": signal_id}
        return Page("no_signal.html", context, 404)
    reading, found, stored, checked, explained = await asyncio.gather(
        console.pulse.read(),
        up.ask("omen", up.omen.signal(signal_id), remember=f"signal {signal_id}"),
        up.ask("riskcast", up.riskcast.processed(signal_id), remember=f"signal {signal_id}"),
        up.ask("omen", up.omen.verify_signal(signal_id)),
        up.ask("omen", up.omen.explain(signal_id)),
    )
    if found.is_missing and stored.is_missing:
        return Page("no_signal.html", {**at_a_glance(console, reading), "signal_id": signal_id}, 404)
    event = found.value.event if found.value is not None else stored.value.event if stored.value is not None else None
    return Page(
        "signal.html",
        {
            **at_a_glance(console, reading),
            "signal_id": signal_id,
            "found": found,
            "stored": stored,
            "checked": checked,
            "explained": explained,
            "event": event,
            "raw": as_text(event) if event is not None else "",
        },
    )


def as_text(event: SignalEvent) -> str:
    """
    Return a signal as its record says it, with lines for people.
    """
    return orjson.dumps(orjson.loads(encode_json(event)), option=orjson.OPT_INDENT_2).decode()
