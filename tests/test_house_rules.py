"""
How long code may be, whoever's it is: the servers', the clients', the tests', the tools'. Generated stubs are nobody's.
"""

import ast
import os
from collections.abc import Iterator
from pathlib import Path

from tests.conftest import ROOT

LINES_MAX = 400
FUNCTION_LINES_MAX = 70
NOT_OURS = {"build", "dist", "node_modules", "venv"}  # Folders whose names begin with a dot are not looked at either.


def sources(root: Path) -> Iterator[Path]:
    """
    Yield every Python source under *root* that somebody wrote.
    """
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if name not in NOT_OURS and not name.startswith(".")]
        yield from (Path(folder, name) for name in files if name.endswith(".py") and "_pb2" not in name)


def long_modules(root: Path) -> list[str]:
    """
    Return what is to be done about each module that is too long.
    """
    lengths = {path: len(path.read_text().splitlines()) for path in sources(root)}
    return sorted(
        f"{path.relative_to(root)} has {length} lines, and a module may have {LINES_MAX}: split it by theme"
        for path, length in lengths.items()
        if length > LINES_MAX
    )


def long_functions(root: Path) -> list[str]:
    """
    Return what is to be done about each function that is too long.
    """
    found = [
        (path.relative_to(root), node, (node.end_lineno or 0) - node.lineno + 1)
        for path in sources(root)
        for node in ast.walk(ast.parse(path.read_text(), str(path)))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    ]
    return sorted(
        f"{path}:{node.lineno} {node.name} has {length} lines, and a function may have {FUNCTION_LINES_MAX}: "
        "give a part of it a name"
        for path, node, length in found
        if length > FUNCTION_LINES_MAX
    )


def test_modules_are_short() -> None:
    """
    No module has more than 400 lines.
    """
    long = long_modules(ROOT)
    assert not long, "\n".join(
        [*long, "A part with a theme of its own goes to a module of its own; what both need goes to a third."]
    )


def test_functions_are_short() -> None:
    """
    No function has more than 70 lines.
    """
    long = long_functions(ROOT)
    assert not long, "\n".join(long)


def test_all_code_is_measured(tmp_path: Path) -> None:
    """
    All of the tree is looked at but its stubs; the last line allowed is allowed, one more is told with its place.
    """
    tops = {path.relative_to(ROOT).parts[0] for path in sources(ROOT)}
    assert tops >= {
        "bench",
        "clients",
        "docs",
        "omen_rpc",
        "omen_storage",
        "omen_server",
        "proto",
        "reconciler",
        "tests",
    }
    body = "    pass\n"
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "fits.py").write_text("async def fits():\n" + body * 69 + "pass\n" * 330)
    for name in ("stub_pb2.py", "stub_pb2_grpc.py"):
        (tmp_path / name).write_text("pass\n" * 401)
    assert (long_modules(tmp_path), long_functions(tmp_path)) == ([], [])
    (tmp_path / "inner" / "long.py").write_text("class Long:\n    def method(self):\n" + f"    {body}" * 399)
    [module], [function] = long_modules(tmp_path), long_functions(tmp_path)
    assert module.startswith("inner/long.py has 401 lines")
    assert function.startswith("inner/long.py:2 method has 400 lines")
