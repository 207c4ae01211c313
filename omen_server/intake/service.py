"""
SignalService: raw events and signals in, durable signals out.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from omen.v1 import signal_service_pb2 as pb
from omen.v1.signal_service_pb2_grpc import SignalServiceServicer
from omen_rpc.call import CURRENT
from omen_rpc.errors import CallError, Violation, invalid_fields
from omen_rpc.fields import Fields
from omen_rpc.refusal import explain
from omen_server.emitter import Emitter
from omen_server.intake import answers
from omen_server.intake.events import Events
from omen_server.intake.keeping import Kept, Result
from omen_server.intake.queries import Queries
from omen_server.intake.signals import Signals
from omen_server.ledger.errors import LedgerError, LedgerPoisoned
from omen_server.noting import Notes
from omen_server.outcomes import Outcome as Delivered
from omen_server.pipeline.explanation import explain_stored
from omen_server.pipeline.ruleset import Ruleset
from omen_server.pipeline.run import Outcome
from omen_server.refusals import REFUSALS
from omen_server.stream.stream import Stream

BATCH_MAX = 500

SubmitRequest: TypeAlias = pb.SubmitEventRequest | pb.SubmitEventsRequest
BatchRequest: TypeAlias = pb.SubmitEventsRequest | pb.EmitSignalsRequest


@dataclass(frozen=True, slots=True)
class Parts:
    """
    What answers: each of these has its own lifetime, which the wiring looks after.
    """

    events: Events
    signals: Signals
    queries: Queries
    emitter: Emitter | None
    notes: Notes
    stream: Stream
    rules: Ruleset


class SignalService(SignalServiceServicer):
    """
    Answers for signals, over parts that it is given by `begin`. The gate lets no call in before that.
    """

    _parts: Parts

    def begin(self, parts: Parts) -> None:
        """
        Answer from now on.
        """
        self._parts = parts

    async def SubmitEvent(self, request: pb.SubmitEventRequest, context: Any) -> pb.SubmitEventResponse:
        """
        Take one raw event.
        """
        fields = Fields(request)
        fields.require(request.HasField("event"), "event", "is missing")
        fields.enum("delivery")
        fields.check()
        [answer] = await self._submitted(request, [request.event], context)
        return pb.SubmitEventResponse(result=result_or_raise(answer))

    async def SubmitEvents(self, request: pb.SubmitEventsRequest, context: Any) -> pb.SubmitEventsResponse:
        """
        Take several raw events.
        """
        check_batch(request, "events")
        found = await self._submitted(request, request.events, context)
        return pb.SubmitEventsResponse(results=answers.fit([outcome_of(each) for each in found]))

    async def EmitSignal(self, request: pb.EmitSignalRequest, context: Any) -> pb.EmitSignalResponse:
        """
        Take one ready signal.
        """
        fields = Fields(request)
        fields.require(request.HasField("signal"), "signal", "is missing")
        fields.enum("delivery")
        fields.check()
        kept = await self._parts.signals.emit([request], [""], trace_parent())
        [answer] = await self._told([(each, None) for each in kept], request.delivery, context)
        return pb.EmitSignalResponse(result=result_or_raise(answer))

    async def EmitSignals(self, request: pb.EmitSignalsRequest, context: Any) -> pb.EmitSignalsResponse:
        """
        Take several ready signals.
        """
        check_batch(request, "signals")
        paths = [f"signals[{at}]." for at in range(len(request.signals))]
        kept = await self._parts.signals.emit(request.signals, paths, trace_parent())
        found = await self._told([(each, None) for each in kept], request.delivery, context)
        return pb.EmitSignalsResponse(results=answers.fit([outcome_of(each) for each in found]))

    def StreamSignals(self, request: pb.StreamSignalsRequest, context: Any) -> Any:
        """
        Stream signals, first what is there, then what comes. The frames come encoded: subscribers share them.
        """
        return self._parts.stream.serve(request, context)

    async def GetSignal(self, request: pb.GetSignalRequest, _context: object) -> pb.GetSignalResponse:
        """
        Look one signal up.
        """
        return await self._parts.queries.get(request)

    async def ListSignals(self, request: pb.ListSignalsRequest, _context: object) -> pb.ListSignalsResponse:
        """
        List signals, newest first.
        """
        return await self._parts.queries.page(request)

    async def ExplainSignal(self, request: pb.ExplainSignalRequest, _context: object) -> pb.ExplainSignalResponse:
        """
        Tell how a signal came to be.
        """
        return await self._parts.queries.explain(request)

    async def VerifySignal(self, request: pb.VerifySignalRequest, _context: object) -> pb.VerifySignalResponse:
        """
        Derive a signal's ids and digest again.
        """
        return await self._parts.queries.verify(request)

    async def _submitted(
        self, request: SubmitRequest, raws: Sequence[Any], context: Any
    ) -> list[pb.EmitResult | CallError]:
        if request.validate_only:
            looked = await self._parts.events.look(raws, explain=request.explain)
            return [each if isinstance(each, CallError) else judged(each) for each in looked]
        results = await self._parts.events.submit(raws, trace_parent(), explain=request.explain)
        found = await self._told(results, request.delivery, context)
        if request.explain:
            self._explain(results, found)
        return found

    async def _told(
        self,
        results: Sequence[tuple[Result[Outcome], Outcome | None]],
        delivery: pb.Delivery.ValueType,
        context: Any,
    ) -> list[pb.EmitResult | CallError]:
        """
        Return what is told of each result, once RiskCast has answered or the caller has waited long enough.
        """
        kept = [result for result, _ in results if isinstance(result, Kept)]
        refuse_whole([result for result, _ in results])
        wait_s = answers.patience_s(delivery, context)
        delivered = await answers.outcomes(self._parts.emitter, kept, wait_s)
        if any(each.status == pb.EMIT_STATUS_REJECTED for each in delivered.values()):
            await self._parts.notes.written()
        return [told(result, delivered) for result, _ in results]

    def _explain(
        self,
        results: Sequence[tuple[Result[Outcome], Outcome | None]],
        found: Sequence[pb.EmitResult | CallError],
    ) -> None:
        for (_, outcome), told_ in zip(results, found, strict=True):
            if isinstance(told_, CallError):
                continue
            if outcome is not None and outcome.explanation is not None:
                told_.explanation.CopyFrom(outcome.explanation)
                told_.verdicts.extend(outcome.verdicts[len(told_.verdicts) :])
            elif told_.HasField("event"):
                told_.explanation.CopyFrom(explain_stored(told_.event, self._parts.rules))


def check_batch(request: BatchRequest, name: str) -> None:
    """
    Raise INVALID_FIELDS unless a batch has 1 to 500 entries. They are counted before one of them is looked at.
    """
    count = len(getattr(request, name))
    if not 1 <= count <= BATCH_MAX:
        raise invalid_fields([Violation(name, f"has {count} entries, 1 to {BATCH_MAX} may be")])
    fields = Fields(request)
    fields.enum("delivery")
    fields.check()


def trace_parent() -> str:
    """
    Return the trace context of the call that is being answered; nothing when no call is.
    """
    call = CURRENT.get(None)
    return call.trace_parent if call is not None else ""


def refuse_whole(results: Sequence[Result[Outcome]]) -> None:
    """
    Raise the ledger's error when nothing of a batch was appended, or nobody knows what was.
    """
    errors = [result for result in results if isinstance(result, LedgerError)]
    unknown = next((error for error in errors if isinstance(error, LedgerPoisoned)), None)
    if unknown is not None:
        raise unknown
    if errors and not any(isinstance(result, Kept) and not result.cached for result in results):
        raise errors[0]


def told(result: Result[Outcome], delivered: dict[int, Delivered]) -> pb.EmitResult | CallError:
    """
    Return what a caller is told of one result.
    """
    if isinstance(result, Kept):
        return answers.result_of(result, delivered[result.item.offset])
    if isinstance(result, Outcome):
        return judged(result)
    return explain("intake", result, REFUSALS)


def judged(outcome: Outcome) -> pb.EmitResult:
    """
    Return what a caller is told of an event that was judged and not appended.
    """
    status = pb.EMIT_STATUS_VALIDATED if outcome.passed else pb.EMIT_STATUS_FILTERED
    return pb.EmitResult(
        status=status,
        event=outcome.event,
        detail=outcome.reason,
        verdicts=outcome.verdicts,
        explanation=outcome.explanation,
    )


def result_or_raise(answer: pb.EmitResult | CallError) -> pb.EmitResult:
    """
    Return a single item's result; its error is the call's.
    """
    if isinstance(answer, CallError):
        raise answer
    return answer


def outcome_of(answer: pb.EmitResult | CallError) -> pb.EmitOutcome:
    """
    Return one entry of a batch's answer.
    """
    if isinstance(answer, CallError):
        return answers.outcome_error(answer)
    return pb.EmitOutcome(result=answer)
