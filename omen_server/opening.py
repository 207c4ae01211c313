"""
Opening what the server stands on, and saying in words why it cannot.
"""

import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import structlog

from omen_client.riskcast import RiskCastClient
from omen_rpc.channel import ClientFiles, ConnectionRefused
from omen_rpc.full_disk import full_disk
from omen_rpc.program import StartFailed
from omen_rpc.server import Server
from omen_rpc.settings import SettingsRefused
from omen_server.desk.desk import Desk, open_desk
from omen_server.desk.errors import DeskError
from omen_server.index import Index, IndexFault, IndexUnavailable, open_index
from omen_server.index.follower import Follower
from omen_server.ledger import upkeep
from omen_server.ledger.directory import open_ledger
from omen_server.ledger.errors import LedgerError, LedgerLocked, NotALedger
from omen_server.ledger.ledger import Ledger
from omen_server.ledger.names import IDENTITY
from omen_server.pipeline.ruleset import Ruleset
from omen_server.records import SIGNALS as RECORDS
from omen_server.running import running
from omen_server.settings import OmenSettings
from omen_server.tail import Tail

log = structlog.get_logger()


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
            raise refused("--data-dir", settings.data_dir, error) from None
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
async def index_of(
    settings: OmenSettings, ledger: Ledger, tail: Tail, server: Server
) -> AsyncIterator[tuple[Index, Follower]]:
    """
    Open the index, make it true to the ledger before anybody asks it, and keep it so while the block runs.

    StoppedEarly when the server is told to stop meanwhile: a large ledger takes minutes, and the next start goes on.
    """
    async with AsyncExitStack() as stack:
        try:
            index = await stack.enter_async_context(open_index(settings.index_url))
            follower = Follower(ledger.identity, tail, index)
            await server.unless_stopped(follower.catch_up())
        except IndexUnavailable as error:
            # Whoever starts it again later may find it there.
            raise StartFailed(f"--index: {full_disk(settings.index_url) or error}") from None
        except IndexFault as error:
            raise SettingsRefused(f"--index: {error}") from None
        except OSError as error:
            raise refused("--index", settings.index_url, error) from None
        async with running("index", follower.run(), server):
            yield index, follower


@asynccontextmanager
async def desk_of(settings: OmenSettings, rules: Ruleset) -> AsyncIterator[Desk]:
    """
    Open the desk in the data directory.
    """
    async with AsyncExitStack() as stack:
        try:
            desk = await stack.enter_async_context(open_desk(settings.desk_path, rules, settings.desk))
        except DeskError as error:
            if full := full_disk(settings.desk_path):
                raise StartFailed(f"--data-dir: {full}") from None
            raise SettingsRefused(f"--data-dir {settings.data_dir}: {error}") from None
        except OSError as error:
            raise refused("--data-dir", settings.desk_path, error) from None
        yield desk


def refused(flag: str, place: str | Path, error: OSError) -> StartFailed | SettingsRefused:
    """
    Return what the system's refusal is. A full disk is no setting: whoever starts the server again later may find room.
    """
    if full := full_disk(place):
        return StartFailed(f"{flag}: {full}")
    at = f"{error.filename}: " if error.filename is not None else ""
    return SettingsRefused(f"{flag}: {at}{error.strerror}.")


@asynccontextmanager
async def riskcast_of(settings: OmenSettings) -> AsyncIterator[RiskCastClient]:
    """
    Connect to RiskCast with a client that retries nothing: the emitter does, and two would multiply.
    """
    secure = settings.tls_ca is not None or settings.tls_client_cert is not None
    try:
        client = RiskCastClient(
            settings.riskcast,
            api_key=settings.riskcast_api_key_file or "",
            tls=ClientFiles(settings.tls_ca, settings.tls_client_cert, settings.tls_client_key) if secure else None,
            attempts_max=1,
        )
    except ConnectionRefused as error:
        raise SettingsRefused(f"--riskcast: {error}") from None
    async with client:
        yield client
