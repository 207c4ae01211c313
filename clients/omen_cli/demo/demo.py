import asyncio
import signal
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

from cyclopts import Parameter

from omen_cli import exits
from omen_cli.bench.servers import serving
from omen_cli.demo.claims import Broken, Show
from omen_cli.demo.crash_tail import crash_tail
from omen_cli.demo.dedupe import dedupe
from omen_cli.demo.ledger_first import ledger_first
from omen_cli.demo.metadata import metadata
from omen_cli.demo.place import made, remove
from omen_cli.demo.reconciling import reconcile
from omen_cli.demo.stage import stage
from omen_cli.demo.story import STORY
from omen_cli.demo.world import far_plan, running
from omen_cli.options import Output
from omen_cli.output import print_error, print_one, say

Proof: TypeAlias = Literal["crash-tail", "dedupe", "reconcile", "ledger-first", "metadata"]
HEADLINE = "OMEN: Two-path signal intelligence — ledger first, then live."


async def demo(
    *,
    seed: Annotated[int, Parameter(help="Which signals: the same number, the same ids and counts.")] = 1,
    only: Annotated[Proof | None, Parameter(help="One proof, and nothing else.")] = None,
    data_dir: Annotated[str, Parameter(help="A directory to work in, new or of an earlier demo; temp makes one.")] = (
        "temp"
    ),
    keep: Annotated[bool, Parameter(negative="", help="Leave the directory behind, to look at it.")] = False,
    story: Annotated[bool, Parameter(negative="", help="Print the words that go with it, for a stage.")] = False,
    output: Output = "text",
) -> int:
    """
    Try every promise on servers of its own: kill them, lose signals, replay them, flip a bit. Exit 0 if all of it held.

    Example: omen demo

    Example: omen demo --only dedupe -o json
    """
    if story:
        if output == "text":
            print(STORY)
        else:
            print_one(output, {"story": STORY})
        return exits.OK
    place = made(data_dir, {"kind": "run", "seed": seed})
    show = Show(output)
    show.headline(HEADLINE, f"What follows runs here and now, in {place}, with servers of its own.")
    broken: Broken | None = None
    told = cancelled_by_signals()
    try:
        await played(place, show, seed, only)
    except Broken as error:
        broken = error
    except asyncio.CancelledError:
        if not keep:
            remove(place)  # The servers are stopped by now.
        number = told[0] if told else signal.SIGINT
        raise exits.Stopped(128 + number, "INTERRUPTED", "interrupted; no server is left", "Run it again.") from None
    show.end(seed)
    return ended(output, place, broken, keep=keep)


def cancelled_by_signals() -> list[int]:
    """
    Have SIGINT and SIGTERM cancel this very task, so that its servers are stopped; return where they are noted.
    """
    task, told = asyncio.current_task(), list[int]()
    if task is None:
        raise RuntimeError("there is no task")

    def tell(number: int) -> None:
        told.append(number)
        task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, tell, number)
    return told


async def played(place: Path, show: Show, seed: int, only: Proof | None) -> None:
    """
    Play the stage script and then every proof, or one proof; Broken at the first claim that does not hold.
    """
    match only:
        case None:
            async with running(place) as world:
                await stage(world, show, seed)
                await dedupe(world.riskcast_address, show, seed)
            await reconcile(place, show)
            await crash_tail(place, show)
            await ledger_first(place, show, seed)
            await metadata(place, show)
        case "crash-tail":
            await crash_tail(place, show)
        case "dedupe":
            async with serving(far_plan(place)) as address:
                await dedupe(address, show, seed)
        case "reconcile":
            await reconcile(place, show)
        case "ledger-first":
            await ledger_first(place, show, seed)
        case "metadata":
            await metadata(place, show)


def ended(form: str, place: Path, broken: Broken | None, *, keep: bool) -> int:
    """
    Say how it ended; leave the directory behind when something did not hold, or it is wanted.
    """
    if keep or broken is not None:
        say(f"{place} is left to look at.")
    else:
        remove(place)
    if broken is None:
        return exits.OK
    remedy = f"Every server's log is in {place}; {broken.claim.proof} is the test of it."
    print_error(form, "CLAIM_BROKEN", str(broken), remedy=remedy, claim=broken.claim.name)
    return exits.PROBLEM
