"""
How to get what a panel shows without the console: as a command, with grpcurl, from Python.
"""

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from omen_console.settings import ConsoleSettings

# Where the command looks by itself.
USUAL: Final = {"omen": "127.0.0.1:50051", "riskcast": "127.0.0.1:50052", "reconciler": "127.0.0.1:50053"}
EVENT_IMPORTS: Final = "from google.protobuf.json_format import ParseDict\nfrom omen.v1.signal_pb2 import SignalEvent"
INFO: Final = "omen.v1.ServerInfoService/GetServerInfo"
CLIENTS: Final = {"omen": "OmenClient", "riskcast": "RiskCastClient", "reconciler": "ReconcileClient"}


@dataclass(frozen=True, slots=True)
class Way:
    """
    One thing that can be asked or done: the command, the method, and the call of the typed client.

    Words in braces stand for what the panel is about. `request` names the method's fields by the same words.
    """

    command: str
    server: str
    method: str
    python: str
    request: Mapping[str, str] | None = None
    loops: bool = False


WAYS: Final = {
    "stats": Way("omen stats", "omen", "omen.v1.OperationsService/GetStats", "omen.operations.stats()"),
    "hot_path": Way("omen hot-path", "omen", "omen.v1.OperationsService/GetHotPath", "omen.operations.hot_path()"),
    "subscribers": Way(
        "omen subscribers",
        "omen",
        "omen.v1.OperationsService/ListSubscribers",
        "omen.operations.subscribers()",
        loops=True,
    ),
    "activity": Way(
        "omen activity", "omen", "omen.v1.OperationsService/ListActivity", "omen.operations.activity()", loops=True
    ),
    "dead_letters": Way(
        "omen dead-letters list",
        "omen",
        "omen.v1.OperationsService/ListDeadLetters",
        "omen.operations.dead_letters()",
        loops=True,
    ),
    "partitions": Way(
        "omen partitions",
        "omen",
        "omen.v1.LedgerService/ListPartitions",
        "omen.partitions()",
        loops=True,
    ),
    "partition": Way(
        "omen partition {partition}",
        "omen",
        "omen.v1.LedgerService/GetPartition",
        "omen.partition({partition!r})",
        {"partition": "partition"},
    ),
    "verify": Way(
        "omen ledger verify {data_dir} {partition}",
        "omen",
        "omen.v1.LedgerService/VerifyPartition",
        "omen.verify({partition!r})",
        {"partition": "partition"},
        loops=True,
    ),
    "frames": Way(
        "omen ledger dump {data_dir} {partition} --max-frames 10",
        "omen",
        "omen.v1.LedgerService/DumpFrames",
        "omen.frames({partition!r}, max_frames=10)",
        {"partition": "partition"},
    ),
    "frame": Way(
        "omen ledger dump {data_dir} {partition} --after-index {after} --max-frames 1",
        "omen",
        "omen.v1.LedgerService/DumpFrames",
        "omen.frames({partition!r}, after_index={after}, max_frames=1)",
        {"partition": "partition", "after_index": "after"},
    ),
    "prove": Way(
        "omen ledger prove {data_dir} {signal_id}",
        "omen",
        "omen.v1.LedgerService/ProveInclusion",
        "omen.prove({signal_id!r})",
        {"signal_id": "signal_id"},
    ),
    "signals": Way(
        "omen signals --limit 50", "omen", "omen.v1.SignalService/ListSignals", "omen.signals()", loops=True
    ),
    "tail": Way("omen tail", "omen", "omen.v1.SignalService/StreamSignals", "omen.stream()", loops=True),
    "signal": Way(
        "omen signal {signal_id}",
        "omen",
        "omen.v1.SignalService/GetSignal",
        "omen.signal({signal_id!r})",
        {"signal_id": "signal_id"},
    ),
    "explain": Way(
        "omen explain-signal {signal_id}",
        "omen",
        "omen.v1.SignalService/ExplainSignal",
        "omen.explain({signal_id!r})",
        {"signal_id": "signal_id"},
    ),
    "emit": Way(
        "echo {signal} | omen emit",
        "omen",
        "omen.v1.SignalService/EmitSignal",
        "omen.emit(signal)",
        {"signal": "signal"},
    ),
    "ingest": Way(
        "echo {event} | omen ingest --times 5",
        "riskcast",
        "riskcast.v1.IngestService/Ingest",
        "riskcast.ingest_alone(event)",
        {"signal": "event"},
    ),
    "processed": Way(
        "omen processed {signal_id}",
        "riskcast",
        "riskcast.v1.InventoryService/GetProcessedSignal",
        "riskcast.processed({signal_id!r})",
        {"signal_id": "signal_id"},
    ),
    "store": Way("omen processed", "riskcast", "riskcast.v1.InventoryService/GetIngestStats", "riskcast.stats()"),
    "reconcile_run": Way(
        "omen reconcile run --include-open",
        "reconciler",
        "reconcile.v1.ReconcileService/RunReconcile",
        "reconciler.run()",
        {"include_open": "include_open"},
        loops=True,
    ),
    "reconcile_partition": Way(
        "omen reconcile status {partition}",
        "reconciler",
        "reconcile.v1.ReconcileService/GetPartitionState",
        "reconciler.state({partition!r})",
        {"partition": "partition"},
    ),
    "reconcile_status": Way(
        "omen reconcile status",
        "reconciler",
        "reconcile.v1.ReconcileService/ListPartitionStates",
        "reconciler.overview()",
    ),
    "history": Way(
        "omen reconcile history",
        "reconciler",
        "reconcile.v1.ReconcileService/ListRuns",
        "reconciler.runs()",
        loops=True,
    ),
    "parked": Way(
        "omen reconcile parked",
        "reconciler",
        "reconcile.v1.ReconcileService/ListParked",
        "reconciler.parked()",
        loops=True,
    ),
    "info": Way("omen status", "omen", INFO, "omen.info()"),
    "info_omen": Way("omen config show omen --sources", "omen", INFO, "omen.info()"),
    "info_riskcast": Way("omen config show riskcast --sources", "riskcast", INFO, "riskcast.info()"),
    "info_reconciler": Way("omen config show reconciler --sources", "reconciler", INFO, "reconciler.info()"),
}
# What no server is asked for: the command is all there is.
COMMANDS: Final = {"story": "omen demo --story", "demo": "omen demo", "console": "omen-console --help"}


