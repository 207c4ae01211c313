"""
Asks the sources again and again, each at its own pace, and hands what they tell to the pipeline.

A source that fails harms no other: each has its own task, breaker and tally. Only addresses from the table of sources
are ever asked.
"""

import asyncio
import difflib
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TypeAlias
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import structlog

from omen.v1.signal_pb2 import RawSignalEvent
from omen_rpc.rate import RateLimit
from omen_server.breaker import Breaker, BreakerView
from omen_server.fetch import Fetched, FetchFailed, Validators, check_url
from omen_server.pipeline.sources import SOURCES
from omen_server.pipeline.sources.source import Parsed, Source, SourceError, SourceMalformed, SourceUnavailable

SUBMIT_EVENTS_MAX = 500
INTERVAL_S_MAX = 7 * 86_400.0
WAIT_S_MIN = 0.001

Submit: TypeAlias = Callable[[Sequence[RawSignalEvent]], Awaitable[object]]
Fetch: TypeAlias = Callable[[str, Validators], Awaitable[Fetched]]

log = structlog.get_logger()


class PollRefused(ValueError):
    """
    A `--poll` that cannot be followed; the text says which part of it, and what would do.
    """


@dataclass(slots=True)
class Tally:
    """
    What has come of polling one source.
    """

    polls: int = 0
    unchanged: int = 0
    events: int = 0
    skipped: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    last_error: str = ""
    last_success_at: datetime | None = None


@dataclass(slots=True)
class Polled:
    """
    One source that is polled, and how it stands.
    """

    source: Source
    interval_s: float
    breaker: Breaker
    tally: Tally = field(default_factory=Tally)
    known: dict[str, Validators] = field(default_factory=dict)
    not_before_s: float = 0.0


def parse_poll(text: str, sources: Mapping[str, Source] = SOURCES) -> dict[str, float]:
    """
    Read `polymarket=60,nws=300`: sources, and how many seconds lie between two polls. PollRefused says what is wrong.
    """
    intervals: dict[str, float] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, equals, seconds = (piece.strip() for piece in part.partition("="))
        if name not in sources:
            near = difflib.get_close_matches(name, sources, 1)
            hint = f"Did you mean {near[0]}?" if near else f"There are {', '.join(sorted(sources))}."
            raise PollRefused(f"{name!r} is no source. {hint}")
        source = sources[name]
        if not source.urls and not source.offline:
            raise PollRefused(f"{name} has no address to poll. Feed it with `omen submit --source {name} FILE`.")
        if name in intervals:
            raise PollRefused(f"{name} is there twice.")
        if not equals or not (seconds.isascii() and seconds.isdigit() and len(seconds) < 9):
            raise PollRefused(f"{part!r} does not say how often. Write {name}={source.interval_s_min:g} for instance.")
        if not source.interval_s_min <= int(seconds) <= INTERVAL_S_MAX:
            raise PollRefused(
                f"{part}: {name} is polled every {source.interval_s_min:g} to {INTERVAL_S_MAX:g} seconds."
            )
        intervals[name] = float(seconds)
    return intervals


