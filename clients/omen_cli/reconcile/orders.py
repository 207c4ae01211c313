from typing import Annotated, Any

from cyclopts import Parameter

from omen_cli import exits
from omen_cli.options import Output, Servers
from omen_cli.output import print_one, print_rows
from omen_cli.plain import plain

PARKED = ("partition", "ledger_index", "signal_id", "reason", "attempts", "parked_at", "waived_reason", "message")


async def pause(
    reason: Annotated[str, Parameter(help="Why; shown to whoever finds it paused.")],
    *,
    servers: Servers | None = None,
    output: Output = "text",
) -> None:
    """
    Stop reconciling until `omen reconcile resume`, also over a restart.

    Example: omen reconcile pause "RiskCast is being moved"
    """
    async with (servers or Servers()).reconcile_client() as reconciler:
        print_one(output, {"paused": True, "already_paused": await reconciler.pause(reason)})


async def resume(*, servers: Servers | None = None, output: Output = "text") -> None:
    """
    Go on reconciling.

    Example: omen reconcile resume
    """
    async with (servers or Servers()).reconcile_client() as reconciler:
        print_one(output, {"paused": False, "was_paused": await reconciler.resume()})


async def rate(
    signals_per_second: Annotated[float, Parameter(help="Signals a second, above 0.")],
    *,
    servers: Servers | None = None,
    output: Output = "text",
) -> None:
    """
    Change how fast signals are replayed, also in a round that is under way.

    Example: omen reconcile rate 500
    """
    async with (servers or Servers()).reconcile_client() as reconciler:
        print_one(output, {"signals_per_second": await reconciler.set_rate(signals_per_second)})


async def parked(
    partition: Annotated[str, Parameter(help="Only of this partition.")] = "",
    *,
    waived: Annotated[bool, Parameter(negative="", help="Those that were waived too.")] = False,
    limit: Annotated[int, Parameter(help="The most to print.")] = 100,
    servers: Servers | None = None,
    output: Output = "text",
) -> None:
    """
    List signals that RiskCast keeps refusing, the oldest first.

    Example: omen reconcile parked
    """
    rows: list[dict[str, Any]] = []
    async with (servers or Servers()).reconcile_client() as reconciler:
        async for each in reconciler.parked(partition, include_waived=waived):
            if len(rows) >= limit:
                break
            rows.append(plain(each))
    print_rows(output, rows, PARKED)


async def replay(
    *ids: Annotated[str, Parameter(help="The signals' ids.")],
    all_: Annotated[bool, Parameter(name="--all", negative="", help="All that are parked.")] = False,
    expect: Annotated[int, Parameter(help="How many you believe that is; another number is refused.")] = 0,
    servers: Servers | None = None,
    output: Output = "text",
) -> int:
    """
    Try parked signals again. Exit 1 when some are refused again.

    Example: omen reconcile replay --all
    """
    if bool(ids) == all_:
        raise exits.Stopped(exits.USAGE, "USAGE", "Name signals, or say --all.", "omen reconcile parked")
    async with (servers or Servers()).reconcile_client() as reconciler:
        done = await reconciler.replay_parked(ids, expected_count=expect)
    print_one(output, plain(done))
    return exits.PROBLEM if done.refused else exits.OK


async def waive(
    *ids: Annotated[str, Parameter(help="The signals' ids.")],
    reason: Annotated[str, Parameter(help="Why they need not arrive.")],
    servers: Servers | None = None,
    output: Output = "text",
) -> None:
    """
    Say that parked signals need not arrive: they no longer count as missing.

    Example: omen reconcile waive OMEN-EXAMPLE0001 --reason "a test signal"
    """
    async with (servers or Servers()).reconcile_client() as reconciler:
        print_one(output, {"waived": await reconciler.waive_parked(ids, reason)})