@dataclass(frozen=True, slots=True)
class Same:
    """
    The same as a panel, three ways; only the command where no server is asked.
    """

    cli: str
    grpcurl: str = ""
    python: str = ""


class Equivalents:
    """
    Fills in where the servers are.
    """

    def __init__(self, settings: ConsoleSettings) -> None:
        self._addresses = {name: str(getattr(settings, name)) for name in CLIENTS}
        self._data_dir = str(settings.data_dir)
        self._tls_ca = str(settings.tls_ca) if settings.tls_ca is not None else ""

    def __call__(self, name: str, **about: Any) -> Same:
        """
        Return the three ways to do the thing called *name*, *about* what the panel shows.
        """
        if name in COMMANDS:
            return Same(COMMANDS[name])
        way = WAYS[name]
        address = self._addresses[way.server]
        quoted = {
            key: shlex.quote(json.dumps(value) if isinstance(value, dict) else str(value))
            for key, value in about.items()
        }
        command = way.command.format(data_dir=shlex.quote(self._data_dir), **quoted)
        if "{data_dir}" not in way.command and address != USUAL[way.server]:
            command += f" --{way.server} {shlex.quote(address)}"
        if "{data_dir}" not in way.command and self._tls_ca:
            command += f" --tls-ca {shlex.quote(self._tls_ca)}"
        body = json.dumps({field: about[word] for field, word in (way.request or {}).items()}, ensure_ascii=False)
        sent = f"-d {shlex.quote(body)} " if way.request else ""
        secure = f"-cacert {shlex.quote(self._tls_ca)}" if self._tls_ca else "-plaintext"
        grpcurl = f"grpcurl {secure} {sent}{shlex.quote(address)} {way.method}"
        return Same(command, grpcurl, self._python(way, address, about))

    def _python(self, way: Way, address: str, about: Mapping[str, Any]) -> str:
        kind = CLIENTS[way.server]
        call = way.python.format(**about)
        does = f"async for each in {call}:\n            print(each)" if way.loops else f"print(await {call})"
        made = ""
        imported, given = f"from omen_client import {kind}", repr(address)
        if self._tls_ca:
            imported = f"from pathlib import Path\nfrom omen_client import ClientFiles, {kind}"
            given += f", tls=ClientFiles(Path({self._tls_ca!r}))"
        if "event" in (way.request or {}).values():
            imported += f"\n{EVENT_IMPORTS}"
            made = f"\nevent = ParseDict({about['event']!r}, SignalEvent())\n\n"
        if "signal" in (way.request or {}).values():
            fields = ", ".join(f"{key}={value!r}" for key, value in about["signal"].items())
            made = f"from omen.v1.signal_pb2 import OmenSignal\n\nsignal = OmenSignal({fields})\n\n"
        return (
            f"import asyncio\n{imported}\n{made}\n"
            f"async def main():\n    async with {kind}({given}) as {way.server}:\n        {does}\n\n"
            "asyncio.run(main())"
        )
