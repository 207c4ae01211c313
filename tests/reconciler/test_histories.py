"""
Random histories of a day, over a real ledger, a real RiskCast and a real state: COMPLETED exactly when it is true.
"""

import asyncio
import shutil
import tempfile
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

import pytest
import structlog
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from omen.v1.signal_pb2 import SignalEvent
from omen_client import CallError
from omen_rpc.signal_codec import content_digest
from reconcile.v1 import reconcile_service_pb2 as pb
from tests.ledgers import event, signal_id
from tests.reconciler.far_side import closed
from tests.reconciler.world import World, status, world

HISTORIES = [300, pytest.param(2_000, marks=pytest.mark.prove)]
STEPS = 15
Answer = TypeVar("Answer")


class Stage:
    """
    One world for all histories. Each has a day of its own in it.
    """

    def __init__(self) -> None:
        self.runner = asyncio.Runner()
        self.place = Path(tempfile.mkdtemp(prefix="omen-histories-"))
        self.stack = AsyncExitStack()
        self.at: World = self.runner.run(self.stack.enter_async_context(world(self.place)))
        self.days = count()
        self.numbers = count(1)
        self.files = count()

    def run(self, coroutine: Coroutine[Any, Any, Answer]) -> Answer:
        """
        Run something to its end.
        """
        return self.runner.run(coroutine)

    def close(self) -> None:
        """
        End the world.
        """
        self.runner.run(self.stack.aclose())
        self.runner.close()
        shutil.rmtree(self.place)


class Truth:
    """
    How a partition stands at this moment, looked up on both sides past the reconciler.
    """

    def __init__(self, ledger: list[SignalEvent], rows: dict[int, tuple[str, str]], waived: set[int]) -> None:
        self.ours = {each.ledger_index: (each.signal_id, each.content_digest) for each in ledger}
        self.rows = rows
        self.waived = waived

    def missing(self, through: int) -> set[int]:
        """
        Return the positions that RiskCast lacks and nobody waived.
        """
        return {index for index in self.ours if index <= through} - self.rows.keys() - self.waived

    def mismatches(self, through: int) -> set[int]:
        """
        Return the positions that another signal or content holds.
        """
        return {index for index, held in self.ours.items() if index <= through and self.rows.get(index, held) != held}

    @property
    def ahead(self) -> set[str]:
        """
        Return the signals in places that the ledger does not reach.
        """
        return {name for index, (name, _) in self.rows.items() if index > len(self.ours)}

    def is_whole(self, through: int) -> bool:
        """
        Tell whether COMPLETED would be true.
        """
        return not (self.missing(through) or self.mismatches(through) or self.ahead)


