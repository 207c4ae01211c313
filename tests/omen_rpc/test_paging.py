import pytest
from hypothesis import given
from hypothesis import strategies as st

from omen.v1 import ledger_service_pb2 as pb
from omen_rpc.errors import InvalidRequest
from omen_rpc.paging import TOKEN_CHARS_MAX, item_bytes, page_size, place_in, token_for


@given(place=st.text(st.characters(codec="utf-8"), min_size=1, max_size=200), size=st.integers(0, 1000))
def test_a_token_gives_its_place_back(place: str, size: int) -> None:
    """
    Whatever the place, a request with the token and any page size goes on there.
    """
    request = pb.ListBlocksRequest(partition="2026-01-28", through_index=7, page_size=3)
    request.page_token = token_for(request, place)
    request.page_size = size
    assert place_in(request) == place


@given(junk=st.text(max_size=60))
def test_junk_is_no_token(junk: str) -> None:
    """
    Text that nobody made is refused with PAGE_TOKEN_INVALID, and no text is the first page.
    """
    request = pb.ListBlocksRequest(partition="2026-01-28", page_token="")
    assert place_in(request) == ""
    try:
        request.page_token = junk
    except UnicodeEncodeError:
        return
    if junk:
        with pytest.raises(InvalidRequest) as caught:
            place_in(request)
        assert caught.value.reason == "PAGE_TOKEN_INVALID"


def test_a_token_is_bound_to_method_and_arguments() -> None:
    """
    The token of one list is none of another's, and none of the same list with other arguments.
    """
    token = token_for(pb.ListPartitionsRequest(), "2026-01-28")
    assert place_in(pb.ListPartitionsRequest(page_token=token)) == "2026-01-28"
    for other in (
        pb.ListPartitionsRequest(page_token=token, filter=pb.PARTITION_FILTER_OPEN),
        pb.ListBlocksRequest(page_token=token),
        pb.ListPartitionsRequest(page_token=token[:-1]),
        pb.ListPartitionsRequest(page_token=token + "A"),
        pb.ListPartitionsRequest(page_token="A" * (TOKEN_CHARS_MAX + 1)),
    ):
        with pytest.raises(InvalidRequest):
            place_in(other)


def test_a_page_has_a_size() -> None:
    """
    None asked for is the default, too many is the most.
    """
    assert [page_size(asked, 20, 100) for asked in (0, 1, 100, 101)] == [20, 1, 100, 100]


@given(texts=st.lists(st.text(st.characters(codec="utf-8"), max_size=300), max_size=20))
def test_items_take_no_more_than_they_are_said_to(texts: list[str]) -> None:
    """
    A list of items is at most the sum of what its items are counted as.
    """
    items = [pb.Partition(partition=text) for text in texts]
    assert pb.ListPartitionsResponse(partitions=items).ByteSize() <= sum(item_bytes(item) for item in items)
