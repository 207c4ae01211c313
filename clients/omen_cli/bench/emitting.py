"""
What OMEN takes on: ready signals and raw events, measured by a client on the same machine.

Every case is bounded in time. The health check is the least that a call through the same gate can cost.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from itertools import count

from omen.v1 import signal_service_pb2 as pb
from omen.v1.signal_pb2 import MarketFigures, RawSignalEvent
from omen_cli.bench.cases import Case, health_check_of, timed
from omen_cli.bench.figures import Figure
from omen_cli.bench.typical import typical_signal
from omen_client import CallError, OmenClient

BATCH = 100
ALONE = 64
PREPARED = 50
EMIT_CASES = 8
E2E_CASES = 7


class Items:
    """
    Signals and raw events nobody has sent yet, some of them made before they are needed.
    """

    def __init__(self) -> None:
        self._numbers = count(1)
        self._template = typical_signal()
        self._batches: list[list[pb.EmitSignalItem]] = []

    def signal(self) -> pb.EmitSignalItem:
        """
        Return a signal as an upstream has it.
        """
        item = pb.EmitSignalItem(signal=self._template.signal, input_event_hash=self._template.input_event_hash)
        item.observed_at.CopyFrom(self._template.observed_at)
        item.signal.signal_id = f"OMEN-BENCH{next(self._numbers):010d}"
        return item

    def event(self) -> RawSignalEvent:
        """
        Return a raw event that every rule lets through.
        """
        number = next(self._numbers)
        raw = RawSignalEvent(
            source="polymarket",
            source_event_id=f"bench-{number}",
            title="Will Red Sea shipping be disrupted by attacks before the end of the year?",
            description="Resolves on any attack on shipping in the Red Sea or at the Suez Canal.",
            probability=0.62,
            market=MarketFigures(
                liquidity_usd=400_500.0,
                volume_usd=2_000_000.0,
                best_bid=0.61,
                best_ask=0.63,
                spread=0.02,
                last_trade_price=0.62,
                outcomes=["Yes", "No"],
                outcome_prices=[0.62, 0.38],
                active=True,
                accepting_orders=True,
            ),
        )
        raw.observed_at.FromDatetime(datetime.now(UTC))
        raw.market.end_at.FromDatetime(datetime(2100, 1, 1, tzinfo=UTC))
        return raw

    def fill(self) -> None:
        """
        Make some batches.
        """
        self._batches += [[self.signal() for _ in range(BATCH)] for _ in range(PREPARED - len(self._batches))]

    def batch(self) -> list[pb.EmitSignalItem]:
        """
        Return a batch; when those made ahead are used up it is made now.
        """
        return self._batches.pop() if self._batches else [self.signal() for _ in range(BATCH)]


async def measure_emit(address: str, seconds: float, payload: str) -> AsyncIterator[Figure]:
    """
    Yield what OMEN takes on without waiting for RiskCast: a figure a case.
    """
    items = Items()
    async with OmenClient(address) as omen:
        known = items.batch()
        ledger = emitter(omen, pb.DELIVERY_LEDGER)
        await ledger(known)
        cases = [
            Case("health check", ALONE, 1, health_check_of(omen.connection)),
            Case("raw unary", ALONE, 1, lambda: ledger([items.signal()])),
            *(
                Case("coalesced", callers, 1, lambda: one(omen, items.signal(), pb.DELIVERY_LEDGER))
                for callers in (1, 64, 256)
            ),
            *(Case("batch", callers, BATCH, lambda: ledger(items.batch())) for callers in (1, 4)),
            Case("known already", 4, BATCH, lambda: ledger(known)),
        ]
        async for figure in measured(cases, items, seconds, payload):
            yield figure


async def measure_e2e(address: str, seconds: float, payload: str) -> AsyncIterator[Figure]:
    """
    Yield what goes all the way, from the call to RiskCast's ack: a figure a case.
    """
    items = Items()
    async with OmenClient(address) as omen:
        delivered = emitter(omen, pb.DELIVERY_AWAIT)
        cases = [
            *(Case("signals, batch", callers, BATCH, lambda: delivered(items.batch())) for callers in (1, 4, 8)),
            *(
                Case("signals, coalesced", callers, 1, lambda: one(omen, items.signal(), pb.DELIVERY_AWAIT))
                for callers in (1, 64)
            ),
            Case("raw events, batch", 4, BATCH, lambda: submit(omen, [items.event() for _ in range(BATCH)])),
            Case("raw events, alone", ALONE, 1, lambda: submit(omen, [items.event()])),
        ]
        async for figure in measured(cases, items, seconds, payload):
            yield figure


async def measured(cases: list[Case], items: Items, seconds: float, payload: str) -> AsyncIterator[Figure]:
    """
    Yield a figure a case, each taking its share of *seconds*.
    """
    for case in cases:
        items.fill()
        yield await timed(Case(case.name, case.callers, case.signals, case.call, payload), seconds / len(cases))


def emitter(omen: OmenClient, delivery: pb.Delivery.ValueType) -> Callable[[list[pb.EmitSignalItem]], Awaitable[None]]:
    """
    Return what emits a batch and fails unless all of it arrived.
    """

    async def emit(batch: list[pb.EmitSignalItem]) -> None:
        for result in await omen.emit_all(batch, delivery=delivery):
            arrived(result)

    return emit


async def one(omen: OmenClient, item: pb.EmitSignalItem, delivery: pb.Delivery.ValueType) -> None:
    """
    Emit one signal through the coalescing client.
    """
    arrived(await omen.emit(item.signal, input_event_hash=item.input_event_hash, delivery=delivery))


async def submit(omen: OmenClient, events: list[RawSignalEvent]) -> None:
    """
    Submit raw events and fail unless all of them arrived.
    """
    for result in await omen.submit_all(events):
        arrived(result)


def arrived(result: pb.EmitResult | CallError) -> None:
    """
    Raise unless a signal came as far as was asked: a rate of failures would be no rate.
    """
    if isinstance(result, CallError):
        raise result
    if result.status not in (pb.EMIT_STATUS_DELIVERED, pb.EMIT_STATUS_DUPLICATE, pb.EMIT_STATUS_DURABLE):
        raise RuntimeError(f"{result.event.signal_id}: {pb.EmitStatus.Name(result.status)} {result.detail}")
