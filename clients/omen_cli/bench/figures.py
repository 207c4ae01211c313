"""
What a measurement comes to, and on which machine: a figure without its machine and settings is a rumour.
"""

import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Figure:
    """
    One case. Latencies are of one call, in milliseconds, and None where the case has no calls.
    """

    case: str
    producers: int
    batch: int
    payload: str
    records: int
    seconds: float
    rate_per_s: float
    p50_ms: float | None = None
    p90_ms: float | None = None
    p99_ms: float | None = None
    p999_ms: float | None = None
    syncs_per_record: float | None = None
    bytes_per_record: float | None = None

    def row(self) -> dict[str, Any]:
        """
        Return the figure as it is printed, no number more exact than it is.
        """
        return {name: rounded(value) for name, value in asdict(self).items()}


def percentiles_ms(latencies_s: Sequence[float]) -> dict[str, float]:
    """
    Return the latencies that half, 90 %, 99 % and 99.9 % of all calls do not exceed.
    """
    ordered = sorted(latencies_s)
    shares = {"p50_ms": 0.5, "p90_ms": 0.9, "p99_ms": 0.99, "p999_ms": 0.999}
    return {name: ordered[min(int(share * len(ordered)), len(ordered) - 1)] * 1e3 for name, share in shares.items()}


def machine(directory: Path) -> dict[str, Any]:
    """
    Return what the figures depend on besides the code.
    """
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "file_system": _file_system(directory),
        "load": round(os.getloadavg()[0], 2),
    }


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines() if Path("/proc/cpuinfo").exists() else []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.machine()


def _file_system(directory: Path) -> str:
    """
    Return the type of the file system that holds a directory; tmpfs makes a sync free.
    """
    if not Path("/proc/mounts").exists():
        return "unknown"
    mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text(encoding="utf-8").splitlines()]
    holding = [(place, kind) for place, kind in mounts if directory.resolve().is_relative_to(place)]
    return max(holding, key=lambda mount: len(mount[0]))[1]


def rounded(value: Any) -> Any:
    """
    Return a number with three digits at most before zeros.
    """
    if not isinstance(value, float):
        return value
    return round(value) if value >= 1000 else float(f"{value:.3g}")
