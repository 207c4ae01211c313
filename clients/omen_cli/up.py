import asyncio
import json
import signal
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from omen_cli import exits
from omen_cli.child import Child, Plan
from omen_cli.options import Output
from omen_cli.output import Form, say
from omen_rpc.address import Address, AddressRefused, check_free
from omen_rpc.server_info import own_version

HOST = "127.0.0.1"
PORT = 50051
METRICS_PORT = 9051
PORTS_TRIED_MAX = 200


async def up(
    *,
    port: Annotated[
        int | None, Parameter(help="OMEN's port; RiskCast has the next. 50051, or what is free; 0 picks any.")
    ] = None,
    metrics_port: Annotated[int | None, Parameter(help="OMEN's metrics port; RiskCast has the next. 9051.")] = None,
    data_dir: Annotated[Path, Parameter(help="Where everything is kept.")] = Path(".omen"),
    output: Output = "text",
) -> int:
    """
    Run OMEN and RiskCast on loopback, durable, until Ctrl-C.

    Example: omen up --data-dir /tmp/try
    """
    ports = Ports()
    omen, riskcast = ports.pair(port, PORT, "--port")
    omen_metrics, riskcast_metrics = ports.pair(metrics_port, METRICS_PORT, "--metrics-port")
    store = f"--store=sqlite:///{data_dir}/riskcast.db"
    omen_flags = (f"--data-dir={data_dir}", f"--riskcast={HOST}:{riskcast}")
    plans = [
        plan("RiskCast", "riskcast_server", riskcast, riskcast_metrics, data_dir, store),
        plan("OMEN", "omen_server", omen, omen_metrics, data_dir, *omen_flags),
    ]
    return await supervise([Child(each, say) for each in plans], data_dir, output)


async def supervise(children: Sequence[Child], data_dir: Path, form: Form) -> int:
    """
    Start the servers in order, keep them up until a signal, stop them in reverse.
    """
    told = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, told.set)
    stop: asyncio.Future[Any] = asyncio.ensure_future(told.wait())
    keepers: list[asyncio.Future[Any]] = []
    try:
        for child in children:
            begun: asyncio.Future[Any] = asyncio.ensure_future(child.start())
            await asyncio.wait((begun, stop), return_when=asyncio.FIRST_COMPLETED)
            if stop.done():
                begun.cancel()
                return exits.OK
            begun.result()
        banner(children, data_dir, form)
        keepers = [asyncio.ensure_future(child.keep()) for child in children]
        await asyncio.wait((stop, *keepers), return_when=asyncio.FIRST_COMPLETED)
        for keeper in keepers:
            if keeper.done():
                keeper.result()
        return exits.OK
    finally:
        for keeper in (stop, *keepers):
            keeper.cancel()
        for child in reversed(children):
            await child.stop()
        say("stopped; the data is kept")


def banner(children: Sequence[Child], data_dir: Path, form: Form) -> None:
    """
    Say what runs and where.
    """
    if form != "text":
        servers = {child.plan.label.lower(): {"address": child.plan.address, "pid": child.pid} for child in children}
        print(json.dumps({"version": own_version(), "data_dir": str(data_dir), **servers}), flush=True)
        return
    print(f"OMEN {own_version()}   dev · loopback only · no TLS · no API key")
    for child in reversed(children):
        print(f"  {child.plan.label:<11} {child.plan.address:<18} health and reflection on · log {child.plan.log}")
    print(f"  Data        {data_dir}")
    print("  Next:  omen health · omen explain     Ctrl-C stops and keeps the data", flush=True)


def plan(label: str, module: str, port: int, metrics_port: int, data_dir: Path, *arguments: str) -> Plan:
    """
    Return how to run one server on loopback.
    """
    address = f"{HOST}:{port}"
    own = (f"--listen={address}", f"--metrics-port={metrics_port}", "--log-format=json", *arguments)
    return Plan(label, module, address, own, data_dir / "logs" / f"{module}.log")


class Ports:
    """
    Ports for several servers, none of them twice.
    """

    def __init__(self) -> None:
        self._taken: set[int] = set()

    def pair(self, given: int | None, default: int, flag: str) -> tuple[int, int]:
        """
        Return two ports: from the given one on, which must be free, or from the default on, whatever is free.
        """
        if given is None:
            return self._next(default), self._next(default + 1)
        if given == 0:
            return self._any(), self._any()
        for port in (given, given + 1):
            try:
                check_free(Address(HOST, port))
            except AddressRefused as error:
                text = f"{error} ({flag} {given})"
                raise exits.Stopped(
                    exits.USAGE, "PORT_IN_USE", text, f"Leave {flag} out, and a free one is taken."
                ) from None
            self._taken.add(port)
        return given, given + 1

    def _next(self, first: int) -> int:
        for port in range(first, first + PORTS_TRIED_MAX):
            if port in self._taken:
                continue
            try:
                check_free(Address(HOST, port))
            except AddressRefused:
                continue
            self._taken.add(port)
            return port
        raise exits.Stopped(exits.USAGE, "PORT_IN_USE", f"no port is free from {first} on", "Give one that is.")

    def _any(self) -> int:
        with socket.socket() as probe:
            probe.bind((HOST, 0))
            port = int(probe.getsockname()[1])
        self._taken.add(port)
        return port
