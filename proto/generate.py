"""
Write the generated stubs beside the protos: ``python proto/generate.py [DIRECTORY]``.

The generator's version is part of the contract: code it writes refuses an older runtime, so it stays at 1.75.1 and
consumers may stay at grpcio 1.75.1 and protobuf 6.31.1.
"""

import sys
from importlib import resources
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).parent
# The contract as tools read it, imports and comments included. It lies where the stubs lie, so that wheels have it.
CONTRACT = "omen/contract.binpb"


def generate(target: Path) -> None:
    """
    Generate messages for every proto, and services for those that have one, into *target*.
    """
    protos = sorted(path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*.proto"))
    services = [name for name in protos if name.endswith("_service.proto")]
    include = [f"-I{ROOT}", f"-I{resources.files('grpc_tools') / '_proto'}"]
    run(*include, f"--python_out={target}", f"--mypy_out=quiet:{target}", *protos)
    run(
        *include,
        f"--grpc_python_out={target}",
        f"--mypy_grpc_out=quiet,generate_concrete_servicer_stubs:{target}",
        *services,
    )
    (target / CONTRACT).parent.mkdir(parents=True, exist_ok=True)
    run(*include, "--include_imports", "--include_source_info", f"--descriptor_set_out={target / CONTRACT}", *protos)


def run(*arguments: str) -> None:
    """
    Run protoc, or exit with its code; it has said why on stderr.
    """
    code = protoc.main(["protoc", *arguments])
    if code != 0:
        raise SystemExit(code)


if __name__ == "__main__":
    generate(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT)
