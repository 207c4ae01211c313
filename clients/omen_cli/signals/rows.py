"""
Signals and what became of them, as rows to print.
"""

from collections.abc import Callable, Sequence
from typing import Any

import orjson

from omen.v1 import signal_service_pb2 as pb
from omen.v1.signal_pb2 import SignalEvent
from omen_cli import exits
from omen_cli.output import Form, print_error, print_rows
from omen_cli.plain import plain
from omen_rpc.errors import CallError
from omen_rpc.signal_codec import encode_json

OUTCOME_COLUMNS = ("status", "signal_id", "partition", "index", "ack_id", "cached", "detail")
SIGNAL_COLUMNS = ("emitted_at", "signal_id", "category", "probability", "confidence_level", "title")


def event_row(event: SignalEvent) -> dict[str, Any]:
    """
    Return an event as the ledger's JSON has it.
    """
    row: dict[str, Any] = orjson.loads(encode_json(event))
    return row


def event_line(event: SignalEvent) -> dict[str, Any]:
    """
    Return what the columns show of an event.
    """
    row = event_row(event)
    return {**row.get("signal", {}), "emitted_at": row.get("emitted_at", ""), "signal_id": row["signal_id"]}


def outcome_row(result: pb.EmitResult) -> dict[str, Any]:
    """
    Return what became of one signal; the rules' verdicts and the derivation where the answer has them.
    """
    row = plain(result)
    told = {
        "status": row["status"],
        "signal_id": result.event.signal_id,
        "partition": result.event.ledger_partition,
        "index": result.event.ledger_index,
        "offset": result.event.ledger_offset,
        "ack_id": row["ack_id"],
        "cached": row["cached"],
        "detail": row["detail"],
    }
    return told | {name: row[name] for name in ("verdicts", "explanation") if row.get(name)}


def print_outcomes(form: Form, found: Sequence[pb.EmitResult | CallError], named: Callable[[int], str]) -> int:
    """
    Print what became of each, errors on stderr by *named*, and return the exit code: that of the first error.
    """
    print_rows(form, [outcome_row(each) for each in found if not isinstance(each, CallError)], OUTCOME_COLUMNS)
    code = exits.OK
    for at, each in enumerate(found):
        if isinstance(each, CallError):
            code = code or exits.of(each.code)
            violations = [{"field": one.field, "description": one.description} for one in each.violations]
            print_error(form, each.reason, f"{named(at)}: {each.message}", violations=violations)
    return code
