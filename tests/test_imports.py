"""
Who may import whom, and what may be slow to import: read from the sources.
"""

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PLACES = {
    "omen_rpc": ROOT,
    "omen_storage": ROOT,
    "omen_server": ROOT,
    "riskcast_server": ROOT,
    "reconciler": ROOT,
    "omen_client": ROOT / "clients",
    "omen_cli": ROOT / "clients",
    "omen_console": ROOT / "clients",
}
STUBS = {"omen", "riskcast", "reconcile"}
# What each package may import of ours. The two lazy exceptions are functions' own imports, named below.
ALLOWED = {
    "omen_rpc": STUBS,
    "omen_storage": set(),
    "omen_client": {"omen_rpc"} | STUBS,
    "omen_server": {"omen_rpc", "omen_storage", "omen_client"} | STUBS,
    "riskcast_server": {"omen_rpc", "omen_storage"} | STUBS,
    "reconciler": {"omen_rpc", "omen_storage", "omen_client"} | STUBS,
    "omen_cli": {"omen_rpc", "omen_storage", "omen_client"} | STUBS,
    "omen_console": {"omen_rpc", "omen_client"} | STUBS,
}
CLIENT_IN_OMEN = "omen_server.emitter"  # and the wiring that makes its client
LAZY = {
    ("omen_cli", "omen_server.ledger"),
    ("omen_cli", "omen_server.records"),
    ("omen_cli", "omen_server.index"),  # `index rebuild` works offline, on the files and the database themselves
    ("omen_cli", "omen_server.pipeline"),
    ("omen_cli", "omen_server.fetch"),  # `submit URL` asks a source as the poller does
    ("omen_cli", "omen_server.poller"),
    ("omen_console", "omen_server.ledger"),
}
VERBS_OF_THEIR_OWN = (
    "omen_cli.ledger",
    "omen_cli.index",
    "omen_cli.bench",
    "omen_cli.demo",
)  # Imported when one of their verbs is called, not before.
BASE = {"grpc", "google"}
MUST_STAY_IN_THE_BASE = ["errors", "status", "contract", "metadata", "channel"]
IO = {  # io.StringIO and pathlib's pure paths are memory
    "aiohttp", "aiosqlite", "asyncio", "asyncpg", "ftplib", "glob", "grpc", "http", "httpx", "multiprocessing",
    "os", "pathlib.Path", "random", "requests", "secrets", "select", "shutil", "signal", "smtplib", "socket", "sqlite3",
    "ssl", "subprocess", "tempfile", "threading", "time", "urllib.request", "urllib3", "structlog", "logging",
}  # fmt: skip
READS_THE_ENVIRONMENT = {"omen_rpc.program", "omen_rpc.settings"}
FOR_THE_C_CORE = 'os.environ.setdefault("GRPC_VERBOSITY", "NONE")'


@cache
def modules() -> dict[str, Path]:
    """
    Return every module of ours by its name.
    """
    found = {}
    for package, place in PLACES.items():
        for path in sorted((place / package).rglob("*.py")):
            parts = path.relative_to(place).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@cache
def tree(path: Path) -> ast.Module:
    """
    Return what *path* says.
    """
    return ast.parse(path.read_text(), str(path))


def imports(name: str, *, lazy: bool = True) -> Iterator[str]:
    """
    Yield the names that module *name* imports, in full; those inside of functions only if *lazy*.
    """
    path = modules()[name]
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    nodes = list(ast.walk(tree(path)))
    inner = {
        node
        for function in nodes
        if isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef))
        for node in ast.walk(function)
    }
    typing_only = {
        node
        for branch in nodes
        if isinstance(branch, ast.If) and "TYPE_CHECKING" in ast.unparse(branch.test)
        for child in branch.body
        for node in ast.walk(child)
    }
    for node in nodes:
        if node in typing_only or (node in inner and not lazy):
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = ".".join(package.split(".")[: len(package.split(".")) - node.level + 1]) if node.level else ""
            base = ".".join(part for part in (start, node.module or "") if part)
            yield from (f"{base}.{alias.name}" for alias in node.names)


def belongs(name: str, prefix: str) -> bool:
    """
    Whether *name* is *prefix* or inside of it.
    """
    return name == prefix or name.startswith(f"{prefix}.")


def ours(name: str) -> str:
    """
    Return which of our modules *name* is, or is in; empty when it is none of ours.
    """
    while name:
        if name in modules():
            return name
        name = name.rpartition(".")[0]
    return ""


