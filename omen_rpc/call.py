"""
What a server knows of the call it is answering.
"""

from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from time import perf_counter

from omen_rpc.keys import Principal


@dataclass(slots=True)
class Call:
    """
    One call: who, what, and under which id it is told of.
    """

    method: str
    request_id: str
    trace_parent: str
    peer: str
    metadata: Sequence[tuple[str, str | bytes]] = ()  # grpc makes it anew whenever it is asked: 3 µs.
    began_s: float = field(default_factory=perf_counter)
    principal: Principal | None = None
    evicted: bool = False
    drained: bool = False
    cursor: str = ""  # Where a stream of signals is after what has been written of it.

    @property
    def caller(self) -> str:
        """
        Whose limits the call counts against: the key's name, or the peer's host.
        """
        return self.principal.name if self.principal is not None else self.peer.rpartition(":")[0]


# Every call runs in a task of its own, so the variable is set once and never reset.
CURRENT: ContextVar[Call] = ContextVar("omen_call")
