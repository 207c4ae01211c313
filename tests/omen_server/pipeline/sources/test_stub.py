import pytest

from omen_server.pipeline.sources import stub
from omen_server.pipeline.sources.source import SourceMalformed
from tests.omen_server.pipeline import goldens


def test_ten_by_default() -> None:
    """
    It needs no answer to make ten events, the same every time.
    """
    assert stub.parse(b"", goldens.FETCHED_AT, "") == stub.parse(b"{}", goldens.FETCHED_AT, "")
    assert len(stub.parse(b"", goldens.FETCHED_AT, "").events) == 10


def test_bad_orders() -> None:
    """
    An order that is none is malformed.
    """
    with pytest.raises(SourceMalformed, match="count: is no count"):
        stub.parse(b'{"count": -1}', goldens.FETCHED_AT, "")
