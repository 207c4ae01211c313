"""
Polling: pace, waiting, budgets, pages, and what a source that fails costs the others.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import orjson
import pytest

from omen_server.breaker import BreakerState
from omen_server.pipeline.sources import SOURCES
from omen_server.poller import SUBMIT_EVENTS_MAX, budgets, with_parameter
from tests.omen_server.polled import START, Bench, page, toy
from tests.omen_server.web_server import WebServer, ok


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    """
    Return a bench whose server serves.
    """
    async with WebServer() as server:
        yield Bench(server)


async def test_events_are_handed_over(bench: Bench) -> None:
    """
    What a source tells reaches the pipeline with its provenance, and is counted.
    """
    url = bench.server.tell("/", page("a", "b", 1.5))
    poller = bench.poller(toy(url))
    await poller.poll("toy")
    assert bench.pipeline.ids == ["a", "b"]
    assert {event.url for event in bench.pipeline.batches[0]} == {url}
    tally = poller.tallies()["toy"]
    assert (tally.polls, tally.events, tally.skipped, dict(tally.failures)) == (1, 2, 1, {})
    assert tally.last_success_at == START


async def test_pace(bench: Bench) -> None:
    """
    Polls begin one interval apart.
    """
    poller = bench.poller(toy(bench.server.tell("/", page("a"))))
    await bench.run(poller, 3)
    assert bench.time.slept == [60, 60, 60]
    assert poller.tallies()["toy"].polls == 4


async def test_batches(bench: Bench) -> None:
    """
    Many events are handed over in batches that the pipeline takes.
    """
    poller = bench.poller(
        toy(bench.server.tell("/", page(*(f"{number:04}" for number in range(SUBMIT_EVENTS_MAX + 1)))))
    )
    await poller.poll("toy")
    assert [len(batch) for batch in bench.pipeline.batches] == [SUBMIT_EVENTS_MAX, 1]


@pytest.mark.parametrize("said", ["120", "Sun, 16 Aug 2026 10:02:00 GMT"])
async def test_come_back_later(bench: Bench, said: str) -> None:
    """
    A source that says 429 and when to come back is asked then, and not before.
    """
    busy = ok(b"", f"Retry-After: {said}", status="429 Too Many Requests")
    poller = bench.poller(toy(bench.server.tell("/", busy, page("a"))))
    await bench.run(poller, 1)
    assert bench.time.slept == [120]
    assert bench.pipeline.ids == ["a"]
    assert poller.tallies()["toy"].failures == {"SourceUnavailable": 1}


async def test_busy_is_healthy(bench: Bench) -> None:
    """
    Whoever says when to come back has not failed.
    """
    busy = ok(b"", "Retry-After: 0", status="429 Too Many Requests")
    poller = bench.poller(toy(bench.server.tell("/", busy)))
    for _ in range(6):
        await poller.poll("toy")
    assert len(bench.server.requests) == 6
    assert poller.breakers()["toy"].consecutive_failures == 0


async def test_unavailable_until(bench: Bench) -> None:
    """
    503 with Retry-After is waited for too, and is a failure; the source's other addresses wait as well.
    """
    away = ok(b"", "Retry-After: 300", status="503 Service Unavailable")
    first, second = bench.server.tell("/1", away), bench.server.tell("/2", page("b"))
    poller = bench.poller(toy(first, second))
    await bench.run(poller, 0)
    assert poller.breakers()["toy"].consecutive_failures == 1
    assert bench.server.asked("/2") == []
    await poller.poll("toy")
    assert len(bench.server.requests) == 1
    bench.time.now_s += 300
    await poller.poll("toy")
    assert len(bench.server.requests) == 2


async def test_breaker(bench: Bench) -> None:
    """
    Five failures, and the source is left alone for 30 s; then one probe, whose success lets it be asked again.
    """
    broken = ok(b"broken")
    poller = bench.poller(toy(bench.server.tell("/", *[broken] * 6, page("a"))))
    for _ in range(8):
        await poller.poll("toy")
    assert len(bench.server.requests) == 5
    assert poller.breakers()["toy"].state is BreakerState.OPEN
    assert poller.tallies()["toy"].failures == {"SourceMalformed": 5, "SourceUnavailable": 1}
    assert "left alone for 30 s" in poller.tallies()["toy"].last_error
    bench.time.now_s += 30
    await poller.poll("toy")
    assert len(bench.server.requests) == 6
    assert poller.breakers()["toy"].state is BreakerState.OPEN
    bench.time.now_s += 30
    await poller.poll("toy")
    assert bench.pipeline.ids == ["a"]
    assert poller.breakers()["toy"].state is BreakerState.CLOSED


async def test_429_without_a_time(bench: Bench) -> None:
    """
    A source that only says 429 fails like any other, until its breaker opens.
    """
    poller = bench.poller(toy(bench.server.tell("/", ok(b"", status="429 Too Many Requests"))))
    for _ in range(7):
        await poller.poll("toy")
    assert len(bench.server.requests) == 5


async def test_budget(bench: Bench) -> None:
    """
    A host is asked no oftener than its budget allows: twelve a minute, one at a time, is one every five seconds.
    """
    urls = [bench.server.tell(f"/{number}", page(number)) for number in range(3)]
    poller = bench.poller(toy(*urls, requests_per_minute_max=12, requests_burst_max=1))
    await poller.poll("toy")
    assert bench.time.slept == pytest.approx([5, 5])
    assert len(bench.pipeline.ids) == 3


def test_shared_host() -> None:
    """
    Sources at one host share its budget, and the smaller one counts.
    """
    swift, slow = (toy("https://a.example/x", requests_per_minute_max=rate, requests_burst_max=1) for rate in (60, 6))
    shared = budgets([swift, slow, toy("https://b.example/")], lambda: 0.0)
    assert set(shared) == {"a.example", "b.example"}
    assert shared["a.example"].take("a.example", 1) == 0
    assert shared["a.example"].take("a.example", 1) == pytest.approx(10)


async def test_known_answer(bench: Bench) -> None:
    """
    An answer the pipeline has taken in is asked for only if it changed.
    """
    poller = bench.poller(toy(bench.server.tell("/", page("a"), b"HTTP/1.1 304 Not Modified\r\n\r\n")))
    await poller.poll("toy")
    await poller.poll("toy")
    assert [headers.get("if-none-match") for headers in bench.server.asked("/")] == [None, '"v1"']
    assert bench.pipeline.ids == ["a"]
    assert poller.tallies()["toy"].unchanged == 1


async def test_pipeline_refuses(bench: Bench) -> None:
    """
    An answer the pipeline refused is asked for again as a whole, and polling goes on; the source is not blamed.
    """
    bench.pipeline.refusals = 1
    poller = bench.poller(toy(bench.server.tell("/", page("a"))))
    await bench.run(poller, 1)
    assert [headers.get("if-none-match") for headers in bench.server.asked("/")] == [None, None]
    assert bench.pipeline.ids == ["a"]
    assert poller.tallies()["toy"].failures == {"OSError": 1}
    assert poller.breakers()["toy"].consecutive_failures == 0


async def test_pages(bench: Bench) -> None:
    """
    Pages are followed by their cursors, which are escaped; the rest of the address stays.
    """
    url = bench.server.tell("/list?limit=2", page("a", "b", following="n=2&"))
    bench.server.tell("/list?limit=2&after=n%3D2%26", page("c", following="3"))
    bench.server.tell("/list?limit=2&after=3", page("d"))
    poller = bench.poller(toy(url, page_parameter="after", pages_max=5))
    await poller.poll("toy")
    assert bench.pipeline.ids == ["a", "b", "c", "d"]
    await poller.poll("toy")
    assert "if-none-match" not in bench.server.asked("/list?limit=2")[1]  # A first page alone says nothing of the rest.


async def test_too_many_pages(bench: Bench) -> None:
    """
    So many pages are read and no more.
    """
    url = bench.server.tell("/", page("a", following="1"))
    for number in range(1, 5):
        bench.server.tell(f"/?after={number}", page(f"p{number}", following=str(number + 1)))
    await bench.poller(toy(url, page_parameter="after", pages_max=3)).poll("toy")
    assert bench.pipeline.ids == ["a", "p1", "p2"]


async def test_pages_in_a_circle(bench: Bench) -> None:
    """
    A cursor that leads back ends the poll with an error.
    """
    url = bench.server.tell("/", page("a", following="1"))
    bench.server.tell("/?after=1", page("b", following="1"))
    poller = bench.poller(toy(url, page_parameter="after", pages_max=9))
    await poller.poll("toy")
    assert bench.pipeline.ids == ["a", "b"]
    assert "already read" in poller.tallies()["toy"].last_error


async def test_offsets(bench: Bench) -> None:
    """
    PortWatch's pages go by offset.
    """

    def rows(port: int, more: bool) -> bytes:
        row = {"attributes": {"portid": f"chokepoint{port}", "date": "2026-08-09", "n_total": 30}}
        return ok(orjson.dumps({"features": [row, row], "exceededTransferLimit": more}))

    url = bench.server.tell("/query?f=json", rows(1, True))
    bench.server.tell("/query?f=json&resultOffset=2", rows(2, True))
    bench.server.tell("/query?f=json&resultOffset=4", rows(3, False))
    await bench.poller(replace(SOURCES["portwatch"], urls=(url,), pages_max=9)).poll("portwatch")
    assert bench.pipeline.ids == ["chokepoint1:2026-08-09", "chokepoint2:2026-08-09", "chokepoint3:2026-08-09"]


async def test_error_with_status_200(bench: Bench) -> None:
    """
    An error that comes as data is a failure of the source's.
    """
    url = bench.server.tell("/", ok(b'{"error":{"code":400,"message":"Invalid query"}}'))
    poller = bench.poller(replace(SOURCES["portwatch"], urls=(url,)))
    await poller.poll("portwatch")
    assert poller.tallies()["portwatch"].failures == {"SourceRefused": 1}
    assert poller.breakers()["portwatch"].last_failure == "portwatch: error: 400 Invalid query"


async def test_others_go_on(bench: Bench) -> None:
    """
    A source that fails, and one whose parser has a bug, stop neither themselves nor the one beside them.
    """
    failing = replace(toy(bench.server.tell("/1", ok(b"", status="500 Oops"))), name="failing")
    buggy = replace(toy(bench.server.tell("/2", ok(b"a bug"), page("b"))), name="buggy")
    good = replace(toy(bench.server.tell("/3", page("a"))), name="good")
    poller = bench.poller(failing, buggy, good)
    failures = poller.tallies()["failing"].failures
    await bench.run(poller, enough=lambda: {"a", "b"} <= set(bench.pipeline.ids) and failures.total() > 1)
    assert poller.tallies()["buggy"].failures == {"ZeroDivisionError": 1}
    assert set(failures) == {"SourceUnavailable"}
    assert poller.breakers()["buggy"].consecutive_failures == 0


async def test_one_bad_address(bench: Bench) -> None:
    """
    An address that fails does not keep the source's next one from being asked.
    """
    first, second = bench.server.tell("/1", ok(b"broken")), bench.server.tell("/2", page("b"))
    poller = bench.poller(toy(first, second))
    await poller.poll("toy")
    assert bench.pipeline.ids == ["b"]


async def test_cancelled_in_a_fetch(bench: Bench) -> None:
    """
    Cancelled in the middle of a fetch, it stops at once and gives the probe back.
    """
    begun = asyncio.Event()

    async def begin(_: object) -> None:
        begun.set()

    poller = bench.poller(toy(bench.server.tell("/", *[ok(b"broken")] * 5, begin)))
    for _ in range(5):
        await poller.poll("toy")
    bench.time.now_s += 30
    task = asyncio.create_task(poller.run())
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await bench.server.closed.wait()
    assert poller.breakers()["toy"].state is BreakerState.HALF_OPEN
    assert poller.breakers()["toy"].retry_after_s == 0


async def test_offline(bench: Bench) -> None:
    """
    The stub is polled without any network.
    """
    await bench.poller(SOURCES["stub"]).poll("stub")
    assert len(bench.pipeline.ids) == 10
    assert bench.server.requests == []


@pytest.mark.parametrize(
    ("url", "result"),
    [
        ("https://a.example/x", "https://a.example/x?p=v"),
        ("https://a.example/x?q=1&p=old&e=", "https://a.example/x?q=1&e=&p=v"),
        ("https://a.example/x?where=a%3D%27b%27", "https://a.example/x?where=a%3D%27b%27&p=v"),
    ],
)
def test_with_parameter(url: str, result: str) -> None:
    """
    A parameter is set once, and the others stay.
    """
    assert with_parameter(url, "p", "v") == result
