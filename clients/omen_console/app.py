"""
Putting the console together, and its life: bind, serve, end live pages, stop.
"""

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, nullcontext, suppress
from functools import partial
from signal import SIGINT, SIGTERM
from typing import Final

import structlog
import uvicorn
from starlette.applications import Starlette
from starlette.datastructures import FormData
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from omen_console import events, preferences
from omen_console.asking import Asking
from omen_console.attempts import Attempts
from omen_console.console import Console
from omen_console.gate import ROUTE, Doorway, Gate, Refused
from omen_console.page import HERE, Page, Pages
from omen_console.pulse import Pulse
from omen_console.rounds import Rounds
from omen_console.screens import dashboard, ingest, partitions, proof, reconcile, reference, signals, system
from omen_console.settings import ConsoleSettings
from omen_console.silence import end_silent
from omen_console.upstream import Upstream, open_upstream
from omen_rpc.address import Address, AddressRefused, check_free, parse_address
from omen_rpc.settings import Loaded, SettingsRefused
from omen_rpc.web import Web

Endpoint = Callable[[Request], Awaitable[Response]]
Screen = Callable[[Console, Request], Awaitable[Page]]
Order = Callable[[Console, Request, FormData], Awaitable[str]]

DRAIN_S: Final = 5
BACKLOG: Final = 256

# Path below the base → what it is called, and who makes it. These never change anything.
SCREENS: Final[Mapping[str, tuple[str, Screen]]] = {
    "": ("Dashboard", dashboard.screen),
    "partitions": ("Partitions", partitions.screen),
    "partition": ("Partition detail", partitions.newest),
    "partitions/{partition}": ("Partition detail", partitions.detail),
    "signals": ("Signals", signals.screen),
    "signals/{signal_id}": ("Signals", signals.detail),
    "reconcile": ("Reconcile", reconcile.screen),
    "ingest": ("Ingest demo", ingest.screen),
    "proof": ("Ledger proof", proof.screen),
    "copy": ("Copy ref", reference.screen),
    "system": ("System", system.screen),
}
# Whoever opens the console sees its frame before any server is asked anything.
FIRST: Final = ""
# Path below the base → who carries it out, returning where to go on. Each of them passes the gate.
ORDERS: Final[Mapping[str, Order]] = {
    "reconcile/run": reconcile.run,
    "reconcile/pause": reconcile.pause,
    "reconcile/resume": reconcile.resume,
    "ingest/send": ingest.send,
    "ingest/duplicates": ingest.duplicates,
}

log = structlog.get_logger()


async def serve(loaded: Loaded[ConsoleSettings]) -> None:
    """
    Serve pages until told to stop.
    """
    settings = loaded.settings
    address = check_security(settings)
    async with AsyncExitStack() as stack:
        upstream = await stack.enter_async_context(open_upstream(settings))
        console = assembled(loaded, upstream)
        stack.push_async_callback(console.close)
        console.pages.compile()
        bound = stack.enter_context(listening(address))
        metrics_address = Address(address.host or "127.0.0.1", settings.metrics_port)
        web = Web(metrics_address, lambda: not console.closing.is_set(), "omen-console")
        web_address = await web.start()
        stack.push_async_callback(web.close)
        server = uvicorn.Server(server_config(application(console), settings))
        # Its own handlers would let the process die of the signal; ours end the live pages first, and the code is 0.
        server.capture_signals = nullcontext  # type: ignore[assignment,method-assign]

        def stop() -> None:
            console.closing.set()
            server.should_exit = True

        for number in (SIGTERM, SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop)
        name = address if address.path else Address(address.host, bound.getsockname()[1])
        scheme = "http" if settings.tls_cert is None else "https"
        log.info(
            "serving",
            address=str(name),
            url=f"{scheme}://{name}{settings.base_path}",
            writable=settings.is_writable,
            metrics=str(web_address),
            pid=os.getpid(),
        )
        silence = asyncio.create_task(end_silent(server.server_state.connections))
        stack.callback(silence.cancel)
        await server.serve(sockets=[bound])


def assembled(loaded: Loaded[ConsoleSettings], upstream: Upstream) -> Console:
    """
    Return the console's parts, wired.
    """
    settings = loaded.settings
    gate, asking = Gate(settings), Asking(upstream)
    pulse = Pulse(upstream, asking)

    def changed() -> None:
        pulse.expire()
        asking.expire()

    return Console(
        settings=settings,
        shown_settings=loaded.shown(),
        upstream=upstream,
        asking=asking,
        pulse=pulse,
        gate=gate,
        pages=Pages(settings, gate),
        rounds=Rounds(upstream, settings.run_timeout_s, changed),
        attempts=Attempts(),
    )


