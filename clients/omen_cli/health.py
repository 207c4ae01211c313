import asyncio
import sys
from typing import Annotated, Any, Literal

from cyclopts import Parameter
from google.protobuf.empty_pb2 import Empty
from grpc_health.v1 import health_pb2

from omen_cli import exits
from omen_cli.certificate import WARN_DAYS, days_left
from omen_cli.failures import remedy
from omen_cli.options import Output, Servers
from omen_cli.output import print_rows, say
from omen_rpc.errors import CallError
from omen_rpc.health import HealthListResponse

Name = Literal["omen", "riskcast", "reconciler"]
RUN_BY_UP: tuple[Name, ...] = ("omen", "riskcast", "reconciler")
UNREACHABLE = "UNREACHABLE"


async def health(
    *names: Annotated[Name, Parameter(help="Which servers to ask; those that omen up runs by default.")],
    servers: Servers | None = None,
    output: Output = "text",
) -> int:
    """
    Ask servers how they are: exit 0 when all serve, 1 when one does not, 4 when one cannot be reached.

    Example: omen health omen -o json
    """
    at, asked = servers or Servers(), names or RUN_BY_UP
    answers = await asyncio.gather(*(ask(at, name) for name in asked))
    await asyncio.gather(*(warn(at, name) for name in asked))
    rows = [row for answer in answers for row in answer]
    print_rows(output, rows, ["server", "address", "service", "status"])
    for row in rows:
        if output == "text" and "message" in row:
            say(f"omen: {row['message']}\n  → {row['remedy']}")
    statuses = {row["status"] for row in rows}
    if UNREACHABLE in statuses:
        return exits.UNREACHABLE
    return exits.OK if statuses == {"SERVING"} else exits.PROBLEM


async def ask(servers: Servers, name: Name) -> list[dict[str, Any]]:
    """
    Return what one server says of each of its services.
    """
    address = servers.address(name)
    async with servers.connection(name, attempts_max=1) as connection:
        method: Any = connection.calls.unary_unary(
            "/grpc.health.v1.Health/List",
            request_serializer=Empty.SerializeToString,
            response_deserializer=HealthListResponse.FromString,
        )
        try:
            reply = await connection.call(method, Empty())
        except CallError as error:
            row = {"server": name, "address": address, "service": "", "status": UNREACHABLE}
            return [row | {"message": error.message, "remedy": remedy(error)}]
    return [
        {"server": name, "address": address, "service": service, "status": status_name(reply.statuses[service].status)}
        for service in sorted(reply.statuses)
    ]


async def warn(servers: Servers, name: Name) -> None:
    """
    Say on stderr that a server's certificate runs out soon: it serves, and will not for long.
    """
    files, address = servers.files(), servers.address(name)
    days = await days_left(address, files, servers.timeout_s) if files is not None else None
    if days is not None and days < WARN_DAYS:
        text = f"omen: {name} at {address}: its certificate runs out in {days:.1f} days. Renew it: omen tls renew."
        print(text, file=sys.stderr)


def status_name(number: int) -> str:
    """
    Return the word for a status.
    """
    return str(health_pb2.HealthCheckResponse.ServingStatus.Name(number))
