"""
What the three servers answer: asked in parallel, each within a deadline, and remembered for when one does not answer.
"""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Generic, TypeVar

import grpc

from omen_client import CallError, OmenClient, ReconcileClient, RiskCastClient
from omen_console.settings import ConsoleSettings
from omen_rpc.channel import ClientFiles, ConnectionRefused, read_key
from omen_rpc.settings import SettingsRefused

Value = TypeVar("Value")
Value_co = TypeVar("Value_co", covariant=True)

REMEMBERED_MAX: Final = 64
NAMES: Final = {"omen": "OMEN", "riskcast": "RiskCast", "reconciler": "The reconciler"}
STARTING: Final = "STARTING"
# The states of a trouble that is none: the answer is under way.
ASKING: Final = "asking"
COUNTING: Final = "counting"


@dataclass(frozen=True, slots=True)
class Trouble:
    """
    Why a server did not answer, and what to do about it. `state` is one word for the strip.
    """

    server: str
    state: str
    code: str
    reason: str
    text: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Answer(Generic[Value_co]):
    """
    What a server answered at some time. With a trouble the value is an earlier one, or there is none.
    """

    value: Value_co | None
    at: datetime
    trouble: Trouble | None = None

    @property
    def is_stale(self) -> bool:
        """
        Whether this is what the server said before it stopped answering.
        """
        return self.trouble is not None and self.value is not None

    @property
    def is_asking(self) -> bool:
        """
        Whether the answer is still under way: a page that says so looks again.
        """
        return self.trouble is not None and self.trouble.state in {ASKING, COUNTING}

    @property
    def is_missing(self) -> bool:
        """
        Whether the server says that there is no such thing.
        """
        return self.trouble is not None and self.trouble.code == "NOT_FOUND"


class Upstream:
    """
    The typed clients of the three servers.
    """

    def __init__(
        self,
        omen: OmenClient,
        riskcast: RiskCastClient,
        reconciler: ReconcileClient,
        *,
        timeout_s: float,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.omen, self.riskcast, self.reconciler = omen, riskcast, reconciler
        self.timeout_s = timeout_s
        self.now = now
        self._remembered: OrderedDict[tuple[str, str], Answer[Any]] = OrderedDict()

    def address(self, server: str) -> str:
        """
        Return where a server is.
        """
        client: OmenClient | RiskCastClient | ReconcileClient = getattr(self, server)
        return client.connection.address

    async def ask(
        self, server: str, call: Awaitable[Value], *, remember: str = "", timeout_s: float | None = None
    ) -> Answer[Value]:
        """
        Await *call* and return its answer; never raises for a server. Under a name to *remember* an old one may do.
        """
        limit_s = timeout_s or self.timeout_s
        try:
            async with asyncio.timeout(limit_s):
                answer = Answer(await call, self.now())
        except CallError as error:
            return self.earlier(server, remember, self.trouble(server, error))
        except TimeoutError:
            text = f"{NAMES[server]} has not answered within {limit_s:g} s."
            slow = Trouble(server, "slow", "DEADLINE_EXCEEDED", "", text, "It may be busy. Try again in a moment.")
            return self.earlier(server, remember, slow)
        if remember:
            self._remembered[server, remember] = answer
            self._remembered.move_to_end((server, remember))
            while len(self._remembered) > REMEMBERED_MAX:
                self._remembered.popitem(last=False)
        return answer

    def trouble(self, server: str, error: CallError) -> Trouble:
        """
        Return an error of a call in the words of a page.
        """
        name, code = NAMES[server], error.code.name
        if error.reason:
            state = "starting" if error.reason == STARTING else "down" if error.retryable else "refused"
            return Trouble(server, state, code, error.reason, error.message)
        if error.code is grpc.StatusCode.DEADLINE_EXCEEDED:
            return Trouble(server, "slow", code, "", f"{name} has not answered in time.", "Try again in a moment.")
        if error.code is grpc.StatusCode.UNAVAILABLE:
            text = f"{name} does not answer at {self.address(server)}."
            return Trouble(server, "down", code, "", text, "Start it, or look at its log; omen up runs all of them.")
        return Trouble(server, "refused", code, "", f"{name} says {code}: {error.message}")

    def earlier(self, server: str, name: str, trouble: Trouble) -> Answer[Any]:
        """
        Return what was answered earlier under *name*, if anything, with the trouble that there is now.
        """
        earlier = self._remembered.get((server, name)) if name and trouble.code != "NOT_FOUND" else None
        if earlier is None:
            return Answer(None, self.now(), trouble)
        return Answer(earlier.value, earlier.at, trouble)


@asynccontextmanager
async def open_upstream(settings: ConsoleSettings) -> AsyncIterator[Upstream]:
    """
    Connect to the three servers, which need not be there yet.
    """
    secure = settings.tls_ca is not None or settings.tls_client_cert is not None
    tls = ClientFiles(settings.tls_ca, settings.tls_client_cert, settings.tls_client_key) if secure else None
    # Nothing is tried again behind a page's back: whoever looks at it sees what is so, and presses the button.
    how: dict[str, Any] = {"tls": tls, "timeout_s": settings.call_timeout_s, "attempts_max": 1}
    try:
        omen = OmenClient(settings.omen, api_key=read_key(settings.omen_api_key_file), **how)
        riskcast = RiskCastClient(settings.riskcast, api_key=read_key(settings.riskcast_api_key_file), **how)
        reconciler = ReconcileClient(settings.reconciler, api_key=read_key(settings.reconciler_api_key_file), **how)
    except ConnectionRefused as error:
        raise SettingsRefused(str(error)) from None
    async with AsyncExitStack() as stack:
        for client in (omen, riskcast, reconciler):
            await stack.enter_async_context(client)
        yield Upstream(omen, riskcast, reconciler, timeout_s=settings.call_timeout_s)
