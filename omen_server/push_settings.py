from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class DeliveryLimits:
    """
    How often and for how long one call tries.
    """

    attempts_max: int = 5
    pause_first_s: float = 0.1
    pause_max_s: float = 10.0
    timeout_s: float = 30.0
    overdue_s: float = 1.0


@dataclass(frozen=True, slots=True)
class EmitterLimits:
    """
    What the hot path may take, and how patient it is.
    """

    batch_signals_max: int = 100
    batch_bytes_max: int = 512 << 10
    calls_max: int = 4
    queue_signals_max: int = 10_000
    outcomes_kept_max: int = 32_768
    delivery: DeliveryLimits = field(default_factory=DeliveryLimits)
