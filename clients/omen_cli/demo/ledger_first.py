"""
The proof of the order: a RiskCast that looks into the ledger when it is called, and a disk that takes nothing.
"""

import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from omen.v1 import signal_service_pb2 as pb
from omen.v1.signal_service_pb2_grpc import SignalServiceStub
from omen_cli.demo.claims import Claim, Show
from omen_cli.demo.signals import DAY, item, items
from omen_cli.demo.witness import witnessing
from omen_cli.demo.world import World, running
from omen_client import CallError
from omen_rpc.channel import Connection

PUSHED = 20
REFUSED = PUSHED + 1

ORDER = Claim(
    "ledger-first",
    "Ledger written before hot path: at the moment RiskCast is called, the ledger has the signal already.",
    "tests/e2e/test_ledger_first.py::test_the_system_calls_are_write_sync_send",
)
NO_PUSH = Claim(
    "ledger-first-refused",
    "When the ledger cannot be written, the caller hears an error and RiskCast hears nothing.",
    "tests/e2e/test_ledger_first_fails.py::test_ledger_write_failure_returns_failed",
)
CLAIMS = (ORDER, NO_PUSH)


async def ledger_first(place: Path, show: Show, seed: int) -> None:
    """
    Have a real OMEN push to a witness; then let its files grow no further, and emit once more.
    """
    here = place / "ledger-first"
    here.mkdir()
    async with witnessing(here / "ledger") as (witness, address), running(here, riskcast=address) as world:
        with show.step(ORDER) as step:
            found: list[pb.EmitResult | CallError] = []
            async with world.omen() as near:
                for each in items(seed, range(1, PUSHED + 1)):
                    found += await near.emit_all([each])
            delivered = [
                each for each in found if isinstance(each, pb.EmitResult) and each.status == pb.EMIT_STATUS_DELIVERED
            ]
            step.saw("delivered", len(delivered), PUSHED)
            step.saw("in_the_ledger_when_pushed", len(witness.written_first), PUSHED)
            step.saw("pushed_before_the_ledger", witness.pushed_first, [])
        if sys.platform == "linux":  # Elsewhere nobody can limit the files of another process.
            with show.step(NO_PUSH) as step:
                calls = witness.calls
                with _full(world, here / "ledger" / DAY / "signals-001.wal"):
                    step.saw("answer", await _answer(world, seed, REFUSED), "LEDGER_WRITE_FAILED")
                step.saw("calls_to_riskcast", witness.calls - calls, 0)
                step.saw("ledger", len(await world.records(DAY)), PUSHED)
                step.saw("with_room_again", await _answer(world, seed, REFUSED + 1), "DELIVERED")


async def _answer(world: World, seed: int, number: int) -> str:
    """
    Emit one signal, once, and return the status it ends in, or the reason why it does not.
    """
    given = item(seed, number)
    request = pb.EmitSignalRequest(signal=given.signal, observed_at=given.observed_at, emitted_at=given.emitted_at)
    async with Connection(world.omen_address, attempts_max=1) as connection:
        try:
            reply = await connection.call(SignalServiceStub(connection.calls).EmitSignal, request)
        except CallError as error:
            return error.reason
    return pb.EmitStatus.Name(reply.result.status).removeprefix("EMIT_STATUS_")


@contextmanager
def _full(world: World, segment: Path) -> Iterator[None]:
    """
    Let no file of OMEN grow beyond the size that its segment has, as if the disk ended there, while the block runs.
    """
    before = resource.prlimit(world.omen_pid, resource.RLIMIT_FSIZE)
    resource.prlimit(world.omen_pid, resource.RLIMIT_FSIZE, (segment.stat().st_size, before[1]))
    try:
        yield
    finally:
        resource.prlimit(world.omen_pid, resource.RLIMIT_FSIZE, before)
