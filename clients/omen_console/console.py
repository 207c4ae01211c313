"""
What every screen and every order is given.
"""

import asyncio
from dataclasses import dataclass, field

from omen_console.asking import Asking
from omen_console.attempts import Attempts
from omen_console.gate import Gate
from omen_console.page import Pages
from omen_console.pulse import Pulse
from omen_console.rounds import Rounds
from omen_console.settings import ConsoleSettings
from omen_console.upstream import Upstream
from omen_rpc.settings import Setting


@dataclass(slots=True)
class Console:
    """
    The parts of a running console. `closing` is set when it is told to stop; `streams` counts pages that are live.
    """

    settings: ConsoleSettings
    shown_settings: list[Setting]
    upstream: Upstream
    asking: Asking
    pulse: Pulse
    gate: Gate
    pages: Pages
    rounds: Rounds
    attempts: Attempts
    closing: asyncio.Event = field(default_factory=asyncio.Event)
    streams: int = 0

    async def close(self) -> None:
        """
        Leave what is under way: nobody looks any more.
        """
        await self.rounds.close()
        await self.pulse.close()
        await self.asking.close()
