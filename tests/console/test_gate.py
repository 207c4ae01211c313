"""
The one gate: what changes anything passes it, and nothing else does.
"""

import re
from pathlib import Path
from typing import Any

import pytest
from starlette.routing import Mount, Route

from omen_console.app import ORDERS, SCREENS, application, check_security
from omen_console.settings import ConsoleSettings
from omen_rpc.settings import SettingsRefused
from tests.console.conftest import Open, Show, Web

ORDER_PATHS = sorted(ORDERS)
NOBODY = {"omen": "unix:/nowhere/o", "riskcast": "unix:/nowhere/r", "reconciler": "unix:/nowhere/c"}
HTML = "text/html; charset=utf-8"


async def counted(web: Web) -> tuple[int, int, int]:
    """
    Return what an order would change: signals at both ends, and what the demo noted.
    """
    stats = await web.console.upstream.omen.operations.stats()
    stored = await web.console.upstream.riskcast.stats()
    return stats.ledger_records, stored.stored, len(web.console.attempts.newest())


async def test_every_route_that_writes_is_an_order(open_web: Open) -> None:
    """
    The application has the routes of both tables and no other that takes anything but GET: the walks below are whole.
    """
    async with open_web(base_path="/x/", **NOBODY) as web:
        doorway: Any = application(web.console)
        (mount, *_) = doorway._app.routes
        assert isinstance(mount, Mount)
        routes = [route for route in mount.routes if isinstance(route, Route)]
        writing = {route.path for route in routes if (route.methods or set()) - {"GET", "HEAD"}}
        assert writing == {f"/{path}" for path in ORDERS}
        assert {route.path for route in routes} - writing == {f"/{path}" for path in SCREENS} | {
            "/events",
            "/preferences",
        }


@pytest.mark.parametrize("path", ORDER_PATHS)
async def test_a_read_only_console_obeys_nobody(show: Show, open_web: Open, path: str) -> None:
    """
    Read-only is the server's own: with a good token each order is answered 403, and nothing has changed.
    """
    async with open_web(read_only=True, **show.stage.upstream) as web:
        before = await counted(web)
        page = await web.post(path, target="all", include_open="1", title="Not to be sent", count="2", reason="no")
        assert page.status_code == 403
        assert "read-only" in page.text
        assert await counted(web) == before
        assert not (await web.console.upstream.reconciler.overview()).paused
        assert web.console.rounds.last is None


@pytest.mark.parametrize("path", ORDER_PATHS)
@pytest.mark.parametrize("token", [None, "", "0" * 64, "of another session", "ä"])
async def test_no_order_without_its_token(web: Web, path: str, token: str | None) -> None:
    """
    A form without the token of this very session is refused, whatever else is right.
    """
    before = await counted(web)
    await web.token()
    form = {"title": "Not to be sent", "count": "1", "target": "all", "reason": "no"}
    if token is not None:
        form["token"] = web.console.gate.token("f" * 32) if token == "of another session" else token
    page = await web.client.post(path, data=form)
    assert (page.status_code, page.headers["content-type"]) == (403, HTML)
    assert "Nothing was changed" in page.text
    assert await counted(web) == before


@pytest.mark.parametrize(
    "headers",
    [{"origin": "https://elsewhere.example"}, {"sec-fetch-site": "cross-site"}, {"sec-fetch-site": "same-site"}],
)
async def test_another_sites_page_is_refused(web: Web, headers: dict[str, str]) -> None:
    """
    A form that another site's page sends is refused even with a good token.
    """
    before = await counted(web)
    data = {"token": await web.token(), "title": "Not to be sent"}
    assert (await web.client.post("ingest/send", data=data, headers=headers)).status_code == 403
    assert await counted(web) == before


async def test_looking_changes_nothing(web: Web) -> None:
    """
    Whatever can be fetched, its parameters included, leaves ledger and store as they are; orders cannot be fetched.
    """
    before = await counted(web)
    for path in [*(path for path in SCREENS if "{" not in path), "proof?do=flip", "proof?do=truncate"]:
        assert (await web.get(path)).status_code == 200
    for path in ORDER_PATHS:
        assert (await web.get(path)).status_code == 405
    assert await counted(web) == before


