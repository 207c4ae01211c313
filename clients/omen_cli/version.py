import platform

import google.protobuf
import grpc

from omen_cli.options import Output
from omen_cli.output import print_one
from omen_rpc.server_info import own_version


def version(*, output: Output = "text") -> None:
    """
    Say which omen this is, and what it stands on.

    Example: omen version -o json
    """
    print_one(
        output,
        {
            "omen": own_version(),
            "python": platform.python_version(),
            "grpcio": grpc.__version__,
            "protobuf": google.protobuf.__version__,
        },
    )
