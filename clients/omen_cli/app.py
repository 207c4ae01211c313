"""
The `omen` command: its verbs, and what becomes of everything that can go wrong in one.

A verb is a function in a module of its own, imported when it is called. It prints its data, and raises or returns an
exit code.
"""

import asyncio
import inspect
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib import import_module
from typing import Any

from cyclopts import App

from omen_cli import exits
from omen_cli.failures import failed
from omen_cli.output import print_error, wanted_form
from omen_cli.terminable import terminable
from omen_rpc.server_info import own_version

VERBS = {  # verb → where it is; the order is the order of the help; two words: a verb of a group
    "up": "omen_cli.up:up",
    "down": "omen_cli.down:down",
    "kill": "omen_cli.down:kill",
    "start": "omen_cli.down:start",
    "demo": "omen_cli.demo.demo:demo",
    "demo seed": "omen_cli.demo.seed:seed",
    "demo reset": "omen_cli.demo.seed:reset",
    "submit": "omen_cli.signals.submit:submit",
    "emit": "omen_cli.signals.emit:emit",
    "signals": "omen_cli.signals.looking:signals",
    "signal": "omen_cli.signals.looking:signal",
    "explain-signal": "omen_cli.signals.looking:explain_signal",
    "tail": "omen_cli.signals.tail:tail",
    "stats": "omen_cli.signals.operating:stats",
    "hot-path": "omen_cli.signals.operating:hot_path",
    "activity": "omen_cli.signals.operating:activity",
    "subscribers": "omen_cli.signals.operating:subscribers",
    "rejected": "omen_cli.signals.operating:rejected",
    "dead-letters list": "omen_cli.signals.dead_letters:list_",
    "dead-letters requeue": "omen_cli.signals.dead_letters:requeue",
    "dead-letters purge": "omen_cli.signals.dead_letters:purge",
    "reconcile run": "omen_cli.reconcile.run:run",
    "reconcile status": "omen_cli.reconcile.run:status",
    "reconcile history": "omen_cli.reconcile.run:history",
    "reconcile pause": "omen_cli.reconcile.orders:pause",
    "reconcile resume": "omen_cli.reconcile.orders:resume",
    "reconcile rate": "omen_cli.reconcile.orders:rate",
    "reconcile parked": "omen_cli.reconcile.orders:parked",
    "reconcile replay": "omen_cli.reconcile.orders:replay",
    "reconcile waive": "omen_cli.reconcile.orders:waive",
    "ingest": "omen_cli.signals.ingest:ingest",
    "processed": "omen_cli.signals.processed:processed",
    "partitions": "omen_cli.partitions:partitions",
    "partition": "omen_cli.partitions:partition",
    "seal": "omen_cli.partitions:seal",
    "health": "omen_cli.health:health",
    "status": "omen_cli.status.status:status",
    "check server": "omen_cli.check.server:server",
    "check ledger": "omen_cli.check.ledger:ledger",
    "check stream": "omen_cli.check.stream:stream",
    "check ingest": "omen_cli.check.ingest:ingest",
    "check reconcile": "omen_cli.check.reconcile:reconcile",
    "check e2e": "omen_cli.check.e2e:e2e",
    "ledger verify": "omen_cli.ledger.verify:verify",
    "ledger cat": "omen_cli.ledger.cat:cat",
    "ledger dump": "omen_cli.ledger.dump:dump",
    "ledger prove": "omen_cli.ledger.prove:prove",
    "ledger partitions": "omen_cli.ledger.partitions:partitions",
    "ledger show": "omen_cli.ledger.partitions:show",
    "ledger repair": "omen_cli.ledger.repair:repair",
    "ledger lifecycle": "omen_cli.ledger.lifecycle:lifecycle",
    "ledger backup": "omen_cli.ledger.backup:backup",
    "ledger restore": "omen_cli.ledger.backup:restore",
    "index rebuild": "omen_cli.index.rebuild:rebuild",
    "tls init": "omen_cli.tls:init",
    "tls renew": "omen_cli.tls:renew",
    "bench ledger": "omen_cli.bench.ledger:ledger",
    "bench ingest": "omen_cli.bench.ingest:ingest",
    "bench emit": "omen_cli.bench.emit:emit",
    "bench e2e": "omen_cli.bench.emit:e2e",
    "bench stream": "omen_cli.bench.stream:stream",
    "bench reconcile": "omen_cli.bench.reconcile:reconcile",
    "bench profile": "omen_cli.bench.profile:profile",
    "proto export": "omen_cli.proto.export:export",
    "config show": "omen_cli.config:show",
    "config check": "omen_cli.config:check",
    "context add": "omen_cli.context:add",
    "context use": "omen_cli.context:use",
    "context list": "omen_cli.context:list_",
    "context show": "omen_cli.context:show",
    "context remove": "omen_cli.context:remove",
    "completion": "omen_cli.completion:completion",
    "explain": "omen_cli.explain:explain",
    "version": "omen_cli.version:version",
}

