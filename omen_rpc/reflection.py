"""
Server reflection, v1 and v1alpha: what is served here, described to tools that hold no protos.

The library serves v1alpha only. The two differ in the package's name and in nothing else, so v1 is described by a
renamed copy and answered by the same code.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.rpc import error_details_pb2
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha.reflection import aio

from omen_rpc.endpoint import PROBE_CLASS, Endpoint

ALPHA = "grpc.reflection.v1alpha"
STABLE = "grpc.reflection.v1"
SERVICE = "ServerReflection"
METHOD = "ServerReflectionInfo"


def reflection(services: Sequence[ServiceDescriptor]) -> Iterator[Endpoint]:
    """
    Yield the endpoints that describe *services*, and themselves.
    """
    pool = DescriptorPool()
    seen: set[str] = set()
    for service in services:
        add_file(pool, service.file, seen)
    add_file(pool, reflection_pb2.DESCRIPTOR, seen)
    add_file(pool, error_details_pb2.DESCRIPTOR, seen)  # So that tools can print the details of an error.
    pool.Add(stable())
    names = [*(service.full_name for service in services), f"{ALPHA}.{SERVICE}", f"{STABLE}.{SERVICE}"]
    symbols: Any = Symbols(pool)
    servicer = aio.ReflectionServicer(names, pool=symbols)
    for package in (ALPHA, STABLE):
        yield Endpoint(
            f"/{package}.{SERVICE}/{METHOD}",
            package,
            servicer.ServerReflectionInfo,
            reflection_pb2.ServerReflectionRequest,
            scope="",
            call_class=PROBE_CLASS,
            streams_requests=True,
            streams_replies=True,
        )


class Symbols:
    """
    A pool that also finds the file of a method by the method's name, as ``grpcurl describe`` asks for it.
    """

    def __init__(self, pool: DescriptorPool) -> None:
        self._pool = pool

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pool, name)

    def FindFileContainingSymbol(self, symbol: str) -> Any:
        """
        Return the file that *symbol* is described in; KeyError when there is none.
        """
        try:
            return self._pool.FindFileContainingSymbol(symbol)
        except KeyError:
            return self._pool.FindMethodByName(symbol).containing_service.file


def add_file(pool: DescriptorPool, file: Any, seen: set[str]) -> None:
    """
    Add *file* to *pool*, after everything it imports.
    """
    if file.name in seen:
        return
    seen.add(file.name)
    for dependency in file.dependencies:
        add_file(pool, dependency, seen)
    pool.AddSerializedFile(file.serialized_pb)


def stable() -> FileDescriptorProto:
    """
    Return the description of v1.
    """
    renamed = FileDescriptorProto()
    reflection_pb2.DESCRIPTOR.CopyToProto(renamed)
    renamed.name = renamed.name.replace("v1alpha", "v1")
    renamed.package = STABLE
    for message in renamed.message_type:
        for field in message.field:
            if field.type_name:
                field.type_name = field.type_name.replace(ALPHA, STABLE)
    for method in renamed.service[0].method:
        method.input_type = method.input_type.replace(ALPHA, STABLE)
        method.output_type = method.output_type.replace(ALPHA, STABLE)
    return renamed
