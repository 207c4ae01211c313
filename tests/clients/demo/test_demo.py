"""
`omen demo` as a user runs it: what it prints, that it is the same again, and that words alone do not convince it.
"""

import ast
import asyncio
import json
import os
import re
import signal
import subprocess
from pathlib import Path

import pytest

from omen_cli.demo import crash_tail, dedupe, ledger_first, metadata, reconciling, stage
from omen_cli.demo.claims import Claim
from omen_cli.demo.signals import signal_id
from omen_cli.demo.story import STORY
from tests.clients.command import OMEN, omen
from tests.e2e.command import command
from tests.processes import tree_environment

CLAIMS: tuple[Claim, ...] = tuple(
    claim for each in (stage, dedupe, reconciling, crash_tail, ledger_first, metadata) for claim in each.CLAIMS
)
LIAR = """
import sys
partition = sys.argv[sys.argv.index("--partition") + 1]
print(f"Reconciling partition: {partition}")
print(f"Ledger has 10 signals for {partition}")
print(f"Processed 8 signals for {partition}")
print(f"Found 2 missing signals for {partition}")
print(f"✓ {partition}: replayed 2 signals")
"""


@pytest.mark.timeout(120)
async def test_two_runs_with_one_seed_are_the_same_but_for_times(tmp_path: Path) -> None:
    """
    Every claim is put to the test in its order and holds; another run finds the same ids and counts; nothing is left.
    """
    line = ("demo", "--seed", "7", "-o", "json")
    places = (tmp_path / "one", tmp_path / "other")
    runs = await asyncio.gather(*(command(*line, "--data-dir", str(place)) for place in places))
    told = []
    for code, out, err in runs:
        assert (code, err) == (0, ""), out
        row = json.loads(out)
        assert row.pop("measured")["seconds"] < 60
        assert all(step.pop("measured") for step in row["steps"])
        told.append(row)
    assert told[0] == told[1]
    assert (told[0]["held"], told[0]["seed"]) == (True, 7)
    assert [(step["claim"], step["proof"], step["held"]) for step in told[0]["steps"]] == [
        (claim.name, claim.proof, True) for claim in CLAIMS
    ]
    assert not any(os.listdir(tmp_path))  # noqa: PTH208 - pathlib has none that ruff lets an async test call


def test_another_seed_is_about_other_signals() -> None:
    """
    The ids come from the seed, and are the same in whatever process.
    """
    assert signal_id(7, 1) == signal_id(7, 1) != signal_id(8, 1)
    assert len({signal_id(seed, number) for seed in range(3) for number in range(500)}) == 1500
    assert all(re.fullmatch(r"OMEN-[0-9A-F]{12}", signal_id(1, number)) for number in range(50))


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.name)
def test_the_test_that_a_claim_names_is_there(root: Path, claim: Claim) -> None:
    """
    A proof is a file and a test in it.
    """
    file, _, name = claim.proof.partition("::")
    tree = ast.parse((root / file).read_text())
    assert name in {each.name for each in tree.body if isinstance(each, (ast.FunctionDef, ast.AsyncFunctionDef))}


def test_claims_have_names_of_their_own() -> None:
    """
    Each of the 19 claims has its own name, and a sentence.
    """
    assert len({claim.name for claim in CLAIMS}) == len(CLAIMS) == 19
    assert all(claim.says.endswith((".", ".)")) for claim in CLAIMS)


def test_the_story_goes_with_the_claims() -> None:
    """
    The words for a stage take two to three minutes, and say which claims they are about.
    """
    assert 120 <= sum(map(int, re.findall(r", (\d+) s\b", STORY))) <= 180
    named = re.findall(r"claims: (.+)", STORY)
    assert {name for line in named for name in line.split(", ")} <= {claim.name for claim in CLAIMS}
    assert len(named) == 6
    ended = omen("demo", "--story")
    assert (ended.code, ended.out, ended.err) == (0, STORY + "\n", "")


def test_words_alone_do_not_convince(tmp_path: Path) -> None:
    """
    A reconciler that says all the right words and replays nothing breaks the claim, by name, with exit 1.
    """
    liar = tmp_path / "lies" / "reconciler"
    liar.mkdir(parents=True)
    (liar / "__init__.py").touch()
    (liar / "__main__.py").write_text(LIAR)
    place, own = tmp_path / "demo", tree_environment()
    ended = subprocess.run(
        [OMEN, "demo", "--only", "reconcile", "-o", "json", "--data-dir", place],
        capture_output=True,
        text=True,
        check=False,
        env=own | {"PYTHONPATH": f"{liar.parent}:{own['PYTHONPATH']}"},  # The first that is found is run.
    )
    assert ended.returncode == 1
    row = json.loads(ended.stdout)
    (step,) = row["steps"]
    assert (row["held"], step["held"], step["why"]) == (False, False, "riskcast after is 8, not 10")
    assert step["notes"][-1] == "✓ 2026-01-28: replayed 2 signals"
    left, error = ended.stderr.splitlines()
    assert str(place) in left
    assert json.loads(error)["error"]["claim"] == "reconcile"
    assert (place / "reconcile" / "ledger").is_dir()


def test_only_one_proof_in_words() -> None:
    """
    People read the claim, what was seen of it and which test proves it.
    """
    ended = omen("demo", "--only", "crash-tail")
    assert ended.code == 0, ended.err
    assert ended.err == ""
    lines = [line.strip() for line in ended.out.splitlines()]
    assert lines[0] == "OMEN: Two-path signal intelligence — ledger first, then live."
    assert "1 ✓ crash-tail: Crash-tail: reader returns only complete frames." in lines
    assert any(line.startswith("WARNING Partial payload at the end of 2026-01-28/signals-001.wal") for line in lines)
    assert f"proof: {crash_tail.READ.proof}" in lines
    assert re.fullmatch(r"2 of 2 claims held, in \d+\.\d s\. .*", lines[-1])


def children_of(pid: int) -> list[int]:
    """
    Return the processes that a process has started.
    """
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def lives(pid: int) -> bool:
    """
    Tell whether there is such a process.
    """
    return Path(f"/proc/{pid}").exists()


async def test_interrupted_it_leaves_nothing(tmp_path: Path) -> None:
    """
    Ctrl-C in the middle ends with 130; its servers are gone, and so is its directory.
    """
    place = tmp_path / "demo"
    process = await asyncio.create_subprocess_exec(
        *(OMEN, "demo", "-o", "jsonl", "--data-dir", place),
        env=tree_environment(),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    assert json.loads(await process.stdout.readline())["claim"] == "delivered"
    children = children_of(process.pid)
    assert len(children) >= 2
    process.send_signal(signal.SIGINT)
    _, err = await process.communicate()
    assert process.returncode == 130
    assert json.loads(err)["error"]["reason"] == "INTERRUPTED"
    assert not any(lives(pid) for pid in children)
    assert not place.exists()
