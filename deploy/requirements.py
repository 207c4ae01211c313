"""
Write what an image installs: of the locked distributions those that the programs need, and those that build the wheel.

The lock in the tree's root also holds what tests and lints; an image has no use for it. ``make lock`` runs this.
"""

import sys
import tomllib
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, requires
from itertools import chain
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

HERE = Path(__file__).parent
ROOT = HERE.parent
IMAGE = {"python_version": "3.11", "python_full_version": "3.11.0", "sys_platform": "linux", "platform_system": "Linux"}


def locked(text: str) -> dict[str, str]:
    """
    Return each distribution's part of a lock, its hashes with it, by its name.
    """
    parts: dict[str, str] = {}
    name = ""
    for line in text.splitlines(keepends=True):
        if not line[0].isspace():
            name = canonicalize_name(Requirement(line.split(" \\")[0]).name)
        parts[name] = parts.get(name, "") + line
    return parts


def reached(wanted: Iterable[Requirement]) -> set[str]:
    """
    Return the names of all that *wanted* needs in the image, as the installed distributions say.
    """
    found: set[tuple[str, str]] = set()
    waiting = [(canonicalize_name(each.name), extra) for each in wanted for extra in ("", *each.extras)]
    while waiting:
        name, extra = waiting.pop()
        if (name, extra) in found:
            continue
        found.add((name, extra))
        for needed in map(Requirement, needs(name)):
            if in_image(needed, extra):
                waiting.extend((canonicalize_name(needed.name), each) for each in ("", *needed.extras))
    return {name for name, _ in found}


def needs(name: str) -> list[str]:
    """
    Return what a distribution needs; nothing when only a Python other than this one has it installed.
    """
    try:
        return requires(name) or []
    except PackageNotFoundError:
        return []


def in_image(requirement: Requirement, extra: str = "") -> bool:
    """
    Whether *requirement* is one in the image, whatever this machine is.
    """
    return requirement.marker is None or requirement.marker.evaluate(IMAGE | {"extra": extra})


def write(target: Path) -> None:
    """
    Write both files into *target*.
    """
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    lock = locked((ROOT / "requirements.txt").read_text())
    run = [*project["project"]["dependencies"], *chain(*project["project"]["optional-dependencies"].values())]
    for file, texts in (("requirements.txt", run), ("requirements-build.txt", project["build-system"]["requires"])):
        names = reached(each for each in map(Requirement, texts) if in_image(each))
        (target / file).write_text("".join(lock[name] for name in sorted(names)))


if __name__ == "__main__":
    write(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE)
