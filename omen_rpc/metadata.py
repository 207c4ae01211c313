"""
The metadata keys of the contract, and what may be believed of their values.
"""

import itertools
import os
import re
from collections.abc import Iterable

from omen_rpc.errors import Reason, fault

API_KEY = "x-api-key"
AUTHORIZATION = "authorization"
REQUEST_ID = "x-request-id"
TRACE_PARENT = "traceparent"
IDEMPOTENCY_KEY = "x-idempotency-key"
ACK_ID = "x-ack-id"

METADATA_BYTES_MAX = 16_384
TRACE_PARENT_SHAPE = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")
REQUEST_ID_SHAPE = re.compile(r"[\x21-\x7e]{1,128}")
PROCESS = os.urandom(6).hex()
COUNT = itertools.count(1)


def new_request_id() -> str:
    """
    Return a request id nobody else has: the process's own part, and a count.
    """
    return f"{PROCESS}{next(COUNT):08x}"


def check_size(metadata: Iterable[tuple[str, str | bytes]]) -> None:
    """
    Raise CallError when *metadata* is larger than metadata may be.

    grpc keeps its own limit only with peers that have acknowledged its settings; the others may send 16 MiB a call.
    """
    size = sum(len(name) + len(value) for name, value in metadata)
    if size > METADATA_BYTES_MAX:
        raise fault(
            Reason.ERROR_REASON_MESSAGE_TOO_LARGE,
            f"The call's metadata has {size} bytes, {METADATA_BYTES_MAX} at most.",
            metadata={"size_bytes": size, "size_bytes_max": METADATA_BYTES_MAX},
        )


def request_id_of(metadata: Iterable[tuple[str, str | bytes]]) -> str:
    """
    Return the caller's request id, or a new one when it sent none that is fit for a log line.
    """
    value = first(metadata, REQUEST_ID)
    return value if REQUEST_ID_SHAPE.fullmatch(value) else new_request_id()


def trace_parent_of(metadata: Iterable[tuple[str, str | bytes]]) -> str:
    """
    Return the caller's W3C trace context, or nothing when it sent none that is well formed.
    """
    value = first(metadata, TRACE_PARENT)
    return value if TRACE_PARENT_SHAPE.fullmatch(value) else ""


def first(metadata: Iterable[tuple[str, str | bytes]], name: str) -> str:
    """
    Return the first value of *name* as text, or nothing.
    """
    for key, value in metadata:
        if key == name:
            return value if isinstance(value, str) else ""
    return ""
