"""
Raw events on their way in: judged by the rules, and kept if every rule lets them through.

A raw event that is in the ledger already is not judged again: its first record answers for it. One on which the
pipeline itself fails becomes a dead letter, and nobody else in its batch notices.
"""

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TypeAlias

import structlog

from omen.v1.signal_pb2 import RawSignalEvent
from omen_rpc.errors import CallError, Reason, fault, invalid_fields
from omen_rpc.refusal import unforeseen
from omen_rpc.signal_codec import SIGNAL_BYTES_MAX, PayloadKind, digest_and_prepare
from omen_rpc.signal_rules import check_event
from omen_server import identity
from omen_server.desk.dead_letters import of_event
from omen_server.desk.desk import Desk
from omen_server.desk.errors import DeskError
from omen_server.index import Wanted
from omen_server.intake.keeping import Draft, Keeper, Kept, Result
from omen_server.intake.signals import too_large
from omen_server.pipeline.history import key_of
from omen_server.pipeline.reading import Reading, read
from omen_server.pipeline.ruleset import Ruleset
from omen_server.pipeline.run import Outcome, judge
from omen_server.pipeline.snapshot import Snapshot, of_batch
from omen_server.stats import Stats

# Fewer than this are judged where they are: a thread would cost more than it gives back.
JUDGED_IN_PLACE = 4
PIPELINE = "pipeline"
SANITY = "sanity"

Judged: TypeAlias = Outcome | CallError

log = structlog.get_logger()


