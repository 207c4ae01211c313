"""
Every screen against real servers: the words as agreed, the fields, filters, drills and empty states.
"""

import re
from datetime import UTC, datetime
from html import unescape

import httpx
import pytest

from tests.console.conftest import SCREENS, Open, Show, Web
from tests.console.stage import LATE, SEALED

NAV = ["Dashboard", "Partitions", "Partition detail", "Signals", "Reconcile", "Ingest demo", "Ledger proof", "Copy ref"]
HEADLINE = "OMEN: Two-path signal intelligence — ledger first, then live."
MICROCOPY = [
    "Ledger written before hot path; reconcile recovers any loss.",
    "Duplicate ingest returns 409 with original ack_id.",
    "Partition sealed: no more writes; safe to reconcile.",
    "Late partition: out-of-order arrivals for this date.",
    "Reconcile replays missing signals from ledger to RiskCast.",
    "Partial frame at end of segment truncated; no corrupt record.",
    "Highwater increased → re-reconcile to catch late arrivals.",
    "Main partition: reconcile only when sealed.",
    "1×200, N×409: one accepted, rest deduped.",  # noqa: RUF001 - as it was agreed
    "Crash-tail: reader returns only complete frames.",
]
VOCABULARY = [
    ("SEALED", "Partition closed for writes; has _SEALED and _manifest.json."),
    ("OPEN", "Partition still writable."),
    ("LATE", "Partition name ends with -late; holds late arrivals."),
    ("RECONCILED", "Last reconcile status COMPLETED."),
    ("PARTIAL", "Reconcile ran but some replays failed or capped."),
    ("FAILED", "Reconcile error."),
]


def text_of(page: httpx.Response) -> str:
    """
    Return what a page says, without its tags.
    """
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", page.text)).split())


def today() -> str:
    """
    Return the open partition's name.
    """
    return datetime.now(UTC).date().isoformat()


async def test_the_words_are_the_agreed_ones(web: Web) -> None:
    """
    Navigation, headline, microcopy and vocabulary are there to the letter.
    """
    page = await web.get("copy")
    nav = re.search(r'<nav aria-label="Screens">(.*?)</nav>', page.text, re.DOTALL)
    assert nav is not None
    assert re.findall(r"<a [^>]*>([^<]+)</a>", nav[1]) == [*NAV, "System"]
    said = text_of(page)
    assert HEADLINE in said
    assert [each for each in MICROCOPY if each not in said] == []
    assert [(word, text) for word, text in VOCABULARY if f"{word} {text}" not in said] == []
    assert re.search(r"<h1>([^<]+)</h1>", (await web.get("")).text)[1] == HEADLINE  # type: ignore[index]


@pytest.mark.parametrize("base", ["/", "/x/y/"])
async def test_every_link_leads_somewhere(show: Show, open_web: Open, base: str) -> None:
    """
    Whatever a page links to is there, below the base path.
    """
    async with open_web(base_path=base, **show.stage.upstream) as web:
        pages = [*SCREENS, f"partitions/{SEALED}", f"partitions/{LATE}", "signals/OMEN-STAGE00001", "signals?q=suez"]
        links: set[str] = set()
        for path in pages:
            page = await web.get(path)
            assert page.status_code == 200, path
            links |= {unescape(each) for each in re.findall(r'(?:href|src|action)="([^"#]+)', page.text)}
        assert [each for each in links if not each.startswith(base)] == []
        orders = {f"{base}{name}" for name in ("reconcile/run", "reconcile/pause", "ingest/send", "ingest/duplicates")}
        gone = []
        for link in sorted(links - orders):
            if "signals/" in link and link[-2:] not in {"01", "07"}:
                continue  # They are all alike.
            if (await web.client.get(f"http://127.0.0.1{link}")).status_code not in {200, 303}:
                gone.append(link)
        assert gone == []


async def test_the_dashboard_counts_both_sides(web: Web) -> None:
    """
    The hero has today's two counts, and the strip every step of a signal's way.
    """
    page = await web.get("")
    live = dict(re.findall(r'data-live="([a-z-]+)"[^>]*>([^<]*)<', page.text))
    assert int(live["ledger"].replace(",", "")) >= 13
    assert live["day"] == today()
    assert live["written"] == live["durable"]
    assert int(live["stored"].replace(",", "")) >= 74
    assert (live["state-omen"], live["state-riskcast"], live["state-reconciler"]) == ("up", "up", "up")
    said = text_of(page)
    for label in ("Partitions sealed 1", "Partitions open 2", "Signals today", "Ingest 200", "Ingest 409"):
        assert label in said
    assert f"{SEALED} Sealed" in said
    assert "No partitions" in text_of(await web.get("?from=2001-01-01&to=2001-01-02"))


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("", lambda: [today(), LATE, SEALED]),
        ("?order=oldest", lambda: [SEALED, LATE, today()]),
        ("?filter=sealed", lambda: [SEALED]),
        ("?filter=late", lambda: [LATE]),
        ("?filter=open", lambda: [today(), LATE]),
    ],
)
async def test_partitions_are_filtered_and_sorted(web: Web, query: str, names: "object") -> None:
    """
    Partitions are listed by date, either way round, all or of one kind.
    """
    page = await web.get(f"partitions{query}")
    listed = re.findall(r'<td><a class="id" href="[^"]*">([^<]+)</a></td>', page.text)
    assert listed == names()  # type: ignore[operator]


async def test_a_sealed_partition_shows_everything(web: Web) -> None:
    """
    Segments, manifest, both counts and the button are there; the day can be reconciled.
    """
    page = await web.get(f"partitions/{SEALED}")
    said = text_of(page)
    for part in ("signals-001.wal", "crc32:", "Merkle root", "Total records 60", "Processed 60", "Missing 0"):
        assert part in said
    assert re.search(r"<button>Run reconcile</button>", page.text)


