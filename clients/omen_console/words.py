"""
What is said on stage: labels, headline, microcopy and vocabulary, word for word as they were agreed.
"""

from typing import Final, NamedTuple


class Label(NamedTuple):
    """
    One entry of the navigation: its label, its path below the base, the key that leads there after `g`.
    """

    text: str
    path: str
    key: str


NAV: Final = (
    Label("Dashboard", "", "d"),
    Label("Partitions", "partitions", "p"),
    Label("Partition detail", "partition", "t"),
    Label("Signals", "signals", "s"),
    Label("Reconcile", "reconcile", "r"),
    Label("Ingest demo", "ingest", "i"),
    Label("Ledger proof", "proof", "l"),
    Label("Copy ref", "copy", "c"),
    Label("System", "system", "y"),
)

HEADLINE: Final = "OMEN: Two-path signal intelligence — ledger first, then live."

MICROCOPY: Final = {
    "ledger_first": "Ledger written before hot path; reconcile recovers any loss.",
    "duplicate": "Duplicate ingest returns 409 with original ack_id.",
    "sealed": "Partition sealed: no more writes; safe to reconcile.",
    "late": "Late partition: out-of-order arrivals for this date.",
    "replays": "Reconcile replays missing signals from ledger to RiskCast.",
    "partial_frame": "Partial frame at end of segment truncated; no corrupt record.",
    "highwater": "Highwater increased → re-reconcile to catch late arrivals.",
    "only_sealed": "Main partition: reconcile only when sealed.",
    "dedupe": "1×200, N×409: one accepted, rest deduped.",  # noqa: RUF001 - as it was agreed
    "crash_tail": "Crash-tail: reader returns only complete frames.",
}

VOCABULARY: Final = {
    "SEALED": "Partition closed for writes; has _SEALED and _manifest.json.",
    "OPEN": "Partition still writable.",
    "LATE": "Partition name ends with -late; holds late arrivals.",
    "RECONCILED": "Last reconcile status COMPLETED.",
    "PARTIAL": "Reconcile ran but some replays failed or capped.",
    "FAILED": "Reconcile error.",
}

SHORTCUTS: Final = (
    *((f"g {label.key}", label.text) for label in NAV),
    ("/", "Search"),
    ("space", "Pause and go on with the live tail"),
    ("m", "Light, dark or system theme"),
    ("u", "Times in UTC, local or relative"),
    ("?", "These keys"),
)


class Step(NamedTuple):
    """
    One step of the two to three minutes on stage.
    """

    title: str
    seconds: int
    text: str


STORY: Final = (
    Step(
        "Intro",
        15,
        "OMEN is a two-path intelligence pipeline: a hot path for real-time delivery and a cold path (ledger) for audit"
        " and replay. Every signal is written to the ledger first; only then do we push to RiskCast.",
    ),
    Step("Ingest", 30, "Send one signal, then the same again: one 200, then 409s with the original ack_id."),
    Step("Ledger", 30, "Look at the frames: length, CRC, payload. Cut the last one short: the reader leaves it out."),
    Step(
        "Reconcile", 30, "Kill RiskCast, send two, start it again, run reconcile: it replays exactly what is missing."
    ),
    Step("Close", 15, "Ledger-first, crash-safe framing, dedupe at ingest, and reconcile for completeness."),
)


class Proof(NamedTuple):
    """
    One claim, where the console shows it, and the test that holds it.
    """

    name: str
    claim: str
    screen: str
    test: str


PROOFS: Final = (
    Proof(
        "Crash-tail",
        "A partial trailing write is detected; no corrupted record is returned.",
        "proof",
        "test_ledger_crash_tail_returns_n_minus_1_valid_records",
    ),
    Proof(
        "Dedupe",
        "RiskCast keeps one row; every duplicate gets the original ack_id.",
        "ingest",
        "test_concurrent_ingest_dedupe",
    ),
    Proof(
        "Reconcile", "Missing signals are replayed from the ledger via ingest.", "reconcile", "test_the_stage_script"
    ),
    Proof(
        "Ledger-first",
        "No hot path push unless the ledger write succeeded.",
        "ingest",
        "test_the_system_calls_are_write_sync_send",
    ),
    Proof(
        "Metadata durability",
        "Metadata survives a crash: temporary file, sync, rename, sync of the directory.",
        "proof",
        "test_atomic_write_text_fsync_order",
    ),
)
