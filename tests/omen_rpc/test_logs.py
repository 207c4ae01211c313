import io
import json
import logging
from typing import Any

import grpc
import pytest
import structlog

from omen_rpc import logs, metrics
from omen_rpc.errors import CallError
from omen_rpc.logs import cleaned, printable
from tests.omen_rpc.conftest import Logged

SECRET = "sk-live-51Hx"
log = structlog.get_logger()


def test_one_line_one_object(logged: Logged) -> None:
    """
    Every line is one JSON object with time, level, event and service first.
    """
    log.info("first", offset=7, ratio=0.5, ok=True, nothing=None, places=["a", "b"])
    log.error("second\nline")
    raw = logged.text.splitlines()
    assert len(raw) == 2
    first = json.loads(raw[0])
    assert list(first)[:4] == ["time", "level", "event", "service"]
    assert first["time"].endswith("Z")
    assert (first["level"], first["event"], first["service"]) == ("info", "first", "test")
    assert (first["offset"], first["ratio"], first["ok"], first["nothing"]) == (7, 0.5, True, None)
    assert first["places"] == ["a", "b"]


@pytest.mark.parametrize("name", ["api_key", "X_API_KEY", "authorization", "password", "client_secret", "page_token"])
def test_secrets_are_starred_by_name(name: str, logged: Logged) -> None:
    """
    What is named like a secret is starred wherever it stands: on top, in a mapping, in a list of mappings.
    """
    log.info("call", **{name: SECRET}, metadata={name: SECRET}, calls=[{"deep": {name: [SECRET]}}])
    (line,) = logged.lines("call")
    assert (line[name], line["metadata"], line["calls"]) == ("***", {name: "***"}, [{"deep": {name: "***"}}])
    assert SECRET not in logged.text


def test_counts_are_no_secrets(logged: Logged) -> None:
    """
    A number under such a name is a count, and stays.
    """
    log.info("rate", tokens=5)
    assert logged.lines("rate")[0]["tokens"] == 5


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain é 漢 😀", "plain é 漢 😀"),
        ("a\nb\rc\td", r"a\nb\rc\td"),
        ("\x1b[31mred\x1b[0m", r"\x1b[31mred\x1b[0m"),
        ("nul\0", r"nul\x00"),
        ("\u202egnirts", r"\u202egnirts"),
        ("\u2028line", r"\u2028line"),
        ("\udcff", r"\udcff"),
    ],
)
def test_control_characters_are_escaped(text: str, shown: str, logged: Logged) -> None:
    """
    Nothing a caller writes can end a line, colour a terminal or turn its text around, under any name.
    """
    assert printable(text) == shown
    log.info("said", text=text, inside=[{text: text}])
    (line,) = logged.lines("said")
    assert (line["text"], line["inside"]) == (shown, [{shown: shown}])


def test_long_values_are_cut(logged: Logged) -> None:
    """
    A value has 512 characters, whatever its type; what is cut says so.
    """

    class Talkative:
        def __str__(self) -> str:
            return "x" * (1 << 20)

    log.info("said", text="x" * (1 << 20), kept="x" * 512, thing=Talkative(), deep={"text": "x" * 1000})
    (line,) = logged.lines("said")
    assert line["text"] == line["thing"] == line["deep"]["text"] == "x" * 511 + "…"
    assert line["kept"] == "x" * 512


def fall_over() -> None:
    """
    Raise an exception that comes from another, with a secret in both.
    """
    try:
        dict[str, str]()[SECRET]
    except KeyError as error:
        raise ValueError(SECRET) from error


def test_exceptions_are_told_by_type_and_place(logged: Logged) -> None:
    """
    An exception is its type, where it was raised and the types it came from; never its text, nor that of a cause.
    """
    try:
        fall_over()
    except ValueError:
        log.exception("broke")
    (line,) = logged.lines("broke")
    assert (line["error_type"], line["error_causes"]) == ("ValueError", ["KeyError"])
    assert __file__ in line["raised_at"][-1]
    assert line["raised_at"][-1].endswith(" fall_over")
    assert SECRET not in logged.text


def test_words_are_those_of_our_errors_alone() -> None:
    """
    An error of ours or of the system may be quoted in a line; of any other, what it says is nobody's business.
    """
    assert logs.words(ValueError(SECRET)) == ""
    assert logs.words(CallError("", grpc.StatusCode.INTERNAL, "said")).endswith("said")
    assert logs.words(OSError(28, "No space left", "/data/x")) == "/data/x: No space left"


