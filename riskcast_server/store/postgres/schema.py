import secrets
from dataclasses import replace
from typing import Final

from omen_storage.migrations import migrations
from omen_storage.postgres.connection import open_database
from omen_storage.postgres.schema import Schema
from riskcast_server.store.errors import FAULTS, StoreFailed
from riskcast_server.store.limits import POSTGRES

_BEGIN: Final = """
CREATE TABLE store_meta (
    one integer PRIMARY KEY CHECK (one = 1),
    store_epoch text NOT NULL,
    schema_version integer NOT NULL
);
INSERT INTO store_meta VALUES (1, '{epoch}', 0)"""


def own_schema() -> Schema:
    """
    Return the versions that this one knows. A new database is given an epoch of its own.
    """
    begin = _BEGIN.format(epoch=secrets.token_hex(8))
    return Schema("store_meta", begin, migrations(__package__), lock=0x5249534B43415354, faults=FAULTS)


async def renew_epoch(url: str) -> str:
    """
    Give the database at *url*, which was restored from a dump, a new epoch, and return that.
    """
    epoch = secrets.token_hex(8)
    async with open_database(url, replace(POSTGRES, connections_max=1), FAULTS) as database:
        changed = await database.change("UPDATE store_meta SET store_epoch = $1", epoch)
    if changed != 1:
        raise StoreFailed("the database holds no store")
    return epoch
