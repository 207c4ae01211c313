from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from omen_cli import exits
from omen_cli.ledger.place import Directory, find, opened, refusals
from omen_cli.ledger.verify import drive
from omen_cli.options import Output
from omen_cli.output import print_one, say
from omen_server.ledger.backup import COPIED, back_up
from omen_server.ledger.backup import restore as restore_backup
from omen_server.ledger.durable import Disk
from omen_server.ledger.identity import read_identity
from omen_server.ledger.offline import OfflineLedger
from omen_server.ledger.segment import Record
from omen_server.records import SIGNALS

Target = Annotated[Path, Parameter(help="A directory that is absent or empty.")]


def backup(directory: Directory, target: Target, *, output: Output = "text") -> int:
    """
    Copy a ledger, offline or beside a running server: sealed segments and a clean prefix of the open ones.

    Everything that was acknowledged before it began is in the copy, which is read back and verified: exit 1 when a
    fault is in it. An interrupted copy is not whole, says so, and is to be removed.

    Example: omen ledger backup .omen /backups/omen-2026-01-28
    """
    with opened(directory) as ledger:
        root, through = find(directory), readable_offset(ledger)
        place = str(target.absolute())
        say(f"Copying {root} through offset {through} to {place}.")
        try:
            copied = back_up(Disk(), str(root), place, SIGNALS, through_offset=through, now=datetime.now(UTC))
            copy = OfflineLedger(target, SIGNALS)
            verdicts = [drive(copy.verify(name), name) for name in copy.names()]
        except KeyboardInterrupt:
            state = "was not verified" if (target / COPIED).exists() else "is not whole; remove it"
            raise exits.Stopped(130, "INTERRUPTED", f"interrupted: {target} {state}", "Run it again.") from None
    broken = [verdict.partition for verdict in verdicts if not verdict.intact]
    print_one(output, {**asdict(copied), "ledger_id": ledger.identity.ledger_id, "target": place, "faults_in": broken})
    if broken:
        say(f"The copy has faults; omen ledger verify {directory} says whether they came from the ledger.")
    return exits.PROBLEM if broken else exits.OK


def restore(source: Directory, target: Target, *, output: Output = "text") -> None:
    """
    Make a ledger from a backup, in a new epoch: cursors and reconcile states of the old one are told to start over.

    The directory that a server is to use is DATA/ledger. A crash on the way leaves nothing that opens.

    Example: omen ledger restore /backups/omen-2026-01-28 .omen/ledger
    """
    with refusals():
        place, disk = str(target.absolute()), Disk()
        copied = restore_backup(disk, str(find(source)), place, lambda: datetime.now(UTC))
        identity = read_identity(disk, place)
    more = {"ledger_id": identity.ledger_id, "ledger_epoch": identity.ledger_epoch, "target": place}
    print_one(output, {**asdict(copied), **more})


def readable_offset(ledger: OfflineLedger) -> int:
    """
    Return the last offset that can be read without a hole: what was acknowledged is not behind it.

    A record may be acknowledged before a later one states that it is durable, so the last proven offset is too little.
    """
    through = ledger.proven_offset()
    for item in ledger.read(through):
        if isinstance(item, Record):
            through = item.position.offset
    return through
