import argparse
import asyncio
import sys
from collections.abc import Sequence

from omen_rpc import tracing
from omen_rpc.address import AddressRefused
from omen_rpc.fields import is_partition
from omen_rpc.precautions import check_calling
from omen_rpc.program import FAILED, USAGE, StartFailed, loaded, loop_factory, observe, start
from omen_rpc.settings import SettingsRefused
from reconciler.app import run_once, serve
from reconciler.reconcile import Wish
from reconciler.rounds import Target
from reconciler.settings import PROGRAM, ReconcilerSettings


def main() -> None:
    """
    Run the reconciler: for ever with `serve`, which is the default, or for one round with `run`.
    """
    arguments = sys.argv[1:]
    if arguments[:1] == ["run"]:
        sys.exit(one_round(arguments[1:]))
    sys.exit(start(PROGRAM, ReconcilerSettings, serve, arguments[arguments[:1] == ["serve"] :]))


def one_round(arguments: Sequence[str]) -> int:
    """
    Make one round as the command line says, and return the exit code.
    """
    chosen, rest = parser().parse_known_args(arguments)
    if chosen.partition and not is_partition(chosen.partition):
        print(f"{PROGRAM.name}: {chosen.partition!r} is no partition: YYYY-MM-DD, or YYYY-MM-DD-late.", file=sys.stderr)  # noqa: T201 - a command's own words
        return USAGE
    try:
        own = loaded(PROGRAM, ReconcilerSettings, rest)
        observe(PROGRAM, own.settings)
        check_calling(own.settings)
        settings = own.settings
        days = 0 if chosen.all or chosen.partition else chosen.since_days or settings.since_days
        wish = Wish(
            include_open=chosen.include_open,
            full=chosen.full,
            validate_only=chosen.dry_run,
            force=chosen.force,
            replays_max=settings.replays_max,
            seconds_max=settings.round_s_max,
        )
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            return runner.run(run_once(settings, Target(chosen.partition or "", days), wish))
    except KeyboardInterrupt:
        return 130
    except (SettingsRefused, AddressRefused, StartFailed) as error:
        print(f"{PROGRAM.name}: {error}", file=sys.stderr)  # noqa: T201 - a command's own words
        return FAILED if isinstance(error, StartFailed) else USAGE
    finally:
        tracing.end()


def parser() -> argparse.ArgumentParser:
    """
    Return what `run` takes besides the settings.
    """
    made = argparse.ArgumentParser(
        prog=f"{PROGRAM.name} run",
        description=(
            "Make one round. Exit 0 when nothing is missing or was to be done, 1 when something is left, 4 when"
            " somebody does not answer. Where a reconciler serves on the same SQLite state, have that one make the"
            " round: omen reconcile run."
        ),
        epilog=f"Settings as for {PROGRAM.name} serve are taken as well.  Example: omen-reconciler run --all",
        allow_abbrev=False,
    )
    which = made.add_mutually_exclusive_group()
    which.add_argument("--partition", help="one partition, such as 2026-01-28 or 2026-01-28-late")
    which.add_argument("--since-days", type=int, help="the last days, today counted")
    which.add_argument("--all", action="store_true", help="everything there is")
    made.add_argument("--include-open", action="store_true", help="main partitions too that are not sealed")
    made.add_argument("--full", action="store_true", help="every block computed from its rows")
    made.add_argument("--force", action="store_true", help="also where nothing seems to have changed")
    made.add_argument("--dry-run", action="store_true", help="compare and replay nothing")
    return made


if __name__ == "__main__":
    main()
