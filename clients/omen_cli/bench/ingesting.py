"""
What RiskCast takes on, measured by a client on the same machine against a server process of its own.

Every case is bounded in time. The echo takes the same call with the same signal through the same gate, and does nothing
with it; the health check is the least that a call can carry.
"""

from collections.abc import AsyncIterator
from itertools import count
from pathlib import Path

from omen.v1.signal_pb2 import SignalEvent
from omen_cli.bench.cases import Case, health_check_of, timed
from omen_cli.bench.figures import Figure
from omen_cli.bench.servers import echo, riskcast, serving
from omen_cli.bench.typical import typical_signal
from omen_client import RiskCastClient
from omen_rpc.signal_codec import content_digest
from riskcast.v1 import ingest_service_pb2 as pb

BATCH = 100
ALONE = 64
CASES = 10
PREPARED = 5000
# More than any case sends.
SENT_PER_S_MAX = 14_000
HOT_PATH = pb.INGEST_ORIGIN_HOT_PATH


class Signals:
    """
    Signals nobody has sent yet, made before they are needed: making one must not count as sending it.
    """

    def __init__(self) -> None:
        self._numbers = count(1)
        self._template = typical_signal()

    def next(self) -> SignalEvent:
        """
        Return a signal with a place in the ledger and a digest, as OMEN pushes it.
        """
        number = next(self._numbers)
        event = SignalEvent()
        event.CopyFrom(self._template)
        event.signal_id = event.signal.signal_id = f"OMEN-BENCH{number:010d}"
        event.ledger_partition, event.ledger_index = "2026-01-28", number
        event.ledger_sequence = (1 << 32) | number
        event.content_digest = content_digest(event)
        return event

    def some(self, wanted: int) -> list[SignalEvent]:
        """
        Return as many.
        """
        return [self.next() for _ in range(wanted)]


async def measure(place: Path, store: str, seconds: float) -> AsyncIterator[Figure]:
    """
    Yield the figures of every case, each taking its share of *seconds*.
    """
    signals = Signals()
    async with (
        serving(echo(place)) as idle,
        serving(riskcast(place, store)) as address,
        RiskCastClient(idle) as nobody,
        RiskCastClient(address) as client,
    ):
        stock = Stock(signals)
        fresh = Batches(signals, BATCH)
        halves = Batches(signals, BATCH // 2)
        known = [pb.IngestBatchItem(signal=event) for event in signals.some(BATCH)]
        await client.ingest_batch(known, origin=HOT_PATH)
        cases = [
            Case("health check", ALONE, 1, health_check_of(client.connection)),
            Case("echo", ALONE, 1, lambda: nobody.ingest_alone(stock.take(), origin=HOT_PATH)),
            Case("raw unary", ALONE, 1, lambda: client.ingest_alone(stock.take(), origin=HOT_PATH)),
            *(
                Case("coalesced", callers, 1, lambda: client.ingest(stock.take(), origin=HOT_PATH))
                for callers in (1, 64, 256)
            ),
            *(
                Case("batch", callers, BATCH, lambda: client.ingest_batch(fresh.take(), origin=HOT_PATH))
                for callers in (1, 4)
            ),
            Case("duplicates only", 4, BATCH, lambda: client.ingest_batch(known, origin=HOT_PATH)),
            Case("half duplicates", 4, BATCH, lambda: client.ingest_batch([*halves.take(), *known[: BATCH // 2]])),
        ]
        share_s = seconds / CASES
        for case in cases:
            stock.fill(round(SENT_PER_S_MAX * share_s) if case.signals == 1 and case.name != "health check" else 0)
            yield await timed(case, share_s)


class Stock:
    """
    Signals made ahead, for cases that send one at a time.
    """

    def __init__(self, signals: Signals) -> None:
        self._signals = signals
        self._made: list[SignalEvent] = []

    def fill(self, wanted: int) -> None:
        """
        Have so many ready: what is made while the clock runs slows down what is measured.
        """
        self._made += self._signals.some(max(0, wanted - len(self._made)))

    def take(self) -> SignalEvent:
        """
        Return one; when the stock is used up it is made now.
        """
        return self._made.pop() if self._made else self._signals.next()


class Batches:
    """
    Batches made ahead.
    """

    def __init__(self, signals: Signals, size: int) -> None:
        self._signals = signals
        self._size = size
        self._made = [self._make() for _ in range(PREPARED // size)]

    def take(self) -> list[pb.IngestBatchItem]:
        """
        Return one; when they are used up it is made now.
        """
        return self._made.pop() if self._made else self._make()

    def _make(self) -> list[pb.IngestBatchItem]:
        return [pb.IngestBatchItem(signal=event) for event in self._signals.some(self._size)]
