"""
`omen tail` beside real servers: what it shows, where it goes on, and how it ends.
"""

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from omen.v1.signal_pb2 import SIGNAL_CATEGORY_SECURITY, SIGNAL_CATEGORY_WEATHER
from omen_cli import exits
from tests.clients.command import OMEN, Ended, omen
from tests.e2e.pair import emitted
from tests.e2e.pair import omen as omen_server
from tests.ledgers import DAY, flip, payload_byte
from tests.omen_server.stream.streaming import streaming
from tests.processes import tree_environment


async def tail(address: object, *line: str) -> Ended:
    """
    Run a tail that ends by itself.
    """
    return await asyncio.to_thread(omen, "tail", *line, OMEN_ADDRESS=str(address))


def offsets(ended: Ended) -> list[int]:
    """
    Return the offsets of what a tail showed as lines of JSON.
    """
    return [json.loads(line)["ledger_offset"] for line in ended.out.splitlines()]


@dataclass
class Following:
    """
    A tail that runs.
    """

    process: asyncio.subprocess.Process

    async def shown(self, count: int) -> list[dict[str, Any]]:
        """
        Return the next lines of JSON.
        """
        assert self.process.stdout is not None
        async with asyncio.timeout(30):
            return [json.loads(await self.process.stdout.readline()) for _ in range(count)]

    async def told(self) -> str:
        """
        Return the next line on stderr.
        """
        assert self.process.stderr is not None
        async with asyncio.timeout(30):
            return (await self.process.stderr.readline()).decode()

    async def interrupt(self, number: signal.Signals = signal.SIGINT) -> tuple[int | None, str]:
        """
        Press Ctrl-C, or send another signal; return the exit code and the rest of stderr.
        """
        self.process.send_signal(number)
        async with asyncio.timeout(30):
            _, err = await self.process.communicate()
        return self.process.returncode, err.decode()


