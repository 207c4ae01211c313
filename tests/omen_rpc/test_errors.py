import grpc
import pytest
from google.rpc.error_details_pb2 import DebugInfo

from omen.v1 import error_pb2
from omen_rpc.contract import catalogue
from omen_rpc.errors import (
    CLASSES,
    VALUE_BYTES_MAX,
    AlreadyExists,
    CallError,
    Exhausted,
    InvalidRequest,
    NotAllowed,
    Reason,
    Unavailable,
    Violation,
    clip,
    fault,
    invalid_fields,
    item_error,
)


@pytest.mark.parametrize("name", catalogue())
def test_fault_follows_the_catalogue(name: str) -> None:
    """
    Code, class, text and whether to retry come from the reason's row and from nowhere else.
    """
    rule = catalogue()[name]
    error = fault(Reason.Value(f"ERROR_REASON_{name}"))
    assert (error.reason, error.code, error.rule) == (name, rule.code, rule)
    assert type(error) is CLASSES.get(rule.code, CallError)
    assert error.message == str(error) == f"{rule.summary} {rule.remedy}"
    assert error.retryable == (rule.action == "RETRY")


def test_fault_text_replaces_the_summary_only() -> None:
    """
    What happened this time is said instead of the summary; what to do is said still.
    """
    error = fault(Reason.ERROR_REASON_SIGNAL_NOT_FOUND, "OMEN-1 is not here.", metadata={"signal_id": "OMEN-1"})
    assert error.message.startswith("OMEN-1 is not here. Check the id;")
    assert error.metadata == {"signal_id": "OMEN-1"}


def test_fault_refuses_unknown_metadata() -> None:
    """
    A metadata key that the reason's row does not name raises where it is written, not at the client.
    """
    with pytest.raises(ValueError, match="SIGNAL_NOT_FOUND has no metadata colour, shape in the catalogue"):
        fault(Reason.ERROR_REASON_SIGNAL_NOT_FOUND, metadata={"shape": 1, "signal_id": "x", "colour": 2})


def test_fault_refuses_unknown_details() -> None:
    """
    So does a detail that the row does not name, whether it is handed over or made from violations or a delay.
    """
    with pytest.raises(ValueError, match=r"no detail google\.rpc\.DebugInfo"):
        fault(Reason.ERROR_REASON_SIGNAL_NOT_FOUND, details=[DebugInfo(detail="x")])
    with pytest.raises(ValueError, match=r"no detail google\.rpc\.RetryInfo"):
        fault(Reason.ERROR_REASON_SIGNAL_NOT_FOUND, retry_after_s=1)
    with pytest.raises(ValueError, match=r"no detail google\.rpc\.BadRequest"):
        fault(Reason.ERROR_REASON_SIGNAL_NOT_FOUND, violations=[Violation("a", "b")])


def test_fault_cuts_what_is_long() -> None:
    """
    A status has room for twenty violations and values of 256 bytes; what is cut says so.
    """
    long = [Violation("f" * 1000, "d" * 1000)] * 50
    error = fault(Reason.ERROR_REASON_INVALID_FIELDS, metadata={"field": "x" * 1000}, violations=long)
    assert len(error.violations) == 20
    assert error.violations[0].field.endswith("…")
    assert len(error.violations[0].description.encode()) == VALUE_BYTES_MAX
    assert len(error.metadata["field"].encode()) == VALUE_BYTES_MAX
    assert len(fault(Reason.ERROR_REASON_INTERNAL, "x" * 5000).message.encode()) == 1000


@pytest.mark.parametrize(
    ("text", "cut"),
    [
        ("", ""),
        ("x" * 10, "x" * 10),
        ("x" * 11, "x" * 7 + "…"),
        ("é" * 5, "é" * 5),
        ("é" * 6, "é" * 3 + "…"),
        ("\U0001f600" * 3, "\U0001f600…"),
        ("a\udc80b", "a?b"),
    ],
)
def test_clip_counts_bytes(text: str, cut: str) -> None:
    """
    Length is bytes of UTF-8, a character is never torn, and what UTF-8 cannot say cannot break a status.
    """
    assert clip(text, 10) == cut
    assert len(cut.encode()) <= 10


def test_invalid_fields_names_the_first() -> None:
    """
    The text says which field is wrong and how many more are; the metadata has the first one's path.
    """
    one = invalid_fields([Violation("signal.title", "is empty")])
    three = invalid_fields([Violation("signals[3].probability", "is 1.5, above 1")] * 3)
    assert one.message.startswith("signal.title: is empty. Correct the fields")
    assert three.message.startswith("signals[3].probability: is 1.5, above 1 (and 2 more).")
    assert three.metadata == {"field": "signals[3].probability"}


def test_item_error_says_what_a_status_would() -> None:
    """
    The error of one item of a batch has the code, reason, message and violations of the whole call's.
    """
    error = invalid_fields([Violation("title", "is empty"), Violation("signal_id", "is empty")])
    item = item_error(error)
    assert (item.code, item.reason, item.message) == (3, "INVALID_FIELDS", error.message)
    assert [(each.field, each.description) for each in item.field_violations] == [
        ("title", "is empty"),
        ("signal_id", "is empty"),
    ]
    assert isinstance(item, error_pb2.ItemError)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (grpc.StatusCode.INVALID_ARGUMENT, InvalidRequest),
        (grpc.StatusCode.ALREADY_EXISTS, AlreadyExists),
        (grpc.StatusCode.UNAUTHENTICATED, NotAllowed),
        (grpc.StatusCode.PERMISSION_DENIED, NotAllowed),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, Exhausted),
        (grpc.StatusCode.UNAVAILABLE, Unavailable),
        (grpc.StatusCode.ABORTED, Unavailable),
    ],
)
def test_class_follows_the_code(code: grpc.StatusCode, kind: type[CallError]) -> None:
    """
    What a caller catches is decided by the status code.
    """
    assert CLASSES[code] is kind


def test_unknown_reason_is_judged_by_its_code() -> None:
    """
    A newer server's reason has no row here: then UNAVAILABLE, ABORTED and a server's CANCELLED are worth another try.
    """
    verdicts = {code: CallError("FROM_THE_FUTURE", code, "…").retryable for code in grpc.StatusCode}
    assert {code for code, retryable in verdicts.items() if retryable} == {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.CANCELLED,
    }
    assert CallError("FROM_THE_FUTURE", grpc.StatusCode.INTERNAL, "…").rule is None


@pytest.mark.parametrize(
    ("text", "begins"), [("No space left", "No space left. "), ("The disk is full.", "The disk is full. ")]
)
def test_what_happened_and_what_to_do_are_two_sentences(text: str, begins: str) -> None:
    """
    Words without an end get one before the remedy begins.
    """
    assert fault(Reason.ERROR_REASON_STORAGE_EXHAUSTED, text).message.startswith(f"{begins}Free space")
