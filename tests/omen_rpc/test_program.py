import asyncio
import gc
import logging
from collections.abc import Iterator

import pytest
import structlog

from omen_rpc.address import AddressRefused
from omen_rpc.program import OK, USAGE, loop_factory, start
from omen_rpc.settings import Loaded, ServerSettings, SettingsRefused
from omen_server.settings import PROGRAM, OmenSettings


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """
    Leave the process's logging and its garbage collector as they were.
    """
    handlers, level, thresholds = list(logging.root.handlers), logging.root.level, gc.get_threshold()
    logging.root.handlers.clear()
    yield
    structlog.reset_defaults()
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)
    gc.unfreeze()
    gc.set_threshold(*thresholds)


def test_bad_flag_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """
    Settings that cannot be are told on stderr under the program's name, and the exit code is 2.
    """

    async def run(_loaded: Loaded[ServerSettings]) -> None:
        raise AssertionError("nothing must run")

    assert start(PROGRAM, OmenSettings, run, ["--lisen=1"]) == USAGE == 2
    assert capsys.readouterr().err == "omen-server: --lisen is no flag of omen-server. Did you mean --listen?\n"


@pytest.mark.parametrize("error", [SettingsRefused, AddressRefused])
def test_what_the_server_refuses_is_usage_too(error: type[Exception], capsys: pytest.CaptureFixture[str]) -> None:
    """
    What shows to be impossible only when the server runs ends in the same way, a line for each of its lines.
    """

    async def run(_loaded: Loaded[ServerSettings]) -> None:
        raise error("first\nsecond")

    assert start(PROGRAM, OmenSettings, run, []) == USAGE
    assert capsys.readouterr().err == "omen-server: first\nomen-server: second\n"


def test_end_is_zero() -> None:
    """
    A server that ran and drained ends with 0, having run with its settings on the fast loop where there is one.
    """
    seen = []

    async def run(loaded: Loaded[ServerSettings]) -> None:
        seen.append((loaded.settings.listen, type(asyncio.get_running_loop()).__module__))

    factory = loop_factory()
    assert start(PROGRAM, OmenSettings, run, ["--listen=127.0.0.1:7"]) == OK == 0
    assert seen == [("127.0.0.1:7", "uvloop" if factory else "asyncio.unix_events")]


def test_collections_leave_out_what_was_imported() -> None:
    """
    A server runs with what was imported out of the collector's sight.
    """
    seen = []

    async def run(_loaded: Loaded[ServerSettings]) -> None:
        seen.append(gc.get_freeze_count() > len(gc.get_objects()))

    assert start(PROGRAM, OmenSettings, run, []) == OK
    assert seen == [True]


def test_version_is_told_and_nothing_runs(capsys: pytest.CaptureFixture[str]) -> None:
    """
    --version prints name and version and ends.
    """

    async def run(_loaded: Loaded[ServerSettings]) -> None:
        raise AssertionError("nothing must run")

    assert start(PROGRAM, OmenSettings, run, ["--version"]) == OK
    name, version = capsys.readouterr().out.split()
    assert name == "omen-server"
    assert version[0].isdigit()


def test_a_burst_of_calls_begins_no_collection() -> None:
    """
    As many objects as a hundred calls at one moment hold are no reason to look for garbage; garbage is.
    """
    begun: list[int] = []

    def note(phase: str, info: dict[str, int]) -> None:
        if phase == "start":
            begun.append(info["generation"])

    async def run(_loaded: Loaded[ServerSettings]) -> None:
        gc.collect()
        gc.callbacks.append(note)
        try:
            for _ in range(20):
                burst: list[list[int]] = [[] for _ in range(3000)]
                del burst
            assert not begun
            for _ in range(5000):
                cycle: list[object] = []
                cycle.append(cycle)
            assert begun == [0]
        finally:
            gc.callbacks.remove(note)

    assert start(PROGRAM, OmenSettings, run, []) == OK
