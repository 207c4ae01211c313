import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeAlias

import structlog

from omen_client import CallError, OmenClient, RiskCastClient
from omen_rpc import logs
from omen_rpc.channel import ClientFiles, ConnectionRefused
from omen_rpc.errors import Reason, Unreachable, fault
from omen_rpc.full_disk import full_disk
from omen_rpc.program import FAILED, StartFailed
from omen_rpc.refusal import Translate
from omen_rpc.server import Server
from omen_rpc.settings import Loaded, SettingsRefused
from reconcile.v1 import reconcile_service_pb2 as pb

from .comparing import Comparing
from .console import Console
from .courtesy import Courtesy
from .parking import Parking
from .reconcile import Reconcile, Wish
from .replay import Rate, Replayer
from .rounds import Rounds, Target, Tell
from .service import ReconcileService
from .settings import PROGRAM, ReconcilerSettings
from .state import State, StateError, StateFailed, StateLocked, StateUnavailable, open_state

Summary: TypeAlias = pb.RunReconcileResponse.Summary

SERVICE = pb.DESCRIPTOR.services_by_name["ReconcileService"]
RETRY_S = 1.0
# A round over everything, also what lies further back than rounds look: a restored store shows there as well.
ALL_EVERY_S = 86_400.0
PROBLEM, UNREACHABLE = 1, 4
ASK_IT = "Have that one make the round with `omen reconcile run`, or give this one a state of its own."

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Parts:
    """
    What the program is put together from.
    """

    state: State
    comparing: Comparing
    rate: Rate
    parking: Parking
    rounds: Rounds


async def serve(loaded: Loaded[ReconcilerSettings]) -> None:
    """
    Make rounds and answer calls until told to stop.
    """
    settings, service = loaded.settings, ReconcileService()
    server = Server(PROGRAM.name, loaded, {SERVICE: service}, TRANSLATE)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(server.close)
        await server.open()
        try:
            parts = await stack.enter_async_context(parts_of(settings))
        except StateUnavailable as error:
            # Whoever starts it again later may find it there.
            raise StartFailed(f"--state: {error}") from None
        service.begin(
            state=parts.state,
            rounds=parts.rounds,
            comparing=parts.comparing,
            parking=parts.parking,
            rate=parts.rate,
            settings=settings,
        )
        going = [asyncio.create_task(go_round(parts.rounds, settings))] if settings.interval else []
        try:
            await server.run(parts.state.engine)
        finally:
            for each in going:
                each.cancel()
            await asyncio.gather(*going, return_exceptions=True)


async def run_once(settings: ReconcilerSettings, target: Target, wish: Wish) -> int:
    """
    Make one round, tell of it on stdout, and return the exit code: 1 when a partition is left PARTIAL or FAILED.
    """
    console = Console(sys.stdout)
    try:
        async with parts_of(settings) as parts:
            summary = await in_turn(parts.rounds, target, wish, console.tell, settings.lease_s)
    except CallError as error:
        return told(error.message + hint(error), UNREACHABLE if error.retryable else PROBLEM)
    except StateError as error:
        return told(f"--state: {error}", UNREACHABLE if isinstance(error, StateUnavailable) else FAILED)
    return PROBLEM if summary.partial or summary.failed else 0


def told(text: str, code: int) -> int:
    """
    Say on stderr why a round was not made, and return the exit code.
    """
    print(f"{PROGRAM.name}: {text}", file=sys.stderr)  # noqa: T201 - a command's own words
    return code


def hint(error: CallError) -> str:
    """
    Return what to do about a server that is not there.
    """
    if not isinstance(error, Unreachable):
        return ""
    if error.tls == "missing":
        return " If it speaks TLS, give the CA of its certificate with --tls-ca."
    return f" Is it running? Start it, or name another with --{error.server.lower()}."


async def in_turn(rounds: Rounds, target: Target, wish: Wish, tell: Tell, lease_s: float) -> Summary:
    """
    Make a round when no other reconciler is at work; one that died is waited for until its lease has run out.
    """
    loop = asyncio.get_running_loop()
    ends_s = loop.time() + lease_s + RETRY_S
    while True:
        try:
            return await rounds.make(target, wish, tell)
        except CallError as error:
            if error.reason != "LEASE_HELD" or loop.time() >= ends_s:
                raise
        await asyncio.sleep(RETRY_S)


