"""
What a subscriber may ask for, and that it gets just that, from the ledger and live.
"""

from pathlib import Path
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from omen.v1.signal_pb2 import SIGNAL_CATEGORY_LABOR
from omen.v1.signal_service_pb2 import SignalFilter
from omen_rpc.signal_codec import PayloadKind
from tests.hosting import refusal
from tests.ledgers import DAY, TOMORROW, Clock, entries
from tests.omen_server.stream.streaming import streaming

FILTERS: list[tuple[dict[str, Any], list[int]]] = [
    ({}, [1, 2, 3, 4, 5, 6]),
    ({"categories": [2]}, [1, 2]),
    ({"categories": [2, 4]}, [1, 2, 3, 4]),
    ({"categories": [99]}, [5]),
    ({"categories": [0]}, [6]),
    ({"min_confidence_score": 0.0}, [1, 2, 3, 4, 5, 6]),
    ({"min_confidence_score": 0.5}, [2, 3]),
    ({"min_confidence_score": 0.9, "categories": [2]}, []),
    ({"partitions": [DAY]}, [1, 2, 3, 4, 5, 6]),
    ({"partitions": ["2020-01-01"]}, []),
]


@pytest.mark.parametrize("kind", ["json", "protobuf"])
@pytest.mark.parametrize(("asked", "wanted"), FILTERS)
async def test_only_what_is_wanted(tmp_path: Path, kind: PayloadKind, asked: dict[str, Any], wanted: list[int]) -> None:
    """
    Categories, those of a newer version too, partitions and scores choose alike live and from the ledger.
    """
    chosen = SignalFilter(**asked)
    async with streaming(tmp_path) as at:
        live = at.subscribe(filter=chosen)
        await live.kind("caught_up")
        for number, (category, score) in enumerate([(2, 0.1), (2, 0.5), (4, 0.9), (4, None), (99, None), (0, None)]):
            await at.append([number], kind, category=category, score=score)
        if wanted:
            await live.through(wanted[-1])
        assert live.offsets == wanted
    async with streaming(tmp_path) as at:
        cold = at.subscribe(filter=chosen, from_beginning=True)
        await cold.kind("caught_up")
        assert cold.offsets == wanted


async def test_several_partitions(tmp_path: Path) -> None:
    """
    Of several partitions only the wanted one is sent, and the cursor goes past the others.
    """
    clock = Clock(TOMORROW)
    async with streaming(tmp_path, now=clock) as at:
        for number in range(6):
            await at.ledger.append(entries([number], TOMORROW))
            await at.append([number + 6])
        some = at.subscribe(filter=SignalFilter(partitions=[DAY]), from_beginning=True)
        caught_up = await some.kind("caught_up")
        assert some.offsets == [2, 4, 6, 8, 10, 12]
        rest = at.subscribe(after_cursor=caught_up.cursor)
        await rest.kind("caught_up")
        assert rest.offsets == []


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"max_batch": 501}, "max_batch"),
    ({"heartbeat_interval": Duration()}, "heartbeat_interval"),
    ({"heartbeat_interval": Duration(seconds=61)}, "heartbeat_interval"),
    ({"heartbeat_interval": Duration(seconds=2, nanos=-1)}, "heartbeat_interval"),
    ({"since": Timestamp(seconds=1 << 40)}, "since"),
    ({"from_beginning": False}, "from_beginning"),
    ({"filter": SignalFilter(partitions=[DAY, "../etc"])}, "filter.partitions[1]"),
    ({"filter": SignalFilter(partitions=[DAY] * 101)}, "filter.partitions"),
    ({"filter": SignalFilter(categories=[SIGNAL_CATEGORY_LABOR] * 101)}, "filter.categories"),
    ({"filter": SignalFilter(min_confidence_score=1.5)}, "filter.min_confidence_score"),
    ({"filter": SignalFilter(min_confidence_score=float("nan"))}, "filter.min_confidence_score"),
]


@pytest.mark.parametrize(("asked", "path"), REFUSED)
async def test_wrong_fields_are_named(tmp_path: Path, asked: dict[str, Any], path: str) -> None:
    """
    A field that breaks its rule is named by its path before anything is sent.
    """
    async with streaming(tmp_path) as at:
        error = await refusal(anext(at.subscribe(**asked).call.__aiter__()))
        assert error.reason == "INVALID_FIELDS"
        assert [each.field for each in error.violations] == [path]
