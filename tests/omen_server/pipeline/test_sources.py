"""
What holds of every source: goldens, order, provenance, and the one seam.
"""

import ast
import json
import os
import random
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from urllib.parse import urlsplit

import orjson
import pytest

from omen.v1 import signal_pb2
from omen_server.pipeline.sources import SOURCES
from omen_server.pipeline.sources.harvest import Harvest, public_url
from omen_server.pipeline.sources.node import Node
from omen_server.pipeline.sources.source import Parsed, Skipped, Source
from tests.omen_server.pipeline import goldens

AT = goldens.FETCHED_AT
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


@pytest.mark.parametrize("name", goldens.names())
def test_golden(name: str) -> None:
    """
    Every fixture gives exactly the events, and exactly the reasons, of its golden.
    """
    assert goldens.shown(goldens.parse(name)) == json.loads(goldens.golden(name).read_text())


def test_every_source_has_a_fixture() -> None:
    """
    There is no source without a fixture, but for the second name of prices; and no golden without its fixture.
    """
    assert {name.partition("/")[0] for name in goldens.names()} == set(SOURCES) - {"csv"}
    kept = {goldens.golden(name) for name in goldens.names()}
    assert set(goldens.FIXTURES.rglob("*" + goldens.GOLDEN)) == kept


@pytest.mark.parametrize("name", goldens.names())
def test_what_every_event_has(name: str) -> None:
    """
    Every event says where it comes from, under which terms, when it was fetched and seen, and has a title of one line.
    """
    parsed = goldens.parse(name)
    ids = [event.source_event_id for event in parsed.events]
    assert ids == sorted(set(ids))
    for event in parsed.events:
        assert all((event.source, event.licence, event.provenance, event.url, event.source_event_id))
        assert len(event.source_event_id) <= 200
        assert event.fetched_at.ToDatetime(UTC) == AT
        assert event.HasField("observed_at")
        assert event.observed_at.ToDatetime(UTC) <= AT + timedelta(hours=1)
        assert 1 <= len(event.title) <= 500
        assert not CONTROL.search(event.title + event.source_event_id + event.url)
        assert event.url.startswith(("https://", "file:"))


@pytest.mark.parametrize("name", goldens.names())
def test_fetched_later(name: str) -> None:
    """
    The same bytes fetched a day later tell the same, but for when they were fetched and, of a market, seen.
    """
    later = goldens.parse(name, AT + timedelta(days=1, microseconds=1))
    for event, again in zip(goldens.parse(name).events, later.events, strict=True):
        again.fetched_at.CopyFrom(event.fetched_at)
        if event.source in {"polymarket", "stub", "ais"}:
            again.observed_at.CopyFrom(event.observed_at)
        assert event == again


