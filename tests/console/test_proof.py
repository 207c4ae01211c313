"""
The ledger proof: frames as they lie, and copies that are broken in exact places.
"""

import re
from html import unescape

import httpx
import pytest

from omen.v1.ledger_service_pb2 import RawFrame
from omen_console.specimen import NothingToCopy, copied, flip, read, truncate
from tests.console.conftest import Web
from tests.console.stage import SEALED


async def frames_of(web: Web, count: int) -> list[RawFrame]:
    """
    Return the first frames of the sealed day.
    """
    return list((await web.console.upstream.omen.frames(SEALED, max_frames=count)).frames)


def said(page: httpx.Response) -> str:
    """
    Return what a page says.
    """
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", page.text)).split())


async def test_the_header_bytes_are_explained(web: Web) -> None:
    """
    The frame's eight header bytes are shown with what they mean: the length and the checksum of its payload.
    """
    (frame,) = await frames_of(web, 1)
    text = said(await web.get(f"proof?partition={SEALED}&frame=1"))
    length = int.from_bytes(frame.header[:4])
    assert length == len(frame.payload)
    assert f"Bytes 0–3, length {frame.header[:4].hex(' ')} = {length:,}" in text  # noqa: RUF001 - as it is shown
    assert f"CRC-32 {frame.header[4:].hex(' ')} fits the payload" in text


@pytest.mark.parametrize("cut", [1, 7, 1 << 19])
async def test_a_cut_tail_is_left_out(web: Web, cut: int) -> None:
    """
    A copy cut inside its last frame is read without that one, with a warning, and no record is wrong.
    """
    frames = await frames_of(web, 20)
    made = truncate(SEALED, frames, cut)
    assert (made.before.records, made.after.records) == (20, 19)
    assert (made.before.warnings, made.before.faults, made.after.faults) == ([], [], [])
    (warning,) = made.after.warnings
    assert warning.startswith("Partial ")
    assert warning.endswith("truncating")


@pytest.mark.parametrize("byte", [0, 3, 5, 8, 100, 1 << 19])
@pytest.mark.parametrize("index", [1, 9, 20])
async def test_a_flipped_bit_is_found_where_it_is(web: Web, byte: int, index: int) -> None:
    """
    Wherever a bit is flipped, in header or payload, verifying names that very frame: sequence, position and byte.
    """
    frames = await frames_of(web, 20)
    made = flip(SEALED, frames, index, byte, 2)
    assert made.after.records < 20
    fault = made.after.faults[0]
    frame = frames[index - 1]
    assert (fault.partition, fault.file, fault.byte_offset) == (SEALED, frame.file, frame.byte_offset)
    assert (fault.ledger_index, fault.ledger_sequence) == (index, frame.ledger_sequence)


async def test_the_screen_shows_both(web: Web) -> None:
    """
    Both experiments are an address; the page tells before and after, and the exact place.
    """
    text = said(await web.get(f"proof?partition={SEALED}&do=truncate&cut=9"))
    assert "Before Records read 60" in text
    assert "After Records read 59" in text
    assert "Partial payload at the end" in text
    text = said(await web.get(f"proof?partition={SEALED}&do=flip&frame=4&byte=70&bit=3"))
    (frame,) = [each for each in await frames_of(web, 4) if each.ledger_index == 4]
    place = f"sequence {frame.ledger_sequence} , position 4 , file signals-001.wal , byte {frame.byte_offset}"
    assert place in text
    assert "Intact" in said(await web.get(f"proof?partition={SEALED}&do=verify"))
    assert "not among the frames" in said(await web.get(f"proof?partition={SEALED}&do=flip&frame=999"))


async def test_odd_parameters_are_moved_into_bounds(web: Web) -> None:
    """
    Numbers that are none, or too large, are no error.
    """
    for query in ("after=x&frame=y", "do=flip&byte=999999999999&bit=99", "do=truncate&cut=-5", "after=99999", "do=no"):
        assert (await web.get(f"proof?partition={SEALED}&{query}")).status_code == 200, query


async def test_a_copy_lies_in_a_directory_that_goes(web: Web) -> None:
    """
    The copy is what the server dumped, byte for byte, and nothing of it stays behind.
    """
    frames = await frames_of(web, 3)
    with copied(SEALED, frames) as root:
        assert (root / SEALED / frames[0].file).read_bytes() == b"".join(each.header + each.payload for each in frames)
        assert read(root, SEALED).records == 3
    with pytest.raises(FileNotFoundError):
        read(root, SEALED)
    with pytest.raises(NothingToCopy), copied(SEALED, frames[1:]):
        pass
    with pytest.raises(NothingToCopy), copied(SEALED, []):
        pass
