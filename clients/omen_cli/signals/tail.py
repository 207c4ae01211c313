import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated, Any

from cyclopts import Parameter

from omen_cli import exits
from omen_cli.options import Output, Servers
from omen_cli.output import Form, say
from omen_cli.signals.looking import category_of
from omen_cli.signals.rows import event_line, event_row
from omen_client import CallError, OmenClient, SignalStream, Streamed, StreamedGap

# A list is held until it is whole.
LISTED_MAX = 100_000


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class Wanted:
    """
    Where to start, and what to show.
    """

    from_beginning: Annotated[bool, Parameter(negative="", help="Start at the first record there is.")] = False
    since: Annotated[datetime | None, Parameter(help="Start at the first emitted at or after this time.")] = None
    after: Annotated[str, Parameter(help="Start after this cursor, as an earlier tail told it.")] = ""
    category: Annotated[Sequence[str], Parameter(negative="", help="Only of these categories, such as WEATHER.")] = ()
    partition: Annotated[Sequence[str], Parameter(negative="", help="Only of these partitions.")] = ()
    min_confidence: Annotated[float | None, Parameter(help="Only with at least this confidence score.")] = None


async def tail(
    *,
    wanted: Wanted | None = None,
    limit: Annotated[int, Parameter(help="End after so many signals; 0: never.")] = 0,
    until_caught_up: Annotated[bool, Parameter(negative="", help="End when what is there has been shown.")] = False,
    cursors: Annotated[bool, Parameter(negative="", help="With JSON: each signal's cursor beside it.")] = False,
    servers: Servers | None = None,
    output: Output = "text",
) -> None:
    """
    Follow the ledger: signals as they become durable, from now on or from an earlier place. Ctrl-C ends it.

    It connects again by itself. What it ends with on stderr is the cursor to go on from, with --after.

    Example: omen tail --from-beginning --category WEATHER -o jsonl
    """
    chosen = wanted or Wanted()
    check(chosen, output, limit, until_caught_up=until_caught_up)
    printer = Printer(output, cursors=cursors)
    at = servers or Servers()
    async with at.omen_client() as omen:
        told = Told(at.omen)
        stream = opened(omen, chosen, told, until_caught_up=until_caught_up)
        try:
            async with stream:
                told.stream = stream
                await follow(stream, printer, limit)
        except asyncio.CancelledError:
            printer.close()
            remedy = f"omen tail --after {stream.cursor} goes on." if stream.cursor else "Nothing has come yet."
            raise exits.Stopped(exits.INTERRUPTED, "INTERRUPTED", "interrupted", remedy) from None
    printer.close()


def check(wanted: Wanted, form: Form, limit: int, *, until_caught_up: bool) -> None:
    """
    Raise Stopped where a line makes no sense.
    """
    if wanted.from_beginning + (wanted.since is not None) + bool(wanted.after) > 1:
        text, remedy = "--from-beginning, --since and --after exclude each other.", "Give one of them, or none."
    elif limit < 0 or (form == "json" and limit > LISTED_MAX):
        text, remedy = "--limit is out of range.", f"Give 0 or more; with -o json at most {LISTED_MAX}."
    elif form == "json" and not limit and not until_caught_up:
        text, remedy = "-o json is one list, and this tail has no end.", "Give --limit, --until-caught-up or -o jsonl."
    else:
        return
    raise exits.Stopped(exits.USAGE, "USAGE", text, remedy)


@dataclass(slots=True)
class Told:
    """
    What the user hears of broken connections: that they are, once.
    """

    address: str
    stream: SignalStream | None = None
    said: bool = False

    def broke(self, error: CallError | None) -> None:
        """
        Say that the connection is made anew; where there has never been one, end with the error.
        """
        if error is not None and self.stream is not None and not self.stream.ledger_id:
            raise error
        if not self.said:
            self.said = True
            say(f"The connection to {self.address} broke; connecting again whenever it does.")


def opened(omen: OmenClient, wanted: Wanted, told: Told, *, until_caught_up: bool) -> SignalStream:
    """
    Return the stream that was asked for.
    """
    since = wanted.since
    return omen.stream(
        after_cursor=wanted.after,
        from_beginning=wanted.from_beginning,
        since=since.replace(tzinfo=UTC) if since is not None and since.tzinfo is None else since,
        categories=[category_of(each) for each in wanted.category],
        partitions=wanted.partition,
        min_confidence_score=wanted.min_confidence,
        until_caught_up=until_caught_up,
        broke=told.broke,
    )


async def follow(stream: SignalStream, printer: "Printer", limit: int) -> None:
    """
    Print what a stream brings until it ends, or until there are enough signals.
    """
    shown = 0
    async for item in stream:
        if isinstance(item, StreamedGap):
            printer.gap(item)
            continue
        printer.signal(item)
        shown += 1
        if shown == limit:
            return


@dataclass(slots=True)
class Printer:
    """
    Prints each signal at once, or all of them as a list in the end.
    """

    form: Form
    cursors: bool
    _rows: list[dict[str, Any]] = field(default_factory=list)

    def signal(self, item: Streamed) -> None:
        """
        Print a signal.
        """
        if self.form == "text":
            line = event_line(item.event)
            shown = (line.get(name, "") for name in ("emitted_at", "signal_id", "category", "probability", "title"))
            print("  ".join(map(str, shown)), flush=True)
        else:
            self._put(event_row(item.event) | ({"cursor": item.cursor} if self.cursors else {}))

    def gap(self, item: StreamedGap) -> None:
        """
        Print what was lost: as data for programs, as a line beside the data for people.
        """
        if self.form == "text":
            say(f"gap: offsets {item.first_offset} to {item.last_offset} are lost: {item.reason}")
            return
        row: dict[str, Any] = {
            "gap": {"first_offset": item.first_offset, "last_offset": item.last_offset, "reason": item.reason}
        }
        self._put(row | ({"cursor": item.cursor} if self.cursors else {}))

    def close(self) -> None:
        """
        Print the list, if it is to be one.
        """
        if self.form == "json":
            print(json.dumps(self._rows, ensure_ascii=False), flush=True)

    def _put(self, row: dict[str, Any]) -> None:
        if self.form == "json":
            if len(self._rows) == LISTED_MAX:
                text = f"There are more than {LISTED_MAX} signals, too many for one list."
                raise exits.Stopped(exits.USAGE, "USAGE", text, "Give --limit, or -o jsonl.")
            self._rows.append(row)
        else:
            print(json.dumps(row, ensure_ascii=False), flush=True)
