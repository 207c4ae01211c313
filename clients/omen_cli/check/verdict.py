"""
What a check came to, in the words and codes of Nagios: what it measured, against which limits, and one line of it all.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import grpc

from omen_cli import exits
from omen_cli.output import Form, print_one
from omen_rpc.channel import ConnectionRefused
from omen_rpc.errors import CallError

OK, WARNING, CRITICAL, UNKNOWN = 0, 1, 2, 3
WORDS = ("OK", "WARNING", "CRITICAL", "UNKNOWN")
# A server that cannot do what is asked is what checks look for; a question that it refuses says nothing about it.
BROKEN = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.RESOURCE_EXHAUSTED}
BROKEN |= {grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.DATA_LOSS}


@dataclass(frozen=True, slots=True)
class Figure:
    """
    One thing that was measured. It warns and alarms from a limit on, or with *falling* from a limit down; None: never.
    """

    name: str
    value: float
    warn: float | None = None
    crit: float | None = None
    falling: bool = False

    @property
    def level(self) -> int:
        """
        What it comes to.
        """
        if self._beyond(self.crit):
            return CRITICAL
        return WARNING if self._beyond(self.warn) else OK

    def _beyond(self, limit: float | None) -> bool:
        if limit is None:
            return False
        return self.value <= limit if self.falling else self.value >= limit

    def __str__(self) -> str:
        limits = (
            f"{limit:g}{':' if self.falling else ''}" if limit is not None else "" for limit in (self.warn, self.crit)
        )
        return f"{self.name}={self.value:.6g};{';'.join(limits)}".rstrip(";")


@dataclass(slots=True)
class Verdict:
    """
    A check while it is made. *text* says what is so; troubles say what should not be.
    """

    text: str = ""
    figures: list[Figure] = field(default_factory=list)
    troubles: list[tuple[int, str]] = field(default_factory=list)

    def measure(self, figure: Figure, trouble: str) -> None:
        """
        Keep what was measured, and *trouble* when it is beyond a limit.
        """
        self.figures.append(figure)
        if figure.level:
            self.troubles.append((figure.level, trouble))

    def warn(self, trouble: str) -> None:
        """
        Keep something to look at.
        """
        self.troubles.append((WARNING, trouble))

    def alarm(self, trouble: str) -> None:
        """
        Keep something that is broken.
        """
        self.troubles.append((CRITICAL, trouble))

    @property
    def level(self) -> int:
        """
        The worst of it.
        """
        return max((level for level, _ in self.troubles), default=OK)


async def concluded(form: Form, name: str, checking: Callable[[Verdict], Awaitable[None]]) -> int:
    """
    Make a check, print its line, and return its code. A server that cannot be reached or fails is CRITICAL.
    """
    verdict = Verdict()
    level = OK
    try:
        await checking(verdict)
    except CallError as error:
        level = CRITICAL if error.code in BROKEN else UNKNOWN
        verdict.troubles.append((level, error.message))
    except (exits.Stopped, ConnectionRefused, OSError) as error:
        level = UNKNOWN
        verdict.troubles.append((level, str(error)))
    level = max(level, verdict.level)
    print_verdict(form, name, level, verdict)
    return level


def print_verdict(form: Form, name: str, level: int, verdict: Verdict) -> None:
    """
    Print a check's one line: what is worst first, then what was measured.
    """
    troubles = [text for _, text in sorted(verdict.troubles, key=lambda each: -each[0])]
    if form != "text":
        figures = [
            {"name": each.name, "value": each.value, "warn": each.warn, "crit": each.crit, "level": WORDS[each.level]}
            for each in verdict.figures
        ]
        row: dict[str, Any] = {"check": name, "status": WORDS[level], "code": level, "text": verdict.text}
        print_one(form, row | {"troubles": troubles, "figures": figures})
        return
    text = "; ".join(each.rstrip(".") for each in [*troubles, verdict.text] if each)
    print(f"OMEN {name.upper()} {WORDS[level]}: {text}{perfdata(verdict.figures)}")


def perfdata(figures: Sequence[Figure]) -> str:
    """
    Return what was measured as plugins print it.
    """
    return f" | {' '.join(str(each) for each in figures)}" if figures else ""


def check_limits(warn: float | None, crit: float | None, flag: str, *, falling: bool = False) -> None:
    """
    Raise Stopped when a warning would come after the alarm.
    """
    if warn is None or crit is None:
        return
    if (warn < crit) if falling else (warn > crit):
        text = f"--warn-{flag} {warn:g} would come after --crit-{flag} {crit:g}"
        raise exits.Stopped(exits.USAGE, "USAGE", text, "Swap them, or leave one out.")