@pytest.mark.parametrize(
    ("settings", "writable"),
    [
        ({}, True),
        ({"listen": "[::1]:8080"}, True),
        ({"listen": "unix:/tmp/console"}, True),
        ({"listen": "0.0.0.0:8080"}, False),
        ({"listen": "192.0.2.1:8080"}, False),
        ({"listen": "0.0.0.0:8080", "writable": True}, True),
        ({"read_only": True}, False),
        ({"listen": "0.0.0.0:8080", "read_only": False}, True),
        ({"writable": False}, False),
    ],
)
def test_off_loopback_it_is_read_only(settings: dict[str, Any], writable: bool) -> None:
    """
    Without being told it may change things on loopback only.
    """
    assert ConsoleSettings(**settings).is_writable is writable


async def test_every_answer_has_its_headers(web: Web) -> None:
    """
    Pages, redirects, errors and static files all carry the policy; nothing but static files may be stored.
    """
    first = await web.get("")
    assert re.search(r"omen_console=\w{32}; HttpOnly; Path=/; SameSite=lax", first.headers["set-cookie"])
    for path in ("", "nothing", "static/console.css", "preferences?theme=dark"):
        headers = (await web.get(path)).headers
        assert headers["content-security-policy"].startswith("default-src 'self'; ")
        assert (headers["x-content-type-options"], headers["referrer-policy"]) == ("nosniff", "same-origin")
        assert "server" not in headers
    page = await web.get("")
    assert page.headers["cache-control"] == "no-store"
    assert "set-cookie" not in page.headers
    assert (await web.get("static/console.css")).headers["cache-control"].endswith("immutable")


async def test_pages_bring_nothing_of_others(web: Web) -> None:
    """
    No page names another host, holds a script or style of its own, or a style attribute: the policy would stop it.
    """
    for path in SCREENS:
        page = await web.get(path.replace("{partition}", "2026-01-28").replace("{signal_id}", "OMEN-STAGE00001"))
        assert not re.search(r"(?:src|href|action)=\"(?:https?:)?//", page.text)
        assert not re.search(r"<style|\sstyle=|<script>|\son\w+=\"", page.text)


@pytest.mark.parametrize(
    ("listen", "hosts", "host", "status"),
    [
        ("127.0.0.1:8080", "", "127.0.0.1:8080", 200),
        ("127.0.0.1:8080", "", "localhost:8080", 200),
        ("127.0.0.1:8080", "", "rebound.example", 421),
        ("127.0.0.1:8080", "omen.example, b.example", "omen.example", 200),
        ("0.0.0.0:8080", "", "anything.example", 200),
        ("0.0.0.0:8080", "omen.example", "anything.example", 421),
    ],
)
async def test_it_answers_to_its_names(open_web: Open, listen: str, hosts: str, host: str, status: int) -> None:
    """
    On loopback a foreign name that resolves to this machine is refused, so that no site's page can read ours.
    """
    async with open_web(listen=listen, hosts=hosts, **NOBODY) as web:
        assert (await web.get("copy", headers={"host": host})).status_code == status


async def test_large_and_endless_bodies_are_refused(web: Web) -> None:
    """
    A body beyond 64 KiB, or one that does not say how long it is, is refused before it is read.
    """
    assert (await web.client.post("ingest/send", content=b"a" * 70_000)).status_code == 413

    async def endless() -> Any:
        while True:
            yield b"a" * 1000

    assert (await web.client.post("ingest/send", content=endless())).status_code == 413


async def test_forms_of_any_kind_are_answered(web: Web) -> None:
    """
    Bodies that are no form, files and too many fields end in a refusal in words, never in an error of the console.
    """
    answers = []
    for content, kind in (
        (b"{}", "application/json"),
        (b"\xff\xfe=%zz&&==", "application/x-www-form-urlencoded"),
        (b"--b\r\n", "multipart/form-data; boundary=b"),
        (b"x", "multipart/form-data"),
        (b"&".join(b"a%d=1" % number for number in range(500)), "application/x-www-form-urlencoded"),
    ):
        answers.append(await web.client.post("ingest/send", content=content, headers={"content-type": kind}))
    assert {answer.status_code for answer in answers} <= {400, 403}
    assert all('aria-label="Screens"' in answer.text for answer in answers)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"listen": "0.0.0.0:8080"}, "--tls-cert FILE --tls-key FILE, or --insecure"),
        ({"tls_cert": Path("c.pem")}, "belong together"),
        ({"tls_key": Path("k.pem"), "listen": "0.0.0.0:1"}, "belong together"),
    ],
)
def test_off_loopback_it_wants_tls(settings: dict[str, Any], words: str) -> None:
    """
    Like the servers it refuses to listen in the open, and says which flag is missing.
    """
    with pytest.raises(SettingsRefused, match=words):
        check_security(ConsoleSettings(**settings))
    assert check_security(ConsoleSettings(listen="0.0.0.0:8080", insecure=True)).port == 8080
