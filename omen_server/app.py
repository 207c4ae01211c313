import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import structlog

from omen.v1 import ledger_service_pb2, operations_service_pb2, signal_service_pb2
from omen_rpc import metrics
from omen_rpc.program import FAILED
from omen_rpc.server import Server, StoppedEarly
from omen_rpc.settings import Loaded
from omen_server.activity import Activity
from omen_server.breaker import Breaker
from omen_server.emitter import Emitter
from omen_server.hot_path import HotPathView
from omen_server.index import Index, Wanted
from omen_server.index.follower import Follower
from omen_server.intake.events import Events
from omen_server.intake.keeping import Keeper
from omen_server.intake.queries import Queries
from omen_server.intake.service import Parts, SignalService
from omen_server.intake.signals import Signals
from omen_server.ledger import upkeep
from omen_server.ledger.ledger import Ledger
from omen_server.ledger.service import LedgerService
from omen_server.noting import Notes
from omen_server.opening import desk_of, index_of, ledger_of, riskcast_of
from omen_server.operations import Operated, Operations
from omen_server.pipeline.ruleset import Ruleset
from omen_server.pipeline.run import Outcome
from omen_server.polling import polling, polls_of
from omen_server.refusals import REFUSALS
from omen_server.requeue import Requeue
from omen_server.running import end_now, end_with
from omen_server.settings import PROGRAM, OmenSettings
from omen_server.settled import standing
from omen_server.stats import Stats
from omen_server.stream.stream import Stream
from omen_server.tail import Tail

SIGNALS = signal_service_pb2.DESCRIPTOR.services_by_name["SignalService"]
LEDGER = ledger_service_pb2.DESCRIPTOR.services_by_name["LedgerService"]
OPERATIONS = operations_service_pb2.DESCRIPTOR.services_by_name["OperationsService"]

ENGINE = "file ledger"
LAST_PUSHES_S = 5.0

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Services:
    """
    What answers the calls. It is there before what it answers for is opened, so that probes are answered meanwhile.
    """

    signals: SignalService
    ledger: LedgerService
    operations: Operations


async def run(loaded: Loaded[OmenSettings]) -> None:
    """
    Serve OMEN until told to stop. The order of this list is the order of starting; draining is its reverse.
    """
    settings = loaded.settings
    polls_of(settings)  # Only to refuse what cannot be polled, before anything is opened or made.
    services = Services(SignalService(), LedgerService(), Operations())
    hosted = {SIGNALS: services.signals, LEDGER: services.ledger, OPERATIONS: services.operations}
    server = Server(PROGRAM.name, loaded, hosted, REFUSALS)
    async with AsyncExitStack() as stack:
        stack.enter_context(suppress(StoppedEarly))
        stack.push_async_callback(server.close)
        await server.open()
        ledger = await stack.enter_async_context(ledger_of(settings))
        await stack.enter_async_context(looked_after(ledger, settings, server))
        await stack.enter_async_context(answering(settings, services, ledger, server))
        server.info.paths = {
            "data_dir": str(settings.data_dir.absolute()),
            "ledger": ledger.root,
            "index": settings.index_shown,
            "desk": str(settings.desk_path.absolute()),
        }
        server.info.ledger_id = ledger.identity.ledger_id
        await server.run(ENGINE)


@asynccontextmanager
async def answering(settings: OmenSettings, services: Services, ledger: Ledger, server: Server) -> AsyncIterator[None]:
    """
    Put together what the services answer from, and begin to follow the ledger.
    """
    rules, tail, stats, activity = Ruleset(), Tail(ledger), Stats(utc_now()), Activity()
    async with AsyncExitStack() as stack:
        index, follower = await stack.enter_async_context(index_of(settings, ledger, tail, server))
        desk = await stack.enter_async_context(desk_of(settings, rules))
        notes = Notes(follower, desk, stats, activity, utc_now)
        stack.push_async_callback(notes.written)
        emitter = await stack.enter_async_context(emitting(settings, ledger, tail, notes, server))
        stream = Stream(ledger, tail, index.lookup.first_since, limits=settings.stream)
        stream.start()
        stack.push_async_callback(stream.close)
        keeper = Keeper[Outcome](
            ledger, tail, index.lookup, lambda: follower.indexed_offset, stats=stats, activity=activity
        )
        stack.push_async_callback(keeper.close)
        kind, ahead_max = settings.ledger_payload, timedelta(seconds=settings.emitted_ahead_max_s)
        events = Events(keeper, desk, rules, stats, kind=kind, now=utc_now)
        signals = Signals(keeper, kind, ahead_max, utc_now)
        queries = Queries(index.lookup, keeper, rules, caught_up(ledger, follower))
        services.signals.begin(Parts(events, signals, queries, emitter, notes, stream, rules))
        services.ledger.begin(ledger, emitter.settled if emitter is not None else None, partition_of(index))
        stack.push_async_callback(services.ledger.close)
        poller = await stack.enter_async_context(polling(settings, events, server))
        services.operations.begin(
            Operated(
                desk=desk,
                activity=activity,
                stats=stats,
                ledger=ledger,
                hot_path=emitter.view if emitter is not None else lambda: no_hot_path(ledger),
                subscribers=stream.subscribers,
                sources=poller.breakers,
                requeue=Requeue(desk.dead_letters, events, keeper, emitter, caught_up(ledger, follower)),
                signals_today=emitted_today(index),
            )
        )
        stack.push_async_callback(services.operations.close)
        yield


