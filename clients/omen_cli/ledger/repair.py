import hashlib
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

from cyclopts import Parameter

from omen_cli import exits
from omen_cli.ledger.place import Directory, check_unlocked, find, refusals
from omen_cli.ledger.rehearsal import Rehearsal
from omen_cli.options import Output
from omen_cli.output import print_one, print_rows, say
from omen_server.ledger.durable import TEMPORARY, Disk
from omen_server.ledger.lock import WriterLock
from omen_server.ledger.names import CURRENT, GAPS, QUARANTINE, SEALED, segment_ordinal
from omen_server.ledger.recovery import recover
from omen_server.ledger.settings import LedgerSettings
from omen_server.records import SIGNALS

Apply = Annotated[
    bool, Parameter(name="--apply", negative="--dry-run", help="Do it. A dry run, the default, changes nothing.")
]

# Done at every start, to a ledger in the best of health as well.
ROUTINE = "REWRITE"


def repair(directory: Directory, *, apply: Apply = False, output: Output = "text") -> int:
    """
    Say what the next start would do to a ledger that a crash left behind, or do it now; torn bytes go to quarantine.

    It is the server's own recovery. Damage that is no torn tail stays where it is: readers name it as a gap, and no
    tool can bring it back. Refused while a process writes the ledger. A dry run that finds something to do exits 1.

    Example: omen ledger repair .omen

    Example: omen ledger repair .omen --apply
    """
    with refusals():
        root = find(directory)
        check_unlocked(root)
        if apply:
            lock = WriterLock(Disk(), str(root))
            try:
                steps = rehearse(root)
                recover(Disk(), str(root), LedgerSettings(), SIGNALS)
            finally:
                lock.release()
        else:
            steps = rehearse(root)
    needed = any(step["action"] != ROUTINE for step in steps)
    if output == "json":
        print_one("json", {"applied": apply, "needed": needed, "steps": steps})
    elif steps or output == "jsonl":
        print_rows(output, [step | {"applied": apply} for step in steps], ("action", "partition", "file", "detail"))
    say(ending(directory, applied=apply, needed=needed))
    return exits.PROBLEM if needed and not apply else exits.OK


def ending(directory: Path, *, applied: bool, needed: bool) -> str:
    """
    Return what the user is told at the end.
    """
    if applied:
        return f"Done. omen ledger verify {directory} says what damage is left, if any."
    if needed:
        return f"Nothing was changed. omen ledger repair {directory} --apply does this."
    return "Nothing was changed, and nothing needs repair."


def rehearse(root: Path) -> list[dict[str, Any]]:
    """
    Run the recovery on a disk that keeps nothing, and return what it did there.
    """
    with TemporaryDirectory(prefix="omen-repair-") as scratch, _quiet():
        disk = Rehearsal(Path(scratch))
        recover(disk, str(root), LedgerSettings(), SIGNALS)
        return [step for path in sorted(disk.changed) for step in steps_of(disk, root, path)]


def steps_of(disk: Rehearsal, root: Path, path: str) -> Iterator[dict[str, Any]]:
    """
    Yield what becomes of one file, in words.
    """
    place = Path(path).relative_to(root)
    partition, name = str(place.parent), place.name
    if disk.size(path) is None:
        what = "left by a crash, nobody's word" if name.endswith(TEMPORARY) else "gone"
        yield step("REMOVE", "" if partition == "." else partition, name, f"removed: {what}")
    elif partition == QUARANTINE:
        if name.endswith(".json"):
            yield quarantined(disk, path)
    elif name == GAPS:
        yield from gaps(disk, path, partition)
    elif name == CURRENT:
        yield step("POINT", partition, name, f"names {disk.read(path).decode()} from now on")
    elif name == SEALED:
        yield step("FINISH_SEAL", partition, name, "a crash interrupted the seal, and its manifest fits the bytes")
    elif segment_ordinal(name) is not None:
        yield rewritten(disk, path, partition, name)


def step(action: str, partition: str, file: str, detail: str, **more: Any) -> dict[str, Any]:
    """
    Return one step as it is printed.
    """
    return {"action": action, "partition": partition, "file": file, **more, "detail": detail}


def quarantined(disk: Rehearsal, path: str) -> dict[str, Any]:
    """
    Return the step that keeps torn bytes.
    """
    kept = path.removesuffix(".json") + ".bytes"
    told, size = json.loads(disk.read(path)), disk.size(kept) or 0
    name = kept.rpartition("/")[2]
    detail = f"{size} bytes from byte {told['byte_offset']} on are kept as {QUARANTINE}/{name} ({told['reason']})"
    place = {"byte_offset": told["byte_offset"], "size_bytes": size}
    return step("QUARANTINE", told["partition"], told["file"], detail, **place)


def gaps(disk: Rehearsal, path: str, partition: str) -> Iterator[dict[str, Any]]:
    """
    Yield a step for each gap that would be named.
    """
    before = json.loads(Path(path).read_bytes()) if Path(path).exists() else []
    for gap in json.loads(disk.read(path)):
        if gap not in before:
            detail = (
                f"positions {gap['first_index']} to {gap['last_index']} are skipped for good, nothing is cut: "
                f"{gap['reason']} at byte {gap['byte_offset']}"
            )
            yield step("NAME_GAP", partition, gap["file"], detail, gap=gap)


def rewritten(disk: Rehearsal, path: str, partition: str, name: str) -> dict[str, Any]:
    """
    Return the step that writes a tail afresh, cut where it was torn.
    """
    size, before = disk.size(path) or 0, Path(path).stat().st_size
    if size != before:
        detail = f"cut from {before} to {size} bytes, behind the last whole record"
        return step("CUT", partition, name, detail, size_bytes_before=before, size_bytes=size)
    if hashlib.sha256(disk.read(path)).digest() != hashlib.sha256(Path(path).read_bytes()).digest():
        raise AssertionError(f"recovery would change {path} without cutting it")
    return step(ROUTINE, partition, name, f"the same {size} bytes are written to a fresh file", size_bytes=size)


@contextmanager
def _quiet() -> Iterator[None]:
    """
    Keep the recovery from logging what it only rehearses.
    """
    log = logging.getLogger("omen_server.ledger")
    level = log.level
    log.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        log.setLevel(level)