def test_hash_seeds() -> None:
    """
    Two processes with different hash seeds give the same bytes.
    """
    program = (
        "from tests.omen_server.pipeline import goldens\n"
        "for name in goldens.names():\n"
        "    print([event.SerializeToString(deterministic=True) for event in goldens.parse(name).events])\n"
    )
    outputs = [
        subprocess.run(
            [sys.executable, "-c", program],
            env={"PYTHONPATH": os.pathsep.join(sys.path), "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert outputs[0] == outputs[1] != b""


@pytest.mark.parametrize("name", [name for name in goldens.names() if name.endswith(".json")])
def test_keys_in_any_order(name: str) -> None:
    """
    The order of an object's keys changes nothing.
    """

    def shuffled(value: object) -> object:
        if isinstance(value, dict):
            keys = list(value)
            random.Random(7).shuffle(keys)
            return {key: shuffled(value[key]) for key in keys}
        return [shuffled(item) for item in value] if isinstance(value, list) else value

    body = orjson.dumps(shuffled(orjson.loads(goldens.read(name))))
    parsed = SOURCES[name.partition("/")[0]].parse(body, AT, goldens.address(name))
    assert goldens.shown(parsed) == goldens.shown(goldens.parse(name))


@pytest.mark.parametrize("name", [name for name in goldens.names() if name.endswith(".json")])
def test_items_in_any_order(name: str) -> None:
    """
    The order of an answer's items changes nothing in the events.
    """
    root = orjson.loads(goldens.read(name))
    lists = (
        [root]
        if isinstance(root, list)
        else [root[key] for key in ("events", "markets", "features", "articles") if key in root]
    )
    for items in lists:
        items.reverse()
    parsed = SOURCES[name.partition("/")[0]].parse(orjson.dumps(root), AT, goldens.address(name))
    assert parsed.events == goldens.parse(name).events


def test_naive_time() -> None:
    """
    A time without a zone is a mistake of the caller's.
    """
    with pytest.raises(ValueError, match="aware"):
        SOURCES["stub"].parse(b"", AT.replace(tzinfo=None), "")


def test_times_in_utc() -> None:
    """
    When it was fetched may be said in any zone.
    """
    event = SOURCES["stub"].parse(b"", AT.astimezone(timezone(timedelta(hours=7))), "").events[0]
    assert event.fetched_at.ToDatetime(UTC) == AT


def read_toy(body: bytes, fetched_at: datetime, url: str) -> Parsed:
    """
    Read a toy's answer: a title a line.
    """
    harvest = Harvest("toy", fetched_at, url, "as you like")
    nodes = [Node(row, f"line {at}") for at, row in enumerate(body.decode().split("\n"))]
    harvest.gather(nodes, lambda node: harvest.event(node.place, node.text(), fetched_at))
    return harvest.parsed()


def test_a_source_of_ones_own() -> None:
    """
    A new source is a function and a row: nothing else is touched.
    """
    sources = {**SOURCES, "toy": Source("toy", read_toy, "as you like", ("https://toy.example/",))}
    parsed = sources["toy"].parse(b"One\n\nThree", AT, "https://toy.example/")
    assert [event.title for event in parsed.events] == ["One", "Three"]
    assert parsed.skipped == (Skipped("line 1", "is missing"),)
    assert parsed.events[0].provenance == signal_pb2.PROVENANCE_REAL


def test_rows() -> None:
    """
    Addresses in the table are https, intervals and budgets are positive, and whoever has pages names their parameter.
    """
    for name, source in SOURCES.items():
        assert source.name == name
        assert source.licence
        assert all(urlsplit(url).scheme == "https" and urlsplit(url).hostname for url in source.urls)
        assert (
            min(source.interval_s_min, source.requests_per_minute_max, source.requests_burst_max, source.pages_max) > 0
        )
        assert source.pages_max == 1 or source.page_parameter


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://a.example/x?q=1", "https://a.example/x?q=1"),
        ("https://a.example/x?api_key=s3&q=1", "https://a.example/x?q=1"),
        ("https://a.example/x?Access_Token=s3", "https://a.example/x"),
        ("https://clob.example/book?token_id=77", "https://clob.example/book?token_id=77"),
        ("https://me:s3@a.example:8443/x", "https://a.example:8443/x"),
        ("https://[broken@/x?key=s3", ""),
        ("", ""),
    ],
)
def test_no_secrets(url: str, shown: str) -> None:
    """
    An address loses user, password and keys before it becomes provenance; the token of a market is no secret.
    """
    assert public_url(url) == shown


def test_no_input_or_output(root: Path) -> None:
    """
    The parsers import nothing that reaches files, the network, the clock or grpc.
    """
    allowed = {
        "collections", "contextlib", "csv", "dataclasses", "datetime", "email", "functools", "hashlib", "io", "math",
        "operator", "pathlib", "re", "statistics", "types", "typing", "urllib", "xml", "zipfile", "zlib",
        "google", "omen", "omen_server", "orjson",
    }  # fmt: skip
    for path in (root / "omen_server/pipeline/sources").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for name in names:
                assert name.partition(".")[0] in allowed, f"{path.name} imports {name}"
                assert not name.startswith("omen_server") or name.startswith("omen_server.pipeline"), name
        assert not re.search(
            r"\b(now|utcnow|today|open|urlopen|random)\(", path.read_text().replace("archive.open(", "")
        )
