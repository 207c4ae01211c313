import asyncio
import signal as signals
from contextlib import AbstractAsyncContextManager, suppress
from pathlib import Path

import pytest

from omen_client import CallError, DeadlineExceeded, Duplicate, Ingested, NotFound, RiskCastClient, Unavailable
from tests.fault_proxy import fault_proxy
from tests.processes import ServerProcess, running, started
from tests.riskcast_server.signals import signal


def store(directory: Path) -> str:
    """
    Return the flag for a SQLite store in *directory*.
    """
    return f"--store=sqlite:///{directory}/riskcast.db"


def alive(directory: Path, url: str = "") -> AbstractAsyncContextManager[ServerProcess]:
    """
    Run RiskCast over the store at *url*, or over a SQLite file in *directory*.
    """
    return running("riskcast-server", f"--store={url}" if url else store(directory), cwd=directory)


async def stored(client: RiskCastClient, signal_id: str) -> None:
    """
    Wait until the server has a signal.
    """
    async with asyncio.timeout(30):
        while True:
            try:
                await client.processed(signal_id)
            except NotFound:
                continue
            return


async def test_a_lost_reply_and_a_kill_are_answered_with_the_first_ack(tmp_path: Path) -> None:
    """
    The reply never arrives and the server is killed right after the commit: the retry gets the stored ack, and its own
    request id tells that it was itself.
    """
    async with (
        alive(tmp_path) as server,
        fault_proxy(server.address) as proxy,
        RiskCastClient(proxy.address, timeout_s=30) as caller,
        RiskCastClient(server.address) as watcher,
    ):
        await caller.info()  # The connection stands before the fault begins.
        proxy.to_client.bytes_left = 0
        lost = asyncio.create_task(caller.ingest_alone(signal(), request_id="attempt-1"))
        await stored(watcher, signal().signal_id)
        ack = (await watcher.processed(signal().signal_id)).ack_id
        server.process.send_signal(signals.SIGKILL)
        lost.cancel()
        await server.wait()
    async with (
        alive(tmp_path) as server,
        RiskCastClient(server.address) as client,
    ):
        again = await client.ingest_alone(signal(), request_id="attempt-1")
    assert isinstance(again, Duplicate)
    assert (again.ack_id, again.request_id) == (ack, "attempt-1")


@pytest.mark.parametrize("fault", ["reset", "cut"])
async def test_a_connection_that_breaks_in_mid_reply_is_mended_by_the_client(tmp_path: Path, fault: str) -> None:
    """
    The client sends again by itself and is told the first ack; the signal is stored once.
    """
    async with (
        alive(tmp_path) as server,
        fault_proxy(server.address) as proxy,
        RiskCastClient(proxy.address, timeout_s=20) as client,
    ):
        await client.info()
        proxy.to_client.bytes_left, proxy.to_client.then = 5, fault
        call = asyncio.create_task(client.ingest(signal()))
        await asyncio.wait_for(proxy.swallowed.wait(), 10)
        proxy.heal()
        outcome = await call
        assert isinstance(outcome, (Duplicate, Ingested))
        assert (await client.stats()).stored == 1
        assert (await client.processed(signal().signal_id)).ack_id == outcome.ack_id


async def test_a_black_hole_ends_with_the_deadline(tmp_path: Path) -> None:
    """
    A half-open connection hangs nobody: the call ends at its deadline, and the next one works.
    """
    async with (
        alive(tmp_path) as server,
        fault_proxy(server.address) as proxy,
    ):
        async with RiskCastClient(proxy.address, timeout_s=1) as client:
            await client.info()
            proxy.to_server.bytes_left = 0
            with pytest.raises(DeadlineExceeded):
                await client.ingest(signal())
        proxy.heal()
        async with RiskCastClient(proxy.address) as client:
            assert isinstance(await client.ingest(signal()), Ingested)


async def test_a_caller_that_goes_away_in_mid_commit_leaves_a_whole_row_or_none(tmp_path: Path) -> None:
    """
    Calls cancelled at every moment of a commit leave each signal stored whole or not at all, and the server at work.
    """
    async with alive(tmp_path) as server:
        async with RiskCastClient(server.address) as client:
            for number in range(60):
                call = asyncio.create_task(client.ingest_alone(signal(number)))
                for _ in range(number % 12):
                    await asyncio.sleep(0)
                call.cancel()
                await asyncio.gather(call, return_exceptions=True)
            for number in range(60):
                outcome = await client.ingest(signal(number))
                assert isinstance(outcome, (Ingested, Duplicate))
                assert (await client.processed(signal(number).signal_id)).event == signal(number)
            assert (await client.stats()).stored == 60
        assert not [line for line in server.raw if "locked" in line or "unforeseen" in line]


