import asyncio

from starlette.requests import Request

from omen_console.console import Console
from omen_console.page import Page
from omen_console.screens.common import at_a_glance, first

LINES_MAX = 20


async def screen(console: Console, _request: Request) -> Page:
    """
    Show what each process is, how it is set and where each setting came from, and what happened lately.
    """
    up = console.upstream
    reading, omen, riskcast, reconciler, activity, letters = await asyncio.gather(
        console.pulse.read(),
        up.ask("omen", up.omen.info(), remember="info"),
        up.ask("riskcast", up.riskcast.info(), remember="info"),
        up.ask("reconciler", up.reconciler.info(), remember="info"),
        up.ask("omen", first(up.omen.operations.activity(LINES_MAX), LINES_MAX), remember="activity"),
        up.ask("omen", first(up.omen.operations.dead_letters(LINES_MAX), LINES_MAX), remember="letters"),
    )
    return Page(
        "system.html",
        {
            **at_a_glance(console, reading),
            "servers": {"omen": omen, "riskcast": riskcast, "reconciler": reconciler},
            "activity": activity,
            "letters": letters,
            "own": console.shown_settings,
            "names": {"omen": "OMEN", "riskcast": "RiskCast", "reconciler": "Reconciler"},
        },
    )