GROUPS = {  # group → what its verbs have in common
    "demo": "Try every promise on servers of its own; or load demonstration data.",
    "dead-letters": "See what could not be finished, and try it again.",
    "reconcile": "See and steer what brings RiskCast the signals it lacks.",
    "check": "Check one thing for a monitor: exit 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN, as Nagios has them.",
    "ledger": "Check and read, copy and mend a ledger's directory, offline or beside a running server.",
    "index": "Look after the signal index, which is a projection of the ledger.",
    "proto": "The contract, for tools.",
    "config": "Look at servers' settings: those in force, and those a server would start with.",
    "context": "Keep addresses, keys and certificates under names, and choose among them.",
    "tls": "Make certificates for servers and their callers, and renew them.",
    "bench": "Measure how fast it is, with the machine and the settings beside the figures.",
}

SUMMARY = """OMEN: signals written to a crash-safe ledger first, then pushed live, and reconciled.

Every verb takes -o text|json|jsonl. Data goes to stdout, everything else to stderr.

Exit codes: 0 ok · 1 a check found a problem · 2 usage · 3 not found · 4 unreachable · 5 deadline · 6 not allowed ·
7 conflict · 70 a bug · 130 and 143 interrupted. (check: 0 ok · 1 warning · 2 critical · 3 unknown.)
"""


def application(arguments: Sequence[str] = ()) -> App:
    """
    Return the command with all its verbs, none of them imported unless *arguments* ask for a list of them.
    """
    app = _app("omen", SUMMARY)
    groups = {name: _app(name, summary) for name, summary in GROUPS.items()}
    listed = _listed(arguments)
    for verb, place in VERBS.items():
        if verb in GROUPS:
            _give_default(groups[verb], place, arguments)
            continue
        group, _, name = verb.rpartition(" ")
        if group and group not in app:
            app.command(groups[group])
        holder = groups[group] if group else app
        holder.command(place, name=name)
        if group == listed:
            _ = holder[name].help  # Imports it; a list of verbs without what they do would be no help.
    return app


def spelt(arguments: Sequence[str]) -> list[str]:
    """
    Return a command line with its verb in the one spelling there is: ``bench --profile X`` is ``bench profile X``.
    """
    first = [part for argument in arguments[1:2] for part in argument.split("=", 1)]
    if arguments[:1] == ["bench"] and first[:1] == ["--profile"]:
        return ["bench", "profile", *first[1:], *arguments[2:]]
    return list(arguments)


def _give_default(group: App, place: str, arguments: Sequence[str]) -> None:
    """
    Let a group be a verb as well, imported when the command line begins with it; its own help is the verb's then.
    """
    if [*arguments[:1]] == [*group.name]:
        module, _, name = place.partition(":")
        group.default(getattr(import_module(module), name))
        group.help = None


def _app(name: str, summary: str) -> App:
    return App(name=name, help=summary, version=own_version, help_format="plaintext", result_action="return_value")


def _listed(arguments: Sequence[str]) -> str | None:
    """
    Return the group whose verbs a command line asks to see, "" for the whole command, None when it asks for neither.
    """
    group, rest = ("", arguments) if not arguments or arguments[0] not in GROUPS else (arguments[0], arguments[1:])
    return group if not rest or rest[0] in {"--help", "-h"} else None


def run(arguments: Sequence[str]) -> int:
    """
    Run one command line and return its exit code.
    """
    arguments, form = spelt(arguments), wanted_form(arguments)
    try:
        code = called(arguments)
        sys.stdout.flush()  # Here, where an error still becomes a sentence.
    except KeyboardInterrupt:
        print_error(form, "INTERRUPTED", "interrupted", remedy="The same command starts over.")
        return exits.INTERRUPTED
    except BrokenPipeError:  # Whoever read our data has had enough, as `head` does.
        drop_output()
        return exits.OK
    except Exception as error:  # noqa: BLE001 - the last place where an error can become an exit code
        code = failed(form, error)
        if isinstance(error, OSError):
            drop_output()
        # Who asks checks knows four codes, and 2 means that something is broken.
        return exits.UNKNOWN if list(arguments[:1]) == ["check"] else code
    else:
        return exits.UNKNOWN if arguments == ["check"] else code  # A monitor that checks nothing is not OK.


def called(arguments: Sequence[str]) -> int:
    """
    Call the verb of a command line, and return its exit code.

    It is called here and not by the parser, which has an event loop and an end at SIGTERM of its own.
    """
    if sys.stdout is None:
        remedy = "Leave it open; what is not wanted can go to /dev/null."
        raise exits.Stopped(exits.USAGE, "USAGE", "stdout is closed", remedy)
    verb, bound, _ = application(arguments).parse_args(list(arguments), exit_on_error=False, print_error=False)
    return finish(verb(*bound.args, **bound.kwargs))


def drop_output() -> None:
    """
    Write nothing more: what is left unwritten would fail once more when the process ends.
    """
    with suppress(OSError):  # One in memory has no descriptor, and fails no write.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def finish(result: Any) -> int:
    """
    Return the exit code of a verb, awaiting it first when it is one that talks to a server.
    """
    if inspect.iscoroutine(result):
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            result = runner.run(terminable(result))
    return int(result or exits.OK)


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """
    Return what makes the event loop: uvloop where the servers' extra has brought it.
    """
    try:
        import uvloop  # noqa: PLC0415 - Linux only, and not a dependency of the command
    except ImportError:
        return None
    return uvloop.new_event_loop
