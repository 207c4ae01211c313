from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from omen.v1 import signal_service_pb2 as pb
from omen_cli import exits
from omen_cli.options import Output, Servers
from omen_cli.progress import Bar
from omen_cli.signals.example import EXAMPLE
from omen_cli.signals.lines import batches, given, items, ready_signal
from omen_cli.signals.reading import STDIN
from omen_cli.signals.rows import print_outcomes

if TYPE_CHECKING:
    from omen_client import CallError

BATCH_MAX = 100
ONCE_MORE = "Run it again: what is in the ledger is not appended twice."


async def emit(
    file: Annotated[
        str, Parameter(allow_leading_hyphen=True, help="Lines of JSON, one signal each; - for stdin.")
    ] = STDIN,
    *,
    example: Annotated[bool, Parameter(negative="", help="Emit one made-up signal instead of reading any.")] = False,
    ledger_only: Annotated[bool, Parameter(negative="", help="Do not wait for RiskCast.")] = False,
    servers: Servers | None = None,
    output: Output = "text",
) -> int:
    """
    Emit ready signals: into the ledger, then on to RiskCast. (submit takes raw events, ingest goes to RiskCast only.)

    Each line is a signal event as `omen ledger cat -o jsonl` or `omen processed -o jsonl` print it, or only the signal
    inside of one. Emitting the same again appends nothing.

    Example: omen emit --example
    """
    delivery = pb.DELIVERY_LEDGER if ledger_only else pb.DELIVERY_AWAIT
    source = given(ready_signal(EXAMPLE)) if example else items(file, ready_signal)
    found: list[pb.EmitResult | CallError] = []
    with exits.interruptible(lambda: (f"{len(found)} signals are answered", ONCE_MORE)), Bar("emitting") as bar:
        async with (servers or Servers()).omen_client() as omen:
            async for batch in batches(source, BATCH_MAX):
                found += await omen.emit_all(batch, delivery=delivery)
                bar.move(len(found), 0, "signals")
    return print_outcomes(output, found, lambda at: f"signal {at + 1}")
