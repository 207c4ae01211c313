import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from omen_cli import exits
from omen_cli.ledger.place import find, refusals
from omen_cli.options import Output
from omen_cli.output import print_one, say
from omen_cli.progress import Bar
from omen_server.index import IndexFault, IndexLocked, IndexTooNew, IndexUnavailable, IndexUrlUnknown, open_index
from omen_server.index.rebuild import Rebuilt
from omen_server.index.rebuild import rebuild as rebuild_from
from omen_server.ledger.durable import Disk
from omen_server.ledger.lock import WriterLock
from omen_server.ledger.offline import OfflineLedger
from omen_server.records import SIGNALS

DataDir = Annotated[Path, Parameter(name="--data-dir", env_var="OMEN_DATA_DIR", help="The directory with the ledger.")]
Url = Annotated[
    str | None,
    Parameter(
        name="--index",
        env_var=["OMEN_INDEX", "DATABASE_URL"],
        help="The index: sqlite:///PATH or postgresql://…; DATA_DIR/index.db by default.",
    ),
]

# What each refusal ends with: the exit code, the reason, and what to do; anything else is a problem of the database.
REFUSALS: dict[type[IndexFault], tuple[int, str, str]] = {
    IndexLocked: (exits.CONFLICT, "INDEX_LOCKED", "Stop that process first."),
    IndexUrlUnknown: (exits.USAGE, "USAGE", "Give --index sqlite:///PATH or postgresql://…"),
    IndexUnavailable: (exits.UNREACHABLE, "INDEX_UNAVAILABLE", "See that the database runs and has room; try again."),
    IndexTooNew: (exits.CONFLICT, "INDEX_TOO_NEW", "Use the version that migrated it, or delete the database."),
}
BROKEN = (exits.PROBLEM, "INDEX_FAILED", "Give another database, or delete this one: the ledger has all of it.")


async def rebuild(*, data_dir: DataDir = Path(".omen"), index: Url = None, output: Output = "text") -> int:
    """
    Delete the signal index and make it anew from the ledger, offline; what became of signals is unknown in it then.

    A server does what is needed of this by itself when it starts. Whatever lies in the database of another ledger's
    index is deleted too. Refused while a process writes the ledger or has the index open.

    Example: omen index rebuild --data-dir .omen

    Example: omen index rebuild --data-dir .omen --index postgresql://omen@localhost/omen
    """
    with refusals():
        root = find(data_dir)
        lock = WriterLock(Disk(), str(root))
        try:
            with exits.interruptible(
                lambda: ("the index is not whole", "Run it again, or start the server: it does so.")
            ):
                done, engine = await _rebuild(root, index or f"sqlite:///{root.parent / 'index.db'}")
        finally:
            lock.release()
    print_one(output, {"engine": engine, "rows": done.rows, "offset": done.offset})
    say("Done. The server brings what has come since, when it starts.")
    return exits.OK


async def _rebuild(root: Path, url: str) -> tuple[Rebuilt, str]:
    ledger = await asyncio.to_thread(OfflineLedger, root, SIGNALS)
    with _index_refusals(), Bar("rebuilding the index") as bar:
        async with open_index(url) as index:
            return await rebuild_from(
                index, ledger, lambda offset, last: bar.move(offset, last, "records")
            ), index.engine


@contextmanager
def _index_refusals() -> Iterator[None]:
    """
    Turn what the index says no with into an exit code and a remedy.
    """
    try:
        yield
    except IndexFault as error:
        known = next((kind for kind in REFUSALS if isinstance(error, kind)), None)
        code, reason, remedy = REFUSALS[known] if known else BROKEN
        raise exits.Stopped(code, reason, str(error), remedy) from error
