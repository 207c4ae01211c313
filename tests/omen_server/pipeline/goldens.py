"""
The fixtures and what must come of them. Run as a program, it writes the goldens anew; read the difference before
committing it.
"""

import json
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from google.protobuf import json_format

from omen_server.pipeline.sources import SOURCES
from omen_server.pipeline.sources.source import Parsed

FIXTURES = Path(__file__).parent / "fixtures"
FETCHED_AT = datetime(2026, 8, 16, 10, 0, tzinfo=UTC)
GOLDEN = ".golden.json"
# Where a fixture came from matters to sources that do not name in the answer what was asked for.
ADDRESSES = {
    "clob/midpoint.json": "https://clob.polymarket.com/midpoint?token_id=7131",
    "clob/history.json": "https://clob.polymarket.com/prices-history?market=7131&interval=1d",
    "fred/observations.json": "https://api.stlouisfed.org/fred/series/observations?series_id=DCOILWTICO&api_key=k3y&file_type=json",
    "portwatch/more_pages.json": "https://services9.arcgis.com/query?where=1%3D1&resultOffset=2000&f=json",
    "prices/spike.csv": "file:///data/copper.csv",
}


def names() -> list[str]:
    """
    Return every fixture as `source/file`.
    """
    files = (path for path in FIXTURES.rglob("*") if path.is_file() and not path.name.endswith(GOLDEN))
    return sorted(str(path.relative_to(FIXTURES)) for path in files)


def read(name: str) -> bytes:
    """
    Return a fixture's bytes.
    """
    return (FIXTURES / name).read_bytes()


def address(name: str) -> str:
    """
    Return where a fixture is said to come from.
    """
    return ADDRESSES.get(name, f"https://source.example/{name}")


def parse(name: str, fetched_at: datetime = FETCHED_AT) -> Parsed:
    """
    Return what a fixture's source makes of it.
    """
    return SOURCES[name.partition("/")[0]].parse(read(name), fetched_at, address(name))


def shown(parsed: Parsed) -> dict[str, Any]:
    """
    Return a result as it is written in a golden.
    """
    return {
        "events": [json_format.MessageToDict(event, preserving_proto_field_name=True) for event in parsed.events],
        "next_page": parsed.next_page,
        "skipped": [f"{each.place}: {each.reason}" for each in parsed.skipped],
    }


def golden(name: str) -> Path:
    """
    Return where a fixture's golden lies.
    """
    return FIXTURES / (name + GOLDEN)


def write() -> Iterator[str]:
    """
    Write every golden anew, and yield the names of those that changed.
    """
    for name in names():
        text = json.dumps(shown(parse(name)), indent=2, sort_keys=True, ensure_ascii=False) + "\n"
        if not golden(name).exists() or golden(name).read_text() != text:
            golden(name).write_text(text)
            yield name


if __name__ == "__main__":
    sys.stdout.writelines(f"{name}\n" for name in write())
