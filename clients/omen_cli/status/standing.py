"""
How everything stands, as far as those who are there can say.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from omen_cli.health import Name, ask
from omen_cli.options import Servers
from omen_cli.plain import plain
from omen_cli.running.claim import is_held, read
from omen_cli.running.verified import last_verified
from omen_rpc.errors import CallError

NAMES: tuple[Name, ...] = ("omen", "riskcast", "reconciler")
READINESS = "readiness"
SUBSCRIBERS_MAX = 100
STATS = ("ledger_records", "ledger_bytes", "free_bytes", "written_offset", "durable_offset", "settled_offset")
STORED = ("stored", "unpositioned", "duplicates", "conflicts_on_record")
SUBSCRIBER = ("peer", "principal", "position", "lag_records", "lag", "live", "since", "fell_behind")
LAST_RUN = ("partition_date", "status", "reason", "started_at", "replayed_count", "remaining_count")


async def standing(servers: Servers, data_dir: Path) -> dict[str, Any]:
    """
    Return how everything stands. What a server that cannot be asked would have said is absent.
    """
    health = await asyncio.gather(*(ask(servers, name) for name in NAMES))
    rows = [server_row(name, answer) for name, answer in zip(NAMES, health, strict=True)]
    there = {row["server"] for row in rows if row["reachable"]}
    tellers: Mapping[str, Callable[[Servers], Awaitable[dict[str, Any]]]] = {
        "omen": of_omen,
        "riskcast": of_riskcast,
        "reconciler": of_reconciler,
    }
    found = await asyncio.gather(
        *(told(rows[at], tellers[name], servers) for at, name in enumerate(NAMES) if name in there)
    )
    whole: dict[str, Any] = {"servers": rows}
    for part in found:
        whole |= part
    run_by_up(rows, data_dir)
    whole["reconciled"] = reconciled(whole)
    for name in ("partitions", "states"):
        whole.pop(name, None)
    whole["problems"] = problems(whole)
    if "ledger" not in whole and (data_dir / "ledger").is_dir():
        whole["problems"].append(f"omen status --ledger {data_dir} counts what the ledger holds without OMEN.")
    return whole


async def told(
    row: dict[str, Any], teller: Callable[[Servers], Awaitable[dict[str, Any]]], servers: Servers
) -> dict[str, Any]:
    """
    Return what a server says; what keeps it from saying that is put into its row.
    """
    try:
        part = await teller(servers)
    except CallError as error:
        row["message"] = error.message
        return {}
    row |= part.pop("info")
    return part


def server_row(name: str, answer: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """
    Return one server's row from what it says of its health.
    """
    by_service = {each["service"]: each["status"] for each in answer}
    reachable = "message" not in answer[0]
    well = [each["service"] for each in answer if each["status"] != "SERVING" and each["service"]]
    return {
        "server": name,
        "address": answer[0]["address"],
        "reachable": reachable,
        "status": by_service.get(READINESS, answer[0]["status"]),
        "not_serving": well if reachable else [],
        "message": answer[0].get("message", ""),
    }


async def of_omen(servers: Servers) -> dict[str, Any]:
    """
    Return what OMEN knows: the ledger, the offsets, the way to RiskCast, and who is subscribed.
    """
    async with servers.omen_client() as omen:
        info, stats, hot_path = await asyncio.gather(omen.info(), omen.operations.stats(), omen.operations.hot_path())
        subscribers = []
        async for each in omen.operations.subscribers(SUBSCRIBERS_MAX):
            subscribers.append(plain(each))
            if len(subscribers) == SUBSCRIBERS_MAX:
                break
        partitions = [plain(each) async for each in omen.partitions()]
    counted = plain(stats)
    data_dir = info.paths.get("data_dir", "")
    return {
        "info": info_row(info),
        "ledger": {name: counted[name] for name in STATS}
        | {
            "partitions": len(partitions),
            "corrupt_records": sum(each["corrupt_count"] for each in partitions),
            "dead_letters": counted["dead_letters"],
            "last_full_verify": last_verified(Path(data_dir)) if data_dir else None,
            "path": info.paths.get("ledger", ""),
        },
        "breaker": plain(hot_path.riskcast) if hot_path.HasField("riskcast") else None,
        "queue_length": hot_path.queue_length,
        "subscribers": [{name: each[name] for name in SUBSCRIBER if name in each} for each in subscribers],
        "partitions": partitions,
    }


async def of_riskcast(servers: Servers) -> dict[str, Any]:
    """
    Return what RiskCast has stored.
    """
    async with servers.riskcast_client() as riskcast:
        info, stats = await asyncio.gather(riskcast.info(), riskcast.stats())
    counted = plain(stats)
    return {"info": info_row(info), "store": {name: counted[name] for name in STORED}}


async def of_reconciler(servers: Servers) -> dict[str, Any]:
    """
    Return how the partitions were left by the rounds, and the last of those.
    """
    async with servers.reconcile_client() as reconciler:
        info, overview = await asyncio.gather(reconciler.info(), reconciler.overview())
        states = [plain(each) async for each in reconciler.states()]
        last = {}
        async for run in reconciler.runs(page_size=1):
            last = {name: value for name, value in plain(run).items() if name in LAST_RUN}
            break
    return {
        "info": info_row(info),
        "reconcile": {
            "paused": overview.paused,
            "signals_per_second": overview.signals_per_second,
            "missing": sum(each["missing_count"] for each in states),
            "parked": sum(each["parked_count"] for each in states),
            "last_run": last or None,
        },
        "states": states,
    }


def info_row(info: Any) -> dict[str, Any]:
    """
    Return what a server says of itself.
    """
    row = plain(info)
    return {name: row[name] for name in ("version", "engine", "started_at", "pid") if name in row}


def run_by_up(rows: Sequence[dict[str, Any]], data_dir: Path) -> None:
    """
    Say of servers that an omen up runs here what it does with them.
    """
    if not is_held(data_dir):
        return
    ran = read(data_dir).get("servers", {})
    for row in rows:
        child = ran.get(row["server"], {})
        if child.get("address") == row["address"]:
            row |= {"up": child["state"], "restarts": child["restarts"]}


def reconciled(whole: Mapping[str, Any]) -> dict[str, int] | None:
    """
    Return how many records of the ledger are proven to be with RiskCast; None when nobody can say.

    A sealed partition is confirmed to OMEN itself; of an open one only the reconciler knows.
    """
    if "partitions" not in whole:
        return None
    states = {each["partition_date"]: each for each in whole.get("states", ())}
    proven = 0
    for partition in whole["partitions"]:
        state = states.get(partition["partition"], {"verified_through": 0, "missing_count": 0})
        through = max(state["verified_through"] - state["missing_count"], partition["reconciled_through"])
        proven += min(through, partition["total_records"])
    return {"records": proven, "of": sum(each["total_records"] for each in whole["partitions"])}


def problems(whole: Mapping[str, Any]) -> list[str]:
    """
    Return what is not as it should be, a sentence each.
    """
    found = []
    for row in whole["servers"]:
        if not row["reachable"]:
            held = " It is held down by omen kill; omen start lets it up." if row.get("up") == "held" else ""
            found.append(f"{row['message']}{held}")
        elif row["status"] != "SERVING" or row["not_serving"]:
            found.append(f"{row['server']} does not serve {', '.join(row['not_serving']) or 'yet'}.")
        elif row["message"]:
            found.append(f"{row['server']} does not tell: {row['message']}")
    ledger = whole.get("ledger")
    if ledger and ledger["corrupt_records"]:
        found.append(f"The ledger has {ledger['corrupt_records']:,} damaged records; omen ledger verify names them.")
    if ledger and ledger["dead_letters"]:
        found.append(f"{ledger['dead_letters']:,} dead letters wait for somebody; omen dead-letters list.")
    if (whole.get("breaker") or {}).get("state", "CLOSED") != "CLOSED":
        found.append(f"The breaker to RiskCast is {whole['breaker']['state']}: {whole['breaker']['last_failure']}")
    if whole.get("reconcile", {}).get("paused"):
        found.append("Reconciling is paused; omen reconcile resume.")
    return found