def application(console: Console) -> ASGIApp:
    """
    Return the whole application.
    """
    routes: list[BaseRoute] = [
        Mount("/static", StaticFiles(directory=HERE / "static")),
        route("events", events.endpoint(console)),
        route("preferences", preferences.endpoint(console)),
    ]
    routes += [route(path, shows(console, path, label, make)) for path, (label, make) in SCREENS.items()]
    routes += [route(path, obeys(console, order), "POST") for path, order in ORDERS.items()]
    base = console.settings.base_path.rstrip("/")
    within: list[BaseRoute] = [Mount(base, routes=routes)] if base else routes
    if base:
        within += [Route(path, lambda _: RedirectResponse(f"{base}/")) for path in ("/", base)]

    async def failed(request: Request, error: Exception) -> Response:
        return await apology(console, request, error)

    app = Starlette(routes=within, exception_handlers={HTTPException: failed, Refused: failed, Exception: failed})
    return Doorway(app, console.settings)


def route(path: str, endpoint: Endpoint, method: str = "GET") -> Route:
    """
    Return the route to an endpoint, which is counted by it.
    """

    async def counted(request: Request) -> Response:
        setattr(request.state, ROUTE, f"/{path}")
        return await endpoint(request)

    return Route(f"/{path}", counted, methods=[method])


def shows(console: Console, path: str, label: str, make: Screen) -> Endpoint:
    """
    Return the endpoint of a screen.
    """

    async def endpoint(request: Request) -> Response:
        return await console.pages.respond(
            request,
            label,
            console.upstream.now(),
            lambda: make(console, request),
            partial(sorry, request),
            frame_first=path == FIRST,
        )

    return endpoint


def obeys(console: Console, order: Order) -> Endpoint:
    """
    Return the endpoint of an order: nothing is carried out before the gate has let it in.
    """

    async def endpoint(request: Request) -> Response:
        form = await console.gate.admit(request)
        return RedirectResponse(await order(console, request, form), 303)

    return endpoint


async def apology(console: Console, request: Request, error: Exception) -> Response:
    """
    Return the page for what went wrong: in words, with a way on.
    """

    async def made() -> Page:
        return sorry(request, error)

    return await console.pages.respond(request, "", console.upstream.now(), made, partial(sorry, request))


def sorry(request: Request, error: Exception) -> Page:
    """
    Return what a page says of an error.
    """
    if isinstance(error, Refused):
        status, text, remedy = error.status, error.text, error.remedy
    elif isinstance(error, HTTPException):
        status = error.status_code
        text = "There is no such page." if status == 404 else f"{error.detail}."
        remedy = "The navigation leads to all there are."
    else:
        log.error("page_failed", path=request.url.path, exc_info=error)
        status, text = 500, "This page could not be made. Nothing was changed by looking at it."
        remedy = "It is a bug of the console; its log has the details. The other pages still work."
    return Page("sorry.html", {"text": text, "remedy": remedy, "status": status}, status)


def check_security(settings: ConsoleSettings) -> Address:
    """
    Return the address to listen on; SettingsRefused when that would be careless.
    """
    address = parse_address(settings.listen)
    if (settings.tls_cert is None) != (settings.tls_key is None):
        raise SettingsRefused("--tls-cert and --tls-key belong together: give both, or neither.")
    if settings.tls_cert is None and not address.is_loopback and not settings.insecure:
        raise SettingsRefused(
            f"{address} is not loopback, and there is no TLS. Add --tls-cert FILE --tls-key FILE, "
            f"or --insecure if the network is your own."
        )
    return address


def listening(address: Address) -> socket.socket:
    """
    Return a socket that listens; AddressRefused when it cannot.
    """
    check_free(address)
    family = socket.AF_UNIX if address.path else socket.AF_INET6 if ":" in address.host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        if address.path:
            with suppress(FileNotFoundError):
                os.unlink(address.path)  # noqa: PTH108 - nobody listens there; check_free asked
            made.bind(address.path)
        else:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            made.bind((address.host, address.port))
        made.listen(BACKLOG)
    except OSError as error:
        made.close()
        raise AddressRefused(f"cannot listen on {address}: {error.strerror}") from None
    return made


def server_config(app: ASGIApp, settings: ConsoleSettings) -> uvicorn.Config:
    """
    Return how pages are served. Lines about every request are nobody's need; what fails is logged by us.
    """
    return uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        lifespan="off",
        server_header=False,
        proxy_headers=False,
        ws="none",
        loop="none",
        limit_concurrency=4 * settings.streams_max,
        timeout_graceful_shutdown=DRAIN_S,
        ssl_certfile=settings.tls_cert,
        ssl_keyfile=settings.tls_key,
    )
