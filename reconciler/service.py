"""
ReconcileService: rounds on demand, how every partition stands, what is parked.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any, TypeAlias

from omen_rpc.errors import CallError, NotFound, Reason, fault
from omen_rpc.fields import Fields, is_partition
from omen_rpc.paging import ITEMS_BYTES_MAX, item_bytes, page_number, page_place, page_size, page_token
from reconcile.v1 import reconcile_service_pb2 as pb
from reconcile.v1.reconcile_service_pb2_grpc import ReconcileServiceServicer

from .comparing import Comparing
from .parking import Parking
from .plan import UP_TO_DATE, need, refusal
from .reconcile import Wish
from .replay import Rate
from .rounds import Rounds, Target
from .settings import ReconcilerSettings
from .state import State

PAGE_DEFAULT, PAGE_MAX = 100, 500
# A run may carry thousands of ids.
RUNS_DEFAULT, RUNS_MAX = 20, 100
IDS_MAX = 500
REASON_CHARS_MAX = 500
SINCE_DAYS_MAX = 36_500
FRAMES_WAITING_MAX = 1_000
PEER_RETRY_S = 2.0
RATE_MAX = 1_000_000.0

Frame: TypeAlias = pb.RunReconcileResponse
Choice: TypeAlias = pb.ReplayParkedRequest | pb.WaiveParkedRequest


class ReconcileService(ReconcileServiceServicer):
    """
    Answers over the parts it is given by `begin`. The gate lets no call in before that.
    """

    _state: State
    _rounds: Rounds
    _comparing: Comparing
    _parking: Parking
    _rate: Rate
    _settings: ReconcilerSettings

    def begin(
        self,
        *,
        state: State,
        rounds: Rounds,
        comparing: Comparing,
        parking: Parking,
        rate: Rate,
        settings: ReconcilerSettings,
    ) -> None:
        """
        Answer from now on.
        """
        self._state, self._rounds, self._comparing = state, rounds, comparing
        self._parking, self._rate, self._settings = parking, rate, settings

    async def RunReconcile(self, request: pb.RunReconcileRequest, _context: object) -> AsyncIterator[Frame]:
        """
        Make a round and tell of it. A caller that goes away ends it: the next one computes all of it anew.
        """
        target, wish = target_of(request), wish_of(request, self._settings)
        frames: asyncio.Queue[Frame | None] = asyncio.Queue()

        def tell(frame: Frame) -> None:
            # Progress is what a slow caller does without; every result is told.
            if frame.HasField("progress") and frames.qsize() >= FRAMES_WAITING_MAX:
                return
            copy = Frame()
            copy.CopyFrom(frame)
            frames.put_nowait(copy)

        making = asyncio.create_task(self._rounds.make(target, wish, tell))
        making.add_done_callback(lambda _: frames.put_nowait(None))
        try:
            while (frame := await frames.get()) is not None:
                yield frame
            try:
                await making
            except CallError as error:
                raise translated(error) from None
        finally:
            making.cancel()
            await asyncio.gather(making, return_exceptions=True)

    async def GetPartitionState(
        self, request: pb.GetPartitionStateRequest, _context: object
    ) -> pb.GetPartitionStateResponse:
        """
        Tell how a partition stands, and whether a round would do something by what is known here.
        """
        fields = Fields(request)
        fields.partition()
        fields.check()
        try:
            mark = await self._comparing.watermark(request.partition)
        except CallError as error:
            raise translated(error) from None
        state = await self._state.runs.get(request.partition)
        reason = refusal(mark, include_open=self._settings.include_open) or need(state, mark, self._parking.now())
        needed = bool(reason) and not refusal(mark, include_open=self._settings.include_open)
        return pb.GetPartitionStateResponse(state=state, needs_reconcile=needed, reason=reason or UP_TO_DATE)

    async def ListPartitionStates(
        self, request: pb.ListPartitionStatesRequest, _context: object
    ) -> pb.ListPartitionStatesResponse:
        """
        List how partitions stand.
        """
        size, before = page_size(request, PAGE_DEFAULT, PAGE_MAX), page_place(request)
        if before and not is_partition(before):
            raise fault(Reason.ERROR_REASON_PAGE_TOKEN_INVALID)
        states = await self._state.runs.states(before, size + 1)
        reply = pb.ListPartitionStatesResponse(
            paused=await self._state.control.paused() is not None, signals_per_second=self._rate.signals_per_s
        )
        places = [(each.partition_date, each) for each in states]
        reply.next_page_token = fill(reply.states, places, request, size)
        return reply

    async def ListRuns(self, request: pb.ListRunsRequest, _context: object) -> pb.ListRunsResponse:
        """
        List past runs.
        """
        fields = Fields(request)
        if request.partition:
            fields.partition()
        fields.check()
        size, before = page_size(request, RUNS_DEFAULT, RUNS_MAX), page_number(request)
        found = await self._state.runs.history(request.partition, before, size + 1)
        reply = pb.ListRunsResponse()
        reply.next_page_token = fill(reply.runs, [(str(number), each) for number, each in found], request, size)
        return reply

    async def PauseReconcile(self, request: pb.PauseReconcileRequest, _context: object) -> pb.PauseReconcileResponse:
        """
        Make no further round until told to go on, also over a restart.
        """
        fields = Fields(request)
        fields.text("reason", REASON_CHARS_MAX)
        fields.check()
        return pb.PauseReconcileResponse(already_paused=await self._rounds.pause(request.reason))

    async def ResumeReconcile(
        self, _request: pb.ResumeReconcileRequest, _context: object
    ) -> pb.ResumeReconcileResponse:
        """
        Go on.
        """
        return pb.ResumeReconcileResponse(was_paused=await self._rounds.resume())

    async def SetReplayRate(self, request: pb.SetReplayRateRequest, _context: object) -> pb.SetReplayRateResponse:
        """
        Change how fast signals are replayed, now and after a restart.
        """
        fields = Fields(request)
        rate = request.signals_per_second
        fields.require(0.0 < rate <= RATE_MAX, "signals_per_second", f"must be above 0, and {RATE_MAX:g} at most")
        fields.check()
        await self._state.control.set_rate(rate)
        self._rate.signals_per_s = rate
        return pb.SetReplayRateResponse(signals_per_second=rate)

    async def ListParked(self, request: pb.ListParkedRequest, _context: object) -> pb.ListParkedResponse:
        """
        List parked signals.
        """
        fields = Fields(request)
        if request.partition:
            fields.partition()
        fields.check()
        size, after = page_size(request, PAGE_DEFAULT, PAGE_MAX), page_number(request)
        found = await self._state.parked.page(request.partition, request.include_waived, after, size + 1)
        reply = pb.ListParkedResponse(total=await self._state.parked.count(request.partition))
        reply.next_page_token = fill(reply.parked, [(str(number), each) for number, each in found], request, size)
        return reply

    async def ReplayParked(self, request: pb.ReplayParkedRequest, _context: object) -> pb.ReplayParkedResponse:
        """
        Try parked signals again.
        """
        check_ids(request, least=0)
        try:
            return await self._parking.replay(list(dict.fromkeys(request.ids)), request.expected_count)
        except CallError as error:
            raise translated(error) from None

    async def WaiveParked(self, request: pb.WaiveParkedRequest, _context: object) -> pb.WaiveParkedResponse:
        """
        Say that parked signals need not arrive.
        """
        fields = Fields(request)
        fields.text("reason", REASON_CHARS_MAX)
        fields.check()
        check_ids(request, least=1)
        ids = list(dict.fromkeys(request.ids))
        await self._parking.check(ids, include_waived=True)
        return pb.WaiveParkedResponse(waived=await self._state.parked.waive(ids, request.reason))


def target_of(request: pb.RunReconcileRequest) -> Target:
    """
    Return which partitions are meant: the last week's when nothing is said.
    """
    fields = Fields(request)
    match request.WhichOneof("target"):
        case "partition":
            fields.partition()
            fields.check()
            return Target(partition=request.partition)
        case "since_days":
            fields.number("since_days", 1, SINCE_DAYS_MAX)
            fields.check()
            return Target(since_days=request.since_days)
        case "all":
            fields.require(request.all, "all", "is false: name a partition, or days")
            fields.check()
            return Target()
        case _:
            return Target(since_days=7)


def wish_of(request: pb.RunReconcileRequest, settings: ReconcilerSettings) -> Wish:
    """
    Return what is wished, within the server's own limits.
    """
    fields = Fields(request)
    fields.enum("mode")
    fields.check()
    return Wish(
        include_open=request.include_open,
        full=request.mode == pb.RECONCILE_MODE_FULL,
        validate_only=request.validate_only,
        force=request.force,
        replays_max=min(request.max_replays or settings.replays_max, settings.replays_max),
        seconds_max=min(request.max_seconds or settings.round_s_max, settings.round_s_max),
    )


def check_ids(request: Choice, least: int) -> None:
    """
    Raise INVALID_FIELDS unless there are as many ids as may be. They are counted before one is looked at.
    """
    fields = Fields(request)
    count = len(request.ids)
    fields.require(least <= count <= IDS_MAX, "ids", f"holds {count}; {least} to {IDS_MAX} may be")
    fields.check()


def translated(error: CallError) -> CallError:
    """
    Return a peer's error as ours. Only that a partition is unknown is the caller's own matter.
    """
    if isinstance(error, NotFound) and error.reason == "PARTITION_NOT_FOUND":
        return fault(Reason.ERROR_REASON_PARTITION_NOT_FOUND, error.said, metadata=error.metadata)
    if not error.domain and error.rule is not None:
        return error  # Made here: what another server sends has that server's domain, and a lost connection no reason.
    peer = {"omen.v1": "OMEN", "riskcast.v1": "RiskCast"}.get(error.domain, "OMEN or RiskCast")
    return fault(
        Reason.ERROR_REASON_PEER_UNAVAILABLE,
        f"{peer} answered {error.code.name}: {error.message}",
        metadata={"peer": peer, "retry_after_s": PEER_RETRY_S},
        retry_after_s=PEER_RETRY_S,
    )


def fill(entries: Any, items: Sequence[tuple[str, Any]], request: Any, size: int) -> str:
    """
    Put into *entries* what one answer may hold, and return the token of what is left; nothing when that is all.
    """
    room, last = ITEMS_BYTES_MAX, ""
    for place, item in items:
        room -= item_bytes(item)
        if len(entries) == size or (room < 0 and entries):
            return page_token(request, last)
        entries.append(item)
        last = place
    return ""