def test_lines_are_counted_by_level(logged: Logged) -> None:
    """
    Every line counts under its level and under nothing else; what is below the level that is logged does not.
    """

    def counts() -> dict[str, float]:
        (family,) = metrics.LOG_MESSAGES.collect()
        return {each.labels["level"]: each.value for each in family.samples if each.name.endswith("_total")}

    before = counts()
    log.info("once")
    log.error("twice", text=SECRET)
    log.error("twice")
    after = counts()
    assert (after["info"] - before.get("info", 0), after["error"] - before.get("error", 0)) == (1, 2)
    assert len(logged.lines()) == 3
    assert set(after) <= {"debug", "info", "warning", "error", "critical"}


def test_exception_as_a_value_is_cleaned(logged: Logged) -> None:
    """
    Also an exception handed over as a plain value is one line of at most 512 characters.
    """
    log.info("said", error=ValueError("a\nb" + "x" * 1000))
    assert logged.lines("said")[0]["error"].startswith(r"a\nbx")
    assert len(logged.lines("said")[0]["error"]) <= 520


def test_library_lines_go_the_same_way(logged: Logged) -> None:
    """
    A library's warning is one of our lines, cleaned like ours; its info is left out.
    """
    library = logging.getLogger("grpc._cython")
    library.warning("peer %s said\n%s", "ipv4:1", "\x1b[0m")
    library.info("chatter")
    (line,) = logged.lines("library")
    assert (line["level"], line["library"]) == ("warning", "grpc._cython")
    assert line["text"] == r"peer ipv4:1 said\n\x1b[0m"


def test_library_exceptions_are_without_text(logged: Logged) -> None:
    """
    Of a library's line about an exception the headline stays: the rest and the arguments may quote the exception.
    """
    library = logging.getLogger("asyncio")
    try:
        fall_over()
    except ValueError as error:
        library.exception("Task failed: %r", repr(error))
        library.exception(f"Task exception was never retrieved\nfuture: <Task exception={error!r}>")
    assert [line["text"] for line in logged.lines("library")] == [
        "Task failed: %r",
        "Task exception was never retrieved",
    ]
    assert {line["error_type"] for line in logged.lines("library")} == {"ValueError"}
    assert SECRET not in logged.text


@pytest.mark.parametrize(("level", "name"), [(35, "warning"), (25, "info"), (5, "debug"), (60, "error")])
def test_odd_levels_are_taken_down(level: int, name: str, logged: Logged) -> None:
    """
    A library's own level counts as the next one below it that we have.
    """
    logging.root.handlers[0].handle(logging.LogRecord("odd", level, __file__, 1, "text", (), None))
    assert [line["level"] for line in logged.lines("library")] == [name]


def test_malformed_library_line_breaks_nothing(logged: Logged) -> None:
    """
    A library whose line does not fit its arguments does not fail the call it is written in.
    """
    record = logging.LogRecord("sloppy", logging.WARNING, __file__, 1, "%d of %s", ("x",), None)
    logging.root.handlers[0].handle(record)
    assert logged.lines("library")[0]["text"] == "%d of %s"


def test_level_is_the_least_that_is_logged() -> None:
    """
    What is below the level is not written.
    """
    stream = io.StringIO()
    handlers, level = list(logging.root.handlers), logging.root.level
    logging.root.handlers.clear()
    try:
        logs.configure("test", level="warning", form="json", stream=stream)
        log.info("left_out")
        log.warning("written")
    finally:
        structlog.reset_defaults()
        logging.root.handlers[:] = handlers
        logging.root.setLevel(level)
    assert [json.loads(line)["event"] for line in stream.getvalue().splitlines()] == ["written"]


@pytest.mark.parametrize(
    ("form", "terminal", "as_json"),
    [("auto", True, False), ("auto", False, True), ("json", True, True), ("text", False, False)],
)
def test_form_follows_the_terminal(form: str, terminal: bool, as_json: bool) -> None:
    """
    Lines are JSON outside a terminal and columns on one, unless told otherwise; columns are as clean as JSON.
    """
    stream: Any = io.StringIO()
    stream.isatty = lambda: terminal
    handlers, level = list(logging.root.handlers), logging.root.level
    logging.root.handlers.clear()
    try:
        logs.configure("test", form=form, stream=stream)
        log.info("said", api_key=SECRET, text="a\nb")
    finally:
        structlog.reset_defaults()
        logging.root.handlers[:] = handlers
        logging.root.setLevel(level)
    assert stream.getvalue().startswith("{") == as_json
    assert len(stream.getvalue().splitlines()) == 1
    assert SECRET not in stream.getvalue()


def test_cleaned_leaves_what_is_harmless() -> None:
    """
    Numbers, truth and nothing are written as they are.
    """
    assert [cleaned("x", each) for each in (1, 2.5, True, None)] == [1, 2.5, True, None]
