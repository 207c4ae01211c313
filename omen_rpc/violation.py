"""
A field that breaks its rule. It stands apart from the errors of a call, so that checking a signal needs no gRPC.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Violation:
    """
    One field that breaks its rule, by its path from the request.
    """

    field: str
    description: str
