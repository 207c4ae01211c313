"""
What we depend on is pinned, hashed, from nowhere in particular, and on the bill of materials.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

HOST = re.compile(r"(?i)https?://|git\+|--(?:extra-)?index-url|--find-links|\b[a-z0-9-]+\.(?:org|com|io|net)\b")
PIN = re.compile(r"^([a-z0-9._-]+)==\S+")


def blocks(text: str) -> Iterator[str]:
    """
    Yield each requirement with the lines of its hashes.
    """
    for block in re.split(r"(?m)^(?=\S)", text):
        if block.strip() and not block.startswith("#"):
            yield block


def test_every_requirement_is_pinned_and_hashed(root: Path) -> None:
    """
    Each line of requirements.txt names one version with its digests, and no host to fetch it from.
    """
    text = (root / "requirements.txt").read_text()
    found = list(blocks(text))
    assert len(found) > 50
    for block in found:
        assert PIN.match(block), block
        assert re.search(r"--hash=sha256:[0-9a-f]{64}\b", block), block
    assert not HOST.search(text)


def test_every_npm_package_is_hashed(root: Path) -> None:
    """
    Each package of a package-lock.json, where there is one, has its digest and no host to fetch it from.
    """
    for lock in (root / "package-lock.json", root / "clients/node/package-lock.json"):
        if not lock.exists():
            continue
        for place, package in json.loads(lock.read_text())["packages"].items():
            if place and not package.get("link"):
                assert package.get("integrity", "").startswith("sha512-"), place
                assert "resolved" not in package, place


def test_the_bill_of_materials_has_everything(root: Path, tmp_path: Path) -> None:
    """
    Every pinned package is on the bill once, with its version and digests, and the same tree gives the same bill.
    """
    bills = []
    for name in ("one", "two"):
        subprocess.run([sys.executable, root / "deploy/sbom.py", tmp_path / name], check=True)
        bills.append((tmp_path / name).read_text())
    assert bills[0] == bills[1]
    bill = json.loads(bills[0])
    requirements = blocks((root / "requirements.txt").read_text())
    pins = {f"pkg:pypi/{block.split()[0].replace('==', '@')}" for block in requirements}
    python = {each["purl"]: each for each in bill["components"] if each["purl"].startswith("pkg:pypi/")}
    assert python.keys() == pins
    assert all(each["properties"] and each["version"] in each["purl"] for each in python.values())
    assert len({each["bom-ref"] for each in bill["components"]}) == len(bill["components"])
    assert (bill["bomFormat"], bill["metadata"]["component"]["name"]) == ("CycloneDX", "omen-dualpath")


def audited(root: Path, *arguments: Path, **environment: str) -> tuple[int, str]:
    """
    Run the audit and return its exit code and what it says.
    """
    line = [root / ".ci/audit", *arguments]
    done = subprocess.run(line, env=os.environ | environment, capture_output=True, text=True, check=False, timeout=50)
    assert done.stderr == ""
    return done.returncode, done.stdout


def test_the_audit_puts_up_with_being_offline(root: Path) -> None:
    """
    Without a way to the advisories nothing is checked, that is said, and nothing fails.
    """
    nowhere = {"HTTPS_PROXY": "http://127.0.0.1:1", "https_proxy": "http://127.0.0.1:1", "NO_PROXY": "", "no_proxy": ""}
    assert audited(root, **nowhere) == (0, "audit: the advisories cannot be reached; nothing was checked\n")


def test_the_audit_tells_of_advisories(root: Path, tmp_path: Path) -> None:
    """
    An advisory ends the audit with 1 and is told with the version that mends it; what could not be looked up counts.
    """
    answer = {
        "dependencies": [
            {"name": "a", "version": "1", "vulns": [{"id": "X-1", "fix_versions": ["2"]}]},
            {"name": "b", "version": "1", "vulns": []},
            {"name": "c", "skip_reason": "unknown"},
        ]
    }
    tool = tmp_path / "pip-audit"
    tool.write_text(f"#!/bin/sh\ncat > \"$(echo \"$*\" | sed 's/.* -o //')\" <<'X'\n{json.dumps(answer)}\nX\nexit 1\n")
    tool.chmod(0o755)
    (tmp_path / "omen/.ci").mkdir(parents=True)
    shutil.copy(root / ".ci/audit", tmp_path / "omen/.ci/audit")  # Elsewhere, where no environment has the real one.
    code, said = audited(tmp_path / "omen", PATH=f"{tmp_path}:{os.environ['PATH']}")
    assert (code, said.splitlines()) == (
        1,
        [
            "audit: a 1: X-1, mended in 2",
            "audit: 1 advisories; 2 of 3 dependencies could be looked up",
        ],
    )
