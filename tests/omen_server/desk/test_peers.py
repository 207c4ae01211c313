from collections.abc import Sequence
from datetime import timedelta
from itertools import permutations
from pathlib import Path
from random import Random
from typing import Any

import pytest

from omen.v1.signal_pb2 import Location, RawSignalEvent
from omen_server.desk.desk import Desk
from omen_server.pipeline.reading import read
from omen_server.pipeline.run import Outcome, run_batch
from omen_server.pipeline.snapshot import Peer, peer_of
from tests.omen_server.desk.desks import desk_in
from tests.omen_server.pipeline import golden
from tests.omen_server.pipeline.raw_events import NOW, RULES, article, event, market, report

SUEZ = "Suez Canal closed after a container ship ran aground"
HOUR = 3_600


def keep(desk: Desk, *events: RawSignalEvent, hours: float = 0.0) -> None:
    """
    Keep events so many hours from now.
    """
    desk.peers.keep([read(raw, RULES) for raw in events], NOW + timedelta(hours=hours))


def around(desk: Desk, *batch: RawSignalEvent) -> list[Peer]:
    """
    Return whom a batch is judged with.
    """
    return desk.peers.around([read(raw, RULES) for raw in batch])


def told(name: str, title: str = SUEZ, **fields: Any) -> RawSignalEvent:
    """
    Return a report under a name.
    """
    return report(title, source_event_id=name, **fields)


def judged(batch: Sequence[RawSignalEvent], peers: Sequence[Peer]) -> list[Outcome]:
    """
    Judge a batch.
    """
    return run_batch(batch, RULES, NOW, peers=peers)


async def test_sources_corroborate_across_calls(tmp_path: Path) -> None:
    """
    What one source told in an earlier call raises another's confidence in a later one, also after a restart.
    """
    raw = market(SUEZ)
    [alone] = judged([raw], [])
    async with desk_in(tmp_path) as desk:
        keep(desk, told("r1"))
        assert around(desk, raw) == [peer_of(told("r1"), RULES)]
    async with desk_in(tmp_path) as desk:
        [together] = judged([raw], around(desk, raw))
    assert alone.event is not None
    assert together.event is not None
    assert together.event.signal.confidence_score > alone.event.signal.confidence_score
    assert len(together.event.signal.evidence) == 2


async def test_repeated_articles_are_found_across_calls(tmp_path: Path) -> None:
    """
    An article that repeats one of an earlier call is refused, and the same article polled again is not.
    """
    first, second = article(SUEZ, "a1", age_s=60), article(SUEZ, "a2", domain="other.example")
    async with desk_in(tmp_path) as desk:
        keep(desk, first)
        [again] = judged([second], around(desk, second))
        polled = article(SUEZ, "a1")
        [same] = judged([polled], around(desk, polled))
    assert again.rejected_by == "news_quality"
    assert same.passed


async def test_only_those_that_matter_are_handed_out(tmp_path: Path) -> None:
    """
    Another place, another time, other words, the same voice and the event itself make no witness.
    """
    here = Location(latitude=10.0, longitude=-150.0)
    near, far = Location(latitude=10.9, longitude=-150.0), Location(latitude=14.0, longitude=-150.0)
    batch = event("usgs", "Strike one two three", source_event_id="me", location=here)
    async with desk_in(tmp_path) as desk:
        keep(
            desk,
            told("near", "Strike one two three", location=near),
            told("far", "Strike one two three", location=far),
            told("other words", "Nothing of the kind", location=near),
            told("long ago", "Strike one two three", location=near, age_s=73 * HOUR),
            event("usgs", "Strike one two three", source_event_id="same voice", location=near),
            event("usgs", "Strike one two three", source_event_id="me", location=near, age_s=60),
        )
        assert [peer.source_event_id for peer in around(desk, batch)] == ["near"]


async def test_nothing_the_rules_would_use_is_left_out(tmp_path: Path) -> None:
    """
    Judged with what is handed out, every event comes out as judged with all that there is, but for the digest.
    """
    random = Random(7)
    words = "suez canal red sea strike port closed ship attack delay storm rates".split()  # noqa: SIM905 - as a text.
    domains = ["reuters.com", "ft.com", "bbc.com", "a.example", "b.example"]

    def some(at: int) -> RawSignalEvent:
        title = " ".join(["Suez", *random.sample(words, 5)])
        age_s = random.randrange(48 * HOUR)
        if at % 3:
            return article(title, f"a{at}", age_s=age_s, domain=random.choice(domains))
        return random.choice([told, other])(f"r{at}", title, age_s=age_s, probability=0.5)

    def other(name: str, title: str, **fields: Any) -> RawSignalEvent:
        return event("clob", title, source_event_id=name, **fields)

    kept = [some(at) for at in range(120)]
    async with desk_in(tmp_path) as desk:
        keep(desk, *kept)
        everyone = [peer_of(raw, RULES) for raw in kept]
        for at in range(200, 260):
            raw = some(at)
            [few], [all_] = judged([raw], around(desk, raw)), judged([raw], everyone)
            assert few.rejected_by == all_.rejected_by
            if few.event is not None and all_.event is not None:
                one, two = few.event.signal, all_.event.signal
                assert (one.probability, one.confidence_score) == (two.probability, two.confidence_score)


