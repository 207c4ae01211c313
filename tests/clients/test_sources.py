import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from omen_cli import exits
from tests.clients.command import Ended, inside
from tests.clients.terminal import Terminal


@dataclass
class Site:
    """
    A site that answers with what is put into it, and remembers who asked.
    """

    bodies: list[bytes]
    url: str = ""
    asked: list[dict[str, str]] = field(default_factory=list)


@contextmanager
def answering(*bodies: bytes) -> Iterator[Site]:
    """
    Serve the bodies one after another, the last one for ever; an unchanged one is 304 to whoever knows it.
    """
    site = Site(list(bodies))

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            """
            Answer.
            """
            site.asked.append(dict(self.headers))
            body = site.bodies.pop(0) if len(site.bodies) > 1 else site.bodies[0]
            tag = f'"{hash(body)}"'
            known = self.headers.get("If-None-Match") == tag
            self.send_response(503 if not body else 304 if known else 200)
            self.send_header("ETag", tag)
            self.send_header("Content-Length", "0" if known else str(len(body)))
            self.end_headers()
            self.wfile.write(b"" if known else body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the parameter's given name
            """
            Say nothing.
            """

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    site.url = f"http://127.0.0.1:{server.server_port}/answer"
    try:
        yield site
    finally:
        server.shutdown()
        server.server_close()


def stub(seed: int, count: int = 2) -> bytes:
    """
    Return an answer of the invented source.
    """
    return json.dumps({"count": count, "seed": seed}).encode()


def submit(servers: dict[str, str], *line: str) -> Ended:
    """
    Submit what the invented source answers, for lines of JSON.
    """
    return inside("submit", "--source", "stub", *line, "-o", "jsonl", **servers)


def test_an_address_is_fetched_and_its_answer_submitted(servers: dict[str, str]) -> None:
    """
    The events of an answer go in at the time they were fetched; submitted again they are known; the contact is sent.
    """
    with answering(stub(70_000)) as site:
        first = submit(servers, site.url, "--contact", "me@example.com")
        again = submit(servers, site.url)
    ids = [[json.loads(line)["signal_id"] for line in each.out.splitlines()] for each in (first, again)]
    assert first.code == again.code == 0, first
    assert (len(ids[0]), ids[0]) == (2, ids[1])
    assert all(json.loads(line)["cached"] for line in again.out.splitlines())
    assert "me@example.com" in site.asked[0]["User-Agent"]


def test_as_of_says_when_an_answer_was_fetched(servers: dict[str, str], tmp_path: Path) -> None:
    """
    A file was fetched when it was written, unless --as-of says otherwise: then what is old is refused as stale.
    """
    file = tmp_path / "answer.json"
    file.write_bytes(stub(71_000, 1))
    fresh = submit(servers, str(file))
    stale = submit(servers, str(file), "--as-of", "2026-01-28T12:00:00", "--validate")
    assert json.loads(fresh.out)["status"] != "FILTERED"
    assert json.loads(stale.out)["status"] == "FILTERED"
    assert " s old" in json.loads(stale.out)["detail"]


def test_a_watched_address_is_asked_again(servers: dict[str, str]) -> None:
    """
    New answers are submitted, a failure is told and tried again, an unchanged answer is left alone; Ctrl-C ends it.
    """
    with answering(stub(72_000, 1), b"", stub(72_001, 1), stub(72_001, 1)) as site:
        line = ("submit", "--source", "stub", site.url, "--watch", "1", "-o", "jsonl")
        with Terminal(*line, **servers) as terminal:
            ids = [json.loads(terminal.line())["signal_id"] for _ in range(2)]
            terminal.until(lambda: len(site.asked) >= 5)
            ended = terminal.interrupt()
    assert (ended.code, len(set(ids))) == (exits.INTERRUPTED, 2)
    assert ended.out == ""
    assert "status 503" in ended.err
    assert "2 events are answered" in ended.err


@pytest.mark.parametrize(
    ("line", "code", "words"),
    [
        (("--source", "stub", "http://127.0.0.1:1/"), exits.UNREACHABLE, "Connection refused"),
        (("--source", "stub", "http://example.com/"), exits.USAGE, "is not https"),
        (("http://127.0.0.1:1/",), exits.USAGE, "--source"),
        (("--source", "ais"), exits.USAGE, "no address of its own"),
        (("--source", "nonsense", "x"), exits.USAGE, "portwatch"),
        (("--source", "nws", "--watch", "1"), exits.USAGE, "--watch 30"),
        (("--source", "stub", "--watch", "1", "-o", "json"), exits.USAGE, "no end"),
    ],
)
def test_what_cannot_be_fetched_is_told(
    line: tuple[str, ...],
    code: int,
    words: str,
    servers: dict[str, str],
) -> None:
    """
    A dead address is unreachable; what makes no sense is refused before anybody is asked, with what would.
    """
    ended = inside("submit", *line, **servers)
    assert (ended.code, ended.out) == (code, "")
    assert words in ended.err


def test_the_invented_source_needs_no_place(servers: dict[str, str]) -> None:
    """
    It answers by itself.
    """
    ended = submit(servers, "--validate")
    assert (ended.code, len(ended.out.splitlines())) == (0, 10)
