import asyncio
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from omen_cli import exits
from reconcile.v1 import reconcile_service_pb2 as pb
from reconcile.v1.reconcile_service_pb2_grpc import ReconcileServiceServicer
from tests.clients.terminal import Terminal
from tests.hosting import hosted

# Holds every verification up behind its first step, so that an interrupt is certain to find it at work.
SLOW = """
import sys, time
from omen_cli.app import run
from omen_server.ledger.offline import OfflineLedger
verify = OfflineLedger.verify
def slow(self, name):
    for step in verify(self, name):
        yield step
        time.sleep(60)
OfflineLedger.verify = slow
sys.exit(run(["ledger", "verify", {ledger!r}]))
"""


def ended(terminal: Terminal, bar: str, number: signal.Signals = signal.SIGINT) -> tuple[int, str]:
    """
    Wait for a bar, interrupt the work, and return the exit code and what was said after the bar was wiped.
    """
    terminal.until(lambda: bar in terminal.shown)
    done = terminal.interrupt(number)
    assert "Traceback" not in done.err
    return done.code, done.err.rpartition("\x1b[K")[2]


def test_a_verification_shows_how_far_it_is(ledger: Path) -> None:
    """
    A bar on the terminal; Ctrl-C wipes it and names the partition to go on from.
    """
    with Terminal(script=SLOW.format(ledger=str(ledger))) as terminal:
        code, said = ended(terminal, "verifying 2026-01-28  [")
    assert (code, "--from 2026-01-28 goes on" in said) == (exits.INTERRUPTED, True)


def test_sigterm_ends_the_wait_for_what_is_typed(servers: dict[str, str]) -> None:
    """
    A verb that waits for the next line from the terminal ends at the first SIGTERM, with that signal's code.
    """
    with Terminal("emit", **servers) as terminal:
        terminal.enter(f'{{"signal_id": "OMEN-TYPED{n:06d}", "title": "Suez", "probability": 0.5}}' for n in range(101))
        terminal.until(lambda: "emitting  100 signals" in terminal.shown)
        done = terminal.interrupt(signal.SIGTERM)
    assert (done.code, "Traceback" in done.err) == (143, False)


READ = {"0", "63"}  # The system call's number: x86-64's and ARM's.
SIGNAL = '{{"signal_id": "OMEN-TYPED{:06d}", "title": "Suez", "probability": 0.5}}'
EVENT = '{{"source": "stub", "source_event_id": "typed-{}", "title": "Suez", "probability": 0.5}}'


@pytest.mark.parametrize(
    ("verb", "line", "bar", "said"),
    [
        ("emit", SIGNAL, "emitting  100 signals", "interrupted: 100 signals are answered"),
        ("ingest", SIGNAL, "ingesting  100 signals", "interrupted: 100 are answered"),
        ("submit", EVENT, "submitting  100 events", "interrupted: 100 events are answered"),
    ],
)
def test_what_is_typed_can_be_interrupted(servers: dict[str, str], verb: str, line: str, bar: str, said: str) -> None:
    """
    One Ctrl-C ends a verb that waits for the next line from the terminal, and says what is done and how to go on.
    """
    with Terminal(verb, **servers) as terminal:
        terminal.enter(line.format(number) for number in range(101))
        terminal.until(lambda: bar in terminal.shown)
        done = terminal.interrupt()
    assert done.code == exits.INTERRUPTED
    assert said in done.err
    assert "Run it again" in done.err


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, exits.INTERRUPTED), (signal.SIGTERM, 143)])
def test_the_wait_for_an_answer_on_stdin_can_be_interrupted(
    servers: dict[str, str], number: signal.Signals, code: int
) -> None:
    """
    So does one that waits for the rest of a source's answer.
    """
    with Terminal("submit", "--source", "usgs", "-", **servers) as terminal:
        terminal.until(lambda: waits_for_input(terminal.process.pid))
        done = terminal.interrupt(number)
    assert (done.code, "Traceback" in done.err) == (code, False)


def waits_for_input(pid: int) -> bool:
    """
    Whether a thread of the process is in a read of its stdin.
    """
    calls = [(each / "syscall").read_text().split() for each in Path(f"/proc/{pid}/task").iterdir()]
    return any(call[0] in READ and call[1:2] == ["0x0"] for call in calls)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, exits.INTERRUPTED), (signal.SIGTERM, 143)])
def test_an_interrupted_benchmark_leaves_nothing(tmp_path: Path, number: signal.Signals, code: int) -> None:
    """
    Its servers are stopped and its files removed, also at SIGTERM.
    """
    with Terminal("bench", "ingest", "--seconds", "9", "--dir", str(tmp_path)) as terminal:
        ending = ended(terminal, "bench ingest  [", number)
    assert ending[0] == code
    assert list(tmp_path.iterdir()) == []
    assert [each for each in Path("/proc").glob("[0-9]*") if str(tmp_path) in command_of(each)] == []


def command_of(process: Path) -> str:
    """
    Return a process's command line; empty when it has ended.
    """
    try:
        return (process / "cmdline").read_text()
    except OSError:
        return ""


class Slow(ReconcileServiceServicer):
    """
    A reconciler that replays for ever.
    """

    async def RunReconcile(
        self, _request: pb.RunReconcileRequest, _context: Any
    ) -> AsyncIterator[pb.RunReconcileResponse]:
        """
        Tell of progress, and never end.
        """
        progress = pb.RunReconcileResponse.Progress(partition="2026-01-28", replayed=30, missing=120)
        yield pb.RunReconcileResponse(progress=progress)
        await asyncio.Event().wait()


async def test_a_round_shows_how_far_it_is() -> None:
    """
    The bar counts what is replayed of what is missing; Ctrl-C says that what was brought stays brought.
    """
    service = pb.DESCRIPTOR.services_by_name["ReconcileService"]
    async with hosted(Slow(), service=service) as server:
        with Terminal("reconcile", "run", RECONCILER_ADDRESS=str(server.address)) as terminal:
            code, said = await asyncio.to_thread(ended, terminal, "25%  30 signals of 2026-01-28")
    assert (code, "what was brought stays brought" in said) == (exits.INTERRUPTED, True)
