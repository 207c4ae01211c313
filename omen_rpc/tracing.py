"""
Spans, for who wants them. Off, as by default, a span costs one comparison, and OpenTelemetry is not even imported.

Like the log there is one for the process: whatever is worth a span is worth it wherever it happens.
"""

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from omen_rpc.otel import Spans  # The extra may not be installed.

Kind: TypeAlias = Literal["internal", "server", "client"]

ACTIVE: "Spans | None" = None
NOTHING = nullcontext()


class TracesUnavailable(Exception):
    """
    Spans are asked for, and what makes them is not installed.
    """


def begin(service: str) -> None:
    """
    Send spans by OTLP from now on, to where the OTEL_… variables say. TracesUnavailable without the extra.
    """
    global ACTIVE  # noqa: PLW0603 - see above: one for the process
    try:
        from omen_rpc.otel import exporting  # noqa: PLC0415 - an extra, and slow to import
    except ImportError:
        raise TracesUnavailable("--traces otlp needs OpenTelemetry. Install omen-dualpath[otel].") from None
    ACTIVE = exporting(service)


def end() -> None:
    """
    Send what waits to be sent, and make no more spans.
    """
    global ACTIVE
    spans, ACTIVE = ACTIVE, None
    if spans is not None:
        spans.close()


def span(
    name: str,
    kind: Kind = "internal",
    *,
    parent: str = "",
    links: Iterable[str] = (),
    attributes: dict[str, str | int] | None = None,
) -> AbstractContextManager[None]:
    """
    Return what makes a span of a block. *parent* and *links* are trace contexts of W3C form; others are left out.

    An error that leaves the block is told by its reason or type, never by its text.
    """
    if ACTIVE is None:
        return NOTHING
    return ACTIVE.span(name, kind, parent=parent, links=links, attributes=attributes)


def here(otherwise: str = "") -> str:
    """
    Return the trace context of the span around the caller, to be sent along or kept; *otherwise* when there is none.
    """
    return otherwise if ACTIVE is None else ACTIVE.here() or otherwise
