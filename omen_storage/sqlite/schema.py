import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from omen_storage.faults import Faults

# What `Schema.missing` wants to know: the database's version, whose it is, and how much there is in it.
STANDS: Final = """
SELECT user_version, application_id, (SELECT count(*) FROM sqlite_schema)
FROM pragma_user_version, pragma_application_id"""


@dataclass(frozen=True, slots=True)
class Schema:
    """
    A schema's versions: `PRAGMA user_version` counts the scripts that were run on a database.

    `application_id` is what `file` knows the store's databases by, and the check below.
    """

    application_id: int
    scripts: Sequence[str]
    faults: Faults

    def missing(self, version: int, application_id: int, objects: int) -> list[str]:
        """
        Return what brings a database that stands there to the last version.

        Each is a transaction, so a crash leaves the database at a version, never between two.
        """
        if objects and application_id != self.application_id:
            raise self.faults.failed("the file is an SQLite database of something else")
        if version > len(self.scripts):
            raise self.faults.too_new(version, len(self.scripts))
        return [
            f"BEGIN IMMEDIATE;\n{script}\nPRAGMA user_version = {number}; "
            f"PRAGMA application_id = {self.application_id}; COMMIT;"
            for number, script in enumerate(self.scripts[version:], version + 1)
        ]


def migrate(connection: sqlite3.Connection, schema: Schema) -> None:
    """
    Bring the database to the last version of *schema*. A connection that fails here is closed, not used.
    """
    for script in schema.missing(*connection.execute(STANDS).fetchone()):
        connection.executescript(script)