@cache
def reached(name: str) -> frozenset[str]:
    """
    Return all that importing *name* imports, of ours and of others, whatever way it comes.
    """
    seen: set[str] = set()
    waiting = [name]
    while waiting:
        module = waiting.pop()
        if module in seen:
            continue
        seen.add(module)
        own = ours(module)
        if own:
            waiting.extend(imports(own, lazy=False))
            waiting.extend(parent for parent in [own.rpartition(".")[0]] if parent)
    return frozenset(seen)


def test_there_is_something_to_look_at() -> None:
    """
    The rules below are about modules that are found.
    """
    assert {"omen_rpc.gate", "omen_server.app", "riskcast_server.app", "omen_client", "omen_cli"} <= set(modules())
    assert "grpc" in set(imports("omen_rpc.gate"))
    assert "omen_rpc.errors.fault" in set(imports("omen_rpc.gate"))


@pytest.mark.parametrize("package", ALLOWED)
def test_imports_go_one_way(package: str) -> None:
    """
    Stubs, then omen_rpc, then omen_client, then those who call; omen_storage, under those, knows none of ours; the
    servers never import one another.
    """
    wrong = [
        (name, imported)
        for name in modules()
        if belongs(name, package)
        for imported in imports(name)
        if imported.split(".")[0] in PLACES.keys() | STUBS
        and imported.split(".")[0] not in ALLOWED[package] | {package}
        and not any(package == who and belongs(imported, what) for who, what in LAZY)
    ]
    assert wrong == []


@pytest.mark.parametrize(("package", "what"), sorted(LAZY))
def test_exceptions_are_lazy(package: str, what: str) -> None:
    """
    The offline tools use a server's own code in modules of their own, which no other module imports when it is read.
    """
    apart = {name for name in modules() for verb in VERBS_OF_THEIR_OWN if belongs(name, verb)}
    eager = [
        (name, imported)
        for name in modules()
        if belongs(name, package)
        for imported in imports(name, lazy=False)
        if name not in apart
        and (belongs(imported, what) or any(belongs(imported, verb) for verb in VERBS_OF_THEIR_OWN))
    ]
    assert eager == []


def test_omen_calls_out_from_its_emitter_only() -> None:
    """
    Within OMEN the typed client is the hot path's, and the wiring's that opens it.
    """
    users = {
        name
        for name in modules()
        if belongs(name, "omen_server")
        for imported in imports(name)
        if belongs(imported, "omen_client")
    }
    assert users <= {CLIENT_IN_OMEN, "omen_server.opening"}


@pytest.mark.parametrize("name", ["omen_client", *(f"omen_rpc.{name}" for name in MUST_STAY_IN_THE_BASE)])
def test_clients_need_the_base_only(name: str) -> None:
    """
    What a caller of the services imports, however far it reaches, is the standard library, grpcio and protobuf.
    """
    starts = [each for each in modules() if belongs(each, name)]
    assert starts
    foreign = {
        imported.split(".")[0]
        for start in starts
        for imported in reached(start)
        if not ours(imported) and imported.split(".")[0] not in sys.stdlib_module_names | BASE | STUBS
    }
    assert foreign == set()


