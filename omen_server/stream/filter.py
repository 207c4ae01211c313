from dataclasses import dataclass

import orjson

from omen.v1.signal_pb2 import SignalEvent
from omen.v1.signal_service_pb2 import SignalFilter
from omen_rpc.signal_codec import CodecError, decode
from omen_rpc.signal_json import from_object
from omen_server.ledger.segment import Record

# The field `unrecognised_json`, as it begins in a payload. A newer version may have fields for what an older one put
# there, so such a payload is decoded; these two bytes elsewhere in a payload only cost that.
_OVERLAY = bytes((SignalEvent.UNRECOGNISED_JSON_FIELD_NUMBER << 3 & 0x7F | 0x82, 0x01))
_READ = ("category", "confidence_score")


@dataclass(frozen=True, slots=True)
class Filter:
    """
    Which signals a subscriber wants. Two that are equal share their frames.

    A signal without a score passes no `min_score` above 0.
    """

    categories: frozenset[int] = frozenset()
    partitions: frozenset[str] = frozenset()
    min_score: float = 0.0

    def passes(self, event: SignalEvent, partition: str) -> bool:
        """
        Tell whether a signal of a partition is wanted.
        """
        return self.wants(partition) and self._fits(event)

    def wants(self, partition: str) -> bool:
        """
        Tell whether signals of a partition can be wanted at all.
        """
        return not self.partitions or partition in self.partitions

    def message(self, record: Record) -> bytes | None:
        """
        Return a record's signal as protobuf, None when it is left out. ValueError when the record holds no signal.
        """
        if not self.wants(record.position.partition):
            return None
        payload = record.payload
        return self._of_json(payload) if payload[:1] == b"{" else self._of_protobuf(payload)

    @property
    def _looks_inside(self) -> bool:
        return bool(self.categories) or self.min_score > 0

    def _fits(self, event: SignalEvent) -> bool:
        signal = event.signal
        return (not self.categories or signal.category in self.categories) and (
            self.min_score <= 0 or signal.confidence_score >= self.min_score
        )

    def _of_protobuf(self, payload: bytes) -> bytes | None:
        # Whoever read the record has parsed it to find its position, so it is whole.
        overlaid = _OVERLAY in payload
        if not overlaid and not self._looks_inside:
            return payload
        event = decode(payload)
        if not self._fits(event):
            return None
        return event.SerializeToString() if overlaid else payload

    def _of_json(self, payload: bytes) -> bytes | None:
        record = orjson.loads(payload)
        if self._looks_inside and not self._fits(_glance(record)):
            return None
        return from_object(record).SerializeToString()


def filter_of(asked: SignalFilter) -> Filter:
    """
    Return the filter that a request asks for; its fields have been checked.
    """
    return Filter(frozenset(asked.categories), frozenset(asked.partitions), asked.min_confidence_score)


def _glance(record: object) -> SignalEvent:
    """
    Return an event with nothing but what a filter asks about, by the same rules as the whole.
    """
    signal = record.get("signal") if isinstance(record, dict) else None
    if signal is None:
        return SignalEvent()
    if not isinstance(signal, dict):
        raise CodecError("signal", "not an object")
    return from_object({"signal": {key: signal[key] for key in _READ if key in signal}})
