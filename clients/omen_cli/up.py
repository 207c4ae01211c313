import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from omen_cli import exits
from omen_cli.options import Output
from omen_cli.output import Form, say
from omen_cli.running.abandoned import EPHEMERAL, end_abandoned
from omen_cli.running.banner import facts, print_banner
from omen_cli.running.control import controlled
from omen_cli.running.detached import detached
from omen_cli.running.plans import Wishes, chosen, plans
from omen_cli.running.supervisor import Signals, Supervisor

DATA_DIR = Path(".omen")


async def up(
    *,
    port: Annotated[
        int | None,
        Parameter(help="OMEN's port; RiskCast and the reconciler have the next two. 50051, or what is free; 0: any."),
    ] = None,
    console_port: Annotated[int | None, Parameter(help="The console's port. 8080, or what is free; 0: any.")] = None,
    metrics_port: Annotated[
        int | None, Parameter(help="OMEN's metrics port; the others have the next. 9051; 0: any.")
    ] = None,
    data_dir: Annotated[
        Path | None, Parameter(env_var="OMEN_DATA_DIR", help="Where everything is kept; .omen by default.")
    ] = None,
    ephemeral: Annotated[bool, Parameter(negative="", help="Keep nothing: the data go when this ends.")] = False,
    reconcile: Annotated[Literal["auto", "manual"], Parameter(help="manual: only omen reconcile run does.")] = "auto",
    reconcile_every: Annotated[float, Parameter(help="Seconds from one round of reconciling to the next.")] = 30.0,
    detach: Annotated[bool, Parameter(negative="", help="Go on in the background; omen down ends it.")] = False,
    wait: Annotated[bool, Parameter(negative="", help="With --detach: return when all serve, not at once.")] = False,
    output: Output = "text",
) -> int:
    """
    Run OMEN, RiskCast, the reconciler and the console on loopback, durable, until Ctrl-C.

    They are processes of their own. One that dies is started again; `omen kill NAME` holds it down. The first Ctrl-C
    drains them, a second one kills them; either way nothing that was acknowledged is lost.

    Example: omen up --data-dir /tmp/try
    """
    check(data_dir, ephemeral=ephemeral, reconcile_every=reconcile_every, detach=detach, wait=wait)
    if detach:
        flags = {"--port": port, "--console-port": console_port, "--metrics-port": metrics_port}
        more = ["--ephemeral"] if ephemeral else [f"--data-dir={data_dir or DATA_DIR}"]
        more += [f"{flag}={value}" for flag, value in flags.items() if value is not None]
        more += [f"--reconcile={reconcile}", f"--reconcile-every={reconcile_every:g}"]
        return await detached(None if ephemeral else data_dir or DATA_DIR, more, output, wait=wait)
    if ephemeral:
        for name in await end_abandoned(Path(gettempdir())):
            say(f"an ephemeral omen up was killed and left {name} behind; ended it and removed its data")
    with place_of(data_dir, ephemeral=ephemeral) as place:
        ports = chosen(port, metrics_port, console_port)
        every_s = 0.0 if reconcile == "manual" else reconcile_every
        return await run(Wishes(directory=place, ports=ports, reconcile_every_s=every_s), output, ephemeral=ephemeral)


def check(data_dir: Path | None, *, ephemeral: bool, reconcile_every: float, detach: bool, wait: bool) -> None:
    """
    Raise Stopped for flags that do not go together.
    """
    wrong = (
        "--ephemeral and --data-dir exclude each other"
        if ephemeral and data_dir is not None
        else "--wait is for --detach"
        if wait and not detach
        else "--reconcile-every is from 0.1 to 86400; --reconcile manual leaves it to you"
        if not 0.1 <= reconcile_every <= 86_400
        else ""
    )
    if wrong:
        raise exits.Stopped(exits.USAGE, "USAGE", wrong, "omen up --help tells what it takes.")


@contextmanager
def place_of(data_dir: Path | None, *, ephemeral: bool) -> Iterator[Path]:
    """
    Yield where the data lie, in a directory that goes with the block when they are not to stay.
    """
    if not ephemeral:
        yield data_dir or DATA_DIR
        return
    with TemporaryDirectory(prefix=EPHEMERAL, ignore_cleanup_errors=True) as place:
        yield Path(place)


async def run(wishes: Wishes, form: Form, *, ephemeral: bool) -> int:
    """
    Run the servers until a signal or `omen down`, and stop them.
    """
    async with Supervisor(wishes.directory, plans(wishes), say) as servers:
        killed = False

        def harder() -> None:
            nonlocal killed
            if not killed:
                say("killing the servers; what was acknowledged is kept")
            killed = True
            servers.end()

        with Signals(harder) as signals:
            async with controlled(servers, signals.told):
                if await unless(signals.told, servers.start()):
                    row = await facts(servers, wishes, ephemeral=ephemeral)
                    servers.tell(ready=row)
                    print_banner(form, row)
                    await unless(signals.told, servers.kept())
            say("stopping; once more kills the servers")
            await servers.stop()
    say("stopped; the data is gone" if ephemeral else "stopped; the data is kept")
    return 130 if killed else exits.OK


async def unless(told: asyncio.Event, work: Any) -> bool:
    """
    Do *work* and return True, or give it up when told to and return False.
    """
    doing, stop = asyncio.ensure_future(work), asyncio.ensure_future(told.wait())
    try:
        await asyncio.wait((doing, stop), return_when=asyncio.FIRST_COMPLETED)
        if stop.done():
            return False
        doing.result()
        return True
    finally:
        doing.cancel()
        stop.cancel()
        await asyncio.gather(doing, stop, return_exceptions=True)