def test_clients_import_without_the_rest() -> None:
    """
    The same by running it: with every distribution blocked but these and what grpcio needs, clients import.
    """
    names = [name for name in modules() if belongs(name, "omen_client")]
    names += [f"omen_rpc.{name}" for name in MUST_STAY_IN_THE_BASE]
    allowed = sorted(
        {"typing_extensions"} | BASE | STUBS | PLACES.keys() - {"omen_server", "riskcast_server", "reconciler"}
    )
    script = f"""
import importlib, sys
ALLOWED = set(sys.stdlib_module_names) | set({allowed!r})
class Wall:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] not in ALLOWED:
            raise ImportError(f"{{name}} is not in the base")
sys.meta_path.insert(0, Wall())
for name in {names!r}:
    importlib.import_module(name)
print("fine")
"""
    path = ":".join(str(ROOT / part) for part in ("", "proto", "clients"))
    done = subprocess.run(
        [sys.executable, "-c", script], env={"PYTHONPATH": path}, capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    assert (done.returncode, done.stdout) == (0, "fine\n")


PURE = ["omen_server.pipeline", "omen_server.identity"]


@pytest.mark.parametrize("name", PURE)
def test_pipeline_is_pure(name: str) -> None:
    """
    What turns events into signals reads no clock, no file, no network and no environment, and knows nothing of gRPC.
    """
    wrong = {
        (module, imported)
        for module in modules()
        if belongs(module, name)
        for imported in imports(module)
        if any(belongs(imported, each) for each in IO)
    }
    assert wrong == set()


@pytest.mark.parametrize("name", PURE)
def test_pipeline_runs_without_grpc(name: str) -> None:
    """
    The same by running it: importing all of it leaves gRPC where it is, whatever way the imports go.
    """
    names = [module for module in modules() if belongs(module, name)]
    assert names
    script = (
        f"import importlib, sys; [importlib.import_module(name) for name in {names!r}]; print('grpc' in sys.modules)"
    )
    path = ":".join(str(ROOT / part) for part in ("", "proto", "clients"))
    done = subprocess.run(
        [sys.executable, "-c", script], env={"PYTHONPATH": path}, capture_output=True, text=True, check=False
    )
    assert (done.stderr, done.stdout) == ("", "False\n")


def test_ledger_knows_no_grpc() -> None:
    """
    The ledger knows bytes and positions; only its service knows that there is gRPC.
    """
    wrong = {
        (module, imported)
        for module in modules()
        if belongs(module, "omen_server.ledger") and module != "omen_server.ledger.service"
        for imported in imports(module)
        if belongs(imported, "grpc")
    }
    assert wrong == set()


def test_environment_is_read_in_one_place() -> None:
    """
    Settings come from where settings are read; elsewhere os.environ is only told what the C core must hear first.
    """
    readers = set()
    for name, path in modules().items():
        source = path.read_text().replace(FOR_THE_C_CORE, "")
        texts = (
            ast.unparse(node) for node in ast.walk(ast.parse(source)) if isinstance(node, (ast.Attribute, ast.alias))
        )
        if {"os.environ", "os.getenv", "os.environb", "environ", "getenv"} & set(texts):
            readers.add(name)
    programs = {name for name in modules() if belongs(name, "omen_cli")}  # Its settings are its options.
    assert readers - programs <= READS_THE_ENVIRONMENT


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """
    Yield every function of *path*, methods too.
    """
    return (node for node in ast.walk(tree(path)) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)))


@cache
def asserting() -> frozenset[str]:
    """
    Return the names of all that fails a test: pytest's own, and the functions of tests that use them, however far away.
    """
    calls: dict[str, set[str]] = {}
    names = {"assert", "raises", "fail", "exercise"}  # The last is the parameter of a suite's own test.
    for path in (ROOT / "tests").rglob("*.py"):
        for function in functions(path):
            calls.setdefault(function.name, set()).update(used(function))
    while more := {name for name, uses in calls.items() if uses & names} - names:
        names |= more
    return frozenset(names)


def used(function: ast.AST) -> set[str]:
    """
    Return the names that *function* speaks of, and ``assert`` when it does that.
    """
    nodes = list(ast.walk(function))
    names = {node.id for node in nodes if isinstance(node, ast.Name)}
    names |= {node.attr for node in nodes if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "pytest"}
    return names | ({"assert"} if any(isinstance(node, ast.Assert) for node in nodes) else set())


@pytest.mark.parametrize("path", sorted((ROOT / "tests").rglob("test_*.py")), ids=lambda path: path.stem)
def test_tests_say_what_they_hold(path: Path) -> None:
    """
    Every test has a docstring of a sentence, and asserts something itself or through a function of the tests.
    """
    tests = [function for function in functions(path) if function.name.startswith("test_")]
    mute = [test.name for test in tests if not (ast.get_docstring(test) or "").rstrip().endswith((".", "?"))]
    idle = [test.name for test in tests if not used(test) & asserting()]
    assert (mute, idle) == ([], [])


def test_nothing_reads_outside_of_the_tree() -> None:
    """
    No source names a folder beside the project's own.
    """
    outside = "../" + "shared"
    places = [ROOT / name for name in (*PLACES, "clients", "proto", "docs", "tests", "README.md", "Makefile", ".ci")]
    files = [path for place in places for path in ([place] if place.is_file() else place.rglob("*")) if path.is_file()]
    texts = [path for path in files if path.suffix in {".py", ".md", ".proto", ".toml", ".yaml", ""}]
    assert [path for path in texts if outside in path.read_text(errors="replace")] == []
