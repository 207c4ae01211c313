from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from google.protobuf.descriptor_pb2 import FileDescriptorSet

from omen.v1 import signal_pb2
from omen_cli import exits
from omen_cli.options import Output
from omen_cli.output import print_one

# Written with the stubs, since the stubs themselves have no comments in them.
CONTRACT = Path(signal_pb2.__file__).parents[1] / "contract.binpb"


def export(file: Annotated[Path, Parameter(help="Where to write it.")], *, output: Output = "text") -> None:
    """
    Write the contract as a descriptor set, imports and comments included: for buf, grpcurl -protoset, Postman, Envoy.

    Example: omen proto export omen.binpb
    """
    raw = CONTRACT.read_bytes()
    try:
        file.write_bytes(raw)
    except OSError as error:
        raise exits.Stopped(
            exits.USAGE, "NOT_WRITTEN", f"{file}: {error.strerror}", "Give a file that can be written."
        ) from None
    described = FileDescriptorSet.FromString(raw)
    services = [f"{each.package}.{service.name}" for each in described.file for service in each.service]
    print_one(output, {"file": str(file), "bytes": len(raw), "files": len(described.file), "services": services})