class Poller:
    """
    Polls until it is cancelled.

    *submit* returns when the events are taken in; when it raises, they are asked for and submitted again next time.
    """

    def __init__(
        self,
        intervals: Mapping[str, float],
        submit: Submit,
        fetch: Fetch,
        *,
        sources: Mapping[str, Source] = SOURCES,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._submit = submit
        self._fetch = fetch
        self._now = now
        self._monotonic = monotonic
        self._sleep = sleep
        self._polled = {
            name: Polled(sources[name], interval_s, Breaker(monotonic=monotonic))
            for name, interval_s in intervals.items()
        }
        self._budgets = budgets([polled.source for polled in self._polled.values()], monotonic)

    async def run(self) -> None:
        """
        Poll every source at its pace, for ever.
        """
        async with asyncio.TaskGroup() as group:
            for polled in self._polled.values():
                group.create_task(self._keep_polling(polled), name=f"poll {polled.source.name}")

    async def poll(self, name: str) -> None:
        """
        Poll one source once. What the source does wrong is counted and logged; what *submit* raises goes through.
        """
        polled = self._polled[name]
        polled.tally.polls += 1
        for url in polled.source.urls or ("",):
            if polled.not_before_s > self._monotonic():
                return
            try:
                await self._follow_pages(polled, url)
                polled.tally.last_success_at = self._now()
            except SourceError as error:
                self._note(polled, error)

    def breakers(self) -> dict[str, BreakerView]:
        """
        Return the breaker of every source.
        """
        return {name: polled.breaker.view() for name, polled in self._polled.items()}

    def tallies(self) -> dict[str, Tally]:
        """
        Return what has come of every source.
        """
        return {name: polled.tally for name, polled in self._polled.items()}

    async def _keep_polling(self, polled: Polled) -> None:
        while True:
            due_s = self._monotonic() + polled.interval_s
            try:
                await self.poll(polled.source.name)
            except Exception as error:  # noqa: BLE001 - no fault of one source or of the pipeline may end the polling
                self._note(polled, error)
            wait_s = max(due_s, polled.not_before_s) - self._monotonic()
            await self._sleep(max(wait_s, WAIT_S_MIN))

    async def _follow_pages(self, polled: Polled, url: str) -> None:
        source = polled.source
        page, seen = url, {url}
        for _ in range(source.pages_max):
            validators = Validators() if source.pages_max > 1 else polled.known.get(url, Validators())
            fetched, parsed = await self._ask(polled, page, validators)
            if parsed is None:
                polled.tally.unchanged += 1
                return
            await self._hand_over(polled, parsed)
            # Only now: had the pipeline refused them, the answer would be needed once more.
            polled.known[url] = fetched.validators
            if not parsed.next_page or not source.page_parameter:
                return
            page = with_parameter(url, source.page_parameter, parsed.next_page)
            if page in seen:
                raise SourceMalformed(source.name, source.page_parameter, "the next page is one already read")
            seen.add(page)
        if source.pages_max > 1:
            log.warning("source_has_more_pages", source=source.name, pages_max=source.pages_max)

    async def _ask(self, polled: Polled, url: str, validators: Validators) -> tuple[Fetched, Parsed | None]:
        await self._wait_for_budget(url)
        source, breaker = polled.source, polled.breaker
        permit = breaker.ask()
        if permit is None:
            left_s = breaker.view().retry_after_s
            raise SourceUnavailable(source.name, "", f"is left alone for {left_s:.0f} s", retry_after_s=left_s)
        try:
            fetched = await self._fetch(url, validators) if url else Fetched(b"", self._now(), Validators())
            parsed = None
            if fetched.body is not None:
                parsed = await asyncio.to_thread(source.parse, fetched.body, fetched.fetched_at, url)
        except FetchFailed as failed:
            # Whoever says when to come back is in good health.
            if failed.status == 429 and failed.retry_after_s is not None:
                breaker.give_back(permit)
            else:
                breaker.fail(permit, str(failed))
            raise SourceUnavailable(
                source.name, failed.url, failed.problem, retry_after_s=failed.retry_after_s
            ) from None
        except SourceError as error:
            breaker.fail(permit, str(error))
            raise
        except BaseException:
            breaker.give_back(permit)
            raise
        breaker.succeed(permit)
        return fetched, parsed

    async def _wait_for_budget(self, url: str) -> None:
        host = host_of(url)
        while host in self._budgets and (wait_s := self._budgets[host].take(host, 1)):
            await self._sleep(max(wait_s, WAIT_S_MIN))

    async def _hand_over(self, polled: Polled, parsed: Parsed) -> None:
        for start in range(0, len(parsed.events), SUBMIT_EVENTS_MAX):
            batch = parsed.events[start : start + SUBMIT_EVENTS_MAX]
            await self._submit(batch)
            polled.tally.events += len(batch)
        if parsed.skipped:
            polled.tally.skipped += len(parsed.skipped)
            first = parsed.skipped[0]
            log.info(
                "source_items_skipped",
                source=polled.source.name,
                count=len(parsed.skipped),
                first=f"{first.place}: {first.reason}",
            )

    def _note(self, polled: Polled, error: Exception) -> None:
        polled.tally.failures[type(error).__name__] += 1
        polled.tally.last_error = str(error)[:500]
        if isinstance(error, SourceError):
            if error.retry_after_s is not None:
                polled.not_before_s = self._monotonic() + error.retry_after_s
            log.warning("source_failed", source=polled.source.name, error=polled.tally.last_error)
        else:
            log.error("source_not_taken_in", source=polled.source.name, exc_info=error)


def budgets(sources: Sequence[Source], monotonic: Callable[[], float]) -> dict[str, RateLimit]:
    """
    Return a budget for every host; where sources share one, the smaller of theirs.
    """
    rates: dict[str, tuple[int, int]] = {}
    for source in sources:
        for url in source.urls:
            check_url(url)
            mine = (source.requests_per_minute_max, source.requests_burst_max)
            rates[host_of(url)] = min(mine, rates.get(host_of(url), mine))
    return {host: RateLimit(rate, burst, monotonic=monotonic) for host, (rate, burst) in rates.items()}


def host_of(url: str) -> str:
    """
    Return the host and port of an address.
    """
    return urlsplit(url).netloc.lower()


def with_parameter(url: str, name: str, value: str) -> str:
    """
    Return *url* with one parameter set, and the others left as they are.
    """
    parts = urlsplit(url)
    query = [pair for pair in parse_qsl(parts.query, keep_blank_values=True) if pair[0] != name]
    return urlunsplit(parts._replace(query=urlencode([*query, (name, value)])))
