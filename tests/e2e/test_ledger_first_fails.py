"""
One of the two paths fails: the hot path, and then the ledger. The tests' names are those of the proof pack.
"""

import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from omen.v1 import signal_service_pb2 as pb
from omen.v1.signal_service_pb2_grpc import SignalServiceStub
from tests.e2e.pair import SOON, emitted, ledger_of, omen, ready, to_riskcast
from tests.e2e.scripted_riskcast import scripted
from tests.hosting import channel_to, refusal


async def test_ledger_first_invariant_hot_path_fails(tmp_path: Path) -> None:
    """
    With nobody at RiskCast's address the answer is LEDGER_ONLY, without an ack, and the ledger has the signal.
    """
    async with omen(tmp_path, *SOON) as (_, near):
        (result,) = await near.emit_all([ready(1)])
        assert isinstance(result, pb.EmitResult)
        assert (result.status, result.ack_id) == (pb.EMIT_STATUS_LEDGER_ONLY, "")
        assert await ledger_of(near) == [result.event]


@contextmanager
def full(pid: int, file: Path) -> Iterator[None]:
    """
    Let no file of a process grow beyond the size that *file* has, while the block runs.
    """
    before = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (file.stat().st_size, before[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, before)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nobody can limit the files of another process")
async def test_ledger_write_failure_returns_failed(tmp_path: Path) -> None:
    """
    A signal that the ledger's file takes no more is an error of its call: nothing is pushed, nothing is kept, and the
    next one is taken when there is room.
    """
    async with scripted(tmp_path) as script, omen(tmp_path, to_riskcast(tmp_path)) as (server, near):
        events = await emitted(near, [*range(1, 21)])
        (segment,) = (tmp_path / "ledger").glob("20*/signals-001.wal")
        async with channel_to(server.address) as channel:  # It tries once, where the client would try again.
            with full(server.pid, segment):
                call = SignalServiceStub(channel).EmitSignal(pb.EmitSignalRequest(signal=ready(21).signal))
                assert (await refusal(call)).reason == "LEDGER_WRITE_FAILED"
        assert len(script.events) == 20
        assert await ledger_of(near) == events
        (last,) = await emitted(near, [22])
        assert (await ledger_of(near))[-1] == last
        assert [each.signal_id for each in script.events[20:]] == [last.signal_id]