class History(RuleBasedStateMachine):
    """
    What may happen to a day, in any order.
    """

    stage: Stage

    def __init__(self) -> None:
        super().__init__()
        self.at = self.stage.at
        self.noon = datetime(2000, 1, 1, 12, tzinfo=UTC) + timedelta(days=next(self.stage.days))
        self.day = self.noon.date().isoformat()
        self.known: dict[int, SignalEvent] = {}
        self.acks: dict[str, str] = {}
        self.backup: Path | None = None
        self.acks_then: dict[str, str] = {}
        self.sealed = self.paused = False

    @property
    def partitions(self) -> list[str]:
        """
        The day's partitions that are there.
        """
        return [name for name in (self.day, f"{self.day}-late") if name in self.at.near.ledger.names()]

    @rule(hot=st.lists(st.booleans(), min_size=1, max_size=4))
    def append(self, hot: list[bool]) -> None:
        """
        New signals come; the hot path brings some of them. After the seal they are late.
        """
        numbers = [next(self.stage.numbers) for _ in hot]
        chosen = [number for number, is_hot in zip(numbers, hot, strict=True) if is_hot]
        self._append(numbers, chosen)

    @precondition(lambda self: self.known)
    @rule(data=st.data(), hot=st.booleans())
    def append_again(self, data: st.DataObject, hot: bool) -> None:
        """
        A signal comes that the ledger has.
        """
        number = data.draw(st.sampled_from(sorted(self.known)))
        self._append([number], [number] if hot and signal_id(number) not in self.at.far.door.poison else [])

    def _append(self, numbers: list[int], hot: list[int]) -> None:
        for each in self.stage.run(self.at.append(numbers, self.noon, hot=hot)):
            self.known[int(each.signal_id.removeprefix("OMEN-TEST"))] = each

    @precondition(lambda self: self.known)
    @rule(data=st.data())
    def push_again(self, data: st.DataObject) -> None:
        """
        The hot path brings a signal once more, or late.
        """
        chosen = self.known[data.draw(st.sampled_from(sorted(self.known)))]
        if chosen.signal_id not in self.at.far.door.poison:
            self.stage.run(self.at.push([chosen]))

    @precondition(lambda self: not self.sealed and self.known)
    @rule()
    def seal(self) -> None:
        """
        The day is closed.
        """
        self.at.settled.pop(self.day, None)
        self.stage.run(self.at.seal(self.day))
        self.sealed = True

    @precondition(lambda self: not self.sealed and self.known)
    @rule(back=st.integers(0, 4))
    def settle(self, back: int) -> None:
        """
        The hot path is behind by some signals.
        """
        self.at.settled[self.day] = max(0, self.at.near.ledger.durable_index(self.day) - back)

    @precondition(lambda self: self.known)
    @rule(data=st.data())
    def lose(self, data: st.DataObject) -> None:
        """
        Somebody deletes a row.
        """
        name = signal_id(data.draw(st.sampled_from(sorted(self.known))))
        self.at.far.lose(name)
        self.acks.pop(name, None)

    @rule()
    def back_up(self) -> None:
        """
        RiskCast is backed up.
        """
        self.backup = self.stage.place / f"backup-{next(self.stage.files)}.db"
        self.stage.run(self.at.far.back_up(self.backup))
        self.acks_then = self.acks.copy()

    @precondition(lambda self: self.backup)
    @rule()
    def restore(self) -> None:
        """
        RiskCast goes back to its backup, and the acks with it: also that of a row which was deleted since and replayed.
        """
        assert self.backup is not None
        self.stage.run(self.at.far.restore(self.backup))
        self.acks = self.acks_then.copy()

    @precondition(lambda self: self.known)
    @rule(index=st.integers(1, 12))
    def forge(self, index: int) -> None:
        """
        Somebody brings a signal under a position that is not its own.
        """
        forged = event(next(self.stage.numbers), self.noon)
        forged.ledger_partition, forged.ledger_index, forged.ledger_sequence = self.day, index, (1 << 32) | index
        forged.content_digest = content_digest(forged)
        self.stage.run(self.at.push([forged]))

    @precondition(lambda self: self.known)
    @rule(data=st.data())
    def poison(self, data: st.DataObject) -> None:
        """
        RiskCast will not take a signal.
        """
        self.at.far.door.poison.add(signal_id(data.draw(st.sampled_from(sorted(self.known)))))

    @rule()
    def cure(self) -> None:
        """
        RiskCast takes everything.
        """
        self.at.far.door.poison.clear()

    @rule()
    def waive(self) -> None:
        """
        Somebody says that what is parked need not arrive.
        """
        parked = [
            each.signal_id
            for partition in self.partitions
            for each in self.stage.run(self.at.state.parked.of(partition, None))
        ]
        if parked:
            self.stage.run(self.at.state.parked.waive(parked, "a test"))

    @rule()
    def pause(self) -> None:
        """
        Somebody pauses, or resumes.
        """
        self.paused = not self.paused
        self.stage.run(self.at.rounds.pause("a test") if self.paused else self.at.rounds.resume())

    @precondition(lambda self: self.known and not self.paused)
    @rule(call=st.integers(1, 4), when=st.sampled_from(["before", "after"]), who=st.sampled_from(["we", "they"]))
    def crash(self, call: int, when: str, who: str) -> None:
        """
        The reconciler, or RiskCast, dies around one of its calls, and is started again.
        """
        self.stage.run(self._crash(call, when, who))

    async def _crash(self, call: int, when: str, who: str) -> None:
        making = asyncio.create_task(self.at.round(self.day, include_open=True))
        calls: list[str] = []

        def trouble(moment: str) -> None:
            calls.extend([moment] * (moment == when))
            if len(calls) >= call and (who == "we" or moment == when):
                making.cancel()
                if who == "they":
                    raise closed()

        self.at.far.door.trouble = trouble
        await asyncio.gather(making, return_exceptions=True)
        self.at.far.door.trouble = None
        self.at.restart()

    @precondition(lambda self: self.known)
    @rule(include_open=st.booleans(), full=st.booleans())
    def reconcile(self, include_open: bool, full: bool) -> None:
        """
        A run over each of the day's partitions: what it says is so.
        """
        for partition in self.partitions:
            try:
                result = self.stage.run(self.at.one(partition, include_open=include_open, full=full))
            except CallError as error:
                assert (self.paused, error.reason) == (True, "RECONCILE_PAUSED")
                continue
            assert not self.paused
            self._check(partition, result)

    def _check(self, partition: str, result: pb.ReconcileResult) -> None:
        through = self.at.settled_of(partition)[0]
        truth = self._truth(partition)
        word, reason = status(result)
        if reason == "main_partition_not_sealed":
            assert partition == self.day
            assert not self.sealed
            return
        if reason == "nothing_settled":
            assert through == 0
            return
        assert word in ("COMPLETED", "PARTIAL") or reason == "up_to_date", (word, reason)
        assert (word != "PARTIAL") == truth.is_whole(through), (word, reason, truth.ours, truth.rows)
        if reason == "up_to_date":
            return
        # Nothing but poison stays missing: whatever else is there, nobody is starved by it.
        poison = self.at.far.door.poison
        assert {truth.ours[index][0] for index in truth.missing(through)} <= poison
        assert result.remaining_count == len(truth.missing(through))
        assert set(result.extra_ids) == truth.ahead
        kinds = {pb.FINDING_KIND_MISMATCH: truth.mismatches(through)}
        for kind, places in kinds.items():
            assert {each.ledger_index for each in result.integrity.findings if each.kind == kind} == places
        assert result.final == (word == "COMPLETED" and partition == self.day and self.sealed)

    def _truth(self, partition: str) -> Truth:
        rows = self.at.far.rows(
            "SELECT positions.ledger_index, signal_id, content_digest FROM positions JOIN signals USING (signal_id)"
            " WHERE positions.ledger_partition = ?",
            partition,
        )
        parked = self.stage.run(self.at.state.parked.of(partition, None))
        return Truth(
            self.stage.run(self.at.records(partition)),
            {index: (name, digest) for index, name, digest in rows},
            {each.ledger_index for each in parked if each.waived_reason},
        )

    @invariant()
    def acks_stay(self) -> None:
        """
        The first ack of a signal is its ack for as long as it is stored.
        """
        now = self.at.far.acks()
        for number in self.known:
            name = signal_id(number)
            if name in now:
                assert self.acks.setdefault(name, now[name]) == now[name]
            else:
                assert name not in self.acks, "a signal is gone that nobody has deleted"

    def teardown(self) -> None:
        """
        Leave the world as the next history wants to find it.
        """
        self.at.far.door.poison.clear()
        self.at.far.door.batches.clear()
        self.stage.run(self.at.rounds.resume())
        for name in self.partitions:
            self.stage.run(self.at.near.ledger.seal(name, force=True))
        if self.backup is not None:
            self.backup.unlink()


@pytest.mark.parametrize("histories", HISTORIES)
@pytest.mark.timeout(3600)
def test_completed_is_said_exactly_when_it_is_true(histories: int) -> None:
    """
    Whatever happens to a day, a run that ends says COMPLETED exactly when both sides are the same, names everything
    that differs, leaves nothing missing but poison, and no ack of a stored signal ever changes.
    """
    before = structlog.get_config()["processors"]
    structlog.configure(processors=[silently])
    stage = History.stage = Stage()
    try:
        chosen = settings(
            max_examples=histories,
            stateful_step_count=STEPS,
            suppress_health_check=list(HealthCheck),
            print_blob=False,
        )
        run_state_machine_as_test(History, settings=chosen)
    finally:
        stage.close()
        structlog.configure(processors=before)


def silently(_logger: object, _method: str, _event: Any) -> Any:
    """
    Log nothing: what is CRITICAL here is so on purpose, a thousand times.
    """
    raise structlog.DropEvent