async def go_round(rounds: Rounds, settings: ReconcilerSettings) -> None:
    """
    Make a round every so often, for ever: over the last days, and once a day over everything.
    """
    loop = asyncio.get_running_loop()
    all_due_s = loop.time()
    wish = Wish(include_open=settings.include_open, replays_max=settings.replays_max, seconds_max=settings.round_s_max)
    while True:
        due_s = loop.time() + settings.interval
        everything = loop.time() >= all_due_s
        try:
            summary = await rounds.make(
                Target() if everything else Target(since_days=settings.since_days), wish, ignore
            )
        except CallError as error:
            log.warning("round_not_made", reason=error.reason or error.code.name, text=error.message)
        except StateUnavailable as error:
            log.warning("round_not_made", reason="STORE_UNAVAILABLE", text=str(error))
        except Exception as error:  # Whatever it is: the next round computes all of it anew.
            log.exception("round_failed", text=logs.words(error))
        else:
            all_due_s = loop.time() + ALL_EVERY_S if everything else all_due_s
            if summary.replayed_count or summary.partial or summary.failed:
                log.info(
                    "round",
                    run_id=summary.run_id,
                    completed=summary.completed,
                    partial=summary.partial,
                    failed=summary.failed,
                    replayed=summary.replayed_count,
                    remaining=summary.remaining_count,
                )
        await asyncio.sleep(max(0.0, due_s - loop.time()))


@asynccontextmanager
async def parts_of(settings: ReconcilerSettings) -> AsyncIterator[Parts]:
    """
    Open the state and connect to both servers.

    StateUnavailable when the state's database does not answer; SettingsRefused for all that trying again cannot mend.
    """
    async with AsyncExitStack() as stack:
        place_for(settings.state)
        try:
            state = await stack.enter_async_context(open_state(settings.state))
        except (StateUnavailable, OSError):
            if full := full_disk(settings.state):
                raise StartFailed(f"--state: {full}") from None
            raise
        except StateLocked as error:
            raise SettingsRefused(f"--state: {error}. {ASK_IT}") from None
        except StateFailed as error:
            raise SettingsRefused(f"--state: {error}") from None
        omen, riskcast = clients(settings)
        await stack.enter_async_context(omen)
        await stack.enter_async_context(riskcast)
        rate = Rate(await state.control.rate() or settings.replay_rate)
        comparing = Comparing(omen, riskcast)
        replayer = Replayer(omen, riskcast, rate, Courtesy(omen).wait)
        reconcile = Reconcile(omen, comparing, replayer, runs=state.runs, parked=state.parked, now=utc_now)
        rounds = Rounds(omen, reconcile, state, lease_s=settings.lease_s, now=utc_now)
        await rounds.learn()
        yield Parts(state, comparing, rate, Parking(state.parked, replayer, utc_now), rounds)


def clients(settings: ReconcilerSettings) -> tuple[OmenClient, RiskCastClient]:
    """
    Return the clients of both servers.
    """
    secure = settings.tls_ca is not None or settings.tls_client_cert is not None
    tls = ClientFiles(settings.tls_ca, settings.tls_client_cert, settings.tls_client_key) if secure else None
    try:
        return (
            OmenClient(settings.omen, api_key=settings.omen_api_key_file or "", tls=tls),
            RiskCastClient(settings.riskcast, api_key=settings.riskcast_api_key_file or "", tls=tls),
        )
    except ConnectionRefused as error:
        raise SettingsRefused(str(error)) from None


def place_for(url: str) -> None:
    """
    Make the directory of a SQLite file that is to be made.
    """
    if url.startswith("sqlite:///"):
        with suppress(OSError):
            Path(url.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)


def ignore(_frame: pb.RunReconcileResponse) -> None:
    """
    Tell nobody: the state keeps what came of it.
    """


def utc_now() -> datetime:
    """
    Return the time.
    """
    return datetime.now(UTC)


def unavailable(_error: StateUnavailable) -> CallError:
    """
    Return what a database that does not answer is to a caller.
    """
    return fault(Reason.ERROR_REASON_STORE_UNAVAILABLE, metadata={"retry_after_s": RETRY_S}, retry_after_s=RETRY_S)


TRANSLATE: Translate = {StateUnavailable: unavailable, StateFailed: unavailable}
