import pytest
from hypothesis import given

from omen_rpc.rfc3339 import read_time, write_time
from tests.omen_rpc.signal_events import NANOS, SECONDS

TEN = 1769594400  # 2026-01-28T10:00:00Z


@given(seconds=SECONDS, nanos=NANOS)
def test_round_trip(seconds: int, nanos: int) -> None:
    """
    Every moment from the year 1 to 9999 comes back to the nanosecond.
    """
    assert read_time(write_time(seconds, nanos)) == (seconds, nanos)


@pytest.mark.parametrize(
    ("nanos", "text"),
    [
        (0, "2026-01-28T10:00:00Z"),
        (500_000_000, "2026-01-28T10:00:00.500Z"),
        (1_000, "2026-01-28T10:00:00.000001Z"),
        (120_000, "2026-01-28T10:00:00.000120Z"),
        (123_456_700, "2026-01-28T10:00:00.123456700Z"),
        (1, "2026-01-28T10:00:00.000000001Z"),
    ],
)
def test_fraction(nanos: int, text: str) -> None:
    """
    The fraction has 0, 3, 6 or 9 digits, the fewest that lose nothing.
    """
    assert write_time(TEN, nanos) == text


def test_first_and_last_second() -> None:
    """
    The first and the last second that can be said are written with four digits of year.
    """
    assert write_time(-62_135_596_800, 0) == "0001-01-01T00:00:00Z"
    assert write_time(253_402_300_799, 999_999_999) == "9999-12-31T23:59:59.999999999Z"


@pytest.mark.parametrize(
    "text",
    [
        "2026-01-28T10:00:00Z",
        "2026-01-28t10:00:00z",
        "2026-01-28T10:00:00+00:00",
        "2026-01-28T10:00:00-00:00",
        "2026-01-28T17:00:00+07:00",
        "2026-01-28T04:30:00.0-05:30",
    ],
)
def test_offsets(text: str) -> None:
    """
    Z and any offset say the same moment.
    """
    assert read_time(text) == (TEN, 0)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2026-01-28",
        "2026-01-28 10:00:00Z",
        "2026-01-28T10:00Z",
        "2026-01-28T10:00:00",
        "2026-01-28T10:00:00.Z",
        "2026-01-28T10:00:00.1234567890Z",
        "2026-01-28T24:00:00Z",
        "2026-01-28T10:00:60Z",
        "2026-02-29T10:00:00Z",
        "0000-01-01T00:00:00Z",
        "0001-01-01T00:00:00+01:00",
        "9999-12-31T23:59:59-01:00",
        "2026-01-28T10:00:00+24:00",
        "2026-01-28T10:00:00+01:60",
        "2026-01-28T10:00:00+0100",
        "\uff12\uff10\uff12\uff16-01-28T10:00:00Z",
        "2026-01-28T10:00:00Z\n",
    ],
)
def test_refused(text: str) -> None:
    """
    What is not exactly one moment of the years 0001 to 9999 is refused.
    """
    with pytest.raises(ValueError, match=r"time|range|second"):
        read_time(text)


@pytest.mark.parametrize(
    ("seconds", "nanos"), [(-62_135_596_801, 0), (253_402_300_800, 0), (TEN, -1), (TEN, 1_000_000_000)]
)
def test_unwritable(seconds: int, nanos: int) -> None:
    """
    A moment outside of those years, or with nanoseconds of more than a second, is never written.
    """
    with pytest.raises(ValueError, match="time"):
        write_time(seconds, nanos)
