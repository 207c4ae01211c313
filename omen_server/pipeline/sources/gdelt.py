"""
News found by GDELT: the article list of its DOC API as JSON, and the 15-minute event files, tab-separated or zipped.

The DOC API answers in plain text when it will not answer. An event file says what the media write about, not what
happened; only material conflict (QuadClass 4) is taken from it.

Attributes of an article: kind, domain, language, source_country, seen_at. Of a coded event: kind, event_code,
event_root_code, quad_class, goldstein, mentions, sources, articles, tone, actor1, actor2, day, domain.
"""

import hashlib
import io
import zipfile
import zlib
from datetime import datetime
from functools import partial
from urllib.parse import urlsplit

from omen.v1.signal_pb2 import Location, RawSignalEvent
from omen_server.pipeline.sources.harvest import Harvest
from omen_server.pipeline.sources.moment import read_compact, write_moment
from omen_server.pipeline.sources.node import (
    BODY_BYTES_MAX,
    Node,
    Unfit,
    check_body,
    line,
    read_json,
    read_lines,
    whole,
)
from omen_server.pipeline.sources.place import degrees
from omen_server.pipeline.sources.source import Parsed, SourceMalformed, SourceRefused, SourceUnavailable

NAME = "gdelt"
LICENCE = "GDELT: free for any use with citation and link to gdeltproject.org"
RETRY_AFTER_S = 5.0
COLUMNS = {
    0: "id", 1: "day", 6: "actor1", 16: "actor2", 26: "code", 28: "root", 29: "quad", 30: "goldstein", 31: "mentions",
    32: "sources", 33: "articles", 34: "tone", 52: "place", 53: "country", 56: "latitude", 57: "longitude",
    59: "added", 60: "url",
}  # fmt: skip
COLUMNS_TOTAL = 61
MATERIAL_CONFLICT = "4"


def parse(body: bytes, fetched_at: datetime, url: str) -> Parsed:
    """
    Read an article list. An article was observed when GDELT saw it.
    """
    harvest = Harvest(NAME, fetched_at, url, LICENCE)
    check_body(NAME, body)
    start = body.lstrip(b"\xef\xbb\xbf \t\r\n")[:1]
    if start == b"<":
        raise SourceUnavailable(NAME, "", "answers with a web page", retry_after_s=RETRY_AFTER_S)
    if start != b"{":
        said = line(body[:1000].decode(errors="replace"), 200)
        raise SourceRefused(NAME, "", f"says {said!r}", retry_after_s=RETRY_AFTER_S)
    with whole(NAME):
        articles = read_json(NAME, body)["articles"].nodes()  # An answer without any has no list either.
    harvest.gather(articles, partial(article, harvest))
    return harvest.parsed()


def article(harvest: Harvest, node: Node) -> RawSignalEvent:
    """
    Return one article as an event.
    """
    url = node["url"].maybe_link()
    if not url:
        raise Unfit(node["url"].place, "is no web address")
    seen = node["seendate"].text()
    observed = node["seendate"].read(lambda: read_compact(seen))
    return harvest.event(
        "article-" + hashlib.sha256(url.encode()).hexdigest()[:24],
        node["title"].text(),
        observed,
        url=url,
        attributes=[
            ("kind", "article"),
            ("domain", node["domain"].maybe_text().lower()),
            ("language", node["language"].maybe_text()),
            ("source_country", node["sourcecountry"].maybe_text()),
            ("seen_at", write_moment(observed)),
        ],
    )


def parse_events(body: bytes, fetched_at: datetime, url: str) -> Parsed:
    """
    Read an event file. Named .CSV, it is separated by tabs.
    """
    harvest = Harvest(NAME, fetched_at, url, LICENCE)
    check_body(NAME, body)
    lines = read_lines(NAME, unzipped(body) if body.startswith(b"PK") else body)
    rows = [Node(row.decode(errors="replace").split("\t"), f"line {at}") for at, row in lines]
    if all(len(row.value) == 1 for row in rows):
        raise SourceRefused(NAME, rows[0].place, f"says {line(rows[0].value[0], 200)!r}")
    coded = [row for row in rows if len(row.value) != COLUMNS_TOTAL or row.value[29] == MATERIAL_CONFLICT]
    harvest.gather(coded, partial(coded_event, harvest))
    if len(coded) < len(rows):
        harvest.skip("", f"{len(rows) - len(coded)} events are no material conflict")
    return harvest.parsed()


def unzipped(body: bytes) -> bytes:
    """
    Return the one file of an archive, unless it is larger than an answer may be.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(body)) as archive:
            names = archive.namelist()
            if len(names) != 1:
                raise SourceMalformed(NAME, "", f"the archive holds {len(names)} files, not one")
            with archive.open(names[0]) as file:
                text = file.read(BODY_BYTES_MAX + 1)
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, RuntimeError, ValueError):
        raise SourceMalformed(NAME, "", "is no readable archive") from None
    check_body(NAME, text)
    return text


def coded_event(harvest: Harvest, row: Node) -> RawSignalEvent:
    """
    Return one coded event.
    """
    if len(row.value) != COLUMNS_TOTAL:
        raise Unfit(row.place, f"has {len(row.value)} columns, not {COLUMNS_TOTAL}")
    node = Node({name: row.value[at] for at, name in COLUMNS.items()}, row.place)
    added, day = node["added"].text(), node["day"].text()
    place, url = node["place"].maybe_text(), node["url"].maybe_link()
    actors = " and ".join(filter(None, (node["actor1"].maybe_text(), node["actor2"].maybe_text())))
    event = harvest.event(
        "event-" + node["id"].name(),
        line(f"Material conflict {node['code'].maybe_text()}: {actors or 'unnamed'}, {place or 'place unknown'}"),
        node["added"].read(lambda: read_compact(added)),
        url=url,
        attributes=[
            ("kind", "coded_event"),
            ("day", write_moment(node["day"].read(lambda: read_compact(day)))[:10]),
            ("domain", node["url"].read(lambda: urlsplit(url).hostname) or ""),
            ("quad_class", node["quad"].maybe_number()),
            *((name, node[key].maybe_text()) for name, key in (
                ("event_code", "code"), ("event_root_code", "root"), ("actor1", "actor1"), ("actor2", "actor2"),
            )),
            *((name, node[name].maybe_number()) for name in ("goldstein", "mentions", "sources", "articles", "tone")),
        ],
    )  # fmt: skip
    event.location.CopyFrom(Location(name=place))
    if node["latitude"].maybe_text() and node["longitude"].maybe_text():
        event.location.latitude = degrees(node["latitude"], 90.0)
        event.location.longitude = degrees(node["longitude"], 180.0)
    return event
