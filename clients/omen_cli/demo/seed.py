"""
The demonstration's data: three scenarios, written by the real ledger under a clock that stands where they say.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

from cyclopts import Parameter

from omen.v1 import signal_service_pb2 as pb
from omen.v1.signal_pb2 import SignalEvent
from omen_cli import exits
from omen_cli.bench.servers import serving
from omen_cli.demo.place import made, marker, remove
from omen_cli.demo.ten import DAY, LATE_AT, LATE_ID, MISSING, REPEATED, SEALED_AT, Clock, Given, entry, item, the_ten
from omen_cli.demo.world import far_plan
from omen_cli.options import Output, Servers
from omen_cli.output import Form, print_one, say
from omen_client import CallError, Duplicate, Ingested, OmenClient, RiskCastClient
from omen_rpc.signal_codec import decode
from omen_server.ledger.directory import open_ledger
from omen_server.ledger.offline import OfflineLedger
from omen_server.ledger.segment import Record
from omen_server.ledger.settings import LedgerSettings
from omen_server.records import SIGNALS
from riskcast.v1.ingest_service_pb2 import INGEST_ORIGIN_HOT_PATH, IngestBatchItem

Scenario: TypeAlias = Literal["ingest", "reconcile", "late"]
DIRECTORY = ".omen-demo"
KIND = "seed"


@dataclass(frozen=True, slots=True)
class Plan:
    """
    What a scenario puts where: the order into the ledger, what comes behind the seal, and what RiskCast lacks.
    """

    says: str
    before: Sequence[Given]
    after: Sequence[Given] = ()
    sealed: bool = True
    missing: Sequence[str] = ()
    repeated: Sequence[str] = ()


def plan_of(scenario: Scenario) -> Plan:
    """
    Return what a scenario is.
    """
    ten = the_ten()
    match scenario:
        case "ingest":
            return Plan("12 deliveries: the ten, and two of them again", ten, sealed=False, repeated=REPEATED)
        case "reconcile":
            return Plan("ten in a sealed day, of which RiskCast has processed eight", ten, missing=MISSING)
        case _:
            rest = [each for each in ten if each.signal_id != LATE_ID]
            last = [each for each in ten if each.signal_id == LATE_ID]
            return Plan("nine in a sealed day, and one that came too late for it", rest, last, missing=(LATE_ID,))


async def seed(
    *,
    scenario: Annotated[
        Scenario, Parameter(help="ingest: two come twice; reconcile: RiskCast lacks two; late: one.")
    ] = "reconcile",
    data_dir: Annotated[Path, Parameter(help="A directory to write to, new or of an earlier `demo seed`.")] = (
        Path(DIRECTORY)
    ),
    into: Annotated[
        bool, Parameter(negative="", help="Emit them to the running OMEN instead (--omen says where it is).")
    ] = False,
    servers: Servers | None = None,
    output: Output = "text",
) -> int:
    """
    Load the ten demonstration signals, as one of three scenarios, under a clock that stands still.

    What it makes is a data directory for `omen up`. RiskCast's part is processed by a RiskCast that runs meanwhile.

    Example: omen demo seed && omen up --data-dir .omen-demo

    Example: omen demo seed --scenario late --data-dir /tmp/late
    """
    if into:
        row = await emitted(scenario, servers or Servers())
    else:
        row = await loaded(made(str(data_dir), {"kind": KIND, "scenario": scenario}), scenario)
    tell(output, row)
    return exits.OK


async def reset(
    *,
    data_dir: Annotated[Path, Parameter(help="The directory of an earlier `demo seed`.")] = Path(DIRECTORY),
    output: Output = "text",
) -> int:
    """
    Put a demonstration's directory back to its start. Touches none that `omen demo` did not make.

    Example: omen demo reset
    """
    place = data_dir.absolute()
    if not place.is_dir():
        raise exits.Stopped(exits.NOT_FOUND, "NO_SUCH_DIRECTORY", f"there is no {place}", "omen demo seed makes it.")
    scenario: Scenario | None = marker(place).get("scenario")
    if scenario is None:  # What `omen demo --keep` left has no start to go back to.
        remove(place)
        print_one(output, {"data_dir": str(place), "removed": True})
        return exits.OK
    row = await loaded(made(str(place), {"kind": KIND, "scenario": scenario}), scenario)
    tell(output, row)
    return exits.OK


async def loaded(place: Path, scenario: Scenario) -> dict[str, Any]:
    """
    Write a scenario into an empty directory, and return what is there now.
    """
    plan = plan_of(scenario)
    ledger = await written(place / "ledger", plan)
    events = events_of(ledger)
    outcomes = await processed(place, events, plan)
    return {
        "data_dir": str(place),
        "scenario": scenario,
        "says": plan.says,
        "partitions": {name: ledger.partition(name).total_records for name in ledger.names()},
        "sealed": [name for name in ledger.names() if ledger.partition(name).is_sealed],
        "signal_ids": [each.signal_id for each in events],
        "accepted": sum(isinstance(each, Ingested) for each in outcomes),
        "already_exists": sum(isinstance(each, Duplicate) for each in outcomes),
        "missing_at_riskcast": list(plan.missing),
    }


async def written(directory: Path, plan: Plan) -> OfflineLedger:
    """
    Write a scenario's ledger with the real writer, each signal at its own time; routing is the writer's.
    """
    clock = Clock()
    limits = LedgerSettings(ballast_bytes=0)
    async with open_ledger(directory, SIGNALS, limits, now=clock) as ledger:
        for each in plan.before:
            clock.now = max(clock.now, each.emitted_at)
            await ledger.append([entry(each)])
        if plan.sealed:
            clock.now = SEALED_AT
            await ledger.seal(DAY)
        for each in plan.after:
            clock.now = LATE_AT
            await ledger.append([entry(each)])
    return OfflineLedger(directory, SIGNALS)


def events_of(ledger: OfflineLedger) -> list[SignalEvent]:
    """
    Return what a ledger holds, in its order, as RiskCast is sent it.
    """
    return [decode(each.payload) for each in ledger.read() if isinstance(each, Record)]


async def processed(place: Path, events: Sequence[SignalEvent], plan: Plan) -> list[Ingested | Duplicate | CallError]:
    """
    Have a RiskCast process a scenario's signals but the missing, then the repeated ones again; it runs meanwhile only.
    """
    brought = [each for each in events if each.signal_id not in plan.missing]
    brought += [each for each in events if each.signal_id in plan.repeated]
    outcomes: list[Ingested | Duplicate | CallError] = []
    async with serving(far_plan(place)) as address, RiskCastClient(address) as far:
        for each in brought:
            outcomes += await far.ingest_batch([IngestBatchItem(signal=each)], origin=INGEST_ORIGIN_HOT_PATH)
    for outcome in outcomes:
        if isinstance(outcome, CallError):
            raise outcome
    return outcomes


async def emitted(scenario: Scenario, where: Servers) -> dict[str, Any]:
    """
    Emit a scenario to a running OMEN, which pushes what it takes. It has its own clock; emitted_at is the scenario's.
    """
    if scenario == "reconcile":
        text = "a running OMEN pushes all ten, so none would be missing"
        remedy = "Leave --into out, and run `omen up --data-dir` on what is written."
        raise exits.Stopped(exits.USAGE, "USAGE", text, remedy)
    plan = plan_of(scenario)
    given = {each.signal_id: each for each in the_ten()}
    results: list[pb.EmitResult] = []
    async with where.omen_client() as near:
        results += [await _emit(near, each) for each in plan.before]
        results += [await _emit(near, given[name]) for name in plan.repeated]
        if plan.sealed:
            await near.seal(DAY)
        results += [await _emit(near, each) for each in plan.after]
    return {
        "omen": where.omen,
        "scenario": scenario,
        "says": plan.says,
        "partitions": sorted({each.event.ledger_partition for each in results}),
        "signal_ids": [each.event.signal_id for each in results],
        "statuses": [pb.EmitStatus.Name(each.status).removeprefix("EMIT_STATUS_") for each in results],
        "cached": sum(each.cached for each in results),
    }


async def _emit(near: OmenClient, given: Given) -> pb.EmitResult:
    (result,) = await near.emit_all([item(given)])
    if isinstance(result, CallError):
        raise result
    return result


def tell(form: Form, row: dict[str, Any]) -> None:
    """
    Print what was loaded, and what may be done with it.
    """
    if form != "text":
        print(json.dumps(row, ensure_ascii=False))
        return
    counts = row["partitions"]
    shown = [f"{name} with {count}" for name, count in counts.items()] if isinstance(counts, dict) else counts
    print_one("text", {**row, "partitions": shown})
    if "data_dir" in row:
        place = row["data_dir"]
        say(f"\nNext:  omen up --data-dir {place} --reconcile manual · omen reconcile run {DAY}")
        say(f"       omen ledger dump {place} {DAY} · omen demo reset --data-dir {place}")
