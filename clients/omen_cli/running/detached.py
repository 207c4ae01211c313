"""
`omen up` in the background.
"""

import json
from collections.abc import Sequence
from pathlib import Path

from omen_cli import exits
from omen_cli.output import Form, print_one
from omen_cli.running.banner import print_banner
from omen_cli.running.claim import claimed
from omen_cli.running.process import NOTHING, PIPE, started

WORDS_BYTES_MAX = 65_536


async def detached(data_dir: Path | None, flags: Sequence[str], form: Form, *, wait: bool) -> int:
    """
    Start an `omen up` that outlives us; with *wait* return when its servers serve, and say so as it would itself.
    """
    if data_dir is not None:
        with claimed(data_dir):  # Refused here and now, in words, rather than in a log.
            pass
    log = Path("/dev/null") if data_dir is None else data_dir / "logs" / "up.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as talk:
        process = started(
            *("omen_cli", "up", "-o", "json", *flags),
            stdin=NOTHING,
            stdout=PIPE if wait else NOTHING,
            stderr=talk,
            own_session=True,
        )
        start = talk.tell()
    if not wait:
        print_one(form, {"pid": process.pid, "data_dir": str(data_dir or ""), "log": str(log)})
        return exits.OK
    line = await process.line()
    if line:
        print_banner(form, json.loads(line) | {"detached_pid": process.pid})
        return exits.OK
    code = await process.wait()
    raise refusal(code, log, start)


def refusal(code: int, log: Path, start: int) -> exits.Stopped:
    """
    Return what the process that ended said of why.
    """
    words: list[str] = []
    if log.is_file():
        with log.open("rb") as file:
            file.seek(start)
            words = file.read(WORDS_BYTES_MAX).decode(errors="replace").splitlines()
    for line in reversed(words):
        try:
            error = json.loads(line)["error"]
        except (ValueError, KeyError, TypeError):
            continue
        return exits.Stopped(code, error["reason"], error["message"], error["remedy"])
    return exits.Stopped(
        code or exits.PROBLEM, "SERVER_DOWN", f"omen up ended with code {code}", f"See {log}; run it without --detach."
    )
