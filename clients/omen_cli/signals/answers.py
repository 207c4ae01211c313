"""
What a source answers: from a file, from stdin, from an address, or from the source's own addresses; once or on and on.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from omen_cli import exits
from omen_cli.output import say
from omen_cli.signals.reading import STDIN, chunks

if TYPE_CHECKING:
    from omen.v1.signal_pb2 import RawSignalEvent
    from omen_server.fetch import Fetched, Fetcher, Validators
    from omen_server.pipeline.sources.source import Parsed, Source

BODY_BYTES_MAX = 64 << 20
NOBODY = "omen submit, run by hand"


@dataclass(slots=True)
class Asked:
    """
    A source, where its answers come from, and what is known of them already.
    """

    source: "Source"
    place: str
    as_of: datetime | None
    contact: str
    known: "dict[str, Validators]" = field(default_factory=dict)
    read_at: float = 0.0

    async def answers(self) -> "AsyncIterator[tuple[RawSignalEvent, ...]]":
        """
        Yield the events of every answer there is now and was not before; Stopped when there is none to be had.
        """
        if not is_address(self.place) and self.place:
            if (parsed := await self._from_file()) is not None:
                yield self._told(parsed)
            return
        if not self.place and self.source.offline:
            yield self._told(self._parsed(b"", datetime.now(UTC), ""))
            return
        for url in (self.place,) if self.place else self.source.urls:
            async for parsed in self._pages(url):
                yield self._told(parsed)

    async def _from_file(self) -> "Parsed | None":
        """
        Return what the file says; None when it has not been written to since.
        """
        written_at = written(self.place)
        if written_at and written_at == self.read_at:
            return None
        self.read_at, body = written_at, bytearray()
        async for chunk in chunks(self.place):
            body += chunk
            if len(body) > BODY_BYTES_MAX:
                text = f"{self.place} is longer than {BODY_BYTES_MAX} bytes."
                raise exits.Stopped(exits.USAGE, "USAGE", text, "Give it in parts.")
        fetched_at = datetime.fromtimestamp(written_at, UTC) if written_at else datetime.now(UTC)
        return await asyncio.to_thread(self._parsed, bytes(body), fetched_at, "")

    async def _pages(self, url: str) -> "AsyncIterator[Parsed]":
        from omen_server.fetch import Fetcher  # noqa: PLC0415 - only who asks a source needs it
        from omen_server.poller import with_parameter  # noqa: PLC0415 - as above

        fetcher, page = Fetcher(self.contact), url
        for _ in range(self.source.pages_max):
            fetched = await self._fetched(fetcher, page)
            if fetched.body is None:
                return
            parsed = await asyncio.to_thread(self._parsed, fetched.body, fetched.fetched_at, page)
            yield parsed
            if not parsed.next_page or not self.source.page_parameter:
                return
            page = with_parameter(url, self.source.page_parameter, parsed.next_page)

    async def _fetched(self, fetcher: "Fetcher", url: str) -> "Fetched":
        from omen_server.fetch import FetchFailed, Validators  # noqa: PLC0415 - only who asks a source needs it

        known = self.known.get(url, Validators()) if self.source.pages_max == 1 else Validators()
        try:
            fetched = await fetcher.fetch(url, known)
        except FetchFailed as error:
            wait = "" if error.retry_after_s is None else f" It asks to be left alone for {error.retry_after_s:.0f} s."
            raise exits.Stopped(
                exits.UNREACHABLE, "SOURCE_UNREACHABLE", f"{error}.{wait}", "Try again later, or give a recorded file."
            ) from None
        if fetched.body is not None:
            self.known[url] = fetched.validators
        return fetched

    def _parsed(self, body: bytes, fetched_at: datetime, url: str) -> "Parsed":
        from omen_server.pipeline.sources.source import SourceError  # noqa: PLC0415 - only who reads answers needs it

        try:
            return self.source.parse(body, self.as_of or fetched_at, url)
        except SourceError as error:
            raise exits.Stopped(
                exits.USAGE, "SOURCE_MALFORMED", str(error), f"Give what {self.source.name} answers."
            ) from None

    def _told(self, parsed: "Parsed") -> "tuple[RawSignalEvent, ...]":
        for each in parsed.skipped:
            say(f"skipped {each.place}: {each.reason}")
        return parsed.events


def written(place: str) -> float:
    """
    Return when a file was last written to; 0 for stdin, and for one that cannot be read, which reading it says.
    """
    try:
        return Path(place).stat().st_mtime if place != STDIN else 0.0
    except OSError:
        return 0.0


def source_of(name: str) -> "Source":
    """
    Return a source by its name.
    """
    from omen_server.pipeline.sources import SOURCES  # noqa: PLC0415 - only who reads a source's answer needs it

    if name not in SOURCES:
        raise exits.Stopped(exits.USAGE, "USAGE", f"{name!r} is no source.", f"There are {', '.join(sorted(SOURCES))}.")
    return SOURCES[name]


def is_address(place: str) -> bool:
    """
    Whether *place* is to be fetched.
    """
    return place.startswith(("http://", "https://"))


def refused(place: str) -> str:
    """
    Return why an address is not fetched; empty when it is.
    """
    from omen_server.fetch import FetchFailed, check_url  # noqa: PLC0415 - only who asks a source needs it

    try:
        check_url(place)
    except FetchFailed as error:
        return str(error)
    return ""


async def rounds(watch_s: float) -> AsyncIterator[int]:
    """
    Yield the numbers of rounds: one, or one after another with so many seconds between them.
    """
    number = 1
    yield number
    while watch_s:
        await asyncio.sleep(watch_s)
        number += 1
        yield number


def in_utc(as_of: datetime | None) -> datetime | None:
    """
    Return a time; one without a zone is UTC.
    """
    return as_of.replace(tzinfo=UTC) if as_of is not None and as_of.tzinfo is None else as_of