@asynccontextmanager
async def emitting(
    settings: OmenSettings, ledger: Ledger, tail: Tail, notes: Notes, server: Server
) -> AsyncIterator[Emitter | None]:
    """
    Push to RiskCast what becomes durable from now on, while the block runs; to nobody when no RiskCast is named.

    When draining begins nobody waits for RiskCast any more. Leaving lets the calls in flight end, as long as there is
    time left to drain: whoever still waits has an outcome then.
    """
    if not settings.riskcast:
        metrics.LEDGER_OFFSET.labels("settled").set_function(lambda: ledger.durable_offset)
        log.warning("nothing_is_pushed", text="No RiskCast is configured: signals stay in the ledger.")
        yield None
        return
    breaker = Breaker(failures_max=settings.breaker_failures_max, open_s=settings.breaker_open_s)
    async with riskcast_of(settings) as client:
        emitter = Emitter(tail, client, await standing(ledger), settings.emitter, told=notes.take, breaker=breaker)
        pushing = asyncio.create_task(emitter.run(), name="emitter")
        mourning = asyncio.create_task(end_with(pushing, server))
        hurrying = asyncio.create_task(hurry_when_draining(emitter, server), name="hurry")
        try:
            yield emitter
        finally:
            mourning.cancel()
            await emitter.stop(min(LAST_PUSHES_S, server.drain_left_s))
            hurrying.cancel()
            await asyncio.gather(pushing, hurrying, return_exceptions=True)


async def hurry_when_draining(emitter: Emitter, server: Server) -> None:
    """
    Let nobody wait for RiskCast once draining begins.
    """
    await server.draining.wait()
    emitter.hurry()


def caught_up(ledger: Ledger, follower: Follower) -> Callable[[], Awaitable[None]]:
    """
    Return what waits until the index has everything that is durable at the time of the call.
    """

    async def wait() -> None:
        await follower.wait_indexed(ledger.durable_offset)

    return wait


def partition_of(index: Index) -> Callable[[str], Awaitable[str | None]]:
    """
    Return what tells in which partition a signal lies.
    """

    async def find(signal_id: str) -> str | None:
        (known,) = await index.lookup.find([Wanted(signal_id)])
        return known.partition if known is not None else None

    return find


def emitted_today(index: Index) -> Callable[[], Awaitable[int]]:
    """
    Return what counts the signals emitted today, UTC.
    """

    async def count() -> int:
        return (await index.lookup.counts(utc_now().date().isoformat())).of_day

    return count


def no_hot_path(ledger: Ledger) -> HotPathView:
    """
    Return what there is to see where nothing is pushed: everything durable counts as settled.
    """
    return HotPathView(Breaker().view(), 0.0, 0, 0, 0, ledger.durable_offset, 0)


def utc_now() -> datetime:
    """
    Return the time.
    """
    return datetime.now(UTC)


@asynccontextmanager
async def looked_after(ledger: Ledger, settings: OmenSettings, server: Server) -> AsyncIterator[None]:
    """
    Seal, age and watch the ledger while the block runs. Leaving waits for what is being done: no seal is cut short.
    """

    def tell_space(full: bool) -> None:
        if full:
            server.impair("disk full", [SIGNALS])
        else:
            server.mend("disk full")

    stopping = asyncio.Event()
    poison = asyncio.create_task(end_when_poisoned(ledger, server))
    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(upkeep.seal_when_due(ledger, settings.seal_interval_s, stopping))
            tasks.create_task(upkeep.run_lifecycle(ledger, settings.lifecycle_interval_s, stopping))
            tasks.create_task(upkeep.measure(ledger, settings.seal_interval_s, stopping))
            tasks.create_task(upkeep.watch_space(ledger, settings.disk_check_interval_s, stopping, tell_space))
            try:
                yield
            finally:
                stopping.set()
    except ExceptionGroup as raised:
        # A start that is refused within the block must reach whoever says so in words, and not as one of several.
        if len(raised.exceptions) > 1:
            raise
        raise raised.exceptions[0] from raised.exceptions[0].__cause__
    finally:
        poison.cancel()


async def end_when_poisoned(ledger: Ledger, server: Server) -> None:
    """
    End the process when the disk has failed under the ledger: nobody knows what it holds until a restart has looked.
    """
    failed = await asyncio.shield(ledger.failed)
    log.critical("ledger_poisoned", text=str(failed), exit_code=FAILED)
    await end_now(server)
