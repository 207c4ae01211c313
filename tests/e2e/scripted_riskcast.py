import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omen.v1.error_pb2 import ItemError
from omen.v1.signal_pb2 import SignalEvent
from riskcast.v1 import ingest_service_pb2 as pb
from riskcast.v1.ingest_service_pb2_grpc import IngestServiceServicer
from tests.hosting import hosted

if TYPE_CHECKING:
    from omen_rpc.errors import CallError

INGEST = pb.DESCRIPTOR.services_by_name["IngestService"]
INVALID_ARGUMENT = 3


class ScriptedRiskCast(IngestServiceServicer):
    """
    Acknowledges whatever it is sent and remembers it, but for the titles in *refused*. It counts calls.

    A call waits while *gate* is closed, and fails as a whole with *failure* when there is one.
    """

    def __init__(self) -> None:
        self.calls = 0
        self.events: list[SignalEvent] = []
        self.refused: set[str] = set()
        self.called = asyncio.Event()
        self.gate = asyncio.Event()
        self.gate.set()
        self.failure: Callable[[], CallError] | None = None

    async def IngestBatch(self, request: pb.IngestBatchRequest, _context: Any) -> pb.IngestBatchResponse:
        """
        Answer as the test says.
        """
        self.calls += 1
        self.called.set()
        await self.gate.wait()
        if self.failure is not None:
            raise self.failure()
        return pb.IngestBatchResponse(results=[self._result(item.signal) for item in request.items])

    def _result(self, event: SignalEvent) -> pb.IngestBatchResult:
        if event.signal.title in self.refused:
            error = ItemError(code=INVALID_ARGUMENT, reason="INVALID_FIELDS", message="signal.title: is not liked here")
            return pb.IngestBatchResult(error=error)
        self.events.append(event)
        accepted = pb.IngestResponse(ack_id=f"ack-{event.signal_id}")
        accepted.processed_at.GetCurrentTime()
        return pb.IngestBatchResult(accepted=accepted)


@asynccontextmanager
async def scripted(place: Path) -> AsyncIterator[ScriptedRiskCast]:
    """
    Serve a scripted RiskCast where OMEN of the same place looks for it.
    """
    script = ScriptedRiskCast()
    settings = {"listen": f"unix:{place}/riskcast.sock", "drain_timeout_s": 0.2}
    async with hosted(script, service=INGEST, settings=settings):
        yield script
