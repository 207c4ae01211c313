"""
A reading in words: the figures every page shows, which its script then keeps up to date.
"""

from collections.abc import Mapping

from omen_console import shown
from omen_console.console import Console
from omen_console.pulse import Day, Reading
from omen_console.shown import NOTHING, number
from omen_console.upstream import ASKING, COUNTING, Trouble

SERVERS = ("omen", "riskcast", "reconciler")


def glance(console: Console, reading: Reading) -> Mapping[str, str]:
    """
    Return the figures by name. Each `state-` is a word, and has the `tone-` it is coloured by.
    """
    figures = {
        **{f"state-{server}": reading.state(server) for server in SERVERS},
        **pipeline(reading),
        **hero(reading),
        **counts(reading),
        **rounds(console, reading),
    }
    states = {name: word for name, word in figures.items() if name.startswith("state-")}
    tones = {name.replace("state-", "tone-"): shown.tone(word) for name, word in states.items()}
    return {**tones, **figures}


def pipeline(reading: Reading) -> dict[str, str]:
    """
    Return the four steps of a signal's way, and where it is held up.
    """
    stats, store, hot = reading.stats.value, reading.store.value, reading.hot_path.value
    by_status = dict(stats.signals_by_status) if stats is not None else {}
    delivered = by_status.get("DELIVERED", 0) + by_status.get("DUPLICATE", 0)
    breaker = shown.short(hot.riskcast, "state") if hot is not None else NOTHING
    return {
        "written": number(stats.written_offset) if stats is not None else NOTHING,
        "durable": number(stats.durable_offset) if stats is not None else NOTHING,
        "delivered": number(delivered) if stats is not None else NOTHING,
        "ledger-only": number(by_status.get("LEDGER_ONLY", 0)),
        "settled": number(stats.settled_offset) if stats is not None else NOTHING,
        "stored": number(store.stored) if store is not None else NOTHING,
        "unpositioned": number(store.unpositioned) if store is not None else NOTHING,
        "queue": f"{hot.queue_length:,} of {hot.queue_length_max:,}" if hot is not None else NOTHING,
        "state-breaker": breaker,
        "state-pipeline": way_state(reading, breaker),
    }


def way_state(reading: Reading, breaker: str) -> str:
    """
    Return how the way from OMEN to RiskCast is, in a word.
    """
    if reading.state("omen") != "up":
        return ASKING if reading.stats.is_asking else "stale" if reading.stats.is_stale else "down"
    if reading.state("riskcast") not in {"up", ASKING} or breaker == "OPEN":
        return "LEDGER_ONLY"
    return breaker if breaker == "HALF_OPEN" else "up"


def hero(reading: Reading) -> dict[str, str]:
    """
    Return *Ledger N / RiskCast M* of the day, and what to make of it.
    """
    day = reading.day.value
    if day is None:
        return {
            "day": "",
            "ledger": NOTHING if reading.day.trouble else "0",
            "riskcast": NOTHING if reading.day.trouble or reading.store.trouble else "0",
            "tone-hero": "plain",
            "verdict": no_day(reading),
        }
    # The comparison may be some seconds old; that RiskCast does not answer is known sooner.
    known_sooner = reading.store.trouble is not None and not reading.store.is_asking
    tone, verdict = judged(day, reading.store.trouble if known_sooner else day.stored.trouble)
    if reading.day.trouble is not None:
        tone, verdict = "warn", as_it_was(day)
    return {
        "day": f"{day.partition}, with its late arrivals" if day.has_late else day.partition,
        "ledger": number(day.ledger),
        "riskcast": number(day.stored.value),
        "tone-hero": tone,
        "verdict": verdict,
    }


def no_day(reading: Reading) -> str:
    """
    Return why there is no comparison.
    """
    if reading.day.trouble is None:
        return "No signals yet."
    return "OMEN is being asked." if reading.day.is_asking else "OMEN does not answer."


def as_it_was(day: Day) -> str:
    """
    Return what to make of a comparison of before OMEN was gone.
    """
    if day.missing is None:
        return "OMEN does not answer."
    missing = f"{day.missing:,} were not at RiskCast" if day.missing else "Nothing was missing"
    return f"{missing} when OMEN last answered."


def judged(day: Day, trouble: Trouble | None) -> tuple[str, str]:
    """
    Return the tone and the sentence for a day's two counts.
    """
    missing = day.missing
    if trouble is not None and trouble.state in {ASKING, COUNTING}:
        return "plain", trouble.text
    if trouble is not None:
        count = f": {missing:,} wait" if missing else ""
        return "warn", f"Ledger-only{count} while RiskCast is {trouble.state}. Reconcile will recover."
    if missing:
        return "warn", f"{missing:,} not at RiskCast. Reconcile will recover."
    return "good", "Equal: nothing is missing."


def counts(reading: Reading) -> dict[str, str]:
    """
    Return the counters of both ends.
    """
    stats, store = reading.stats.value, reading.store.value
    return {
        "today": number(stats.signals_today) if stats is not None else NOTHING,
        "records": number(stats.ledger_records) if stats is not None else NOTHING,
        "bytes": shown.size(stats.ledger_bytes) if stats is not None else NOTHING,
        "free": shown.size(stats.free_bytes) if stats is not None else NOTHING,
        "dead-letters": number(stats.dead_letters) if stats is not None else NOTHING,
        "rate": NOTHING if reading.per_second is None else f"{reading.per_second:,.1f}",
        "accepted": number(store.accepted) if store is not None else NOTHING,
        "duplicates": number(store.duplicates) if store is not None else NOTHING,
        "conflicts": number(store.conflicts_on_record) if store is not None else NOTHING,
    }


def rounds(console: Console, reading: Reading) -> dict[str, str]:
    """
    Return the round that was begun here, and whether reconciling is paused.
    """
    overview, last, day = reading.overview.value, console.rounds.last, reading.day.value
    # What was up to date then is not now: the words beside the figures must not contradict them.
    over = last is not None and last.is_good and day is not None and bool(day.missing)
    return {
        "paused": "Paused" if overview is not None and overview.paused else "",
        "round": last.headline if last is not None and not over else "",
        "tone-round": last.tone if last is not None else "plain",
        "running": "yes" if console.rounds.is_running else "",
    }
