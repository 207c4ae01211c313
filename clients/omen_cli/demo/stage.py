"""
The stage script: everything the two paths promise, against processes that are killed for real.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from omen.v1 import signal_service_pb2 as pb
from omen.v1.signal_pb2 import SignalEvent
from omen_cli.demo.claims import Claim, Show, Step
from omen_cli.demo.damage import bit_flip, intact
from omen_cli.demo.signals import DAY, items, signal_id
from omen_cli.demo.world import World, acks
from omen_client import CallError, Duplicate, OmenClient
from riskcast.v1.ingest_service_pb2 import INGEST_ORIGIN_RECONCILE

LOADERS = 8
LOAD_BATCH = 20
LOAD_TIMEOUT_S = 30.0
ACKED_BEFORE_THE_KILL = 200
FIRST_OF_THE_LOAD = 1000
RECONCILE = ("--all", "--include-open")

DELIVERED = Claim(
    "delivered",
    "What is emitted is in the ledger first, then at RiskCast.",
    "tests/e2e/test_delivery.py::test_what_riskcast_stored_is_delivered_with_its_ack",
)
DEDUPED = Claim(
    "deduped",
    "Duplicate ingest returns ALREADY_EXISTS with original ack_id.",
    "tests/e2e/test_delivery.py::test_duplicate_when_riskcast_returns_409",
)
LEDGER_ONLY = Claim(
    "ledger-only",
    "RiskCast is killed: what is emitted is durable all the same. Reconcile will recover.",
    "tests/e2e/test_ledger_first_fails.py::test_ledger_first_invariant_hot_path_fails",
)
KEPT = Claim(
    "riskcast-kept",
    "RiskCast starts again with every signal it had acknowledged, under the same acks, and lacks the rest.",
    "tests/e2e/test_riskcast_process.py::test_what_was_acked_survives_kills_under_load",
)
RECONCILED = Claim(
    "reconciled",
    "Reconcile replays missing signals from ledger to RiskCast.",
    "tests/e2e/test_reconcile.py::test_the_stage_script",
)
UP_TO_DATE = Claim(
    "up-to-date",
    "A second round finds nothing to do, and says so.",
    "tests/e2e/test_reconcile.py::test_the_case_of_the_seeds",
)
RECOVERED = Claim(
    "recovered",
    "OMEN is killed in mid-append and starts again: nothing that was acknowledged is lost, nothing is there twice.",
    "tests/e2e/test_kills.py::test_kills_under_load_lose_nothing_and_repeat_nothing",
)
COMPLETE = Claim(
    "complete",
    "Reconciled again, both sides have the same signals.",
    "tests/e2e/test_reconcile.py::test_going_round_it_notices_a_kill",
)
INTACT = Claim(
    "verified",
    "Everything about the ledger, derived again from its bytes, fits.",
    "tests/clients/test_ledger_verify.py::test_a_whole_ledger_verifies",
)
FLIPPED = Claim(
    "bit-flip",
    "One bit turned over in a copy is found, at its exact partition, sequence and byte offset.",
    "tests/e2e/test_ledger_process.py::test_verify_names_a_flipped_bit",
)
CLAIMS = (DELIVERED, DEDUPED, LEDGER_ONLY, KEPT, RECONCILED, UP_TO_DATE, RECOVERED, COMPLETE, INTACT, FLIPPED)


async def stage(world: World, show: Show, seed: int) -> None:
    """
    Play the script in a world that runs, to its end or to the first claim that does not hold.
    """
    first = await _deliver(world, show, seed)
    await _bring_again(world, show, first[0])
    await _without_riskcast(world, show, seed, {each.event.signal_id: each.ack_id for each in first})
    await _reconcile(world, show, seed)
    await _kill_in_mid_append(world, show, seed)
    with show.step(COMPLETE) as step:
        said = await world.reconcile(*RECONCILE)
        step.saw("exit_code", said.code, 0)
        kept, there = await world.records(DAY), await world.stored()
        lacking = {each.signal_id for each in kept} ^ there.keys()
        step.saw("differing", len(lacking), 0)
        step.measured.update(ledger=len(kept), riskcast=len(there))
    with show.step(INTACT) as step:
        intact(step, world.place / "ledger", DAY)
    with show.step(FLIPPED) as step:
        bit_flip(step, world.place, DAY)


async def _deliver(world: World, show: Show, seed: int) -> list[pb.EmitResult]:
    with show.step(DELIVERED) as step:
        found = await _emitted(world, step, seed, range(1, 6), "DELIVERED")
        step.saw("signal_ids", [each.event.signal_id for each in found], [signal_id(seed, n) for n in range(1, 6)])
        kept, there = await world.records(DAY), await world.stored()
        step.saw("ledger", len(kept), 5)
        step.saw("riskcast", len(there), 5)
        step.holds(
            acks(there) == {each.event.signal_id: each.ack_id for each in found},
            "the acks that OMEN told are not those that RiskCast keeps",
        )
    return found


async def _bring_again(world: World, show: Show, first: pb.EmitResult) -> None:
    with show.step(DEDUPED) as step:
        async with world.riskcast() as far, world.omen() as near:
            # The same SignalEvent, straight to RiskCast: the client takes ALREADY_EXISTS only with its detail.
            again = await far.ingest_alone(first.event)
            step.saw("at_riskcast", "ALREADY_EXISTS" if isinstance(again, Duplicate) else "OK", "ALREADY_EXISTS")
            step.saw("same_ack_at_riskcast", again.ack_id == first.ack_id, True)
            item = pb.EmitSignalItem(signal=first.event.signal)
            item.observed_at.CopyFrom(first.event.observed_at)
            item.emitted_at.CopyFrom(first.event.emitted_at)
            (result,) = await near.emit_all([item])
            if isinstance(result, CallError):
                raise result
            step.saw("at_omen", "cached" if result.cached else pb.EmitStatus.Name(result.status), "cached")
            step.saw("same_ack_at_omen", result.ack_id == first.ack_id, True)
        step.saw("ledger", len(await world.records(DAY)), 5)
        step.saw("riskcast", len(await world.stored()), 5)
        step.measured["ack_id"] = first.ack_id


async def _without_riskcast(world: World, show: Show, seed: int, told: dict[str, str]) -> None:
    with show.step(LEDGER_ONLY) as step:
        await world.kill_riskcast()
        await _emitted(world, step, seed, (6, 7), "LEDGER_ONLY")
        step.saw("ledger", len(await world.records(DAY)), 7)
    with show.step(KEPT) as step:
        await world.start_riskcast()
        there = await world.stored()
        step.saw("ledger", len(await world.records(DAY)), 7)
        step.saw("riskcast", len(there), 5)
        step.saw("acks_unchanged", acks(there) == told, True)


async def _reconcile(world: World, show: Show, seed: int) -> None:
    with show.step(RECONCILED) as step:
        before = await world.stored()
        said = await world.reconcile(*RECONCILE)
        step.notes.extend(said.lines)
        there, kept = await world.stored(), await world.records(DAY)
        brought = sorted(name for name, each in there.items() if each.origin == INGEST_ORIGIN_RECONCILE)
        step.saw("exit_code", said.code, 0)
        step.saw("replayed", brought, sorted(signal_id(seed, number) for number in (6, 7)))
        step.holds(any(line.endswith(": replayed 2 signals") for line in said.lines), "it did not say: replayed 2")
        step.saw("ledger", len(kept), 7)
        step.saw("riskcast", len(there), 7)
        step.saw("acks_unchanged", acks(before).items() <= acks(there).items(), True)
    with show.step(UP_TO_DATE) as step:
        said = await world.reconcile(*RECONCILE)
        step.notes.extend(said.lines)
        step.saw("exit_code", said.code, 0)
        step.saw("last_word", said.lines[-1] if said.lines else "", "SKIPPED up_to_date")


async def _kill_in_mid_append(world: World, show: Show, seed: int) -> None:
    with show.step(RECOVERED) as step:
        before = await world.records(DAY)
        sent, acked = await _killed_under_load(world, seed)
        await world.start_omen()
        kept = await world.records(DAY)
        names = [each.signal_id for each in kept]
        step.measured.update(acknowledged=len(acked), in_flight=len(sent - acked), ledger=len(names))
        step.holds(len(sent) > len(acked), "nothing was in flight when it was killed")
        step.saw("lost", len(acked - set(names)), 0)
        step.saw("earlier_records_unchanged", kept[: len(before)] == before, True)
        step.saw("twice", len(names) - len(set(names)), 0)
        step.saw("made_up", len(set(names) - sent - _ids(before)), 0)
        step.saw("at_riskcast_and_not_in_the_ledger", len((await world.stored()).keys() - set(names)), 0)


async def _killed_under_load(world: World, seed: int) -> tuple[set[str], set[str]]:
    """
    Emit from many sides at once and kill OMEN meanwhile; return which ids were sent and which were acknowledged.
    """
    async with world.omen() as near:
        load = _Load(near, seed)
        loaders = [asyncio.create_task(load.run()) for _ in range(LOADERS)]
        waiting = asyncio.create_task(load.enough.wait())
        everyone: list[asyncio.Task[Any]] = [waiting, *loaders]
        try:
            await asyncio.wait(everyone, timeout=LOAD_TIMEOUT_S, return_when=asyncio.FIRST_COMPLETED)
            if not load.enough.is_set():
                raise TimeoutError("OMEN acknowledged too little, too late")
            await world.kill_omen()
        finally:
            for each in everyone:
                each.cancel()
            await asyncio.gather(*everyone, return_exceptions=True)
    return load.sent, load.acked


@dataclass(slots=True)
class _Load:
    """
    What is emitted until OMEN is killed, and what of it was acknowledged.
    """

    near: OmenClient
    seed: int
    sent: set[str] = field(default_factory=set)
    acked: set[str] = field(default_factory=set)
    enough: asyncio.Event = field(default_factory=asyncio.Event)
    numbers: "count[int]" = field(default_factory=lambda: count(FIRST_OF_THE_LOAD))

    async def run(self) -> None:
        while True:
            batch = items(self.seed, [next(self.numbers) for _ in range(LOAD_BATCH)])
            self.sent.update(each.signal.signal_id for each in batch)
            for result in await self.near.emit_all(batch, delivery=pb.DELIVERY_LEDGER):
                if isinstance(result, pb.EmitResult):
                    self.acked.add(result.event.signal_id)
            if len(self.acked) >= ACKED_BEFORE_THE_KILL:
                self.enough.set()


async def _emitted(world: World, step: Step, seed: int, numbers: Sequence[int], status: str) -> list[pb.EmitResult]:
    """
    Emit signals one after the other, every one of which is to end in *status*.
    """
    found: list[pb.EmitResult] = []
    async with world.omen() as near:
        for each in items(seed, numbers):
            for result in await near.emit_all([each]):
                if isinstance(result, CallError):
                    raise result
                found.append(result)
    statuses = [pb.EmitStatus.Name(each.status).removeprefix("EMIT_STATUS_") for each in found]
    step.saw("emitted", statuses, [status] * len(numbers))
    return found


def _ids(events: Sequence[SignalEvent]) -> set[str]:
    return {each.signal_id for each in events}
