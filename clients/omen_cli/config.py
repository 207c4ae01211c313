import asyncio
import json
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from omen_cli import exits
from omen_cli.options import CLIENTS, Output, Servers
from omen_cli.output import print_error, print_rows, shown
from omen_cli.plain import plain
from omen_cli.running.process import PIPE, started
from omen_client import ServerClient

Name = Literal["omen", "riskcast", "reconciler"]
# Each program checks its own settings, since it alone knows them.
PROGRAMS: dict[Name, str] = {"omen": "omen_server", "riskcast": "riskcast_server", "reconciler": "reconciler"}
CHECK = "--check-settings"


async def show(
    server: Annotated[Name, Parameter(help="Which server.")] = "omen",
    *,
    sources: Annotated[bool, Parameter(negative="", help="Tell where each value was set.")] = False,
    servers: Servers | None = None,
    output: Output = "text",
) -> None:
    """
    Show the settings a running server has in force; --sources tells where each was set. Secrets are starred.

    Example: omen config show riskcast --sources
    """
    at = servers or Servers()
    client = ServerClient(
        at.address(server), api_key=at.key(), tls=at.files(), timeout_s=at.timeout_s, server=CLIENTS[server].SERVER
    )
    async with client:
        rows = [plain(each) for each in (await client.info()).settings]
    print_rows(output, rows, ("name", "value", "source", "set_by") if sources else ("name", "value"))


async def check(
    *names: Annotated[Name, Parameter(help="Which servers' settings; all three if not given.")],
    config: Annotated[Path | None, Parameter(help="A TOML file, as the servers take it.")] = None,
    output: Output = "text",
) -> int:
    """
    Check the settings that servers would start with here, and start none: exit 2 when one would refuse them.

    The environment and the file are looked at, not what they lead to: a port may still be taken.

    Example: omen config check --config omen.toml
    """
    given = [f"--config={config}"] if config is not None else []
    chosen = names or tuple(PROGRAMS)
    found = await asyncio.gather(*(ask(PROGRAMS[name], given) for name in chosen))
    rows: list[dict[str, Any]] = []
    for name, (settings, text) in zip(chosen, found, strict=True):
        own = [f"{each['name']}={shown(each['value'])}" for each in settings if each["source"] != "default"]
        rows.append({"server": name, "accepted": not text, "settings": settings, "not_default": own})
        for line in text.splitlines():
            print_error(output, "SETTINGS_REFUSED", line)
    print_rows(output, rows, ("server", "accepted", "not_default"))
    return exits.OK if all(row["accepted"] for row in rows) else exits.USAGE


async def ask(module: str, arguments: list[str]) -> tuple[list[dict[str, Any]], str]:
    """
    Return the settings a program would have, or why it refuses them.
    """
    process = started(module, CHECK, *arguments, stdout=PIPE, stderr=PIPE)
    out, err = await process.said()
    if process.returncode == 0:
        settings: list[dict[str, Any]] = json.loads(out)
        return settings, ""
    return [], err.decode(errors="replace").strip() or f"{module} ended with {process.returncode}"
