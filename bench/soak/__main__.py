"""
Run everything for a long time, roughly, and see whether anything is lost, leaks or breaks.

``python -m bench.soak --minutes 30``: OMEN with keys, RiskCast and the reconciler as processes; callers, subscribers
that come and go, storms of reconnects, keys rotated in use, RiskCast killed and restarted. Exit 0 when nothing
acknowledged is lost, nothing grows beyond its bound and no server logged a bug; 1 otherwise, with what is wrong.
"""

import argparse
import asyncio
import json
import sys
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from bench.soak.run import Plan, run


def main() -> int:
    """
    Run the soak as the command line says, and return the exit code.
    """
    line = argparse.ArgumentParser(prog="python -m bench.soak", description=(__doc__ or "").strip().splitlines()[0])
    line.add_argument("--minutes", type=float, default=30.0, help="how long; 30 by default")
    line.add_argument("--rate", type=float, default=200.0, help="signals a second, all callers together")
    line.add_argument("--callers", type=int, default=4, help="callers that bring signals")
    line.add_argument("--subscribers", type=int, default=20, help="subscribers that come and go")
    line.add_argument("--fill", type=int, default=180_000, help="signals brought before, so that every cache is full")
    line.add_argument("--dir", type=Path, help="where data and logs are kept; a new directory by default")
    line.add_argument("--json", action="store_true", help="the report as JSON")
    chosen = line.parse_args()
    place = (chosen.dir or Path(mkdtemp(prefix="omen-soak-"))).absolute()
    place.mkdir(parents=True, exist_ok=True)
    plan = Plan(place, chosen.minutes * 60, chosen.rate, chosen.callers, chosen.subscribers, chosen.fill)
    report = asyncio.run(run(plan))
    print(json.dumps(report) if chosen.json else "\n".join(words(report)))
    return 1 if report["problems"] else 0


def words(report: dict[str, Any]) -> list[str]:
    """
    Return the report as text.
    """
    lines = [f"{name.replace('_', ' ')}: {value}" for name, value in report["counts"].items()]
    lines.append(f"{'':11}{'figure':16}{'first':>12}{'last':>12}{'top':>12}{'per hour':>14}")
    for server, trends in report["trends"].items():
        for name, each in trends.items():
            figures = "".join(f"{each[part]:12,.0f}" for part in ("first", "last", "top"))
            lines.append(f"{server:11}{name:16}{figures}{each['slope_per_hour']:14,.0f}")
    lines += [f"PROBLEM {problem}" for problem in report["problems"]] or ["nothing lost, nothing grown, no bug logged"]
    return [*lines, f"data and logs: {report['place']}"]


if __name__ == "__main__":
    sys.exit(main())
