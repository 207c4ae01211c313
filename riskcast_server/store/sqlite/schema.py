import secrets

from omen_storage.migrations import migrations
from omen_storage.sqlite.schema import Schema
from riskcast_server.store.errors import FAULTS


def own_schema() -> Schema:
    """
    Return the versions that this one knows.
    """
    return Schema(0x52534B43, migrations(__package__), FAULTS)  # "RSKC".


def new_epoch() -> str:
    """
    Return a name for the store's life from here on.
    """
    return secrets.token_hex(8)
