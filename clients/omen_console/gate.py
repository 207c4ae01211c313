"""
The one gate before everything: who may call by which name, what may change anything, and what browsers are told.
"""

import asyncio
import hmac
import secrets
from hashlib import sha256
from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import FormData, Headers, MutableHeaders
from starlette.formparsers import MultiPartException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from omen_console.settings import ConsoleSettings
from omen_rpc import metrics
from omen_rpc.address import parse_address

COOKIE: Final = "omen_console"
TOKEN: Final = "token"  # noqa: S105 - the name of a field
SESSION_CHARS: Final = 32
# Where a request keeps the route that serves it.
ROUTE: Final = "route"
FORM_BYTES_MAX: Final = 64 << 10
FORM_FIELDS_MAX: Final = 50
FORM_TIMEOUT_S: Final = 10.0
LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})
HEADERS: Final = {
    "content-security-policy": (
        "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'"
    ),
    "referrer-policy": "same-origin",
    "x-content-type-options": "nosniff",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}


class Refused(Exception):
    """
    A request that the gate does not let through: its status, and why.
    """

    def __init__(self, status: int, text: str, remedy: str) -> None:
        super().__init__(text)
        self.status, self.text, self.remedy = status, text, remedy


class Gate:
    """
    Decides what may change anything. Tokens are bound to a cookie, and die with the process.
    """

    def __init__(self, settings: ConsoleSettings) -> None:
        self.is_writable = settings.is_writable
        self._given = given_names(settings)
        self._secret = secrets.token_bytes(32)

    def session(self, request: Request) -> str:
        """
        Return the browser's session, a new one when it has none yet.
        """
        found = request.cookies.get(COOKIE, "")
        return found if len(found) == SESSION_CHARS and found.isalnum() else secrets.token_hex(SESSION_CHARS // 2)

    def token(self, session: str) -> str:
        """
        Return what a form of this session must bring.
        """
        return hmac.new(self._secret, session.encode(), sha256).hexdigest()

    async def admit(self, request: Request) -> FormData:
        """
        Return the form of a request that may change something, or raise `Refused`.
        """
        if not self.is_writable:
            raise Refused(
                403,
                "This console is read-only. Nothing was changed.",
                "Whoever runs it starts it with --writable to allow this.",
            )
        check_origin(request, self._given)
        try:
            async with asyncio.timeout(FORM_TIMEOUT_S):
                form = await request.form(max_files=0, max_fields=FORM_FIELDS_MAX, max_part_size=FORM_BYTES_MAX)
        except (TimeoutError, ClientDisconnect):
            raise Refused(408, "The form did not arrive. Nothing was changed.", "Go back and send it again.") from None
        except MultiPartException:
            raise Refused(400, "The form cannot be read.", "Go back and send it again.") from None
        sent = str(form.get(TOKEN, ""))
        if not hmac.compare_digest(sent.encode(), self.token(request.cookies.get(COOKIE, "")).encode()):
            raise Refused(
                403,
                "The form was not made by this console, or before it was started again. Nothing was changed.",
                "Go back, reload the page, and send it again.",
            )
        return form


def check_origin(request: Request, given: frozenset[str]) -> None:
    """
    Raise `Refused` for a request that another site's page made. Behind a proxy the *given* names are ours as well.
    """
    site = request.headers.get("sec-fetch-site", "same-origin")
    origin = request.headers.get("origin", "")
    netloc = origin.partition("://")[2]
    ours = netloc == request.headers.get("host", "") or host_of(netloc) in given
    foreign = origin not in {"", "null"} and not ours
    if site not in {"same-origin", "none"} or foreign:
        raise Refused(403, "Another site's page sent this. Nothing was changed.", "Send it from the console itself.")


class Doorway:
    """
    Around the whole application: refuses foreign names and large bodies, and adds the headers every answer has.
    """

    def __init__(self, app: ASGIApp, settings: ConsoleSettings) -> None:
        self._app = app
        self._names = known_names(settings)
        self._files = f"{settings.base_path}static/"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """
        Answer one request.
        """
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                metrics.CONSOLE_REQUESTS.labels(self._route(scope), str(message["status"])).inc()
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                # Files are named with a word that changes when they do; pages are of the moment.
                kept = self._files in scope["path"] and message["status"] == 200
                headers.setdefault("cache-control", "public, max-age=31536000, immutable" if kept else "no-store")
            await send(message)

        headers = Headers(scope=scope)
        if self._names and host_of(headers.get("host", "")) not in self._names:
            text = "This console is not called by that name. Use its address, or start it with --hosts NAME.\n"
            await PlainTextResponse(text, 421)(scope, receive, with_headers)
            return
        if not fits(headers):
            await PlainTextResponse("Too large.\n", 413)(scope, receive, with_headers)
            return
        await self._app(scope, receive, with_headers)

    def _route(self, scope: Scope) -> str:
        """
        Return which of the routes it is; paths that nobody serves are one, so that no stranger makes series.
        """
        named: str = scope.get("state", {}).get(ROUTE, "other")
        return "/static" if self._files in scope["path"] else named


def fits(headers: Headers) -> bool:
    """
    Whether a body says how long it is, and is not too long. Browsers always say.
    """
    if "transfer-encoding" in headers:
        return False
    length = headers.get("content-length", "0")
    return length.isascii() and length.isdigit() and int(length) <= FORM_BYTES_MAX


def known_names(settings: ConsoleSettings) -> frozenset[str]:
    """
    Return the names it answers to; none at all when everybody may reach it and no names are given.

    On loopback another site's name that resolves to this machine must not do: its pages could read ours.
    """
    given = given_names(settings)
    if not settings.is_loopback and not given:
        return frozenset()
    return LOOPBACK | {parse_address(settings.listen).host, *given}


def given_names(settings: ConsoleSettings) -> frozenset[str]:
    """
    Return the names that were given beside the console's own address.
    """
    return frozenset(name.strip().lower() for name in settings.hosts.split(",") if name.strip())


def host_of(netloc: str) -> str:
    """
    Return the host of a Host header or of an origin, without port and brackets; nothing when it is none.
    """
    try:
        return (urlsplit(f"//{netloc}").hostname or "").lower()
    except ValueError:
        return ""
