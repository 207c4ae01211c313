"""
What OMEN cannot start with, found only when its parts are opened one after another.
"""

from pathlib import Path

import pytest

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
