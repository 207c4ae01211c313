"""
Which sources are polled, and how often: what the setting may say, and what it is told when it may not.
"""

import pytest

from omen_server.fetch import FetchFailed
from omen_server.poller import PollRefused, budgets, parse_poll
from tests.omen_server.polled import toy


@pytest.mark.parametrize("url", ["http://a.example/", "file:///etc/passwd"])
def test_bad_address(url: str) -> None:
    """
    A table with an address that may not be fetched is refused before anything runs.
    """
    with pytest.raises(FetchFailed):
        budgets([toy(url)], lambda: 0.0)


def test_poll_setting() -> None:
    """
    A setting names sources and their intervals; nothing is nothing.
    """
    assert parse_poll("polymarket=60, nws=300,") == {"polymarket": 60.0, "nws": 300.0}
    assert parse_poll("") == {}
    assert parse_poll("toy=5", {"toy": toy("https://a.example/")}) == {"toy": 5.0}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("polymarkt=60", "'polymarkt' is no source. Did you mean polymarket?"),
        ("zzz=60", "There are ais,"),
        ("nws", "'nws' does not say how often. Write nws=30"),
        ("nws=", "does not say how often"),
        ("nws=1m", "does not say how often"),
        ("nws=-5", "does not say how often"),
        ("nws=60,nws=90", "nws is there twice"),
        ("gdacs=60", "gdacs is polled every 300 to 604800 seconds"),
        ("gdacs=604801", "gdacs is polled every 300 to 604800 seconds"),
        ("freight=60", "freight has no address to poll. Feed it with `omen submit --source freight FILE`"),
        ("=60", "'' is no source"),
    ],
)
def test_bad_poll_setting(text: str, said: str) -> None:
    """
    A setting that cannot be followed is refused with the part that is wrong, and what would do.
    """
    with pytest.raises(PollRefused) as caught:
        parse_poll(text)
    assert said in str(caught.value)
