"""
Write the bill of materials, CycloneDX 1.5, from the locked dependencies: ``python deploy/sbom.py [FILE]``.

Everything comes from files of this tree, so that the same tree gives the same bill, on a machine without a network too.
"""

import base64
import json
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
PINNED = re.compile(r"^(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)==(?P<version>[^\s;\\]+)(?: ;[^\\]*)?")
HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")
NPM_LOCKS = ("package-lock.json", "clients/node/package-lock.json")


def python_components(text: str) -> Iterator[dict[str, Any]]:
    """
    Yield what `requirements.txt` pins. A package may be pinned twice, for different machines.
    """
    for block in re.split(r"(?m)^(?=[A-Za-z0-9])", text):
        pinned = PINNED.match(block)
        if pinned is None:
            continue
        # A package comes as one of several files, so their digests are none of the component itself.
        files = [{"name": "omen:distribution:sha256", "value": digest} for digest in HASH.findall(block)]
        yield component("pypi", pinned["name"], pinned["version"], {"properties": files})


def npm_components(lock: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """
    Yield what a `package-lock.json` pins.
    """
    for place, package in lock.get("packages", {}).items():
        _, inside, name = place.rpartition("node_modules/")
        if not inside or "version" not in package:
            continue
        kind, _, digest = package.get("integrity", "").partition("-")
        known = {"sha512": "SHA-512", "sha384": "SHA-384", "sha256": "SHA-256"}.get(kind)
        hashes = [{"alg": known, "content": base64.b64decode(digest).hex()}] if known else []
        yield component("npm", name, package["version"], {"hashes": hashes})


def component(kind: str, name: str, version: str, more: dict[str, Any]) -> dict[str, Any]:
    """
    Return a component.
    """
    purl = f"pkg:{kind}/{name.replace('@', '%40')}@{version}"
    return {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl, **more}


def bill() -> dict[str, Any]:
    """
    Return the bill.
    """
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    parts = list(python_components((ROOT / "requirements.txt").read_text()))
    for lock in NPM_LOCKS:
        if (ROOT / lock).exists():
            parts += npm_components(json.loads((ROOT / lock).read_text()))
    name = project["name"]
    product = {"type": "application", "name": name, "version": project["version"], "bom-ref": name}
    unique = {each["bom-ref"]: each for each in parts}
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": product},
        "components": [unique[ref] for ref in sorted(unique)],
    }


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "build/omen.cdx.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(bill(), indent=2) + "\n")
