import re

import pytest

from omen_rpc.metadata import first, new_request_id, request_id_of, trace_parent_of

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.mark.parametrize("value", ["a", "7f250c8ad55b0db2", "~!#" * 10, "x" * 128])
def test_fit_request_id_is_kept(value: str) -> None:
    """
    A request id of printable ASCII without blanks is the caller's to choose.
    """
    assert request_id_of([("x-request-id", value), ("x-request-id", "second")]) == value


@pytest.mark.parametrize("value", ["", "two words", "x" * 129, "a\n", "\na", "a\x1b[31m", "a\0", "é", "a\r\nb: c"])
def test_unfit_request_id_is_replaced(value: str) -> None:
    """
    One that would break a log line or a trailer is replaced by a new one, as is none at all.
    """
    made = request_id_of([("x-request-id", value)])
    assert made != value
    assert re.fullmatch(r"[0-9a-f]{20}", made)
    assert request_id_of([]) != request_id_of([])


@pytest.mark.parametrize("value", [TRACE.upper(), TRACE[:-1], TRACE + "\n", "x" + TRACE, TRACE + "-more", ""])
def test_malformed_trace_is_none(value: str) -> None:
    """
    A trace context that is not exactly W3C's shape is not taken over.
    """
    assert trace_parent_of([("traceparent", value)]) == ""
    assert trace_parent_of([("traceparent", TRACE)]) == TRACE


def test_first_reads_text_only() -> None:
    """
    The first value of a name counts; bytes are nobody's text.
    """
    assert first([("a", "1"), ("b", "2"), ("a", "3")], "a") == "1"
    assert first([("a", b"1")], "a") == ""
    assert first([], "a") == ""


def test_request_ids_are_new() -> None:
    """
    No two ids made here are the same.
    """
    assert len({new_request_id() for _ in range(1000)}) == 1000
