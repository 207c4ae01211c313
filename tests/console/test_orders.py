"""
What can be done from the console, against real servers: sending, sending again, reconciling, pausing.
"""

import re
from html import unescape

import pytest

from tests.console.conftest import Open, Show, Web
from tests.console.stage import SEALED


def rows(page: str) -> list[list[str]]:
    """
    Return the cells of the response log, the newest row first.
    """
    body = re.search(r'<tbody id="log-rows">(.*?)</tbody>', page, re.DOTALL)
    found = re.findall(r"<tr>(.*?)</tr>", body[1], re.DOTALL) if body else []
    cells = [re.findall(r"<td[^>]*>(.*?)</td>", row, re.DOTALL) for row in found]
    return [[" ".join(unescape(re.sub("<[^>]+>", " ", cell)).split()) for cell in row] for row in cells]


async def test_one_accepted_and_the_rest_deduped(web: Web) -> None:
    """
    A signal is sent once and N times again: one 200, N times 409 with the first ack, one row at RiskCast.
    """
    before = (await web.console.upstream.riskcast.stats()).stored
    sent = await web.post("ingest/send", title="Sent from a test", category="WEATHER", probability="0.5")
    ((_, status, signal_id, to, outcome, ack, _),) = rows(sent.text)
    assert (status, to, outcome) == ("200 OK", "OMEN", "DELIVERED")
    again = await web.post("ingest/duplicates", count="7")
    copies = rows(again.text)[:7]
    assert {(each[1], each[2], each[3], each[5], each[6]) for each in copies} == {
        ("409 ALREADY_EXISTS", signal_id, "RiskCast", ack, "true")
    }
    assert (await web.console.upstream.riskcast.stats()).stored == before + 1
    said = " ".join(unescape(re.sub("<[^>]+>", " ", again.text)).split())
    assert "200 1 accepted 409 7 duplicates" in said
    assert ack.removesuffix(" Copy") in said


async def test_the_same_id_again_appends_nothing(web: Web) -> None:
    """
    Sending an id that is known says so, with the first ack.
    """
    form = {"title": "Once", "signal_id": "OMEN-ONCE0001", "probability": "0.25"}
    await web.post("ingest/send", **form)
    records = (await web.console.upstream.omen.operations.stats()).ledger_records
    page = await web.post("ingest/send", **form)
    second, first = rows(page.text)
    assert second[5] == first[5]
    assert second[4:] == ["DELIVERED Known already: nothing was appended.", first[5], "true"]
    assert (await web.console.upstream.omen.operations.stats()).ledger_records == records


@pytest.mark.parametrize(
    ("path", "form", "status", "words"),
    [
        ("ingest/send", {"title": ""}, "400 INVALID_ARGUMENT", "title"),
        ("ingest/send", {"title": "x" * 501}, "400 INVALID_ARGUMENT", "title"),
        ("ingest/send", {"title": "x", "probability": "2"}, "400 INVALID_ARGUMENT", "probability"),
        ("ingest/send", {"title": "x", "probability": "much"}, "400 INVALID_ARGUMENT", "number from 0 to 1"),
        ("ingest/send", {"title": "x", "confidence": "nan"}, "400 INVALID_ARGUMENT", "confidence"),
        ("ingest/send", {"title": "x", "signal_id": "<b>"}, "400 INVALID_ARGUMENT", "signal_id"),
        ("ingest/duplicates", {"count": "1"}, "400 INVALID_ARGUMENT", "Send 1 first"),
        ("ingest/duplicates", {"count": "1000000"}, "400 INVALID_ARGUMENT", "Choose 1 to 50"),
        ("ingest/duplicates", {"count": "-1"}, "400 INVALID_ARGUMENT", "Choose 1 to 50"),
    ],
)
async def test_what_cannot_be_sent_is_said(web: Web, path: str, form: dict[str, str], status: str, words: str) -> None:
    """
    A wrong field is a line in the log that names it, and nothing is stored.
    """
    records = (await web.console.upstream.omen.operations.stats()).ledger_records
    page = await web.post(path, **form)
    newest = rows(page.text)[0]
    assert (page.status_code, newest[1]) == (200, status)
    assert words in newest[4]
    assert (await web.console.upstream.omen.operations.stats()).ledger_records == records


async def test_reconcile_says_replayed_or_up_to_date(web: Web) -> None:
    """
    A round over everything ends in words on the dashboard; the next has nothing to do.
    """
    await web.post("reconcile/run", target="all", include_open="1", force="1")
    page = await web.post("reconcile/run", target="all", include_open="1", back="/")
    assert page.url.path == "/"
    assert re.search(r'data-live="round"[^>]*>Up to date<', page.text)
    shown = await web.get(f"reconcile?partition={SEALED}")
    assert re.search(r'data-tone="good">COMPLETED<', shown.text)
    assert "COMPLETED" in (await web.get(f"partitions/{SEALED}")).text


async def test_only_partitions_can_be_named(web: Web) -> None:
    """
    A round over something that is no partition is not begun.
    """
    page = await web.post("reconcile/run", target="../etc")
    assert (page.status_code, web.console.rounds.last) == (400, None)
    await web.post("reconcile/run", target="2001-01-01")
    assert web.console.rounds.last is not None
    assert web.console.rounds.last.headline.startswith("Not reconciled: ")


async def test_pausing_holds_until_resumed(web: Web) -> None:
    """
    Paused is shown, a round says so, and it goes on when resumed.
    """
    try:
        page = await web.post("reconcile/pause", reason="a test")
        assert re.search(r'data-live="paused">Paused<', page.text)
        page = await web.post("reconcile/run", target="all")
        assert re.search(r'data-live="round"[^>]*>Not reconciled: [^<]*a test', page.text)
    finally:
        page = await web.post("reconcile/resume")
    assert re.search(r'data-live="paused"></span>', page.text)


async def test_a_compared_round_replays_nothing(show: Show, open_web: Open) -> None:
    """
    Compare only says what is missing, which here is nothing.
    """
    async with open_web(**show.stage.upstream) as web:
        await web.post("reconcile/run", target=SEALED, validate_only="1", force="1")
        made = web.console.rounds.last
        assert made is not None
        assert (made.headline, [each.validate_only for each in made.results]) == ("Up to date", [True])
