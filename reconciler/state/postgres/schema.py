from typing import Final

from omen_storage.migrations import migrations
from omen_storage.postgres.schema import Schema
from reconciler.state.errors import FAULTS

# The one row of the state itself: its schema, the orders, and the lease.
_BEGIN: Final = """
CREATE TABLE reconcile_control (
    one integer PRIMARY KEY CHECK (one = 1),
    schema_version integer NOT NULL,
    paused_reason text,  -- NULL when it is not paused.
    signals_per_second double precision,
    lease_owner text NOT NULL DEFAULT '',
    lease_until_us bigint NOT NULL DEFAULT 0
);
INSERT INTO reconcile_control (one, schema_version) VALUES (1, 0)"""


def own_schema() -> Schema:
    """
    Return the versions that this one knows.
    """
    return Schema("reconcile_control", _BEGIN, migrations(__package__), lock=0x5245434F4E43494C, faults=FAULTS)
