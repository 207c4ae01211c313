"""
The bytes of a frame.
"""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omen_server.ledger.errors import RecordTooLarge
from omen_server.ledger.format import (
    HEADER_BYTES,
    PAYLOAD_BYTES_MAX,
    Damage,
    decode_header,
    encode_frame,
    encode_header,
    looks_torn,
    read_frame,
    scan,
)


def pieces(data: bytes) -> list[bytes | tuple[int, int]]:
    """
    Return payloads, and the extents of damage, as a scan that takes any payload yields them.
    """
    return [
        (item.start, item.end) if isinstance(item, Damage) else item[0].payload
        for item in scan(data, 0, lambda _: True)
    ]


def test_golden_header() -> None:
    """
    Length 500 and checksum 0x1a2b3c4d are the seeds' eight bytes.
    """
    assert encode_header(500, 0x1A2B3C4D) == bytes.fromhex("000001f41a2b3c4d")
    assert decode_header(bytes.fromhex("000001f41a2b3c4d")) == (500, 0x1A2B3C4D)


def test_golden_frame() -> None:
    """
    A frame's bytes never change: length, CRC-32 as in zip files, payload.
    """
    assert encode_frame(b'{"signal_id":"OMEN-1"}') == bytes.fromhex("000000168c11156c") + b'{"signal_id":"OMEN-1"}'


@given(st.lists(st.binary(min_size=1, max_size=300), max_size=20))
def test_frames_come_back(payloads: list[bytes]) -> None:
    """
    Whatever goes into frames comes out of them.
    """
    assert pieces(b"".join(encode_frame(payload) for payload in payloads)) == payloads


@pytest.mark.parametrize("size", [0, PAYLOAD_BYTES_MAX + 1])
def test_illegal_sizes_are_not_written(size: int) -> None:
    """
    An empty payload and one beyond the limit are refused.
    """
    with pytest.raises(RecordTooLarge):
        encode_frame(bytes(size))


def test_largest_payload_is_written() -> None:
    """
    A payload of exactly the limit makes a frame.
    """
    payload = bytes(PAYLOAD_BYTES_MAX)
    assert pieces(encode_frame(payload)) == [payload]


def test_zero_filled_space_is_no_record() -> None:
    """
    Zeros are damage and not endless empty records, though the checksum of nothing is zero.
    """
    assert pieces(encode_frame(b"{}") + bytes(5000)) == [b"{}", (10, 5010)]


def test_insane_length_is_damage() -> None:
    """
    A length of 4 GiB neither allocates nor hides what follows.
    """
    data = encode_frame(b"{1}") + b"\xff\xff\xff\xff1234junk" + encode_frame(b"{2}")
    assert pieces(data) == [b"{1}", (11, 23), b"{2}"]


@pytest.mark.parametrize("cut", range(1, 30))
def test_partial_frame_truncation(cut: int) -> None:
    """
    Cut anywhere in the last frame, header or payload, the frames before it are read and nothing else.
    """
    whole, last = encode_frame(b"{first}"), encode_frame(b"{the one that is cut}")
    assert len(last) == 29
    found = pieces(whole + last[:-cut])
    assert found == ([b"{first}"] if cut == 29 else [b"{first}", (15, 15 + 29 - cut)])


def test_resync_finds_the_first_frame_after_damage() -> None:
    """
    Garbage costs itself: the scan goes on at the first byte of the next whole frame, whatever the garbage looks like.
    """
    chance = random.Random(7)
    for _ in range(200):
        garbage = chance.randbytes(chance.randint(1, 60))
        data = encode_frame(b"{a}") + garbage + encode_frame(b"{b}")
        found = pieces(data)
        assert found[0] == b"{a}"
        assert found[-1] == b"{b}"
        assert found[1:-1] == [(11, 11 + len(garbage))]


def test_read_frame_says_why_there_is_none() -> None:
    """
    A reason comes in words, and the seeds' words for a torn tail are among them.
    """
    assert "Partial header" in str(read_frame(b"\0\0\0", 0))
    assert "Partial payload" in str(read_frame(encode_frame(b"{}")[:-1], 0))


def last_damage(data: bytes) -> Damage:
    """
    Return the damage at the end of a segment.
    """
    *_, last = scan(data, 0, lambda payload: payload.startswith(b"{") or None)
    assert isinstance(last, Damage)
    return last


def batch_that_ends(beyond: int) -> bytes:
    """
    Return two frames of JSON, the second with so many bytes in the second sector.
    """
    first = encode_frame(b'{"id":1}')
    return first + encode_frame(b'{"text":"' + b"x" * (512 + beyond - len(first) - HEADER_BYTES - 11) + b'"}')


@pytest.mark.parametrize("beyond", [1, 2, 3, 4, 5])
def test_last_bytes_that_never_arrived_are_a_tear(beyond: int) -> None:
    """
    A sector that never arrived is one though the file has only a byte of it: JSON does not end in zeros.
    """
    whole = batch_that_ends(beyond)
    assert len(whole) == 512 + beyond
    data = whole[:512] + bytes(beyond)
    assert looks_torn(data, last_damage(data))


def test_last_byte_of_a_sector_that_arrived_is_no_tear() -> None:
    """
    A zero in the place of the last byte is damage when the bytes beside it did arrive, and so is any other last byte.
    """
    for data in (
        batch_that_ends(3)[:-1] + b"\0",
        *(batch_that_ends(1)[:-1] + bytes([0x7D ^ 1 << n]) for n in range(8)),
    ):
        assert not looks_torn(data, last_damage(data))
