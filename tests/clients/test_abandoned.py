import asyncio
import json
import signal
import subprocess
from pathlib import Path

from omen_cli.running.abandoned import EPHEMERAL, end_abandoned
from omen_cli.running.claim import STATE, claimed
from omen_cli.running.processes import birth


def test_what_a_killed_ephemeral_up_left_goes_with_the_next_one(tmp_path: Path) -> None:
    """
    Its servers and its data are found by the directory's name; those of one that runs, and of others, are left alone.
    """
    places = [tmp_path / f"{EPHEMERAL}{name}" for name in ("killed", "runs", "begins")] + [tmp_path / "omen-other"]
    killed, runs, _, other = places
    for place in places:
        place.mkdir()
    with subprocess.Popen(["sleep", "60"], start_new_session=True) as server:
        rows = {"servers": {"omen": {"pid": server.pid, "born": birth(server.pid)}}}
        for place in (killed, runs, other):
            (place / STATE).write_text(json.dumps({"pid": 1, "since": "", **rows}))
        with claimed(runs):
            assert asyncio.run(end_abandoned(tmp_path)) == [str(killed)]
        assert server.wait(10) == -signal.SIGTERM
    assert [place.exists() for place in places] == [False, True, True, True]
    killed.symlink_to(other)
    assert str(killed) not in asyncio.run(end_abandoned(tmp_path))
    assert (other / STATE).exists()
