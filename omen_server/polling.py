"""
The poller as the server runs it: what sources tell goes the same way as what callers submit.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

import structlog

from omen.v1.signal_pb2 import RawSignalEvent
from omen_rpc.refusal import explain
from omen_rpc.server import Server
from omen_rpc.settings import SettingsRefused
from omen_server.fetch import Fetcher
from omen_server.intake.events import Events
from omen_server.ledger.errors import LedgerError
from omen_server.pipeline.sources import SOURCES
from omen_server.poller import Poller, PollRefused, parse_poll
from omen_server.refusals import REFUSALS
from omen_server.running import running
from omen_server.settings import OmenSettings

NOBODY = "nobody"  # Is never sent: what has no address of its own is not fetched.

log = structlog.get_logger()


def polls_of(settings: OmenSettings) -> tuple[dict[str, float], Fetcher]:
    """
    Return how often each source is to be polled, and by what; SettingsRefused when that cannot be done.
    """
    try:
        intervals, fetcher = parse_poll(settings.poll), Fetcher(settings.poll_contact or NOBODY)
    except (PollRefused, ValueError) as error:
        raise SettingsRefused(f"--poll: {error}") from None
    if not settings.poll_contact and any(SOURCES[name].urls for name in intervals):
        text = "sources want somebody to write to; add --poll-contact with an address or URL of yours."
        raise SettingsRefused(f"--poll: {text}")
    return intervals, fetcher


@asynccontextmanager
async def polling(settings: OmenSettings, events: Events, server: Server) -> AsyncIterator[Poller]:
    """
    Poll what the settings name while the block runs.
    """
    intervals, fetcher = polls_of(settings)
    poller = Poller(intervals, submitting(events), fetcher.fetch)
    if not intervals:
        yield poller
        return
    async with running("poller", poller.run(), server):
        yield poller


def submitting(events: Events) -> Callable[[Sequence[RawSignalEvent]], Awaitable[object]]:
    """
    Return what takes a source's events in, and raises when the ledger does not: they are asked for again then.
    """

    async def submit(batch: Sequence[RawSignalEvent]) -> None:
        refused = 0
        for result, _ in await events.submit(batch, ""):
            if isinstance(result, LedgerError):
                raise result
            if isinstance(result, Exception) and explain("poller", result, REFUSALS).retryable:
                raise result
            # A bug has made a dead letter of the event already; what has a wrong shape would have it again.
            refused += isinstance(result, Exception)
        if refused:
            log.warning("source_events_refused", source=batch[0].source, count=refused)

    return submit
