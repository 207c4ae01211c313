from pathlib import Path
from typing import Annotated, Literal, TypeAlias

from cyclopts import Parameter

from omen_cli import exits
from omen_cli.demo.claims import Broken, Show
from omen_cli.demo.place import made, remove
from omen_cli.demo.stage import stage
from omen_cli.demo.world import running
from omen_cli.options import Output
from omen_cli.output import print_error, print_one, say

Proof: TypeAlias = Literal["crash-tail", "dedupe", "reconcile", "ledger-first", "metadata"]
HEADLINE = "OMEN: Two-path signal intelligence — ledger first, then live."


async def demo(
    *,
    seed: Annotated[int, Parameter(help="Which signals: the same number, the same ids and counts.")] = 1,
    data_dir: Annotated[str, Parameter(help="A directory to work in, new or of an earlier demo; temp makes one.")] = (
        "temp"
    ),
    keep: Annotated[bool, Parameter(negative="", help="Leave the directory behind, to look at it.")] = False,
    output: Output = "text",
) -> int:
    """
    Try every promise on servers of its own: kill them, lose signals, replay them, flip a bit. Exit 0 if all of it held.

    Example: omen demo

    Example: omen demo --only dedupe -o json
    """
    place = made(data_dir, {"kind": "run", "seed": seed})
    show = Show(output)
    show.headline(HEADLINE, f"What follows runs here and now, in {place}, with servers of its own.")
    broken: Broken | None = None
    try:
        async with running(place) as world:
            await stage(world, show, seed)
    except Broken as error:
        broken = error
    if output == "json":
        print_one("json", {"held": broken is None, "seed": seed, "steps": show.rows})
    return ended(output, place, broken, keep=keep)


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
