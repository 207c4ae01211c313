from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from omen.v1 import signal_service_pb2 as pb
from omen.v1.signal_pb2 import RawSignalEvent
from omen_cli import exits
from omen_cli.options import Output, Servers
from omen_cli.output import say
from omen_cli.signals.lines import STDIN, batches, items, opened, raw_event
from omen_cli.signals.rows import print_outcomes

if TYPE_CHECKING:
    from omen_client import CallError

BATCH_MAX = 100
BODY_BYTES_MAX = 64 << 20


async def submit(
    file: Annotated[
        str,
        Parameter(
            allow_leading_hyphen=True, help="Lines of JSON, one raw event each, or a source's answer; - for stdin."
        ),
    ] = STDIN,
    *,
    source: Annotated[str | None, Parameter(help="Read the file as this source's answer, such as polymarket.")] = None,
    as_of: Annotated[
        datetime | None, Parameter(help="When the answer was fetched; the file's own time if not given.")
    ] = None,
    validate: Annotated[bool, Parameter(negative="", help="Run the rules and append nothing.")] = False,
    explain: Annotated[
        bool, Parameter(negative="", help="Tell what every rule said, and how the scores follow.")
    ] = False,
    ledger_only: Annotated[bool, Parameter(negative="", help="Do not wait for RiskCast.")] = False,
    servers: Servers | None = None,
    output: Output = "text",
) -> int:
    """
    Submit raw events: through the rules into the ledger, then on to RiskCast. (emit takes ready signals.)

    A refused event is no error: its status is FILTERED, and --explain tells why. Submitting the same again appends
    nothing.

    Example: omen submit --source usgs quakes.geojson --explain -o json
    """
    events = parsed(file, source, as_of) if source is not None else items(file, raw_event)
    delivery = pb.DELIVERY_LEDGER if ledger_only else pb.DELIVERY_AWAIT
    found: list[pb.EmitResult | CallError] = []
    async with (servers or Servers()).omen_client() as omen:
        for batch in batches(iter(events), BATCH_MAX):
            found += await omen.submit_all(batch, delivery=delivery, validate_only=validate, explain=explain)
    return print_outcomes(output, found, lambda at: f"event {at + 1}")


def parsed(file: str, name: str, as_of: datetime | None) -> tuple[RawSignalEvent, ...]:
    """
    Return the raw events in a source's answer, and tell which of its items became none.
    """
    from omen_server.pipeline.sources import SOURCES  # noqa: PLC0415 - only who reads a source's answer needs it
    from omen_server.pipeline.sources.source import SourceError  # noqa: PLC0415 - as above

    if name not in SOURCES:
        raise exits.Stopped(exits.USAGE, "USAGE", f"{name!r} is no source.", f"There are {', '.join(sorted(SOURCES))}.")
    with ExitStack() as stack:
        body = opened(file, stack).read(BODY_BYTES_MAX)
    try:
        answer = SOURCES[name].parse(body, fetched_at(file, as_of), "")
    except SourceError as error:
        raise exits.Stopped(
            exits.USAGE, "SOURCE_MALFORMED", str(error), f"Give a file that holds what {name} answers."
        ) from None
    for each in answer.skipped:
        say(f"skipped {each.place}: {each.reason}")
    return answer.events


def fetched_at(file: str, as_of: datetime | None) -> datetime:
    """
    Return when an answer was fetched: as told, else when its file was written, else now.
    """
    if as_of is not None:
        return as_of if as_of.tzinfo is not None else as_of.replace(tzinfo=UTC)
    return datetime.now(UTC) if file == STDIN else datetime.fromtimestamp(Path(file).stat().st_mtime, UTC)