@asynccontextmanager
async def following(address: object, *line: str) -> AsyncIterator[Following]:
    """
    Run a tail while the block runs.
    """
    process = await asyncio.create_subprocess_exec(
        OMEN,
        "tail",
        "-o",
        "jsonl",
        *line,
        env=tree_environment() | {"OMEN_ADDRESS": str(address)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield Following(process)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_sees_everything_in_order_and_ends(tmp_path: Path) -> None:
    """
    From the beginning until caught up it shows every signal once, in the ledger's order; filters leave out the others.
    """
    async with streaming(tmp_path) as at:
        await at.append(range(30), category=SIGNAL_CATEGORY_SECURITY, score=0.9)
        await at.append(range(30, 40), category=SIGNAL_CATEGORY_WEATHER, score=0.2)
        every = ("--from-beginning", "--until-caught-up", "-o", "jsonl")
        assert offsets(await tail(at.server.address, *every)) == list(range(1, 41))
        assert offsets(await tail(at.server.address, *every, "--category", "weather")) == list(range(31, 41))
        assert offsets(await tail(at.server.address, *every, "--min-confidence", "0.5")) == list(range(1, 31))
        assert offsets(await tail(at.server.address, *every, "--partition", "2020-01-01")) == []
        assert offsets(await tail(at.server.address, "--from-beginning", "--limit", "3", "-o", "jsonl")) == [1, 2, 3]
        assert offsets(await tail(at.server.address, "--since", "2999-01-01T00:00:00", *every[1:])) == []


async def test_each_form_has_the_same_signals(tmp_path: Path) -> None:
    """
    Text is a line each, with the id; JSON is one list; cursors stand beside the signals only if asked for.
    """
    async with streaming(tmp_path) as at:
        await at.append(range(5))
        asked = ("--from-beginning", "--until-caught-up")
        listed = json.loads((await tail(at.server.address, *asked, "-o", "json")).out)
        text = (await tail(at.server.address, *asked)).out.splitlines()
        assert [each["signal_id"] in line for each, line in zip(listed, text, strict=True)] == [True] * 5
        assert not any("cursor" in each for each in listed)
        cursor = json.loads((await tail(at.server.address, *asked, "--cursors", "-o", "json")).out)[-1]["cursor"]
        await at.append(range(5, 8))
        rest = await tail(at.server.address, "--after", cursor, "--until-caught-up", "-o", "jsonl")
        assert offsets(rest) == [6, 7, 8]


async def test_gaps_are_told(tmp_path: Path) -> None:
    """
    Lost offsets are a line on stderr for people, and an object among the signals for programs.
    """
    async with streaming(tmp_path) as at:
        await at.append(range(4))
    path = tmp_path / DAY / "signals-001.wal"
    flip(path, payload_byte(path, 1))
    async with streaming(tmp_path) as at:
        asked = ("--from-beginning", "--until-caught-up")
        text = await tail(at.server.address, *asked)
        rows = [json.loads(line) for line in (await tail(at.server.address, *asked, "-o", "jsonl")).out.splitlines()]
    assert len(text.out.splitlines()) == 3
    assert "offsets 2 to 2 are lost" in text.err
    assert (rows[1]["gap"]["first_offset"], rows[1]["gap"]["last_offset"]) == (2, 2)
    assert [row["ledger_offset"] for row in rows if "gap" not in row] == [1, 3, 4]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_ctrl_c_tells_where_to_go_on(tmp_path: Path, number: signal.Signals) -> None:
    """
    Signals are shown as they come; Ctrl-C ends with 130, SIGTERM with 143, and the cursor on stderr leads to the next
    signal.
    """
    async with streaming(tmp_path) as at:
        await at.append(range(3))
        async with following(at.server.address, "--from-beginning") as running:
            assert [each["ledger_offset"] for each in await running.shown(3)] == [1, 2, 3]
            await at.append([3])
            assert [each["ledger_offset"] for each in await running.shown(1)] == [4]
            code, told = await running.interrupt(number)
        assert code == 128 + number
        assert "Traceback" not in told
        await at.append([4])
        cursor = told.split("--after ")[1].split()[0]
        assert offsets(await tail(at.server.address, "--after", cursor, "--until-caught-up", "-o", "jsonl")) == [5]


async def test_comes_back_to_a_server_that_was_gone(tmp_path: Path) -> None:
    """
    A restart of OMEN is one line on stderr; the signals after it follow those before.
    """
    flags = ("--riskcast=",)
    async with omen_server(tmp_path, *flags) as (first, client):
        await emitted(client, range(2))
        async with following(first.address, "--from-beginning") as running:
            before = await running.shown(2)
            assert await first.stop() == 0
            assert "connecting again" in await running.told()
            async with omen_server(tmp_path, *flags) as (_, again):
                await emitted(again, range(2, 4))
                after = await running.shown(2)
            assert [each["ledger_offset"] for each in (*before, *after)] == [1, 2, 3, 4]
            _, told = await running.interrupt()
            assert "connecting again" not in told


@pytest.mark.parametrize(
    "line",
    [
        ("-o", "json"),
        ("--from-beginning", "--after", "x", "-o", "jsonl"),
        ("--from-beginning", "--since", "2026-01-28", "-o", "jsonl"),
        ("--limit", "-1"),
        ("--category", "NONSENSE"),
    ],
)
def test_what_makes_no_sense_is_refused(line: Sequence[str]) -> None:
    """
    A list without an end, two places to start and an unknown category exit with 2, before anybody is asked.
    """
    ended = omen("tail", *line, OMEN_ADDRESS="127.0.0.1:1")
    assert ended.code == exits.USAGE, ended
    assert ended.out == ""


async def test_a_cursor_of_nobody_is_refused(tmp_path: Path) -> None:
    """
    A cursor that the ledger does not know ends with 2, and is not tried again.
    """
    async with streaming(tmp_path) as at:
        ended = await tail(at.server.address, "--after", "nonsense", "--until-caught-up")
    assert ended.code == exits.USAGE
    assert "cursor" in ended.err
