"""
What a ledger record is to OMEN: a SignalEvent. The ledger itself knows payload bytes and positions, and asks here.
"""

import re
from datetime import UTC

from omen.v1.signal_pb2 import SignalEvent
from omen_rpc.signal_codec import PayloadKind, decode, digest_and_prepare, position_hash, position_of
from omen_server.ledger.entry import Codec, Entry

# A record as `prepare` writes it, up to its digest. No text can pass for it: inside a string a quote has its backslash.
_WRITTEN = re.compile(
    rb'\{(?:"schema_version":"(?:[^"\\]++|\\.)*+",)?+"signal_id":"([A-Z0-9-]++)",(?:"(?:deterministic_trace_id'
    rb"|input_event_hash|source_event_id|ruleset_version|observed_at|emitted_at"
    rb')":"(?:[^"\\]++|\\.)*+",)*+"ledger_written_at":"[^"\\]++","ledger_partition":"([0-9a-z-]++)",'
    rb'"ledger_sequence":[0-9]++,"ledger_index":([0-9]++),"ledger_offset":[0-9]++'
    rb'(?:,"ledger_durable_offset":[0-9]++)?+,"content_digest":"(sha256:[0-9a-f]{64})"[,}]'
).match


def entry_of(event: SignalEvent, kind: PayloadKind) -> Entry:
    """
    Return *event* as the ledger takes it, with its `content_digest` set. `emitted_at` decides about its partition.
    """
    return Entry(event.emitted_at.ToDatetime(UTC), digest_and_prepare(event, kind))


def signal_id_of(payload: bytes) -> str:
    """
    Return whose record a payload is; of JSON in our own order only the beginning is read.
    """
    found = _WRITTEN(payload)
    return found[1].decode() if found else decode(payload).signal_id


def hash_of(payload: bytes) -> tuple[int, int]:
    """
    Return the hash of a record at its position, as both sides of a comparison compute it.
    """
    found = _WRITTEN(payload)
    if found:
        signal_id, partition, index, digest = found.groups()
        return position_hash(partition.decode(), int(index), signal_id.decode(), digest.decode())
    event = decode(payload)
    return position_hash(event.ledger_partition, event.ledger_index, event.signal_id, event.content_digest)


SIGNALS = Codec(position_of, hash_of, signal_id_of)
