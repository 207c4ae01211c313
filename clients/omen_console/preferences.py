"""
How a browser likes its pages: theme and times, in cookies, also without JavaScript.
"""

from collections.abc import Awaitable, Callable
from typing import Final

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from omen_console.console import Console
from omen_console.page import THEMES, TIMES

CHOICES: Final = {"theme": THEMES, "times": TIMES}
KEPT_S: Final = 365 * 86_400


def endpoint(console: Console) -> Callable[[Request], Awaitable[Response]]:
    """
    Return what keeps a choice and goes back.
    """
    base = console.settings.base_path

    async def prefer(request: Request) -> Response:
        response = RedirectResponse(way_back(request.query_params.get("back", ""), base), 303)
        for name, allowed in CHOICES.items():
            chosen = request.query_params.get(name)
            if chosen in allowed:
                response.set_cookie(f"omen_{name}", chosen, path=base, max_age=KEPT_S, samesite="lax")
        return response

    return prefer


def way_back(path: str, base: str) -> str:
    """
    Return *path* when it is one of ours, else the dashboard's: nobody is led to another site from here.
    """
    ours = path.startswith(base) and not path.startswith("//") and "\\" not in path and path.isprintable()
    return path if ours else base
