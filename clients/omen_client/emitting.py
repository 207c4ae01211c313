from collections.abc import Sequence
from datetime import datetime

from omen.v1 import signal_service_pb2 as pb
from omen.v1.signal_pb2 import OmenSignal
from omen.v1.signal_service_pb2_grpc import SignalServiceStub
from omen_client.coalesce import Coalescer
from omen_rpc.channel import Connection
from omen_rpc.errors import CallError
from omen_rpc.status import from_item_error

ITEM_OVERHEAD_BYTES = 16
# The answer repeats every signal in its envelope, and has to fit into 1 MiB as well.
BATCH_BYTES_MAX = 600 << 10


class Emitting:
    """
    Ready signals on their way to OMEN: those that are emitted while a call is in flight share the next one.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._signals = SignalServiceStub(connection.calls)
        self._coalescers: dict[int, Coalescer[pb.EmitSignalItem, pb.EmitResult]] = {}

    async def emit(self, item: pb.EmitSignalItem, delivery: pb.Delivery.ValueType) -> pb.EmitResult:
        """
        Emit one signal and return what became of it.
        """
        found = self._coalescers.get(delivery)
        if found is None:

            async def send(items: Sequence[pb.EmitSignalItem]) -> list[pb.EmitResult | Exception]:
                return [*await self.emit_all(items, delivery)]

            found = self._coalescers[delivery] = Coalescer(send, bytes_max=BATCH_BYTES_MAX)
        return await found.submit(item, item.ByteSize() + ITEM_OVERHEAD_BYTES)

    async def emit_all(
        self, items: Sequence[pb.EmitSignalItem], delivery: pb.Delivery.ValueType
    ) -> list[pb.EmitResult | CallError]:
        """
        Emit up to 500 signals in one call and return what became of each, in order.
        """
        request = pb.EmitSignalsRequest(signals=items, delivery=delivery)
        reply = await self._connection.call(self._signals.EmitSignals, request)
        return [outcome_of(result) for result in reply.results]

    async def close(self) -> None:
        """
        Stop sending; whoever waits for an outcome gets CancelledError.
        """
        for coalescer in self._coalescers.values():
            await coalescer.close()


def item_of(
    signal: OmenSignal, observed_at: datetime | None, input_event_hash: str, emitted_at: datetime | None
) -> pb.EmitSignalItem:
    """
    Return a signal as a batch has it. Times need their offset from UTC.
    """
    item = pb.EmitSignalItem(signal=signal, input_event_hash=input_event_hash)
    for field, time in ((item.observed_at, observed_at), (item.emitted_at, emitted_at)):
        if time is not None:
            if time.tzinfo is None:
                raise ValueError(f"{time} does not say its offset from UTC")
            field.FromDatetime(time)
    return item


def outcome_of(outcome: pb.EmitOutcome) -> pb.EmitResult | CallError:
    """
    Return what became of one item of a batch.
    """
    return from_item_error(outcome.error) if outcome.HasField("error") else outcome.result
