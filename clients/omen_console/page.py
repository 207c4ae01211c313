"""
A page: its templates, what every page has, and a skeleton that is sent when the servers take their time.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlencode

import jinja2
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response, StreamingResponse

from omen_console import shown, words
from omen_console.equivalents import Equivalents
from omen_console.gate import COOKIE, TOKEN, Gate
from omen_console.settings import ConsoleSettings
from omen_rpc.server_info import own_version

HERE: Final = Path(__file__).parent
# A page that is ready by then comes in one piece, with its status; a later one begins with its skeleton.
SKELETON_AFTER_S: Final = 0.25
THEMES: Final = ("system", "light", "dark")
TIMES: Final = ("utc", "local", "relative")


@dataclass(frozen=True, slots=True)
class Page:
    """
    What a screen shows: a template of the page's middle, and what it needs.
    """

    template: str
    context: Mapping[str, Any] = field(default_factory=dict)
    status: int = 200


class Pages:
    """
    Renders pages.
    """

    def __init__(self, settings: ConsoleSettings, gate: Gate) -> None:
        self._settings, self._gate = settings, gate
        self.base = settings.base_path
        self._version = assets_version()
        self._environment = jinja2.Environment(
            loader=jinja2.FileSystemLoader(HERE / "templates"),
            autoescape=True,
            finalize=shown.in_order,
            auto_reload=False,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.filters.update(
            number=shown.number, share=shown.share, size=shown.size, duration=shown.duration, tone=shown.tone
        )
        self._environment.globals.update(
            short=shown.short,
            words=words,
            url=self.url,
            same=Equivalents(settings),
            settings=settings,
            is_writable=gate.is_writable,
            version=own_version(),
            assets=self._version,
            NOTHING=shown.NOTHING,
            token_name=TOKEN,
        )

    def url(self, path: str = "", /, **query: object) -> str:
        """
        Return the address of a screen below the base path, without parameters that say nothing.
        """
        asked = {name.rstrip("_"): value for name, value in query.items() if value not in (None, "", False)}
        return self.base + quote(path) + (f"?{urlencode(asked)}" if asked else "")

    def fragment(self, request: Request, template: str, now: datetime, **context: Any) -> str:
        """
        Return a part of a page, for the script to put in.
        """
        return self._environment.get_template(template).render(**self._frame(request, now, ""), **context)

    async def respond(self, request: Request, label: str, now: datetime, screen: Awaitable[Page]) -> Response:
        """
        Answer with a page; with its top and a skeleton first when the rest is late.
        """
        frame = self._frame(request, now, label)
        work = asyncio.ensure_future(screen)
        done, _ = await asyncio.wait({work}, timeout=SKELETON_AFTER_S)
        response: Response
        if done:
            page = work.result()
            text = self._top(frame, waits=False) + self._rest(frame, page)
            response = HTMLResponse(text, page.status)
        else:
            response = StreamingResponse(self._parts(frame, work), media_type="text/html")
        if request.cookies.get(COOKIE) != frame["session"]:
            # Lax, and not strict: who follows a link from elsewhere keeps the session that his other pages have.
            secure = request.url.scheme == "https"
            response.set_cookie(COOKIE, frame["session"], path=self.base, httponly=True, samesite="lax", secure=secure)
        return response

    async def _parts(self, frame: Mapping[str, Any], work: "asyncio.Future[Page]") -> AsyncIterator[str]:
        try:
            yield self._top(frame, waits=True)
            yield self._rest(frame, await work)
        finally:
            work.cancel()

    def _top(self, frame: Mapping[str, Any], *, waits: bool) -> str:
        return self._environment.get_template("top.html").render(**frame, waits=waits)

    def _rest(self, frame: Mapping[str, Any], page: Page) -> str:
        context = {"reading": None, "live": {}, **frame, **page.context}
        middle = self._environment.get_template(page.template).render(**context)
        return middle + self._environment.get_template("bottom.html").render(**context)

    def _frame(self, request: Request, now: datetime, label: str) -> dict[str, Any]:
        session = self._gate.session(request)
        theme, times = request.cookies.get("omen_theme", ""), request.cookies.get("omen_times", "")
        times = times if times in TIMES else TIMES[0]
        return {
            "label": label,
            "now": now,
            "when": partial(shown.when, now=now, style=times),
            "theme": theme if theme in THEMES else THEMES[0],
            "times": times,
            "session": session,
            "token": self._gate.token(session),
            "here": request.url.path + (f"?{request.url.query}" if request.url.query else ""),
        }


def assets_version() -> str:
    """
    Return a word that changes with the style sheet and the script, so that browsers may keep them.
    """
    content = b"".join(path.read_bytes() for path in sorted((HERE / "static").iterdir()) if path.is_file())
    return sha256(content).hexdigest()[:12]
