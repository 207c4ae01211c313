"""
What must stay where it is: keys, bodies and headers are in no log, no metric and no error of real servers.
"""

import asyncio
from pathlib import Path

import grpc

from omen.v1.signal_service_pb2 import EmitSignalsRequest
from omen_client import OmenClient
from omen_rpc.status import from_rpc_error
from tests.e2e.pair import SOON, omen, ready, scraped
from tests.hosting import channel_to, unary
from tests.processes import running

OURS, THEIRS, GUESS, BODY, HEADER = ("sk-ours-51Hx", "sk-theirs-77Qy", "sk-guess-30Zt", "body-51Kp", "header-08Wn")
EMIT = "/omen.v1.SignalService/EmitSignals"


async def failure(address: str, body: bytes, *metadata: tuple[str, str]) -> str:
    """
    Call EmitSignals so that it fails, and return all that the caller is told.
    """
    async with channel_to(address) as channel:
        try:
            await unary(channel, EMIT)(body, timeout=5, metadata=metadata)
        except grpc.aio.AioRpcError as error:
            told = from_rpc_error(error)
            return f"{error.details()} {error.trailing_metadata()} {told.__dict__}"
    raise AssertionError("it did not fail")


async def test_no_secret_leaves_its_place(tmp_path: Path) -> None:
    """
    A key that is right, wrong, or shown to RiskCast, a body that is taken or refused, and a header are nowhere to be
    read afterwards; the calls that were refused are on record all the same.
    """
    (tmp_path / "theirs").write_text(f"omen:ingest:{THEIRS}\n")
    (tmp_path / "ours").write_text(f"maker:ingest,read:{OURS}\n")
    store = (f"--store=sqlite:///{tmp_path}/riskcast.db", f"--listen=unix:{tmp_path}/riskcast.sock")
    keys = (f"--api-keys-file={tmp_path}/ours", f"--riskcast-api-key-file={tmp_path}/theirs", "--log-level=debug")
    async with (
        running("riskcast-server", *store, f"--api-keys-file={tmp_path}/theirs", cwd=tmp_path) as far,
        omen(tmp_path, *keys, *SOON) as (server, _),
        OmenClient(server.address, api_key=OURS) as near,
    ):
        (outcome,) = await near.emit_all([ready(1, f"{BODY} {'x' * 100_000}"[:9_000])])
        assert not isinstance(outcome, Exception), outcome
        assert outcome.ack_id
        bad = ready(2, BODY)
        bad.signal.signal_id = "no id"
        too_many = EmitSignalsRequest(signals=[bad] * 501).SerializeToString()
        shown = [
            await failure(server.address, too_many, ("x-api-key", OURS)),
            await failure(server.address, b"\xff" + BODY.encode(), ("x-api-key", OURS), ("x-debug", HEADER)),
            await failure(server.address, b"", ("x-api-key", GUESS), ("traceparent", HEADER)),
            await failure(server.address, b"", ("authorization", f"Bearer {GUESS}"), ("x-request-id", f"{HEADER} ")),
            *(await asyncio.gather(*(asyncio.to_thread(scraped, each.web) for each in (server, far)))),
        ]
        refused = [line for line in server.lines if line["event"] == "call_refused"]
        assert {line["reason"] for line in refused} == {"INVALID_FIELDS", "MALFORMED_REQUEST", "API_KEY_UNKNOWN"}
        assert all({"time", "level", "service", "request_id", "code"} <= line.keys() for line in refused)
    shown += [*server.raw, *far.raw]
    for secret in (OURS, THEIRS, GUESS, BODY, HEADER):
        assert [text for text in shown if secret in text] == []
