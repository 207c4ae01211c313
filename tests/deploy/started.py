"""
The programs as a manifest starts them: its own command line and environment, with ports, paths and hosts of the test's.
"""

import asyncio
import importlib
import importlib.util
import re
import socket
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from omen_rpc.health import HealthCheckRequest, HealthCheckResponse
from omen_rpc.settings import Loaded, Program, load, variables
from tests.processes import ServerProcess, tree_environment

SETTINGS = {
    "omen-server": ("omen_server.settings", "OmenSettings"),
    "riskcast-server": ("riskcast_server.settings", "RiskCastSettings"),
    "omen-reconciler": ("reconciler.settings", "ReconcilerSettings"),
    "omen-console": ("omen_console.settings", "ConsoleSettings"),
}
HOST_PORT = re.compile(r"^(?P<host>[a-z0-9.-]+):(?P<port>\d+)$")


def is_there(program: str) -> bool:
    """
    Whether this tree has *program*; what is not there yet is held to its form only.
    """
    return importlib.util.find_spec(SETTINGS[program][0].partition(".")[0]) is not None


def program_of(command: str) -> tuple[Program, Any]:
    """
    Return a program's name in the environment, and the model of its settings.
    """
    module, model = SETTINGS[command]
    found = importlib.import_module(module)
    return found.PROGRAM, getattr(found, model)


def known_variables(command: str) -> set[str]:
    """
    Return every environment variable that *command* reads.
    """
    program, model = program_of(command)
    own = {each for name, field in model.model_fields.items() for each in variables(program, name, field)}
    return own | {f"{program.prefix}_CONFIG"}


def settings_of(command: Sequence[str], environment: Mapping[str, str]) -> Loaded[Any]:
    """
    Return the settings that a command line and an environment make; SettingsRefused when they cannot be.
    """
    program, model = program_of(command[0])
    arguments = [each for each in command[1:] if each != "serve"]
    return load(model, program, arguments, environment)


@dataclass(frozen=True)
class Started:
    """
    One server of a manifest, and where its ports have gone.
    """

    server: ServerProcess
    ports: Mapping[int, int]

    def at(self, port: int) -> str:
        """
        Return the address of a port that the manifest names.
        """
        return f"127.0.0.1:{self.ports[port]}"


@dataclass
class Place:
    """
    What stands for the hosts, the paths and the databases that manifests name.
    """

    root: Path
    hosts: dict[str, str]
    paths: dict[str, str]
    more: dict[str, str]

    def of(self, value: str) -> str:
        """
        Return *value* as it is here.
        """
        for there, here in self.paths.items():
            if value == there or value.startswith(f"{there}/"):
                return here + value.removeprefix(there)
        return self.hosts.get(value, value)


@asynccontextmanager
async def started(
    command: Sequence[str], environment: Mapping[str, str], place: Place, name: str
) -> AsyncIterator[Started]:
    """
    Run *command* with *environment* while the block runs. Others find it as ``name:port``, as the manifest has it.
    """
    settings = settings_of(command, environment).settings
    prefix = program_of(command[0])[0].prefix
    listen, metrics = HOST_PORT.match(settings.listen), free_port()
    assert listen is not None, settings.listen
    own = {key: place.of(value) for key, value in environment.items()}
    own |= {f"{prefix}_LISTEN": f"{listen['host']}:0", f"{prefix}_METRICS_PORT": str(metrics)} | place.more
    own |= {f"{prefix}_DRAIN_WAIT_S": "0"}  # Nothing balances load here.
    process = await asyncio.create_subprocess_exec(
        Path(sys.executable).parent / command[0],
        *map(place.of, command[1:]),
        cwd=place.root,
        env=tree_environment() | own,
        stderr=asyncio.subprocess.PIPE,
    )
    server = ServerProcess(process)
    try:
        await server.line("serving")
        port = int(server.address.rpartition(":")[2])
        place.hosts[f"{name}:{listen['port']}"] = f"127.0.0.1:{port}"
        yield Started(server, {int(listen["port"]): port, settings.metrics_port: metrics})
    finally:
        if process.returncode is None:
            process.kill()
        await server.wait()


async def all_started(
    stack: AsyncExitStack, wanted: Mapping[str, tuple[Sequence[str], Mapping[str, str]]], place: Place
) -> dict[str, Started]:
    """
    Start servers in the given order, each knowing those before it.
    """
    return {
        name: await stack.enter_async_context(started(command, environment, place, name))
        for name, (command, environment) in wanted.items()
    }


async def health_of(address: str, service: str) -> int:
    """
    Ask as kubelet does: one Check in plain text, without a key.
    """
    async with grpc.aio.insecure_channel(address) as channel:
        check: Any = channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            request_serializer=HealthCheckRequest.SerializeToString,
            response_deserializer=HealthCheckResponse.FromString,
        )
        return int((await check(HealthCheckRequest(service=service), timeout=5)).status)


def free_port() -> int:
    """
    Return a port that nobody listens on now.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
