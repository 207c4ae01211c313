"""
What `omen up` says when it is ready: one row, which JSON has as it is and the banner in words.
"""

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from omen_cli.output import Form
from omen_cli.running.plans import Wishes
from omen_cli.running.ports import HOST, PORT
from omen_cli.running.supervisor import Supervisor
from omen_cli.running.verified import last_verified
from omen_client import OmenClient
from omen_rpc.server_info import own_version

LABELS = {"omen": "OMEN", "riskcast": "RiskCast", "reconciler": "Reconciler"}
VARIABLES = {"omen": "OMEN_ADDRESS", "riskcast": "RISKCAST_ADDRESS", "reconciler": "RECONCILER_ADDRESS"}
OPENED = {"ledger_created", "ledger_opened"}
TAIL = ("quarantined_bytes", "gaps")  # What is rewritten is rewritten as it was, at every start.


async def facts(servers: Supervisor, wishes: Wishes, *, ephemeral: bool) -> dict[str, Any]:
    """
    Return what runs, where, and how the ledger was found.
    """
    async with OmenClient(servers.address("omen")) as omen:
        stats = await omen.operations.stats()
    place = wishes.directory
    shown = {name: {key: row[key] for key in ("address", "pid", "log")} for name, row in servers.rows().items()}
    if "console" in shown:
        shown["console"]["url"] = f"http://{shown['console']['address']}"
    return {
        "version": own_version(),
        "data_dir": str(place),
        "ephemeral": ephemeral,
        "reconcile_every_s": wishes.reconcile_every_s or None,
        **shown,
        "ledger": {
            "path": str(place / "ledger"),
            "signals": stats.ledger_records,
            "tail": tail(servers.child("omen").said()),
            "last_full_verify": last_verified(place),
        },
        "store": str(place / "riskcast.db"),
    }


def tail(log: str) -> dict[str, int]:
    """
    Return what OMEN's last start did to the ledger's tail, which it always checks, from what it logged.
    """
    for line in log.splitlines():
        with suppress(ValueError):
            entry = json.loads(line)
            if entry.get("event") in OPENED:
                return {name: int(entry.get(name, 0)) for name in TAIL}
    return {}


def print_banner(form: Form, row: Mapping[str, Any]) -> None:
    """
    Say what runs and where.
    """
    if form != "text":
        print(json.dumps(row, ensure_ascii=False), flush=True)
        return
    every = row["reconcile_every_s"]
    beside = {"omen": "health and reflection on", "reconciler": f"every {every:g} s" if every else "only when told"}
    print(f"OMEN {row['version']}   dev · loopback only · no TLS · no API key")
    for name, label in LABELS.items():
        print(f"  {label:<11} {row[name]['address']:<18} {beside.get(name, '')}".rstrip())
    if "console" in row:
        print(f"  {'Console':<11} {row['console']['url']}")
    print(f"  {'Ledger':<11} {shown(row['ledger']['path'])}     {ledger_in_words(row)}")
    print(f"  {'Store':<11} {shown(row['store'])}")
    moved = [f"{VARIABLES[name]}={row[name]['address']}" for name in LABELS if not is_usual(row, name)]
    if moved:
        print(f"  {'Elsewhere':<11} export {' '.join(moved)}")
    ends = f"omen down --data-dir {row['data_dir']}" if "detached_pid" in row else "Ctrl-C"
    lasting = "stops and forgets the data" if row["ephemeral"] else "stops and keeps the data"
    print(f"  Next:  omen demo · omen tail · omen emit --example · omen status     {ends} {lasting}", flush=True)


def ledger_in_words(row: Mapping[str, Any]) -> str:
    """
    Return what is known of the ledger.
    """
    ledger = row["ledger"]
    lasting = "ephemeral (gone when this ends)" if row["ephemeral"] else "durable (synced before every answer)"
    count = f"{ledger['signals']:,} signal{'' if ledger['signals'] == 1 else 's'}"
    repaired = [f"{value:,} {name.replace('_', ' ')}" for name, value in ledger["tail"].items() if value]
    checked = f"tail recovered: {', '.join(repaired)}" if repaired else "tail checked"
    found = ledger["last_full_verify"]
    verified = f"{found['at']}{'' if found['intact'] else ', FAULTS FOUND'}" if found else "never"
    return f"{lasting} · {count} · {checked}, last full verify: {verified}"


def is_usual(row: Mapping[str, Any], name: str) -> bool:
    """
    Tell whether a server is where every verb looks for it.
    """
    return bool(row[name]["address"] == f"{HOST}:{PORT + list(LABELS).index(name)}")


def shown(path: str) -> str:
    """
    Return a path so that one sees that it is one.
    """
    return path if Path(path).is_absolute() else f"./{path}"
