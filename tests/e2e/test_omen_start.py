"""
What OMEN cannot start with, found only when its parts are opened one after another.
"""

from pathlib import Path

import pytest

from omen_server.app import utc_now
from tests.ledgers import entries, opened
from tests.processes import started

GARBAGE = b"garbage" * 1000


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["--index=mysql://x"], 2, "--index: "),
        (["--index=sqlite:////proc/nowhere/index.db"], 2, "--index: /proc/nowhere"),
        (["--index=postgresql://nobody@127.0.0.1:1/x"], 70, "--index: PostgreSQL cannot be reached"),
        (["--poll=nowhere=1"], 2, "--poll: 'nowhere' is no source"),
        (["--data-dir={place}"], 2, "SQLITE_NOTADB"),
    ],
)
async def test_start_is_refused_in_words(tmp_path: Path, arguments: list[str], code: int, told: str) -> None:
    """
    A server that cannot start says why in one line without a stack, and how to mend it by its exit code.
    """
    (tmp_path / "spoilt").mkdir()
    (tmp_path / "spoilt" / "desk.db").write_bytes(GARBAGE)
    filled = [each.format(place=tmp_path / "spoilt") for each in arguments]
    server = await started("omen-server", f"--data-dir={tmp_path / 'data'}", *filled, cwd=tmp_path)
    assert await server.wait() == code
    assert told in server.raw[-1]
    assert "raised_at" not in "".join(server.raw)
    # What can be told from the settings alone is told before anything is made.
    assert told != "--poll: 'nowhere' is no source" or not (tmp_path / "data").exists()


async def test_told_to_stop_while_the_index_is_made(tmp_path: Path) -> None:
    """
    A server that is told to stop while it makes its index ends at once and in order, and the next one goes on there.
    """
    async with opened(tmp_path / "ledger", utc_now) as ledger:
        for first in range(0, 40_000, 2_000):
            await ledger.append(entries(range(first, first + 2_000), utc_now()))
    server = await started("omen-server", f"--data-dir={tmp_path}", cwd=tmp_path)
    await server.line("ledger_opened")
    assert await server.stop() == 0
    assert {"signal"} <= (events := {line["event"] for line in server.lines})
    assert not {"index_ready", "serving", "text", "crashed"} & events
    server = await started("omen-server", f"--data-dir={tmp_path}", cwd=tmp_path)
    assert (await server.line("index_ready"))["offset"] == 40_000
    assert await server.stop() == 0