async def test_a_deadline_in_mid_commit_leaves_a_whole_row_or_none(tmp_path: Path) -> None:
    """
    The same for deadlines that pass while the server works.
    """
    async with (
        alive(tmp_path) as server,
        RiskCastClient(server.address) as client,
    ):
        await client.info()
        for number in range(40):
            short = RiskCastClient(server.address, timeout_s=0.0005 * (number % 10 + 1))
            async with short:
                with suppress(DeadlineExceeded, Unavailable):
                    await short.ingest_alone(signal(number))
        outcomes = [await client.ingest(signal(number)) for number in range(40)]
        assert len({outcome.ack_id for outcome in outcomes}) == 40
        assert (await client.stats()).stored == 40


async def test_two_processes_on_one_postgres_store_a_signal_once(tmp_path: Path, postgres_url: str) -> None:
    """
    20 calls at one moment, half to each process: one winner, 19 duplicates with its ack, one row.
    """
    async with (
        alive(tmp_path, postgres_url) as one,
        alive(tmp_path, postgres_url) as two,
        RiskCastClient(one.address) as first,
        RiskCastClient(two.address) as second,
    ):
        barrier = asyncio.Barrier(20)

        async def call(client: RiskCastClient) -> Ingested | Duplicate:
            await barrier.wait()
            return await client.ingest_alone(signal())

        outcomes = await asyncio.gather(*(call(client) for client in (first, second) for _ in range(10)))
        assert sum(isinstance(outcome, Ingested) for outcome in outcomes) == 1
        assert len({outcome.ack_id for outcome in outcomes}) == 1
        assert (await second.stats()).stored == 1


async def test_a_second_server_on_one_database_is_refused(tmp_path: Path) -> None:
    """
    It ends at once with 2 and names the process that has the database.
    """
    async with alive(tmp_path) as first:
        second: ServerProcess = await started("riskcast-server", store(tmp_path), cwd=tmp_path)
        assert await second.wait() == 2
        assert f"pid {first.pid}" in "".join(second.raw)


async def test_a_database_that_does_not_answer_is_named(tmp_path: Path) -> None:
    """
    Without its PostgreSQL the start fails in words and with 70, so that whoever supervises it tries again.
    """
    url = f"postgresql://omen:secret@/omen?host={tmp_path}"
    server = await started("riskcast-server", f"--store={url}", cwd=tmp_path)
    assert await server.wait() == 70
    assert server.raw[-1].startswith("riskcast-server: --store: PostgreSQL cannot be reached")
    assert "secret" not in "".join(server.raw)


async def test_what_was_acked_survives_kills_under_load(tmp_path: Path) -> None:
    """
    Three times killed in the middle of a load: every ack that a caller got is still that signal's ack.
    """
    acks: dict[str, str] = {}
    enough = [asyncio.Event() for _ in range(3)]
    for life in range(3):
        async with (
            alive(tmp_path) as server,
            RiskCastClient(server.address) as client,
        ):

            async def caller(number: int, client: RiskCastClient = client, life: int = life) -> None:
                for step in range(1000):
                    event = signal(life * 100_000 + number * 1000 + step)
                    acks[event.signal_id] = (await client.ingest(event)).ack_id
                    if len(acks) >= 200 * (life + 1):
                        enough[life].set()

            load = asyncio.gather(*(caller(number) for number in range(16)), return_exceptions=True)
            await enough[life].wait()
            server.process.kill()
            await server.wait()
            failed = await load
            assert any(isinstance(each, CallError) for each in failed)
    async with (
        alive(tmp_path) as server,
        RiskCastClient(server.address) as client,
    ):
        names = sorted(acks)
        for at in range(0, len(names), 500):
            found = await client.lookup(names[at : at + 500])
            assert not found.unknown
            assert {receipt.signal_id: receipt.ack_id for receipt in found.receipts} == {
                name: acks[name] for name in names[at : at + 500]
            }
    assert len(acks) >= 600


async def test_drain_answers_what_is_in_flight(tmp_path: Path) -> None:
    """
    On SIGTERM every call gets its outcome or an error that says try again, what was acked is kept, the exit code is 0.
    """
    async with (
        alive(tmp_path) as server,
        RiskCastClient(server.address) as client,
    ):
        await client.info()
        calls = [asyncio.create_task(client.ingest_alone(signal(number))) for number in range(50)]
        await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
        server.process.send_signal(signals.SIGTERM)
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        assert await server.wait() == 0
    assert all(isinstance(each, Ingested | Duplicate | Unavailable) for each in outcomes), outcomes
    async with (
        alive(tmp_path) as server,
        RiskCastClient(server.address) as client,
    ):
        for number, outcome in enumerate(outcomes):
            if isinstance(outcome, Ingested):
                assert (await client.processed(signal(number).signal_id)).ack_id == outcome.ack_id
