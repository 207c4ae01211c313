"""
What three real servers say at /metrics, and that it moves with what they do.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

from omen.v1 import signal_service_pb2 as pb
from omen_client import OmenClient, RiskCastClient
from omen_rpc import metrics
from riskcast.v1.ingest_service_pb2 import INGEST_ORIGIN_DIRECT, IngestBatchItem
from tests.e2e.pair import SOON, emitted, figures, ledger_of, omen, riskcast
from tests.e2e.reconciling import reconciler
from tests.hosting import channel_to, refusal, unary
from tests.processes import ServerProcess

DESCRIPTION = "x" * 2_000
SIGNALS = 400
STREAM = "/omen.v1.SignalService/StreamSignals"


async def figures_when(server: ServerProcess, condition: Callable[[dict[str, float]], bool]) -> dict[str, float]:
    """
    Return the first figures that are as a test waits for them to be.
    """
    async with asyncio.timeout(20):
        while not condition(seen := await figures(server)):  # noqa: ASYNC110 - a scrape is how one asks
            await asyncio.sleep(0.05)
    return seen


async def test_every_server_counts_what_it_does(tmp_path: Path) -> None:
    """
    Appends, syncs, offsets, sizes, pushes, ingests by outcome, the way end to end, rounds, calls by method and code,
    lines by level: each series of the three servers moves, and none shows what is another's.
    """
    async with (
        riskcast(tmp_path) as (far_server, far),
        omen(tmp_path, *SOON, "--seal-interval-s=0.2") as (server, near),
    ):
        assert (await figures(server))["omen_ledger_appends_total"] == 0
        await emitted(near, range(1, 21))
        await check_omen(server)
        await check_riskcast(far_server, far, near)
        await check_calls(server)
        await check_breaker(server, far_server, near)
    async with riskcast(tmp_path) as _, omen(tmp_path) as (_, near):
        await check_reconciler(tmp_path, near)


async def check_omen(server: ServerProcess) -> None:
    """
    The ledger's series are what 20 delivered signals make of them.
    """
    seen = await figures_when(
        server, lambda now: now['omen_ledger_offset{state="settled"}'] == 20 and now["omen_ledger_size_bytes"] > 0
    )
    assert {seen[f'omen_ledger_offset{{state="{state}"}}'] for state in ("written", "durable")} == {20}
    assert seen["omen_ledger_appends_total"] == seen["omen_ledger_batch_records_sum"] == 20
    assert seen["omen_ledger_sync_seconds_count"] >= 1 < seen["omen_ledger_written_bytes_total"]
    assert seen["omen_ledger_disk_free_bytes"] > 1 << 20
    assert seen["omen_end_to_end_seconds_count"] == seen['omen_push_signals_total{outcome="delivered"}'] == 20
    assert 0 < seen["omen_end_to_end_seconds_sum"] < 20 * 20
    assert seen['omen_push_breaker_state{state="closed"}'] == 1
    assert seen['omen_log_messages_total{level="info"}'] >= 2
    assert {name for name in seen if metrics.server_of(name) in {"riskcast-server", "omen-reconciler"}} == set()


async def check_riskcast(server: ServerProcess, far: RiskCastClient, near: OmenClient) -> None:
    """
    Ingests are counted by origin and by what became of them.
    """
    events = await ledger_of(near)
    events[1].signal.title = "Something else"
    events[1].content_digest = ""
    events[2].signal_id = "no id"
    await far.ingest_batch([IngestBatchItem(signal=each) for each in events[:3]], origin=INGEST_ORIGIN_DIRECT)
    seen = await figures(server)
    ingested = {name: value for name, value in seen.items() if name.startswith("omen_ingest_signals_total")}
    assert ingested == {
        'omen_ingest_signals_total{origin="hot_path",outcome="accepted"}': 20,
        'omen_ingest_signals_total{origin="direct",outcome="duplicate"}': 1,
        'omen_ingest_signals_total{origin="direct",outcome="conflict"}': 1,
        'omen_ingest_signals_total{origin="direct",outcome="refused"}': 1,
    }
    assert {metrics.server_of(name) for name in seen} == {metrics.EVERY, "riskcast-server"}


async def check_calls(server: ServerProcess) -> None:
    """
    Calls are counted by method and code; a method that does not exist is `other`, whatever it is called.
    """
    async with channel_to(server.address) as channel:
        for path in ("/omen.v1.SignalService/Nothing", "/a.b/c"):
            await refusal(unary(channel, path)(b"", timeout=5))
        await refusal(unary(channel, "/omen.v1.SignalService/GetSignal")(b"\xff", timeout=5))
    seen = await figures(server)
    assert seen['omen_rpc_calls_total{code="UNIMPLEMENTED",method="other",service="other"}'] == 2
    ours = 'service="omen.v1.SignalService"}'
    assert seen[f'omen_rpc_calls_total{{code="OK",method="EmitSignals",{ours}'] == 1
    assert seen[f'omen_rpc_calls_total{{code="INVALID_ARGUMENT",method="GetSignal",{ours}'] == 1
    assert not [name for name in seen if "Nothing" in name or "a.b" in name]


async def check_breaker(server: ServerProcess, far_server: ServerProcess, near: OmenClient) -> None:
    """
    With RiskCast gone the breaker opens, and that is a warning.
    """
    warnings = (await figures(server)).get('omen_log_messages_total{level="warning"}', 0)
    await far_server.stop()
    await emitted(near, range(21, 31), delivery=pb.DELIVERY_LEDGER)
    seen = await figures_when(server, lambda now: now['omen_push_breaker_state{state="open"}'] == 1)
    assert seen['omen_push_breaker_state{state="closed"}'] == 0
    seen = await figures_when(server, lambda now: now['omen_push_signals_total{outcome="ledger_only"}'] == 10)
    assert seen['omen_log_messages_total{level="warning"}'] > warnings


async def check_reconciler(place: Path, near: OmenClient) -> None:
    """
    A round counts what it found and brought; while none succeeds the age of the last success rises, over a restart as
    well, and one ends that.
    """
    age, success = "omen_reconcile_last_success_age_seconds", "omen_reconcile_last_success_timestamp"
    async with reconciler(place, "--interval=0.2") as (server, client):
        seen = await figures_when(server, lambda now: now[success] > 0)
        assert seen["omen_reconcile_missing_signals_total"] == seen["omen_reconcile_replayed_signals_total"] == 10
        assert seen['omen_reconcile_runs_total{outcome="completed"}'] == 1
        assert {metrics.server_of(name) for name in seen} == {metrics.EVERY, "omen-reconciler"}
        await client.pause("to see it age")
        old = await figures_when(server, lambda now: now[age] > 0.7)
    async with reconciler(place, "--interval=0.2") as (server, client):
        again = await figures_when(server, lambda now: now[age] >= old[age])
        assert again[success] == old[success]
        await client.resume()
        await figures_when(server, lambda now: now[age] < old[age])
    assert (await ledger_of(near))[-1].ledger_offset == 30


async def test_lag_rises_while_a_subscriber_takes_nothing(tmp_path: Path) -> None:
    """
    One who takes nothing is counted, and behind in records and in seconds, the more the longer; one who leaves is not.
    """
    async with omen(tmp_path, "--riskcast=") as (server, near):
        await emitted(near, range(1, SIGNALS + 1), DESCRIPTION)
        async with channel_to(server.address, None, ("grpc.http2.bdp_probe", 0)) as channel:
            stream: Any = channel.unary_stream(STREAM)
            call = stream(pb.StreamSignalsRequest(from_beginning=True).SerializeToString())
            await call.read()  # And nothing after it.
            first = await figures_when(server, lambda now: now["omen_stream_lag_seconds"] > 0)
            assert sum(first[f'omen_stream_subscribers{{state="{state}"}}'] for state in ("live", "behind")) == 1
            assert 0 < first["omen_stream_lag_records"] <= SIGNALS
            await emitted(near, range(SIGNALS + 1, SIGNALS + 11))
            second = await figures_when(
                server, lambda now: now["omen_stream_lag_records"] == first["omen_stream_lag_records"] + 10
            )
            assert second["omen_stream_lag_seconds"] > first["omen_stream_lag_seconds"]
            call.cancel()
        gone = await figures_when(server, lambda now: now["omen_stream_lag_seconds"] == 0)
        assert gone["omen_stream_lag_records"] == 0
        assert gone['omen_ledger_offset{state="settled"}'] == SIGNALS + 10
