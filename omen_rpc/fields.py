"""
Checks of a request's fields: all that is wrong is told at once, by path, before anything is done.
"""

import re
from datetime import date
from typing import Final

from google.protobuf.message import Message

from omen_rpc.errors import VIOLATIONS_MAX, Violation, invalid_fields

SIGNAL_ID: Final = re.compile(r"OMEN-[A-Z0-9]{4,32}", re.ASCII)
PARTITION: Final = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2})(-late)?", re.ASCII)


class Fields:
    """
    The violations found in one request so far.
    """

    def __init__(self, request: Message) -> None:
        self._request = request
        self._violations: list[Violation] = []

    def require(self, holds: bool, path: str, description: str) -> bool:
        """
        Note *description* against *path* unless it *holds*, and return whether it does.
        """
        if not holds and len(self._violations) < VIOLATIONS_MAX:
            self._violations.append(Violation(path, description))
        return holds

    def check(self) -> None:
        """
        Raise INVALID_FIELDS when anything was found.
        """
        if self._violations:
            raise invalid_fields(self._violations)

    def partition(self, path: str = "partition") -> None:
        """
        Require a partition's name: a real date, perhaps with `-late`. Nothing else ever becomes part of a path.
        """
        text: str = getattr(self._request, path)
        self.require(is_partition(text), path, "must be a date, YYYY-MM-DD, with -late for late arrivals")

    def signal_id(self, path: str = "signal_id") -> None:
        """
        Require a signal's id.
        """
        text: str = getattr(self._request, path)
        self.require(SIGNAL_ID.fullmatch(text) is not None, path, "must be OMEN- and 4 to 32 of A to Z and 0 to 9")

    def text(self, path: str, characters_max: int) -> None:
        """
        Require a text that is there, not too long, and holds nothing that does not print.
        """
        text: str = getattr(self._request, path)
        if self.require(0 < len(text) <= characters_max, path, f"must have 1 to {characters_max} characters"):
            self.require(text.isprintable(), path, "must hold no control characters")

    def number(self, path: str, least: int, most: int) -> None:
        """
        Require a number from *least* to *most*.
        """
        value: int = getattr(self._request, path)
        self.require(least <= value <= most, path, f"must be {least} to {most}, not {value}")

    def enum(self, path: str) -> None:
        """
        Require a value of the field's enum that this server knows.
        """
        value: int = getattr(self._request, path)
        kind = self._request.DESCRIPTOR.fields_by_name[path].enum_type
        self.require(
            kind is not None and value in kind.values_by_number, path, f"{value} is no value that this server knows"
        )

    def ascending(self, path: str, count_max: int) -> None:
        """
        Require at most *count_max* positions, from 1, each above the one before. They are counted before a look.
        """
        values = getattr(self._request, path)
        if not self.require(len(values) <= count_max, path, f"holds {len(values)}; at most {count_max} may be"):
            return
        last = 0
        for at, value in enumerate(values):
            if not self.require(value > last, f"{path}[{at}]", f"must be above {last}, not {value}"):
                return
            last = value


def is_partition(text: str) -> bool:
    """
    Tell whether *text* names a partition: a date that there is, perhaps with -late.
    """
    found = PARTITION.fullmatch(text)
    if found is None:
        return False
    try:
        date.fromisoformat(found[1])
    except ValueError:
        return False
    return True
