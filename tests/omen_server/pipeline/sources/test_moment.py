from datetime import UTC, datetime, timedelta

import pytest

from omen_server.pipeline.sources.moment import from_epoch, read_compact, read_mail_date, read_moment, write_moment

TEN = datetime(2026, 8, 16, 10, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "moment", "said_zone"),
    [
        ("2026-08-16T10:00:00Z", TEN, True),
        ("2026-08-16T10:00Z", TEN, True),
        ("2026-08-16 10:00:00+00", TEN, True),
        ("2026-08-16T17:30:00+0730", TEN, True),
        ("2026-08-16T04:30:00-05:30", TEN, True),
        ("2026-08-16 10:00:00.342017448 +0000 UTC", TEN + timedelta(microseconds=342017), True),
        ("2026-08-16T10:00:00.5Z", TEN + timedelta(microseconds=500000), True),
        ("2026-08-16T10:00:00", TEN, False),
        ("2026-08-16", TEN.replace(hour=0), False),
    ],
)
def test_moments(text: str, moment: datetime, said_zone: bool) -> None:
    """
    All the ways of the sources are read as one moment in UTC.
    """
    assert read_moment(text) == (moment, said_zone)


@pytest.mark.parametrize(
    "text",
    ["", "now", "2026-02-30", "2026-08-16T25:00:00Z", "16-08-2026", "2026-08-16T10:00:00+99:00", "٢٠٢٦-08-16",
     "9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00+23:59", "2026-08-16T10:00:00Z\n", "20260816"],
)  # fmt: skip
def test_no_moments(text: str) -> None:
    """
    What is no moment is refused, with ValueError and nothing else.
    """
    with pytest.raises(ValueError, match="is no date and time"):
        read_moment(text)


def test_other_ways() -> None:
    """
    GDELT's compact times and the dates of mail are read too.
    """
    assert read_compact("20260816T100000Z") == read_compact("20260816100000") == TEN
    assert read_compact("20260816") == TEN.replace(hour=0)
    assert read_mail_date("Sun, 16 Aug 2026 12:00:00 +0200") == TEN
    assert read_mail_date("Sun, 16 Aug 2026 10:00:00 -0000") == TEN
    for read, text in (
        (read_compact, "20260230"),
        (read_compact, "2026"),
        (read_mail_date, "soon"),
        (read_mail_date, ""),
    ):
        with pytest.raises(ValueError, match="is no date and time"):
            read(text)


def test_epoch() -> None:
    """
    Seconds since 1970 are a moment within the calendar.
    """
    assert from_epoch(1786874400) == TEN
    with pytest.raises(ValueError, match="years"):
        from_epoch(1e18)
    assert write_moment(TEN) == "2026-08-16T10:00:00Z"
