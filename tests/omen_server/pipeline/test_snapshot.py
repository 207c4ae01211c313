from datetime import datetime, timedelta, timezone

import pytest

from omen_server.pipeline.attribute import SECOND_NS
from omen_server.pipeline.history import Point
from omen_server.pipeline.reading import read
from omen_server.pipeline.snapshot import Snapshot, of_batch, peer_of
from tests.omen_server.pipeline.raw_events import NOW, RULES, article, market, quake

PEERS = tuple(peer_of(raw, RULES) for raw in (market(), article(), quake()))
POINTS = (Point(1 * SECOND_NS, 0.1), Point(2 * SECOND_NS, 0.2))


def test_naive_time_is_refused() -> None:
    """
    A time without a zone is no time.
    """
    with pytest.raises(ValueError, match="no zone"):
        Snapshot(NOW.replace(tzinfo=None))


def test_zone_is_irrelevant() -> None:
    """
    The same moment in another zone is the same.
    """
    there = NOW.astimezone(timezone(timedelta(hours=-5)))
    assert Snapshot(there).as_of_ns == Snapshot(NOW).as_of_ns == 1_769_594_400 * SECOND_NS
    assert Snapshot(datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=NOW.tzinfo)).as_of_ns == -1_000


def test_digest_golden() -> None:
    """
    The digest of one history and three peers is the same in every process and release.
    """
    digest = Snapshot(NOW, {"polymarket/a": POINTS}, PEERS).digest
    assert digest == "sha256:9e2a0e7c5b18b19ec449e65092f18cb3fe48dcce2f7e4fd809be5330ee694533"


@pytest.mark.parametrize("seconds", [2**62, -(2**62), 253_402_300_799])
def test_any_time_can_be_digested(seconds: int) -> None:
    """
    A time that no 64-bit number of nanoseconds holds, in one event of a batch, is digested like any other.
    """
    strange = market()
    strange.observed_at.seconds = seconds
    other = market()
    other.observed_at.seconds = seconds - 1
    found = {Snapshot(NOW, peers=(*PEERS, peer_of(raw, RULES))).digest for raw in (strange, other)}
    assert len(found) == 2


def test_order_is_irrelevant() -> None:
    """
    Neither the order of the peers nor that of the history, nor what is there twice, changes the digest.
    """
    one = Snapshot(NOW, {"a": POINTS, "b": POINTS}, PEERS)
    other = Snapshot(NOW, {"b": POINTS[::-1], "a": (*POINTS, *POINTS), "c": ()}, (*PEERS[::-1], PEERS[0]))
    assert one.digest == other.digest


def test_time_is_not_digested() -> None:
    """
    The digest tells what was known, not when.
    """
    assert Snapshot(NOW, peers=PEERS).digest == Snapshot(NOW + timedelta(days=1), peers=PEERS).digest


@pytest.mark.parametrize(
    "other",
    [
        Snapshot(NOW),
        Snapshot(NOW, {"a": POINTS[:1]}, PEERS),
        Snapshot(NOW, {"b": POINTS}, PEERS),
        Snapshot(NOW, {"a": (*POINTS[:1], Point(2 * SECOND_NS, 0.3))}, PEERS),
        Snapshot(NOW, {"a": POINTS}, PEERS[:2]),
        Snapshot(NOW, {"a": POINTS}, (*PEERS, peer_of(article(domain="other.example"), RULES))),
    ],
)
def test_all_that_is_known_counts(other: Snapshot) -> None:
    """
    Another point, series or peer gives another digest.
    """
    assert other.digest != Snapshot(NOW, {"a": POINTS}, PEERS).digest


def test_of_batch() -> None:
    """
    A batch's snapshot holds the batch and what was known before, each once and sorted.
    """
    batch = [read(raw, RULES) for raw in (market(), article())]
    snapshot = of_batch(NOW, batch, peers=PEERS, history={"a": POINTS})
    assert set(snapshot.peers) == set(PEERS)
    assert len(snapshot.peers) == 3
    assert snapshot.peers == of_batch(NOW, batch[::-1], peers=PEERS[::-1]).peers


def test_peer() -> None:
    """
    A witness keeps who says what, where and when, and no more.
    """
    peer = peer_of(article(domain="Reuters.com"), RULES)
    assert (peer.source, peer.voice, peer.kind, peer.domain) == ("gdelt", "gdelt", "article", "reuters.com")
    assert peer.chokepoints == ("red_sea",)
    assert "houthi" in peer.words
