"""
The systemd units, held to the programs, with the test in systemd's place.
"""

import asyncio
import re
import shlex
import socket
from configparser import ConfigParser
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from omen_rpc.program import USAGE
from tests.conftest import ROOT
from tests.deploy.started import Place, is_there, known_variables, settings_of, started

UNITS = {path.stem: path for path in sorted((ROOT / "deploy" / "systemd").glob("*.service"))}
SECONDS = {"": 1, "s": 1, "min": 60}
NOTIFYING = ("omen-server", "riskcast-server", "omen-reconciler")


def unit(name: str) -> ConfigParser:
    """
    Return what a unit says.
    """
    parser = ConfigParser(interpolation=None, comment_prefixes=("#",), delimiters=("=",))
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # Names are told apart by their case.
    parser.read_string(UNITS[name].read_text())
    return parser


def command(name: str) -> list[str]:
    """
    Return a unit's command line, by the program's name alone.
    """
    line = shlex.split(unit(name)["Service"]["ExecStart"])
    return [Path(line[0]).name, *line[1:]]


def environment(name: str) -> dict[str, str]:
    """
    Return the variables a unit sets.
    """
    return dict(each.split("=", 1) for each in shlex.split(unit(name)["Service"]["Environment"]))


def seconds(name: str, key: str) -> float:
    """
    Return a time of a unit.
    """
    found = re.fullmatch(r"(\d+)(s|min|)", unit(name)["Service"][key])
    assert found is not None
    return int(found[1]) * SECONDS[found[2]]


def test_there_is_a_unit_for_each_program() -> None:
    """
    Four programs, four units, each named for what it starts.
    """
    assert set(UNITS) == {*NOTIFYING, "omen-console"}
    assert all(command(name)[0] == name for name in UNITS)


@pytest.mark.parametrize("name", [name for name in UNITS if is_there(name)])
def test_settings_exist_and_fit(name: str) -> None:
    """
    Every variable is one that the program reads; the unit waits longer than a drain takes, and does not start again
    what refuses its settings.
    """
    service = unit(name)["Service"]
    assert set(environment(name)) <= known_variables(name)
    settings = settings_of(command(name), environment(name)).settings
    assert seconds(name, "TimeoutStopSec") > 5.0 + getattr(settings, "drain_timeout_s", 5.0)
    assert (service["Restart"], service["RestartPreventExitStatus"]) == ("on-failure", str(USAGE))
    kept = [value for value in environment(name).values() if "/var/lib/" in value]
    assert all(f"/var/lib/{service['StateDirectory']}" in value for value in kept)


@pytest.mark.parametrize("name", UNITS)
def test_units_may_do_little(name: str) -> None:
    """
    No unit runs as root, gains rights, or writes outside of its own directory.
    """
    service = unit(name)["Service"]
    assert service["User"] == "omen"
    assert service["User"] in (ROOT / "deploy/systemd/omen.sysusers.conf").read_text().splitlines()[1].split()
    assert (service["NoNewPrivileges"], service["ProtectSystem"], service["CapabilityBoundingSet"]) == (
        "yes",
        "strict",
        "",
    )


async def test_the_units_run(tmp_path: Path) -> None:
    """
    Real servers, started with the units' commands and variables: each tells the manager that it is ready, and at once
    that it lives, for the time that its unit's watchdog has.
    """
    (tmp_path / "run").mkdir()
    paths = {f"{scheme}/var/lib": f"{root}{tmp_path}" for scheme, root in (("", ""), ("sqlite:///", "sqlite:///"))}
    async with AsyncExitStack() as stack:
        told = await asyncio.gather(*(ready(stack, name, tmp_path, paths) for name in NOTIFYING))
    assert told == [["READY=1", "WATCHDOG=1"]] * len(NOTIFYING)


async def ready(stack: AsyncExitStack, name: str, place: Path, paths: dict[str, str]) -> list[str]:
    """
    Start a unit and return the first two things it tells its manager.
    """
    assert (unit(name)["Service"]["Type"], unit(name)["Service"]["NotifyAccess"]) == ("notify", "main")
    watchdog = str(int(seconds(name, "WatchdogSec") * 1e6))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(place / "run" / name))
        manager.setblocking(False)
        more = {"NOTIFY_SOCKET": str(place / "run" / name), "WATCHDOG_USEC": watchdog}
        await stack.enter_async_context(started(command(name), environment(name), Place(place, {}, paths, more), name))
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(30):
            return [(await loop.sock_recv(manager, 4096)).decode().splitlines()[0] for _ in range(2)]
