"""
Typed clients of OMEN, RiskCast and the reconciler.

They need grpcio, protobuf and googleapis-common-protos, and no server code.
"""

from omen_client.omen import OmenClient
from omen_client.proof import check_proof
from omen_client.reconcile import ReconcileClient
from omen_client.riskcast import Duplicate, Ingested, RiskCastClient
from omen_client.server import ServerClient
from omen_client.stream import SignalStream, Streamed, StreamedGap
from omen_rpc.channel import ClientFiles, Connection, ConnectionRefused
from omen_rpc.errors import (
    AlreadyExists,
    CallError,
    DataLoss,
    DeadlineExceeded,
    Exhausted,
    InvalidRequest,
    NotAllowed,
    NotFound,
    OutOfRange,
    PreconditionFailed,
    Unavailable,
    Unreachable,
    Violation,
)

__all__ = [
    "AlreadyExists",
    "CallError",
    "ClientFiles",
    "Connection",
    "ConnectionRefused",
    "DataLoss",
    "DeadlineExceeded",
    "Duplicate",
    "Exhausted",
    "Ingested",
    "InvalidRequest",
    "NotAllowed",
    "NotFound",
    "OmenClient",
    "OutOfRange",
    "PreconditionFailed",
    "ReconcileClient",
    "RiskCastClient",
    "ServerClient",
    "SignalStream",
    "Streamed",
    "StreamedGap",
    "Unavailable",
    "Unreachable",
    "Violation",
    "check_proof",
]
