"""
What is refused after it was durable or before it was judged: dead letters, their attempts, and trying them again.
"""

from pathlib import Path
from typing import Any

import pytest

from omen.v1 import operations_service_pb2
from omen_client import CallError
from omen_rpc.errors import Reason, fault
from omen_server.intake import events as events_module
from omen_server.intake.keeping import Kept
from omen_server.intake.service import refuse_whole
from omen_server.ledger.errors import LedgerClosed, LedgerPoisoned
from riskcast.v1 import ingest_service_pb2
from tests.omen_server.far_side import FakeIngest, failed
from tests.omen_server.intake.keepers import draft, keep, kit
from tests.omen_server.intake.serving import Served, raw_event, ready_signal, served


async def refuse(request: ingest_service_pb2.IngestBatchRequest) -> ingest_service_pb2.IngestBatchResponse:
    """
    Refuse every signal for good.
    """
    return ingest_service_pb2.IngestBatchResponse(results=[failed(3, "INVALID_FIELDS") for _ in request.items])


async def away(_request: Any) -> None:
    """
    Answer that the store is away.
    """
    raise fault(Reason.ERROR_REASON_STORE_UNAVAILABLE)


def broken(*_reading: Any, **_more: Any) -> None:
    """
    Judge nothing.
    """
    raise ZeroDivisionError


async def letters_of(at: Served) -> list[operations_service_pb2.DeadLetter]:
    """
    Return all dead letters.
    """
    return [each async for each in at.omen.operations.dead_letters()]


async def test_every_attempt_counts_once(tmp_path: Path) -> None:
    """
    A letter that is tried again counts one attempt more, whether RiskCast refuses again or does not answer.
    """
    riskcast = FakeIngest(answer=refuse)
    async with served(tmp_path, riskcast) as at:
        await at.omen.submit(raw_event())
        (first,) = await letters_of(at)
        for number, answer in enumerate((refuse, away), 2):
            riskcast.answer = answer
            done = await at.omen.operations.requeue([first.dead_letter_id])
            await at.services.signals._parts.notes.written()
            assert (done.succeeded, done.failed) == (0, 1)
            assert [each.attempts for each in await letters_of(at)] == [number]
        stats = await at.omen.operations.stats()
        assert stats.signals_by_status == {"REJECTED": 2, "LEDGER_ONLY": 1}


async def test_the_refused_record_is_tried_again_and_no_older_one(tmp_path: Path) -> None:
    """
    Of two records with one id the letter is about the second, and that one is pushed.
    """
    riskcast = FakeIngest()
    async with served(tmp_path, riskcast) as at:
        await at.omen.emit(ready_signal(1))
        riskcast.answer = refuse
        await at.omen.emit(ready_signal(1, title="Other"))
        (letter,) = await letters_of(at)
        riskcast.answer = None
        await at.omen.operations.requeue([letter.dead_letter_id])
        assert riskcast.requests[-1].items[0].signal.signal.title == "Other"


async def test_looking_at_what_fails_leaves_no_letter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    An event that is only validated, and on which the pipeline fails, is an error and no dead letter.
    """
    monkeypatch.setattr(events_module, "judge", broken)
    async with served(tmp_path) as at:
        with pytest.raises(CallError) as error:
            await at.omen.submit(raw_event(), validate_only=True)
        assert error.value.reason == "INTERNAL"
        assert await letters_of(at) == []


async def test_no_room_for_a_letter_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    When an event can be neither judged nor kept as a dead letter, its sender is told that nothing has it.
    """
    monkeypatch.setattr(events_module, "judge", broken)
    async with served(tmp_path, dead_letters_max=1) as at:
        reasons = []
        for name in ("a", "b"):
            with pytest.raises(CallError) as error:
                await at.omen.submit(raw_event(name))
            reasons.append(error.value.reason)
    assert reasons == ["EVENT_NOT_JUDGED", "STORAGE_EXHAUSTED"]


async def test_unknown_outcome_is_the_whole_calls(tmp_path: Path) -> None:
    """
    A batch is answered item by item unless nothing of it was kept, or nobody knows what was.
    """
    async with kit(tmp_path) as at:
        (kept,) = await keep(at.keeper, [draft(1)])
    assert isinstance(kept, Kept)
    refuse_whole([kept, LedgerClosed()])
    with pytest.raises(LedgerPoisoned):
        refuse_whole([kept, LedgerClosed(), LedgerPoisoned(OSError(5, "I/O error"))])
    with pytest.raises(LedgerClosed):
        refuse_whole([LedgerClosed()])
