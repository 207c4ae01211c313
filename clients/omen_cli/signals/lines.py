"""
What a verb reads: a line of JSON for each thing, from a file or from stdin.
"""

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import orjson
from google.protobuf import json_format
from google.protobuf.message import Message

from omen.v1.signal_pb2 import RawSignalEvent, SignalEvent
from omen.v1.signal_service_pb2 import EmitSignalItem
from omen_cli import exits
from omen_cli.terminable import at_once
from omen_rpc.signal_codec import CodecError, decode_json

Item = TypeVar("Item", bound=Message)
LINE_BYTES_MAX = 1 << 20
BATCH_BYTES_MAX = 600 << 10
STDIN = "-"
AT_ONCE = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: at_once}


class NotRead(Exception):
    """
    A line that is not what was expected; the text says why.
    """


def items(place: str, read: Callable[[Any], Item]) -> Iterator[Item]:
    """
    Yield what each line of a file says; Stopped names the line that says nothing sensible.
    """
    with ExitStack() as stack:
        for number, line in lines(opened(place, stack)):
            try:
                yield read(orjson.loads(line))
            except (orjson.JSONDecodeError, NotRead) as error:
                raise exits.Stopped(
                    exits.USAGE, "USAGE", f"{place}, line {number}: {error}", "Give a line of JSON for each."
                ) from None


def opened(place: str, stack: ExitStack) -> BinaryIO:
    """
    Open a file, or stdin for a hyphen.
    """
    if place == STDIN:
        if sys.stdin is None:
            raise exits.Stopped(exits.USAGE, "USAGE", "stdin is closed", "Give a file, or something on stdin.")
        return sys.stdin.buffer
    try:
        return stack.enter_context(Path(place).open("rb"))
    except OSError as error:
        raise exits.Stopped(
            exits.USAGE, "USAGE", f"{place}: {error.strerror}", "Give a file that can be read, or - for stdin."
        ) from None


def lines(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """
    Yield the lines that are not empty, each at most 1 MiB, with their numbers.
    """
    number = 0
    while line := waited_for(file):
        number += 1
        if len(line) > LINE_BYTES_MAX:
            text = f"Line {number} is longer than {LINE_BYTES_MAX} bytes."
            raise exits.Stopped(exits.USAGE, "USAGE", text, "Give a line for each signal.")
        if line.strip():
            yield number, line


def waited_for(file: BinaryIO) -> bytes:
    """
    Return the next line. Ctrl-C and SIGTERM end the wait for it at once; a verb's own handlers would only note them.
    """
    before = [(number, signal.signal(number, handler)) for number, handler in AT_ONCE.items()]
    try:
        return file.readline(LINE_BYTES_MAX + 1)
    finally:
        for number, handler in before:
            signal.signal(number, handler)


def batches(found: Iterator[Item], count_max: int) -> Iterator[list[Item]]:
    """
    Yield as many together as one call may carry.
    """
    batch: list[Item] = []
    size = 0
    for item in found:
        if batch and (len(batch) >= count_max or size + item.ByteSize() > BATCH_BYTES_MAX):
            yield batch
            batch, size = [], 0
        batch.append(item)
        size += item.ByteSize()
    if batch:
        yield batch


def raw_event(value: Any) -> RawSignalEvent:
    """
    Return the raw event in a JSON object; its keys are the fields' names.
    """
    if not isinstance(value, dict):
        raise NotRead("a raw event is an object")
    try:
        return json_format.ParseDict(value, RawSignalEvent())
    except json_format.ParseError as error:
        raise NotRead(str(error)) from None


def signal_event(value: Any) -> SignalEvent:
    """
    Return the signal event in a JSON object: as the ledger has it, as RiskCast tells of it, or only the signal inside.
    """
    if isinstance(value, dict) and isinstance(value.get("event"), dict):
        value = value["event"]
    if not isinstance(value, dict):
        raise NotRead("a signal is an object")
    try:
        event = decode_json(orjson.dumps(value if "signal" in value else {"signal": value}))
    except CodecError as error:
        raise NotRead(str(error)) from None
    event.signal_id = event.signal_id or event.signal.signal_id
    return event


def ready_signal(value: Any) -> EmitSignalItem:
    """
    Return the signal in a JSON object, as EmitSignal takes it.
    """
    event = signal_event(value)
    item = EmitSignalItem(signal=event.signal, input_event_hash=event.input_event_hash)
    for name in ("observed_at", "emitted_at"):
        if event.HasField(name):
            getattr(item, name).CopyFrom(getattr(event, name))
    if event.signal_id and not item.signal.signal_id:
        item.signal.signal_id = event.signal_id
    return item
