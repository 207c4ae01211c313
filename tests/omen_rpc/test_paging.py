import pytest
from hypothesis import given
from hypothesis import strategies as st

from omen.v1.ledger_service_pb2 import ListBlocksRequest, ListPartitionsRequest
from omen_rpc.errors import InvalidRequest
from omen_rpc.paging import page_number, page_place, page_size, page_token


@given(place=st.text(min_size=1, max_size=100), partition=st.text(max_size=20), size=st.integers(0, 100))
def test_a_token_continues_the_request_it_was_made_for(place: str, partition: str, size: int) -> None:
    """
    A token gives its place back to the same request, also with another page size.
    """
    first = ListBlocksRequest(partition=partition, page_size=7)
    again = ListBlocksRequest(partition=partition, page_size=size, page_token=page_token(first, place))
    assert page_place(again) == place


def test_a_token_is_refused_by_a_request_that_asks_for_something_else() -> None:
    """
    Another argument, or another RPC with the same bytes, does not take it.
    """
    token = page_token(ListBlocksRequest(partition="2026-01-28"), "7")
    for other in (
        ListBlocksRequest(partition="2026-01-29", page_token=token),
        ListBlocksRequest(partition="2026-01-28", through_index=1, page_token=token),
        ListPartitionsRequest(page_token=page_token(ListBlocksRequest(), "7")),
    ):
        with pytest.raises(InvalidRequest) as caught:
            page_place(other)
        assert caught.value.reason == "PAGE_TOKEN_INVALID"


@pytest.mark.parametrize("token", ["x", "é", "AAAA", "!!!!", "A" * 1000, "=" * 8])
def test_what_is_no_token_is_refused(token: str) -> None:
    """
    Garbage is told from a token, whatever it looks like.
    """
    with pytest.raises(InvalidRequest) as caught:
        page_place(ListBlocksRequest(page_token=token))
    assert caught.value.reason == "PAGE_TOKEN_INVALID"


@pytest.mark.parametrize("place", ["-1", "1e3", "²", " 1", "9" * 20])
def test_a_place_that_is_no_number_is_refused_where_numbers_are_places(place: str) -> None:
    """
    A token for a place of another kind does not become a number.
    """
    request = ListBlocksRequest()
    assert page_number(request) == 0
    request.page_token = page_token(request, "12")
    assert page_number(request) == 12
    request.page_token = page_token(request, place)
    with pytest.raises(InvalidRequest):
        page_number(request)


def test_page_sizes_have_a_default_and_a_maximum() -> None:
    """
    Nothing asked is the default, too much is the maximum, a negative number is an error.
    """
    assert page_size(ListBlocksRequest(), 100, 1000) == 100
    assert page_size(ListBlocksRequest(page_size=5000), 100, 1000) == 1000
    assert page_size(ListBlocksRequest(page_size=3), 100, 1000) == 3
    with pytest.raises(InvalidRequest):
        page_size(ListBlocksRequest(page_size=-1), 100, 1000)
