"""
One value inside an answer together with its place, so that whatever is wrong with it can be named.

Absent, null and blank are the same here: not said. What is said must have the right type; nothing is guessed.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from math import isfinite
from typing import Any, TypeVar

import orjson

from omen_server.pipeline.sources.moment import from_epoch, read_moment
from omen_server.pipeline.sources.source import SourceMalformed, SourceUnavailable

T = TypeVar("T")

BODY_BYTES_MAX = 16 << 20
ITEMS_MAX = 10_000
LINES_MAX = 100_000
LIST_ITEMS_MAX = 100
NAME_CHARS_MAX = 200
LINE_CHARS_MAX = 500
PROSE_CHARS_MAX = 10_000
LINK_CHARS_MAX = 2_000

_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,4})?", re.ASCII)
_BLANK = re.compile(r"[\s\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_WORDS = {"true": True, "false": False}


class Unfit(Exception):
    """
    An item that becomes no event: where, and why.
    """

    def __init__(self, place: str, problem: str) -> None:
        super().__init__(f"{place}: {problem}")
        self.place = place
        self.problem = problem


@dataclass(frozen=True, slots=True)
class Node:
    """
    A value and its place. Methods named `maybe_…` answer None or "" for what is not said; the others raise Unfit.
    """

    value: Any
    place: str

    def __getitem__(self, key: str) -> "Node":
        if not isinstance(self.value, dict):
            raise Unfit(self.place, "is no object")
        return Node(self.value.get(key), f"{self.place}.{key}" if self.place else key)

    def nodes(self) -> list["Node"]:
        """
        Return the items of a list; none when nothing is said.
        """
        if self.value is None:
            return []
        if not isinstance(self.value, list):
            raise Unfit(self.place, "is no list")
        return [Node(item, f"{self.place}[{at}]") for at, item in enumerate(self.value)]

    def said_nodes(self) -> list["Node"]:
        """
        Return the items of a list that must be there, even if it is empty.
        """
        if self.value is None:
            raise Unfit(self.place, "is missing")
        return self.nodes()

    def decoded(self) -> "Node":
        """
        Return the value itself, also where the source wrote JSON into a string.
        """
        if not isinstance(self.value, str):
            return self
        try:
            return Node(orjson.loads(self.value) if self.value.strip() else None, self.place)
        except orjson.JSONDecodeError:
            raise Unfit(self.place, "is no JSON in a string") from None

    def maybe_text(self, chars_max: int = LINE_CHARS_MAX) -> str:
        """
        Return text on one line, cut where it is longer; numbers become their digits.
        """
        if self.value is None:
            return ""
        if isinstance(self.value, int) and not isinstance(self.value, bool):
            return str(self.value)
        if not isinstance(self.value, str):
            raise Unfit(self.place, "is no text")
        return line(self.value, chars_max)

    def text(self, chars_max: int = LINE_CHARS_MAX) -> str:
        """
        Return text that must be there.
        """
        return self._said(self.maybe_text(chars_max))

    def name(self) -> str:
        """
        Return an identifier: it must be there, and is never cut.
        """
        text = self._said(self.maybe_text(NAME_CHARS_MAX + 1))
        if len(text) > NAME_CHARS_MAX:
            raise Unfit(self.place, f"is longer than {NAME_CHARS_MAX} characters")
        return text

    def maybe_link(self) -> str:
        """
        Return a web address; what is none, or too long to be kept whole, is not said.
        """
        text = self.maybe_text(LINK_CHARS_MAX + 1)
        return text if text.startswith(("http://", "https://")) and len(text) <= LINK_CHARS_MAX else ""

    def maybe_prose(self) -> str:
        """
        Return text of several lines.
        """
        if self.value is None:
            return ""
        if not isinstance(self.value, str):
            raise Unfit(self.place, "is no text")
        return prose(self.value)

    def maybe_texts(self) -> list[str]:
        """
        Return the first hundred texts of a list.
        """
        texts = (node.maybe_text(NAME_CHARS_MAX) for node in self.nodes()[:LIST_ITEMS_MAX])
        return [text for text in texts if text]

    def maybe_number(self) -> float | None:
        """
        Return a finite number, also one written as text.
        """
        value = self.value
        if isinstance(value, str):
            value = value.strip()
            if not value:
                return None
            if not _NUMBER.fullmatch(value):
                raise Unfit(self.place, "is no number")
            value = float(value)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise Unfit(self.place, "is no number")
        if not isfinite(value):
            raise Unfit(self.place, "is no finite number")
        return float(value) + 0.0  # Adding turns -0.0 into 0.0.

    def number(self) -> float:
        """
        Return a number that must be there.
        """
        number = self.maybe_number()
        if number is None:
            raise Unfit(self.place, "is missing")
        return number

    def maybe_count(self) -> int | None:
        """
        Return a whole number from 0 to 2^32-1.
        """
        number = self.maybe_number()
        if number is None:
            return None
        if not (0 <= number < 1 << 32 and number.is_integer()):
            raise Unfit(self.place, "is no count")
        return int(number)

    def maybe_flag(self) -> bool | None:
        """
        Return true or false, also where they are written as text.
        """
        value = self.value
        if isinstance(value, str):
            value = _WORDS.get(value.strip().lower(), value) if value.strip() else None
        if value is None or isinstance(value, bool):
            return value
        raise Unfit(self.place, "is neither true nor false")

    def maybe_moment(self) -> datetime | None:
        """
        Return a moment written as text; without a zone it is UTC.
        """
        text = self.maybe_text()
        return self.read(lambda: read_moment(text)[0]) if text else None

    def moment(self) -> datetime:
        """
        Return a moment that must be there.
        """
        moment = self.maybe_moment()
        if moment is None:
            raise Unfit(self.place, "is missing")
        return moment

    def maybe_moment_ms(self) -> datetime | None:
        """
        Return a moment given as milliseconds since 1970.
        """
        number = self.maybe_number()
        return None if number is None else self.read(lambda: from_epoch(number / 1000))

    def read(self, how: Callable[[], T]) -> T:
        """
        Return what *how* returns; its ValueError becomes Unfit at this place.
        """
        try:
            return how()
        except ValueError as error:
            raise Unfit(self.place, str(error)) from None

    def _said(self, text: str) -> str:
        if not text:
            raise Unfit(self.place, "is missing")
        return text


@contextmanager
def whole(source: str) -> Iterator[None]:
    """
    Read what holds the items of an answer: where that is unfit, the whole answer is.
    """
    try:
        yield
    except Unfit as unfit:
        raise SourceMalformed(source, unfit.place, unfit.problem) from None


def line(text: str, chars_max: int = LINE_CHARS_MAX) -> str:
    """
    Return *text* on one line without control characters; where it is too long, cut and marked as cut.
    """
    text = _BLANK.sub(" ", text[: chars_max * 4]).strip()
    return text if len(text) <= chars_max else text[: chars_max - 1] + "…"


def prose(text: str) -> str:
    """
    Return *text* with its lines but without other control characters; where it is too long, cut and marked as cut.
    """
    text = _CONTROL.sub("", text.replace("\r\n", "\n")).strip()
    return text if len(text) <= PROSE_CHARS_MAX else text[: PROSE_CHARS_MAX - 1] + "…"


def read_json(source: str, body: bytes) -> Node:
    """
    Read an answer of *source* that must be JSON. NaN and Infinity are no JSON, and refused.
    """
    check_body(source, body)
    try:
        return Node(orjson.loads(body.removeprefix(b"\xef\xbb\xbf")), "")
    except orjson.JSONDecodeError as error:
        raise SourceMalformed(source, f"byte {error.pos}", "is no JSON") from None


def check_body(source: str, body: bytes) -> None:
    """
    Refuse an answer that says nothing, or too much.
    """
    if len(body) > BODY_BYTES_MAX:
        raise SourceMalformed(source, "", f"the answer has {len(body)} bytes, {BODY_BYTES_MAX} at most")
    if not body.strip():
        raise SourceUnavailable(source, "", "the answer is empty")


def read_lines(source: str, body: bytes) -> list[tuple[int, bytes]]:
    """
    Return the lines that say something, each with its number; SourceMalformed when they are too many.
    """
    check_body(source, body)
    if body.count(b"\n") + (not body.endswith(b"\n")) > LINES_MAX:
        raise SourceMalformed(source, f"line {LINES_MAX + 1}", f"there are more than {LINES_MAX} lines")
    return [(at, row.strip(b"\r")) for at, row in enumerate(body.split(b"\n"), 1) if row.strip()]


def without_blanks(values: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """
    Return what was said of *values*.
    """
    return {key: value for key, value in values if value is not None and value not in ("", [], {})}
