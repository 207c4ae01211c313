"""
What a verb reads: a line of JSON for each thing, from a file or from stdin.
"""

from collections.abc import AsyncIterator, Callable
from typing import Any, TypeVar

import orjson
from google.protobuf import json_format
from google.protobuf.message import Message

from omen.v1.signal_pb2 import RawSignalEvent, SignalEvent
from omen.v1.signal_service_pb2 import EmitSignalItem
from omen_cli import exits
from omen_cli.signals.reading import chunks
from omen_rpc.signal_codec import CodecError, decode_json

Item = TypeVar("Item", bound=Message)
LINE_BYTES_MAX = 1 << 20
BATCH_BYTES_MAX = 600 << 10


class NotRead(Exception):
    """
    A line that is not what was expected; the text says why.
    """


async def items(place: str, read: Callable[[Any], Item]) -> AsyncIterator[Item]:
    """
    Yield what each line of a file says; Stopped names the line that says nothing sensible.
    """
    async for number, line in lines(chunks(place)):
        try:
            yield read(orjson.loads(line))
        except (orjson.JSONDecodeError, NotRead) as error:
            raise exits.Stopped(
                exits.USAGE, "USAGE", f"{place}, line {number}: {error}", "Give a line of JSON for each."
            ) from None


async def lines(found: AsyncIterator[bytes]) -> AsyncIterator[tuple[int, bytes]]:
    """
    Yield the lines that are not empty, each at most 1 MiB, with their numbers.
    """
    number, rest = 0, b""
    async for chunk in found:
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            number += 1
            check(number, line)
            if line.strip():
                yield number, line
        check(number + 1, rest)
    if rest.strip():
        yield number + 1, rest


def check(number: int, line: bytes) -> None:
    """
    Raise Stopped for a line that is too long, also for one that has not ended yet.
    """
    if len(line) > LINE_BYTES_MAX:
        text = f"Line {number} is longer than {LINE_BYTES_MAX} bytes."
        raise exits.Stopped(exits.USAGE, "USAGE", text, "Give a line for each signal.")


async def given(*found: Item) -> AsyncIterator[Item]:
    """
    Yield what is there already.
    """
    for each in found:
        yield each


async def batches(found: AsyncIterator[Item], count_max: int) -> AsyncIterator[list[Item]]:
    """
    Yield as many together as one call may carry.
    """
    batch: list[Item] = []
    size = 0
    async for item in found:
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
