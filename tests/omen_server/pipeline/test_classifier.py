import pytest

from omen.v1 import signal_pb2
from omen.v1.signal_pb2 import RawSignalEvent
from omen_server.pipeline.classifier import classify, weigh
from omen_server.pipeline.reading import read
from tests.omen_server.pipeline.raw_events import RULES, alert, event, price, quake, report, transits, vessels

LABELLED = {
    "GEOPOLITICAL": [
        "Red Sea transit disruption",
        "Red Sea closed to container ships: will carriers avoid it?",
        "Will Iran close the Strait of Hormuz in 2026?",
        "EU sanctions package against the shadow fleet",
        "Taiwan Strait blockade before 2027?",
        "Ceasefire between Israel and Lebanon holds",
        "Invasion of Taiwan by China before the year ends",
        "Armed conflict closes Black Sea ports",
        "NATO warships deploy to the Baltic",
        "US embargo on Venezuelan oil extended",
        "Houthi truce collapses",
        "Trade war between the US and China",
    ],
    "SECURITY": [
        "Pirates hijack a bulk carrier off Somalia",
        "Tanker seized by armed men",
        "Missile strike hits an oil tanker",
        "Drone attack on a grain terminal",
        "Ransomware halts a terminal operator",
        "Sabotage of an undersea cable suspected",
        "Limpet mine explosion on a tanker",
        "Malacca Strait piracy: will attacks on ships rise?",
        "Armed robbery aboard a ship at anchor",
        "Cargo theft from containers doubles",
    ],
    "INFRASTRUCTURE": [
        "Suez canal delay probability",
        "Late report: port closure",
        "Panama Canal draft restrictions tightened",
        "Ship runs aground in the Suez Canal",
        "Port of Singapore congestion worsens",
        "Bridge collapse blocks the harbour",
        "Rail outage delays containers",
        "Pipeline closure for repairs",
        "Undersea cable cut near Djibouti",
        "Blackout stops a container terminal",
        "Kiel Canal reopened after dredging",
        "Backlog of vessels at the terminals",
    ],
    "WEATHER": [
        "Hurricane heads for the port of Houston",
        "Typhoon closes the port of Shanghai",
        "Drought lowers Gatun Lake",
        "Earthquake off Yokohama, tsunami warning",
        "Flooding along the Rhine",
        "Winter storm hits the North Atlantic",
        "Volcanic ash over Iceland",
        "Dense fog in the English Channel",
        "Rhine low water hampers barges",
        "El Niño returns in summer",
    ],
    "LABOR": [
        "Dockworkers strike in Rotterdam",
        "Longshoremen walkout on the East Coast",
        "ILA strike before October?",
        "Lockout at the port of Montreal",
        "Truckers union calls a work stoppage",
        "Dock workers reject the labor contract",
        "Seafarers shortage: crew shortage grows",
        "Europe port strike",
    ],
    "REGULATORY": [
        "US port fees on Chinese ships",
        "Tariffs on steel from Canada in force by March?",
        "Supreme Court ruling on tariffs",
        "EU emissions trading for ships extended",
        "Jones Act waiver signed",
        "New customs regulation for parcels",
        "Section 301 quota on imports",
        "Antitrust regulators approve the merger of two carriers",
    ],
    "ECONOMIC": [
        "Brent crude oil price above 100 dollars?",
        "Freight rates from Asia to Europe fall",
        "Baltic Dry Index doubles",
        "US recession in 2026?",
        "Inflation above 3 percent",
        "OPEC output and oil prices",
        "Henry Hub natural gas futures",
        "Interest rate cut by March?",
    ],
    "OTHER": ["A quiet day", "Support for research", "The sportsman reports", "Awards season"],
}
TITLES = [(title, name) for name, titles in LABELLED.items() for title in titles]


def name_of(raw: RawSignalEvent) -> str:
    """
    Return the category's short name.
    """
    reading = read(raw, RULES)
    category = classify(reading, RULES, weigh(reading, RULES))
    return signal_pb2.SignalCategory.Name(category).removeprefix("SIGNAL_CATEGORY_")


@pytest.mark.parametrize(("title", "name"), TITLES)
def test_labelled(title: str, name: str) -> None:
    """
    Each title falls into the category that a person gave it.
    """
    assert name_of(report(title)) == name


def test_enough_titles() -> None:
    """
    The table has at least sixty titles, each once, and every category.
    """
    assert len({title for title, _ in TITLES}) == len(TITLES) >= 60
    assert tuple(LABELLED) == RULES.classes.precedence


def test_precedence() -> None:
    """
    Among equals the first in the order of the contract wins.
    """
    order = [value.name.removeprefix("SIGNAL_CATEGORY_") for value in signal_pb2.SignalCategory.DESCRIPTOR.values[1:]]
    assert list(RULES.classes.precedence) == order
    one_each = ["war", "piracy", "canal", "flood"]
    for at in range(len(one_each)):
        assert name_of(report(" ".join(reversed(one_each[at:])))) == order[at]
    assert name_of(report("tariff strike")) == "LABOR"
    assert name_of(report("inflation court court ban", description="law")) == "REGULATORY"


def test_title_counts_double() -> None:
    """
    A word of the title weighs twice one of the description.
    """
    assert name_of(report("flood", description="war")) == "WEATHER"
    assert name_of(report("flood", description="war, ceasefire")) == "GEOPOLITICAL"
    assert name_of(report("war", description="flood")) == "GEOPOLITICAL"


def test_weights_are_told() -> None:
    """
    Each category's sum and words are there for the explanation.
    """
    by_name = {
        each.name: each for each in weigh(read(report("War: war at the canal", description="war"), RULES), RULES)
    }
    assert (by_name["GEOPOLITICAL"].score, by_name["GEOPOLITICAL"].matches) == (9.0, ("war",))
    assert (by_name["INFRASTRUCTURE"].score, by_name["INFRASTRUCTURE"].matches) == (6.0, ("canal",))
    assert by_name["OTHER"].score == 0.0


@pytest.mark.parametrize(
    ("raw", "name"),
    [
        (quake(), "WEATHER"),
        (alert("Statement", event="Special Weather Statement"), "WEATHER"),
        (alert("Power outage and pipeline closure at terminals", event="Civil Emergency"), "INFRASTRUCTURE"),
        (alert("War and strikes", event="Flood Warning"), "WEATHER"),
        (event("gdacs", "Event 1", attributes={"event_type": "FL"}), "WEATHER"),
        (price(), "ECONOMIC"),
        (event("freight", "FBX01 lane"), "ECONOMIC"),
        (event("ais", "Anchorage"), "INFRASTRUCTURE"),
        (vessels(), "INFRASTRUCTURE"),
        (transits(), "INFRASTRUCTURE"),
        (event("gdelt", "A quiet day"), "OTHER"),
        (event("polymarket", "A quiet day"), "OTHER"),
    ],
)
def test_source_defaults(raw: RawSignalEvent, name: str) -> None:
    """
    Without a word to go by the kind of source decides, and nature is never politics.
    """
    assert name_of(raw) == name
