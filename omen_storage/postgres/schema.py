from collections.abc import Sequence
from dataclasses import dataclass

from omen_storage.faults import Faults
from omen_storage.postgres.connection import DURABLE, Database


@dataclass(frozen=True, slots=True)
class Schema:
    """
    A schema's versions: `schema_version` in the one row of *table* counts the scripts that were run on a database.

    `begin` makes that table and its row, with version 0. Any number will do as `lock`, as long as every process that
    migrates such a database takes the same. `timeout_s` is for upgrades that take longer than the database's limits.
    """

    table: str
    begin: str
    scripts: Sequence[str]
    lock: int
    faults: Faults
    timeout_s: float | None = None


async def migrate(database: Database, schema: Schema) -> None:
    """
    Bring the database to the last version of *schema*, in one transaction.

    Processes that start together take turns.
    """
    last = len(schema.scripts)
    async with database.transaction(DURABLE, schema.timeout_s) as connection:
        await connection.execute("SELECT pg_advisory_xact_lock($1)", schema.lock, timeout=schema.timeout_s)
        if await connection.fetchval("SELECT to_regclass($1)", schema.table) is None:
            await connection.execute(schema.begin)
        found: int = await connection.fetchval(f"SELECT schema_version FROM {schema.table}")  # noqa: S608 - our own.
        if found > last:
            raise schema.faults.too_new(found, last)
        for script in schema.scripts[found:]:
            await connection.execute(script, timeout=schema.timeout_s)
        if found < last:
            await connection.execute(f"UPDATE {schema.table} SET schema_version = $1", last)  # noqa: S608 - our own.
