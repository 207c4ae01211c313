"""
Ready signals on their way in: checked, given their envelope, and nothing about them decided.
"""

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import TypeAlias

from google.protobuf.timestamp_pb2 import Timestamp

from omen.v1 import signal_service_pb2 as pb
from omen.v1.signal_pb2 import OmenSignal, SignalEvent
from omen_rpc.errors import CallError, Reason, Violation, fault, invalid_fields
from omen_rpc.signal_codec import SIGNAL_BYTES_MAX, CodecError, PayloadKind, content_digest, digest_and_prepare
from omen_rpc.signal_rules import INPUT_HASH, NAME_CHARS_MAX, check_line, check_shape, check_signal, check_time
from omen_server import identity
from omen_server.index import Wanted
from omen_server.intake.keeping import Draft, Keeper, Result
from omen_server.pipeline.run import SCHEMA_VERSION, Outcome

Item: TypeAlias = pb.EmitSignalRequest | pb.EmitSignalItem
# So many drafts take a thread: they would hold up everybody for milliseconds.
DRAFTS_AT_ONCE = 32


class Signals:
    """
    Takes ready signals into the ledger.
    """

    def __init__(
        self,
        keeper: Keeper[Outcome],
        kind: PayloadKind,
        ahead_max: timedelta,
        now: Callable[[], datetime],
    ) -> None:
        self._keeper = keeper
        self._kind = kind
        self._ahead_max = ahead_max
        self._now = now

    async def emit(self, items: Sequence[Item], paths: Sequence[str], trace_parent: str) -> list[Result[Outcome]]:
        """
        Keep each signal and return what became of it, in order; *paths* lead to the items in the request.
        """
        if len(items) > DRAFTS_AT_ONCE:
            drafts = await asyncio.to_thread(self._drafts, items, paths, trace_parent)
        else:
            drafts = self._drafts(items, paths, trace_parent)
        wanted: dict[int, Wanted] = {}
        by_wanted: dict[Wanted, Draft] = {}
        for at, draft in enumerate(drafts):
            if isinstance(draft, Draft):
                wanted[at] = Wanted(draft.event.signal_id, content_digest=draft.event.content_digest)
                by_wanted.setdefault(wanted[at], draft)

        async def make(missing: Sequence[Wanted]) -> list[Draft]:
            return [by_wanted[each] for each in missing]

        kept = dict(zip(wanted, await self._keeper.keep(list(wanted.values()), make), strict=True))
        return [draft if isinstance(draft, CallError) else kept[at] for at, draft in enumerate(drafts)]

    def _drafts(self, items: Sequence[Item], paths: Sequence[str], trace_parent: str) -> list[Draft | CallError]:
        now = self._now()
        drafts: list[Draft | CallError] = []
        for item, path in zip(items, paths, strict=True):
            try:
                event = self._checked(item, path, now)
                event.trace_parent = trace_parent
                drafts.append(Draft(event, digest_and_prepare(event, self._kind)))
            except CallError as error:
                drafts.append(error)
            except CodecError as error:
                drafts.append(invalid_fields([Violation(f"{path}{error.path}", error.problem)]))
        return drafts

    def _checked(self, item: Item, path: str, now: datetime) -> SignalEvent:
        """
        Return the event of a signal that has the shape of one.
        """
        signal = item.signal
        if item.ByteSize() > SIGNAL_BYTES_MAX:
            raise too_large(signal.signal_id, item.ByteSize())
        violations = [
            *check_signal(signal, f"{path}signal"),
            *check_shape(item.input_event_hash, INPUT_HASH, f"{path}input_event_hash"),
        ]
        # They go into the envelope, where whoever stores the signal checks them.
        for line in ("source_event_id", "ruleset_version"):
            violations += check_line(getattr(signal, line), NAME_CHARS_MAX, f"{path}signal.{line}")
        for name in ("observed_at", "emitted_at"):
            if item.HasField(name):
                violations += check_time(getattr(item, name), f"{path}{name}")
        latest = now + self._ahead_max
        if not violations and item.HasField("emitted_at") and item.emitted_at.ToDatetime(UTC) > latest:
            ahead_s = self._ahead_max.total_seconds()
            violations.append(Violation(f"{path}emitted_at", f"is more than {ahead_s:g} s ahead of now"))
        if violations:
            raise invalid_fields(violations)
        return enveloped(item, now)


def too_large(signal_id: str, size_bytes: int) -> CallError:
    """
    Make the error for a signal larger than a record may be. The text has the sizes: an item's error has no metadata.
    """
    return fault(
        Reason.ERROR_REASON_SIGNAL_TOO_LARGE,
        f"The signal has {size_bytes} bytes, {SIGNAL_BYTES_MAX} at most.",
        metadata={"signal_id": signal_id, "size_bytes": size_bytes, "size_bytes_max": SIGNAL_BYTES_MAX},
    )


def enveloped(item: Item, now: datetime) -> SignalEvent:
    """
    Return a signal in its envelope. Of time, only `emitted_at` comes from a clock, and only when nobody gave it.
    """
    signal = item.signal
    # What an older version does not know it cannot keep in the ledger, and so must not push or stream either.
    signal.DiscardUnknownFields()
    input_hash = item.input_event_hash or hash_of(signal)
    event = SignalEvent(
        schema_version=SCHEMA_VERSION,
        signal_id=signal.signal_id,
        deterministic_trace_id=signal.trace_id
        or identity.trace_id(signal.source_event_id, input_hash, signal.ruleset_version),
        input_event_hash=input_hash,
        source_event_id=signal.source_event_id,
        ruleset_version=signal.ruleset_version,
        signal=signal,
    )
    observed_at = item.observed_at if item.HasField("observed_at") else newest(signal)
    if observed_at is not None:
        event.observed_at.CopyFrom(observed_at)
    if item.HasField("emitted_at"):
        event.emitted_at.CopyFrom(item.emitted_at)
    else:
        event.emitted_at.FromDatetime(now)
    return event


def hash_of(signal: OmenSignal) -> str:
    """
    Return what stands for a raw event's hash where there is none: the hash of what the signal says.
    """
    return content_digest(SignalEvent(signal=signal))


def newest(signal: OmenSignal) -> Timestamp | None:
    """
    Return when the newest evidence was observed.
    """
    times = [each.observed_at for each in signal.evidence if each.HasField("observed_at")]
    return max(times, key=lambda time: (time.seconds, time.nanos), default=None)
