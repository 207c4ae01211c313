"""
How values look on a page: numbers, sizes, times, names of enums. Pure.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from markupsafe import Markup

NOTHING: Final = "—"
TURNING: Final = {code: f"\\u{code:04x}" for code in (*range(0x202A, 0x202F), *range(0x2066, 0x206A))}
UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
AGES: Final = ((86_400, "d"), (3600, "h"), (60, "min"), (1, "s"))
BAD: Final = frozenset({"FAILED", "REJECTED", "REFUSED", "DOWN", "ERROR", "MISMATCH", "EXTRA", "UNAVAILABLE"})
WARN: Final = frozenset(
    {"PARTIAL", "LEDGER_ONLY", "OPEN_BREAKER", "HALF_OPEN", "STARTING", "SLOW", "STALE", "PAUSED", "FILTERED", "LATE"}
)
GOOD: Final = frozenset({"COMPLETED", "DELIVERED", "UP", "OK", "ACCEPTED", "SEALED", "CLOSED", "RECONCILED", "PASSED"})


def in_order(value: Any) -> Any:
    """
    Return text with the characters that turn the order of reading shown as their codes: a title must not rewrite the
    sentence it stands in.
    """
    return value.translate(TURNING) if isinstance(value, str) else value


def number(value: float | None, digits: int = 0) -> str:
    """
    Return a number with its thousands apart.
    """
    return NOTHING if value is None else f"{value:,.{digits}f}"


def share(value: float | None) -> str:
    """
    Return a probability or a score.
    """
    return NOTHING if value is None else f"{value:.2f}"


def size(value: int) -> str:
    """
    Return a number of bytes.
    """
    scaled = float(value)
    for unit in UNITS:
        if scaled < 1024 or unit == UNITS[-1]:
            return f"{scaled:,.0f} {unit}" if unit == "B" else f"{scaled:,.1f} {unit}"
        scaled /= 1024
    raise AssertionError("the last unit returns")


def moment(value: Timestamp | datetime | None) -> datetime | None:
    """
    Return a time; None for one that was never set.
    """
    if isinstance(value, Timestamp):
        return value.ToDatetime(UTC) if value.seconds or value.nanos else None
    return value


def age(value: datetime, now: datetime) -> str:
    """
    Return how long ago something was.
    """
    seconds = int((now - value).total_seconds())
    if abs(seconds) < 2:
        return "just now"
    for unit_s, unit in AGES:
        if abs(seconds) >= unit_s:
            count = abs(seconds) // unit_s
            return f"{count} {unit} ago" if seconds > 0 else f"in {count} {unit}"
    raise AssertionError("two seconds are more than one")


def when(value: Timestamp | datetime | None, now: datetime, style: str = "utc", *, clock: bool = False) -> Markup | str:
    """
    Return a time as an element that the page's own script can turn into local or relative time; of a *clock* only the
    time of day, as the day is told beside it.
    """
    at = moment(value)
    if at is None:
        return NOTHING
    exact = at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    form = "%H:%M:%SZ" if clock else "%Y-%m-%d %H:%M:%SZ"
    text = age(at, now) if style == "relative" else at.astimezone(UTC).strftime(form)
    kind = Markup(" data-clock") if clock else ""
    return Markup('<time datetime="{}" title="{}"{}>{}</time>').format(exact, exact, kind, text)


def duration(value: Duration | timedelta | float) -> str:
    """
    Return how long something took.
    """
    if isinstance(value, Duration):
        value = value.ToTimedelta()
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    return f"{seconds:.1f} s" if seconds < 60 else f"{seconds / 60:.1f} min"


def short(message: Any, field: str) -> str:
    """
    Return an enum field's value without the enum's name before it.
    """
    kind = message.DESCRIPTOR.fields_by_name[field].enum_type
    found = kind.values_by_number.get(getattr(message, field))
    if found is None:
        return str(getattr(message, field))
    prefix = kind.values_by_number[0].name.removesuffix("UNSPECIFIED")
    name: str = found.name.removeprefix(prefix)
    return NOTHING if name == "UNSPECIFIED" else name


def names(kind: Any) -> Sequence[str]:
    """
    Return the values of an enum, without its name before them and without the unspecified one.
    """
    prefix = kind.values_by_number[0].name.removesuffix("UNSPECIFIED")
    return [value.name.removeprefix(prefix) for number, value in sorted(kind.values_by_number.items()) if number]


def tone(word: str) -> str:
    """
    Return how a status is coloured; the word itself always stands beside.
    """
    word = word.upper()
    return "bad" if word in BAD else "warn" if word in WARN else "good" if word in GOOD else "plain"


def hexdump(data: bytes, columns: int = 16) -> list[tuple[int, list[str], str]]:
    """
    Return the lines of a dump: where, the bytes in hex, and what of them prints.
    """
    return [
        (
            at,
            [f"{byte:02x}" for byte in data[at : at + columns]],
            "".join(chr(byte) if 32 <= byte < 127 else "·" for byte in data[at : at + columns]),
        )
        for at in range(0, len(data), columns)
    ]
