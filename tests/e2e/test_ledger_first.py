"""
Nothing is pushed and nothing is streamed that is not durable: with a full disk, a failing one, and by the system calls.
"""

import asyncio
import re
import sys
from pathlib import Path

import pytest

from omen.v1 import signal_service_pb2 as pb
from omen.v1.signal_service_pb2_grpc import SignalServiceStub
from omen_client import Exhausted
from omen_rpc.program import FAILED
from tests.conftest import need
from tests.e2e.full_disk import fill
from tests.e2e.listener import Listener
from tests.e2e.pair import emitted, ledger_of, omen, raw, ready, to_riskcast
from tests.e2e.scripted_riskcast import scripted
from tests.hosting import channel_to, refusal

SMALL = ("--ledger-ballast-bytes=65536", "--ledger-resume-free-bytes=1000000", "--disk-check-interval-s=0.05")
LOADERS = 8


async def test_what_a_full_disk_refuses_goes_nowhere(small_disk: Path, tmp_path: Path) -> None:
    """
    With the ledger's disk full every way in ends with STORAGE_EXHAUSTED, RiskCast sees no call and subscribers nothing;
    with room again the same is taken, once each.
    """
    filler = small_disk / "somebody else's file"
    async with scripted(tmp_path) as script, omen(small_disk, *SMALL, to_riskcast(tmp_path)) as (server, near):
        await emitted(near, [1])
        listener = Listener(near)
        fill(filler)
        with pytest.raises(Exhausted) as caught:
            # What the segment has room for is taken yet.
            for number in range(10, 3000):
                await emitted(near, [number], "x" * 4000)
        assert caught.value.reason == "STORAGE_EXHAUSTED"
        await server.line("ledger_read_only")
        kept, calls = len(await ledger_of(near)), script.calls
        ways = (
            lambda: near.submit(raw(1)),
            lambda: near.submit_all([raw(2), raw(2)]),
            lambda: near.emit(ready(3).signal),
            lambda: near.emit_all([ready(4), ready(4)]),
        )
        for way in ways:
            with pytest.raises(Exhausted) as caught:
                await way()
            assert (caught.value.reason, "path" in caught.value.metadata) == ("STORAGE_EXHAUSTED", True)
        assert (len(await ledger_of(near)), script.calls, len(script.events)) == (kept, calls, kept)
        filler.unlink()
        await server.line("ledger_writable_again")
        for way in ways:
            answer = await way()
            for result in answer if isinstance(answer, list) else [answer]:
                assert isinstance(result, pb.EmitResult)
                assert result.status == pb.EMIT_STATUS_DELIVERED
        assert len(await ledger_of(near)) == len(script.events) == kept + len(ways)
        await listener.heard(kept + len(ways))
        assert listener.offsets == list(range(1, kept + len(ways) + 1))
        await listener.end()


FAILING = """#!{python}
import errno
from pathlib import Path
from omen_server.ledger.durable import Disk
sync = Disk.sync_data
def fail(self, fd):
    if Path("{flag}").exists():
        raise OSError(errno.EIO, "Input/output error")
    sync(self, fd)
Disk.sync_data = fail
from omen_server.__main__ import main
main()
"""


async def test_what_a_sync_failed_on_is_not_told_of(tmp_path: Path) -> None:
    """
    The sync fails under eight emits: each hears that nobody knows, RiskCast and subscribers hear nothing, the process
    ends with 70. After the restart each is emitted again, and the ledger and RiskCast have it once.
    """
    program, flag = tmp_path / "failing-omen", tmp_path / "flag"
    program.write_text(FAILING.format(python=sys.executable, flag=flag))
    program.chmod(0o755)
    async with scripted(tmp_path) as script:
        async with omen(tmp_path, program=str(program)) as (server, near):
            await emitted(near, [1])
            listener = Listener(near)
            await listener.heard(1)
            flag.touch()
            # The client would call again, and hear that nobody is there.
            async with channel_to(server.address) as channel:
                submit = SignalServiceStub(channel).SubmitEvent
                calls = [submit(pb.SubmitEventRequest(event=raw(number)), timeout=10) for number in range(LOADERS)]
                errors = await asyncio.gather(*(refusal(call) for call in calls))
            assert {error.reason for error in errors} == {"LEDGER_OUTCOME_UNKNOWN"}
            assert await server.wait() == FAILED
            await listener.end()
            assert listener.offsets == [1]
            assert [each.ledger_offset for each in script.events] == [1]
        flag.unlink()
        async with omen(tmp_path) as (_, near):
            results = [await near.submit(raw(number)) for number in range(LOADERS)]
            assert {result.status for result in results} == {pb.EMIT_STATUS_DELIVERED}
            assert [each.ledger_offset for each in await ledger_of(near)] == list(range(1, LOADERS + 2))
            assert len({each.signal_id for each in script.events}) == len(script.events) == LOADERS + 1


CALLS = "pwrite64,pwritev,pwritev2,write,writev,fdatasync,fsync,sendmsg,sendto"
TRACED = """#!/bin/sh
exec {strace} -D -f -y -s 9000 -o {trace} -e trace={calls} {program} "$@"
"""


async def test_the_system_calls_are_write_sync_send(tmp_path: Path) -> None:
    """
    Traced from outside: each signal's frame is written to the segment, the segment is synced, and only then do bytes
    with that signal leave the process, to RiskCast, to a subscriber or to the caller.
    """
    trace, wrapper = tmp_path / "trace", tmp_path / "traced-omen"
    program = Path(sys.executable).parent / "omen-server"
    wrapper.write_text(TRACED.format(strace=need("strace"), trace=trace, calls=CALLS, program=program))
    wrapper.chmod(0o755)
    numbers = range(1, 16)
    async with scripted(tmp_path) as script, omen(tmp_path, program=str(wrapper)) as (server, near):
        listener = Listener(near)
        for number in numbers:
            result = await near.emit(ready(number).signal)
            assert result.status == pb.EMIT_STATUS_DELIVERED
        await listener.heard(len(numbers))
        await listener.end()
        assert len(script.events) == len(numbers)
        assert await server.stop() == 0
    lines = finished(trace.read_text(errors="replace").splitlines())
    for number in numbers:
        name = ready(number).signal.signal_id
        written = next(at for at, line in enumerate(lines) if is_write(line) and name in line)
        synced = next(at for at, line in enumerate(lines) if at > written and is_sync(line))
        sent = [at for at, line in enumerate(lines) if "send" in line.partition("(")[0] and name in line]
        assert len(sent) >= 3, "to RiskCast, to the subscriber, to the caller"
        assert written < synced < sent[0], name


def finished(lines: list[str]) -> list[str]:
    """
    Return system calls in the order in which they matter: a send when it began, all others when they ended.
    """
    begun: dict[tuple[str, str], str] = {}
    found = []
    for line in lines:
        thread, _, call = line.partition(" ")
        call = call.lstrip()
        if resumed := re.match(r"<\.\.\. (\w+) resumed>", call):
            head = begun.pop((thread, resumed[1]), "")
            if not resumed[1].startswith("send"):
                found.append(head + call)
        elif call.endswith("<unfinished ...>"):
            begun[thread, call.partition("(")[0]] = call
            if call.startswith("send"):
                found.append(call)
        else:
            found.append(call)
    return found


def is_write(call: str) -> bool:
    """
    Tell whether bytes go to a segment.
    """
    return call.startswith(("pwrite", "write")) and ".wal>" in call


def is_sync(call: str) -> bool:
    """
    Tell whether a segment is synced.
    """
    return call.startswith(("fdatasync", "fsync")) and ".wal>" in call and call.endswith("= 0")
