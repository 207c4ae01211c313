"""
Servers that take long to start: waited for as long as they get anywhere.
"""

import asyncio
from pathlib import Path

import pytest

from omen_cli import exits
from omen_cli.bench.servers import free_address
from omen_cli.running.child import Child, Plan
from omen_cli.running.headway import Headway
from tests.processes import tree_environment

PATIENCE_S = 2.0
LOOKS = 6
FOR_EVER = 1_000_000


def slow(place: Path, looks: int, step: int, said: list[str], patience_s: float = PATIENCE_S) -> Child:
    """
    Return a server that is up once its metrics were read so often.
    """
    address, metrics = free_address(), free_address()
    plan = Plan(
        "OMEN",
        "tests.clients.slow_start",
        address,
        (address, metrics, str(looks), str(step)),
        place / "log",
        web=True,
        environment=tree_environment(),
        metrics=metrics,
    )
    return Child(plan, said.append, patience_s=patience_s)


async def test_a_start_that_gets_on_is_waited_for(tmp_path: Path) -> None:
    """
    A server that needs longer than the patience there is comes up all the same, as long as its figures move; the user
    is told how far it is.
    """
    said: list[str] = []
    child = slow(tmp_path, LOOKS, 100_000, said)
    began_s = asyncio.get_running_loop().time()
    try:
        await child.start()
        assert asyncio.get_running_loop().time() - began_s > PATIENCE_S
        assert said[0].startswith("OMEN is still starting: ")
        assert all(line.endswith("00,000 records to index") for line in said)
    finally:
        await child.kill(hold=False)


async def test_a_start_that_gets_nowhere_is_given_up(tmp_path: Path) -> None:
    """
    A server whose figures stand still is given up after the patience there is, both by who started it and by who
    waits for it to be back.
    """
    said: list[str] = []
    child = slow(tmp_path, FOR_EVER, 0, said, 1.0)
    try:
        with pytest.raises(exits.Stopped, match="OMEN is not up, and got no further for 1 s"):
            await child.start()
        with pytest.raises(exits.Stopped, match="got no further for 1 s"):
            await child.back()
        assert "OMEN is still starting: 1,000,000 records to index" in said
    finally:
        await child.kill(hold=False)


async def test_who_begins_anew_gets_nowhere() -> None:
    """
    Only less to do than ever before counts: not what is told again after a crash, nor when nobody tells anything.
    """
    figures = iter(("0", "1e+06", "999500", "1e+06", "999500", "999499"))

    async def tell(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(f"HTTP/1.1 200 OK\r\n\r\nomen_index_lag_records {next(figures)}\n".encode())
        writer.close()

    async with await asyncio.start_server(tell, "127.0.0.1", 0) as server:
        headway = Headway(f"127.0.0.1:{server.sockets[0].getsockname()[1]}")
        assert [await headway.look() for _ in range(6)] == [False, True, True, False, False, True]
        assert headway.words == "999,499 records to index"
    assert [await Headway(metrics).look() for metrics in ("", free_address())] == [False, False]
