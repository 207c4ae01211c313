import asyncio
from typing import Annotated, Any

from cyclopts import Parameter

from omen.v1.signal_pb2 import SignalEvent
from omen_cli import exits
from omen_cli.options import Output, Servers
from omen_cli.output import print_error, print_rows
from omen_cli.progress import Bar
from omen_cli.signals.example import EXAMPLE
from omen_cli.signals.lines import batches, given, items, signal_event
from omen_cli.signals.reading import STDIN
from omen_client import (
    CallError,
    DeadlineExceeded,
    Duplicate,
    Exhausted,
    Ingested,
    NotAllowed,
    RiskCastClient,
    Unavailable,
)
from omen_rpc.rfc3339 import write_time

COLUMNS = ("status", "signal_id", "ack_id", "processed_at", "request_id", "content_conflict")
AT_ONCE_MAX = 100
ABOUT_ALL = (Unavailable, DeadlineExceeded, NotAllowed, Exhausted)
# Not the one that `emit --example` sends: OMEN adds to a signal, so that the bare one would be a conflict.
UNEMITTED = EXAMPLE | {"signal_id": "OMEN-EXAMPLE0002"}


async def ingest(
    file: Annotated[
        str, Parameter(allow_leading_hyphen=True, help="Lines of JSON, one signal each; - for stdin.")
    ] = STDIN,
    *,
    example: Annotated[bool, Parameter(negative="", help="Ingest one made-up signal instead of reading any.")] = False,
    times: Annotated[int, Parameter(help="Send each signal so often, all at once: one is stored.")] = 1,
    servers: Servers | None = None,
    output: Output = "text",
) -> int:
    """
    Ingest signals straight into RiskCast, past OMEN and its ledger. (emit takes them the whole way.)

    Each line is a signal event as `omen ledger cat -o jsonl` or `omen processed -o jsonl` print it, or only the signal
    inside of one. A duplicate is no error: its status is ALREADY_EXISTS, with the ack of the first. Exit 7 when a known
    id has other content.

    Example: omen ingest --example --times 5
    """
    if not 1 <= times <= AT_ONCE_MAX:
        text = f"--times {times} is not between 1 and {AT_ONCE_MAX}"
        raise exits.Stopped(exits.USAGE, "USAGE", text, "Give fewer, or run it again.")
    source = given(arriving(UNEMITTED)) if example else items(file, arriving)
    rows: list[dict[str, Any]] = []
    code, sent = exits.OK, 0
    with exits.interruptible(lambda: (f"{len(rows)} are answered", "Run it again: nothing is stored twice.")):
        async with (servers or Servers()).riskcast_client() as riskcast:
            with Bar("ingesting") as bar:
                async for batch in batches(source, AT_ONCE_MAX // times or 1):
                    events = [event for event in batch for _ in range(times)]
                    for event, outcome in zip(events, await all_at_once(riskcast, events), strict=True):
                        sent += 1
                        code = code or exit_code(outcome)
                        if isinstance(outcome, CallError):
                            tell(output, sent, outcome)
                        else:
                            rows.append(row_of(event.signal_id, outcome))
                    bar.move(sent, 0, "signals")
    print_rows(output, rows, COLUMNS)
    return code


def arriving(value: Any) -> SignalEvent:
    """
    Return the signal event in a JSON object; one that OMEN never emitted is emitted now.
    """
    event = signal_event(value)
    if not event.HasField("emitted_at"):
        event.emitted_at.GetCurrentTime()
    return event


async def all_at_once(riskcast: RiskCastClient, events: list[SignalEvent]) -> list[Ingested | Duplicate | CallError]:
    """
    Send every signal with a call of its own, none waiting for another; raises what is no answer to one signal alone.
    """
    found = await asyncio.gather(*(riskcast.ingest_alone(event) for event in events), return_exceptions=True)
    for each in found:
        if isinstance(each, ABOUT_ALL) or (isinstance(each, BaseException) and not isinstance(each, CallError)):
            raise each
    return [each for each in found if not isinstance(each, BaseException) or isinstance(each, CallError)]


def exit_code(outcome: Ingested | Duplicate | CallError) -> int:
    """
    Return the exit code of one signal.
    """
    match outcome:
        case CallError():
            return exits.of(outcome.code)
        case Duplicate(content_conflict=True):
            return exits.CONFLICT
    return exits.OK


def row_of(signal_id: str, outcome: Ingested | Duplicate) -> dict[str, Any]:
    """
    Return what became of one signal.
    """
    duplicate = isinstance(outcome, Duplicate)
    return {
        "status": "ALREADY_EXISTS" if duplicate else "OK",
        "signal_id": signal_id,
        "ack_id": outcome.ack_id,
        "processed_at": time_of(outcome),
        "request_id": outcome.request_id if isinstance(outcome, Duplicate) else "",
        "content_conflict": outcome.content_conflict if isinstance(outcome, Duplicate) else False,
    }


def time_of(outcome: Ingested | Duplicate) -> str:
    """
    Return when RiskCast stored it, as every other time is written.
    """
    at = outcome.processed_at
    return write_time(int(at.timestamp()), at.microsecond * 1000)


def tell(output: str, number: int, error: CallError) -> None:
    """
    Tell what one signal was refused for.
    """
    violations = [{"field": each.field, "description": each.description} for each in error.violations]
    print_error(output, error.reason, f"signal {number}: {error.message}", violations=violations)