async def test_an_open_partition_says_why_it_cannot_be_reconciled(web: Web) -> None:
    """
    The button of an open main partition is disabled, with the reason beside it; a late one's is not.
    """
    page = await web.get(f"partitions/{today()}")
    assert re.search(r'<button disabled aria-describedby="blocked">Run reconcile</button>', page.text)
    assert "main_partition_not_sealed" in text_of(page)
    assert "<button>Run reconcile</button>" in (await web.get(f"partitions/{LATE}")).text


async def test_signals_are_searched_and_paged(web: Web) -> None:
    """
    Words, category, partition and dates narrow the list; the rest is a page further.
    """

    async def found(query: str) -> list[str]:
        page = await web.get(f"signals?{query}")
        return re.findall(r'<tr>\s*<td><a class="id" href="[^"]*">([^<]+)</a>', page.text)

    assert await found(f"q=suez+41&partition={SEALED}") == ["OMEN-STAGE00041"]
    assert await found(f"partition={LATE}") == ["OMEN-STAGE00070"]
    weather = await found(f"category=WEATHER&partition={SEALED}")
    assert len(weather) == 8
    assert len(await found("from=2026-01-28&to=2026-01-28")) == 50
    first = await web.get(f"signals?partition={SEALED}")
    older = re.search(r'rel="next" href="([^"]+)">Older', first.text)
    assert older is not None
    assert len(re.findall("<tr>", (await web.client.get(unescape(older[1]))).text)) == 11
    nothing = text_of(await web.get("signals?q=nothing+of+the+kind"))
    assert "No signals" in nothing


async def test_a_signal_shows_its_whole_life(web: Web) -> None:
    """
    One page a signal: from its observation to RiskCast's row, with its position, ack and record.
    """
    page = await web.get("signals/OMEN-STAGE00007")
    said = text_of(page)
    for part in ("Observed", "Emitted 2026-01-28", "(1/7), position 7", "DELIVERED", "riskcast-ack-", "HOT_PATH"):
        assert part in said, part
    assert "Verified" in said
    assert "replay this" not in said.lower()


@pytest.mark.parametrize(
    "path",
    [
        "nothing",
        "partitions/2026-01-01",
        "partitions/..%2f..%2fetc",
        "signals/OMEN-NOBODY",
        "signals/x",
        "proof?partition=2026-01-01",
        "proof?partition=../x",
    ],
)
async def test_what_is_not_there_is_said(web: Web, path: str) -> None:
    """
    An address of nothing is answered with 404, in words, with the navigation to go on by.
    """
    page = await web.get(path)
    assert page.status_code == 404
    assert 'aria-label="Screens"' in page.text
    assert "<h1>" in page.text


async def test_the_pages_before_the_first_signal(show: Show) -> None:
    """
    An empty ledger is a state of its own on every screen: it says so, and what to do.
    """
    for path, words in {
        "": "No signals yet.",
        "partitions": "No partitions",
        "partition": "No partitions",
        "signals": "No signals",
        "reconcile": "No rounds",
        "ingest": "No responses yet",
        "proof": "No partitions",
        "system": "No dead letters",
    }.items():
        page = show.empty[path]
        assert (page.status_code, words in text_of(page)) == (200, True), path


async def test_the_system_screen_shows_settings_and_no_secrets(show: Show, open_web: Open) -> None:
    """
    Every process tells version and settings with their sources.
    """
    async with open_web(**show.stage.upstream) as web:
        said = text_of(await web.get("system"))
    for part in ("omen-server", "riskcast-server", "omen-reconciler", "omen-console", "base_path"):
        assert part in said
    assert re.search(r"data_dir \S+ flag --data-dir", said)


async def test_preferences_are_kept_and_lead_back(web: Web) -> None:
    """
    Theme and times are cookies; the way back never leaves the console.
    """
    kept = await web.get("preferences?theme=dark&back=/signals")
    assert (kept.status_code, kept.headers["location"]) == (303, "/signals")
    assert 'data-theme="dark"' in (await web.get("")).text
    for back in ("//elsewhere.example/", "https://elsewhere.example/", "/\\elsewhere.example"):
        assert (await web.get("preferences", params={"theme": "nope", "back": back})).headers["location"] == "/"
    await web.get("preferences?times=relative")
    assert re.search(r"<time [^>]*>\d+ (s|min|h|d) ago|just now</time>", (await web.get("signals")).text)


ODD = (
    "",
    "x" * 3000,
    "\x00",
    "💥'\"<b>",
    "../../etc/passwd",
    "-1",
    "1e9",
    "9" * 30,
    "2026-13-45",
    "%s%n",
    "OMEN-X",
    "1970-01-01",
)
PARAMETERS = (
    "q",
    "partition",
    "category",
    "from",
    "to",
    "after",
    "filter",
    "order",
    "status",
    "frame",
    "cut",
    "byte",
    "bit",
)


@pytest.mark.parametrize("path", SCREENS)
async def test_odd_parameters_are_no_errors(web: Web, path: str) -> None:
    """
    Whatever the address says, a page answers in words and shows none of it as markup.
    """
    for at, odd in enumerate(ODD):
        query = {name: ODD[(at + shift) % len(ODD)] for shift, name in enumerate(PARAMETERS)} | {"do": "flip"}
        for asked in (query, dict.fromkeys(PARAMETERS, odd)):
            page = await web.get(path, params=asked)
            assert page.status_code in {200, 404}, asked
            assert "<b>'" not in page.text
            assert "'\"<b>" not in page.text
