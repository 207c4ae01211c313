"""
How far long work is, drawn on a terminal and nowhere else.
"""

import sys
import time
from types import TracebackType
from typing import Self, TextIO

WIDTH = 30
REDRAWN_EVERY_S = 0.1


class Bar:
    """
    One line on stderr that is drawn over and over, and wiped at the end. Nothing at all when stderr is no terminal.
    """

    def __init__(self, what: str, stream: TextIO | None = None) -> None:
        self._what = what
        self._stream = stream or sys.stderr
        self._shown = self._stream.isatty()
        self._drawn_at = 0.0
        self._begun_at = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._drawn_at:
            self._stream.write("\r\x1b[K")
            self._stream.flush()

    def move(self, done: int, total: int, unit: str) -> None:
        """
        Show that *done* of *total* is behind us; a total of 0 is one that nobody knows.
        """
        now = time.monotonic()
        if not self._shown or now - self._drawn_at < REDRAWN_EVERY_S:
            return
        self._drawn_at = now
        share = min(done / total, 1.0) if total else 0.0
        full = round(share * WIDTH)
        rate = done / max(now - self._begun_at, 1e-9)
        bar = f"[{'█' * full}{'·' * (WIDTH - full)}] {share:4.0%}  " if total else ""
        line = f"{self._what}  {bar}{done:,} {unit}  {rate:,.0f}/s"
        self._stream.write(f"\r\x1b[K{line}")
        self._stream.flush()
