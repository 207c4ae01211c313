"""
What the protos' annotations say: the rule of every error and of every RPC.

The contract is data in the descriptors, read here once. Nothing else repeats a code, a scope or a remedy.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import grpc
from google.protobuf.descriptor import FileDescriptor, MethodDescriptor, ServiceDescriptor

from omen.v1 import (
    error_pb2,
    ledger_service_pb2,
    operations_service_pb2,
    rpc_pb2,
    server_info_service_pb2,
    signal_service_pb2,
)
from reconcile.v1 import reconcile_service_pb2
from riskcast.v1 import ingest_service_pb2, inventory_service_pb2

REASON_PREFIX = "ERROR_REASON_"
CODES = {code.value[0]: code for code in grpc.StatusCode}
FILES: dict[str, tuple[FileDescriptor, ...]] = {
    "omen.v1": (
        signal_service_pb2.DESCRIPTOR,
        ledger_service_pb2.DESCRIPTOR,
        operations_service_pb2.DESCRIPTOR,
        server_info_service_pb2.DESCRIPTOR,
    ),
    "riskcast.v1": (ingest_service_pb2.DESCRIPTOR, inventory_service_pb2.DESCRIPTOR),
    "reconcile.v1": (reconcile_service_pb2.DESCRIPTOR,),
}


@dataclass(frozen=True, slots=True)
class ErrorRule:
    """
    One row of the catalogue of errors.
    """

    name: str
    code: grpc.StatusCode
    action: str
    metadata_keys: frozenset[str]
    detail_types: tuple[str, ...]
    summary: str
    remedy: str

    @property
    def retryable(self) -> bool:
        """
        Whether sending the same again may succeed.
        """
        return self.action == "RETRY"


@dataclass(frozen=True, slots=True)
class RpcRule:
    """
    Who may call an RPC, and which pool of concurrent calls it counts in.
    """

    scope: str
    call_class: str


@cache
def catalogue() -> dict[str, ErrorRule]:
    """
    Return every error by its name without the prefix, in the order of the enum.
    """
    rules = {}
    for value in error_pb2.ErrorReason.DESCRIPTOR.values[1:]:
        options = value.GetOptions().Extensions[error_pb2.error_rule]
        name = value.name.removeprefix(REASON_PREFIX)
        rules[name] = ErrorRule(
            name=name,
            code=CODES[options.code],
            action=error_pb2.ClientAction.Name(options.client_action).removeprefix("CLIENT_ACTION_"),
            metadata_keys=frozenset(options.metadata_keys),
            detail_types=tuple(options.detail_types),
            summary=options.summary,
            remedy=options.remedy,
        )
    return rules


def rpc_rule(method: MethodDescriptor) -> RpcRule:
    """
    Return the rule of *method*; ValueError when the contract has none.
    """
    options = method.GetOptions().Extensions[rpc_pb2.rpc_rule]
    if not options.scope or not options.call_class:
        raise ValueError(f"{method.full_name} has no (omen.v1.rpc_rule); annotate it in the proto")
    return RpcRule(
        scope=rpc_pb2.Scope.Name(options.scope).removeprefix("SCOPE_").lower(),
        call_class=rpc_pb2.CallClass.Name(options.call_class).removeprefix("CALL_CLASS_").lower(),
    )


def services(packages: Sequence[str] = tuple(FILES)) -> Iterator[ServiceDescriptor]:
    """
    Yield the services of *packages*, in the order of the contract.
    """
    for package in packages:
        for file in FILES[package]:
            yield from file.services_by_name.values()