class Events:
    """
    Takes raw events through the rules into the ledger.
    """

    def __init__(
        self,
        keeper: Keeper[Outcome],
        desk: Desk,
        rules: Ruleset,
        stats: Stats,
        *,
        kind: PayloadKind,
        now: Callable[[], datetime],
    ) -> None:
        self._keeper = keeper
        self._desk = desk
        self._rules = rules
        self._stats = stats
        self._kind = kind
        self._now = now

    async def submit(
        self, raws: Sequence[RawSignalEvent], trace_parent: str, *, explain: bool = False
    ) -> list[tuple[Result[Outcome], Outcome | None]]:
        """
        Keep the signal of each raw event; return what became of it, in order, and how it was judged if it was just now.
        """
        self._stats.received(len(raws))
        wanted = [wanted_of(raw, self._rules) for raw in raws]
        first = dict(reversed([*zip(wanted, raws, strict=True)]))
        judged: dict[Wanted, Outcome] = {}

        async def make(missing: Sequence[Wanted]) -> list[Draft | Outcome | CallError]:
            found = await self._judge([first[each] for each in missing], explain=explain, keep=True)
            judged.update((each, got) for each, got in zip(missing, found, strict=True) if isinstance(got, Outcome))
            return [got if isinstance(got, CallError) else self._draft(got, trace_parent) for got in found]

        results = await self._keeper.keep(wanted, make)
        self._count(results)
        return [(result, judged.get(each)) for each, result in zip(wanted, results, strict=True)]

    async def look(self, raws: Sequence[RawSignalEvent], *, explain: bool = False) -> list[Judged]:
        """
        Judge raw events and keep nothing, neither of them nor of what was decided.
        """
        return await self._judge(raws, explain=explain, keep=False)

    async def _judge(self, raws: Sequence[RawSignalEvent], *, explain: bool, keep: bool) -> list[Judged]:
        """
        Judge events against one snapshot. What is kept of them for later events is kept whatever their fate here.
        """
        as_of = self._now()
        readings = [read_safely(raw, self._rules) for raw in raws]
        whole = [reading for reading in readings if isinstance(reading, Reading)]
        history = await self._desk.history.load([key_of(reading.raw) for reading in whole], as_of)
        snapshot = of_batch(as_of, whole, history=history, peers=self._desk.peers.around(whole))
        if len(readings) > JUDGED_IN_PLACE:
            found = await asyncio.to_thread(self._judged, readings, snapshot, explain=explain)
        else:
            found = self._judged(readings, snapshot, explain=explain)
        if keep:
            await self._remember(readings, found, as_of)
            self._stats.processed(sum(isinstance(got, Outcome) for got in found))
        judged: list[Judged] = []
        for raw, got in zip(raws, found, strict=True):
            judged.append(await self._bury(raw, got, keep=keep) if isinstance(got, Exception) else got)
        return judged

    def _judged(
        self, readings: Sequence[Reading | Exception], snapshot: Snapshot, *, explain: bool
    ) -> list[Outcome | Exception]:
        found: list[Outcome | Exception] = []
        for reading in readings:
            if isinstance(reading, Exception):
                found.append(reading)
                continue
            try:
                found.append(judge(reading, self._rules, snapshot, explain=explain))
            except Exception as error:  # noqa: BLE001 - a bug met by one event must not take its neighbours with it
                found.append(error)
        return found

    async def _remember(
        self, readings: Sequence[Reading | Exception], found: Sequence[Outcome | Exception], as_of: datetime
    ) -> None:
        """
        Keep prices, witnesses and refusals for those who come later.
        """
        judged = [
            (reading, got)
            for reading, got in zip(readings, found, strict=True)
            if isinstance(reading, Reading) and isinstance(got, Outcome)
        ]
        self._desk.peers.keep([reading for reading, got in judged if got.passed], as_of)
        for reading, got in judged:
            if not got.passed:
                self._desk.rejected.keep(reading.raw, got, as_of)
        # What is no event at all has no price either.
        sane = [reading.raw for reading, got in judged if got.rejected_by != SANITY]
        try:
            await self._desk.history.extend(sane, as_of)
        except DeskError as error:
            log.warning("history_not_kept", events=len(sane), text=str(error))

    async def _bury(self, raw: RawSignalEvent, error: Exception, *, keep: bool) -> CallError:
        """
        Keep an event that the pipeline failed on until somebody has mended that, and return its sender's error.
        """
        bug = unforeseen(PIPELINE, error)
        if not keep:
            return bug
        failure = of_event(raw, bug.reason, bug.message)
        (letter,) = await self._desk.dead_letters.keep([failure], self._now())
        if not letter:
            raise self._desk.dead_letters.no_room()
        return fault(
            Reason.ERROR_REASON_EVENT_NOT_JUDGED,
            f"{bug.message} Kept as dead letter {letter}.",
            metadata={"dead_letter_id": letter, **bug.metadata},
        )

    def _count(self, results: Sequence[Result[Outcome]]) -> None:
        self._stats.cached(sum(isinstance(result, Kept) and result.cached for result in results))
        for result in results:
            if isinstance(result, Outcome):
                self._stats.filtered(result.rejected_by)

    def _draft(self, outcome: Outcome, trace_parent: str) -> Draft | Outcome | CallError:
        event = outcome.event
        if event is None:
            return outcome
        event.emitted_at.FromDatetime(self._now())
        event.trace_parent = trace_parent
        if violations := [*check_event(event, "event")]:
            return invalid_fields(violations)
        if event.ByteSize() > SIGNAL_BYTES_MAX:
            return too_large(event.signal_id, event.ByteSize())
        return Draft(event, digest_and_prepare(event, self._kind))


def wanted_of(raw: RawSignalEvent, rules: Ruleset) -> Wanted:
    """
    Return how the ledger knows the signal of a raw event. Other rules make another signal of it.
    """
    input_hash = identity.input_event_hash(raw)
    trace = identity.trace_id(raw.source_event_id, input_hash, rules.id)
    return Wanted(identity.signal_id(trace), input_event_hash=input_hash)


def read_safely(raw: RawSignalEvent, rules: Ruleset) -> Reading | Exception:
    """
    Return an event as the rules see it, or the bug that it met.
    """
    try:
        return read(raw, rules)
    except Exception as error:  # noqa: BLE001 - a bug met by one event must not take its neighbours with it
        return error
