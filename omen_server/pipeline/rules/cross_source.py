"""
V10: does anybody else say so?
"""

from collections.abc import Iterator, Mapping

from omen.v1.signal_pb2 import RuleVerdict
from omen_server.pipeline.attribute import SECOND_NS
from omen_server.pipeline.reading import Reading
from omen_server.pipeline.rules.verdict import not_applicable, passed, rounded
from omen_server.pipeline.ruleset import Ruleset
from omen_server.pipeline.snapshot import Peer, Snapshot, witness
from omen_server.pipeline.sphere import Position, distance_km, may_be_within
from omen_server.pipeline.words import likeness


def cross_source(reading: Reading, rules: Ruleset, snapshot: Snapshot) -> RuleVerdict:
    """
    Count the sources that tell of the same event. No source is its own witness, and nothing is refused here.
    """
    me = witness(reading)
    others = same_event(me, rules, snapshot)
    if not others:
        return not_applicable("No other source tells of it")
    voices = {me.voice, *(peer.voice for peer in others)}
    closest = max(likeness(me.words, peer.words) for peer in others)
    boost = boost_of(len(voices), closest, rules)
    return passed(
        boost / rules.cross_source.boost_max,
        f"Told by {len(voices)} sources",
        voices,
        numbers={"sources": float(len(voices)), "likeness": closest, "boost": boost},
    )


def boost_of(sources: int, closest: float, rules: Ruleset) -> float:
    """
    Return what so many sources add to confidence, a little more when one says it in the same words.
    """
    limits = rules.cross_source
    if sources < 2:
        return 0.0
    boost = limits.boost_two if sources == 2 else limits.boost_three
    return rounded(min(limits.boost_max, boost + (limits.boost_likeness if closest >= limits.likeness_high else 0.0)))


def same_event(me: Peer, rules: Ruleset, snapshot: Snapshot, *, own_voice: bool = False) -> list[Peer]:
    """
    Return who else tells of the same event: at one chokepoint or close by, in the same days, in words alike.

    With *own_voice* it is the source's own other events; else only those of sources that are independent of it.
    """
    limits = rules.cross_source
    candidates = {
        (peer.source, peer.source_event_id, peer.observed_ns): peer
        for peer in _around(me, limits.near_km, snapshot, own_voice=own_voice)
        if (peer.source, peer.source_event_id) != (me.source, me.source_event_id)
        and abs(peer.observed_ns - me.observed_ns) <= limits.apart_s_max * SECOND_NS
        and likeness(me.words, peer.words) >= limits.likeness_min
    }
    return [candidates[key] for key in sorted(candidates)]


def _around(me: Peer, near_km: float, snapshot: Snapshot, *, own_voice: bool) -> Iterator[Peer]:
    for chokepoint in me.chokepoints:
        yield from _of_voice(snapshot.at_chokepoint.get(chokepoint, {}), me, own_voice=own_voice)
    if me.position:
        for peer in _of_voice(snapshot.placed, me, own_voice=own_voice):
            if is_near(me.position, peer.position, near_km):
                yield peer


def _of_voice(peers: Mapping[str, list[Peer]], me: Peer, *, own_voice: bool) -> Iterator[Peer]:
    for voice, told in peers.items():
        if (voice == me.voice) is own_voice:
            yield from told


def is_near(here: Position, there: Position | None, near_km: float) -> bool:
    """
    Whether two places are at most so far apart.
    """
    return there is not None and may_be_within(here, there, near_km) and distance_km(here, there) <= near_km
