import subprocess
import sys
from pathlib import Path


def stubs(folder: Path) -> dict[str, bytes]:
    """
    Return every generated file under *folder* by its path.
    """
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*_pb2*")
        if path.suffix in {".py", ".pyi"}
    }


CONTRACT = "omen/contract.binpb"


def test_stubs_are_what_the_protos_say(root: Path, tmp_path: Path) -> None:
    """
    The committed stubs are byte for byte what is generated from the protos now: none is old, missing or left over.
    """
    subprocess.run([sys.executable, root / "proto/generate.py", tmp_path], check=True)
    made, committed = stubs(tmp_path), stubs(root / "proto")
    assert made
    assert sorted(made) == sorted(committed)
    assert [name for name in made if made[name] != committed[name]] == []
    assert (tmp_path / CONTRACT).read_bytes() == (root / "proto" / CONTRACT).read_bytes()


def test_every_proto_has_its_stubs(root: Path) -> None:
    """
    Each proto has messages and types, each service its servicer, and no file in the tree is of another origin.
    """
    committed = set(stubs(root / "proto"))
    expected = set()
    for proto in (root / "proto").rglob("*.proto"):
        stem = proto.relative_to(root / "proto").with_suffix("").as_posix()
        kinds = ("_pb2", "_pb2_grpc") if stem.endswith("_service") else ("_pb2",)
        expected |= {f"{stem}{kind}{suffix}" for kind in kinds for suffix in (".py", ".pyi")}
    assert committed == expected


def test_stubs_run_on_old_libraries(root: Path) -> None:
    """
    The stubs ask for grpcio 1.75.1 and protobuf 6.31.1 and nothing newer, so that other teams need not upgrade.
    """
    for path in (root / "proto").rglob("*_pb2_grpc.py"):
        assert "GRPC_GENERATED_VERSION = '1.75.1'" in path.read_text()
    for path in (root / "proto").rglob("*_pb2.py"):
        assert "# Protobuf Python Version: 6.31.1" in path.read_text()
