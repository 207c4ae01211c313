"""
The values inside a record's JSON, each checked on its way in and written one way only.
"""

from math import isfinite
from typing import Any, Final

import orjson

from omen_rpc.rfc3339 import read_time, write_time

UNKNOWN_DEPTH_MAX: Final = 32
UINT64_MAX: Final = (1 << 64) - 1

# A reader returns what it accepts as the field's value and what is left for `unrecognised_json`; None means nothing.


class CodecError(ValueError):
    """
    A record or a message that breaks the format: where, as a path of JSON keys, and how.
    """

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(f"{path}: {problem}" if path else problem)
        self.path = path
        self.problem = problem

    def under(self, key: str | int) -> "CodecError":
        """
        Return the same error as seen from one level further out.
        """
        here = f"[{key}]" if isinstance(key, int) else key
        between = "." if self.path and not self.path.startswith("[") else ""
        return CodecError(f"{here}{between}{self.path}", self.problem)


def write_double(value: float) -> Any:
    """
    Return what orjson must be given to write the double as Python's repr does, `-0.0` as `0.0`.
    """
    # Inside this range every JSON writer prints the same shortest digits. Outside it orjson's own releases differ
    # (1e16, 1e+16), and a digest must not depend on them: there Python's repr decides.
    if 1e-4 <= value < 1e16 or -1e16 < value <= -1e-4:
        return value
    if value == 0:
        return 0.0
    if not isfinite(value):
        raise CodecError("", f"{value} is not a number of JSON")
    return orjson.Fragment(repr(value))


def write_timestamp(value: Any) -> str:
    """
    Return a Timestamp as text.
    """
    try:
        return write_time(value.seconds, value.nanos)
    except ValueError as error:
        raise CodecError("", str(error)) from None


def canonical(value: Any, depth: int) -> Any:
    """
    Return a parsed value of an unknown key as it is written: object keys sorted, doubles as everywhere.
    """
    if type(value) is float:
        return write_double(value)
    if type(value) is not dict and type(value) is not list:
        return value
    if depth > UNKNOWN_DEPTH_MAX:
        raise CodecError("", f"nested deeper than {UNKNOWN_DEPTH_MAX}")
    if type(value) is list:
        return [canonical(item, depth + 1) for item in value]
    return {key: canonical(value[key], depth + 1) for key in sorted(value)}


def read_string(value: Any) -> tuple[str, None]:
    """
    Accept text.
    """
    if type(value) is not str:
        raise wrong_type("a string", value)
    return value, None


def read_bool(value: Any) -> tuple[bool, None]:
    """
    Accept true or false.
    """
    if type(value) is not bool:
        raise wrong_type("true or false", value)
    return value, None


def read_double(value: Any) -> tuple[float, None]:
    """
    Accept any number.
    """
    if type(value) is not float and type(value) is not int:
        raise wrong_type("a number", value)
    return float(value) + 0.0, None  # Adding turns -0.0 into 0.0, which is how it would be written.


def read_uint64(value: Any) -> tuple[int, None]:
    """
    Accept an integer, or its digits as a string: so protobuf's own JSON writes those of 64 bits.
    """
    number = int(value) if type(value) is str and value.isascii() and value.isdigit() and len(value) <= 20 else value
    if type(number) is not int or not 0 <= number <= UINT64_MAX:
        raise wrong_type("an integer from 0 to 2^64-1", value)
    return number, None


def read_int32(value: Any) -> tuple[int, None]:
    """
    Accept an integer of 32 bits.
    """
    if type(value) is not int or not -(1 << 31) <= value < 1 << 31:
        raise wrong_type("a 32-bit integer", value)
    return value, None


def read_timestamp(value: Any) -> tuple[dict[str, int], None]:
    """
    Accept a time with ``Z`` or an offset, as a Timestamp's fields.
    """
    if type(value) is not str:
        raise wrong_type("a time", value)
    try:
        seconds, nanos = read_time(value)
    except ValueError as error:
        raise CodecError("", f"{error}: {value[:64]!r}") from None
    return {"seconds": seconds, "nanos": nanos}, None


def wrong_type(expected: str, value: Any) -> CodecError:
    """
    Return the error that shows what was found where something else belongs.
    """
    return CodecError("", f"expected {expected}, got {orjson.dumps(value).decode()[:64]}")
