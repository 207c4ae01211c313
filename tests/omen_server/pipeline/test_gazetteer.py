import re

import pytest

from omen.v1.signal_pb2 import Location
from omen_server.pipeline.countries import COUNTRIES
from omen_server.pipeline.gazetteer import CHOKEPOINTS, PORTS
from omen_server.pipeline.reading import nearest_of, read
from omen_server.pipeline.sphere import RADIUS_KM, distance_km, may_be_within
from tests.omen_server.pipeline.raw_events import RULES, event, quake, report


def test_thirteen_chokepoints() -> None:
    """
    There are thirteen, each with an id, a place on Earth, a region and a name that is found.
    """
    assert [place.id for place in CHOKEPOINTS] == sorted(
        [
            "bab_el_mandeb", "bosporus", "cape_of_good_hope", "danish_straits", "dover_strait", "gibraltar_strait",
            "malacca_strait", "panama_canal", "red_sea", "singapore_strait", "strait_of_hormuz", "suez_canal",
            "taiwan_strait",
        ]
    )  # fmt: skip
    for place in CHOKEPOINTS:
        assert place.regions
        assert -90 <= place.latitude <= 90
        for alias in place.aliases:
            assert read(report(f"Ships at {alias} today"), RULES).chokepoints == (place.id,), alias


def test_ports() -> None:
    """
    Each port has a UN/LOCODE of its own in a country that exists, lies on Earth, and is found by name and code.
    """
    codes = {country.code for country in COUNTRIES}
    assert len({port.locode for port in PORTS}) == len(PORTS) >= 100
    for port in PORTS:
        assert re.fullmatch(r"[A-Z]{2}[A-Z2-9]{3}", port.locode)
        assert port.locode[:2] in codes
        assert -90 <= port.latitude <= 90
        assert -180 <= port.longitude <= 180
        assert port.locode in read(report(f"Strike at the port of {port.name}"), RULES).ports, port.name
        assert port.locode in read(report("Strike", location=Location(locode=port.locode)), RULES).ports
        alone = read(report(f"Marathon of {port.name}"), RULES).ports
        assert (port.locode in alone) is port.distinctive, port.name


def test_locode_with_a_space() -> None:
    """
    A code is read as it is printed, too: "NL RTM".
    """
    assert read(report("Strike", location=Location(locode="nl rtm")), RULES).ports == ("NLRTM",)


def test_countries() -> None:
    """
    All 249 of ISO 3166-1 are there, once each, in a region.
    """
    assert len({country.code for country in COUNTRIES}) == len(COUNTRIES) == 249
    assert all(re.fullmatch("[A-Z]{2}", country.code) and country.region and country.names for country in COUNTRIES)


@pytest.mark.parametrize(
    "title",
    [
        "Oil spill in the Gulf of Mexico",
        "The Panama Papers trial",
        "A gulf opens between the parties",
        "China reports its exports",
        "Will the price index of demand rise?",
        "Singapore Airlines posts a profit",
        "The research on supports for sports",
        "Taiwan elects a president",
        "Will the channel be renewed?",
        "The Cape Cod storm",
        "Dover, Delaware: a fair",
        "Red Sea urchin found",
        "Port of entry rules",
        "At this time of the year",
        "Seas of change",
    ],
)
def test_no_place(title: str) -> None:
    """
    What only sounds like a place is none.
    """
    found = read(report(title), RULES)
    assert (found.chokepoints, found.ports) == ((), ())


@pytest.mark.parametrize(
    ("here", "there", "radius_km", "km"),
    [
        ((20.0, 38.0), (30.5, 32.3), 6371.0, 1300.077),
        ((20.0, 38.0), (30.5, 32.3), RADIUS_KM, 1300.079),
        ((0.0, 0.0), (0.0, 0.0), RADIUS_KM, 0.0),
        ((0.0, 0.0), (0.0, 180.0), RADIUS_KM, 20015.114),
        ((90.0, 0.0), (-90.0, 77.0), RADIUS_KM, 20015.114),
        ((0.0, 179.5), (0.0, -179.5), RADIUS_KM, 111.195),
    ],
)
def test_distance(here: tuple[float, float], there: tuple[float, float], radius_km: float, km: float) -> None:
    """
    Known distances come out, the Red Sea to Suez among them, both ways round and across the date line.
    """
    assert distance_km(here, there, radius_km) == pytest.approx(km, abs=0.0005)
    assert distance_km(here, there, radius_km) == distance_km(there, here, radius_km)


def test_reference_points() -> None:
    """
    The gazetteer's Red Sea and Suez are 1,300.1 km apart.
    """
    places = {place.id: place for place in CHOKEPOINTS}
    assert round(distance_km(places["red_sea"].position, places["suez_canal"].position, 6371.0), 1) == 1300.1
    assert RADIUS_KM == 6371.0088


def test_cheap_question_is_never_wrong() -> None:
    """
    What the latitudes rule out is out of reach.
    """
    for place in CHOKEPOINTS:
        for port in PORTS:
            distance = distance_km(place.position, port.position)
            assert may_be_within(place.position, port.position, distance)


def test_nearest() -> None:
    """
    The nearest chokepoint is told with its distance, also where it is too far to count.
    """
    place, distance = nearest_of((21.0, 38.0), CHOKEPOINTS)
    assert (place.id, distance) == ("red_sea", 111.195)
    found = read(report("Flood", location=Location(latitude=-89.0, longitude=0.0)), RULES)
    assert found.nearest_chokepoint == "cape_of_good_hope"
    assert found.nearest_km is not None
    assert found.nearest_km > 5_000
    assert found.chokepoints == ()


@pytest.mark.parametrize(
    ("latitude", "longitude"), [(91.0, 10.0), (10.0, 181.0), (-90.5, 0.0), (float("nan"), 0.0), (0.0, float("inf"))]
)
def test_nowhere_on_earth(latitude: float, longitude: float) -> None:
    """
    What a ship says that has no position is no position.
    """
    raw = event("ais", "Ship", location=Location(latitude=latitude, longitude=longitude))
    assert read(raw, RULES).position is None


def test_half_a_position_is_none() -> None:
    """
    A latitude alone is no place, and zero is one.
    """
    assert read(report(location=Location(latitude=1.0)), RULES).position is None
    assert read(report(location=Location(latitude=0.0, longitude=0.0)), RULES).position == (0.0, 0.0)


def test_nature_reaches_a_port() -> None:
    """
    A quake close to a port touches it; what people do there must name it.
    """
    there = Location(latitude=35.0, longitude=139.0)
    shaken = quake()
    shaken.location.CopyFrom(there)
    assert read(shaken, RULES).ports == ("JPYOK",)
    assert read(report("Strike", location=there), RULES).ports == ()
