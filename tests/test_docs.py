import re
import subprocess
import sys
from pathlib import Path

from tests.processes import tree_environment

PAGES = ("cli.md", "errors.md", "metrics.md", "performance.md", "rpcs.md", "settings.md")


def test_the_references_are_what_the_code_says(root: Path, tmp_path: Path) -> None:
    """
    `make docs` would change nothing: every generated page is the one that is committed.
    """
    subprocess.run([sys.executable, root / "docs/generate.py", tmp_path], check=True, env=tree_environment())
    made = {page.name: page.read_text() for page in tmp_path.iterdir()}
    assert made.keys() == set(PAGES)
    for name, text in made.items():
        assert (root / "docs" / name).read_text() == text, f"docs/{name} is stale: run make docs"


def test_every_link_of_the_readme_leads_somewhere(root: Path) -> None:
    """
    A relative link in the README, in SECURITY.md or in docs/ names a file that is there.
    """
    linked = 0
    for page in (root / "README.md", root / "SECURITY.md", *(root / "docs").glob("*.md")):
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
            linked += 1
    assert linked >= 4
