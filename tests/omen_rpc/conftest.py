import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from omen_rpc import logs, refusal
from omen_rpc.rate import RateLimit


class Logged:
    """
    What was logged during a test, as it would stand in the file.
    """

    def __init__(self) -> None:
        self.stream = io.StringIO()

    @property
    def text(self) -> str:
        """
        Everything, byte for byte.
        """
        return self.stream.getvalue()

    def lines(self, event: str | None = None) -> list[dict[str, Any]]:
        """
        Return the lines of *event*, or all.
        """
        lines = [json.loads(line) for line in self.text.splitlines()]
        return [line for line in lines if event is None or line["event"] == event]


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch) -> Iterator[Logged]:
    """
    Log as a server does, into memory.
    """
    monkeypatch.setattr(refusal, "REFUSALS_LOGGED", RateLimit(per_minute=6000, burst=1000))
    handlers, level = list(logging.root.handlers), logging.root.level
    logging.root.handlers.clear()  # So that configuring does not close pytest's own.
    captured = Logged()
    logs.configure("test", form="json", level="debug", stream=captured.stream)
    yield captured
    structlog.reset_defaults()
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)
