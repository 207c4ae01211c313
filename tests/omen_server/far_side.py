"""
RiskCast as the emitter's tests need it: one that answers by script, and a ledger's end to push from.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias
from unittest.mock import patch

from google.protobuf.timestamp_pb2 import Timestamp

from omen.v1.error_pb2 import ItemError
from omen_client import RiskCastClient
from omen_rpc.metadata import IDEMPOTENCY_KEY
from omen_server import emitter as emitter_module
from omen_server.breaker import Breaker
from omen_server.emitter import Emitter
from omen_server.ledger.ledger import Ledger
from omen_server.outcomes import Outcome
from omen_server.push_settings import DeliveryLimits, EmitterLimits
from omen_server.records import entry_of
from omen_server.riskcast_watch import watch
from omen_server.settled import standing
from omen_server.tail import Committed, Tail, stamped
from riskcast.v1 import ingest_service_pb2 as pb
from riskcast.v1.ingest_service_pb2_grpc import IngestServiceServicer
from tests.hosting import hosted
from tests.ledgers import event, opened

INGEST = pb.DESCRIPTOR.services_by_name["IngestService"]
INVALID, ABORTED = 3, 10
Answer: TypeAlias = Callable[[pb.IngestBatchRequest], Awaitable[pb.IngestBatchResponse | None]]


def ack_of(signal_id: str) -> str:
    """
    Return the ack that the script gives a signal.
    """
    return f"ack-{signal_id}"


def accepted(signal_id: str) -> pb.IngestBatchResult:
    """
    Return the result of a signal that is stored.
    """
    return pb.IngestBatchResult(accepted=pb.IngestResponse(ack_id=ack_of(signal_id), processed_at=Timestamp(seconds=1)))


def failed(code: int, reason: str = "") -> pb.IngestBatchResult:
    """
    Return the result of a signal that is not.
    """
    return pb.IngestBatchResult(error=ItemError(code=code, reason=reason, message="as the test says"))


def all_accepted(request: pb.IngestBatchRequest) -> pb.IngestBatchResponse:
    """
    Return the reply that everything is stored.
    """
    return pb.IngestBatchResponse(results=[accepted(item.signal.signal_id) for item in request.items])


@dataclass
class FakeIngest(IngestServiceServicer):
    """
    Keeps every request. `answer` decides what a call gets; where it says None, everything is stored.
    """

    answer: Answer | None = None
    requests: list[pb.IngestBatchRequest] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    called: asyncio.Event = field(default_factory=asyncio.Event)
    gate: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        """
        Let calls through until a test shuts the gate.
        """
        self.gate.set()

    async def IngestBatch(self, request: pb.IngestBatchRequest, context: Any) -> pb.IngestBatchResponse:
        """
        Answer by the script.
        """
        self.requests.append(request)
        metadata = dict(context.invocation_metadata())
        self.keys.append(metadata.get(IDEMPOTENCY_KEY, ""))
        self.called.set()
        await self.gate.wait()
        reply = await self.answer(request) if self.answer is not None else None
        return all_accepted(request) if reply is None else reply

    @property
    def sizes(self) -> list[int]:
        """
        How many signals each call had.
        """
        return [len(request.items) for request in self.requests]

    @property
    def ids(self) -> list[str]:
        """
        The ids of all signals in the order they came.
        """
        return [item.signal.signal_id for request in self.requests for item in request.items]


@dataclass
class Rig:
    """
    A ledger, the emitter at its end, and what the emitter told.
    """

    ledger: Ledger
    tail: Tail
    emitter: Emitter
    fake: FakeIngest
    told: list[tuple[int, Outcome]] = field(default_factory=list)

    async def append(self, numbers: Sequence[int], description: str = "") -> list[Committed]:
        """
        Append signals as intake does.
        """
        events = [event(number, description=description) for number in numbers]
        entries = [entry_of(each, "json") for each in events]
        positions = await self.ledger.append(entries)
        items = [stamped(*parts) for parts in zip(events, [each.record for each in entries], positions, strict=True)]
        self.tail.offer(items)
        return items

    async def outcomes(self, items: Sequence[Committed]) -> list[Outcome]:
        """
        Return what becomes of *items*.
        """
        async with asyncio.timeout(20):
            return [await self.emitter.outcome(item.offset) for item in items]


async def unwatched(_connection: object, _came_back: object) -> None:
    """
    Hear nothing of RiskCast's health.
    """


QUICK = DeliveryLimits(pause_first_s=0.001, pause_max_s=0.01)


@asynccontextmanager
async def rigged(
    place: Path,
    fake: FakeIngest,
    *,
    before: int = 0,
    address: str = "",
    breaker: Breaker | None = None,
    delivery: DeliveryLimits = QUICK,
    api_key: str = "",
    watched: bool = False,
    far: dict[str, Any] | None = None,
    more: dict[str, Any] | None = None,
    **limits: Any,
) -> AsyncIterator[Rig]:
    """
    Run an emitter behind *before* signals of an earlier life, towards *fake* or *address*, while the block runs.

    Unless *watched*, RiskCast's health says nothing: when it does is not for a test to know.
    """
    async with (
        opened(place) as ledger,
        hosted(fake, service=INGEST, settings=far) as server,
        RiskCastClient(address or str(server.address), attempts_max=1, api_key=api_key) as client,
    ):
        tail = Tail(ledger)
        if before:
            await ledger.append([entry_of(event(900_000 + number), "json") for number in range(before)])
        told: list[tuple[int, Outcome]] = []
        emitter = Emitter(
            tail,
            client,
            await standing(ledger),
            EmitterLimits(delivery=delivery, **limits),
            told=lambda done: told.extend((item.offset, outcome) for item, outcome in done),
            breaker=breaker,
            **(more or {}),
        )
        with patch.object(emitter_module, "watch", watch if watched else unwatched):
            running = asyncio.create_task(emitter.run())
            await asyncio.sleep(0)
        try:
            yield Rig(ledger, tail, emitter, fake, told)
        finally:
            fake.gate.set()
            await emitter.stop(5.0)
            await running
