from dataclasses import dataclass

from omen_server.breaker import BreakerView


@dataclass(frozen=True, slots=True)
class HotPathView:
    """
    The hot path as it is now.
    """

    breaker: BreakerView
    backpressure_delay_s: float
    queue_length: int
    queue_length_max: int
    calls_in_flight: int
    settled_offset: int
    overflowed: int
