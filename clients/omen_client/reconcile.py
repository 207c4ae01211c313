from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from typing import Unpack

from omen_client.pages import pages
from omen_client.server import ServerClient
from omen_rpc.channel import ConnectionOptions
from reconcile.v1 import reconcile_service_pb2 as pb
from reconcile.v1.reconcile_service_pb2_grpc import ReconcileServiceStub

WORK_TIMEOUT_S = 600.0


class ReconcileClient(ServerClient):
    """
    The reconciler, as a caller sees it. Every method may raise `CallError` or one of its subclasses.
    """

    SERVER = "The reconciler"

    def __init__(self, address: str, **options: Unpack[ConnectionOptions]) -> None:
        super().__init__(address, **options)
        self._reconcile = ReconcileServiceStub(self.connection.calls)
        self._rounds = ReconcileServiceStub(self.connection.subscriptions)

    async def run(
        self, request: pb.RunReconcileRequest | None = None
    ) -> AsyncGenerator[pb.RunReconcileResponse.Progress | pb.ReconcileResult | pb.RunReconcileResponse.Summary, None]:
        """
        Make a round and yield progress, a result for each partition, and the summary. Leaving the loop ends the round.
        """
        frames = self.connection.stream(self._rounds.RunReconcile, request or pb.RunReconcileRequest())
        async with aclosing(frames):
            async for frame in frames:
                match frame.WhichOneof("frame"):
                    case "progress":
                        yield frame.progress
                    case "result":
                        yield frame.result
                    case _:
                        yield frame.summary

    async def state(self, partition: str) -> pb.GetPartitionStateResponse:
        """
        Return how a partition stands, and whether a round would do something.
        """
        request = pb.GetPartitionStateRequest(partition=partition)
        return await self.connection.call(self._reconcile.GetPartitionState, request)

    async def states(self, page_size: int = 0) -> AsyncIterator[pb.ReconcileState]:
        """
        Yield how partitions stand, the newest first.
        """
        request = pb.ListPartitionStatesRequest(page_size=page_size)
        async for page in pages(self.connection, self._reconcile.ListPartitionStates, request):
            for each in page.states:
                yield each

    async def overview(self) -> pb.ListPartitionStatesResponse:
        """
        Return the newest states, and whether reconciling is paused and how fast it replays.
        """
        return await self.connection.call(self._reconcile.ListPartitionStates, pb.ListPartitionStatesRequest())

    async def runs(self, partition: str = "", page_size: int = 0) -> AsyncIterator[pb.ReconcileResult]:
        """
        Yield past runs, the newest first.
        """
        request = pb.ListRunsRequest(partition=partition, page_size=page_size)
        async for page in pages(self.connection, self._reconcile.ListRuns, request):
            for each in page.runs:
                yield each

    async def runs_page(self, request: pb.ListRunsRequest) -> pb.ListRunsResponse:
        """
        Return one page of past runs, for whoever turns the pages himself.
        """
        return await self.connection.call(self._reconcile.ListRuns, request)

    async def parked_page(self, request: pb.ListParkedRequest) -> pb.ListParkedResponse:
        """
        Return one page of parked signals, with how many there are in all.
        """
        return await self.connection.call(self._reconcile.ListParked, request)

    async def pause(self, reason: str) -> bool:
        """
        Make no further round until `resume`, and return whether it was paused before.
        """
        request = pb.PauseReconcileRequest(reason=reason)
        return (await self.connection.call(self._reconcile.PauseReconcile, request)).already_paused

    async def resume(self) -> bool:
        """
        Go on, and return whether it was paused.
        """
        return (await self.connection.call(self._reconcile.ResumeReconcile, pb.ResumeReconcileRequest())).was_paused

    async def set_rate(self, signals_per_second: float) -> float:
        """
        Change how fast signals are replayed, also in a round that is under way.
        """
        request = pb.SetReplayRateRequest(signals_per_second=signals_per_second)
        return (await self.connection.call(self._reconcile.SetReplayRate, request)).signals_per_second

    async def parked(
        self, partition: str = "", *, include_waived: bool = False, page_size: int = 0
    ) -> AsyncIterator[pb.ParkedSignal]:
        """
        Yield signals that RiskCast keeps refusing, the oldest first.
        """
        request = pb.ListParkedRequest(partition=partition, include_waived=include_waived, page_size=page_size)
        async for page in pages(self.connection, self._reconcile.ListParked, request):
            for each in page.parked:
                yield each

    async def replay_parked(
        self, ids: Sequence[str] = (), *, expected_count: int = 0, timeout_s: float = WORK_TIMEOUT_S
    ) -> pb.ReplayParkedResponse:
        """
        Try parked signals again: those with these ids, or all.
        """
        request = pb.ReplayParkedRequest(ids=ids, expected_count=expected_count)
        return await self.connection.call(self._reconcile.ReplayParked, request, timeout_s=timeout_s)

    async def waive_parked(self, ids: Sequence[str], reason: str) -> int:
        """
        Say that parked signals need not arrive, and why; return how many those are.
        """
        request = pb.WaiveParkedRequest(ids=ids, reason=reason)
        return (await self.connection.call(self._reconcile.WaiveParked, request)).waived
