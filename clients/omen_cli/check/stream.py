import asyncio
from typing import Annotated

from cyclopts import Parameter

from omen_cli.check.verdict import Figure, Verdict, check_limits, concluded
from omen_cli.options import Output, Servers

SUBSCRIBERS_MAX = 1000


async def stream(
    *,
    warn_lag_s: Annotated[float | None, Parameter(help="Warn when a subscriber is this far behind.")] = 30.0,
    crit_lag_s: Annotated[float | None, Parameter(help="Alarm when a subscriber is this far behind.")] = 300.0,
    warn_lag_records: Annotated[float | None, Parameter(help="The same in records.")] = 10_000.0,
    crit_lag_records: Annotated[float | None, Parameter(help="The same in records.")] = 100_000.0,
    min_subscribers: Annotated[int, Parameter(help="Alarm when there are fewer.")] = 0,
    warn_ms: Annotated[float | None, Parameter(help="Warn when a new subscriber takes this long to be live.")] = 1000.0,
    crit_ms: Annotated[float | None, Parameter(help="Alarm when it takes this long.")] = 5000.0,
    servers: Servers | None = None,
    output: Output = "text",
) -> int:
    """
    Check that OMEN streams: subscribe until live, and look how far behind everybody else is.

    Example: omen check stream --crit-lag-s 60 --min-subscribers 1
    """
    check_limits(warn_lag_s, crit_lag_s, "lag-s")
    check_limits(warn_lag_records, crit_lag_records, "lag-records")
    check_limits(warn_ms, crit_ms, "ms")
    chosen = servers or Servers()

    async def checking(verdict: Verdict) -> None:
        loop = asyncio.get_running_loop()
        async with chosen.omen_client() as omen:
            found = []
            async for each in omen.operations.subscribers(SUBSCRIBERS_MAX):
                found.append(each)
                if len(found) == SUBSCRIBERS_MAX:
                    break
            began_s = loop.time()
            try:
                async with asyncio.timeout(chosen.timeout_s), omen.stream(until_caught_up=True) as live:
                    async for _ in live:
                        pass
            except TimeoutError:
                verdict.alarm(f"a new subscriber is not live after {chosen.timeout_s:g} s")
            took_ms = (loop.time() - began_s) * 1000
        lag_s = max((each.lag.ToNanoseconds() / 1e9 for each in found), default=0.0)
        lag = max((each.lag_records for each in found), default=0)
        verdict.measure(Figure("live_ms", took_ms, warn_ms, crit_ms), f"a new subscriber took {took_ms:.0f} ms")
        verdict.measure(Figure("lag_s", lag_s, warn_lag_s, crit_lag_s), f"a subscriber is {lag_s:,.0f} s behind")
        verdict.measure(
            Figure("lag_records", lag, warn_lag_records, crit_lag_records), f"a subscriber is {lag:,} records behind"
        )
        verdict.measure(Figure("subscribers", len(found)), "")
        if len(found) < min_subscribers:
            verdict.alarm(f"{len(found):,} subscribers, of at least {min_subscribers:,}")
        verdict.text = f"{len(found):,} subscribers, live in {took_ms:.0f} ms"

    return await concluded(output, "stream", checking)
