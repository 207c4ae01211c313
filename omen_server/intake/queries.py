"""
Looking signals up: where they lie the index says, what they are the ledger.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from omen.v1 import signal_service_pb2 as pb
from omen.v1.signal_pb2 import SignalEvent
from omen_rpc.errors import CallError, Reason, Violation, fault, invalid_fields
from omen_rpc.fields import Fields, is_partition
from omen_rpc.paging import ITEMS_BYTES_MAX, item_bytes, page_number, page_size, page_token
from omen_rpc.signal_codec import CodecError, recognise
from omen_rpc.signal_rules import NAME_CHARS_MAX, check_line, check_time
from omen_server import identity
from omen_server.index import TEXT_WORDS_MAX, TRACE_IDS_MAX, Known, Lookup, Page, Query, Wanted
from omen_server.intake.keeping import Keeper
from omen_server.pipeline.explanation import explain_stored
from omen_server.pipeline.ruleset import Ruleset
from omen_server.tail import Committed

PAGE_DEFAULT, PAGE_MAX = 100, 500
CATEGORIES_MAX = 32
TEXT_CHARS_MAX = 200
# Of one page's rows, so many are fetched from the ledger at once.
ROWS_AT_ONCE = 100
# Pages of nothing that one call looks through before it hands its caller a token to go on with.
EMPTY_PAGES_MAX = 4
CATCH_UP_S = 1.0


class Queries:
    """
    Answers questions about signals that are in the ledger.

    *caught_up* waits until the index has everything that is durable: who emits a signal and asks for it finds it.
    """

    def __init__(
        self, lookup: Lookup, keeper: Keeper[Any], rules: Ruleset, caught_up: Callable[[], Awaitable[None]]
    ) -> None:
        self._lookup = lookup
        self._keeper = keeper
        self._rules = rules
        self._caught_up = caught_up

    async def get(self, request: pb.GetSignalRequest) -> pb.GetSignalResponse:
        """
        Return the first signal with an id, and what is known of its way.
        """
        known, item = await self._signal(request)
        status = pb.EmitStatus.ValueType(known.status)
        return pb.GetSignalResponse(event=item.event, status=status, ack_id=known.ack_id)

    async def page(self, request: pb.ListSignalsRequest) -> pb.ListSignalsResponse:
        """
        Return a page of signals, newest first.
        """
        query, rows_max = query_of(request), page_size(request, PAGE_DEFAULT, PAGE_MAX)
        before = page_number(request)
        if not before:
            await self._caught_up_in_time()
        reply = pb.ListSignalsResponse()
        room, looks = ITEMS_BYTES_MAX, 0
        while len(reply.events) < rows_max and looks < EMPTY_PAGES_MAX:
            page = await self._lookup.page(query, before, min(ROWS_AT_ONCE, rows_max - len(reply.events)))
            looks = 0 if page.items else looks + 1
            for offset, event in await self._events(page):
                room -= item_bytes(event)
                if room < 0 and reply.events:
                    reply.next_page_token = page_token(request, str(before))
                    return reply
                reply.events.append(event)
                before = offset
            before = page.before_offset
            if not before:
                return reply
        reply.next_page_token = page_token(request, str(before))
        return reply

    async def explain(self, request: pb.ExplainSignalRequest) -> pb.ExplainSignalResponse:
        """
        Return how a signal came to be.
        """
        _, item = await self._signal(request)
        return pb.ExplainSignalResponse(explanation=explain_stored(item.event, self._rules))

    async def verify(self, request: pb.VerifySignalRequest) -> pb.VerifySignalResponse:
        """
        Return whether a signal's ids and digest are what its envelope gives.
        """
        match request.WhichOneof("target"):
            case "signal_id":
                _, item = await self._signal(request)
                return identity.verify(item.event)
            case "event":
                try:
                    return identity.verify(recognise(request.event))
                except CodecError as error:
                    raise invalid_fields([Violation(f"event.{error.path}", error.problem)]) from None
            case _:
                raise invalid_fields([Violation("target", "is missing: give a signal_id or an event")])

    async def _signal(
        self, request: pb.GetSignalRequest | pb.ExplainSignalRequest | pb.VerifySignalRequest
    ) -> tuple[Known, Committed]:
        fields = Fields(request)
        fields.signal_id()
        fields.check()
        await self._caught_up_in_time()
        wanted = Wanted(request.signal_id)
        found = await self._keeper.first([wanted])
        if wanted in found:
            return found[wanted]
        [known] = await self._lookup.find([wanted])
        if known is None or await self._keeper.is_deleted(known):
            raise fault(Reason.ERROR_REASON_SIGNAL_NOT_FOUND, metadata={"signal_id": request.signal_id})
        raise unreadable(known)

    async def _events(self, page: Page) -> list[tuple[int, SignalEvent]]:
        """
        Return a page's events that can be read; what is damaged is named where partitions are read, not here.
        """
        items = await self._keeper.read(page.items)
        return [(each.offset, items[each.offset].event) for each in page.items if each.offset in items]

    async def _caught_up_in_time(self) -> None:
        # An index that is stuck is behind, and not a reason to answer nothing.
        with suppress(TimeoutError):
            async with asyncio.timeout(CATCH_UP_S):
                await self._caught_up()


def query_of(request: pb.ListSignalsRequest) -> Query:
    """
    Return what a request asks the index.
    """
    fields = Fields(request)
    fields.require(not request.partition or is_partition(request.partition), "partition", "is no partition")
    fields.require(len(request.categories) <= CATEGORIES_MAX, "categories", f"has over {CATEGORIES_MAX} entries")
    fields.require(len(request.trace_ids) <= TRACE_IDS_MAX, "trace_ids", f"has over {TRACE_IDS_MAX} entries")
    fields.require(len(request.text) <= TEXT_CHARS_MAX, "text", f"has over {TEXT_CHARS_MAX} characters")
    fields.require(len(request.text.split()) <= TEXT_WORDS_MAX, "text", f"has over {TEXT_WORDS_MAX} words")
    for name in ("input_event_hash", "source_event_id"):
        for violation in check_line(getattr(request, name), NAME_CHARS_MAX, name):
            fields.require(False, violation.field, violation.description)
    for name in ("emitted_from", "emitted_through"):
        for violation in check_time(getattr(request, name), name):
            fields.require(False, violation.field, violation.description)
    fields.check()
    return Query(
        partition=request.partition,
        emitted_from_ns=ns_of(request.emitted_from) if request.HasField("emitted_from") else None,
        emitted_through_ns=ns_of(request.emitted_through) if request.HasField("emitted_through") else None,
        categories=tuple(request.categories),
        trace_ids=tuple(request.trace_ids),
        input_event_hash=request.input_event_hash,
        source_event_id=request.source_event_id,
        text=request.text,
    )


def ns_of(time: Timestamp) -> int:
    """
    Return a time in nanoseconds since 1970.
    """
    return time.seconds * 1_000_000_000 + time.nanos


def unreadable(known: Known) -> CallError:
    """
    Make the error for a signal that was acknowledged and whose record cannot be read any more.
    """
    return fault(
        Reason.ERROR_REASON_LEDGER_CORRUPT,
        f"{known.signal_id} was record {known.ledger_index} of {known.partition}, which cannot be read.",
        metadata={"partition": known.partition},
    )
