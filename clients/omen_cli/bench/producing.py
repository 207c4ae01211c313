"""
A producer of signals in a process of its own, so that it takes no time from those who receive them.

    python -m omen_cli.bench.producing ADDRESS SECONDS RUN

It prints how many signals it emitted, and in how many seconds.
"""

import asyncio
import json
import sys
from time import perf_counter
from typing import NamedTuple

from omen.v1 import signal_service_pb2 as pb
from omen.v1.signal_pb2 import OmenSignal
from omen_cli import exits
from omen_cli.bench.typical import typical_signal
from omen_cli.running.process import PIPE, started
from omen_client import CallError, OmenClient

CALLERS = 2
BATCH = 100
# What starting and stopping a process may take beside the time it was given.
SLACK_S = 60.0


class Produced(NamedTuple):
    """
    What a producer did.
    """

    signals: int
    seconds: float


async def produced(address: str, seconds: float, run: str) -> Produced:
    """
    Run a producer for so long. *run* makes its signals others than those of another run.
    """
    process = started("omen_cli.bench.producing", address, str(seconds), run, stdout=PIPE)
    try:
        async with asyncio.timeout(seconds + SLACK_S):
            out, _ = await process.said()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        text = f"The producer ended with {process.returncode}."
        raise exits.Stopped(exits.PROBLEM, "PRODUCER_FAILED", text, "What it said is above.")
    return Produced(**json.loads(out))


async def produce(address: str, seconds: float, run: str) -> Produced:
    """
    Emit batches for so long, without waiting for RiskCast.
    """
    template = typical_signal()
    sent = 0
    async with OmenClient(address) as omen:
        began = perf_counter()
        ends = began + seconds

        async def caller(number: int) -> None:
            nonlocal sent
            done = 0
            while perf_counter() < ends:
                items = [item_of(template.signal, f"OMEN-{run}{number}{done + at:09d}") for at in range(BATCH)]
                for outcome in await omen.emit_all(items, delivery=pb.DELIVERY_LEDGER):
                    if isinstance(outcome, CallError):
                        raise outcome
                done += BATCH
                sent += BATCH

        await asyncio.gather(*(caller(number) for number in range(CALLERS)))
        return Produced(sent, perf_counter() - began)


def item_of(signal: OmenSignal, signal_id: str) -> pb.EmitSignalItem:
    """
    Return the same signal under another id.
    """
    item = pb.EmitSignalItem(signal=signal)
    item.signal.signal_id = signal_id
    return item


def main() -> None:
    """
    Produce, and print what was done.
    """
    _, address, seconds, run = sys.argv
    print(json.dumps(asyncio.run(produce(address, float(seconds), run))._asdict()))


if __name__ == "__main__":
    main()
