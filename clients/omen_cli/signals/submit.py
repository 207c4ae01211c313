from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from omen.v1 import signal_service_pb2 as pb
from omen.v1.signal_pb2 import RawSignalEvent
from omen_cli import exits
from omen_cli.options import Output, Servers
from omen_cli.output import Form, print_error
from omen_cli.progress import Bar
from omen_cli.signals.answers import NOBODY, Asked, in_utc, is_address, refused, rounds, source_of
from omen_cli.signals.lines import batches, given, items, raw_event
from omen_cli.signals.reading import STDIN
from omen_cli.signals.rows import print_outcomes
from omen_client import OmenClient

if TYPE_CHECKING:
    from omen_client import CallError

BATCH_MAX = 100
ONCE_MORE = "Run it again: what is in the ledger is not appended twice."
INTERVAL_S_MIN = 1.0


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class Ways:
    """
    How events are taken in.
    """

    validate: Annotated[bool, Parameter(negative="", help="Run the rules and append nothing.")] = False
    explain: Annotated[bool, Parameter(negative="", help="Tell what every rule said, and how the scores follow.")] = (
        False
    )
    ledger_only: Annotated[bool, Parameter(negative="", help="Do not wait for RiskCast.")] = False


async def submit(
    place: Annotated[
        str | None,
        Parameter(
            allow_leading_hyphen=True,
            help="Lines of JSON, one raw event each, or with --source its answer: a file, - for stdin, or an address.",
        ),
    ] = None,
    *,
    source: Annotated[str | None, Parameter(help="Read it as this source's answer, such as polymarket.")] = None,
    as_of: Annotated[
        datetime | None, Parameter(help="When the answer was fetched; the file's own time if not given.")
    ] = None,
    contact: Annotated[
        str, Parameter(env_var="OMEN_POLL_CONTACT", help="An address or URL of yours; some sources want one.")
    ] = NOBODY,
    watch: Annotated[float, Parameter(help="Ask again every so many seconds, until Ctrl-C.")] = 0.0,
    ways: Ways | None = None,
    servers: Servers | None = None,
    output: Output = "text",
) -> int:
    """
    Submit raw events: through the rules into the ledger, then on to RiskCast. (emit takes ready signals.)

    A refused event is no error: its status is FILTERED, and --explain tells why. Submitting the same again appends
    nothing. Without a place, --source is asked at its own addresses.

    Example: omen submit --source usgs quakes.geojson --explain -o json

    Example: omen submit --source nws --watch 300 -o jsonl
    """
    check(place, source, watch, output)
    chosen, done = ways or Ways(), 0

    def answered(count: int) -> None:
        nonlocal done
        done += count

    with exits.interruptible(lambda: (f"{done} events are answered", ONCE_MORE)):
        async with (servers or Servers()).omen_client() as omen:
            if source is None:
                return await take_in(omen, items(place or STDIN, raw_event), chosen, output, answered)
            asked = Asked(source_of(source), place or "", in_utc(as_of), contact)
            code = exits.OK
            async for number in rounds(watch):
                try:
                    events = [event async for answer in asked.answers() for event in answer]
                except exits.Stopped as error:
                    if number == 1:
                        raise
                    print_error(output, error.reason, str(error), remedy=f"Asking again in {watch:g} s.")
                    continue
                if events or number == 1:
                    code = await take_in(omen, given(*events), chosen, output, answered) or code
    return code


def check(place: str | None, source: str | None, watch: float, form: Form) -> None:
    """
    Raise Stopped where a line makes no sense.
    """
    if source is None and (watch or (place is not None and is_address(place))):
        text, remedy = "what is fetched or watched is a source's answer", "Say which with --source."
    elif source is not None and place is None and not has_own(source):
        text, remedy = f"{source} has no address of its own", "Give a file, - for stdin, or an address."
    elif watch and (watch < INTERVAL_S_MIN or form == "json" or place == STDIN):
        text, remedy = "--watch has no end", "Give at least 1 second, -o jsonl or text, and a file or an address."
    elif watch and source is not None and place is None and watch < source_of(source).interval_s_min:
        least = source_of(source).interval_s_min
        text, remedy = f"{source} wants to be asked less often", f"Give --watch {least:g} or more."
    elif place is not None and is_address(place) and (problem := refused(place)):
        text, remedy = problem, "Give an https address, or plain http on this machine."
    else:
        return
    raise exits.Stopped(exits.USAGE, "USAGE", text, remedy)


def has_own(name: str) -> bool:
    """
    Whether a source answers without being told where: at its own addresses, or by itself.
    """
    source = source_of(name)
    return source.offline or bool(source.urls)


async def take_in(
    omen: OmenClient, events: AsyncIterator[RawSignalEvent], ways: Ways, output: Form, answered: Callable[[int], None]
) -> int:
    """
    Submit events in batches, print what became of each, and return the exit code; *answered* hears how many they were.
    """
    delivery = pb.DELIVERY_LEDGER if ways.ledger_only else pb.DELIVERY_AWAIT
    found: list[pb.EmitResult | CallError] = []
    with Bar("submitting") as bar:
        async for batch in batches(events, BATCH_MAX):
            found += await omen.submit_all(batch, delivery=delivery, validate_only=ways.validate, explain=ways.explain)
            answered(len(batch))
            bar.move(len(found), 0, "events")
    return print_outcomes(output, found, lambda at: f"event {at + 1}")
