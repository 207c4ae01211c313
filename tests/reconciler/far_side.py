"""
A RiskCast whose way in can be poisoned, closed or watched: the real services over the real store behind it.
"""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omen.v1.error_pb2 import ItemError
from omen_client import CallError, RiskCastClient
from omen_rpc.errors import Reason, fault
from omen_rpc.server import Server
from omen_rpc.settings import Loaded
from riskcast.v1 import ingest_service_pb2 as pb
from riskcast.v1 import inventory_service_pb2 as inventory_pb
from riskcast.v1.ingest_service_pb2_grpc import IngestServiceServicer
from riskcast.v1.inventory_service_pb2_grpc import InventoryServiceServicer
from riskcast_server.app import INGEST, INVENTORY, TRANSLATE
from riskcast_server.ingest import Ingest
from riskcast_server.inventory import Inventory
from riskcast_server.settings import RiskCastSettings
from riskcast_server.store import backup_store, open_store, restore_store

INVALID = 3


@dataclass
class Door(IngestServiceServicer):
    """
    What stands before Ingest: refuses the signals in *poison* for good, and calls as *trouble* says.

    `trouble` is asked before a call is handled, and again after: an exception it raises is what the caller gets.
    """

    poison: set[str] = field(default_factory=set)
    trouble: Callable[[str], None] | None = None
    batches: list[list[str]] = field(default_factory=list)
    inner: Ingest | None = None

    async def IngestBatch(self, request: pb.IngestBatchRequest, context: Any) -> pb.IngestBatchResponse:
        """
        Have the good ones stored and refuse the rest.
        """
        assert self.inner is not None
        self.batches.append([item.signal.signal_id for item in request.items])
        if self.trouble is not None:
            self.trouble("before")
        refused = pb.IngestBatchResult(
            error=ItemError(code=INVALID, reason="INVALID_FIELDS", message="signal.title is not what it should be")
        )
        good = [item for item in request.items if item.signal.signal_id not in self.poison]
        reply = pb.IngestBatchResponse()
        if good:
            reply = await self.inner.IngestBatch(pb.IngestBatchRequest(items=good, origin=request.origin), context)
        answers = iter(list(reply.results))
        if self.trouble is not None:
            self.trouble("after")
        return pb.IngestBatchResponse(
            results=[refused if item.signal.signal_id in self.poison else next(answers) for item in request.items]
        )


class Plain(Inventory):
    """
    An inventory that cannot pack ranges.
    """

    async def GetCoverage(
        self, request: inventory_pb.GetCoverageRequest, context: object
    ) -> inventory_pb.GetCoverageResponse:
        """
        Answer as if that had not been asked for.
        """
        request.packed = False
        return await super().GetCoverage(request, context)


class Silent(InventoryServiceServicer):
    """
    Stands for an inventory whose database does not answer.
    """

    async def GetCoverage(self, _request: Any, _context: Any) -> Any:
        """
        Answer nothing.
        """
        raise closed()


@dataclass
class FarSide:
    """
    RiskCast: its server, its file, its client, and the door before it.
    """

    server: Server
    path: Path
    door: Door
    client: RiskCastClient
    reopen: AsyncExitStack

    async def restore(self, file: Path) -> None:
        """
        Put a backup in the place of the store, as somebody does with RiskCast stopped.
        """
        await self.reopen.aclose()
        await restore_store(self.url, file)
        await self.open()

    async def back_up(self, file: Path) -> None:
        """
        Copy the store.
        """
        await backup_store(self.url, file)

    async def open(self) -> None:
        """
        Serve the store as it lies there now.
        """
        store = await self.reopen.enter_async_context(open_store(self.url))
        self.door.inner = Ingest(store.signals)
        self.server.host(INGEST, self.door)
        self.inventory = Inventory(store, self.door.inner.counts)
        self.plain = Plain(store, self.door.inner.counts)
        self.server.host(INVENTORY, self.inventory)

    def ask_no_more(self) -> None:
        """
        Answer no question about what is stored until `answer_again`.
        """
        self.server.host(INVENTORY, Silent())

    def pack_nothing(self) -> None:
        """
        Answer as one does who cannot pack ranges.
        """
        self.server.host(INVENTORY, self.plain)

    def answer_again(self) -> None:
        """
        Answer questions.
        """
        self.server.host(INVENTORY, self.inventory)

    @property
    def url(self) -> str:
        """
        The store's URL.
        """
        return f"sqlite:///{self.path}"

    def change(self, sql: str, *parameters: object) -> None:
        """
        Change the store behind RiskCast's back.
        """
        with closing(sqlite3.connect(self.path, timeout=10)) as connection, connection:
            connection.execute(sql, parameters)

    def rows(self, sql: str, *parameters: object) -> list[tuple[Any, ...]]:
        """
        Look into the store.
        """
        with closing(sqlite3.connect(self.path, timeout=10)) as connection:
            return connection.execute(sql, parameters).fetchall()

    def lose(self, signal_id: str) -> None:
        """
        Delete a row by hand.
        """
        self.change("DELETE FROM signals WHERE signal_id = ?", signal_id)

    def acks(self) -> dict[str, str]:
        """
        Return every signal's ack.
        """
        return dict(self.rows("SELECT signal_id, ack_id FROM signals"))

    def origins(self) -> dict[str, str]:
        """
        Return on which way every signal came.
        """
        return dict(self.rows("SELECT signal_id, origin FROM signals"))


def closed() -> CallError:
    """
    Return what a RiskCast says whose database does not answer.
    """
    return fault(Reason.ERROR_REASON_STORE_UNAVAILABLE, metadata={"retry_after_s": 0.01}, retry_after_s=0.01)


@asynccontextmanager
async def far_side(path: Path) -> AsyncIterator[FarSide]:
    """
    Serve RiskCast over the SQLite file at *path* while the block runs.
    """
    settings = RiskCastSettings(listen="127.0.0.1:0", metrics_port=0, drain_timeout_s=5.0, store=f"sqlite:///{path}")
    services = {INGEST: IngestServiceServicer(), INVENTORY: InventoryServiceServicer()}
    server = Server("riskcast-server", Loaded(settings, {}), services, TRANSLATE)
    await server.open()
    async with AsyncExitStack() as reopen, RiskCastClient(str(server.address), attempts_max=1) as client:
        far = FarSide(server, path, Door(), client, reopen)
        await far.open()
        running = asyncio.create_task(server.run(engine="test"))
        try:
            yield far
        finally:
            server.stop()
            await running
            await server.close()
