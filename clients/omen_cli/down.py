import asyncio
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from omen_cli import exits
from omen_cli.options import Output
from omen_cli.output import Form, print_one, say
from omen_cli.running.claim import claimed, end_left_behind, is_held, left_behind, read
from omen_cli.running.control import ask
from omen_cli.running.processes import lives

Name = Annotated[Literal["omen", "riskcast", "reconciler", "console"], Parameter(help="Which server.")]
DataDir = Annotated[Path, Parameter(env_var="OMEN_DATA_DIR", help="The data directory that omen up runs in.")]
STOP_TIMEOUT_S = 150.0
LOOKED_EVERY_S = 0.05


async def down(*, data_dir: DataDir = Path(".omen"), output: Output = "text") -> int:
    """
    Stop the servers that omen up runs in a directory, and wait until they are gone. Nothing to stop is no error.

    Servers that an omen up which was killed left behind are stopped too; no other process ever is.

    Example: omen down --data-dir /tmp/try
    """
    if is_held(data_dir):
        born = str(read(data_dir).get("born", ""))
        found = await ask(data_dir, do="down")
        await freed(data_dir, int(found["pid"]), born)
        names = list(found["names"])
    elif left_behind(data_dir):
        with claimed(data_dir):
            names = await end_left_behind(data_dir)
    else:
        names = []
    say(f"stopped {', '.join(names)}; the data is kept" if names else f"nothing runs in {data_dir}")
    if output != "text":
        print_one(output, {"data_dir": str(data_dir), "stopped": names})
    return exits.OK


async def kill(name: Name, *, data_dir: DataDir = Path(".omen"), output: Output = "text") -> None:
    """
    Kill one of omen up's servers for real (SIGKILL) and hold it down until `omen start NAME`.

    Example: omen kill riskcast
    """
    told(output, await ask(data_dir, do="kill", name=name), f"omen start {name} lets it up again")


async def start(name: Name, *, data_dir: DataDir = Path(".omen"), output: Output = "text") -> None:
    """
    Let a server up again that `omen kill` holds down, and return when it serves.

    Example: omen start riskcast
    """
    told(output, await ask(data_dir, do="start", name=name), "it serves")


def told(form: Form, row: dict[str, object], text: str) -> None:
    """
    Print what was done to a server.
    """
    if form == "text":
        pid = row.get("killed_pid", row.get("pid"))
        was = "was down already" if pid == 0 else f"pid {pid}"
        print(f"{row['name']} at {row['address']}: {was}; {text}")
    else:
        print_one(form, row)


async def freed(data_dir: Path, pid: int, born: str) -> None:
    """
    Return when the omen up that held *data_dir* is gone, and whoever waits for its place can have it.
    """
    try:
        async with asyncio.timeout(STOP_TIMEOUT_S):
            while is_held(data_dir) or lives(pid, born):  # noqa: ASYNC110 - nobody is told when a stranger's process ends
                await asyncio.sleep(LOOKED_EVERY_S)
    except TimeoutError:
        text = f"the servers of {data_dir} are still there after {STOP_TIMEOUT_S:g} s"
        raise exits.Stopped(exits.DEADLINE, "NOT_ANSWERING", text, "See the logs in its logs/.") from None
