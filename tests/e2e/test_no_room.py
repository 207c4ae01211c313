"""
Servers that are started on a disk without room.
"""

from pathlib import Path

import pytest

from tests.e2e.full_disk import fill
from tests.processes import started

PLACES = {
    "riskcast-server": "--store=sqlite:///{}/riskcast.db",
    "omen-server": "--data-dir={}/omen",
    "omen-reconciler": "--state=sqlite:///{}/reconcile.db",
}


@pytest.mark.parametrize("made_before", [False, True], ids=["new", "known"])
async def test_a_full_disk_is_said_in_words_and_is_no_bad_setting(
    small_disk: Path, tmp_path: Path, *, made_before: bool
) -> None:
    """
    Whatever a database calls it, each server says that the disk is full, and ends so that it is started again later.
    """
    flags = {program: flag.format(small_disk) for program, flag in PLACES.items()}
    for program, flag in flags.items() if made_before else ():
        server = await started(program, flag, cwd=tmp_path)
        await server.line("serving")
        assert await server.stop() == 0
    fill(small_disk / "somebody else's file")
    for program, flag in flags.items():
        server = await started(program, flag, cwd=tmp_path)
        assert await server.wait() == 70, program
        text = "".join(server.raw)
        assert f"the disk that {small_disk}" in text, text
        assert "lies on is full, 0 bytes are free. Make room, and try it again." in text
        assert "crashed" not in text
