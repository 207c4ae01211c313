import asyncio
from typing import Annotated

from cyclopts import Parameter

from omen_cli.check.verdict import Figure, Verdict, check_limits, concluded
from omen_cli.health import Name, ask
from omen_cli.options import Output, Servers
from omen_cli.status.standing import NAMES, server_row


async def server(
    *names: Annotated[Name, Parameter(help="Which servers; all three by default.")],
    warn_ms: Annotated[float | None, Parameter(help="Warn when an answer takes this long.")] = 500.0,
    crit_ms: Annotated[float | None, Parameter(help="Alarm when an answer takes this long.")] = 2000.0,
    servers: Servers | None = None,
    output: Output = "text",
) -> int:
    """
    Check that servers answer, and that all their services serve.

    Example: omen check server omen riskcast
    """
    check_limits(warn_ms, crit_ms, "ms")

    async def checking(verdict: Verdict) -> None:
        await asyncio.gather(*(one(verdict, name, servers or Servers(), warn_ms, crit_ms) for name in names or NAMES))
        verdict.text = ", ".join(names or NAMES) + " asked"

    return await concluded(output, "server", checking)


async def one(verdict: Verdict, name: Name, servers: Servers, warn_ms: float | None, crit_ms: float | None) -> None:
    """
    Ask one server.
    """
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    row = server_row(name, await ask(servers, name))
    took_ms = (loop.time() - began_s) * 1000
    if not row["reachable"]:
        verdict.alarm(f"{name} at {row['address']} cannot be reached")
        return
    if row["status"] != "SERVING":
        verdict.alarm(f"{name} is {row['status']}")
    elif row["not_serving"]:
        verdict.warn(f"{name} does not serve {', '.join(row['not_serving'])}")
    verdict.measure(Figure(f"{name}_ms", took_ms, warn_ms, crit_ms), f"{name} took {took_ms:.0f} ms to answer")
