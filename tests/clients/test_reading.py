"""
What a verb reads: lines however they come, and nothing without an end.
"""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from omen_cli import exits
from omen_cli.signals.answers import BODY_BYTES_MAX
from omen_cli.signals.lines import LINE_BYTES_MAX, lines
from omen_cli.signals.reading import CHUNK_BYTES, chunks
from tests.clients.command import inside, omen

TEXT = b"one\n\n  \ntwo two\nthree"


async def come(*pieces: bytes) -> AsyncIterator[bytes]:
    """
    Yield pieces, as a pipe brings them.
    """
    for piece in pieces:
        yield piece


@pytest.mark.parametrize("size", [1, 2, 5, len(TEXT)])
async def test_lines_are_whole_however_they_come(size: int) -> None:
    """
    Wherever the pieces are cut, each line comes once with its number; empty ones count, and the last needs no end.
    """
    pieces = [TEXT[at : at + size] for at in range(0, len(TEXT), size)]
    assert [each async for each in lines(come(*pieces))] == [(1, b"one"), (4, b"two two"), (5, b"three")]


async def test_a_line_without_an_end_is_refused_before_it_has_one() -> None:
    """
    A line may have 1 MiB: one byte more is refused by its number, also while it still goes on.
    """
    whole = b"a" * LINE_BYTES_MAX
    assert [each async for each in lines(come(whole, b"\n"))] == [(1, whole)]
    taken: list[int] = []

    async def going_on() -> AsyncIterator[bytes]:
        yield b"first\n"
        for _ in range(100):
            taken.append(CHUNK_BYTES)
            yield b"a" * CHUNK_BYTES

    with pytest.raises(exits.Stopped, match="Line 2 is longer than 1048576 bytes"):
        async for _ in lines(going_on()):
            pass
    assert sum(taken) == LINE_BYTES_MAX + CHUNK_BYTES


async def test_a_file_is_read_to_its_end(tmp_path: Path) -> None:
    """
    A file of several pieces comes whole and in order.
    """
    body = bytes(range(256)) * 1000
    (tmp_path / "file").write_bytes(body)
    found = [each async for each in chunks(str(tmp_path / "file"))]
    assert len(found) > 1
    assert b"".join(found) == body


def test_an_answer_that_is_too_long_is_refused_and_not_cut(tmp_path: Path) -> None:
    """
    Exit 2 and the size: half an answer could be taken for a whole one.
    """
    long = tmp_path / "long.json"
    long.touch()
    with long.open("r+b") as file:
        file.truncate(BODY_BYTES_MAX + 1)
    ended = inside("submit", "--source", "usgs", long, OMEN_ADDRESS="127.0.0.1:1")
    assert ended.code == exits.USAGE
    assert f"is longer than {BODY_BYTES_MAX} bytes" in ended.err


@pytest.mark.parametrize("place", ["nowhere", "."])
def test_what_cannot_be_read_is_named(tmp_path: Path, place: str) -> None:
    """
    A file that is not there, and a directory: exit 2, the place, and what the system says.
    """
    ended = omen("emit", tmp_path / place, OMEN_ADDRESS="127.0.0.1:1")
    assert (ended.code, ended.out) == (exits.USAGE, "")
    assert str(tmp_path) in ended.err
    assert "Give a file that can be read" in ended.err
