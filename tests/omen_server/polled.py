"""
A poller of a toy source, with time, pipeline and web server around it.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import orjson
import pytest

from omen.v1.signal_pb2 import RawSignalEvent
from omen_server.fetch import Fetcher
from omen_server.pipeline.sources.harvest import Harvest
from omen_server.pipeline.sources.node import Node
from omen_server.pipeline.sources.source import Parsed, Source, SourceMalformed
from omen_server.poller import Poller
from tests.omen_server.web_server import WebServer, ok

START = datetime(2026, 8, 16, 10, 0, tzinfo=UTC)


def read_toy(body: bytes, fetched_at: datetime, url: str) -> Parsed:
    """
    Read a toy's answer: `{"ids": […], "next": "…"}`.
    """
    if body == b"broken":
        raise SourceMalformed("toy", "byte 0", "is broken")
    if body == b"a bug":
        raise ZeroDivisionError("in the parser")
    root = Node(orjson.loads(body), "")
    harvest = Harvest("toy", fetched_at, url, "as you like")
    harvest.gather(root["ids"].nodes(), lambda node: harvest.event(node.name(), "A toy", fetched_at))
    return harvest.parsed(root["next"].maybe_text())


TOY = Source("toy", read_toy, "as you like", interval_s_min=1)


def page(*ids: object, following: str = "") -> bytes:
    """
    Return a toy's answer.
    """
    return ok(orjson.dumps({"ids": ids, "next": following}), 'ETag: "v1"')


@dataclass
class Time:
    """
    Time that passes only by sleeping; once it is *enough*, a sleep lasts for ever.
    """

    now_s: float = 500.0
    enough: Callable[[], bool] = lambda: False
    slept: list[float] = field(default_factory=list)
    over: asyncio.Event = field(default_factory=asyncio.Event)

    def monotonic(self) -> float:
        """
        Return the time.
        """
        return self.now_s

    def now(self) -> datetime:
        """
        Return the time of day.
        """
        return START + timedelta(seconds=self.now_s - 500)

    async def sleep(self, seconds: float) -> None:
        """
        Let time pass.
        """
        if self.enough():
            self.over.set()
            await asyncio.Event().wait()
        self.slept.append(seconds)
        self.now_s += seconds


@dataclass
class Pipeline:
    """
    Takes in events, or refuses them as often as it is told to.
    """

    batches: list[Sequence[RawSignalEvent]] = field(default_factory=list)
    refusals: int = 0

    async def submit(self, events: Sequence[RawSignalEvent]) -> None:
        """
        Take in a batch.
        """
        if self.refusals:
            self.refusals -= 1
            raise OSError("the disk is full")
        self.batches.append(events)

    @property
    def ids(self) -> list[str]:
        """
        Return the ids of all that was taken in.
        """
        return [event.source_event_id for batch in self.batches for event in batch]


@dataclass
class Bench:
    """
    A poller with time, pipeline and web server around it.
    """

    server: WebServer
    time: Time = field(default_factory=Time)
    pipeline: Pipeline = field(default_factory=Pipeline)

    def poller(self, *sources: Source, interval_s: float = 60) -> Poller:
        """
        Return a poller of *sources*.
        """
        return Poller(
            dict.fromkeys((source.name for source in sources), interval_s),
            self.pipeline.submit,
            Fetcher("ops@omen.example", body_bytes_max=10_000, timeout_s=5, now=self.time.now).fetch,
            sources={source.name: source for source in sources},
            now=self.time.now,
            monotonic=self.time.monotonic,
            sleep=self.time.sleep,
        )

    async def run(self, poller: Poller, sleeps: int = 0, enough: Callable[[], bool] | None = None) -> None:
        """
        Let *poller* run until it has slept so often, or until it is *enough*, and wants to sleep again.
        """
        self.time.enough = enough or (lambda: len(self.time.slept) == sleeps)
        task = asyncio.create_task(poller.run())
        await self.time.over.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


def toy(*urls: str, **changes: object) -> Source:
    """
    Return a toy at *urls*.
    """
    return replace(TOY, urls=urls, **changes)  # type: ignore[arg-type]
