from collections.abc import AsyncIterator, Sequence

from omen.v1 import operations_service_pb2 as pb
from omen.v1.operations_service_pb2_grpc import OperationsServiceStub
from omen_client.pages import pages
from omen_rpc.channel import Connection

# Requeueing runs the pipeline for every letter; it goes on when nobody waits any more.
WORK_TIMEOUT_S = 600.0


class Operations:
    """
    What an operator asks a running OMEN: ``omen.operations`` of an `OmenClient`.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._operations = OperationsServiceStub(connection.calls)

    async def stats(self) -> pb.GetStatsResponse:
        """
        Return the counters.
        """
        return await self._connection.call(self._operations.GetStats, pb.GetStatsRequest())

    async def hot_path(self) -> pb.GetHotPathResponse:
        """
        Return breakers, backpressure and queue of the way to RiskCast.
        """
        return await self._connection.call(self._operations.GetHotPath, pb.GetHotPathRequest())

    async def activity(self, page_size: int = 0) -> AsyncIterator[pb.Activity]:
        """
        Yield what happened lately, newest first.
        """
        request = pb.ListActivityRequest(page_size=page_size)
        async for page in pages(self._connection, self._operations.ListActivity, request):
            for each in page.activities:
                yield each

    async def subscribers(self, page_size: int = 0) -> AsyncIterator[pb.Subscriber]:
        """
        Yield who is subscribed.
        """
        request = pb.ListSubscribersRequest(page_size=page_size)
        async for page in pages(self._connection, self._operations.ListSubscribers, request):
            for each in page.subscribers:
                yield each

    async def rejected(self, rule: str = "", page_size: int = 0) -> AsyncIterator[pb.RejectedEvent]:
        """
        Yield raw events that the rules refused, newest first; only those that *rule* refused, if given.
        """
        request = pb.ListRejectedRequest(rule=rule, page_size=page_size)
        async for page in pages(self._connection, self._operations.ListRejected, request):
            for each in page.rejected:
                yield each

    async def dead_letters(self, page_size: int = 0) -> AsyncIterator[pb.DeadLetter]:
        """
        Yield what could not be finished, oldest first.
        """
        request = pb.ListDeadLettersRequest(page_size=page_size)
        async for page in pages(self._connection, self._operations.ListDeadLetters, request):
            for each in page.dead_letters:
                yield each

    async def requeue(
        self, ids: Sequence[str] = (), *, every: bool = False, timeout_s: float = WORK_TIMEOUT_S
    ) -> pb.RequeueDeadLettersResponse:
        """
        Try dead letters again: those with these ids, or all of them.
        """
        request = pb.RequeueDeadLettersRequest(dead_letter_ids=ids, all=every)
        return await self._connection.call(self._operations.RequeueDeadLetters, request, timeout_s=timeout_s)

    async def purge(self, ids: Sequence[str] = (), *, every: bool = False) -> int:
        """
        Forget dead letters, those with these ids or all of them, and return how many that were.
        """
        request = pb.PurgeDeadLettersRequest(dead_letter_ids=ids, all=every)
        return (await self._connection.call(self._operations.PurgeDeadLetters, request)).purged
