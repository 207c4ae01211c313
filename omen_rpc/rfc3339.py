"""
Times as text: RFC 3339, always UTC with ``Z``, whole nanoseconds kept.
"""

import re
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Final

SECONDS_MIN: Final = -62_135_596_800  # 0001-01-01T00:00:00Z
SECONDS_MAX: Final = 253_402_300_799  # 9999-12-31T23:59:59Z

_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001  Every time here is UTC; a zone would double the cost and say nothing.
_SECOND = timedelta(seconds=1)
_TIME = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt]((?:[01][0-9]|2[0-3]):[0-9]{2}:[0-9]{2})(?:\.([0-9]+))?"
    r"(?:([Zz])|([+-])([0-9]{2}):([0-9]{2}))?"
)


def write_time(seconds: int, nanos: int) -> str:
    """
    Write a moment given as seconds since 1970 and nanoseconds, or raise ValueError.

    The fraction has 0, 3, 6 or 9 digits: the fewest that lose nothing.
    """
    if not SECONDS_MIN <= seconds <= SECONDS_MAX:
        raise ValueError("a time must lie in the years 0001 to 9999")
    whole = _write_second(seconds)
    if nanos == 0:
        return whole + "Z"
    if not 0 < nanos < 1_000_000_000:
        raise ValueError("a time's nanoseconds must be 0 to 999999999")
    if nanos % 1_000_000 == 0:
        return f"{whole}.{nanos // 1_000_000:03}Z"
    if nanos % 1_000 == 0:
        return f"{whole}.{nanos // 1_000:06}Z"
    return f"{whole}.{nanos:09}Z"


def read_time(text: str) -> tuple[int, int]:
    """
    Read a time with ``Z`` or an offset as seconds since 1970 and nanoseconds, or raise ValueError.
    """
    match = _TIME.fullmatch(text)
    if match is None:
        raise ValueError("not an RFC 3339 time")
    date, time, fraction, zulu, sign, hours, minutes = match.groups()
    if zulu is None and sign is None:
        raise ValueError("a time needs Z or an offset")
    if fraction is not None and len(fraction) > 9:
        raise ValueError("a time has at most nanoseconds")
    seconds = _read_second(f"{date}T{time}")
    if sign is not None:
        seconds -= _offset(sign, int(hours), int(minutes))
        if not SECONDS_MIN <= seconds <= SECONDS_MAX:
            raise ValueError("a time must lie in the years 0001 to 9999")
    return seconds, int(fraction.ljust(9, "0")) if fraction else 0


def _offset(sign: str, hours: int, minutes: int) -> int:
    if hours > 23 or minutes > 59:
        raise ValueError("a time's offset is at most 23:59")
    offset = hours * 3600 + minutes * 60
    return offset if sign == "+" else -offset


# Records written together share their seconds, so that both ways are mostly a look-up.
@lru_cache(maxsize=8192)
def _write_second(seconds: int) -> str:
    return (_EPOCH + timedelta(seconds=seconds)).isoformat()


@lru_cache(maxsize=8192)
def _read_second(text: str) -> int:
    return (datetime.fromisoformat(text) - _EPOCH) // _SECOND
