"""
An iterator cut into batches, so that whoever reads holds no more than one.
"""

from collections.abc import Callable, Iterator
from typing import TypeVar

from .segment import Record

Item = TypeVar("Item")


def first_batch(
    begin: Callable[[], Iterator[Item]], records_max: int, bytes_max: int
) -> tuple[Iterator[Item], list[Item], bool]:
    """
    Begin to iterate; return the iterator, the first items, and whether there may be more behind them.
    """
    items = begin()
    return items, *next_batch(items, records_max, bytes_max)


def next_batch(items: Iterator[Item], records_max: int, bytes_max: int) -> tuple[list[Item], bool]:
    """
    Return the next items, and whether there may be more behind them.
    """
    batch: list[Item] = []
    size = 0
    for item in items:
        batch.append(item)
        size += len(item.payload) if isinstance(item, Record) else 0
        if len(batch) >= records_max or size >= bytes_max:
            return batch, True
    return batch, False