async def test_newest_version_counts(tmp_path: Path) -> None:
    """
    Of an event's versions one is kept: the newest, but of an article the first, unless its words have changed.
    """
    async with desk_in(tmp_path) as desk:
        keep(desk, market(SUEZ, age_s=60), market(SUEZ, age_s=120), market(SUEZ, probability=0.5))
        keep(desk, article(SUEZ, "a1", age_s=60), article(SUEZ, "a1"), article(f"{SUEZ} corrected", "a2", age_s=9))
        keep(desk, article(f"{SUEZ} at last", "a2"))
        assert len(desk.peers) == 3
        observed = {peer.source_event_id: peer for peer in around(desk, told("me"))}
    assert observed["evt-001"] == peer_of(market(SUEZ), RULES)
    assert observed["a1"] == peer_of(article(SUEZ, "a1", age_s=60), RULES)
    assert "last" in observed["a2"].words


async def test_order_of_arrival_is_irrelevant(tmp_path: Path) -> None:
    """
    Whoever came first, the same peers are handed out, in the same order.
    """
    events = [told("r1"), market(SUEZ), article(SUEZ, "a1", age_s=5), event("clob", SUEZ)]
    found = []
    for at, order in enumerate(permutations(events)):
        async with desk_in(tmp_path / str(at % 4)) as desk:
            keep(desk, *order)
            found.append(around(desk, event("usgs", SUEZ)))
    assert all(each == found[0] for each in found)
    assert len(found[0]) == 4


async def test_count_and_age_are_bounded(tmp_path: Path) -> None:
    """
    The newest of too many stay, none longer than 72 hours, and the database has no others.
    """
    async with desk_in(tmp_path, peers_max=3) as desk:
        keep(desk, *(told(f"r{at}") for at in range(5)))
        assert [peer.source_event_id for peer in around(desk, market(SUEZ))] == ["r2", "r3", "r4"]
    async with desk_in(tmp_path, peers_max=2) as desk:
        assert len(desk.peers) == 2
        keep(desk, told("r9"), hours=1)
        await desk.peers._writer.flush()
        rows = await desk.rejected._reader.rows("SELECT source_event_id FROM peers ORDER BY number")
        assert rows == [("r4",), ("r9",)]
        keep(desk, told("r10"), hours=72.5)
        assert len(desk.peers) == 2
        keep(desk, told("r11"), hours=73.5)
        assert [peer.source_event_id for peer in around(desk, market(SUEZ))] == ["r10", "r11"]


@pytest.mark.parametrize("batch_max", [1, 2, 5, 50])
async def test_few_are_handed_out(tmp_path: Path, batch_max: int) -> None:
    """
    Of too many witnesses the closest of each voice come first, and for one event there are never more than 24.
    """
    async with desk_in(tmp_path, peers_batch_max=batch_max) as desk:
        keep(
            desk, *(told(f"r{at:02}", f"{SUEZ} {at}") for at in range(40)), event("usgs", f"{SUEZ} today and tomorrow")
        )
        found = around(desk, market(SUEZ))
    assert len(found) == min(batch_max, 24)
    assert len({peer.voice for peer in found}) == min(batch_max, 2)


async def test_original_and_other_voices_come_first(tmp_path: Path) -> None:
    """
    The article that one repeats is handed out before any that is closer, and one of each voice before any second.
    """
    words = SUEZ.split()
    original = article(" ".join(words[:-1]), "a0", age_s=120)
    async with desk_in(tmp_path, peers_batch_max=1) as desk:
        keep(desk, original, *(article(SUEZ, f"a{at}", age_s=-at) for at in range(1, 9)))
        assert around(desk, article(SUEZ, "me")) == [peer_of(original, RULES)]
    async with desk_in(tmp_path) as desk:
        others = (article(f"{SUEZ} says daily number {at}", f"b{at}", domain=f"d{at}.example") for at in range(40))
        keep(
            desk,
            *others,
            event("usgs", "Suez Canal closed after an earthquake and a container fire", source_event_id="q"),
        )
        assert {peer.voice for peer in around(desk, report(SUEZ))} == {"gdelt", "usgs"}


async def test_article_is_not_its_own_witness(tmp_path: Path) -> None:
    """
    An article polled again is not judged with its earlier self.
    """
    async with desk_in(tmp_path) as desk:
        keep(desk, article(SUEZ, "a1", age_s=60))
        assert around(desk, article(SUEZ, "a1")) == []


async def test_golden_batch_stays_with_itself(tmp_path: Path) -> None:
    """
    Events that are kept and submitted once more are judged as the first time: nobody witnesses for himself.
    """
    batch = golden.batch()
    async with desk_in(tmp_path) as desk:
        keep(desk, *batch)
        again = judged(batch, around(desk, *batch))
    first = judged(batch, [])
    assert again == first


async def test_who_was_put_out_before_he_was_written_is_not_written(tmp_path: Path) -> None:
    """
    The database holds no more witnesses than may be kept, however many come between two flushes.
    """
    async with desk_in(tmp_path, peers_max=1, flush_interval_s=60.0) as desk:
        keep(desk, told("r1"), told("r2"), told("r3"))
    async with desk_in(tmp_path, peers_max=9) as desk:
        assert around(desk, market(SUEZ)) == [peer_of(told("r3"), RULES)]
