import json
import re
import subprocess
from pathlib import Path

import pytest

from tests.clients.command import omen
from tests.clients.node import has_npm
from tests.processes import tree_environment

NEEDS_NPM = pytest.mark.skipif(not has_npm(), reason="there is no npm, and so no TypeScript client")
BUILD_TIMEOUT_S = 240


@NEEDS_NPM
@pytest.mark.timeout(BUILD_TIMEOUT_S + 60)
def test_typescript_reads_the_ack_of_a_duplicate(root: Path, servers: dict[str, str]) -> None:
    """
    Stubs that another toolchain makes of our protos submit, stream, and read the first ack out of a status's details.
    """
    made = subprocess.run(
        ["make", "node"], cwd=root, capture_output=True, text=True, timeout=BUILD_TIMEOUT_S, check=False
    )
    assert made.returncode == 0, made.stdout + made.stderr
    line = ["node", "clients/node/dist/src/walk.js", servers["OMEN_ADDRESS"], servers["RISKCAST_ADDRESS"]]
    done = subprocess.run(
        line, cwd=root, capture_output=True, text=True, timeout=50, check=False, env=tree_environment()
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    stored = json.loads(omen("processed", told["signalId"], "-o", "json", **servers).out)
    assert told["again"]["status"] == "ALREADY_EXISTS"
    assert told["ackId"] == told["again"]["ackId"] == stored["ack_id"]
    assert told["again"]["details"] == ["google.rpc.ErrorInfo", "riskcast.v1.SignalAlreadyIngested"]


def test_the_lock_of_npm_names_no_host(root: Path) -> None:
    """
    Packages are locked by version and hash, and come from whichever registry is configured.
    """
    lock = (root / "clients/node/package-lock.json").read_text()
    packages = json.loads(lock)["packages"]
    assert len(packages) > 5
    assert all("integrity" in each for path, each in packages.items() if path)
    assert re.findall(r"https?://|resolved", lock) == []
