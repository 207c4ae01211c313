import asyncio
import secrets
from datetime import UTC
from typing import Any

from google.protobuf.json_format import MessageToDict
from starlette.datastructures import FormData
from starlette.requests import Request

from omen.v1.signal_pb2 import OmenSignal, SignalCategory, SignalEvent
from omen_client import CallError, Duplicate
from omen_console import shown
from omen_console.attempts import Attempt
from omen_console.console import Console
from omen_console.page import Page
from omen_console.screens.common import at_a_glance
from omen_rpc.confidence_level import confidence_level

DUPLICATES_MAX = 50
CATEGORIES = shown.names(SignalCategory.DESCRIPTOR)
TITLE = "Red Sea transit disruption"


async def screen(console: Console, _request: Request) -> Page:
    """
    Offer to send a signal and its duplicates, and show what was answered.
    """
    reading = await console.pulse.read()
    return Page(
        "ingest.html",
        {
            **at_a_glance(console, reading),
            "attempts": console.attempts,
            "categories": CATEGORIES,
            "title": TITLE,
            "duplicates_max": DUPLICATES_MAX,
            "resent": record_of(console.attempts.last_event),
            "example": {"signal_id": "OMEN-EXAMPLE0001", "title": TITLE, "probability": 0.72},
        },
    )


async def send(console: Console, _request: Request, form: FormData) -> str:
    """
    Emit one signal through OMEN: into the ledger first, then on to RiskCast.
    """
    up, attempts = console.upstream, console.attempts
    try:
        signal = signal_of(form)
    except ValueError as error:
        return refused(console, str(error))
    try:
        result = await up.omen.emit(signal)
    except CallError as error:
        found = up.trouble("omen", error)
        attempts.note(Attempt(up.now(), "OMEN", signal.signal_id, found.code, detail=f"{found.text} {found.remedy}"))
        return console.pages.url("ingest")
    status = shown.short(result, "status")
    detail = "Known already: nothing was appended." if result.cached else result.detail
    if status == "LEDGER_ONLY":
        detail = f"Ledger-only: written, not pushed. Reconcile will recover. {detail}".strip()
    attempts.note(
        Attempt(
            up.now(),
            "OMEN",
            signal.signal_id,
            "OK",
            ack_id=result.ack_id,
            status=status,
            duplicate=result.cached,
            detail=detail,
        )
    )
    attempts.last_event = result.event
    await console.pulse.read(anew=True)
    return console.pages.url("ingest")


async def duplicates(console: Console, _request: Request, form: FormData) -> str:
    """
    Bring the last signal to RiskCast again, several times at once, and note every answer.
    """
    text = str(form.get("count", ""))
    count = int(text) if text.isascii() and text.isdigit() and len(text) < 9 else 0
    if not 1 <= count <= DUPLICATES_MAX:
        return refused(console, f"Choose 1 to {DUPLICATES_MAX} duplicates.")
    event = console.attempts.last_event
    if event is None:
        return refused(console, "Send 1 first: duplicates are made of the last signal sent.")
    await asyncio.gather(*(bring(console, event, number) for number in range(1, count + 1)))
    await console.pulse.read(anew=True)
    return console.pages.url("ingest")


def refused(console: Console, text: str) -> str:
    """
    Note a form that says nothing that could be sent, and return where that is shown.
    """
    console.attempts.note(Attempt(console.upstream.now(), "console", "", "INVALID_ARGUMENT", detail=text))
    return console.pages.url("ingest")


async def bring(console: Console, event: SignalEvent, number: int) -> None:
    """
    Send one signal to RiskCast with a call of its own, and note the answer.
    """
    up = console.upstream
    try:
        outcome = await up.riskcast.ingest_alone(event, request_id=f"console-{number}-{secrets.token_hex(4)}")
    except CallError as error:
        found = up.trouble("riskcast", error)
        text = f"{found.text} {found.remedy}".strip()
        console.attempts.note(Attempt(up.now(), "RiskCast", event.signal_id, found.code, detail=text))
        return
    again = isinstance(outcome, Duplicate)
    at = outcome.processed_at.astimezone(UTC)
    console.attempts.note(
        Attempt(
            up.now(),
            "RiskCast",
            event.signal_id,
            "ALREADY_EXISTS" if again else "OK",
            ack_id=outcome.ack_id,
            status="DUPLICATE" if again else "ACCEPTED",
            duplicate=again,
            detail=f"Stored at {at:%H:%M:%S}Z; this is its first ack." if again else "",
        )
    )


def record_of(event: SignalEvent | None) -> dict[str, Any]:
    """
    Return a signal event in the JSON of its message; nothing of none.
    """
    return MessageToDict(event, preserving_proto_field_name=True) if event is not None else {}


def signal_of(form: FormData) -> OmenSignal:
    """
    Return the signal a form describes. ValueError says which field is wrong; the rest is the server's to check.
    """
    signal_id = str(form.get("signal_id", "")).strip() or f"OMEN-DEMO{secrets.token_hex(4).upper()}"
    confidence = fraction(form, "confidence", 0.85)
    signal = OmenSignal(
        signal_id=signal_id,
        title=str(form.get("title", "")).strip(),
        probability=fraction(form, "probability", 0.72),
        confidence_score=confidence,
        confidence_level=confidence_level(confidence),
    )
    category = str(form.get("category", ""))
    if category in CATEGORIES:
        signal.category = SignalCategory.Value(f"SIGNAL_CATEGORY_{category}")
    return signal


def fraction(form: FormData, name: str, default: float) -> float:
    """
    Return a number from 0 to 1 of a form.
    """
    text = str(form.get(name, "")).strip()
    try:
        return float(text) if text else default
    except ValueError:
        raise ValueError(f"{name.capitalize()} must be a number from 0 to 1.") from None
