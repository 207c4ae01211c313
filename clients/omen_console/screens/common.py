"""
What several screens do in the same way.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, TypeVar

from starlette.requests import Request

from omen_console.console import Console
from omen_console.glance import glance
from omen_console.pulse import Reading

Item = TypeVar("Item")


def at_a_glance(console: Console, reading: Reading) -> Mapping[str, Any]:
    """
    Return what every page shows of the servers.
    """
    return {"reading": reading, "live": glance(console, reading), "rounds": console.rounds}


async def first(items: AsyncIterator[Item], count: int) -> list[Item]:
    """
    Return the first *count* items of a list, asking for no more pages than that takes.
    """
    found: list[Item] = []
    async with aclosing(items) as open_items:  # type: ignore[type-var]  # The clients' lists are generators.
        async for item in open_items:
            found.append(item)
            if len(found) >= count:
                break
    return found


def asked(request: Request, name: str) -> str:
    """
    Return a parameter of the address, without blanks around it.
    """
    return request.query_params.get(name, "").strip()


def asked_number(request: Request, name: str, default: int, least: int, most: int) -> int:
    """
    Return a number of the address, moved into its bounds; the default for anything else.
    """
    text = asked(request, name)
    return min(most, max(least, int(text))) if text.isascii() and text.isdigit() and len(text) < 18 else default


def asked_day(request: Request, name: str) -> date | None:
    """
    Return a date of the address; None for anything else.
    """
    try:
        return date.fromisoformat(asked(request, name))
    except ValueError:
        return None


def begin(day: date) -> datetime:
    """
    Return the first moment of a day.
    """
    return datetime.combine(day, time(), UTC)


def end(day: date) -> datetime:
    """
    Return the last moment of a day.
    """
    return begin(day) + timedelta(days=1, microseconds=-1)
