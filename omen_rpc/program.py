"""
How a server program starts and ends: settings, logs, event loop, exit code.
"""

import asyncio
import faulthandler
import gc
import json
import os
import sys
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import asdict
from typing import Any

import structlog

from omen_rpc import logs, tracing
from omen_rpc.address import AddressRefused, parse_address
from omen_rpc.precautions import check_security
from omen_rpc.server_info import own_version
from omen_rpc.settings import Loaded, Program, ProgramSettings, ServerSettings, Setting, Settings, SettingsRefused, load

OK = 0
USAGE = 2
FAILED = 70
STDERR = 2
CHECK = "--check-settings"
# How many objects more than were freed begin a collection of the youngest, and how many of those one of the next.
COLLECT_AFTER = (4000, 3, 5)


class StartFailed(Exception):
    """
    Something other than the settings keeps the server from starting; the text says what, and what to do.
    """


def start(
    program: Program,
    model: type[Settings],
    run: Callable[[Loaded[Settings]], Coroutine[Any, Any, None]],
    arguments: Sequence[str] | None = None,
) -> int:
    """
    Run a server until it ends, and return the exit code: 0 after a drain, 2 for settings it cannot start with, 70 for
    whatever else keeps it from starting.
    """
    line = list(sys.argv[1:] if arguments is None else arguments)
    checking = line[:1] == [CHECK]
    if line == ["--version"]:
        print(f"{program.name} {own_version()}")  # noqa: T201 - what was asked for
        return OK
    try:
        own = loaded(program, model, line[checking:])
        if checking:
            print(json.dumps([asdict(each) for each in checked(own)]))  # noqa: T201 - what was asked for
            return OK
        observe(program, own.settings)
        settle_collector()
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            runner.run(run(own))
    except (SettingsRefused, AddressRefused, StartFailed) as error:
        for text in str(error).splitlines():
            print(f"{program.name}: {text}", file=sys.stderr)  # noqa: T201 - logs may not be set up yet
        return FAILED if isinstance(error, StartFailed) else USAGE
    except Exception:  # noqa: BLE001 - a bug's text may hold a secret, such as a database's URL; its place does not
        structlog.get_logger().error("crashed", exc_info=True)
        return FAILED
    finally:
        tracing.end()
    return OK


def checked(own: Loaded[Settings]) -> list[Setting]:
    """
    Return the settings in force, secrets starred, when a server would start with them; else what it would refuse with.
    """
    if isinstance(own.settings, ServerSettings):
        check_security(own.settings, parse_address(own.settings.listen))
    return own.shown()


def observe(program: Program, settings: ProgramSettings) -> None:
    """
    Let the process tell of itself as its settings say: by lines, and by spans if they are wanted.
    """
    # A watchdog ends a hung server with SIGABRT: where each thread stood, and no value of it, is its last word.
    faulthandler.enable(STDERR)
    logs.configure(program.table, level=settings.log_level, form=settings.log_format)
    if settings.traces == "otlp":
        try:
            tracing.begin(program.table)
        except tracing.TracesUnavailable as error:
            raise SettingsRefused(str(error)) from None


def loaded(program: Program, model: type[Settings], line: Sequence[str]) -> Loaded[Settings]:
    """
    Return the settings of *program* under this process's environment.
    """
    return load(model, program, line, os.environ)


def settle_collector() -> None:
    """
    Leave what was imported, which stays for good, out of every collection, and begin one less often.

    Python begins one whenever 700 more objects were made than freed. A few dozen calls that come at once do that every
    time, and nearly all that is looked at then is in use. What a call leaves in cycles, six objects of grpc's, comes to
    4,000 once in 600 calls. The older generations are looked at about as often as before, every 12,000 and 60,000
    objects instead of 7,000 and 70,000: with (10_000, 10, 10) a flood of cancelled calls left 48 MB of garbage.
    """
    gc.freeze()
    gc.set_threshold(*COLLECT_AFTER)


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """
    Return what makes the event loop: uvloop where it exists, which takes a sixth off a server's CPU.
    """
    try:
        import uvloop  # noqa: PLC0415 - Linux only
    except ImportError:
        return None
    return uvloop.new_event_loop
