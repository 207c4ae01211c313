"""
Which servers there are, and how each is run on loopback.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from omen_cli.running.child import Plan
from omen_cli.running.ports import CONSOLE_PORT, HOST, METRICS_PORT, PORT, Ports

# What the servers read from the environment beside their flags. `omen up` is told by its own flags only: a key, a
# certificate or a database meant for another OMEN would make its banner untrue.
PREFIXES = ("OMEN_", "RISKCAST_", "RECONCILER_", "CONSOLE_")
SHARED = ("DATABASE_URL", "SEAL_GRACE_PERIOD_HOURS", "LATE_SEAL_GRACE_DAYS", "RATE_LIMIT_REQUESTS_PER_MINUTE")
CONSOLE_NEEDS = ("omen_console", "jinja2", "starlette", "uvicorn")


@dataclass(frozen=True, slots=True)
class Chosen:
    """
    The ports that were chosen.
    """

    servers: Sequence[int]
    metrics: Sequence[int]
    console: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """
    What is wanted of the servers of a directory. No rounds are made by themselves when reconcile_every_s is 0.
    """

    directory: Path
    ports: Chosen
    reconcile_every_s: float = 30.0
    omen_flags: Sequence[str] = field(default=())


def chosen(
    port: int | None = None, metrics_port: int | None = None, console_port: int | None = None, *, console: bool = True
) -> Chosen:
    """
    Return ports that are free now: those asked for, or the usual ones and what comes next; 0 is any.

    Stopped when one that was asked for is taken.
    """
    ports, with_console = Ports(), console and has_console()
    servers = ports.row(3, port, PORT, "--port")
    metrics = ports.row(4 if with_console else 3, metrics_port, METRICS_PORT, "--metrics-port")
    web = ports.row(1, console_port, CONSOLE_PORT, "--console-port")[0] if with_console else None
    return Chosen(servers, metrics, web)


def has_console() -> bool:
    """
    Tell whether the console and what it stands on are installed.
    """
    return all(find_spec(name) is not None for name in CONSOLE_NEEDS)


def plans(wishes: Wishes) -> list[Plan]:
    """
    Return how to run each server, in the order they are shown.
    """
    place = wishes.directory
    omen, riskcast, reconciler = (f"{HOST}:{port}" for port in wishes.ports.servers)
    found = [
        _server(wishes, 0, "OMEN", "omen_server", f"--data-dir={place}", f"--riskcast={riskcast}", *wishes.omen_flags),
        _server(wishes, 1, "RiskCast", "riskcast_server", f"--store=sqlite:///{place}/riskcast.db"),
        _server(
            wishes,
            2,
            "Reconciler",
            "reconciler",
            f"--omen={omen}",
            f"--riskcast={riskcast}",
            f"--state=sqlite:///{place}/reconcile.db",
            f"--interval={wishes.reconcile_every_s:g}",
        ),
    ]
    if wishes.ports.console is not None:
        found.append(_console(wishes, f"--omen={omen}", f"--riskcast={riskcast}", f"--reconciler={reconciler}"))
    return found


def _server(wishes: Wishes, at: int, label: str, module: str, *flags: str) -> Plan:
    return _plan(wishes, label, module, f"{HOST}:{wishes.ports.servers[at]}", wishes.ports.metrics[at], *flags)


def _console(wishes: Wishes, *flags: str) -> Plan:
    address, metrics = f"{HOST}:{wishes.ports.console}", wishes.ports.metrics[-1]
    here = f"--data-dir={wishes.directory}"
    return _plan(wishes, "Console", "omen_console", address, metrics, here, *flags, web=True)


def _plan(
    wishes: Wishes, label: str, module: str, address: str, metrics_port: int, *flags: str, web: bool = False
) -> Plan:
    own = (f"--listen={address}", f"--metrics-port={metrics_port}", "--log-format=json", *flags)
    log = wishes.directory / "logs" / f"{module}.log"
    at = f"{HOST}:{metrics_port}"
    return Plan(label, module, address, own, log, web=web, environment=own_environment(), metrics=at)


def own_environment() -> Mapping[str, str]:
    """
    Return this process's environment without any server's settings.
    """
    return {name: value for name, value in os.environ.items() if not is_setting(name)}


def is_setting(name: str) -> bool:
    """
    Tell whether an environment variable sets something of a server.
    """
    return name.startswith(PREFIXES) or name in SHARED
