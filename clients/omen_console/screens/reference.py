from starlette.requests import Request

from omen_console.console import Console
from omen_console.page import Page
from omen_console.screens.common import at_a_glance


async def screen(console: Console, _request: Request) -> Page:
    """
    Show the words used on stage, the story, the proofs with their tests, and the keys.
    """
    return Page("copy.html", at_a_glance(console, await console.pulse.read()))
