from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from datetime import datetime
from pathlib import Path
from typing import Literal

from omen.v1 import ledger_service_pb2 as pb
from omen.v1 import signal_service_pb2 as signal_pb
from omen.v1.ledger_service_pb2_grpc import LedgerServiceStub
from omen.v1.position_pb2 import BlockFingerprint, LedgerGap
from omen.v1.signal_pb2 import OmenSignal, RawSignalEvent, SignalEvent
from omen.v1.signal_service_pb2_grpc import SignalServiceStub
from omen_client.emitting import Emitting, item_of, outcome_of
from omen_client.operations import Operations
from omen_client.pages import pages
from omen_client.server import ServerClient
from omen_client.stream import SignalStream, request_of
from omen_rpc.channel import ATTEMPTS_MAX, TIMEOUT_S, ClientFiles
from omen_rpc.errors import CallError

FILTERS = {
    "all": pb.PARTITION_FILTER_UNSPECIFIED,
    "open": pb.PARTITION_FILTER_OPEN,
    "sealed": pb.PARTITION_FILTER_SEALED,
    "late": pb.PARTITION_FILTER_LATE,
}
# Sealing and aging read whole partitions; they go on when nobody waits any more.
WORK_TIMEOUT_S = 600.0


class OmenClient(ServerClient):
    """
    OMEN as a caller sees it. Every method may raise `CallError` or one of its subclasses.

    ``async with OmenClient("127.0.0.1:50051") as omen: …``
    """

    SERVER = "OMEN"

    def __init__(
        self,
        address: str,
        *,
        api_key: str | Path = "",
        tls: ClientFiles | None = None,
        timeout_s: float = TIMEOUT_S,
        attempts_max: int = ATTEMPTS_MAX,
    ) -> None:
        super().__init__(address, api_key=api_key, tls=tls, timeout_s=timeout_s, attempts_max=attempts_max)
        self._ledger = LedgerServiceStub(self.connection.calls)
        self._ledger_streams = LedgerServiceStub(self.connection.subscriptions)
        self._signals = SignalServiceStub(self.connection.calls)
        self._emitting = Emitting(self.connection)
        self.operations = Operations(self.connection)

    async def close(self) -> None:
        """
        Close the connection; whoever waits for an outcome gets CancelledError.
        """
        await self._emitting.close()
        await super().close()

    async def submit(
        self,
        event: RawSignalEvent,
        *,
        delivery: signal_pb.Delivery.ValueType = signal_pb.DELIVERY_AWAIT,
        validate_only: bool = False,
        explain: bool = False,
    ) -> signal_pb.EmitResult:
        """
        Submit one raw event and return what became of it. Submitting it again is safe: it is kept once.
        """
        request = signal_pb.SubmitEventRequest(
            event=event, delivery=delivery, validate_only=validate_only, explain=explain
        )
        return (await self.connection.call(self._signals.SubmitEvent, request)).result

    async def submit_all(
        self,
        events: Sequence[RawSignalEvent],
        *,
        delivery: signal_pb.Delivery.ValueType = signal_pb.DELIVERY_AWAIT,
        validate_only: bool = False,
        explain: bool = False,
    ) -> list[signal_pb.EmitResult | CallError]:
        """
        Submit up to 500 raw events in one call, each judged with the others as its witnesses; outcomes in order.
        """
        request = signal_pb.SubmitEventsRequest(
            events=events, delivery=delivery, validate_only=validate_only, explain=explain
        )
        reply = await self.connection.call(self._signals.SubmitEvents, request)
        return [outcome_of(result) for result in reply.results]

    async def emit(
        self,
        signal: OmenSignal,
        *,
        observed_at: datetime | None = None,
        input_event_hash: str = "",
        emitted_at: datetime | None = None,
        delivery: signal_pb.Delivery.ValueType = signal_pb.DELIVERY_AWAIT,
    ) -> signal_pb.EmitResult:
        """
        Emit a ready signal and return what became of it. Calls that are made meanwhile share a batch.
        """
        return await self._emitting.emit(item_of(signal, observed_at, input_event_hash, emitted_at), delivery)

    async def emit_all(
        self,
        items: Sequence[signal_pb.EmitSignalItem],
        *,
        delivery: signal_pb.Delivery.ValueType = signal_pb.DELIVERY_AWAIT,
    ) -> list[signal_pb.EmitResult | CallError]:
        """
        Emit up to 500 ready signals in one call and return what became of each, in order.
        """
        return await self._emitting.emit_all(items, delivery)

    async def signal(self, signal_id: str) -> signal_pb.GetSignalResponse:
        """
        Return a signal, and what is known of its way; NotFound when there is none.
        """
        return await self.connection.call(self._signals.GetSignal, signal_pb.GetSignalRequest(signal_id=signal_id))

    async def signals(self, request: signal_pb.ListSignalsRequest | None = None) -> AsyncIterator[SignalEvent]:
        """
        Yield signals, newest first; *request* has the filters.
        """
        wanted = signal_pb.ListSignalsRequest()
        if request is not None:
            wanted.CopyFrom(request)
        async for page in pages(self.connection, self._signals.ListSignals, wanted):
            for event in page.events:
                yield event

    async def signals_page(self, request: signal_pb.ListSignalsRequest) -> signal_pb.ListSignalsResponse:
        """
        Return one page of signals, newest first, for whoever turns the pages himself.
        """
        return await self.connection.call(self._signals.ListSignals, request)

    async def explain(self, signal_id: str) -> signal_pb.SignalExplanation:
        """
        Return how a signal came to be.
        """
        request = signal_pb.ExplainSignalRequest(signal_id=signal_id)
        return (await self.connection.call(self._signals.ExplainSignal, request)).explanation

    async def verify_signal(self, signal: str | SignalEvent) -> signal_pb.VerifySignalResponse:
        """
        Have ids and digest derived again: of a signal in the ledger, by its id, or of an event from anywhere.
        """
        request = (
            signal_pb.VerifySignalRequest(signal_id=signal)
            if isinstance(signal, str)
            else signal_pb.VerifySignalRequest(event=signal)
        )
        return await self.connection.call(self._signals.VerifySignal, request)

    def stream(
        self,
        *,
        after_cursor: str = "",
        from_beginning: bool = False,
        since: datetime | None = None,
        categories: Sequence[int] = (),
        partitions: Sequence[str] = (),
        min_confidence_score: float | None = None,
        heartbeat_s: float | None = None,
        max_batch: int = 0,
        until_caught_up: bool = False,
        broke: Callable[[CallError | None], object] | None = None,
    ) -> SignalStream:
        """
        Return the signals after a cursor, since a time, from the beginning or from now on, and then those that come.

        ``async for item in omen.stream(after_cursor=kept): …``; it connects again by itself, and tells *broke* so.
        """
        request = request_of(
            after_cursor=after_cursor,
            from_beginning=from_beginning,
            since=since,
            categories=categories,
            partitions=partitions,
            min_confidence_score=min_confidence_score,
            heartbeat_s=heartbeat_s,
            max_batch=max_batch,
        )
        return SignalStream(self.connection, request, until_caught_up=until_caught_up, broke=broke)

    async def partitions(
        self,
        which: Literal["all", "open", "sealed", "late"] = "all",
        *,
        oldest_first: bool = False,
        page_size: int = 0,
    ) -> AsyncIterator[pb.Partition]:
        """
        Yield the partitions, newest first.
        """
        order = pb.PARTITION_ORDER_DATE_ASCENDING if oldest_first else pb.PARTITION_ORDER_DATE_DESCENDING
        request = pb.ListPartitionsRequest(filter=FILTERS[which], order=order, page_size=page_size)
        async for page in pages(self.connection, self._ledger.ListPartitions, request):
            for partition in page.partitions:
                yield partition

    async def partitions_page(self, request: pb.ListPartitionsRequest) -> pb.ListPartitionsResponse:
        """
        Return one page of partitions, for whoever turns the pages himself.
        """
        return await self.connection.call(self._ledger.ListPartitions, request)

    async def partition(self, name: str) -> pb.GetPartitionResponse:
        """
        Return one partition with its gaps and its manifest.
        """
        return await self.connection.call(self._ledger.GetPartition, pb.GetPartitionRequest(partition=name))

    async def read_partition(
        self,
        name: str,
        *,
        after_index: int = 0,
        through_index: int = 0,
        indexes: Sequence[int] = (),
        include_late: bool = False,
        validate: bool = False,
    ) -> AsyncGenerator[SignalEvent | LedgerGap, None]:
        """
        Yield a partition's signals and gaps in order, up to what is durable now. An end without error is the whole.
        """
        request = pb.ReadPartitionRequest(
            partition=name,
            after_index=after_index,
            through_index=through_index,
            indexes=indexes,
            include_late=include_late,
            validate=validate,
        )
        frames = self.connection.stream(self._ledger_streams.ReadPartition, request)
        async with aclosing(frames):
            async for reply in frames:
                if reply.HasField("gap"):
                    yield reply.gap
                for event in reply.batch.events:
                    yield event

    async def watermark(self, name: str, *, timeout_s: float | None = None) -> pb.GetWatermarkResponse:
        """
        Return how far a partition is durable and settled, and where its gaps are. The first one of a day reads the day.
        """
        request = pb.GetWatermarkRequest(partition=name)
        return await self.connection.call(self._ledger.GetWatermark, request, timeout_s=timeout_s)

    async def fingerprint(
        self,
        name: str,
        from_index: int = 0,
        through_index: int = 0,
        *,
        ledger_epoch: str = "",
        timeout_s: float | None = None,
    ) -> pb.GetFingerprintResponse:
        """
        Return the count and the fingerprint of a range of positions; of all that are durable by default.

        The answer does not repeat *ledger_epoch*: it names another one, or none. The first one of a day reads the day.
        """
        request = pb.GetFingerprintRequest(
            partition=name, from_index=from_index, through_index=through_index, ledger_epoch=ledger_epoch
        )
        return await self.connection.call(self._ledger.GetFingerprint, request, timeout_s=timeout_s)

    async def blocks(self, name: str, through_index: int = 0, *, page_size: int = 0) -> AsyncIterator[BlockFingerprint]:
        """
        Yield the fingerprints of a partition's blocks, all up to one position.
        """
        request = pb.ListBlocksRequest(partition=name, through_index=through_index, page_size=page_size)
        async for page in pages(self.connection, self._ledger.ListBlocks, request):
            for block in page.blocks:
                yield block

    async def seal(
        self, name: str, *, force: bool = False, timeout_s: float = WORK_TIMEOUT_S
    ) -> pb.SealPartitionResponse:
        """
        Close a partition for good. Sealing again changes nothing.
        """
        request = pb.SealPartitionRequest(partition=name, force=force)
        return await self.connection.call(self._ledger.SealPartition, request, timeout_s=timeout_s)

    async def verify(
        self, name: str
    ) -> AsyncGenerator[pb.VerifyPartitionResponse.Progress | pb.VerifyPartitionResponse.Verdict, None]:
        """
        Yield how far the verification is, and at last its verdict.
        """
        frames = self.connection.stream(self._ledger_streams.VerifyPartition, pb.VerifyPartitionRequest(partition=name))
        async with aclosing(frames):
            async for reply in frames:
                yield reply.verdict if reply.HasField("verdict") else reply.progress

    async def prove(self, signal_id: str, *, timeout_s: float = WORK_TIMEOUT_S) -> pb.ProveInclusionResponse:
        """
        Return a proof that a sealed partition holds a signal; `check_proof` checks it without the server.
        """
        request = pb.ProveInclusionRequest(signal_id=signal_id)
        return await self.connection.call(self._ledger.ProveInclusion, request, timeout_s=timeout_s)

    async def frames(self, name: str, *, after_index: int = 0, max_frames: int = 0) -> pb.DumpFramesResponse:
        """
        Return frames as they lie on disk, and the position to ask after for more.
        """
        request = pb.DumpFramesRequest(partition=name, after_index=after_index, max_frames=max_frames)
        return await self.connection.call(self._ledger.DumpFrames, request)

    async def confirm_reconciled(self, name: str, verified_through: int, ledger_epoch: str) -> int:
        """
        Tell that a partition is proven complete up to a position, and return the highest one on record.
        """
        request = pb.ConfirmReconciledRequest(
            partition=name, verified_through=verified_through, ledger_epoch=ledger_epoch
        )
        return (await self.connection.call(self._ledger.ConfirmReconciled, request)).reconciled_through

    async def run_lifecycle(
        self, *, validate_only: bool = False, timeout_s: float = WORK_TIMEOUT_S
    ) -> pb.RunLifecycleResponse:
        """
        Move old partitions between the tiers and return what was done, or only what would be.
        """
        request = pb.RunLifecycleRequest(validate_only=validate_only)
        return await self.connection.call(self._ledger.RunLifecycle, request, timeout_s=timeout_s)
