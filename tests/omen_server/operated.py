"""
OperationsService over real gRPC, with a real ledger and a real desk behind it.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omen.v1 import operations_service_pb2 as pb
from omen.v1.operations_service_pb2_grpc import OperationsServiceStub
from omen_server.activity import Activity
from omen_server.breaker import BreakerState, BreakerView
from omen_server.desk.dead_letters import Failure, of_signal
from omen_server.desk.desk import Desk
from omen_server.hot_path import HotPathView
from omen_server.ledger.ledger import Ledger
from omen_server.operations import Operated, Operations, Requeued
from omen_server.refusals import REFUSALS
from omen_server.stats import Stats
from tests.hosting import channel_to, hosted
from tests.ledgers import opened
from tests.omen_server.desk.desks import desk_in

if TYPE_CHECKING:
    from omen.v1.operations_service_pb2_grpc import OperationsServiceAsyncStub  # A type that exists in the stubs only.

OPERATIONS = pb.DESCRIPTOR.services_by_name["OperationsService"]
NOW = datetime(2026, 1, 28, 12, tzinfo=UTC)
CLOSED = BreakerView(BreakerState.CLOSED, 0, 0.0, 60.0, "")
OPEN = BreakerView(BreakerState.OPEN, 5, 12.5, 17.5, "status 503")


@dataclass
class Intake:
    """
    Stands for the intake that tries letters again: those in *failing* fail, the others go through.
    """

    desk: Desk
    failing: set[str] = field(default_factory=set)
    asked: list[list[str]] = field(default_factory=list)

    async def __call__(self, ids: Sequence[str]) -> Requeued:
        """
        Try these letters again.
        """
        self.asked.append(list(ids))
        bad = [each for each in ids if each in self.failing]
        await self.desk.dead_letters.tried_again(bad)
        gone = await self.desk.dead_letters.forget([each for each in ids if each not in self.failing])
        return Requeued(gone, len(bad))


@dataclass
class Served:
    """
    All that a test looks at.
    """

    stub: "OperationsServiceAsyncStub"
    service: Operations
    ledger: Ledger
    desk: Desk
    activity: Activity
    stats: Stats
    intake: Any
    subscribers: dict[int, pb.Subscriber]

    async def keep(self, *failures: Failure) -> list[str]:
        """
        Keep letters.
        """
        return await self.desk.dead_letters.keep(failures, NOW)


def refused(number: int) -> Failure:
    """
    Return the n-th signal that RiskCast refuses.
    """
    return of_signal(f"OMEN-TEST{number:06d}", number, "INVALID_FIELDS", "title: is missing.")


@asynccontextmanager
async def operated(place: Path, *, intake: Any = None, **limits: Any) -> AsyncIterator[Served]:
    """
    Serve OperationsService while the block runs.
    """
    service, activity, stats = Operations(), Activity(now=lambda: NOW), Stats(NOW)
    subscribers: dict[int, pb.Subscriber] = {}

    async def today() -> int:
        return 3

    async with opened(place / "ledger") as ledger, desk_in(place, **limits) as desk:
        chosen = intake or Intake(desk)
        service.begin(
            Operated(
                desk=desk,
                activity=activity,
                stats=stats,
                ledger=ledger,
                hot_path=lambda: HotPathView(OPEN, 4.0, 7, 1000, 2, 41, 5),
                subscribers=lambda: subscribers,
                sources=lambda: {"usgs": CLOSED, "nws": OPEN},
                requeue=chosen,
                signals_today=today,
                now=lambda: NOW,
            )
        )
        async with (
            hosted(service, service=OPERATIONS, translate=REFUSALS) as server,
            channel_to(str(server.address)) as channel,
        ):
            stub = OperationsServiceStub(channel)
            yield Served(stub, service, ledger, desk, activity, stats, chosen, subscribers)
        await service.close()
