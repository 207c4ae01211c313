"""
The far side of a console: three servers that answer as a test says, hold back what it says, and count what they do.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

from omen.v1 import ledger_service_pb2 as ledger_pb
from omen.v1 import operations_service_pb2 as operations_pb
from omen_console.pulse import COMPARING_MAX_S
from omen_console.upstream import Upstream, open_upstream
from reconcile.v1 import reconcile_service_pb2 as reconcile_pb
from riskcast.v1 import inventory_service_pb2 as inventory_pb

NOBODY = {"omen": "unix:/nowhere/o", "riskcast": "unix:/nowhere/r", "reconciler": "unix:/nowhere/c"}
DAY = "2026-01-28"


class Far:
    """
    All three servers: what they count, how long a comparison takes on the test's own clock, and what is held back.
    """

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.appended = 0
        self.comparing_s = 0.0
        self.calls: list[str] = []
        self.rows_wanted: list[int] = []
        # By call: what must be set before it answers.
        self.held: dict[str, asyncio.Event] = {}
        self.partitions: Mapping[str, int] = {DAY: 10}

    def hold(self, *names: str) -> asyncio.Event:
        """
        Let these calls answer only when the event is set.
        """
        event = asyncio.Event()
        self.held |= dict.fromkeys(names, event)
        return event

    async def asked(self, name: str, reply: Any) -> Any:
        """
        Count a call, and answer it.
        """
        self.calls.append(name)
        if name in self.held:
            await self.held[name].wait()
        return reply

    async def stats(self) -> Any:
        """
        Count what was appended.
        """
        return await self.asked("stats", operations_pb.GetStatsResponse(signals_appended=self.appended))

    async def coverage(self, partition: str, through: int, **_: Any) -> Any:
        """
        Hold all but three of each partition.
        """
        reply = await self.asked("coverage", inventory_pb.GetCoverageResponse(count=through - 3))
        self.now_s += self.comparing_s
        reply.missing.add(first=through - 2, last=through)
        assert partition in self.partitions
        return reply

    async def partitions_page(self, request: ledger_pb.ListPartitionsRequest) -> Any:
        """
        List the partitions.
        """
        self.rows_wanted.append(request.page_size)
        found = [
            ledger_pb.Partition(partition=name, partition_date=name[:10], is_late=name.endswith("-late"))
            for name in sorted(self.partitions, reverse=True)
        ]
        return await self.asked("partitions", ledger_pb.ListPartitionsResponse(partitions=found))

    async def watermark(self, partition: str, *, timeout_s: float) -> Any:
        """
        Tell how many records there are, to whoever has time.
        """
        assert timeout_s == COMPARING_MAX_S
        highwater = self.partitions[partition]
        return await self.asked("watermark", ledger_pb.GetWatermarkResponse(durable_highwater=highwater))

    async def partition(self, name: str) -> Any:
        """
        Describe a partition.
        """
        found = ledger_pb.Partition(partition=name, partition_date=name[:10], total_records=self.partitions[name])
        return await self.asked("partition", ledger_pb.GetPartitionResponse(partition=found))

    async def subscribers(self, page_size: int) -> AsyncIterator[operations_pb.Subscriber]:
        """
        List nobody.
        """
        self.rows_wanted.append(page_size)
        for each in await self.asked("subscribers", ()):
            yield each

    async def runs_page(self, request: reconcile_pb.ListRunsRequest) -> Any:
        """
        List no rounds.
        """
        self.rows_wanted.append(request.page_size)
        return await self.asked("runs", reconcile_pb.ListRunsResponse())

    async def read_partition(self, _partition: str, *, indexes: list[int]) -> AsyncIterator[Any]:
        """
        Hand out none of the records.
        """
        self.rows_wanted.append(len(indexes))
        for each in await self.asked("read_partition", ()):
            yield each

    def clients(self) -> dict[str, Any]:
        """
        Return what stands in for the typed clients.
        """
        operations = SimpleNamespace(
            stats=self.stats,
            hot_path=lambda: self.asked("hot_path", operations_pb.GetHotPathResponse(queue_length=1)),
            subscribers=self.subscribers,
        )
        return {
            "omen": SimpleNamespace(
                operations=operations,
                partitions_page=self.partitions_page,
                watermark=self.watermark,
                partition=self.partition,
                read_partition=self.read_partition,
            ),
            "riskcast": SimpleNamespace(
                stats=lambda: self.asked("store", inventory_pb.GetIngestStatsResponse()), coverage=self.coverage
            ),
            "reconciler": SimpleNamespace(
                overview=lambda: self.asked("overview", reconcile_pb.ListPartitionStatesResponse()),
                state=lambda _: self.asked("state", reconcile_pb.GetPartitionStateResponse()),
                runs_page=self.runs_page,
            ),
        }


@asynccontextmanager
async def upstream_of(far: Far) -> AsyncIterator[Upstream]:
    """
    Lead to the far side.
    """
    from omen_console.settings import ConsoleSettings  # noqa: PLC0415 - slow to import

    async with open_upstream(ConsoleSettings(**NOBODY)) as upstream:
        stubs: Any = upstream
        own = {name: getattr(upstream, name) for name in NOBODY}
        for name, client in far.clients().items():
            setattr(stubs, name, client)
        yield upstream
        for name, client in own.items():
            setattr(stubs, name, client)
