"""
The soak in its short form, and whether it would notice what it is there for.
"""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bench.soak.process import of_kernel
from bench.soak.trend import BOUNDS, MEASURABLE_S, Trend, grown, measured
from bench.soak.verdict import Held, bugs
from tests.conftest import ROOT
from tests.processes import tree_environment

MIB = 1 << 20


@pytest.mark.timeout(150)
async def test_the_short_form(tmp_path: Path) -> None:
    """
    Some seconds of everything at once: nothing acknowledged is lost, keys were rotated, storms raged, RiskCast was
    killed, and no server logged a bug; each process was measured.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "bench.soak", "--minutes", "0.25", "--rate", "100", "--subscribers", "8", "--fill", "2000", "--json"),
        f"--dir={tmp_path}",
        cwd=ROOT,
        env=tree_environment(),
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await process.communicate()
    report = json.loads(out)
    assert (report["problems"], process.returncode) == ([], 0)
    counts = report["counts"]
    assert counts["acknowledged"] == counts["in_the_ledger"] == counts["at_riskcast"] > 0
    assert counts["told_again"] > 0
    assert min(counts[name] for name in ("storms", "key_rotations", "restarts_of_riskcast")) > 0
    assert counts["connections_of_subscribers"] > 8
    assert report["trends"].keys() == {"riskcast", "omen", "reconciler"}
    assert all(each.keys() == BOUNDS.keys() for each in report["trends"].values())


def holding(**figures: float) -> dict[str, float]:
    """
    Return figures of a process in good health, but for these.
    """
    return dict.fromkeys(BOUNDS, 1.0) | figures


def test_a_leak_is_noticed() -> None:
    """
    What rises by more than its noise and its hourly allowance is named with its figures; what goes up and down is not.
    """
    leaking = [(at, 1, holding(resident_bytes=100 * MIB + at * 64 * MIB / 600)) for at in range(0, 601, 5)]
    (problem,) = grown("omen", measured(leaking, 600.0))
    assert problem.startswith("omen: resident_bytes rose by")
    swinging = [(at, 1, holding(resident_bytes=(100 + at // 5 % 2 * 40) * MIB)) for at in range(0, 601, 5)]
    assert grown("omen", measured(swinging, 600.0)) == []
    assert grown("omen", measured([(at, 1, holding(wal_bytes=65 * MIB)) for at in range(0, 61, 5)], 60.0)) != []


def test_the_longest_process_is_measured() -> None:
    """
    Of a server that was restarted the process that was looked at most often counts, behind the warm-up; one that was
    never looked at is a problem.
    """
    samples = [(at, 1 if at < 300 else 2, holding(tasks=at)) for at in range(0, 601, 5)]
    trends = measured(samples, 600.0)
    assert (trends["tasks"].first, trends["tasks"].last) == (300.0, 600.0)
    assert trends["tasks"].seconds >= MEASURABLE_S
    assert trends["tasks"].slope_per_hour == pytest.approx(3600.0)
    assert grown("riskcast", measured([], 600.0)) == ["riskcast: nothing was measured"]


def test_a_slope_needs_time() -> None:
    """
    A short run is held to the tops alone.
    """
    steep = Trend(first=0, last=100 * MIB, top=100 * MIB, slope_per_hour=1e12, seconds=MEASURABLE_S - 1)
    assert BOUNDS["resident_bytes"].allows(steep)
    long = Trend(first=0, last=100 * MIB, top=100 * MIB, slope_per_hour=1e12, seconds=MEASURABLE_S)
    assert not BOUNDS["resident_bytes"].allows(long)


def test_a_lost_signal_is_noticed() -> None:
    """
    One that was acknowledged and is missing on either side, one that is there too much, and one twice, are all named.
    """
    held = Held(ledger={"a": 1, "b": 2, "c": 1}, riskcast={"a": 1, "b": 1, "x": 1}, rounds=1, left=["not yet"])
    assert held.problems({"a", "b", "lost"}) == [
        "reconciler: not yet",
        "1 acknowledged and not in the ledger, such as lost",
        "1 in the ledger and not at RiskCast, such as c",
        "1 at RiskCast and not in the ledger, such as x",
        "1 more than once in the ledger, such as b",
    ]
    assert Held({"a": 1}, {"a": 1}, 1, []).problems({"a"}) == []


def test_a_bug_in_a_log_is_noticed() -> None:
    """
    A stack, an alarm and a traceback that was no log line are bugs; an outage that is told of in words is none.
    """
    lines: list[dict[str, Any]] = [
        {"level": "error", "event": "reconcile_failed", "text": "RiskCast cannot be reached"},
        {"level": "error", "event": "unforeseen_error", "raised_at": ["x.py:1 f"]},
        {"level": "critical", "event": "ledger_corrupt"},
        {"text": "Traceback (most recent call last):"},
    ]
    assert len(bugs("omen", lines)) == 3


def test_a_process_that_is_going_holds_nothing_to_be_told() -> None:
    """
    One that has ended and was not waited for has no memory any more, and is told from a fault; a living one has some.
    """
    assert of_kernel(os.getpid())["resident_bytes"] > 0
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        with pytest.raises(ProcessLookupError):
            of_kernel(process.pid)
