from typing import Final

from omen_server.index.errors import FAULTS
from omen_storage.migrations import migrations
from omen_storage.postgres.schema import Schema

# The one row of the index itself: its schema, and up to where it is true; without a ledger_id it is nobody's.
_BEGIN: Final = """
CREATE TABLE omen_index (
    one integer PRIMARY KEY CHECK (one = 1),
    schema_version integer NOT NULL,
    ledger_id text NOT NULL DEFAULT '',
    ledger_epoch text NOT NULL DEFAULT '',
    ledger_offset bigint NOT NULL DEFAULT 0,
    crc bigint NOT NULL DEFAULT 0
);
INSERT INTO omen_index (one, schema_version) VALUES (1, 0)"""


def own_schema() -> Schema:
    """
    Return the versions that this one knows. An upgrade may have to look at every row.
    """
    scripts = migrations(__package__)
    return Schema("omen_index", _BEGIN, scripts, lock=0x4F4D454E494E4458, faults=FAULTS, timeout_s=3600.0)
