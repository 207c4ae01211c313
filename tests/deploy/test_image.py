"""
The image's recipe, held to the tree it copies and to the programs it starts. Nothing here builds it.
"""

import re
import tomllib
from pathlib import Path

from omen_cli.app import application
from tests.conftest import ROOT
from tests.deploy.started import SETTINGS, is_there, known_variables, program_of
from tests.deploy.test_compose import IMAGE
from tests.deploy.test_kubernetes import WORKLOADS, pod

DOCKERFILE = (ROOT / "deploy/Dockerfile").read_text().replace("\\\n", " ")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
IGNORED = (ROOT / "deploy/Dockerfile.dockerignore").read_text().splitlines()


def instructions(kind: str) -> list[str]:
    """
    Return what all instructions of one kind say.
    """
    return re.findall(rf"^{kind} +(.*)$", DOCKERFILE, re.MULTILINE)


def test_everything_is_installed_from_a_lock() -> None:
    """
    Each installation wants hashes of all it fetches; what is without hashes is our own wheel, and fetches nothing.
    """
    installs = re.findall(r"pip install ([^&\n]*)", DOCKERFILE)
    assert len(installs) == 3
    hashed = [each.rpartition("-r ")[2].strip() for each in installs if "--require-hashes" in each]
    assert hashed == ["deploy/requirements-build.txt", "deploy/requirements.txt"]
    (own,) = [each for each in installs if "--require-hashes" not in each]
    assert "--no-deps" in own


def test_the_locks_are_parts_of_the_lock(tmp_path: Path) -> None:
    """
    The image's locks are what deploy/requirements.py makes of the tree's: the same versions and hashes, no tests.
    """
    made: dict[str, object] = {"__name__": "requirements", "__file__": str(ROOT / "deploy/requirements.py")}
    exec((ROOT / "deploy/requirements.py").read_text(), made)  # noqa: S102 - a script of the tree, which is no package
    made["write"](tmp_path)  # type: ignore[operator]  # It is that function.
    for name in ("requirements.txt", "requirements-build.txt"):
        text = (ROOT / "deploy" / name).read_text()
        assert text == (tmp_path / name).read_text(), f"deploy/{name} is stale: run python deploy/requirements.py"
        assert "pytest" not in text


def test_all_that_the_wheel_holds_is_copied() -> None:
    """
    What pyproject.toml packs is copied into the builder and not ignored on the way.
    """
    copied = {part for line in instructions("COPY") if "--from" not in line for part in line.split()[:-1]}
    packed = {part.partition("/")[0] for part in PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["only-include"]}
    assert packed | {"pyproject.toml", PROJECT["project"]["readme"]} <= copied
    assert all((ROOT / part).exists() for part in copied)
    assert copied <= {line.removeprefix("!") for line in IGNORED if line.startswith("!")}
    assert IGNORED[1] == "*"


def test_it_runs_as_nobody_in_particular() -> None:
    """
    The user is a number, so that `runAsNonRoot` can be checked, and the one that the manifests name.
    """
    assert instructions("USER")[-1] == "10001:10001"
    assert {pod(name)["securityContext"]["runAsUser"] for name in WORKLOADS} == {10001}


def test_its_health_is_asked_by_a_command_that_there_is() -> None:
    """
    HEALTHCHECK is a line that the `omen` command takes, about the program that the image starts.
    """
    (check,) = instructions("HEALTHCHECK")
    line = re.findall(r'"([^"]+)"', check.partition("CMD")[2])
    assert line[0] == "omen"
    function, bound, _ = application().parse_args(line[1:], exit_on_error=False, print_error=False)
    assert (function.__name__, bound.args) == ("health", ("omen",))
    assert instructions("CMD")[-1] == '["omen-server"]'


def test_its_variables_and_ports_are_the_programs() -> None:
    """
    What it sets is read by one of the programs, and is what the compose test takes it for; what it exposes is theirs.
    """
    names = [name for name in SETTINGS if is_there(name)]
    known = set().union(*(known_variables(name) for name in names)) | {"PATH", "PYTHONDONTWRITEBYTECODE"}
    sets = dict(part.split("=", 1) for part in instructions("ENV")[0].split())
    assert sets.keys() <= known
    assert {key: value for each in IMAGE.values() for key, value in each.items()}.items() <= sets.items()
    exposed = set(map(int, instructions("EXPOSE")[0].split()))
    for name in names:
        fields = program_of(name)[1].model_fields
        assert {int(fields["listen"].default.rpartition(":")[2]), fields["metrics_port"].default} <= exposed
