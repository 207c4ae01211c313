import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import structlog

from omen.v1 import ledger_service_pb2, operations_service_pb2, signal_service_pb2
from omen.v1.operations_service_pb2_grpc import OperationsServiceServicer
from omen.v1.signal_service_pb2_grpc import SignalServiceServicer
from omen_rpc.program import FAILED, StartFailed
from omen_rpc.server import Server
from omen_rpc.settings import Loaded, SettingsRefused
from omen_server.ledger import upkeep
from omen_server.ledger.directory import open_ledger
from omen_server.ledger.errors import LedgerError, LedgerLocked, NotALedger
from omen_server.ledger.ledger import Ledger
from omen_server.ledger.names import IDENTITY
from omen_server.ledger.service import LedgerService
from omen_server.records import SIGNALS as RECORDS
from omen_server.refusals import REFUSALS
from omen_server.settings import PROGRAM, OmenSettings

SIGNALS = signal_service_pb2.DESCRIPTOR.services_by_name["SignalService"]
LEDGER = ledger_service_pb2.DESCRIPTOR.services_by_name["LedgerService"]
OPERATIONS = operations_service_pb2.DESCRIPTOR.services_by_name["OperationsService"]

ENGINE = "file ledger"
LAST_ANSWERS_S = 0.5

log = structlog.get_logger()


async def run(loaded: Loaded[OmenSettings]) -> None:
    """
    Serve OMEN until told to stop. The order of this list is the order of starting; draining is its reverse.
    """
    settings = loaded.settings
    service = LedgerService()
    server = Server(
        PROGRAM.name,
        loaded,
        {SIGNALS: SignalServiceServicer(), LEDGER: service, OPERATIONS: OperationsServiceServicer()},
        REFUSALS,
    )
    async with AsyncExitStack() as stack:
        stack.push_async_callback(server.close)
        await server.open()
        ledger = await stack.enter_async_context(ledger_of(settings))
        service.begin(ledger)
        stack.push_async_callback(service.close)
        await stack.enter_async_context(looked_after(ledger, settings, server))
        server.info.paths = {"data_dir": str(settings.data_dir.absolute()), "ledger": ledger.root}
        server.info.ledger_id = ledger.identity.ledger_id
        await server.run(ENGINE)


@asynccontextmanager
async def ledger_of(settings: OmenSettings) -> AsyncIterator[Ledger]:
    """
    Open the ledger in the data directory and tell what its recovery did; refuse in words what cannot be opened.
    """
    began_s, is_new = time.monotonic(), not has_ledger(settings)
    async with AsyncExitStack() as stack:
        try:
            ledger = await stack.enter_async_context(
                open_ledger(settings.ledger_dir, RECORDS, settings.ledger, synced=upkeep.count_synced)
            )
        except (LedgerLocked, NotALedger) as error:
            raise SettingsRefused(f"--data-dir {settings.data_dir}: {error}") from None
        except LedgerError as error:
            raise StartFailed(str(error)) from error
        except OSError as error:
            raise SettingsRefused(f"--data-dir {settings.data_dir}: {error.filename}: {error.strerror}.") from None
        upkeep.expose(ledger)
        log.info(
            "ledger_created" if is_new else "ledger_opened",
            path=ledger.root,
            ledger_id=ledger.identity.ledger_id,
            ledger_epoch=ledger.identity.ledger_epoch,
            offset=ledger.durable_offset,
            partitions=len(ledger.names()),
            rewritten_bytes=ledger.recovered.rewritten_bytes,
            quarantined_bytes=ledger.recovered.quarantined_bytes,
            gaps=len(ledger.recovered.skipped),
            seconds=round(time.monotonic() - began_s, 3),
        )
        yield ledger


def has_ledger(settings: OmenSettings) -> bool:
    """
    Tell whether there is a ledger already.
    """
    return (settings.ledger_dir / IDENTITY).exists()


@asynccontextmanager
async def looked_after(ledger: Ledger, settings: OmenSettings, server: Server) -> AsyncIterator[None]:
    """
    Seal, age and watch the ledger while the block runs. Leaving waits for what is being done: no seal is cut short.
    """

    def tell_space(full: bool) -> None:
        if full:
            server.impair("disk full", [SIGNALS])
        else:
            server.mend("disk full")

    stopping = asyncio.Event()
    poison = asyncio.create_task(end_when_poisoned(ledger, server))
    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(upkeep.seal_when_due(ledger, settings.seal_interval_s, stopping))
            tasks.create_task(upkeep.run_lifecycle(ledger, settings.lifecycle_interval_s, stopping))
            tasks.create_task(upkeep.watch_space(ledger, settings.disk_check_interval_s, stopping, tell_space))
            try:
                yield
            finally:
                stopping.set()
    finally:
        poison.cancel()


async def end_when_poisoned(ledger: Ledger, server: Server) -> None:
    """
    End the process when the disk has failed under the ledger: nobody knows what it holds until a restart has looked.
    """
    failed = await asyncio.shield(ledger.failed)
    log.critical("ledger_poisoned", text=str(failed), exit_code=FAILED)
    await server.give_up(LAST_ANSWERS_S)
    # Nothing is flushed or closed in order: every step of that would trust the disk.
    os._exit(FAILED)
