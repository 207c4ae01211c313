"""
Moments as the sources write them. Each becomes an aware datetime in UTC, or ValueError.
"""

import re
from datetime import UTC, datetime, timedelta, timezone
from email.utils import parsedate_to_datetime

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

# RFC 3339, `2026-06-04 00:34:19+00` of Gamma, `2025-05-15 09:27:38.342017448 +0000 UTC` of Go; the time or the zone
# may be absent.
_MOMENT = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)"
    r"(?:[Tt ](\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,9}))?)?"
    r"(?: ?([Zz]|([+-])(\d\d)(?::?(\d\d))?)(?: [A-Z]{1,5})?)?)?",
    re.ASCII,
)
_COMPACT = re.compile(r"(\d{4})(\d\d)(\d\d)(?:T?(\d\d)(\d\d)(\d\d)Z?)?", re.ASCII)


def read_moment(text: str) -> tuple[datetime, bool]:
    """
    Read a date and time, and tell whether its zone was said. One without is taken as UTC.
    """
    found = _MOMENT.fullmatch(text)
    if found is None:
        raise ValueError("is no date and time")
    year, month, day, hour, minute, second, fraction, zone, sign, hours, minutes = found.groups()
    # Nanoseconds are cut: what matters here is which moment it was, not which of two readings came first.
    micros = int((fraction or "").ljust(6, "0")[:6])
    offset = timedelta(hours=int(hours or 0), minutes=int(minutes or 0))
    try:
        moment = datetime(
            int(year), int(month), int(day), int(hour or 0), int(minute or 0), int(second or 0), micros,
            tzinfo=timezone(-offset if sign == "-" else offset),
        )  # fmt: skip
        return moment.astimezone(UTC), zone is not None
    except (ValueError, OverflowError):
        raise ValueError("is no date and time") from None


def read_compact(text: str) -> datetime:
    """
    Read `20260816T101500Z`, `20260816101500` or `20260816`, always UTC.
    """
    found = _COMPACT.fullmatch(text)
    if found is None:
        raise ValueError("is no date and time")
    try:
        return datetime(*(int(part or 0) for part in found.groups()), tzinfo=UTC)  # type: ignore[arg-type,misc]
    except ValueError:
        raise ValueError("is no date and time") from None


def read_mail_date(text: str) -> datetime:
    """
    Read `Sun, 16 Aug 2026 10:00:00 GMT`, as mail, HTTP and RSS write it. One without a zone is taken as UTC.
    """
    try:
        moment = parsedate_to_datetime(text)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, TypeError, IndexError, OverflowError, AttributeError):
        raise ValueError("is no date and time") from None


def from_epoch(seconds: float) -> datetime:
    """
    Return the moment so many seconds after 1970.
    """
    try:
        return EPOCH + timedelta(seconds=seconds)
    except (OverflowError, ValueError):
        raise ValueError("lies outside of the years 0001 to 9999") from None


def write_moment(moment: datetime) -> str:
    """
    Write a moment as RFC 3339 in UTC, whole seconds without a fraction.
    """
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
