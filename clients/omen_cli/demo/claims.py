"""
What a demonstration claims, what was seen of it, and which test holds it when nobody is watching.
"""

import json
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from omen_cli.exits import Stopped
from omen_cli.output import Form
from omen_rpc.errors import CallError
from omen_server.ledger.errors import LedgerError

WIDTH = 112


@dataclass(frozen=True, slots=True)
class Claim:
    """
    A promise in one sentence, under a name that stays, with the test that proves it.
    """

    name: str
    says: str
    proof: str


class Broken(Exception):
    """
    A claim that does not hold.
    """

    def __init__(self, claim: Claim, why: str) -> None:
        super().__init__(f"{claim.name}: {claim.says} This does not hold: {why}")
        self.claim = claim
        self.why = why


@dataclass(slots=True)
class Step:
    """
    One claim being put to the test. `measured` is what may differ from run to run; all the rest may not.
    """

    claim: Claim
    seen: dict[str, Any] = field(default_factory=dict)
    measured: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def saw(self, name: str, found: Any, wanted: Any) -> None:
        """
        Keep what was found; Broken unless it is what was wanted.
        """
        self.seen[name] = found
        self.holds(found == wanted, f"{_named(name)} is {found!r}, not {wanted!r}")

    def holds(self, condition: bool, otherwise: str) -> None:
        """
        Raise Broken, saying *otherwise*, unless the condition is met.
        """
        if not condition:
            raise Broken(self.claim, otherwise)


@dataclass(slots=True)
class Show:
    """
    Tells each claim as soon as it was put to the test.
    """

    form: Form
    rows: list[dict[str, Any]] = field(default_factory=list)

    def headline(self, *lines: str) -> None:
        """
        Say what is going on, to people only.
        """
        if self.form == "text":
            for line in lines:
                print(line, flush=True)

    @contextmanager
    def step(self, claim: Claim) -> Iterator[Step]:
        """
        Put a claim to the test in the block. Whatever goes wrong there breaks it: a promise nobody could see is none.
        """
        step, began_s = Step(claim), time.monotonic()
        try:
            yield step
        except Broken as error:
            self._tell(step, began_s, error.why)
            raise
        except (CallError, Stopped, LedgerError, OSError, TimeoutError) as error:
            why = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
            self._tell(step, began_s, why)
            raise Broken(claim, why) from error
        self._tell(step, began_s, "")

    def end(self, seed: int) -> None:
        """
        Say what it all comes to.
        """
        held = sum(row["held"] for row in self.rows)
        seconds = round(sum(row["measured"]["seconds"] for row in self.rows), 3)
        if self.form == "json":
            whole = {"held": held == len(self.rows), "seed": seed, "steps": self.rows, "measured": {"seconds": seconds}}
            print(json.dumps(whole, ensure_ascii=False))
        elif self.form == "text":
            print(f"\n{held} of {len(self.rows)} claims held, in {seconds:.1f} s. `omen demo --story` has the words.")

    def _tell(self, step: Step, began_s: float, why: str) -> None:
        row = {
            "claim": step.claim.name,
            "says": step.claim.says,
            "held": not why,
            "seen": step.seen,
            "notes": step.notes,
            "proof": step.claim.proof,
            "measured": step.measured | {"seconds": round(time.monotonic() - began_s, 3)},
        }
        if why:
            row["why"] = why
        self.rows.append(row)
        if self.form == "jsonl":
            print(json.dumps(row, ensure_ascii=False), flush=True)
        elif self.form == "text":
            print(_in_words(len(self.rows), row), flush=True)


def _in_words(number: int, row: dict[str, Any]) -> str:
    mark = "✓" if row["held"] else "✗"
    told, measured = _listed(row["seen"]), _listed(row["measured"])
    lines = [f"\n{number:>2} {mark} {row['claim']}: {row['says']}"]
    for text in (*row["notes"], f"seen: {told}" if told else "", f"this time: {measured}"):
        lines += textwrap.wrap(text, WIDTH, initial_indent="     ", subsequent_indent="       ")
    if not row["held"]:
        lines.append(f"     DOES NOT HOLD: {row['why']}")
    lines.append(f"     proof: {row['proof']}")
    return "\n".join(lines)


def _listed(found: dict[str, Any]) -> str:
    return " · ".join(f"{_named(name)} {_shown(value)}" for name, value in found.items())


def _named(name: str) -> str:
    # What begins with _ is a file's name, and stays it.
    return name if name.startswith("_") else name.replace("_", " ")


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list) and len(value) > 1 and len(set(map(str, value))) == 1:
        return f"{len(value)} {_shown(value[0])}"
    if isinstance(value, list):
        return ", ".join(map(_shown, value)) or "none"
    return f"{value:,}" if isinstance(value, int) and abs(value) < 1 << 31 else str(value)
