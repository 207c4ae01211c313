"""
``riskcast-server backup FILE`` copies a store that may be in use; ``restore FILE`` puts a copy in its place.

A store in PostgreSQL is copied by its own tools. What pg_restore put there is not what it was: ``restore`` without a
file gives it the new epoch that says so.
"""

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

from omen_rpc.full_disk import full_disk
from omen_rpc.program import OK, USAGE, loaded
from omen_rpc.settings import SettingsRefused
from riskcast_server.settings import PROGRAM, RiskCastSettings
from riskcast_server.store import StoreError, backup_store, restore_store

COMMANDS = ("backup", "restore")
FAILED = 1
AFTER = f"`{PROGRAM.name} restore --store URL` gives the store its new epoch"


def run(arguments: Sequence[str]) -> int:
    """
    Run one of the two commands and return its exit code: 1 when it could not be done, 2 when the line makes no
    sense.
    """
    command, *rest = arguments
    files = [each for each in rest[:1] if not each.startswith("-")]
    try:
        store = loaded(PROGRAM, RiskCastSettings, rest[len(files) :]).settings.store
    except SettingsRefused as error:
        return tell(str(error), USAGE)
    elsewhere = store.startswith(("postgresql://", "postgres://"))
    if elsewhere and (files or command == "backup"):
        return tell(f"{command}: PostgreSQL has pg_dump and pg_restore for this; after the latter, {AFTER}.", USAGE)
    if not (files or elsewhere):
        return tell(f"{command} wants a file: {PROGRAM.name} {command} FILE [--store URL]", USAGE)
    try:
        if command == "backup":
            asyncio.run(backup_store(store, Path(files[0])))
            return tell(f"{files[0]} holds what {store} held", OK)
        epoch = asyncio.run(restore_store(store, Path(files[0]) if files else None))
        what = f"{store} holds what {files[0]} held, in" if files else "the store has"
        return tell(f"{what} the epoch {epoch}; the next reconcile brings the rest", OK)
    except (StoreError, OSError) as error:
        full = full_disk(files[0] if command == "backup" else store)
        return tell(f"{command}: {full or error}", FAILED)


def tell(text: str, code: int) -> int:
    """
    Say what happened on stderr and return *code*.
    """
    print(f"{PROGRAM.name}: {text}", file=sys.stderr)  # noqa: T201 - a command's answer
    return code
