"""
A page: its templates, what every page has, and a skeleton that is sent when the servers take their time.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache, partial
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
from omen_console.upstream import COUNTING, Answer
from omen_rpc.server_info import own_version

HERE: Final = Path(__file__).parent
# A page that is ready by then comes in one piece, with its status; a later one begins with its skeleton.
SKELETON_AFTER_S: Final = 0.25
ASKED_AGAIN_S: Final = 1
COUNTED_AGAIN_S: Final = 3
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


Screen = Callable[[], Awaitable[Page]]


class Pages:
    """
    Renders pages.
    """

    def __init__(self, settings: ConsoleSettings, gate: Gate) -> None:
        self._settings, self._gate = settings, gate
        self.base = settings.base_path
        self._environment = templates()
        self._same_everywhere = {
            "url": self.url,
            "same": Equivalents(settings),
            "settings": settings,
            "is_writable": gate.is_writable,
            "version": own_version(),
            "assets": assets_version(),
        }

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

    def compile(self) -> None:
        """
        Compile the templates now, and not while somebody waits for the first page.
        """
        for name in self._environment.list_templates():
            self._environment.get_template(name)

    async def respond(
        self,
        request: Request,
        label: str,
        now: datetime,
        screen: Screen,
        sorry: Callable[[Exception], Page],
        *,
        frame_first: bool = False,
    ) -> Response:
        """
        Answer with a page; with its top and a skeleton first when the rest is late.

        With *frame_first* these are sent before anybody is asked anything, and the status is 200 whatever comes.
        """
        frame = self._frame(request, now, label)
        work = None
        if not frame_first:
            work = asyncio.ensure_future(screen())
            await asyncio.wait({work}, timeout=SKELETON_AFTER_S)
        response: Response
        if work is not None and work.done():
            page = work.result()
            text = self._top(frame, waits=False) + self._rest(frame, page)
            response = HTMLResponse(text, page.status)
        else:
            response = StreamingResponse(self._parts(frame, work, screen, sorry), media_type="text/html")
        if request.cookies.get(COOKIE) != frame["session"]:
            # Lax, and not strict: who follows a link from elsewhere keeps the session that his other pages have.
            secure = request.url.scheme == "https"
            response.set_cookie(COOKIE, frame["session"], path=self.base, httponly=True, samesite="lax", secure=secure)
        return response

    async def _parts(
        self,
        frame: Mapping[str, Any],
        work: "asyncio.Future[Page] | None",
        screen: Screen,
        sorry: Callable[[Exception], Page],
    ) -> AsyncIterator[str]:
        try:
            yield self._top(frame, waits=True)
            work = work or asyncio.ensure_future(screen())
            try:
                page = await work
            except Exception as error:  # noqa: BLE001 - the page has begun: what is wrong can be told only further down.
                page = sorry(error)
            yield self._rest(frame, page)
        finally:
            if work is not None:
                work.cancel()

    def _top(self, frame: Mapping[str, Any], *, waits: bool) -> str:
        return self._environment.get_template("top.html").render(**frame, waits=waits)

    def _rest(self, frame: Mapping[str, Any], page: Page) -> str:
        context = {"reading": None, "live": {}, "asks_s": asks_s(page.context), **frame, **page.context}
        middle = self._environment.get_template(page.template).render(**context)
        return middle + self._environment.get_template("bottom.html").render(**context)

    def _frame(self, request: Request, now: datetime, label: str) -> dict[str, Any]:
        session = self._gate.session(request)
        theme, times = request.cookies.get("omen_theme", ""), request.cookies.get("omen_times", "")
        times = times if times in TIMES else TIMES[0]
        return {
            **self._same_everywhere,
            "label": label,
            "now": now,
            "when": partial(shown.when, now=now, style=times),
            "theme": theme if theme in THEMES else THEMES[0],
            "times": times,
            "session": session,
            "token": self._gate.token(session),
            "here": request.url.path + (f"?{request.url.query}" if request.url.query else ""),
        }


def asks_s(context: Mapping[str, Any]) -> int:
    """
    Return after how many seconds a page looks again for the answers that it does without so far; 0 with all of them.
    """
    troubles = [each.trouble for each in context.values() if isinstance(each, Answer) and each.is_asking]
    states = {each.state for each in troubles if each is not None}
    return COUNTED_AGAIN_S if COUNTING in states else ASKED_AGAIN_S if states else 0


@cache
def templates() -> jinja2.Environment:
    """
    Return the templates. They are the same for all consoles of a process, which compiles each of them once.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE / "templates"),
        autoescape=True,
        finalize=shown.in_order,
        auto_reload=False,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        number=shown.number, share=shown.share, size=shown.size, duration=shown.duration, tone=shown.tone
    )
    environment.globals.update(short=shown.short, words=words, NOTHING=shown.NOTHING, token_name=TOKEN)
    return environment


def assets_version() -> str:
    """
    Return a word that changes with the style sheet and the script, so that browsers may keep them.
    """
    content = b"".join(path.read_bytes() for path in sorted((HERE / "static").iterdir()) if path.is_file())
    return sha256(content).hexdigest()[:12]
