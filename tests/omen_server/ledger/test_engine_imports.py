import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

# What speaks to callers. Everything else in the ledger's folder is the engine, and knows bytes and positions only.
SERVICE = {"alarm", "bounds", "messages", "passage", "service", "upkeep"}
ENGINE_MAY = {"omen_rpc.position", "omen_storage.lock_file"}
FOLDER = "omen_server/ledger"


def imports(path: Path) -> Iterator[str]:
    """
    Yield what a module imports from outside of the ledger's folder and the standard library.
    """
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module


def engine(root: Path) -> list[Path]:
    """
    Return the engine's modules.
    """
    return sorted(path for path in (root / FOLDER).glob("*.py") if path.stem not in SERVICE)


def test_the_engine_knows_no_service(root: Path) -> None:
    """
    The engine imports neither grpc nor protobuf nor the service in front of it: offline tools load it alone.
    """
    assert len(engine(root)) > 20
    for path in engine(root):
        watched = {"grpc", "google", "omen", "omen_rpc", "omen_storage"}
        foreign = {name for name in imports(path) if name.split(".")[0] in watched}
        assert foreign <= ENGINE_MAY, path.name
        inside = {
            name.name if node.module is None else node.module.split(".")[0]
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.ImportFrom) and node.level == 1
            for name in node.names
        }
        assert not inside & SERVICE, path.name


@pytest.mark.parametrize("stem", sorted(SERVICE))
def test_the_list_is_of_modules(root: Path, stem: str) -> None:
    """
    Every exception named here is a module that there is.
    """
    assert (root / FOLDER / f"{stem}.py").exists()
