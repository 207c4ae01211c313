"""
What the gate costs: a unary echo through it, against the same echo on bare grpc.aio, in the same run.
"""

import argparse
import asyncio
import json
import platform
import sys
from time import perf_counter
from typing import Any

import grpc

from omen.v1 import signal_service_pb2 as pb
from omen_rpc.program import loop_factory
from omen_rpc.server import Server
from omen_rpc.settings import Loaded, ServerSettings

SIGNALS = pb.DESCRIPTOR.services_by_name["SignalService"]
PATH = "/omen.v1.SignalService/GetSignal"
CONCURRENCIES = (1, 64)


class Echo:
    """
    Answers one method with what it was asked, and has no others.
    """

    def __getattr__(self, name: str) -> Any:
        if not name[0].isupper():
            raise AttributeError(name)
        return self.echo

    async def echo(self, request: Any, _context: Any) -> pb.GetSignalResponse:
        """
        Answer.
        """
        return pb.GetSignalResponse(ack_id=request.signal_id)


async def bare() -> tuple[grpc.aio.Server, int]:
    """
    Start an echo with nothing around it.
    """
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    handler = grpc.unary_unary_rpc_method_handler(
        Echo().echo,
        request_deserializer=pb.GetSignalRequest.FromString,
        response_serializer=pb.GetSignalResponse.SerializeToString,
    )
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("omen.v1.SignalService", {"GetSignal": handler}),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    return server, port


async def load(port: int, concurrency: int, seconds: float) -> dict[str, float]:
    """
    Call as fast as *concurrency* callers can, and return the rate and the latencies in milliseconds.
    """
    took: list[float] = []
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        call: Any = channel.unary_unary(
            PATH,
            request_serializer=pb.GetSignalRequest.SerializeToString,
            response_deserializer=pb.GetSignalResponse.FromString,
        )
        request = pb.GetSignalRequest(signal_id="OMEN-F7C763A82436")
        await call(request)
        ends = perf_counter() + seconds

        async def caller() -> None:
            while (began := perf_counter()) < ends:
                await call(request)
                took.append(perf_counter() - began)

        began = perf_counter()
        await asyncio.gather(*(caller() for _ in range(concurrency)))
        elapsed = perf_counter() - began
    took.sort()
    at = {
        f"p{percent:g}_ms": took[min(len(took) - 1, int(len(took) * percent / 100))] * 1000
        for percent in (50, 99, 99.9)
    }
    return {"calls_per_s": len(took) / elapsed, **at}


async def client(ports: dict[str, int], seconds: float) -> None:
    """
    Measure both servers in turn, three rounds, and print the best of each.
    """
    best: dict[str, dict[str, float]] = {}
    for _ in range(3):
        for concurrency in CONCURRENCIES:
            for name, port in ports.items():
                seen = await load(port, concurrency, seconds)
                key = f"{name} {concurrency}"
                if key not in best or seen["calls_per_s"] > best[key]["calls_per_s"]:
                    best[key] = seen
    print(json.dumps(best))


async def serve(arguments: argparse.Namespace) -> None:
    """
    Serve both, and let a process of its own do the calling.
    """
    server, port = await bare()
    settings = ServerSettings(listen="127.0.0.1:0", metrics_port=0, log_level="error")
    gated = Server("bench", Loaded(settings, {}), {SIGNALS: Echo()})
    await gated.open()
    running = asyncio.create_task(gated.run(engine="bench"))
    ports = json.dumps({"bare": port, "gate": gated.address.port})
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "bench.rpc",
        "--client",
        ports,
        "--seconds",
        str(arguments.seconds),
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()
    gated.stop()
    await running
    await server.stop(0)
    report(json.loads(output), as_json=arguments.json)


def report(seen: dict[str, dict[str, float]], *, as_json: bool) -> None:
    """
    Print the figures, and the gate's share of the bare rate.
    """
    for concurrency in CONCURRENCIES:
        seen[f"gate/bare {concurrency}"] = {
            "ratio": seen[f"gate {concurrency}"]["calls_per_s"] / seen[f"bare {concurrency}"]["calls_per_s"]
        }
    if as_json:
        print(json.dumps({"machine": platform.platform(), "python": platform.python_version(), **seen}))
        return
    for name, figures in seen.items():
        print(f"{name:<14}" + "  ".join(f"{key} {value:,.2f}" for key, value in figures.items()))


def main() -> None:
    """
    Run the benchmark.
    """
    line = argparse.ArgumentParser(prog="bench.rpc", description=__doc__)
    line.add_argument("--seconds", type=float, default=3.0, help="how long each measurement takes")
    line.add_argument("--json", action="store_true", help="print JSON")
    line.add_argument("--client", help=argparse.SUPPRESS)
    arguments = line.parse_args()
    work = client(json.loads(arguments.client), arguments.seconds) if arguments.client else serve(arguments)
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(work)


if __name__ == "__main__":
    main()
