"""
Save runs and be killed: `dying_state.py URL MOMENT`.

The first is kept. While the second is saved the process dies: `append`, before the run is in the history; `stand`,
after that and before the state is; `commit`, after both; `kept`, once it is kept and before anybody is told. With
`ever` it saves one after the other, says each number when it is kept, and waits for somebody to kill it.
"""

import asyncio
import os
import signal
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Run as a program, not imported as a test: the paths that pytest's settings give are not there.
ROOT = Path(__file__).parents[3]
sys.path[:0] = [str(ROOT), str(ROOT / "proto")]

STATEMENTS = {
    "append": "INSERT INTO reconcile_history",
    "stand": "INSERT INTO reconcile_state",
    "commit": "COMMIT",
}


def die() -> None:
    """
    Let this be the last thing that this process does.
    """
    os.kill(os.getpid(), signal.SIGKILL)


def dying(connect: Callable[..., sqlite3.Connection], begins: str, armed: list[bool]) -> Callable[..., Any]:
    """
    Return a *connect* whose connections end the process at the first statement that begins so, once it is armed.
    """

    def connected(*arguments: Any) -> sqlite3.Connection:
        connection = connect(*arguments)
        connection.set_trace_callback(lambda sql: die() if armed and sql.strip().startswith(begins) else None)
        return connection

    return connected


async def main(url: str, moment: str) -> None:
    """
    Save, and do not survive it.
    """
    import reconciler.state.sqlite as engine  # noqa: PLC0415 - importable only now.
    from reconciler.state import open_state  # noqa: PLC0415 - as above.
    from reconciler.state.sqlite import runs  # noqa: PLC0415 - as above.
    from reconciler.state.sqlite.database_file import connect  # noqa: PLC0415 - as above.
    from tests.reconciler.state.whole_runs import saved  # noqa: PLC0415 - as above.

    armed: list[bool] = []
    if moment in STATEMENTS:
        vars(engine)["connect"] = dying(connect, STATEMENTS[moment], armed)
    async with open_state(url) as state:
        await saved(state, 1)
        if moment == "kept":
            save = runs.save

            def save_and_die(*arguments: Any, **named: Any) -> None:
                save(*arguments, **named)
                die()

            vars(runs)["save"] = save_and_die
        armed.append(True)
        number = 2
        while True:
            await saved(state, number)
            sys.stdout.write(f"{number}\n")
            sys.stdout.flush()
            number += 1


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2]))
