import asyncio
from typing import Annotated

from cyclopts import Parameter

from omen_cli.certificate import WARN_DAYS, days_left
from omen_cli.check.verdict import Figure, Verdict, check_limits, concluded
from omen_cli.health import Name, ask
from omen_cli.options import Output, Servers
from omen_cli.status.standing import NAMES, server_row


async def server(
    *names: Annotated[Name, Parameter(help="Which servers; all three by default.")],
    warn_ms: Annotated[float | None, Parameter(help="Warn when an answer takes this long.")] = 500.0,
    crit_ms: Annotated[float | None, Parameter(help="Alarm when an answer takes this long.")] = 2000.0,
    warn_days: Annotated[float | None, Parameter(help="Warn when a certificate has no more days left.")] = WARN_DAYS,
    crit_days: Annotated[float | None, Parameter(help="Alarm when a certificate has no more days left.")] = 2.0,
    servers: Servers | None = None,
    output: Output = "text",
) -> int:
    """
    Check that servers answer, that all their services serve, and with TLS that their certificates last.

    Example: omen check server omen riskcast
    """
    check_limits(warn_ms, crit_ms, "ms")
    check_limits(warn_days, crit_days, "days", falling=True)

    async def checking(verdict: Verdict) -> None:
        at = servers or Servers()
        await asyncio.gather(*(one(verdict, name, at, warn_ms, crit_ms) for name in names or NAMES))
        for name in names or NAMES:
            await lasting(verdict, name, at, warn_days, crit_days)
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
        verdict.alarm(row["message"])
        return
    if row["status"] != "SERVING":
        verdict.alarm(f"{name} is {row['status']}")
    elif row["not_serving"]:
        verdict.warn(f"{name} does not serve {', '.join(row['not_serving'])}")
    verdict.measure(Figure(f"{name}_ms", took_ms, warn_ms, crit_ms), f"{name} took {took_ms:.0f} ms to answer")


async def lasting(
    verdict: Verdict, name: Name, servers: Servers, warn_days: float | None, crit_days: float | None
) -> None:
    """
    Look how long the certificate lasts that one server shows; without TLS there is none.
    """
    files = servers.files()
    days = await days_left(servers.address(name), files, servers.timeout_s) if files is not None else None
    if days is not None:
        verdict.measure(
            Figure(f"{name}_certificate_days", days, warn_days, crit_days, falling=True),
            f"the certificate of {name} runs out in {days:.1f} days, omen tls renew makes a new one",
        )
