"""
The `omen` command: its verbs, and what becomes of everything that can go wrong in one.

A verb is a function in a module of its own, imported when it is called. It prints its data, and raises or returns an
exit code.
"""

import asyncio
import inspect
import os
import signal
import sys
from collections.abc import Sequence
from typing import Any

from cyclopts import App, CycloptsError

from omen_cli import exits
from omen_cli.output import print_error, wanted_form
from omen_rpc.channel import ConnectionRefused
from omen_rpc.errors import CallError
from omen_rpc.server_info import own_version

VERBS = {  # verb → where it is; the order is the order of the help
    "up": "omen_cli.up:up",
    "health": "omen_cli.health:health",
    "explain": "omen_cli.explain:explain",
    "version": "omen_cli.version:version",
}

SUMMARY = """OMEN: signals written to a crash-safe ledger first, then pushed live, and reconciled.

Every verb takes -o text|json|jsonl. Data goes to stdout, everything else to stderr.

Exit codes: 0 ok · 1 a check found a problem · 2 usage · 3 not found · 4 unreachable · 5 deadline · 6 not allowed ·
7 conflict · 70 a bug · 130 and 143 interrupted.
"""


def application(*, describe: bool = False) -> App:
    """
    Return the command with all its verbs, none of them imported unless they are to be described.
    """
    app = App(name="omen", help=SUMMARY, version=own_version, help_format="plaintext", result_action="return_value")
    for verb, place in VERBS.items():
        app.command(place, name=verb)
    if describe:
        for verb in VERBS:
            _ = app[verb].help  # Imports it; a list of verbs without what they do would be no help.
    return app


def run(arguments: Sequence[str]) -> int:
    """
    Run one command line and return its exit code.
    """
    app = application(describe=not arguments or arguments[0] in {"--help", "-h"})
    try:
        return finish(app(list(arguments), exit_on_error=False, print_error=False))
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except BrokenPipeError:  # Whoever read our data has had enough, as `head` does.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return exits.OK
    except Exception as error:  # noqa: BLE001 - the last place where an error can become an exit code
        return failed(wanted_form(arguments), error)


def failed(form: str, error: Exception) -> int:
    """
    Tell what went wrong and return the exit code for it.
    """
    match error:
        case CallError():
            code = failed_call(form, error)
        case exits.Stopped():
            code = error.code
            print_error(form, error.reason, str(error), remedy=error.remedy)
        case CycloptsError():
            code = exits.USAGE
            print_error(
                form, "USAGE", str(error), remedy="omen --help lists the verbs, omen VERB --help what one takes."
            )
        case ConnectionRefused():
            code = exits.USAGE
            print_error(form, "USAGE", str(error), remedy="Give a file that can be read.")
        case _:
            code = exits.BUG
            print_error(
                form, "BUG", f"{type(error).__name__}: {error}", remedy="This is a bug of omen; please report it."
            )
    return code


def finish(result: Any) -> int:
    """
    Return the exit code of a verb, awaiting it first when it is one that talks to a server.
    """
    if inspect.iscoroutine(result):
        result = asyncio.run(result)
    return int(result or exits.OK)


def failed_call(form: str, error: CallError) -> int:
    """
    Tell of a call that failed, and return the exit code of its status.
    """
    print_error(
        form,
        error.reason or error.code.name,
        error.message,
        code=error.code.name,
        retryable=error.retryable,
        retry_after_s=error.retry_after_s,
        metadata=error.metadata,
        violations=[{"field": each.field, "description": each.description} for each in error.violations],
        remedy=f"omen explain {error.reason}" if error.rule is not None else "",
    )
    return exits.of(error.code)
