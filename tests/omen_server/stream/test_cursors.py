"""
Cursors that are no longer good, or never were: refused, with one that is good, and never a silent skip.
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import timedelta
from pathlib import Path

import grpc
import pytest

from omen_rpc.errors import CallError
from omen_server.ledger.backup import restore
from omen_server.ledger.durable import Disk
from omen_server.ledger.entry import Entry
from omen_server.stream.cursor import read_cursor
from tests.hosting import refusal
from tests.ledgers import DAY, NOON, TOMORROW, Clock, entries, flip, payload_byte
from tests.omen_server.stream.streaming import Streaming, streaming
from tests.omen_server.test_tail import Nonsense


async def refused(at: Streaming, cursor: str) -> CallError:
    """
    Return the error with which a cursor is refused.
    """
    return await refusal(anext(at.subscribe(after_cursor=cursor).call.__aiter__()))


async def invalid(at: Streaming, cursor: str, why: str) -> str:
    """
    Require that a cursor is refused as invalid, and return the earliest one that is named instead.
    """
    error = await refused(at, cursor)
    assert (error.code, error.reason) == (grpc.StatusCode.OUT_OF_RANGE, "CURSOR_INVALID")
    assert why in error.message
    return error.metadata["earliest_cursor"]


async def cursor_at(at: Streaming, offset: int) -> str:
    """
    Return the cursor behind an offset, as a stream gives it.
    """
    subscription = await at.subscribe(from_beginning=True, max_batch=1).through(offset)
    subscription.cancel()
    return next(frame.cursor for frame in subscription.frames if frame.batch.events[:1] and last_of(frame) == offset)


def last_of(frame: object) -> int:
    """
    Return the last offset in a frame of signals.
    """
    return int(frame.batch.events[-1].ledger_offset)  # type: ignore[attr-defined]


def changed(cursor: str, at: int, difference: int) -> str:
    """
    Return a cursor with one byte changed, whatever it was.
    """
    raw = bytearray(urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    raw[at] ^= difference
    return urlsafe_b64encode(bytes(raw)).rstrip(b"=").decode()


@pytest.mark.parametrize("cursor", ["", "x", "ü", "A" * 39, "A" * 300, "AQ==", "not a cursor"])
async def test_nonsense_does_not_decode(tmp_path: Path, cursor: str) -> None:
    """
    What never was a cursor is CURSOR_MALFORMED.
    """
    async with streaming(tmp_path) as at:
        error = await refused(at, cursor)
        assert (error.code, error.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "CURSOR_MALFORMED")


async def test_tampering_is_found(tmp_path: Path) -> None:
    """
    A cursor with any byte changed, or with its padding put back, is refused.
    """
    async with streaming(tmp_path) as at:
        await at.append(range(300))
        cursor = await cursor_at(at, 200)
        size = len(urlsafe_b64decode(cursor + "="))
        for place in range(size):
            error = await refused(at, changed(cursor, place, 0x5A))
            assert error.reason == ("CURSOR_INVALID" if place else "CURSOR_MALFORMED")
        assert (await refused(at, cursor + "=")).reason == "CURSOR_MALFORMED"


async def test_before_the_first_record(tmp_path: Path) -> None:
    """
    The cursor before the first record has no CRC, and one that has is none of ours.
    """
    async with streaming(tmp_path) as at:
        start = (await at.subscribe().kind("started")).cursor
        await at.append(range(3))
        assert (await at.subscribe(after_cursor=start).through(3)).offsets == [1, 2, 3]
        assert (await refused(at, changed(start, 28, 0x5A))).reason == "CURSOR_INVALID"


async def test_beyond_the_end(tmp_path: Path) -> None:
    """
    A cursor of offsets that a ledger has not given yet is refused, also when they lie just behind its end.
    """
    async with streaming(tmp_path) as at:
        await at.append(range(5))
        cursor = await cursor_at(at, 5)
        earliest = await invalid(at, changed(cursor, 24, 5 ^ 6), "beyond the end")
        assert (await at.subscribe(after_cursor=earliest).through(5)).offsets == [1, 2, 3, 4, 5]


async def test_other_ledger(tmp_path: Path) -> None:
    """
    A cursor of one ledger is refused by another.
    """
    async with streaming(tmp_path / "a") as at, streaming(tmp_path / "b") as other:
        await at.append(range(5))
        await other.append(range(5))
        await invalid(other, await cursor_at(at, 3), "another ledger")


async def test_restored_ledger(tmp_path: Path) -> None:
    """
    A cursor from before a restore is refused, although its record may lie where it was; the earliest one works.
    """
    async with streaming(tmp_path / "live") as at:
        await at.append(range(5))
        cursor = await cursor_at(at, 3)
        await at.ledger.back_up(tmp_path / "backup")
    restore(Disk(), str(tmp_path / "backup"), str(tmp_path / "restored"), Clock())
    async with streaming(tmp_path / "restored") as at:
        earliest = await invalid(at, cursor, "restore")
        assert (await at.subscribe(after_cursor=earliest).through(5)).offsets == [1, 2, 3, 4, 5]


async def test_position_that_was_lost_since(tmp_path: Path) -> None:
    """
    A cursor whose record has become a gap is good: what follows is known. A gap's own cursor is good as well.
    """
    async with streaming(tmp_path) as at:
        await at.append(range(5))
        cursor = await cursor_at(at, 3)
    path = tmp_path / DAY / "signals-001.wal"
    flip(path, payload_byte(path, 2))
    async with streaming(tmp_path) as at:
        assert (await at.subscribe(after_cursor=cursor).through(5)).offsets == [4, 5]
        gap = await at.subscribe(from_beginning=True).kind("gap")
        assert read_cursor(gap.cursor).crc == 0
        assert (await at.subscribe(after_cursor=gap.cursor).through(5)).offsets == [4, 5]


async def test_record_that_is_no_signal(tmp_path: Path) -> None:
    """
    A whole frame that holds no signal is a gap, live as well as from the ledger, and one can go on behind it.
    """
    async with streaming(tmp_path) as at:
        live = at.subscribe()
        await live.kind("caught_up")
        await at.ledger.append([Entry(NOON, Nonsense())])
        await at.append([2])
        for subscription in (live, at.subscribe(from_beginning=True)):
            gap = await subscription.kind("gap")
            assert (await at.subscribe(after_cursor=gap.cursor).through(2)).offsets == [2]


async def test_older_than_what_is_retained(tmp_path: Path) -> None:
    """
    Once retention has deleted a partition, cursors inside of it are refused, and the beginning is behind it.
    """
    clock = Clock()
    async with streaming(tmp_path, now=clock, retention_days=30.0) as at:
        await at.append(range(10))
        inside, end = await cursor_at(at, 4), await cursor_at(at, 10)
        clock.now = TOMORROW
        await at.ledger.append(entries(range(10, 20), TOMORROW))
        await at.ledger.seal(DAY, force=True)
        await at.ledger.confirm_reconciled(DAY, 10)
        clock.now += timedelta(days=40)
        await at.ledger.run_lifecycle(dry_run=False)
        earliest = await invalid(at, inside, "older than what the ledger still has")
        for start in ({"from_beginning": True}, {"after_cursor": earliest}, {"after_cursor": end}):
            subscription = at.subscribe(**start)
            await subscription.kind("caught_up")
            assert subscription.offsets == list(range(11, 21))
            assert "gap" not in subscription.kinds
