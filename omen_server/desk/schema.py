import aiosqlite

from omen_server.desk.errors import FAULTS
from omen_storage.migrations import migrations
from omen_storage.sqlite.schema import STANDS, Schema


async def migrate(connection: aiosqlite.Connection) -> None:
    """
    Bring the desk to the last version that this one knows. A connection that fails here is closed, not used.
    """
    schema = Schema(0x4F4D4453, migrations(__package__), FAULTS)  # "OMDS".
    (stands,) = await connection.execute_fetchall(STANDS)
    for script in schema.missing(*stands):
        await connection.executescript(script)
