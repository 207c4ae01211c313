"""
One line of JSON for each thing worth telling; readable columns on a terminal.

A line holds no key and no message body. An exception nobody foresaw is told by its type and its place, never by its
text: the text may hold whatever the caller sent.
"""

import logging
import sys
import traceback
from collections.abc import Callable, Mapping, MutableMapping
from types import TracebackType
from typing import Any, TextIO, TypeAlias

import orjson
import structlog

from omen_rpc import metrics
from omen_rpc.call import CURRENT
from omen_rpc.rate import RateLimit

EventDict: TypeAlias = MutableMapping[str, Any]
ExcInfo: TypeAlias = tuple[type[BaseException], BaseException, TracebackType | None]

VALUE_CHARS_MAX = 512
FRAMES_MAX = 20
OURS = frozenset({"omen_rpc", "omen_server", "omen_client", "riskcast_server", "reconciler"})
LIBRARY_LINES = RateLimit(per_minute=120, burst=100)
SECRET_NAMES = ("api_key", "apikey", "authorization", "password", "secret", "token")
LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


def configure(service: str, *, level: str = "info", form: str = "auto", stream: TextIO | None = None) -> None:
    """
    Send every log line of this process to *stream*, as JSON unless it is a terminal.
    """
    out = stream if stream is not None else sys.stderr
    as_json = form == "json" or (form == "auto" and not out.isatty())
    renderer = render_json if as_json else structlog.dev.ConsoleRenderer(pad_event_to=28)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            add_call,
            add_service(service),
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
            place_instead_of_text,
            clean,
            count,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=structlog.WriteLoggerFactory(file=out),
        cache_logger_on_first_use=False,
    )
    logging.basicConfig(handlers=[Forward()], level=logging.WARNING, force=True)


class Forward(logging.Handler):
    """
    Hands lines of libraries that use the standard logging to ours, so that they are cleaned in the same way.
    """

    def emit(self, record: logging.LogRecord) -> None:
        """
        Write *record* as one of our lines.
        """
        if LIBRARY_LINES.take(record.name, 1):
            return  # grpc writes three lines for a path that is no text: a flood of calls must not become one of lines.
        level = max((known for known in LEVELS.values() if known <= record.levelno), default=logging.DEBUG)
        structlog.get_logger().log(
            level, "library", library=record.name, text=text_of(record), exc_info=record.exc_info or None
        )


def text_of(record: logging.LogRecord) -> str:
    """
    Return what a library has to say; of an exception only the headline, as the rest and the arguments may quote it.
    """
    if record.exc_info:
        return next(iter(str(record.msg).splitlines()), "")
    try:
        return record.getMessage()
    except Exception:  # noqa: BLE001 - a library's malformed line must not fail the call it is written in
        return str(record.msg)


def add_service(service: str) -> Callable[[Any, str, EventDict], EventDict]:
    """
    Return a processor that names *service* in every line.
    """

    def processor(_logger: object, _method: str, event: EventDict) -> EventDict:
        event.setdefault("service", service)
        return event

    return processor


def add_call(_logger: object, _method: str, event: EventDict) -> EventDict:
    """
    Name the call a line was written in: request id, trace id, caller.
    """
    call = CURRENT.get(None)
    if call is not None:
        event.setdefault("request_id", call.request_id)
        event.setdefault("method", call.method)
        if call.trace_parent:
            event.setdefault("trace_id", call.trace_parent.split("-")[1])
        if call.principal is not None:
            event.setdefault("principal", call.principal.name)
    return event


def count(_logger: object, _method: str, event: EventDict) -> EventDict:
    """
    Count a line. Its event is no label: a label's values are bounded, and these are everybody's to add to.
    """
    metrics.LOG_MESSAGES.labels(event["level"]).inc()
    return event


def place_instead_of_text(_logger: object, _method: str, event: EventDict) -> EventDict:
    """
    Replace an exception by its type, the types it came from, and where it was raised.
    """
    info = event.pop("exc_info", None)
    if info is True:
        info = sys.exc_info()
    elif isinstance(info, BaseException):
        info = (type(info), info, info.__traceback__)
    if not info or info[1] is None:
        return event
    error: BaseException = info[1]
    event["error_type"] = type(error).__qualname__
    frames = traceback.extract_tb(error.__traceback__)[-FRAMES_MAX:]
    event["raised_at"] = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]
    causes: list[str] = []
    cause = error.__cause__ or error.__context__
    while cause is not None and len(causes) < 5:
        causes.append(type(cause).__qualname__)
        cause = cause.__cause__ or cause.__context__
    if causes:
        event["error_causes"] = causes
    return event


def words(error: BaseException) -> str:
    """
    Return what an error of ours says of itself, or the system; of any other nothing, as its text may quote a caller.
    """
    if isinstance(error, OSError):
        return ": ".join(str(part) for part in (error.filename, error.strerror) if part)
    return str(error) if type(error).__module__.partition(".")[0] in OURS else ""


def clean(_logger: object, _method: str, event: EventDict) -> EventDict:
    """
    Star what is named like a secret; escape and cut what a caller may have written.
    """
    for name, value in event.items():
        event[name] = cleaned(name, value)
    return event


def cleaned(name: str, value: Any) -> Any:
    """
    Return *value* as it may be written under *name*, whatever it holds inside.
    """
    if value is None or isinstance(value, (int, float)):
        return value
    if any(secret in name.lower() for secret in SECRET_NAMES):
        return "***"
    if isinstance(value, Mapping):
        return {printable(str(key)): cleaned(str(key), each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [cleaned(name, each) for each in value]
    return printable(str(value))


def printable(text: str) -> str:
    """
    Return *text* on one line, without control characters, at most 512 characters long.
    """
    if len(text) > VALUE_CHARS_MAX:
        text = text[: VALUE_CHARS_MAX - 1] + "…"
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def render_json(_logger: object, _method: str, event: EventDict) -> str:
    """
    Return *event* as a line of JSON, time, level and event first.
    """
    line = {name: event.pop(name) for name in ("time", "level", "event", "service") if name in event}
    line.update(event)
    return orjson.dumps(line, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
