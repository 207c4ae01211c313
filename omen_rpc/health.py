"""
grpc.health.v1 for the whole server, for liveness and readiness, and for every service: Check, Watch and List.

The library's descriptor has no List yet. Ours is the library's with List added as the published protocol has it, in a
pool of its own, so that both can live in one process; on the wire they are the same.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import suppress
from typing import Any

from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2

from omen_rpc.errors import Reason, fault

LIVENESS = "liveness"
READINESS = "readiness"
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
SERVICE_UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN


def describe() -> FileDescriptor:
    """
    Return the library's description of the service with List added.
    """
    file = FileDescriptorProto()
    health_pb2.DESCRIPTOR.CopyToProto(file)
    if "List" not in {method.name for method in file.service[0].method}:
        file.message_type.add(name="HealthListRequest")
        reply = file.message_type.add(name="HealthListResponse")
        entry = reply.nested_type.add(name="StatusesEntry")
        entry.options.map_entry = True
        add_field(entry, "key", 1, FieldDescriptorProto.TYPE_STRING)
        add_field(entry, "value", 2, FieldDescriptorProto.TYPE_MESSAGE, ".grpc.health.v1.HealthCheckResponse")
        statuses = ".grpc.health.v1.HealthListResponse.StatusesEntry"
        add_field(
            reply, "statuses", 1, FieldDescriptorProto.TYPE_MESSAGE, statuses
        ).label = FieldDescriptorProto.LABEL_REPEATED
        file.service[0].method.add(
            name="List",
            input_type=".grpc.health.v1.HealthListRequest",
            output_type=".grpc.health.v1.HealthListResponse",
        )
    pool = DescriptorPool()
    pool.Add(file)
    return pool.FindFileByName(file.name)


def add_field(
    message: DescriptorProto, name: str, number: int, kind: FieldDescriptorProto.Type.ValueType, type_name: str = ""
) -> FieldDescriptorProto:
    """
    Add one field to *message*.
    """
    field = message.field.add(name=name, number=number, type=kind, label=FieldDescriptorProto.LABEL_OPTIONAL)
    if type_name:
        field.type_name = type_name
    return field


DESCRIPTOR = describe()
SERVICE = DESCRIPTOR.services_by_name["Health"]
HealthCheckRequest: Any = GetMessageClass(DESCRIPTOR.message_types_by_name["HealthCheckRequest"])
HealthCheckResponse: Any = GetMessageClass(DESCRIPTOR.message_types_by_name["HealthCheckResponse"])
HealthListResponse: Any = GetMessageClass(DESCRIPTOR.message_types_by_name["HealthListResponse"])


class Health:
    """
    What is said of each name. Everything but liveness is NOT_SERVING until told otherwise.
    """

    def __init__(self, services: Iterable[str]) -> None:
        self._statuses: dict[str, int] = {LIVENESS: SERVING}
        self._statuses.update(dict.fromkeys(("", READINESS, *services), NOT_SERVING))
        self._changed = asyncio.Event()
        self._closing = False
        self._watchers = 0
        self._unwatched = asyncio.Event()
        self._unwatched.set()

    @property
    def ready(self) -> bool:
        """
        Whether the server as a whole serves.
        """
        return self._statuses[READINESS] == SERVING

    def set_ready(self, ready: bool) -> None:
        """
        Say of everything but liveness whether it serves, and tell every watcher.
        """
        for name in self._statuses:
            if name != LIVENESS:
                self._statuses[name] = SERVING if ready else NOT_SERVING
        self._changed.set()
        self._changed = asyncio.Event()

    async def close(self, timeout_s: float) -> None:
        """
        End every watch once its caller has been told the last status; one that takes too long is left behind.
        """
        self._closing = True
        self._changed.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._unwatched.wait()

    async def Check(self, request: Any, _context: object) -> Message:
        """
        Answer for one name; NOT_FOUND for one there is not.
        """
        status = self._statuses.get(request.service)
        if status is None:
            raise fault(Reason.ERROR_REASON_HEALTH_NAME_UNKNOWN, metadata={"service": request.service})
        reply: Message = HealthCheckResponse(status=status)
        return reply

    async def Watch(self, request: Any, _context: object) -> AsyncIterator[Message]:
        """
        Answer for one name now and at every change, SERVICE_UNKNOWN for one there is not.
        """
        self._watchers += 1
        self._unwatched.clear()
        told = None
        try:
            while True:
                changed = self._changed
                status = self._statuses.get(request.service, SERVICE_UNKNOWN)
                if status != told:
                    yield HealthCheckResponse(status=status)
                    told = status
                    continue  # It may have changed while the caller was being told.
                if self._closing:
                    return
                await changed.wait()
        finally:
            self._watchers -= 1
            if not self._watchers:
                self._unwatched.set()

    async def List(self, _request: object, _context: object) -> Message:
        """
        Answer for all names.
        """
        reply: Message = HealthListResponse(
            statuses={name: HealthCheckResponse(status=status) for name, status in self._statuses.items()}
        )
        return reply
