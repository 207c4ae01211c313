import pytest

from omen.v1 import ledger_service_pb2 as pb
from omen_rpc.errors import VIOLATIONS_MAX, InvalidRequest
from omen_rpc.fields import Fields, is_partition


def violations(fields: Fields) -> list[str]:
    """
    Return the fields that the checks have found.
    """
    try:
        fields.check()
    except InvalidRequest as error:
        assert error.reason == "INVALID_FIELDS"
        return [each.field for each in error.violations]
    return []


@pytest.mark.parametrize("text", ["2026-01-28", "2024-02-29", "0001-01-01", "9999-12-31-late"])
def test_names_of_partitions(text: str) -> None:
    """
    A date that there is, also with -late, is a partition's name.
    """
    assert is_partition(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2026-02-29",
        "2026-13-01",
        "0000-01-01",
        "20260128",
        "2026-01-28-LATE",
        "2026-01-28\n",
        "../2026-01-28",
        "٢٠٢٦-01-28",
    ],
)
def test_names_of_nothing(text: str) -> None:
    """
    Anything else is not, above all nothing that leads elsewhere.
    """
    assert not is_partition(text)


def test_all_that_is_wrong_is_told() -> None:
    """
    One check of a request names every field that breaks its rule, and none that keeps it.
    """
    request = pb.ConfirmReconciledRequest(partition="x", ledger_epoch="a\nb")
    fields = Fields(request)
    fields.partition()
    fields.text("ledger_epoch", 64)
    fields.number("verified_through", 1, 5)
    assert violations(fields) == ["partition", "ledger_epoch", "verified_through"]
    assert violations(Fields(request)) == []


@pytest.mark.parametrize(
    ("text", "good"), [("", False), ("x" * 64, True), ("x" * 65, False), ("\0", False), ("é", True)]
)
def test_texts(text: str, good: bool) -> None:
    """
    A text is there, not longer than it may be, and prints.
    """
    fields = Fields(pb.ConfirmReconciledRequest(ledger_epoch=text))
    fields.text("ledger_epoch", 64)
    assert (violations(fields) == []) == good


def test_violations_have_a_limit() -> None:
    """
    A request that is wrong all over costs twenty violations.
    """
    fields = Fields(pb.GetPartitionRequest())
    for number in range(100):
        assert not fields.require(False, f"field[{number}]", "must be otherwise")
    assert len(violations(fields)) == VIOLATIONS_MAX


def test_lists_are_counted_first() -> None:
    """
    A list that is too long is one violation; in one that is not, the first position out of order is named.
    """
    for indexes, expected in (([1, 2, 9], []), ([2, 1], ["indexes[1]"]), ([0], ["indexes[0]"]), ([3] * 5, ["indexes"])):
        fields = Fields(pb.ReadPartitionRequest(indexes=indexes))
        fields.ascending("indexes", 4)
        assert violations(fields) == expected
