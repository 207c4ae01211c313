import asyncio
from contextlib import AsyncExitStack

from omen_rpc.errors import CallError, Reason, fault
from omen_rpc.full_disk import full_disk
from omen_rpc.program import StartFailed
from omen_rpc.refusal import Translate
from omen_rpc.server import Server
from omen_rpc.settings import Loaded, SettingsRefused
from riskcast.v1 import ingest_service_pb2, inventory_service_pb2
from riskcast.v1.ingest_service_pb2_grpc import IngestServiceServicer
from riskcast.v1.inventory_service_pb2_grpc import InventoryServiceServicer
from riskcast_server.ingest import Ingest
from riskcast_server.inventory import Inventory
from riskcast_server.settings import PROGRAM, RiskCastSettings
from riskcast_server.store import (
    Store,
    StoreBusy,
    StoreError,
    StoreFull,
    StoreLocked,
    StoreTooNew,
    StoreUnavailable,
    StoreUrlUnknown,
    open_store,
)

INGEST = ingest_service_pb2.DESCRIPTOR.services_by_name["IngestService"]
INVENTORY = inventory_service_pb2.DESCRIPTOR.services_by_name["InventoryService"]
RETRY_S = 0.5
DISK_FULL = "disk full"


async def run(loaded: Loaded[RiskCastSettings]) -> None:
    """
    Serve RiskCast until told to stop. The order of this list is the order of starting; draining is its reverse.
    """
    places = {INGEST: IngestServiceServicer(), INVENTORY: InventoryServiceServicer()}
    server = Server(PROGRAM.name, loaded, places, TRANSLATE)
    try:
        await server.open()
        async with AsyncExitStack() as stack:
            store = await stack.enter_async_context(open_store(loaded.settings.store))
            ingest = Ingest(store.signals)
            server.host(INGEST, ingest)
            server.host(INVENTORY, Inventory(store, ingest.counts))
            watch = asyncio.create_task(watch_space(store, server, loaded.settings.disk_check_interval_s))
            stack.callback(watch.cancel)
            await server.run(engine=store.engine)
    except (StoreLocked, StoreTooNew, StoreUrlUnknown) as error:
        raise SettingsRefused(f"--store: {error}") from None
    except (StoreUnavailable, StoreFull, OSError) as error:
        if full := full_disk(loaded.settings.store):
            raise StartFailed(f"--store: {full}") from None
        if not isinstance(error, StoreUnavailable):
            raise
        raise StartFailed(f"--store: {error}. Start it again when the database answers.") from None
    finally:
        await server.close()


async def watch_space(store: Store, server: Server, interval_s: float) -> None:
    """
    Say by health whether the store can write, for ever: a full disk stops nobody from reading, and mends by itself.
    """
    while True:
        try:
            await store.signals.put(())
        except StoreFull:
            server.impair(DISK_FULL, [INGEST])
        except StoreError:
            pass  # Whoever calls is told; what this looks for is space.
        else:
            server.mend(DISK_FULL)
        await asyncio.sleep(interval_s)


def busy(error: StoreBusy) -> CallError:
    """
    Return what a full queue is to a caller.
    """
    metadata = {"limit": error.waiting_signals, "limit_name": "waiting_signals_max", "retry_after_s": RETRY_S}
    return fault(Reason.ERROR_REASON_OVERLOADED, f"{error}.", metadata=metadata, retry_after_s=RETRY_S)


def exhausted(_error: StoreFull) -> CallError:
    """
    Return what a full disk is to a caller.
    """
    return fault(Reason.ERROR_REASON_STORAGE_EXHAUSTED)


def unavailable(_error: StoreUnavailable) -> CallError:
    """
    Return what a database that does not answer is to a caller.
    """
    return fault(Reason.ERROR_REASON_STORE_UNAVAILABLE, metadata={"retry_after_s": RETRY_S}, retry_after_s=RETRY_S)


TRANSLATE: Translate = {StoreBusy: busy, StoreFull: exhausted, StoreUnavailable: unavailable}
