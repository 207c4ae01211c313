"""
The compose files, held to the programs: started as they say, with health commands that tell the truth.
"""

import asyncio
import re
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml

from omen.v1.signal_pb2 import OmenSignal
from omen.v1.signal_service_pb2 import EMIT_STATUS_DELIVERED
from omen_client import OmenClient
from tests.conftest import ROOT
from tests.deploy.started import Place, Started, all_started, is_there, known_variables, settings_of
from tests.processes import tree_environment

SERVERS = ("riskcast", "omen", "reconciler", "console")
ALONE = yaml.safe_load((ROOT / "deploy/compose.yaml").read_text())
POSTGRES = yaml.safe_load((ROOT / "deploy/compose.postgres.yaml").read_text())
PASSWORD = re.compile(r"\$\{POSTGRES_PASSWORD:\?[^}]*\}")
DATABASE = "postgresql://omen:secret@postgres:5432/omen"
IMAGE = {  # What deploy/Dockerfile sets, which test_image.py holds.
    "omen": {"OMEN_DATA_DIR": "/data"},
    "riskcast": {"RISKCAST_STORE": "sqlite:////data/riskcast.db"},
    "reconciler": {"RECONCILER_STATE": "sqlite:////data/reconcile.db"},
    "console": {},
}


def environment(name: str, more: dict[str, Any] | None = None) -> dict[str, str]:
    """
    Return a container's environment: the image's, the file's, and over them another file's.
    """
    over = (more or {}).get("services", {}).get(name, {}).get("environment", {})
    merged = IMAGE[name] | ALONE["services"][name]["environment"] | over
    return {key: PASSWORD.sub("secret", value) for key, value in merged.items()}


def there() -> list[str]:
    """
    Return the servers that this tree has.
    """
    return [name for name in SERVERS if is_there(ALONE["services"][name]["command"][0])]


@pytest.mark.parametrize("name", SERVERS)
def test_containers_may_do_little(name: str) -> None:
    """
    No container writes its own file system or keeps a capability; ports are published on loopback only; it has as long
    to end as a drain takes, is started again, and is healthy by a command of its own.
    """
    service = ALONE["services"][name]
    assert (service["read_only"], service["cap_drop"], service["security_opt"]) == (
        True,
        ["ALL"],
        ["no-new-privileges:true"],
    )
    assert all(re.fullmatch(r"127\.0\.0\.1:(\d+):\1", port) for port in service["ports"])
    assert service["stop_grace_period"] == "60s"
    assert service["restart"] == "unless-stopped"
    assert service["healthcheck"]["test"][0] == "CMD"


def test_whoever_needs_another_waits_until_it_is_healthy() -> None:
    """
    Dependencies wait for health and name services that have a health check; OMEN waits for nobody.
    """
    services = ALONE["services"]
    waits = {name: each.get("depends_on", {}) for name, each in services.items()}
    assert waits["omen"] == waits["riskcast"] == {}
    for name, others in waits.items():
        named = {value.partition(":")[0] for value in environment(name).values()} & services.keys()
        assert name == "omen" or others.keys() == named
        assert all(each == {"condition": "service_healthy"} for each in others.values())
    for name in ("omen", "riskcast", "reconciler"):
        assert POSTGRES["services"][name]["depends_on"] == {"postgres": {"condition": "service_healthy"}}
    assert "healthcheck" in POSTGRES["services"]["postgres"]


@pytest.mark.parametrize("name", there())
def test_settings_exist_and_fit(name: str) -> None:
    """
    Every variable is one that the program reads, in both files; the published ports are those it listens on.
    """
    command = ALONE["services"][name]["command"]
    assert set(environment(name, POSTGRES)) <= known_variables(command[0])
    settings = settings_of(command, environment(name)).settings
    published = {int(port.rpartition(":")[2]) for port in ALONE["services"][name]["ports"]}
    assert published == {int(settings.listen.rpartition(":")[2]), settings.metrics_port}
    if name != "console":
        assert DATABASE in {str(value) for _, value in settings_of(command, environment(name, POSTGRES)).settings}


async def test_the_services_run(tmp_path: Path) -> None:
    """
    Real servers, started with the file's commands and variables: each is healthy by its own command, a signal goes all
    the way, and every server keeps a database of its own.
    """
    await run_services(tmp_path, None, "")
    assert databases(tmp_path) == {"desk.db", "index.db", "riskcast.db", "reconcile.db"}


async def test_the_services_run_on_postgres(tmp_path: Path, postgres_url: str) -> None:
    """
    The same with the second file: all three in one PostgreSQL, and nothing but the desk in a file.
    """
    await run_services(tmp_path, POSTGRES, postgres_url)
    assert databases(tmp_path) == {"desk.db"}


async def run_services(root: Path, more: dict[str, Any] | None, database: str) -> None:
    """
    Start all services, look whether they are healthy, bring a signal, and stop them, after which they are not.
    """
    place = Place(root, {DATABASE: database}, {"/data": f"{root}/data", "sqlite:////data": f"sqlite:///{root}"}, {})
    wanted = {name: (ALONE["services"][name]["command"], environment(name, more)) for name in there()}
    async with AsyncExitStack() as stack:
        servers = await all_started(stack, wanted, place)
        assert await asyncio.gather(*(healthy(name, servers[name]) for name in servers)) == [True] * len(servers)
        async with OmenClient(servers["omen"].at(50051)) as omen:
            result = await omen.emit(OmenSignal(signal_id="OMEN-COMPOSE0001", title="Through all containers"))
        assert result.status == EMIT_STATUS_DELIVERED
        codes = await asyncio.gather(*(started.server.stop() for started in servers.values()))
        assert set(codes) == {0}
        assert not await healthy("omen", servers["omen"])


def databases(root: Path) -> set[str]:
    """
    Return the names of all SQLite files below *root*.
    """
    return {each.name for each in root.rglob("*.db")}


async def healthy(name: str, started: Started) -> bool:
    """
    Run a service's health command as the engine would, with the ports of the test's.
    """
    line = list(ALONE["services"][name]["healthcheck"]["test"][1:])
    for named, port in started.ports.items():
        line = [part.replace(f"127.0.0.1:{named}", f"127.0.0.1:{port}") for part in line]
    here = {f"{name.upper()}_ADDRESS": started.server.address.replace("0.0.0.0", "127.0.0.1")}
    process = await asyncio.create_subprocess_exec(
        Path(sys.executable).parent / line[0],
        *line[1:],
        env=tree_environment() | here,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    return await process.wait() == 0
