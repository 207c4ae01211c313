import os
import shutil
import sys
from pathlib import Path
from typing import NoReturn

import hypothesis
import pytest

# The programs of this environment (grpcurl, buf, protoc's plugins) are found also when nobody activated it.
os.environ["PATH"] = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
# Before grpc is imported: its C core's lines are noise here, and it heeds this only then.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

pytest_plugins = ["tests.postgres"]

# A busy machine is slow, not wrong: no test fails for the time an example took.
hypothesis.settings.register_profile("busy", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("busy")

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def root() -> Path:
    """
    Return the project's own directory.
    """
    return ROOT


def need(program: str) -> str:
    """
    Return the path of a program the machine must bring. Without it a test fails in CI, and is skipped elsewhere, aloud.
    """
    path = shutil.which(program)
    if path is None:
        skip_aloud(f"{program} is not installed; .ci/run installs it")
    return path


def skip_aloud(message: str) -> NoReturn:
    """
    End a test that the machine cannot run: as a failure in CI, where the machine is ours, as a skip elsewhere.
    """
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)
