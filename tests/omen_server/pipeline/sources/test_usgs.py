from tests.omen_server.pipeline import goldens
from tests.omen_server.pipeline.sources.shown import attributes, by_id, only, reasons


def test_longitude_comes_first() -> None:
    """
    Coordinates are longitude, latitude, depth; swapped ones are refused where that shows.
    """
    events = by_id("usgs/longitude_first.json")
    location = events["us7000fff1"].location
    assert (location.longitude, location.latitude) == (-155.25, 19.4)
    assert attributes(events["us7000fff1"])["depth_km"] == -1.2
    assert "us7000fff2" not in events
    assert not events["us7000fff3"].location.HasField("latitude")


def test_another_id() -> None:
    """
    A quake that changed its id is one event, in its latest state, under an id that both states agree on.
    """
    events = by_id("usgs/id_changed.json")
    assert set(events) == {"ci40000001", "us7000bbb9"}
    assert attributes(events["ci40000001"])["magnitude"] == 6.3
    assert attributes(events["ci40000001"])["ids"] == ["ci40000001", "us7000bbb1"]


def test_deleted() -> None:
    """
    A deleted quake did not happen.
    """
    assert set(by_id("usgs/deleted.json")) == {"us7000ccc2"}
    assert reasons(goldens.parse("usgs/deleted.json")) == ["features[0].properties.status: is deleted"]


def test_no_alert() -> None:
    """
    No alert level is none, not green.
    """
    said = attributes(only("usgs/null_alert.json"))
    assert "alert" not in said
    assert said["magnitude"] == 6.4


def test_no_magnitude() -> None:
    """
    A missing magnitude stays missing, also in the title made for it.
    """
    events = by_id("usgs/null_magnitude.json")
    assert "magnitude" not in attributes(events["us7000eee1"])
    assert events["us7000eee1"].title == "Earthquake - 40 km NW of Bab el-Mandeb"
    assert events["us7000eee2"].title == "M 5.5 - 40 km NW of Bab el-Mandeb"
