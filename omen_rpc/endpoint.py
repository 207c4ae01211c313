"""
One method of one service as a server hosts it: where it is, what it takes, who may call it.
"""

from collections.abc import Callable, Iterator
from typing import Any

from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from omen_rpc import metrics
from omen_rpc.contract import rpc_rule

ITEM_FIELDS = ("events", "signals", "items")
PROBE_CLASS = "probe"


class Endpoint:
    """
    A method and the function that answers it.

    An empty scope means that anybody may call it, key or not, and also while the server starts or drains: probes.
    An empty call class means that it takes no place in any pool: it answers without waiting for anything.
    """

    def __init__(
        self,
        path: str,
        domain: str,
        function: Callable[..., Any],
        request_type: type[Message],
        *,
        scope: str,
        call_class: str,
        streams_requests: bool = False,
        streams_replies: bool = False,
    ) -> None:
        self.path = path
        self.domain = domain
        self.function = function
        self.request_type = request_type
        self.scope = scope
        self.call_class = call_class
        self.streams_requests = streams_requests
        self.streams_replies = streams_replies
        _, self._service, self._method = path.split("/")
        self._items = items_field(request_type)
        self._seconds = metrics.RPC_CALL_SECONDS.labels(self._service, self._method)
        self._counters: dict[str, Any] = {}

    def cost(self, request: Message) -> int:
        """
        Return what *request* counts against a rate: signals, not calls.
        """
        return max(1, len(getattr(request, self._items))) if self._items else 1

    def count(self, code: str, seconds: float) -> None:
        """
        Count one call that ended with *code*.
        """
        counter = self._counters.get(code)
        if counter is None:
            counter = self._counters[code] = metrics.RPC_CALLS.labels(self._service, self._method, code)
        counter.inc()
        if not self.streams_replies:
            self._seconds.observe(seconds)


def endpoints(service: ServiceDescriptor, servicer: object) -> Iterator[Endpoint]:
    """
    Yield an endpoint for every method the contract gives *service*, each answered by *servicer*.
    """
    for method in service.methods:
        rule = rpc_rule(method)
        yield endpoint_of(method, servicer, scope=rule.scope, call_class=rule.call_class)


def probes(service: ServiceDescriptor, servicer: object) -> Iterator[Endpoint]:
    """
    Yield endpoints that need no key and no serving server: health and reflection.

    Only those that stay open take places, so that a hundred watchers cannot make an orchestrator's check fail.
    """
    for method in service.methods:
        yield endpoint_of(method, servicer, scope="", call_class=PROBE_CLASS if method.server_streaming else "")


def endpoint_of(method: MethodDescriptor, servicer: object, *, scope: str, call_class: str) -> Endpoint:
    """
    Return the endpoint of one method.
    """
    service = method.containing_service
    return Endpoint(
        f"/{service.full_name}/{method.name}",
        service.file.package,
        getattr(servicer, method.name),
        GetMessageClass(method.input_type),
        scope=scope,
        call_class=call_class,
        streams_requests=method.client_streaming,
        streams_replies=method.server_streaming,
    )


def items_field(request_type: type[Message]) -> str:
    """
    Return the name of the request's list of signals or raw events; empty when it has none.
    """
    for field in request_type.DESCRIPTOR.fields:
        if field.name in ITEM_FIELDS and field.is_repeated:
            return field.name
    return ""
