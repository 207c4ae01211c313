import ast
from pathlib import Path

import pytest

import omen_server

HOME = Path(omen_server.__file__).parent
# The parsers have rules of their own, and their own tests.
FILES = [
    HOME / "identity.py",
    *(path for path in sorted((HOME / "pipeline").rglob("*.py")) if "sources" not in path.parts),
]
# What computes and does nothing else. `datetime` is here as a type: see the next test.
ALLOWED = {
    "bisect", "collections.abc", "dataclasses", "datetime", "enum", "functools", "google.protobuf.message",
    "google.protobuf.struct_pb2", "google.protobuf.timestamp_pb2", "hashlib", "math", "omen.v1", "omen.v1.signal_pb2",
    "omen.v1.signal_service_pb2", "omen_rpc", "omen_rpc.confidence_level", "omen_rpc.json_values", "omen_rpc.rfc3339",
    "omen_rpc.signal_codec", "omen_rpc.signal_rules", "omen_server", "omen_server.pipeline",
    "omen_server.pipeline.rules", "orjson", "re", "types", "typing", "unicodedata",
}  # fmt: skip
IMPURE = {
    "now",
    "utcnow",
    "today",
    "time",
    "monotonic",
    "random",
    "urandom",
    "open",
    "print",
    "input",
    "getenv",
    "hash",
}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(HOME)))
def test_imports(path: Path) -> None:
    """
    Nothing of the pipeline imports I/O, a clock, chance or grpc.
    """
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            names = [node.module or ""]
        for name in names:
            assert name in ALLOWED or name.startswith("omen_server.pipeline."), f"{path.name} imports {name}"
            assert not name.startswith("omen_server.pipeline.sources"), f"{path.name} imports a parser"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(HOME)))
def test_calls(path: Path) -> None:
    """
    Nothing of the pipeline asks a clock, chance, a file or a hash that differs from process to process.
    """
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            assert name not in IMPURE, f"{path.name}:{node.lineno} calls {name}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(HOME)))
def test_no_state(path: Path) -> None:
    """
    No module holds anything that a call could change.
    """
    for node in ast.parse(path.read_text()).body:
        assert not isinstance(node, ast.Global | ast.For | ast.While)
        if isinstance(node, ast.Assign | ast.AnnAssign):
            target = node.target if isinstance(node, ast.AnnAssign) else node.targets[0]
            if isinstance(node.value, ast.List | ast.Set | ast.ListComp | ast.DictComp):
                pytest.fail(f"{path.name}: {ast.unparse(target)} can be changed")
    assert "global " not in path.read_text()


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(HOME)))
def test_size(path: Path) -> None:
    """
    No module has more than 400 lines, no function more than 70.
    """
    text = path.read_text()
    assert len(text.splitlines()) <= 400
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            assert (node.end_lineno or 0) - node.lineno < 70, node.name
