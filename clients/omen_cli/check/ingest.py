from typing import Annotated

from cyclopts import Parameter

from omen_cli.check.verdict import Figure, Verdict, check_limits, concluded
from omen_cli.options import Output, Servers
from omen_cli.plain import plain

NOTHING_YET = 0.0


async def ingest(
    *,
    warn_unsettled: Annotated[float | None, Parameter(help="Warn when so many signals wait for an outcome.")] = 1000.0,
    crit_unsettled: Annotated[float | None, Parameter(help="Alarm when so many do.")] = 10_000.0,
    warn_dead_letters: Annotated[float | None, Parameter(help="Warn from so many dead letters on.")] = 1.0,
    crit_dead_letters: Annotated[float | None, Parameter(help="Alarm from so many on.")] = None,
    warn_duplicates: Annotated[float | None, Parameter(help="Warn from this share of duplicates on, 0 to 1.")] = None,
    crit_duplicates: Annotated[float | None, Parameter(help="Alarm from this share on.")] = None,
    servers: Servers | None = None,
    output: Output = "text",
) -> int:
    """
    Check the way into RiskCast: the breaker, what waits, what was refused, and RiskCast's own counters.

    Example: omen check ingest --crit-unsettled 5000
    """
    check_limits(warn_unsettled, crit_unsettled, "unsettled")
    check_limits(warn_dead_letters, crit_dead_letters, "dead-letters")
    check_limits(warn_duplicates, crit_duplicates, "duplicates")

    async def checking(verdict: Verdict) -> None:
        async with (servers or Servers()).omen_client() as omen:
            stats, path = await omen.operations.stats(), await omen.operations.hot_path()
        unsettled = stats.durable_offset - min(path.settled_offset, stats.durable_offset)
        verdict.measure(
            Figure("unsettled", unsettled, warn_unsettled, crit_unsettled), f"{unsettled:,} signals have no outcome yet"
        )
        letters = stats.dead_letters
        verdict.measure(
            Figure("dead_letters", letters, warn_dead_letters, crit_dead_letters), f"{letters:,} dead letters wait"
        )
        breaker = plain(path.riskcast)
        if breaker["state"] == "OPEN":
            verdict.alarm(f"the breaker to RiskCast is open: {breaker['last_failure']}")
        elif breaker["state"] == "HALF_OPEN":
            verdict.warn("the breaker to RiskCast is half open")
        async with (servers or Servers()).riskcast_client() as riskcast:
            counted = await riskcast.stats()
        taken = counted.accepted + counted.duplicates
        share = counted.duplicates / taken if taken else NOTHING_YET
        verdict.measure(
            Figure("duplicates", share, warn_duplicates, crit_duplicates), f"{share:.0%} of what comes are duplicates"
        )
        verdict.measure(Figure("stored", counted.stored), "")
        verdict.text = f"breaker {breaker['state']}, {counted.stored:,} signals stored"

    return await concluded(output, "ingest", checking)
